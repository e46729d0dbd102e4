//! `evergate drain` and `undrain`: take a server out, and back.

use std::process::ExitCode;

use evergate_control::snapshot::ServerStatus;
use serde_json::json;

use super::screen::{show, show_json};
use super::{Node, ServerName};

/// Sends no new requests to a server; those in flight finish. Holds until its pool changes.
#[derive(clap::Args)]
pub(crate) struct Drain {
    /// POOL/SERVER
    server: ServerName,
    #[command(flatten)]
    node: Node,
}

/// Sends requests to a drained server again.
#[derive(clap::Args)]
pub(crate) struct Undrain {
    /// POOL/SERVER
    server: ServerName,
    #[command(flatten)]
    node: Node,
}

impl Drain {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        change(&self.node, &self.server, &json!({ "state": "drain" }))
    }
}

impl Undrain {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        change(&self.node, &self.server, &json!({ "state": "ready" }))
    }
}

/// Changes a server and shows how it is then.
pub(super) fn change(
    node: &Node,
    server: &ServerName,
    wish: &serde_json::Value,
) -> anyhow::Result<ExitCode> {
    let now: ServerStatus = node.client()?.send("PATCH", &server.path(), wish)?;
    if node.json {
        show_json(&now)?;
    } else {
        let ServerStatus { name, state, weight, in_flight, .. } = now;
        show(&format!("{name}: {state}, weight {weight}, {in_flight} in flight\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
