//! `evergate run`: the keeper, in the foreground.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use evergate_keeper::{Options, Outcome};

use crate::ctl::ConfigFile;

/// Runs the node in the foreground, until SIGTERM or SIGINT.
#[derive(clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    file: ConfigFile,
}

impl Run {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        run(&self.file.path()?)
    }
}

fn run(file: &Path) -> anyhow::Result<ExitCode> {
    // Without the file's absolute path a reload would depend on where we were started.
    let file = std::path::absolute(file)
        .with_context(|| format!("cannot tell where {} is", file.display()))?;
    let program = std::env::current_exe().context("cannot find our own binary")?;
    let config_dir = file.parent().unwrap_or(Path::new("/")).to_owned();
    let outcome = evergate_keeper::run(Options {
        program,
        args: vec!["worker".into(), file.into_os_string()],
        config_dir,
        worker_user: None,
        worker_policy: Default::default(),
    })?;
    Ok(match outcome {
        Outcome::Stopped => ExitCode::SUCCESS,
        Outcome::Hopeless => ExitCode::FAILURE,
    })
}
