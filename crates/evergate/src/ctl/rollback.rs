//! `evergate rollback`: put a configuration in force again that was applied before.

use std::process::ExitCode;

use evergate_console::{when, words};
use evergate_control::snapshot::{AppliedStatus, History};
use serde_json::json;

use super::Node;
use super::reload;
use super::screen::{Paint, Palette, show, show_json};
use super::table::{Table, plain};

/// Puts an earlier configuration in force, whole or not at all; the file stays as it is.
///
/// It holds, over restarts too, until the file is changed or `evergate reload` applies it.
#[derive(clap::Args)]
pub(crate) struct Rollback {
    /// Which one, as `--list` counts them [default: the one before].
    #[arg(value_name = "ID", conflicts_with = "list")]
    id: Option<u64>,
    /// Only list those that are kept: when, why, and what each changed.
    #[arg(long)]
    list: bool,
    /// Only tell what would change.
    #[arg(long, conflicts_with = "list")]
    dry_run: bool,
    #[command(flatten)]
    node: Node,
}

impl Rollback {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.node.client()?;
        if self.list {
            let history: History = client.get("/api/v1/history")?;
            if self.node.json {
                show_json(&history)?;
            } else {
                show(&render(&history, Palette::of_stdout()))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let body = json!({ "to": self.id, "dry_run": self.dry_run });
        let answer: reload::Answer = client.send("POST", "/api/v1/rollback", &body)?;
        answer.show(&self.node)
    }
}

fn render(history: &History, palette: Palette) -> String {
    let mut text = String::new();
    let mut table = Table::new("", &["", ">id", "applied", "because", "what it changed"]);
    for AppliedStatus { id, at, why, what, in_force } in &history.configurations {
        let is_base = history.trial.as_ref().is_some_and(|trial| trial.back_to == *id);
        let mark = match (in_force, is_base) {
            (true, _) => (Paint::Good, "in force".to_owned()),
            (false, true) => (Paint::Warn, "comes back".to_owned()),
            (false, false) => plain(""),
        };
        let at = format!("{} UTC", when::utc(at * 1000));
        table.row([mark, plain(id), plain(at), plain(why), plain(what)]);
    }
    text.push_str(&table.render(palette));
    if let Some(held) = &history.held {
        text.push_str(&palette.lines(Paint::Warn, "", held));
    }
    if let Some(trial) = &history.trial {
        text.push_str(&palette.lines(Paint::Warn, "", &words::on_trial(trial)));
    }
    match &history.unkept {
        None => text.push_str(&palette.lines(Paint::Dim, "", &format!("kept in {}", history.path))),
        Some(why) => {
            let line = format!("kept in memory only, until the node is restarted: {why}");
            text.push_str(&palette.lines(Paint::Warn, "", &line));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use evergate_control::snapshot::TrialStatus;

    use super::*;

    #[test]
    fn the_list_says_what_is_in_force_and_what_comes_back() {
        let one = |id: u64, in_force| AppliedStatus {
            id,
            at: 1_790_000_000 + id,
            why: "reload".into(),
            what: "changed route.api".into(),
            in_force,
        };
        let history = History {
            configurations: vec![one(12, true), one(9, false)],
            held: None,
            trial: Some(TrialStatus { back_to: 9, seconds_left: 42, failure: None }),
            path: "/var/lib/evergate/history/configurations".into(),
            unkept: Some("the disk is full".into()),
        };
        let expected = "            ID  APPLIED                  BECAUSE  WHAT IT CHANGED
in force    12  2026-09-21 14:13:32 UTC  reload   changed route.api
comes back   9  2026-09-21 14:13:29 UTC  reload   changed route.api
not confirmed: #9 comes back in 42 s; `evergate confirm` keeps this one
kept in memory only, until the node is restarted: the disk is full
";
        assert_eq!(render(&history, Palette::Plain), expected);
    }
}
