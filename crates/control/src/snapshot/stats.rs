//! Every counter, for metrics.

use std::time::Duration;

use super::{CertificateStatus, DeployStatus, InstanceStatus, PeerStatus, ServerStatus, VipStatus};

/// Every counter. Counts are since `started_at`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Version of Evergate.
    pub version: String,
    /// When the first worker whose counts these go on from started, in seconds of Unix time.
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
    /// Whether an earlier configuration is in force in place of the file.
    pub config_is_held: bool,
    /// Whether the one in force is to be confirmed.
    pub config_is_unconfirmed: bool,
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
    /// Workers by what they do: `starting`, `standby`, `primary` and `draining`.
    pub workers: Vec<(String, u64)>,
    /// Upgrades that ended, by outcome: `done`, `refused`, `returned` and `partial`.
    pub upgrades: Vec<(String, u64)>,
    /// How often the keeper became another binary.
    pub keeper_execs: u32,
    /// Virtual addresses, in order of name.
    pub vips: Vec<VipStatus>,
    /// Other nodes, in order of name.
    pub peers: Vec<PeerStatus>,
    /// Whether the operator has taken this node out of service.
    pub is_in_maintenance: bool,
    /// How late the keeper's timers were in the last ten seconds, in microseconds: the worst.
    pub timer_lateness_us: u64,
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
    /// Sum of all durations.
    pub sum: Duration,
    /// How many.
    pub count: u64,
}
