//! `evergate restart`: replace the runs of an app in turn, without losing a request.

use std::process::ExitCode;

use super::Node;
use super::app::{AppName, Run, Verb};
use super::follow::Goal;
use super::wish::{Wait, Wish};

/// Replaces the runs of an app in turn by others of the same revision, or one instance's.
///
/// Prints the plan first. Requests go on being answered by the instances that are ready.
#[derive(clap::Args)]
pub(crate) struct Restart {
    #[arg(value_name = "APP[/N]")]
    app: AppName,
    /// Only print the plan.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    node: Node,
}

impl Restart {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let run = if self.dry_run { Run::Dry } else { Run::Wet };
        let wish = Wish { name: self.app, verb: Verb::Restart, goal: Goal::Replaced };
        wish.carry_out(&self.node, run, self.wait)
    }
}
