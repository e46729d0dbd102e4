//! `evergate maintenance`: take this node out of service, and back.

use std::process::ExitCode;

use serde_json::json;

use super::Node;
use super::failover::{Patience, give_up};

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
        let client = self.node.client()?;
        let order = json!({ "on": matches!(self.state, Switch::On) });
        give_up(&self.node, &client, ("/api/v1/maintenance", &order), &self.patience)
    }
}
