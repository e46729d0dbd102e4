//! `evergate changes`: what was changed beside the file, and the way back.

use std::process::ExitCode;

use evergate_console::when;
use evergate_control::snapshot::{self, ChangeStatus};
use serde_json::json;

use super::Node;
use super::reload;
use super::screen::{Paint, Palette, show, show_json};
use super::table::{Table, plain};

/// Shows what was changed beside the file through the API, or drops it.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Changes {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    node: Node,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Shows every change: what it does to the file, and since when.
    List {
        #[command(flatten)]
        node: Node,
    },
    /// Drops changes, so that what the file has counts again; all of them or none.
    Drop {
        /// `route.NAME` or `pool.POOL/SERVER`, as `evergate changes` shows them.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Only tell what would change.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        node: Node,
    },
}

impl Changes {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            None => list(&self.node),
            Some(Action::List { node }) => list(&node),
            Some(Action::Drop { names, dry_run, node }) => drop_changes(&names, dry_run, &node),
        }
    }
}

fn list(node: &Node) -> anyhow::Result<ExitCode> {
    let changes: snapshot::Changes = node.client()?.get("/api/v1/changes")?;
    if node.json {
        show_json(&changes)?;
    } else {
        show(&render(&changes, Palette::of_stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn drop_changes(names: &[String], dry_run: bool, node: &Node) -> anyhow::Result<ExitCode> {
    let body = json!({ "names": names, "dry_run": dry_run });
    let answer: reload::Answer = node.client()?.send("POST", "/api/v1/changes/drop", &body)?;
    answer.show(node)
}

fn render(changes: &snapshot::Changes, palette: Palette) -> String {
    let mut text = String::new();
    if let Some(why) = &changes.refused {
        text.push_str(&palette.lines(Paint::Warn, "", "the changes are not in force:"));
        text.push_str(&palette.lines(Paint::Normal, "  ", why));
    }
    if changes.changes.is_empty() {
        // A journal that cannot be read may hold some.
        if changes.refused.is_none() {
            text.push_str("there are no changes: all is as in the file\n");
        }
        return text;
    }
    let mut table = Table::new("", &["change", "does", "what the file has", "since"]);
    for ChangeStatus { name, does, file, since, .. } in &changes.changes {
        let since = format!("{} UTC", when::utc(since * 1000));
        let file = file.as_deref().unwrap_or("nothing");
        table.row([plain(name), plain(does), plain(file), plain(since)]);
    }
    text.push_str(&table.render(palette));
    for body in changes.changes.iter().filter_map(|change| change.body.as_deref()) {
        text.push('\n');
        text.push_str(&palette.lines(Paint::Normal, "", body.trim_end()));
    }
    text
}
