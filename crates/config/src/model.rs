//! A valid configuration: what the rest of Evergate works with.
//!
//! Everything here was checked: names resolve, addresses parse, exactly one action stands in each
//! route. Maps are keyed by the names in the file, which stay the same across reloads.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use evergate_core::files::Coding;
use evergate_core::{balance, health, retry};
use evergate_pki::{Authorities, Identity, Revocations};
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
    /// HTTPS instead of HTTP.
    pub tls: Option<Tls>,
    /// Whether HTTP/2 is spoken too: by ALPN with TLS, by prior knowledge without. Default: true.
    pub http2: bool,
    /// Whether every connection begins with a PROXY header, which only `trusted_proxies` may send.
    pub proxy_protocol: bool,
    /// Whose forwarding headers are believed. Default: nobody's.
    pub trusted_proxies: Vec<IpNet>,
    /// Bounds on what clients may do.
    pub limits: Limits,
}

/// `listener.NAME.tls`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tls {
    /// Chosen by the name that a client asks for; the first is for whoever asks for none of them.
    /// Empty only if `acme` is set.
    pub certs: Vec<Certificate>,
    /// The `[acme.NAME]` whose certificates are served too.
    pub acme: Option<String>,
    /// Whether clients must show a certificate. Default: off.
    pub client_auth: ClientAuth,
    /// Who vouches for clients' certificates; there unless `client_auth` is off.
    pub client_ca: Option<FileOf<Authorities>>,
    /// Clients' certificates that are good no more.
    pub client_crl: Option<FileOf<Revocations>>,
    /// Oldest version spoken. Default: 1.2.
    pub min_version: TlsVersion,
    /// From the connection to the end of the handshake. Default: 10 s.
    pub handshake_timeout: Duration,
}

/// A certificate with the files it came from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// Certificate, key and, if there is one, OCSP response.
    pub identity: Identity,
    /// The certificate's file.
    pub cert: PathBuf,
    /// The key's file.
    pub key: PathBuf,
    /// The OCSP response's file.
    pub ocsp: Option<PathBuf>,
}

/// What a file held, and which file it was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileOf<T> {
    /// The file.
    pub path: PathBuf,
    /// What it held.
    pub content: T,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientAuth {
    /// They are not asked.
    Off,
    /// They may; what they show must be good.
    Optional,
    /// They must.
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum TlsVersion {
    /// RFC 5246, with forward secrecy and authenticated encryption only.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// `[acme.NAME]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Acme {
    /// URL of the authority's directory; HTTPS. Default: Let's Encrypt, and with `staging = true`
    /// its staging authority, whose certificates nobody believes.
    pub directory: String,
    /// Whom the authority may write to.
    pub email: Option<String>,
    /// Names to have a certificate for; one certificate for all of them. At least one, lower case.
    pub domains: Vec<String>,
    /// How it is shown that they are ours. Default: TLS-ALPN-01.
    pub challenge: Challenge,
    /// Who vouches for the authority's own HTTPS. Default: whom browsers believe.
    pub ca: Option<FileOf<Authorities>>,
    /// How long before its end a certificate is renewed, where the authority does not say when.
    /// Default: a third of its life.
    pub renew_before: Option<Duration>,
}

/// How it is shown that a name is ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Challenge {
    /// Over plain HTTP on port 80 (RFC 8555, 8.3).
    Http01,
    /// In the TLS handshake on port 443 (RFC 8737).
    TlsAlpn01,
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
    /// Answer with a file.
    Static(Static),
}

/// `static`: files from a folder, or from the binary.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Static {
    /// Where they are.
    pub root: Root,
    /// What they are compressed to on the way, best first. Default: nothing.
    pub compress: Vec<Coding>,
    /// Whether `FILE.zst`, `FILE.br` and `FILE.gz` beside a file are sent in its place to whoever
    /// takes them. Default: true.
    pub precompressed: bool,
    /// What a folder answers with. Default: `index.html`.
    pub index: String,
    /// What is answered where there is no file and the path's last part has no dot (single-page
    /// applications); relative to the root.
    pub spa: Option<String>,
    /// Whether files and folders whose names begin with a dot are there. Default: false.
    /// `.well-known` always is.
    pub dotfiles: bool,
    /// What becomes of symbolic links. Default: within.
    pub symlinks: Symlinks,
    /// `Cache-Control` by pattern of the path below the root, the first that fits in order of
    /// length, longest first: `*.html`, `/assets/*`.
    pub cache_control: Vec<(String, String)>,
}

/// Where files are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Root {
    /// In this folder; an absolute path.
    Folder(PathBuf),
    /// In the binary, which was built with them.
    Embedded,
}

/// What becomes of symbolic links below a root.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Symlinks {
    /// They are not there.
    Never,
    /// They are followed while they stay below the root.
    Within,
    /// They are followed.
    Anywhere,
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
