//! `evergate reference`: every key of the configuration.

use std::process::ExitCode;

use serde_json::json;

use super::screen::{show, show_json};

/// Prints every key with its type, default and meaning, as Markdown.
#[derive(clap::Args)]
pub(crate) struct Reference {
    /// Show the Markdown inside of JSON; `evergate schema` has the same facts for programs.
    #[arg(long)]
    json: bool,
}

impl Reference {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let reference = evergate_config::reference();
        if self.json {
            show_json(&json!({ "markdown": reference }))?;
        } else {
            show(&reference)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
