//! `evergate upgrade`: replace worker and keeper while requests go on.

use std::path::{self, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context;
use evergate_console::words;
use evergate_control::snapshot::UpgradeStatus;
use evergate_core::time::Instant;
use evergate_sys::clock;
use evergate_sys::signal::{Signal, Signals};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{Client, Failure};
use super::screen::{Paint, Palette, show, show_json};
use super::time::parse_time;
use super::{EXIT_INTERRUPTED, Node};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the node may not answer, as while one worker takes over from the other, before watching
/// ends.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// How long an upgrade that was accepted may not show.
const SHOW_MAX: Duration = Duration::from_secs(5);

/// Replaces worker and keeper by those of a binary, with no request lost.
///
/// Shows each phase as it ends. The new worker serves beside the old one, is tried, takes over, and
/// is watched; then the keeper becomes the new binary in place, with the same process id. If
/// anything is wrong the old one goes on, by itself. Exits with 1 then. Ctrl-C only ends watching.
#[derive(clap::Args)]
pub(crate) struct Upgrade {
    /// The new binary [default: the file that the keeper was started from].
    binary: Option<PathBuf>,
    /// Replace only the worker.
    #[arg(long, conflicts_with = "keeper")]
    worker: bool,
    /// Replace only the keeper.
    #[arg(long)]
    keeper: bool,
    /// How long the new worker is watched, the old one ready to come back [default: 30s].
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    soak: Option<Duration>,
    /// Cut a worker that still drains, if there would be too many.
    #[arg(long)]
    force: bool,
    /// Do not wait for what comes of it.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    node: Node,
}

#[derive(Deserialize, Serialize)]
struct Plan {
    plan: Vec<String>,
}

#[derive(Deserialize)]
struct State {
    upgrade: Option<UpgradeStatus>,
}

impl Upgrade {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.node.client()?;
        let before = look(&client)?.map_or(0, |upgrade| upgrade.number);
        // From here on Ctrl-C only ends watching.
        let signals = Signals::block(&[Signal::Interrupt, Signal::Terminate])?;
        let answer: Plan = client.send("POST", "/api/v1/upgrade", &self.order()?)?;
        let palette = Palette::of_stdout();
        if !self.node.json {
            for line in &answer.plan {
                show(&palette.lines(Paint::Dim, "", line))?;
            }
        }
        if self.no_wait {
            if self.node.json {
                show_json(&answer)?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let mut told = Told::new(self.node.json, palette);
        let Some(upgrade) = watch(&client, &signals, before, &mut told)? else {
            if !self.node.json {
                show("\nit goes on; see `evergate status`\n")?;
            }
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        };
        if self.node.json {
            show_json(&upgrade)?;
        } else {
            show(&last_words(&upgrade, palette))?;
        }
        Ok(if upgrade.outcome == "done" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn order(&self) -> anyhow::Result<serde_json::Value> {
        let binary = self.binary.as_ref().map(|binary| {
            let path = path::absolute(binary)
                .with_context(|| format!("cannot tell where {} is", binary.display()))?;
            let text = path.to_str();
            text.map(str::to_owned)
                .with_context(|| format!("{} is not UTF-8; give it another name", path.display()))
        });
        let parts = match (self.worker, self.keeper) {
            (true, _) => "worker",
            (false, true) => "keeper",
            (false, false) => "changed",
        };
        let soak_ms = self.soak.map(|soak| soak.as_millis() as u64);
        let binary = binary.transpose()?;
        Ok(json!({ "binary": binary, "parts": parts, "soak_ms": soak_ms, "force": self.force }))
    }
}

fn look(client: &Client) -> Result<Option<UpgradeStatus>, Failure> {
    client.get("/api/v1/upgrade").map(|state: State| state.upgrade)
}

/// Looks until the upgrade after number `before` is over; nothing if a signal came first.
fn watch(
    client: &Client,
    signals: &Signals,
    before: u32,
    told: &mut Told,
) -> anyhow::Result<Option<UpgradeStatus>> {
    let began = clock::now();
    let mut answered = began;
    loop {
        sleep(LOOK_EVERY);
        if matches!(signals.next(), Ok(Some(_))) {
            return Ok(None);
        }
        let now = clock::now();
        match look(client) {
            Ok(upgrade) => {
                answered = now;
                if let Some(upgrade) = upgrade.filter(|upgrade| upgrade.number > before) {
                    told.tell(&upgrade)?;
                    if upgrade.outcome != "under way" {
                        return Ok(Some(upgrade));
                    }
                } else {
                    ensure_shows(began, now)?;
                }
            }
            Err(failure @ Failure::Garbled(_)) => return Err(failure.into()),
            Err(failure) if now - answered > SILENCE_MAX => return Err(failure.into()),
            Err(_) => {}
        }
    }
}

fn ensure_shows(began: Instant, now: Instant) -> anyhow::Result<()> {
    if now - began > SHOW_MAX {
        anyhow::bail!("the upgrade was accepted but has not begun; see `evergate events`");
    }
    Ok(())
}

/// Which phases have been shown.
struct Told {
    quiet: bool,
    palette: Palette,
    begun: usize,
    ended: usize,
}

impl Told {
    fn new(quiet: bool, palette: Palette) -> Self {
        Self { quiet, palette, begun: 0, ended: 0 }
    }

    /// Shows what phases have begun and ended since the last look. A phase that lasts is shown when
    /// it begins, or nobody would know what is waited for.
    fn tell(&mut self, upgrade: &UpgradeStatus) -> std::io::Result<()> {
        if self.quiet {
            return Ok(());
        }
        for (index, step) in upgrade.steps.iter().enumerate() {
            let sentence = words::phase(&step.phase);
            if let Some(took) = step.took_ms {
                if index >= self.ended {
                    let line = format!("{:<10}{:>7} ms  {sentence}", step.phase, took);
                    show(&self.palette.lines(Paint::Normal, "", &line))?;
                    self.ended = index + 1;
                    self.begun = self.begun.max(index + 1);
                }
            } else if index >= self.begun {
                let line = format!("{:<10}{:>7}     {sentence} ...", step.phase, "");
                show(&self.palette.lines(Paint::Dim, "", &line))?;
                self.begun = index + 1;
            }
        }
        Ok(())
    }
}

fn last_words(upgrade: &UpgradeStatus, palette: Palette) -> String {
    let paint = match upgrade.outcome.as_str() {
        "done" => Paint::Good,
        "partial" => Paint::Warn,
        _ => Paint::Bad,
    };
    palette.lines(paint, "", &words::outcome(upgrade))
}

#[cfg(test)]
mod tests {
    use evergate_control::snapshot::UpgradeStepStatus;

    use super::*;

    #[test]
    fn every_end_says_who_serves() {
        let end = |outcome: &str, reason: Option<&str>| UpgradeStatus {
            version: "0.2.0".into(),
            outcome: outcome.into(),
            reason: reason.map(str::to_owned),
            steps: vec![UpgradeStepStatus { phase: "check".into(), at_ms: 1, took_ms: Some(12) }],
            ..UpgradeStatus::default()
        };
        let table = [
            ("done", None, "done: evergate 0.2.0 serves\n"),
            (
                "refused",
                Some("it exits"),
                "refused: it exits\nnothing was changed; the old one serves\n",
            ),
            (
                "returned",
                Some("its worker fails 40 % of its requests"),
                "returned: its worker fails 40 % of its requests\nthe old one serves again\n",
            ),
            (
                "partial",
                Some("it crashed"),
                "partial: it crashed\nthe worker is new, the keeper is the old one\n",
            ),
        ];
        for (outcome, reason, expected) in table {
            assert_eq!(last_words(&end(outcome, reason), Palette::Plain), expected);
        }
    }
}
