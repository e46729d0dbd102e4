//! A valid configuration: what the rest of Evergate works with.
//!
//! Everything here was checked: names resolve, addresses parse, exactly one action stands in each
//! route. Maps are keyed by the names in the file, which stay the same across reloads.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use evergate_core::{balance, health, retry};
use ipnet::IpNet;

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
    /// What to do with which request.
    pub routes: BTreeMap<String, Route>,
    /// Filters that routes name in `use`.
    pub middleware: BTreeMap<String, Middleware>,
    /// Groups of servers.
    pub pools: BTreeMap<String, Pool>,
    /// Processes that the keeper runs.
    pub apps: BTreeMap<String, App>,
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
    /// Data-plane threads; `None` is one per core.
    pub threads: Option<u16>,
    /// Whom the worker becomes when started by root. Default: `nobody`.
    pub user: String,
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

/// `[listener.NAME]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listener {
    /// Addresses to listen on; at least one.
    pub bind: Vec<SocketAddr>,
    /// Whose forwarding headers are believed. Default: nobody's.
    pub trusted_proxies: Vec<IpNet>,
    /// Bounds on what clients may do.
    pub limits: Limits,
}

/// `listener.NAME.limits`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Connections at once. Default: 20000.
    pub connections: u32,
    /// Connections at once from one address. Default: 128.
    pub connections_per_ip: u32,
    /// Bytes of a request head. Default: 32 KiB.
    pub header: u32,
    /// Fields of a request head. Default: 100.
    pub headers: u16,
    /// Bytes of a request target. Default: 8 KiB.
    pub uri: u32,
    /// Bytes of a request body. Default: 10 MiB.
    pub body: u64,
    /// From a request's first byte to its last header byte. Default: 10 s.
    pub header_timeout: Duration,
    /// Silence on a keep-alive connection or tunnel. Default: 60 s.
    pub idle_timeout: Duration,
    /// Requests on one connection. Default: 1000.
    pub requests: u32,
    /// Bytes a second that a body must move, either way, after `body_grace`. Default: 1 KiB.
    pub body_rate_min: u32,
    /// Time before `body_rate_min` counts. Default: 5 s.
    pub body_grace: Duration,
}

/// `[route.NAME]`
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// `match`, as written.
    pub pattern: String,
    /// Host part of the match.
    pub host: Host,
    /// Path part of the match in the router's syntax: starts with `/`, holds `{param}` and at the
    /// end perhaps `{*rest}` (a trailing `*` is lowered to `{*rest}`).
    pub path: String,
    /// Methods it takes; empty is all.
    pub methods: Vec<String>,
    /// Conditions on header fields, all of which must hold.
    pub headers: Vec<HeaderMatch>,
    /// Listeners it serves; empty is all.
    pub listeners: Vec<String>,
    /// Middleware, in this order.
    pub middleware: Vec<String>,
    /// One deadline, retries included. Default: 60 s.
    pub timeout: Duration,
    /// What it does.
    pub action: Action,
    /// What the server gets to see as the path.
    pub rewrite: Rewrite,
    /// `file:line` where it stands, for messages.
    pub origin: String,
}

/// The host part of a route's match.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Host {
    /// Exactly this name, lower case, without port.
    Exact(String),
    /// Any name one or more labels below this one: `*.example.org` is held as `example.org`.
    Below(String),
    /// Any.
    Any,
}

/// A condition on one header field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeaderMatch {
    /// Lower case.
    pub name: String,
    /// What the value must be.
    pub value: ValueMatch,
}

/// A condition on a field's value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ValueMatch {
    /// Exactly this.
    Exact(String),
    /// This regular expression (syntax of `regex-lite`) matches the whole value; it compiles.
    Regex(String),
}

/// What a route does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Forward to a server of this pool.
    Pool(String),
    /// Answer with a redirect.
    Redirect {
        /// `Location`.
        to: Template,
        /// 301, 302, 303, 307 or 308. Default: 308.
        status: u16,
    },
    /// Answer with a fixed response.
    Respond {
        /// Default: 200.
        status: u16,
        /// Default: empty.
        body: String,
        /// Default: `text/plain; charset=utf-8`.
        content_type: String,
    },
    /// Answer with the state of the node.
    Health(HealthDetail),
}

/// How much the `health` action tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HealthDetail {
    /// `ok`, `degraded` or `down`.
    Status,
    /// Pools and servers with their states and reasons.
    Full,
}

/// How the path is changed on its way to the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Rewrite {
    /// Not at all.
    None,
    /// Without this prefix (starts with `/`, does not end with it).
    StripPrefix(String),
    /// A new path.
    To(Template),
}

/// Text with `{variables}`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Template {
    /// In order.
    pub parts: Vec<Part>,
}

/// A piece of a [`Template`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Part {
    /// As it stands.
    Literal(String),
    /// `{client_ip}`
    ClientIp,
    /// `{host}`: without port.
    Host,
    /// `{path}`
    Path,
    /// `{query}`: with its `?`, or empty.
    Query,
    /// `{route}`: the route's name.
    Route,
    /// `{header:NAME}`: the field's first value, or empty.
    Header(String),
    /// `{cookie:NAME}`: the cookie's value, or empty.
    Cookie(String),
    /// `{NAME}`: what a parameter of the route's match stood for.
    Param(String),
}

/// `[middleware.NAME]`
#[derive(Clone, Debug, PartialEq)]
pub enum Middleware {
    /// `headers`
    Headers(Headers),
    /// `ip`
    Ip(IpRules),
    /// `api_key`
    ApiKey(ApiKey),
    /// `cors`
    Cors(Cors),
}

/// Changes to header fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers {
    /// On the way to the server.
    pub request: HeaderEdits,
    /// On the way to the client.
    pub response: HeaderEdits,
}

/// Changes to one direction's header fields, done in the order remove, set, add.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderEdits {
    /// Put in place of any field of that name.
    pub set: Vec<(String, Template)>,
    /// Added beside fields of that name.
    pub add: Vec<(String, Template)>,
    /// Taken out.
    pub remove: Vec<String>,
}

/// Who may pass: not `deny`, and if `allow` is not empty, only those.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IpRules {
    /// Addresses let in; empty is everybody.
    pub allow: Vec<IpNet>,
    /// Addresses kept out, before `allow` is asked.
    pub deny: Vec<IpNet>,
}

/// A shared key in a header field.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    /// The field. Default: `x-api-key`.
    pub header: String,
    /// Any of these opens; a `${file:…}` holds one key a line, empty lines and `#` comments aside.
    pub keys: Vec<Secret>,
}

/// Cross-origin resource sharing (WHATWG Fetch, 3.2).
#[derive(Clone, Debug, PartialEq)]
pub struct Cors {
    /// Origins let in, exact; one `*` is any.
    pub origins: Vec<String>,
    /// Methods let in. Default: GET, HEAD, POST.
    pub methods: Vec<String>,
    /// Request fields let in beside the safelisted.
    pub headers: Vec<String>,
    /// Response fields scripts may read.
    pub expose: Vec<String>,
    /// Whether cookies go along; never together with `*`.
    pub credentials: bool,
    /// How long a preflight may be remembered. Default: 10 min.
    pub max_age: Duration,
}

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
    /// `http://host:port`
    Url {
        /// A name or an address (IPv6 without brackets).
        host: String,
        /// Default: 80.
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
    /// `check.http`: a GET whose status must be expected.
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
}

/// `[app.NAME]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct App {
    /// Program and arguments; the program is an absolute path or found in `PATH`.
    pub run: Vec<String>,
    /// How many. Default: 1.
    pub instances: u16,
    /// Added to the keeper's environment.
    pub env: BTreeMap<String, String>,
    /// Default: the keeper's.
    pub cwd: Option<PathBuf>,
    /// Ports to hand out, one per instance. Default: 20000-20999.
    pub ports: std::ops::RangeInclusive<u16>,
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
