//! A valid configuration: what the rest of Evergate works with.
//!
//! Everything here was checked: names resolve, addresses parse, exactly one action stands in each
//! route. Maps are keyed by the names in the file, which stay the same across reloads.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

mod acme;
mod app;
mod files;
mod listener;
mod middleware;
mod pool;
mod route;
mod vip;

pub use evergate_core::files::Coding;

pub use acme::*;
pub use app::*;
pub use files::*;
pub use listener::*;
pub use middleware::*;
pub use pool::*;
pub use route::*;
pub use vip::*;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// This machine.
    pub node: Node,
    /// The admin API.
    pub admin: Admin,
    /// Logs.
    pub log: Log,
    /// Where clients connect.
    pub listeners: BTreeMap<String, Listener>,
    /// Where certificates are had from.
    pub acme: BTreeMap<String, Acme>,
    /// What to do with which request.
    pub routes: BTreeMap<String, Route>,
    /// Filters that routes name in `use`.
    pub middleware: BTreeMap<String, Middleware>,
    /// Groups of servers.
    pub pools: BTreeMap<String, Pool>,
    /// Processes that the keeper runs.
    pub apps: BTreeMap<String, App>,
    /// Addresses that move between machines.
    pub vips: BTreeMap<String, Vip>,
    /// How the machines tell each other that they live.
    pub heartbeat: Heartbeat,
    /// The other machines.
    pub peers: BTreeMap<String, Peer>,
    /// Every file it was read from (`include` and `${file:…}` too), to be watched for changes.
    pub files: Vec<PathBuf>,
}

/// `[node]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// Default: the host name.
    pub name: String,
    /// Default: `/var/lib/evergate`.
    pub state_dir: PathBuf,
    /// Default: `/run/evergate`.
    pub run_dir: PathBuf,
    /// Where what apps print is kept. Default: `log` in [`Self::state_dir`].
    pub log_dir: PathBuf,
    /// Data-plane threads; `None` is one per core.
    pub threads: Option<u16>,
    /// Whom the worker becomes when started by root. Default: `nobody`.
    pub user: String,
    /// When the configuration is read again. Default: [`Reload::OnChange`].
    pub reload: Reload,
}

/// `node.reload`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reload {
    /// When a file that it was read from changes, and when asked.
    OnChange,
    /// Only when asked.
    OnRequest,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// TCP addresses beside the socket `run_dir/admin.sock`. Default: none.
    pub bind: Vec<SocketAddr>,
    /// Who may connect over TCP. Default: loopback.
    pub allow: Vec<IpNet>,
    /// Bearer token that may read. Without tokens everybody in `allow` may read, and nobody may
    /// change anything over TCP.
    pub viewer: Option<Secret>,
    /// Bearer token that may change things.
    pub operator: Option<Secret>,
}

/// `[log]`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Log {
    /// Least severity that is written. Default: info.
    pub level: Level,
    /// Of events and errors. Default: JSON.
    pub format: LogFormat,
    /// Of requests. Default: JSON.
    pub access: AccessLog,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "each variant is the level of the same name")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Shape of event lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Shape of access log lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AccessLog {
    /// One JSON object a line.
    Json,
    /// The Combined Log Format of Apache and nginx.
    Combined,
    /// None.
    Off,
}

/// Text that must not be shown: neither `Debug` nor any message prints it.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for comparing only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
