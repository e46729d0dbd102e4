//! The command line's client side: one subcommand, one file, one `run`.
//!
//! Commands ask a running node over its admin socket ([`client`]), except those about files. What
//! they print is made by pure functions from the answers and shown at once ([`screen`]).

pub(crate) mod app;
pub(crate) mod apps;
pub(crate) mod changes;
pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod confirm;
pub(crate) mod deploy;
pub(crate) mod drain;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod failover;
pub(crate) mod fmt;
pub(crate) mod follow;
pub(crate) mod import;
pub(crate) mod logs;
pub(crate) mod maintenance;
pub(crate) mod reference;
pub(crate) mod reload;
pub(crate) mod restart;
pub(crate) mod rollback;
pub(crate) mod schema;
pub(crate) mod screen;
pub(crate) mod standby;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod table;
pub(crate) mod time;
pub(crate) mod top;
pub(crate) mod upgrade;
pub(crate) mod weight;
pub(crate) mod wish;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use client::{Client, Failure};

/// Where the admin socket is, unless the command line says otherwise.
const SOCKET_DEFAULT: &str = "/run/evergate/admin.sock";
/// Where the configuration is looked for, in this order.
const FILES_DEFAULT: [&str; 2] = ["/etc/evergate/evergate.toml", "evergate.toml"];
/// Exit code of a command whose node does not answer, the same as `status` gives when it is down.
const EXIT_DOWN: u8 = 3;
/// Exit code of a command that Ctrl-C ended, as of a shell.
const EXIT_INTERRUPTED: u8 = 130;

/// Which configuration file is meant, for commands about files.
#[derive(clap::Args)]
pub(crate) struct ConfigFile {
    /// Configuration file [default: /etc/evergate/evergate.toml, then ./evergate.toml].
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Configuration file, as with `-c`.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
}

impl ConfigFile {
    /// The file as given, or the first default that exists.
    pub(crate) fn path(&self) -> anyhow::Result<PathBuf> {
        match self.config.as_ref().or(self.file.as_ref()) {
            Some(given) => Ok(given.clone()),
            None => default_file().with_context(|| {
                format!(
                    "there is no {}\n  help: name your configuration with -c FILE",
                    FILES_DEFAULT.join(" and no ./")
                )
            }),
        }
    }
}

/// The first default that exists.
fn default_file() -> Option<PathBuf> {
    FILES_DEFAULT.iter().map(PathBuf::from).find(|file| file.exists())
}

/// Which node to ask, and how to show the answer.
#[derive(clap::Args)]
pub(crate) struct Node {
    /// Admin socket of the node [default: that of the file].
    #[arg(long, value_name = "PATH", help_heading = "Node")]
    socket: Option<PathBuf>,
    /// Configuration file of the node, whose `run_dir` holds the socket
    /// [default: /etc/evergate/evergate.toml, then ./evergate.toml].
    #[arg(short, long, value_name = "FILE", help_heading = "Node")]
    config: Option<PathBuf>,
    /// Show the answer as JSON.
    #[arg(long, help_heading = "Node")]
    pub(crate) json: bool,
}

impl Node {
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(self.socket()?))
    }

    fn socket(&self) -> anyhow::Result<PathBuf> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let Some(file) = self.config.clone().or_else(default_file) else {
            return Ok(PathBuf::from(SOCKET_DEFAULT));
        };
        // A node goes on as it was before its file had errors, so they do not stop this command.
        // But another node must never be asked in its place.
        let run_dir = match evergate_config::load(&file) {
            Ok(loaded) => Some(loaded.config.node.run_dir),
            Err(_) => match evergate_config::read_file(&file) {
                Ok(text) => evergate_config::run_dir(&text),
                Err(_) if self.config.is_none() => return Ok(PathBuf::from(SOCKET_DEFAULT)),
                Err(found) => bail!("{}{}", found.message, help(&found)),
            },
        };
        run_dir.map(|directory| directory.join("admin.sock")).with_context(|| {
            format!(
                "{0} has errors, so where its node's socket is cannot be told\n  help: see \
                 `evergate check -c {0}`, or name the socket with --socket",
                file.display()
            )
        })
    }
}

fn help(found: &evergate_config::Diagnostic) -> String {
    found.help.as_ref().map(|help| format!("\n  help: {help}")).unwrap_or_default()
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
