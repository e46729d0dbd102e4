//! One wish about an app: asked for, told, and watched.

use std::process::ExitCode;

use evergate_sys::signal::{Signal, Signals};
use serde_json::json;

use super::Node;
use super::app::{Answer, AppName, Run, Verb, apps, wish};
use super::client::Failure;
use super::follow::{End, Follow, Goal};
use super::screen::{Paint, Palette, show, show_json};

/// Whether to watch.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Wait {
    /// Do not wait for what comes of it.
    #[arg(long)]
    no_wait: bool,
}

/// What is wanted of which app, and what is to come of it.
pub(super) struct Wish {
    pub(super) name: AppName,
    pub(super) verb: Verb,
    pub(super) goal: Goal,
}

impl Wish {
    /// Has the node do it, or only say what it would do; shows the plan and then how far it is.
    pub(super) fn carry_out(&self, node: &Node, run: Run, wait: Wait) -> anyhow::Result<ExitCode> {
        let client = node.client()?;
        let before = apps(&client)?;
        self.name.ensure_known(&before.apps)?;
        let follow = Follow::new(&self.name, self.goal, &before);
        // From here on Ctrl-C only ends watching.
        let signals = Signals::block(&[Signal::Interrupt, Signal::Terminate])?;
        let answer = match wish(&client, &self.name, self.verb, run) {
            Ok(answer) => answer,
            // Whoever says it twice has what they want.
            Err(Failure::Refused { .. }) if follow.is_so(&before) => return self.is_so(node),
            Err(failure) => return Err(failure.into()),
        };
        let palette = Palette::of_stdout();
        if !node.json {
            show(&plan(&answer, palette))?;
        }
        if run == Run::Dry || wait.no_wait {
            if node.json {
                show_json(&answer)?;
            } else if run == Run::Dry {
                show("nothing was done\n")?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let end = follow.watch(&client, &signals, node.json)?;
        if node.json {
            let (outcome, message) = match &end {
                End::Done(words) => ("done", words.as_str()),
                End::Failed(words) => ("failed", words.as_str()),
                End::Left => ("going", ""),
            };
            let Answer { plan, applied } = answer;
            let shown = json!({
                "plan": plan, "applied": applied, "outcome": outcome, "message": message,
            });
            show_json(&shown)?;
        } else {
            show(&self.last_words(&end, palette))?;
        }
        Ok(end.exit_code())
    }

    fn is_so(&self, node: &Node) -> anyhow::Result<ExitCode> {
        let words = format!("{} {} already", self.name, self.goal.words());
        if node.json {
            let shown = json!({
                "plan": [], "applied": false, "outcome": "done", "message": words,
            });
            show_json(&shown)?;
        } else {
            show(&format!("{words}\n"))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn last_words(&self, end: &End, palette: Palette) -> String {
        match end {
            End::Done(words) => palette.lines(Paint::Good, "", &format!("done: {words}")),
            End::Failed(words) => palette.lines(Paint::Bad, "", &format!("failed: {words}")),
            End::Left => {
                let abort = match self.verb {
                    Verb::Deploy | Verb::Restart => {
                        format!(", give it up with `evergate deploy {} --abort`", self.name.app)
                    }
                    Verb::Start | Verb::Stop | Verb::Abort => String::new(),
                };
                format!("\nit goes on; see `evergate apps {}`{abort}\n", self.name.app)
            }
        }
    }
}

fn plan(answer: &Answer, palette: Palette) -> String {
    answer.plan.iter().map(|line| palette.lines(Paint::Normal, "", line)).collect()
}
