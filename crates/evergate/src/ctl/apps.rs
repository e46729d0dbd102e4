//! `evergate apps`: instances, deploys, and limits that nothing enforces.

use std::process::ExitCode;

use evergate_console::{when, words};
use evergate_control::snapshot::{DeployStatus, InstanceStatus, Status};

use super::Node;
use super::app::{AppName, apps};
use super::screen::{Paint, Palette, paint_of, show, show_json};
use super::table::{Table, plain};

/// Shows apps: every instance with its state and why, deploys, limits that are not enforced here.
#[derive(clap::Args)]
pub(crate) struct Apps {
    /// Only this app, or only this instance of it.
    #[arg(value_name = "APP[/N]")]
    app: Option<AppName>,
    #[command(flatten)]
    node: Node,
}

impl Apps {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let mut status = apps(&self.node.client()?)?;
        if let Some(name) = &self.app {
            name.ensure_known(&status.apps)?;
            status.apps.retain(|one| name.means(one));
            status.deploys.retain(|one| one.app == name.app);
            status.app_limits.retain(|one| one.app == name.app);
        }
        if self.node.json {
            let Status { apps, deploys, app_limits, .. } = status;
            let shown =
                serde_json::json!({ "apps": apps, "deploys": deploys, "app_limits": app_limits });
            show_json(&shown)?;
        } else if status.apps.is_empty() {
            show("there are no apps: the configuration has no `[app.NAME]`\n")?;
        } else {
            show(&render(&status, Palette::of_stdout()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Instances, and below them what else there is to say of apps.
pub(super) fn render(status: &Status, palette: Palette) -> String {
    let mut text = instances(&status.apps).render(palette);
    let notes = notes(status, palette);
    if !notes.is_empty() {
        text.push('\n');
        text.push_str(&notes);
    }
    text
}

fn instances(instances: &[InstanceStatus]) -> Table {
    let heads = [
        "instance",
        "state",
        ">since",
        ">pid",
        "address",
        ">memory",
        ">cpu",
        ">starts",
        ">exits",
        "failures",
        "last exit",
        "why",
    ];
    let mut table = Table::new("", &heads);
    for one in instances {
        let failures = words::failures(one);
        let paint = if failures.is_empty() { Paint::Normal } else { Paint::Warn };
        table.row([
            plain(format!("{}/{}", one.app, one.number)),
            (paint_of(&one.state), one.state.clone()),
            plain(when::span(one.since_seconds as u64)),
            plain(one.pid.map(|pid| pid.to_string()).unwrap_or_default()),
            plain(one.address.as_deref().unwrap_or_default()),
            plain(words::memory(one)),
            plain(one.cpu_seconds.map(words::cpu).unwrap_or_default()),
            plain(one.generation),
            plain(one.exits),
            (paint, failures),
            plain(one.last_exit.as_deref().unwrap_or_default()),
            (Paint::Dim, words::why(one)),
        ]);
    }
    table
}

fn notes(status: &Status, palette: Palette) -> String {
    let deploys = deploys(status, |_| true, palette);
    let limits = words::unsupported(&status.app_limits)
        .map(|(app, line)| palette.lines(Paint::Warn, "", &format!("{app}, limit: {line}")));
    std::iter::once(deploys).chain(limits).collect()
}

/// The deploys that are `wanted`, a line or two each.
pub(super) fn deploys(
    status: &Status,
    wanted: impl Fn(&DeployStatus) -> bool,
    palette: Palette,
) -> String {
    let wanted = status.deploys.iter().filter(|one| wanted(one));
    wanted.map(|one| deploy(one, palette)).collect()
}

/// The deploy on a line, and what it does on the next if there is anything to do.
fn deploy(deploy: &DeployStatus, palette: Palette) -> String {
    let head = format!("{}, {}: ", deploy.app, words::name(deploy));
    let ago = when::span(deploy.since_seconds as u64);
    let since =
        if words::is_under_way(deploy) { format!(", for {ago}") } else { format!(", {ago} ago") };
    let mut text = format!(
        "{}{}{}\n",
        palette.paint(Paint::Normal, &head),
        palette.paint(paint_of(&deploy.phase), &words::progress(deploy)),
        palette.paint(Paint::Dim, &since),
    );
    if deploy.phase != "done" {
        text.push_str(&palette.lines(Paint::Normal, "  ", &deploy.message));
    }
    text
}
