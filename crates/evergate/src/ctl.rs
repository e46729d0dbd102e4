//! The command line's client side: one subcommand, one file, one `run`.
//!
//! Commands ask a running node over its admin socket ([`client`]), except those about files. What
//! they print is made by pure functions from the answers and shown at once ([`screen`]).

pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod drain;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod fmt;
pub(crate) mod reference;
pub(crate) mod reload;
pub(crate) mod schema;
pub(crate) mod screen;
pub(crate) mod status;
pub(crate) mod table;
pub(crate) mod top;
pub(crate) mod weight;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use client::{Client, Failure};

/// Where the admin socket is, unless the command line says otherwise.
const SOCKET_DEFAULT: &str = "/run/evergate/admin.sock";
/// Where the configuration is looked for, in this order.
const FILES_DEFAULT: [&str; 2] = ["/etc/evergate/evergate.toml", "evergate.toml"];
/// Exit code of a command whose node does not answer, the same as `status` gives when it is down.
const EXIT_DOWN: u8 = 3;

/// Which node to ask, and how to show the answer.
#[derive(clap::Args)]
pub(crate) struct Node {
    /// Admin socket of the node [default: of the file, then /run/evergate/admin.sock].
    #[arg(long, value_name = "PATH", help_heading = "Node")]
    socket: Option<PathBuf>,
    /// Configuration file whose `run_dir` holds the socket.
    #[arg(short, long, value_name = "FILE", help_heading = "Node")]
    config: Option<PathBuf>,
    /// Show the answer as JSON.
    #[arg(long, help_heading = "Node")]
    pub(crate) json: bool,
}

impl Node {
    pub(crate) fn client(&self) -> Client {
        Client::new(self.socket())
    }

    fn socket(&self) -> PathBuf {
        if let Some(socket) = &self.socket {
            return socket.clone();
        }
        // A file with errors still runs as it was before them, so it does not stop this command.
        let loaded = self.config.as_deref().and_then(|file| evergate_config::load(file).ok());
        match loaded {
            Some(loaded) => loaded.config.node.run_dir.join("admin.sock"),
            None => PathBuf::from(SOCKET_DEFAULT),
        }
    }
}

/// The configuration file to use: as given, or the first default that exists, or the first default.
pub(crate) fn config_file(given: Option<&Path>) -> PathBuf {
    if let Some(given) = given {
        return given.to_path_buf();
    }
    let found = FILES_DEFAULT.iter().find(|file| Path::new(file).exists());
    PathBuf::from(found.unwrap_or(&FILES_DEFAULT[0]))
}

/// The exit code for an error that ended a command.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<Failure>() {
        Some(Failure::Unreachable { .. }) => ExitCode::from(EXIT_DOWN),
        Some(Failure::Cut(_) | Failure::Garbled(_) | Failure::Refused { .. }) | None => {
            ExitCode::FAILURE
        }
    }
}

/// A pool and one of its servers, as `POOL/SERVER`; the server's name may have slashes itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ServerName {
    pool: String,
    server: String,
}

impl ServerName {
    /// The path of this server in the admin API.
    pub(crate) fn path(&self) -> String {
        let (pool, server) = (client::percent(&self.pool), client::percent(&self.server));
        format!("/api/v1/pools/{pool}/servers/{server}")
    }
}

impl std::str::FromStr for ServerName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((pool, server)) if !pool.is_empty() && !server.is_empty() => {
                Ok(Self { pool: pool.to_owned(), server: server.to_owned() })
            }
            Some(_) | None => Err("a server is named POOL/SERVER, such as api/a or shop/shop/0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_by_pool_and_server() {
        let name: ServerName = "shop/shop/0".parse().unwrap();
        assert_eq!(name.path(), "/api/v1/pools/shop/servers/shop%2F0");
        for text in ["", "shop", "/a", "shop/"] {
            assert!(text.parse::<ServerName>().is_err(), "{text}");
        }
    }
}
