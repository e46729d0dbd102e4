//! `evergate reload`: apply the file, or only say what would change.

use std::process::ExitCode;
use std::time::Duration;

use evergate_control::snapshot::PlanChange;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Node;
use super::screen::{Paint, Palette, show, show_json};
use super::time::parse_time;

/// Reads the configuration again and applies it, whole or not at all.
#[derive(clap::Args)]
pub(crate) struct Reload {
    /// Only tell what would change.
    #[arg(long)]
    dry_run: bool,
    /// Go back to the configuration before, unless `evergate confirm` says within this time that this
    /// one may stay: between 1 s and 24 h. Whatever crashes meanwhile, the node goes back.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    confirm: Option<Duration>,
    #[command(flatten)]
    node: Node,
}

/// What a reload or a change did, or would do.
#[derive(Deserialize, Serialize)]
pub(super) struct Answer {
    applied: bool,
    change: PlanChange,
}

impl Reload {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let confirm = self.confirm.map(|time| time.as_secs());
        let body = json!({ "dry_run": self.dry_run, "confirm_seconds": confirm });
        let answer: Answer = self.node.client()?.send("POST", "/api/v1/reload", &body)?;
        answer.show(&self.node)
    }
}

impl Answer {
    /// Shows it as the operator wants it.
    pub(super) fn show(&self, node: &Node) -> anyhow::Result<ExitCode> {
        if node.json {
            show_json(self)?;
        } else {
            show(&render(self, Palette::of_stdout()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn render(answer: &Answer, palette: Palette) -> String {
    let PlanChange { added, changed, removed, runs, warnings, from_changes, unconfirmed } =
        &answer.change;
    let mut text = String::new();
    for (mark, paint, names) in
        [("+", Paint::Good, added), ("~", Paint::Warn, changed), ("-", Paint::Bad, removed)]
    {
        for name in names {
            text.push_str(&palette.lines(paint, "", &format!("{mark} {name}")));
        }
    }
    for run in runs {
        text.push_str(&palette.lines(Paint::Normal, "", run));
    }
    for change in from_changes {
        text.push_str(&palette.lines(Paint::Dim, "", &format!("with change {change}")));
    }
    for warning in warnings {
        text.push_str(&palette.lines(Paint::Warn, "", warning));
    }
    let same = added.is_empty() && changed.is_empty() && removed.is_empty();
    text.push_str(match (answer.applied, same) {
        (true, true) => "applied; nothing changed\n",
        (true, false) => "applied\n",
        (false, true) => "not applied; nothing would change\n",
        (false, false) => "not applied\n",
    });
    if let Some(unconfirmed) = unconfirmed {
        text.push_str(&palette.lines(Paint::Warn, "", unconfirmed));
    }
    text
}
