//! `evergate schema`: the configuration's JSON Schema, for editors.

use std::process::ExitCode;

use super::screen::show;

/// Prints the JSON Schema of the configuration.
#[derive(clap::Args)]
pub(crate) struct Schema {
    /// Has no effect: the schema is JSON anyway.
    #[arg(long, hide = true)]
    json: bool,
}

impl Schema {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        show(&format!("{:#}\n", evergate_config::schema()))?;
        Ok(ExitCode::SUCCESS)
    }
}
