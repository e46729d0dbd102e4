//! `evergate confirm`: keep the configuration on trial.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Node;
use super::screen::{show, show_json};

/// Keeps the configuration that `evergate reload --confirm` put in force.
///
/// Exits with 1 if there is nothing to confirm, or if it is too late.
#[derive(clap::Args)]
pub(crate) struct Confirm {
    #[command(flatten)]
    node: Node,
}

#[derive(Deserialize, Serialize)]
struct Answer {
    confirmed: String,
}

impl Confirm {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let answer: Answer = self.node.client()?.send("POST", "/api/v1/confirm", &json!({}))?;
        if self.node.json {
            show_json(&answer)?;
        } else {
            show(&format!("{}\n", answer.confirmed))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
