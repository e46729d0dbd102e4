//! `evergate weight`: another share for one server.

use std::process::ExitCode;

use serde_json::json;

use super::drain::change;
use super::{Node, ServerName};

/// Gives a server another weight until its pool changes; 0 is like drain.
#[derive(clap::Args)]
pub(crate) struct Weight {
    /// POOL/SERVER
    server: ServerName,
    /// 0 to 65535; its share is this weight among all.
    #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(u16))]
    weight: u16,
    #[command(flatten)]
    node: Node,
}

impl Weight {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        change(&self.node, &self.server, &json!({ "weight": self.weight }))
    }
}
