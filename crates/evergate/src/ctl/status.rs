//! `evergate status`: the node at a glance.

use std::process::ExitCode;

use evergate_console::{when, words};
use evergate_control::snapshot::{self, CertificateStatus, Health, PoolStatus};

use super::Node;
use super::screen::{Paint, Palette, paint_of, show, show_json};
use super::table::{Table, plain};
use super::{apps, standby};

/// Shows the node: health, listeners, pools, routes, apps.
///
/// Exits with 0 when it is healthy, 2 when degraded, 3 when down.
#[derive(clap::Args)]
pub(crate) struct Status {
    #[command(flatten)]
    node: Node,
}

impl Status {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let status: snapshot::Status = self.node.client()?.get("/api/v1/status")?;
        if self.node.json {
            show_json(&status)?;
        } else {
            show(&render(&status, Palette::of_stdout()))?;
        }
        Ok(ExitCode::from(match status.health {
            Health::Healthy => 0,
            Health::Degraded => 2,
            Health::Down => 3,
        }))
    }
}

/// The word for `health`.
pub(crate) fn word(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Degraded => "degraded",
        Health::Down => "down",
    }
}

fn render(status: &snapshot::Status, palette: Palette) -> String {
    let mut text = head(status, palette);
    let mut listeners =
        Table::new("", &["listener", "protocol", "addresses", ">connections", ">limit"]);
    for listener in &status.listeners {
        listeners.row([
            plain(&listener.name),
            plain(&listener.protocol),
            plain(listener.addresses.join(", ")),
            plain(listener.connections),
            plain(listener.connections_max),
        ]);
    }
    let mut routes =
        Table::new("", &["route", "match", "does", "middleware", ">responses", ">5xx"]);
    for route in &status.routes {
        let paint = if route.errors > 0 { Paint::Warn } else { Paint::Normal };
        routes.row([
            plain(&route.name),
            plain(&route.pattern),
            plain(&route.action),
            plain(route.middleware.join(", ")),
            plain(route.requests),
            (paint, route.errors.to_string()),
        ]);
    }
    let tables = [standby::render(status, palette), listeners.render(palette)]
        .into_iter()
        .chain(status.pools.iter().map(|one| pool(one, palette)))
        .chain([
            routes.render(palette),
            certificates(&status.certificates).render(palette),
            apps::render(status, palette),
        ]);
    for table in tables.filter(|table| !table.is_empty()) {
        text.push('\n');
        text.push_str(&table);
    }
    text
}

fn head(status: &snapshot::Status, palette: Palette) -> String {
    let health = word(status.health);
    let mut text = format!(
        "{}  {}  {}\n",
        palette.paint(Paint::Bold, &status.node),
        palette.paint(paint_of(health), health),
        palette.paint(
            Paint::Dim,
            &format!(
                "evergate {}, up {}, keeper {}, worker {} (#{}, up {})",
                status.version,
                when::span(status.uptime_seconds),
                status.keeper_pid,
                status.worker_pid,
                status.worker_generation,
                when::span(status.worker_uptime_seconds),
            ),
        ),
    );
    for reason in &status.reasons {
        text.push_str(&palette.lines(paint_of(health), "  ", reason));
    }
    for line in words::replacement(status) {
        text.push_str(&palette.lines(Paint::Warn, "  ", &line));
    }
    let config = &status.config;
    let applied = when::utc(config.applied_at * 1000);
    let line = format!("{}, applied {applied} UTC", words::in_force(config));
    text.push_str(&palette.lines(Paint::Dim, "  ", &line));
    if let Some(trial) = &config.trial {
        text.push_str(&palette.lines(Paint::Warn, "  ", &words::on_trial(trial)));
    }
    if !status.admin.is_empty() {
        let line = format!("admin {}", status.admin.join(", "));
        text.push_str(&palette.lines(Paint::Dim, "  ", &line));
    }
    if config.changes > 0 {
        let plural = if config.changes == 1 { "" } else { "s" };
        let line =
            format!("{} change{plural} beside the file; see `evergate changes`", config.changes);
        text.push_str(&palette.lines(Paint::Dim, "  ", &line));
    }
    if let Some(why) = &config.changes_refused {
        text.push_str(&palette.lines(
            Paint::Warn,
            "  ",
            "the changes beside the file are not in force:",
        ));
        text.push_str(&palette.lines(Paint::Normal, "    ", why));
    }
    if let Some(why) = &config.failed_reload {
        text.push_str(&palette.lines(Paint::Warn, "  ", "the last reload failed:"));
        text.push_str(&palette.lines(Paint::Normal, "    ", why));
    }
    text
}

fn pool(pool: &PoolStatus, palette: Palette) -> String {
    let mut table = Table::new(
        "  ",
        &[
            "server",
            "address",
            "state",
            ">since",
            ">weight",
            ">in flight",
            ">latency",
            ">attempts",
            ">failed",
            "why",
        ],
    );
    for server in &pool.servers {
        let weight = match server.weight_percent {
            100 => server.weight.to_string(),
            percent => format!("{} at {percent}%", server.weight),
        };
        table.row([
            plain(&server.name),
            plain(&server.address),
            (paint_of(&server.state), server.state.clone()),
            plain(when::span(server.since_seconds)),
            plain(weight),
            plain(server.in_flight),
            plain(when::latency(server.latency_seconds)),
            plain(server.requests),
            plain(server.failures),
            (Paint::Dim, server.reason.clone()),
        ]);
    }
    let health = word(pool.health);
    format!(
        "{}  {}  {}\n{}",
        palette.paint(Paint::Bold, &format!("pool {}", pool.name)),
        palette.paint(paint_of(health), health),
        palette.paint(Paint::Dim, &pool.balance),
        table.render(palette),
    )
}

fn certificates(certificates: &[CertificateStatus]) -> Table {
    let heads = ["certificate", "listener", "names", "ends", "next order", "last failure"];
    let mut table = Table::new("", &heads);
    for one in certificates {
        let time = |at: u64| format!("{} UTC", when::utc(at * 1000));
        let ends = match one.not_after {
            0 => (Paint::Warn, "not there yet".to_owned()),
            at => plain(time(at)),
        };
        table.row([
            plain(&one.source),
            plain(&one.listener),
            plain(one.names.join(", ")),
            ends,
            plain(one.renew_at.map(time).unwrap_or_default()),
            (Paint::Warn, one.failure.clone().unwrap_or_default()),
        ]);
    }
    table
}
