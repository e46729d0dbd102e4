//! `evergate-bench app`: a process that says when it began, and serves.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use evergate_bench::case::BODY_BYTES;
use evergate_bench::generator::Generator;
use evergate_bench::origin::Origin;
use evergate_bench::restarts::births;

#[derive(Debug, Args)]
pub(crate) struct App {
    /// Socket of whoever wants to know.
    #[arg(long)]
    births: PathBuf,
    /// Which instance it is. [default: INSTANCE]
    #[arg(long)]
    number: Option<u16>,
}

impl App {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let number = |name: &str| -> anyhow::Result<u16> {
            let text = env::var(name).with_context(|| format!("{name} is not set"))?;
            Ok(text.parse()?)
        };
        let instance = self.number.map_or_else(|| number("INSTANCE"), Ok)?;
        births::announce(&self.births, instance).context("nobody wants to know")?;
        let origin = Origin::listen(([127, 0, 0, 1], number("PORT")?).into(), &BODY_BYTES)?;
        Generator::new(Some(origin))?.run_until(|_, _| false)?;
        Ok(ExitCode::SUCCESS)
    }
}
