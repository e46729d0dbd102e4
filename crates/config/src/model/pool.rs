//! Groups of servers, and what is spoken with them.

use std::collections::BTreeMap;
use std::time::Duration;

use evergate_core::{balance, health, retry};
use evergate_pki::Authorities;

use super::{Certificate, FileOf, Template};

/// `[pool.NAME]`
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Default: round robin.
    pub balance: balance::Policy,
    /// What [`balance::Policy::Hash`] hashes.
    pub hash_key: Template,
    /// Keyed by name; at least one.
    pub servers: BTreeMap<String, Server>,
    /// For one connection attempt. Default: 1 s.
    pub connect_timeout: Duration,
    /// Idle upstream connections per thread and server. Default: 64.
    pub keepalive: u32,
    /// Default: 2 attempts on connect, 502, 503, 504, budget 20 %.
    pub retry: retry::Policy,
    /// Ejects servers whose requests fail. Default: 5 in a row, 30 s, half of the pool.
    pub outlier: health::OutlierPolicy,
    /// What to do when no server is up.
    pub all_down: AllDown,
    /// A server that comes back gets its whole weight after this. Default: 0 s.
    pub slow_start: Duration,
    /// Active checks; all must pass.
    pub checks: Vec<Check>,
    /// What is spoken with the servers. Default: HTTP/1.1.
    pub protocol: Protocol,
    /// How servers with an `https` URL are met; the defaults if no `tls` is written.
    pub tls: UpstreamTls,
    /// Whether connections to servers begin with a PROXY header of version 2. Default: false.
    pub proxy_protocol: bool,
}

/// What is spoken with a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// HTTP/1.1
    Http1,
    /// HTTP/2, by ALPN with TLS, by prior knowledge without; what gRPC needs.
    Http2,
}

/// `pool.NAME.tls`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UpstreamTls {
    /// Whether a server's certificate must be good. Default: true.
    pub verify: bool,
    /// Who vouches for servers. Default: whom browsers believe.
    pub ca: Option<FileOf<Authorities>>,
    /// What we show to servers that ask for it.
    pub identity: Option<Certificate>,
    /// The name asked for and verified. Default: the host of the server's URL.
    pub server_name: Option<String>,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self { verify: true, ca: None, identity: None, server_name: None }
    }
}

/// One server of a pool.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    /// Where it is.
    pub target: Target,
    /// Share of requests. Default: 1.
    pub weight: u16,
}

/// Where a server is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// `http://host:port` or `https://host:port`
    Url {
        /// Whether it is `https`.
        tls: bool,
        /// A name or an address (IPv6 without brackets).
        host: String,
        /// Default: 80, or 443 with `https`.
        port: u16,
    },
    /// The instances of `[app.NAME]`, each a server of its own.
    App(String),
}

/// What a pool does when no server is up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AllDown {
    /// Answer 503.
    Unavailable,
    /// Act as if all were up.
    TryAll,
}

/// An active check.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// When and how often.
    pub policy: health::CheckPolicy,
    /// What is done.
    pub probe: Probe,
}

/// What an active check does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Probe {
    /// `check.http`: a GET whose status must be expected; over TLS where the server's URL says so,
    /// and over the pool's protocol.
    Http {
        /// Starts with `/`. Default: `/`.
        path: String,
        /// `Host` sent. Default: the server's address.
        host: Option<String>,
        /// Statuses that pass. Default: 200-299.
        expect: Vec<std::ops::RangeInclusive<u16>>,
    },
    /// `check.tcp`: a connection must be accepted.
    Tcp,
    /// `check.grpc`: the service must be SERVING (grpc.health.v1.Health/Check). Only with
    /// [`Protocol::Http2`].
    Grpc {
        /// Which service is asked about. Default: empty, the server as a whole.
        service: String,
    },
}
