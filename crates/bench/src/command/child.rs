//! `evergate-bench child`: how contenders are started.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;
use evergate_bench::process;

#[derive(Debug, Args)]
pub(crate) struct Child {
    /// Core to run on. [default: any]
    #[arg(long)]
    core: Option<usize>,
    /// Process whose end is ours.
    #[arg(long)]
    parent: u32,
    /// Program and arguments.
    #[arg(last = true, required = true)]
    argv: Vec<OsString>,
}

impl Child {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        process::become_child(self.core, self.parent, &self.argv)?;
        Ok(ExitCode::FAILURE)
    }
}
