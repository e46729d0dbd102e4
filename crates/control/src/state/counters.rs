//! Everything that only ever grows.
//!
//! [`crate::snapshot::Stats`] has gauges, names of states and times beside its counters; here are the counters
//! alone, in maps by their labels, so that those of several workers can be added up. Sums of times
//! are whole nanoseconds: fractions of seconds, added in another order, could go back by a hair.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

/// Everything that only ever grows.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct Counters {
    /// By listener.
    #[n(0)]
    pub listeners: BTreeMap<String, ListenerCounters>,
    /// By route.
    #[n(1)]
    pub routes: BTreeMap<String, RouteCounters>,
    /// By pool.
    #[n(2)]
    pub pools: BTreeMap<String, PoolCounters>,
    /// Orders of certificates by section and outcome.
    #[n(3)]
    pub acme: BTreeMap<String, BTreeMap<String, u64>>,
    /// Output of instances, by app and number.
    #[n(4)]
    pub outputs: BTreeMap<(String, u16), OutputCounters>,
    /// Requests that were refused, by reason.
    #[n(5)]
    pub rejects: BTreeMap<String, u64>,
    /// Access log lines written.
    #[n(6)]
    pub log_lines: u64,
    /// Access log lines dropped.
    #[n(7)]
    pub log_dropped: u64,
    /// Requests that ended in a panic.
    #[n(8)]
    pub panics: u64,
    /// Reloads that were applied.
    #[n(9)]
    pub reloads: u64,
    /// Reloads that were refused.
    #[n(10)]
    pub reloads_failed: u64,
    /// CPU time of workers, in nanoseconds.
    #[n(11)]
    pub cpu_nanos: u64,
}

/// Counters of a listener.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct ListenerCounters {
    /// Accepted.
    #[n(0)]
    pub accepted: u64,
    /// Turned away, by limit.
    #[n(1)]
    pub rejected: BTreeMap<String, u64>,
    /// By protocol.
    #[n(2)]
    pub protocols: BTreeMap<String, u64>,
    /// Ended for abuse of HTTP/2, by what was abused.
    #[n(3)]
    pub floods: BTreeMap<String, u64>,
    /// PROXY headers refused, by reason.
    #[n(4)]
    pub proxy_refused: BTreeMap<String, u64>,
    /// TLS handshakes by version.
    #[n(5)]
    pub handshakes: BTreeMap<String, u64>,
    /// TLS sessions that went on.
    #[n(6)]
    pub resumed: u64,
    /// TLS handshakes that failed, by reason.
    #[n(7)]
    pub failures: BTreeMap<String, u64>,
}

/// Counters of a route.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct RouteCounters {
    /// Responses by status.
    #[n(0)]
    pub statuses: BTreeMap<u16, u64>,
    /// How long requests took: counts by the bits of each bucket's upper bound in seconds.
    #[n(1)]
    pub durations: BTreeMap<u64, u64>,
    /// How long they took in all, in nanoseconds.
    #[n(2)]
    pub duration_nanos: u64,
    /// How many took that long.
    #[n(3)]
    pub count: u64,
    /// Bytes of request bodies.
    #[n(4)]
    pub received_bytes: u64,
    /// Bytes of response bodies.
    #[n(5)]
    pub sent_bytes: u64,
}

/// Counters of a pool.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct PoolCounters {
    /// Attempts beyond the first.
    #[n(0)]
    pub retries: u64,
    /// Retries refused.
    #[n(1)]
    pub retries_denied: u64,
    /// Requests for which no server was up.
    #[n(2)]
    pub no_server: u64,
    /// Connections made.
    #[n(3)]
    pub connects: u64,
    /// Requests on connections kept alive.
    #[n(4)]
    pub reuses: u64,
    /// By server.
    #[n(5)]
    pub servers: BTreeMap<String, ServerCounters>,
}

/// Counters of a server.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct ServerCounters {
    /// Attempts.
    #[n(0)]
    pub requests: u64,
    /// Attempts that failed.
    #[n(1)]
    pub failures: u64,
}

/// Counters of an instance's output.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct OutputCounters {
    /// Lines.
    #[n(0)]
    pub lines: u64,
    /// Bytes.
    #[n(1)]
    pub bytes: u64,
    /// Bytes dropped.
    #[n(2)]
    pub dropped_bytes: u64,
}

impl Counters {
    /// Counts what `other` has counted too.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, u64::saturating_add);
    }

    /// What was counted since there was only `before`.
    pub fn since(&self, before: &Self) -> Self {
        let mut since = self.clone();
        since.combine(before, u64::saturating_sub);
        since
    }
}

/// Something that holds counters.
trait Combine {
    /// Puts each counter and its counterpart in `other` through `with`.
    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64);
}

impl Combine for u64 {
    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        *self = with(*self, *other);
    }
}

impl<K: Clone + Ord, V: Default + Combine> Combine for BTreeMap<K, V> {
    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        for (key, value) in other {
            match self.get_mut(key) {
                Some(into) => into.combine(value, with),
                None => self.entry(key.clone()).or_default().combine(value, with),
            }
        }
    }
}

impl Combine for Counters {
    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        self.listeners.combine(&other.listeners, with);
        self.routes.combine(&other.routes, with);
        self.pools.combine(&other.pools, with);
        self.acme.combine(&other.acme, with);
        self.outputs.combine(&other.outputs, with);
        self.rejects.combine(&other.rejects, with);
        self.log_lines.combine(&other.log_lines, with);
        self.log_dropped.combine(&other.log_dropped, with);
        self.panics.combine(&other.panics, with);
        self.reloads.combine(&other.reloads, with);
        self.reloads_failed.combine(&other.reloads_failed, with);
        self.cpu_nanos.combine(&other.cpu_nanos, with);
    }
}

impl Combine for ListenerCounters {
    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        self.accepted.combine(&other.accepted, with);
        self.rejected.combine(&other.rejected, with);
        self.protocols.combine(&other.protocols, with);
        self.floods.combine(&other.floods, with);
        self.proxy_refused.combine(&other.proxy_refused, with);
        self.handshakes.combine(&other.handshakes, with);
        self.resumed.combine(&other.resumed, with);
        self.failures.combine(&other.failures, with);
    }
}

impl Combine for RouteCounters {
    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        self.statuses.combine(&other.statuses, with);
        self.durations.combine(&other.durations, with);
        self.duration_nanos.combine(&other.duration_nanos, with);
        self.count.combine(&other.count, with);
        self.received_bytes.combine(&other.received_bytes, with);
        self.sent_bytes.combine(&other.sent_bytes, with);
    }
}

impl Combine for PoolCounters {
    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        self.retries.combine(&other.retries, with);
        self.retries_denied.combine(&other.retries_denied, with);
        self.no_server.combine(&other.no_server, with);
        self.connects.combine(&other.connects, with);
        self.reuses.combine(&other.reuses, with);
        self.servers.combine(&other.servers, with);
    }
}

impl Combine for ServerCounters {
    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        self.requests.combine(&other.requests, with);
        self.failures.combine(&other.failures, with);
    }
}

impl Combine for OutputCounters {
    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        self.lines.combine(&other.lines, with);
        self.bytes.combine(&other.bytes, with);
        self.dropped_bytes.combine(&other.dropped_bytes, with);
    }
}
