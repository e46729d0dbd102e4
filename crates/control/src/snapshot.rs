//! What the worker tells about itself: plain data, taken at one moment.
//!
//! A field that an older worker does not send reads as its default, so that the command line of a
//! newer binary can show it.

use serde::{Deserialize, Serialize};

/// The state of the node.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Status {
    /// Name of the node.
    pub node: String,
    /// Version of Evergate.
    pub version: String,
    /// Worst of the parts.
    pub health: Health,
    /// Why it is not [`Health::Healthy`], a line each.
    pub reasons: Vec<String>,
    /// The keeper's process id.
    pub keeper_pid: u32,
    /// The worker's process id.
    pub worker_pid: u32,
    /// How many workers there have been since the keeper started.
    pub worker_generation: u32,
    /// Seconds since the keeper started.
    pub uptime_seconds: u64,
    /// Seconds since this worker started.
    pub worker_uptime_seconds: u64,
    /// The configuration in force.
    pub config: ConfigStatus,
    /// In order of name.
    pub listeners: Vec<ListenerStatus>,
    /// In order of name.
    pub routes: Vec<RouteStatus>,
    /// In order of name.
    pub pools: Vec<PoolStatus>,
    /// In order of name, number and generation: an instance that is being replaced may be there
    /// twice.
    pub apps: Vec<InstanceStatus>,
    /// For each app the deploy that is under way, or else the last one.
    pub deploys: Vec<DeployStatus>,
    /// How the limits of apps are kept, in order of name.
    pub app_limits: Vec<AppLimitsStatus>,
    /// Where the admin API listens: paths and `ip:port`.
    pub admin: Vec<String>,
    /// Certificates that are served, in order of listener.
    pub certificates: Vec<CertificateStatus>,
}

/// How well something is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Everything works.
    #[default]
    Healthy,
    /// Requests are served, but something is wrong.
    Degraded,
    /// Some pool has no server that is up, or nothing is listened on.
    Down,
}

/// The configuration in force.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct ConfigStatus {
    /// The file.
    pub file: String,
    /// Counts the configurations applied by this worker, from 1.
    pub generation: u64,
    /// When it was applied, in seconds of Unix time.
    pub applied_at: u64,
    /// Why the last attempt to reload failed; none if it did not.
    pub failed_reload: Option<String>,
}

/// A listener.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct ListenerStatus {
    /// Name.
    pub name: String,
    /// What is spoken there, in words: `http`, or `https` and what is wanted of clients.
    pub protocol: String,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Open connections.
    pub connections: u64,
    /// Most connections at once.
    pub connections_max: u64,
}

/// A route.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct RouteStatus {
    /// Name.
    pub name: String,
    /// Its `match`.
    pub pattern: String,
    /// What it does, in words.
    pub action: String,
    /// Its middleware.
    pub middleware: Vec<String>,
    /// Responses so far.
    pub requests: u64,
    /// Of these, with status 500 and up.
    pub errors: u64,
}

/// A pool.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct PoolStatus {
    /// Name.
    pub name: String,
    /// How it chooses.
    pub balance: String,
    /// Down when no server is up, degraded when some are not, or instances are missing.
    pub health: Health,
    /// How many servers of different names there are when all is well.
    pub expected: u32,
    /// In order of name; an instance that is being replaced may be there twice.
    pub servers: Vec<ServerStatus>,
}

/// A server of a pool.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct ServerStatus {
    /// Name; `APP/N` for an instance of an app.
    pub name: String,
    /// `host:port`, or `unix:PATH`.
    pub address: String,
    /// `up`, `down` or `draining`.
    pub state: String,
    /// Why, in words.
    pub reason: String,
    /// Seconds since the state last changed.
    pub since_seconds: u64,
    /// Weight in the configuration (or as adjusted).
    pub weight: u32,
    /// Share of the weight in force, in percent (slow start).
    pub weight_percent: u32,
    /// Requests in flight, tunnels included.
    pub in_flight: u32,
    /// Connections that were upgraded, such as WebSockets.
    pub tunnels: u32,
    /// Attempts sent so far.
    pub requests: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Peak EWMA of the time to the response head, in seconds; 0 before the first.
    pub latency_seconds: f64,
}

/// A certificate that a listener serves, or waits for.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct CertificateStatus {
    /// Name of the listener.
    pub listener: String,
    /// `file` or `acme.NAME`.
    pub source: String,
    /// Names that it is good for.
    pub names: Vec<String>,
    /// Who signed it.
    pub issuer: String,
    /// When it ends, in seconds of Unix time; 0 while there is none yet.
    pub not_after: u64,
    /// From when on its end is worth a word, in seconds of Unix time; 0 while there is none yet.
    pub warn_from: u64,
    /// When it will be renewed, in seconds of Unix time; nothing if it is for somebody else to do.
    pub renew_at: Option<u64>,
    /// Why the last attempt to renew it failed.
    pub failure: Option<String>,
}

/// An instance of an app.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct InstanceStatus {
    /// App.
    pub app: String,
    /// Number.
    pub number: u16,
    /// `waiting`, `starting`, `ready`, `unhealthy`, `draining`, `stopping`, `stuck`, `backoff`,
    /// `fatal` or `stopped`.
    pub state: String,
    /// Why, in words, if there is more to say.
    pub reason: String,
    /// Seconds since the state last changed.
    pub since_seconds: f64,
    /// Seconds until the next thing happens by itself: another start, or the end of draining.
    pub next_seconds: Option<f64>,
    /// Process id, if there is a process.
    pub pid: Option<u32>,
    /// Port it was given.
    pub port: Option<u16>,
    /// Where it listens: `127.0.0.1:PORT` or `unix:PATH`.
    pub address: Option<String>,
    /// How often it was started.
    pub generation: u32,
    /// Of what it is a run; grows with each deploy.
    pub revision: u32,
    /// Unplanned exits.
    pub exits: u32,
    /// Failures that count at the moment.
    pub failures: u16,
    /// Failures that are too many.
    pub failures_max: u16,
    /// How the last exit came about.
    pub last_exit: Option<String>,
    /// Resident bytes of its process; nothing if that is not known.
    pub resident_bytes: Option<u64>,
    /// Most memory that it may use, by configuration.
    pub memory_limit_bytes: Option<u64>,
    /// CPU seconds used by its process; nothing if that is not known.
    pub cpu_seconds: Option<f64>,
    /// Requests in flight and tunnels, over all pools.
    pub in_flight: u32,
    /// Bytes of output kept, and bytes dropped because nobody took them in time.
    pub output: OutputCounts,
}

/// What became of the output of an instance.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct OutputCounts {
    /// Lines read, over all runs that this worker has seen.
    pub lines: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes dropped: the disk was full or too slow.
    pub dropped_bytes: u64,
}

/// The runs of an app being replaced in turn.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct DeployStatus {
    /// App.
    pub app: String,
    /// Counts the deploys of the app, from 1.
    pub number: u32,
    /// The revision that is rolled out.
    pub revision: u32,
    /// `rolling`, `soaking`, `paused`, `reverting`, `done` or `failed`.
    pub phase: String,
    /// What it is about: `deploy`, `restart`, `the configuration changed`.
    pub cause: String,
    /// Instances done.
    pub done: u16,
    /// Instances in all.
    pub of: u16,
    /// What it does or did, or why it failed.
    pub message: String,
    /// Seconds since the phase began.
    pub since_seconds: f64,
}

/// How the limits of an app are kept.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct AppLimitsStatus {
    /// App.
    pub app: String,
    /// A line for each limit, such as `memory 256 MiB by cgroup v1`, or `cpu unsupported: why`.
    pub kept: Vec<String>,
}

/// A line that an app printed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct LogLine {
    /// Milliseconds of Unix time at which it was read.
    pub at_ms: u64,
    /// App.
    pub app: String,
    /// Number of the instance.
    pub instance: u16,
    /// Generation of the run.
    pub generation: u32,
    /// What was printed, without the line feed; bytes that are no UTF-8 are replaced.
    pub text: String,
}

/// Something that changed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Event {
    /// Counts up from 1 in one worker.
    pub sequence: u64,
    /// Milliseconds of Unix time.
    pub at_ms: u64,
    /// `error`, `warn` or `info`.
    pub level: String,
    /// What kind of thing happened, such as `server_down` or `config_applied`.
    pub kind: String,
    /// What it happened to, such as `pool.api/a`.
    pub subject: String,
    /// Why, in words.
    pub reason: String,
}

/// The difference between two configurations.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct PlanChange {
    /// `route.api`, `pool.api/a` …
    pub added: Vec<String>,
    /// The same name, another meaning.
    pub changed: Vec<String>,
    /// No longer there.
    pub removed: Vec<String>,
    /// What becomes of the runs of apps, a line for each app.
    pub runs: Vec<String>,
    /// Warnings of the new configuration, rendered.
    pub warnings: Vec<String>,
}

/// What would happen to a request.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Explanation {
    /// Host and path after normalising, as matched.
    pub request: String,
    /// The route that wins, and the value of each parameter of its match.
    pub route: Option<String>,
    /// Its `match`.
    pub pattern: Option<String>,
    /// Parameters of the match.
    pub params: Vec<(String, String)>,
    /// Where the route stands in the configuration.
    pub origin: Option<String>,
    /// Why it wins, and what others were considered, a line each.
    pub because: Vec<String>,
    /// Each middleware and its verdict on this request.
    pub middleware: Vec<(String, String)>,
    /// What the route does, in words.
    pub action: String,
    /// Path sent to the server.
    pub upstream_path: Option<String>,
    /// Pool, if any.
    pub pool: Option<String>,
    /// How the pool chooses.
    pub balance: Option<String>,
    /// Every server of the pool with its state and why it may or may not be picked.
    pub candidates: Vec<Candidate>,
    /// Status when the answer comes from Evergate itself.
    pub status: Option<u16>,
}

/// A server as [`Explanation`] sees it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Candidate {
    /// Name.
    pub name: String,
    /// Address.
    pub address: String,
    /// Whether it may be picked now.
    pub eligible: bool,
    /// Why.
    pub reason: String,
    /// Weight in force.
    pub weight: u32,
    /// Requests in flight.
    pub in_flight: u32,
}

/// Every counter. Counts are since the worker started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Version of Evergate.
    pub version: String,
    /// When the worker started, in seconds of Unix time.
    pub started_at: u64,
    /// How many workers there have been since the keeper started.
    pub worker_generation: u32,
    /// Resident bytes of keeper and worker.
    pub resident_bytes: Vec<(String, u64)>,
    /// CPU seconds used by keeper and worker.
    pub cpu_seconds: Vec<(String, f64)>,
    /// Open descriptors of the worker.
    pub open_fds: u64,
    /// Generation of the configuration.
    pub config_generation: u64,
    /// Reloads that were applied.
    pub reloads: u64,
    /// Reloads that were refused.
    pub reloads_failed: u64,
    /// Whether the last reload was applied.
    pub config_last_reload_ok: bool,
    /// In order of name.
    pub listeners: Vec<ListenerStats>,
    /// In order of name.
    pub routes: Vec<RouteStats>,
    /// In order of name.
    pub pools: Vec<PoolStats>,
    /// Requests that Evergate refused, by reason.
    pub rejects: Vec<(String, u64)>,
    /// Access log lines written.
    pub log_lines: u64,
    /// Access log lines dropped because the reader was too slow.
    pub log_dropped: u64,
    /// Requests that ended in a panic of ours.
    pub panics: u64,
    /// In order of listener.
    pub certificates: Vec<CertificateStatus>,
    /// In order of name.
    pub acme: Vec<AcmeStats>,
    /// In order of name and number.
    pub apps: Vec<InstanceStatus>,
    /// Deploys of apps.
    pub deploys: Vec<DeployStatus>,
}

/// Counters of a listener.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListenerStats {
    /// Name.
    pub name: String,
    /// Open now.
    pub connections: u64,
    /// Most at once.
    pub connections_max: u64,
    /// Connections by protocol: `http/1.1` and `h2`.
    pub protocols: Vec<(String, u64)>,
    /// TLS handshakes; nothing if the listener has no TLS.
    pub tls: Option<TlsStats>,
    /// Connections ended for abuse of HTTP/2, by what was abused.
    pub floods: Vec<(String, u64)>,
    /// PROXY headers that were refused, by reason.
    pub proxy_refused: Vec<(String, u64)>,
    /// Accepted.
    pub accepted: u64,
    /// Turned away, by limit: `connections` or `connections_per_ip`.
    pub rejected: Vec<(String, u64)>,
}

/// Counters of TLS handshakes with clients.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsStats {
    /// Completed, by version: `TLSv1.2` and `TLSv1.3`.
    pub handshakes: Vec<(String, u64)>,
    /// Of these, how many went on from an earlier session.
    pub resumed: u64,
    /// Failed, by reason.
    pub failures: Vec<(String, u64)>,
}

/// Counters of an `[acme.NAME]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AcmeStats {
    /// Name.
    pub name: String,
    /// Orders by outcome: `issued`, or how they failed.
    pub orders: Vec<(String, u64)>,
    /// When its certificate ends, in seconds of Unix time; 0 while there is none.
    pub not_after: u64,
    /// When the next order begins, in seconds of Unix time; 0 if that is not known.
    pub renew_at: u64,
}

/// Counters of a route. Requests that match none are counted under the name `-`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteStats {
    /// Name.
    pub name: String,
    /// Its pool, or empty.
    pub pool: String,
    /// Responses by status.
    pub statuses: Vec<(u16, u64)>,
    /// Time from the request's first byte to the response's last.
    pub duration: Histogram,
    /// Bytes of request bodies.
    pub received_bytes: u64,
    /// Bytes of response bodies.
    pub sent_bytes: u64,
}

/// Counters of a pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolStats {
    /// Name.
    pub name: String,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Retries that the budget refused.
    pub retries_denied: u64,
    /// Requests for which no server was up.
    pub no_server: u64,
    /// In order of name.
    pub servers: Vec<ServerStatus>,
    /// Upstream connections made, summed over servers.
    pub connects: u64,
    /// Requests sent on a connection that was kept alive.
    pub reuses: u64,
}

/// Counts of durations in buckets of bounded relative width.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Upper bound in seconds and count of each bucket, in order, empty ones left out.
    pub buckets: Vec<(f64, u64)>,
    /// Sum of all durations in seconds.
    pub sum: f64,
    /// How many.
    pub count: u64,
}
