//! `evergate check`: every error and warning of a configuration.

use std::process::ExitCode;

use evergate_config::{Diagnostic, DiskAt, Severity};
use evergate_sys::clock;
use serde_json::{Value, json};

use super::ConfigFile;
use super::screen::{Palette, show, show_json};

/// Checks a configuration without applying it. Exits with 0 when it is good, 1 when not.
#[derive(clap::Args)]
pub(crate) struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Show the findings as JSON.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let file = self.file.path()?;
        let found = match evergate_config::load_with(&file, &DiskAt(clock::unix_seconds())) {
            Ok(loaded) => loaded.warnings,
            Err(found) => found,
        };
        let bad = found.iter().any(|one| one.severity == Severity::Error);
        if self.json {
            let diagnostics: Vec<Value> = found.iter().map(Diagnostic::to_json).collect();
            show_json(&json!({ "file": file, "ok": !bad, "diagnostics": diagnostics }))?;
        } else if found.is_empty() {
            show(&format!("{}: no errors, no warnings\n", file.display()))?;
        } else {
            show(&evergate_config::render(&found, Palette::of_stdout() == Palette::Colour))?;
        }
        Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
