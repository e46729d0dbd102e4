//! One server of a pool, as every data-plane thread sees it.
//!
//! This is one of the few things that threads share, so it is all atomics: the control plane writes
//! the share of requests, the data plane writes load and outcomes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use evergate_core::balance::{self, Load};
use evergate_core::time::Instant;

use crate::tls::origination::Meeting;

static UIDS: AtomicU64 = AtomicU64::new(1);

/// A server that requests can be sent to.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Differs between any two endpoints of this process, also across plans.
    pub uid: u64,
    /// Name in its pool; `APP/N` for an instance.
    pub name: String,
    /// `host:port` as configured.
    pub authority: String,
    /// Where it is; none while its name does not resolve.
    pub address: Option<SocketAddr>,
    /// How it is met, if that is over TLS.
    pub tls: Option<Meeting>,
    /// Whether the last handshake with it failed, so that it is told once.
    tls_fails: AtomicBool,
    /// The same for the same pool and name on every machine; places it on the hash ring.
    pub key: u64,
    /// Weight in percent-points (weight x 100 when wholly in); 0 takes it out.
    share: AtomicU32,
    /// Attempts sent so far, and in the low bits those in flight: one write for both.
    attempts: AtomicU64,
    latency_nanos: AtomicU64,
    latency_at: AtomicU64,
    failures_in_a_row: AtomicU32,
    failures: AtomicU64,
}

/// Room for attempts in flight; sixteen million exceed every limit on connections.
const IN_FLIGHT_BITS: u32 = 24;
const IN_FLIGHT_MASK: u64 = (1 << IN_FLIGHT_BITS) - 1;

impl Endpoint {
    /// An endpoint that gets no requests until [`Endpoint::set_share`].
    pub(crate) fn new(
        pool: &str,
        name: &str,
        authority: &str,
        address: Option<SocketAddr>,
    ) -> Self {
        Self {
            uid: UIDS.fetch_add(1, Relaxed),
            name: name.to_owned(),
            authority: authority.to_owned(),
            address,
            tls: None,
            tls_fails: AtomicBool::new(false),
            key: balance::hash_bytes(format!("{pool}/{name}").as_bytes()),
            share: AtomicU32::new(0),
            attempts: AtomicU64::new(0),
            latency_nanos: AtomicU64::new(0),
            latency_at: AtomicU64::new(0),
            failures_in_a_row: AtomicU32::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// The same, met over TLS if there is a `meeting`.
    pub(crate) fn over(self, meeting: Option<Meeting>) -> Self {
        Self { tls: meeting, ..self }
    }

    /// Notes how a handshake with it ended; whether that is news of a failure.
    pub(crate) fn shook_hands(&self, well: bool) -> bool {
        let failed_before = self.tls_fails.load(Relaxed);
        if well {
            if failed_before {
                self.tls_fails.store(false, Relaxed);
            }
            return false;
        }
        !self.tls_fails.swap(true, Relaxed)
    }

    /// Weight in percent-points; 0 while it must not get requests.
    pub(crate) fn share(&self) -> u32 {
        self.share.load(Relaxed)
    }

    /// Changes the share; returns whether it was another one.
    pub(crate) fn set_share(&self, share: u32) -> bool {
        self.share.swap(share, Relaxed) != share
    }

    /// Requests in flight over all threads.
    pub(crate) fn in_flight(&self) -> u32 {
        (self.attempts.load(Relaxed) & IN_FLIGHT_MASK) as u32
    }

    /// Load at `now`, for the balancer.
    pub(crate) fn load(&self, now: Instant) -> Load {
        Load { in_flight: self.in_flight(), latency_nanos: self.latency_nanos(now) }
    }

    /// Peak EWMA of the time to the response head, decayed to `now`. Before the first it is the
    /// balancer's seed: at zero an endpoint would look free and draw every request.
    pub(crate) fn latency_nanos(&self, now: Instant) -> u64 {
        match self.latency() {
            (_, 0) => balance::SEED.as_nanos() as u64,
            latency => balance::ewma_now(latency, now),
        }
    }

    /// Attempts sent and attempts failed.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.attempts.load(Relaxed) >> IN_FLIGHT_BITS, self.failures.load(Relaxed))
    }

    /// Counts an attempt in flight until the guard is dropped.
    pub(crate) fn enter(&self) -> InFlight<'_> {
        self.attempts.fetch_add((1 << IN_FLIGHT_BITS) + 1, Relaxed);
        InFlight { endpoint: self }
    }

    /// The response head came `took` after the request was sent.
    pub(crate) fn succeeded(&self, now: Instant, took: std::time::Duration) {
        self.observe(now, took);
        if self.failures_in_a_row.load(Relaxed) != 0 {
            self.failures_in_a_row.store(0, Relaxed);
        }
    }

    /// The attempt failed after `took`; returns how many did in a row. Failing counts as slow, or
    /// a server that fails fast would attract every request.
    pub(crate) fn failed(&self, now: Instant, took: std::time::Duration) -> u32 {
        self.observe(now, took.max(FAILURE_COST));
        self.failures.fetch_add(1, Relaxed);
        self.failures_in_a_row.fetch_add(1, Relaxed).saturating_add(1)
    }

    /// Forgets failures in a row, when the server is let in again.
    pub(crate) fn forgive(&self) {
        self.failures_in_a_row.store(0, Relaxed);
    }

    /// Two threads may observe at once; one observation is then lost, which an average survives.
    fn observe(&self, now: Instant, took: std::time::Duration) {
        let (nanos, at) = balance::ewma_observe(self.latency(), now, took);
        self.latency_nanos.store(nanos, Relaxed);
        self.latency_at.store(at, Relaxed);
    }

    fn latency(&self) -> (u64, u64) {
        (self.latency_nanos.load(Relaxed), self.latency_at.load(Relaxed))
    }
}

/// What a failed attempt counts as at least.
const FAILURE_COST: std::time::Duration = std::time::Duration::from_secs(1);

/// An attempt under way.
#[derive(Debug)]
pub(crate) struct InFlight<'a> {
    endpoint: &'a Endpoint,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.endpoint.attempts.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_and_leave_when_they_end() {
        let endpoint = Endpoint::new("pool", "a", "127.0.0.1:1", None);
        let first = endpoint.enter();
        let second = endpoint.enter();
        assert_eq!((endpoint.in_flight(), endpoint.totals()), (2, (2, 0)));
        drop(first);
        drop(second);
        assert_eq!((endpoint.in_flight(), endpoint.totals()), (0, (2, 0)));
    }

    #[test]
    fn a_new_endpoint_does_not_look_free() {
        let endpoint = Endpoint::new("pool", "a", "127.0.0.1:1", None);
        let now = Instant::from_nanos(1);
        assert_eq!(endpoint.latency_nanos(now), balance::SEED.as_nanos() as u64);
        endpoint.succeeded(now, std::time::Duration::from_micros(300));
        assert_eq!(endpoint.latency_nanos(now), 300_000, "what was seen replaces the guess");
    }
}
