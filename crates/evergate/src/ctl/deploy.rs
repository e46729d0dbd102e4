//! `evergate deploy`: roll the next revision of an app out.

use std::process::ExitCode;

use super::Node;
use super::app::{AppName, Run, Verb};
use super::follow::Goal;
use super::wish::{Wait, Wish};

/// Replaces the runs of an app in turn by those of what its paths lead to now.
///
/// Prints the plan first, then how far it is. The first new run is watched beside the old ones; if
/// it or a later one fails, the old revision goes on. Exits with 1 then. Ctrl-C only ends watching.
#[derive(clap::Args)]
pub(crate) struct Deploy {
    #[arg(value_name = "APP", value_parser = whole_app)]
    app: AppName,
    /// Only print the plan.
    #[arg(long, conflicts_with = "abort")]
    dry_run: bool,
    /// Give up the deploy that is under way, as if a new run had failed.
    #[arg(long)]
    abort: bool,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    node: Node,
}

impl Deploy {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let (verb, goal) =
            if self.abort { (Verb::Abort, Goal::GivenUp) } else { (Verb::Deploy, Goal::Replaced) };
        let run = if self.dry_run { Run::Dry } else { Run::Wet };
        Wish { name: self.app, verb, goal }.carry_out(&self.node, run, self.wait)
    }
}

fn whole_app(text: &str) -> Result<AppName, &'static str> {
    let name: AppName = text.parse()?;
    match name.instance {
        None => Ok(name),
        Some(_) => Err("a revision is rolled out to all instances; `restart APP/N` replaces one"),
    }
}
