//! `evergate watcher`: what a keeper with virtual addresses starts beside itself.

use std::process::ExitCode;

/// Gives the keeper's virtual addresses up if the keeper dies; started by the keeper itself.
#[derive(clap::Args)]
pub(crate) struct Watcher {}

impl Watcher {
    #[expect(clippy::unused_self, reason = "every subcommand is run this way")]
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        evergate_keeper::watch()?;
        Ok(ExitCode::SUCCESS)
    }
}
