//! What the worker tells about itself: plain data, taken at one moment.
//!
//! A field that an older worker does not send reads as its default, so that the command line of a
//! newer binary can show it.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

mod apps;
mod changes;
mod history;
mod standby;
mod stats;
mod upgrade;

pub use apps::*;
pub use changes::*;
pub use history::*;
pub use standby::*;
pub use stats::*;
pub use upgrade::*;

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
    /// Every worker: the primary one, and those that start or drain.
    pub workers: Vec<WorkerStatus>,
    /// The upgrade that is under way, or else the last one.
    pub upgrade: Option<UpgradeStatus>,
    /// Version of the keeper; it may be older than this worker's after an upgrade that went half
    /// the way.
    pub keeper_version: String,
    /// How often the keeper became another binary.
    pub keeper_execs: u32,
    /// Virtual addresses, in order of name.
    pub vips: Vec<VipStatus>,
    /// Other nodes, in order of name.
    pub peers: Vec<PeerStatus>,
    /// Whether the operator has taken this node out of service.
    pub is_in_maintenance: bool,
    /// What of virtual addresses cannot be done here and why, a line each: missing rights, no
    /// real-time priority.
    pub vip_problems: Vec<String>,
    /// How late the keeper's timers were in the last ten seconds, in microseconds: the worst.
    pub timer_lateness_us: u64,
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
    /// How many changes there are beside the file.
    pub changes: u64,
    /// Why they are not in force; none if they are.
    pub changes_refused: Option<String>,
    /// Which of the configurations that are kept is in force, as `evergate rollback --list` counts
    /// them.
    pub id: u64,
    /// Why an earlier one is in force in place of the file; none if it is not.
    pub held: Option<String>,
    /// What is to be confirmed; none if nothing is.
    pub trial: Option<TrialStatus>,
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

/// Something that changed.
#[derive(Clone, Debug, Decode, Default, Deserialize, Encode, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Event {
    /// Counts up from 1, and goes on when one worker takes the place of another.
    #[n(0)]
    pub sequence: u64,
    /// Milliseconds of Unix time.
    #[n(1)]
    pub at_ms: u64,
    /// `error`, `warn` or `info`.
    #[n(2)]
    pub level: String,
    /// What kind of thing happened, such as `server_down` or `config_applied`.
    #[n(3)]
    pub kind: String,
    /// What it happened to, such as `pool.api/a`.
    #[n(4)]
    pub subject: String,
    /// Why, in words.
    #[n(5)]
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
    /// Changes beside the file that the new configuration has in it, and what each does there.
    pub from_changes: Vec<String>,
    /// What happens if the new configuration is not confirmed; none if it need not be.
    pub unconfirmed: Option<String>,
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
