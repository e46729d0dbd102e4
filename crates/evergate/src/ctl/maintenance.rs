//! `evergate maintenance`: take this node out of service, and back.

use std::process::ExitCode;

use serde_json::json;

use super::Node;
use super::failover::{Patience, give_up, order};

/// Takes this node out of service, or puts it back.
///
/// `on`: peers get every virtual address, in order and without losing a request, and this node takes
/// part no more, whatever happens to them, until `off`. It goes on serving on its own addresses.
#[derive(clap::Args)]
pub(crate) struct Maintenance {
    #[arg(value_enum)]
    state: Switch,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    node: Node,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Switch {
    /// Out of service.
    On,
    /// Back.
    Off,
}

impl Maintenance {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        const PATH: &str = "/api/v1/maintenance";
        let client = self.node.client()?;
        match self.state {
            Switch::On => {
                give_up(&self.node, &client, (PATH, &json!({ "on": true })), &self.patience)
            }
            // Whether an address comes back is for the nodes to settle: there is nothing to wait for.
            Switch::Off => {
                let answer = order(&self.node, &client, (PATH, &json!({ "on": false })))?;
                answer.show_json(&self.node)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
