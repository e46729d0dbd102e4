//! `evergate run`: the keeper, in the foreground.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use evergate_keeper::{Options, Outcome, Resuming};

use crate::ctl::ConfigFile;
use crate::fault;

/// Runs the node in the foreground, until SIGTERM or SIGINT.
#[derive(clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    file: ConfigFile,
    /// What a keeper that becomes another binary tells itself.
    #[arg(long, hide = true)]
    resume: Option<String>,
    /// Why it is the same binary again.
    #[arg(long, hide = true, allow_hyphen_values = true)]
    came_back: Option<String>,
}

impl Run {
    pub(crate) fn run(self, resuming: Option<Resuming>) -> anyhow::Result<ExitCode> {
        if resuming.is_none() && (self.resume.is_some() || self.came_back.is_some()) {
            bail!("--resume and --came-back are what a keeper tells itself, and nobody else");
        }
        let outcome = match resuming {
            Some(resuming) => {
                fault::in_resume();
                evergate_keeper::resume(resuming.options()?, resuming)?
            }
            None => evergate_keeper::run(options(&self.file.path()?)?)?,
        };
        Ok(match outcome {
            Outcome::Stopped => ExitCode::SUCCESS,
            Outcome::Hopeless => ExitCode::FAILURE,
        })
    }
}

fn options(file: &Path) -> anyhow::Result<Options> {
    // Without the file's absolute path a reload would depend on where we were started.
    let file = std::path::absolute(file)
        .with_context(|| format!("cannot tell where {} is", file.display()))?;
    let program = std::env::current_exe().context("cannot find our own binary")?;
    let config_dir = file.parent().unwrap_or(Path::new("/")).to_owned();
    Ok(Options {
        program,
        args: vec!["worker".into(), file.into_os_string()],
        config_dir,
        worker_user: None,
        worker_policy: Default::default(),
        upgrade_policy: Default::default(),
    })
}
