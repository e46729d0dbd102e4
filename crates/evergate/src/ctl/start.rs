//! `evergate start` and `stop`: run an app or one of its instances, and leave it stopped.

use std::process::ExitCode;

use super::Node;
use super::app::{AppName, Run, Verb};
use super::follow::Goal;
use super::wish::{Wait, Wish};

/// Starts an app, or one instance of it, whatever stopped it; waits until it is ready.
#[derive(clap::Args)]
pub(crate) struct Start {
    #[arg(value_name = "APP[/N]")]
    app: AppName,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    node: Node,
}

/// Stops an app, or one instance of it: no new requests, those in flight finish, then it ends.
///
/// It stays stopped until it is started, or Evergate itself is.
#[derive(clap::Args)]
pub(crate) struct Stop {
    #[arg(value_name = "APP[/N]")]
    app: AppName,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    node: Node,
}

impl Start {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let wish = Wish { name: self.app, verb: Verb::Start, goal: Goal::Ready };
        wish.carry_out(&self.node, Run::Wet, self.wait)
    }
}

impl Stop {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let wish = Wish { name: self.app, verb: Verb::Stop, goal: Goal::Stopped };
        wish.carry_out(&self.node, Run::Wet, self.wait)
    }
}
