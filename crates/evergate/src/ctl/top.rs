//! `evergate top`: the node, second by second.

use std::num::NonZeroU64;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use evergate_console::{when, words};
use evergate_control::snapshot::{InstanceStatus, RouteStatus, ServerStatus, Status};
use evergate_core::time::Instant;
use serde_json::json;

use super::Node;
use super::client::Client;
use super::screen::{Paint, Palette, is_terminal, paint_of, redraw, show, show_json};
use super::status::word;
use super::table::{Table, plain};
use super::{apps, standby};

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Shows requests, errors and servers live, once a second.
///
/// On a terminal it draws over itself; otherwise it writes a line each second.
#[derive(clap::Args)]
pub(crate) struct Top {
    /// Stop after this many looks.
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,
    #[command(flatten)]
    node: Node,
}

/// What the node said, and when.
struct Look {
    at: Instant,
    status: Status,
}

impl Top {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.node.client()?;
        let palette = Palette::of_stdout();
        let in_place = is_terminal() && !self.node.json;
        let mut before = look(&client)?;
        if in_place {
            show("\x1b[2J")?;
        }
        let mut shown = 0;
        while self.count.is_none_or(|count| shown < count.get()) {
            sleep(PERIOD);
            shown += 1;
            // A worker that is being replaced may miss one look; only the first must succeed.
            let now = match look(&client) {
                Ok(now) => now,
                Err(error) if in_place => {
                    redraw(&palette.lines(Paint::Bad, "", &error.to_string()))?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let rates = Rates::between(&before, &now);
            if self.node.json {
                show_json(&rates.json(&now.status))?;
            } else if in_place {
                redraw(&rates.view(&now.status, palette))?;
            } else {
                show(&rates.line(&now.status))?;
            }
            before = now;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn look(client: &Client) -> anyhow::Result<Look> {
    let status = client.get("/api/v1/status")?;
    Ok(Look { at: evergate_sys::clock::now(), status })
}

/// What happened between two looks, per second.
#[derive(Debug, PartialEq)]
struct Rates {
    requests: f64,
    errors: f64,
    /// Responses and errors of each route, in the order of the later look.
    routes: Vec<(f64, f64)>,
    /// Attempts and failures of each server of each pool, in the order of the later look.
    servers: Vec<(f64, f64)>,
    /// Share of a processor that each run of an app used, in the order of the later look; nothing
    /// if that is not known.
    instances: Vec<Option<f64>>,
}

impl Rates {
    fn between(before: &Look, now: &Look) -> Self {
        let seconds = (now.at - before.at).as_secs_f64().max(0.001);
        // A counter that went back is one of a new worker, which began at zero.
        let rate = |before: u64, now: u64| now.checked_sub(before).unwrap_or(now) as f64 / seconds;
        let route = |now: &RouteStatus| {
            let known = before.status.routes.iter().find(|route| route.name == now.name);
            let (requests, errors) = known.map_or((0, 0), |route| (route.requests, route.errors));
            (rate(requests, now.requests), rate(errors, now.errors))
        };
        let server = |pool: &str, now: &ServerStatus| {
            let known = before.status.pools.iter().find(|known| known.name == pool);
            let known = known.and_then(|pool| pool.servers.iter().find(|s| s.name == now.name));
            let (requests, failures) =
                known.map_or((0, 0), |known| (known.requests, known.failures));
            (rate(requests, now.requests), rate(failures, now.failures))
        };
        let instance = |now: &InstanceStatus| {
            let known = before.status.apps.iter().find(|known| {
                (&known.app, known.number, known.pid) == (&now.app, now.number, now.pid)
            });
            // What a new run used before this look, it used since the last one.
            let used = known.and_then(|known| known.cpu_seconds).unwrap_or_default();
            now.cpu_seconds.map(|cpu| (cpu - used).max(0.0) / seconds)
        };
        let routes: Vec<(f64, f64)> = now.status.routes.iter().map(route).collect();
        let pools = now.status.pools.iter();
        Self {
            requests: routes.iter().map(|(requests, _)| requests).sum(),
            errors: routes.iter().map(|(_, errors)| errors).sum(),
            servers: pools
                .flat_map(|pool| pool.servers.iter().map(|one| server(&pool.name, one)))
                .collect(),
            instances: now.status.apps.iter().map(instance).collect(),
            routes,
        }
    }

    fn json(&self, status: &Status) -> serde_json::Value {
        let totals = Totals::of(status);
        json!({
            "health": status.health,
            "requests_per_second": self.requests,
            "errors_per_second": self.errors,
            "in_flight": totals.in_flight,
            "connections": totals.connections,
            "servers_up": totals.up,
            "servers": totals.servers,
            "instances_ready": totals.ready,
            "instances": totals.instances,
        })
    }

    fn line(&self, status: &Status) -> String {
        let totals = Totals::of(status);
        format!(
            "{} {:.0} requests/s {:.0} errors/s {} in flight {} connections {}/{} servers up\n",
            word(status.health),
            self.requests,
            self.errors,
            totals.in_flight,
            totals.connections,
            totals.up,
            totals.servers,
        )
    }

    fn view(&self, status: &Status, palette: Palette) -> String {
        let totals = Totals::of(status);
        let health = word(status.health);
        let mut text = format!(
            "{}  {}  {}\n",
            palette.paint(Paint::Bold, &status.node),
            palette.paint(paint_of(health), health),
            palette.paint(Paint::Dim, &format!("up {}", when::span(status.uptime_seconds))),
        );
        for reason in &status.reasons {
            text.push_str(&palette.lines(paint_of(health), "  ", reason));
        }
        let line = format!(
            "{:.0} requests/s  {:.0} errors/s  {} in flight  {} connections  {}/{} servers up",
            self.requests,
            self.errors,
            totals.in_flight,
            totals.connections,
            totals.up,
            totals.servers,
        );
        text.push_str(&format!("\n{line}\n"));
        let apps = format!(
            "{}{}",
            self.instances(status).render(palette),
            apps::deploys(status, words::is_under_way, palette)
        );
        let tables = [
            standby::addresses(status, palette),
            self.servers(status).render(palette),
            self.routes(status).render(palette),
            apps,
        ];
        for table in tables.iter().filter(|table| !table.is_empty()) {
            text.push('\n');
            text.push_str(table);
        }
        text
    }

    fn servers(&self, status: &Status) -> Table {
        let heads =
            ["server", "state", ">/s", ">failed/s", ">in flight", ">latency", ">weight", "why"];
        let mut table = Table::new("", &heads);
        let servers = status
            .pools
            .iter()
            .flat_map(|pool| pool.servers.iter().map(|server| (&pool.name, server)));
        for ((pool, server), (requests, failures)) in servers.zip(&self.servers) {
            table.row([
                plain(format!("{pool}/{}", server.name)),
                (paint_of(&server.state), server.state.clone()),
                plain(format!("{requests:.0}")),
                (failing(*failures), format!("{failures:.0}")),
                plain(server.in_flight),
                plain(when::latency(server.latency_seconds)),
                plain(server.weight),
                (Paint::Dim, server.reason.clone()),
            ]);
        }
        table
    }

    fn instances(&self, status: &Status) -> Table {
        let heads = [
            "instance",
            "state",
            ">since",
            ">pid",
            ">memory",
            ">cpu",
            ">in flight",
            ">exits",
            "why",
        ];
        let mut table = Table::new("", &heads);
        for (one, cpu) in status.apps.iter().zip(&self.instances) {
            table.row([
                plain(format!("{}/{}", one.app, one.number)),
                (paint_of(&one.state), one.state.clone()),
                plain(when::span(one.since_seconds as u64)),
                plain(one.pid.map(|pid| pid.to_string()).unwrap_or_default()),
                plain(words::memory(one)),
                plain(cpu.map(|share| format!("{:.0}%", share * 100.0)).unwrap_or_default()),
                plain(one.in_flight),
                plain(one.exits),
                (Paint::Dim, words::why(one)),
            ]);
        }
        table
    }

    fn routes(&self, status: &Status) -> Table {
        let mut table = Table::new("", &["route", "match", ">/s", ">5xx/s", ">responses"]);
        for (route, (requests, errors)) in status.routes.iter().zip(&self.routes) {
            table.row([
                plain(&route.name),
                plain(&route.pattern),
                plain(format!("{requests:.0}")),
                (failing(*errors), format!("{errors:.0}")),
                plain(route.requests),
            ]);
        }
        table
    }
}

fn failing(rate: f64) -> Paint {
    if rate > 0.0 { Paint::Bad } else { Paint::Normal }
}

struct Totals {
    in_flight: u32,
    connections: u64,
    up: usize,
    servers: usize,
    ready: usize,
    instances: usize,
}

impl Totals {
    fn of(status: &Status) -> Self {
        let servers = || status.pools.iter().flat_map(|pool| &pool.servers);
        // An instance that is being replaced has two runs.
        let instances = || status.apps.chunk_by(|a, b| (&a.app, a.number) == (&b.app, b.number));
        Self {
            in_flight: servers().map(|server| server.in_flight).sum(),
            connections: status.listeners.iter().map(|listener| listener.connections).sum(),
            up: servers().filter(|server| server.state == "up").count(),
            servers: servers().count(),
            ready: instances().filter(|runs| runs.iter().any(|run| run.state == "ready")).count(),
            instances: instances().count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(millis: u64, requests: u64, errors: u64) -> Look {
        let route = RouteStatus { name: "a".into(), requests, errors, ..RouteStatus::default() };
        let status = Status { routes: vec![route], ..Status::default() };
        Look { at: Instant::from_nanos(millis * 1_000_000), status }
    }

    #[test]
    fn rates_are_per_second_of_the_time_between() {
        let rates = Rates::between(&look(0, 100, 1), &look(2000, 500, 3));
        assert_eq!(rates.routes, [(200.0, 1.0)]);
        assert_eq!((rates.requests, rates.errors), (200.0, 1.0));
    }

    #[test]
    fn a_run_is_charged_for_the_time_between_and_a_new_one_for_all_it_used() {
        let look = |millis: u64, pid, cpu| {
            let instance = InstanceStatus { pid, cpu_seconds: cpu, ..InstanceStatus::default() };
            let status = Status { apps: vec![instance], ..Status::default() };
            Look { at: Instant::from_nanos(millis * 1_000_000), status }
        };
        let rate = |before, now| Rates::between(&before, &now).instances;
        assert_eq!(rate(look(0, Some(7), Some(3.0)), look(2000, Some(7), Some(4.0))), [Some(0.5)]);
        assert_eq!(rate(look(0, Some(7), Some(3.0)), look(2000, Some(8), Some(1.0))), [Some(0.5)]);
        assert_eq!(rate(look(0, Some(7), Some(3.0)), look(2000, None, None)), [None]);
    }

    #[test]
    fn a_view_has_what_there_is_and_who_has_the_addresses() {
        let mut now = look(1000, 1, 0);
        let view =
            |now: &Look| Rates::between(&look(0, 0, 0), now).view(&now.status, Palette::Plain);
        let text = view(&now);
        assert!(text.contains("ROUTE") && !text.contains("VIP") && !text.contains("SERVER"));
        let vip = evergate_control::snapshot::VipStatus {
            name: "web".into(),
            role: "master".into(),
            ..Default::default()
        };
        now.status.vips.push(vip);
        now.status.is_in_maintenance = true;
        let text = view(&now);
        for words in ["VIP", "web", "master", "in maintenance"] {
            assert!(text.contains(words), "no {words} in\n{text}");
        }
    }

    #[test]
    fn a_new_worker_starts_from_zero() {
        let rates = Rates::between(&look(0, 1000, 5), &look(1000, 40, 0));
        assert_eq!(rates.routes, [(40.0, 0.0)]);
    }
}
