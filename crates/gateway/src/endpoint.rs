//! One server of a pool, as every data-plane thread sees it.
//!
//! This is one of the few things that threads share, so it is all atomics: the control plane writes
//! the share of requests, the data plane writes load and outcomes.
//!
//! An endpoint that is a run of an app comes and goes. It leaves once and for good, and whoever is
//! let in before that is counted: the same word that counts attempts says that there are no more to
//! come, so none can slip in between the two.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, OnceLock};

use evergate_control::link::Run;
use evergate_core::balance::{self, Load};
use evergate_core::time::Instant;
use tokio::sync::Notify;

use crate::dial::Address;
use crate::samples::Samples;
use crate::tls::origination::Meeting;

static UIDS: AtomicU64 = AtomicU64::new(1);

/// A server that requests can be sent to.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Differs between any two endpoints of this process, also across plans.
    pub uid: u64,
    /// Name of its pool.
    pub pool: String,
    /// Name in its pool; `APP/N` for an instance.
    pub name: String,
    /// `host:port` as configured, or `unix:PATH`.
    pub authority: String,
    /// Where it is; none while its name does not resolve.
    pub address: Option<Address>,
    /// Which run of an app it is, if it is one.
    pub run: Option<Run>,
    /// How it is met, if that is over TLS.
    pub tls: Option<Meeting>,
    /// Whether the last handshake with it failed, so that it is told once.
    tls_fails: AtomicBool,
    /// The same for the same pool and name on every machine; places it on the hash ring.
    pub key: u64,
    /// Weight in percent-points (weight x 100 when wholly in); 0 takes it out.
    share: AtomicU32,
    /// Attempts sent so far, and in the low bits those in flight and [`LEAVING`]: one write for all.
    attempts: AtomicU64,
    /// Of those in flight, how many are tunnels.
    tunnels: AtomicU32,
    /// Told when it leaves and the last attempt has ended.
    emptied: OnceLock<Arc<Notify>>,
    /// Its process ended.
    is_dead: AtomicBool,
    /// When what is in flight is cut, in nanoseconds; 0 while nothing is.
    cut_at: AtomicU64,
    /// From when on tunnels are ended.
    ends_from: AtomicU64,
    is_watched: AtomicBool,
    samples: OnceLock<Box<Samples>>,
    latency_nanos: AtomicU64,
    latency_at: AtomicU64,
    failures_in_a_row: AtomicU32,
    failures: AtomicU64,
}

/// Room for attempts in flight; eight million exceed every limit on connections.
const IN_FLIGHT_BITS: u32 = 23;
const IN_FLIGHT_MASK: u64 = (1 << IN_FLIGHT_BITS) - 1;
/// No more attempts are let in.
const LEAVING: u64 = 1 << IN_FLIGHT_BITS;
/// Above it attempts are counted.
const COUNT_SHIFT: u32 = IN_FLIGHT_BITS + 1;

impl Endpoint {
    /// An endpoint that gets no requests until [`Endpoint::set_share`].
    pub(crate) fn new(pool: &str, name: &str, authority: &str, address: Option<Address>) -> Self {
        Self {
            uid: UIDS.fetch_add(1, Relaxed),
            pool: pool.to_owned(),
            name: name.to_owned(),
            authority: authority.to_owned(),
            address,
            run: None,
            tls: None,
            tls_fails: AtomicBool::new(false),
            key: balance::hash_bytes(format!("{pool}/{name}").as_bytes()),
            share: AtomicU32::new(0),
            attempts: AtomicU64::new(0),
            tunnels: AtomicU32::new(0),
            emptied: OnceLock::new(),
            is_dead: AtomicBool::new(false),
            cut_at: AtomicU64::new(0),
            ends_from: AtomicU64::new(0),
            is_watched: AtomicBool::new(false),
            samples: OnceLock::new(),
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

    /// The same, as a run of an app.
    pub(crate) fn of(self, run: Option<Run>) -> Self {
        Self { run, ..self }
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
        (self.attempts.load(Relaxed) >> COUNT_SHIFT, self.failures.load(Relaxed))
    }

    /// Counts an attempt in flight until the guard is dropped. None if it is leaving: then another
    /// is to be picked.
    pub(crate) fn enter(&self) -> Option<InFlight<'_>> {
        let before = self.attempts.fetch_add((1 << COUNT_SHIFT) + 1, AcqRel);
        let in_flight = InFlight { endpoint: self };
        if before & LEAVING == 0 {
            return Some(in_flight);
        }
        drop(in_flight);
        self.attempts.fetch_sub(1 << COUNT_SHIFT, Relaxed);
        None
    }

    /// Lets no more attempts in, for good; `emptied` is told when the last of them has ended.
    pub(crate) fn leave(&self, emptied: &Arc<Notify>) {
        self.set_share(0);
        let _ = self.emptied.set(Arc::clone(emptied));
        self.attempts.fetch_or(LEAVING, AcqRel);
    }

    /// Whether it lets no more attempts in.
    pub(crate) fn is_leaving(&self) -> bool {
        self.attempts.load(Acquire) & LEAVING != 0
    }

    /// Its process ended: nothing that is in flight will be answered. Says whether that is news.
    pub(crate) fn die(&self, emptied: &Arc<Notify>) -> bool {
        self.leave(emptied);
        !self.is_dead.swap(true, Release)
    }

    /// Whether its process ended.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Acquire)
    }

    /// What is in flight is cut at `cut_at`; tunnels are ended from `ends_from` on. Says whether
    /// that is news.
    pub(crate) fn drain(&self, ends_from: Instant, cut_at: Instant) -> bool {
        if self.cut_at.load(Relaxed) != 0 {
            return false;
        }
        self.ends_from.store(ends_from.as_nanos(), Relaxed);
        self.cut_at.store(cut_at.as_nanos().max(1), Release);
        true
    }

    /// From when to when tunnels are ended, once it drains.
    pub(crate) fn drains(&self) -> Option<(Instant, Instant)> {
        match self.cut_at.load(Acquire) {
            0 => None,
            cut_at => {
                let ends_from = Instant::from_nanos(self.ends_from.load(Relaxed));
                Some((ends_from, Instant::from_nanos(cut_at)))
            }
        }
    }

    /// Counts a tunnel until the guard is dropped.
    pub(crate) fn enter_tunnel(&self) -> InTunnel<'_> {
        self.tunnels.fetch_add(1, Relaxed);
        InTunnel { endpoint: self }
    }

    /// Tunnels over all threads; they count as in flight too.
    pub(crate) fn tunnels(&self) -> u32 {
        self.tunnels.load(Relaxed)
    }

    /// Counts how each attempt goes from now on, or no more; what was counted so far stays.
    pub(crate) fn watch(&self, is_watched: bool) {
        self.is_watched.store(is_watched, Relaxed);
    }

    /// What was counted while it was watched.
    pub(crate) fn samples(&self) -> &Samples {
        self.samples.get_or_init(Box::default)
    }

    /// Counts an attempt that ended, if somebody watches: `took` to a response's head, or failed.
    pub(crate) fn sample(&self, took: Option<std::time::Duration>, is_error: bool) {
        if self.is_watched.load(Relaxed) {
            self.samples().record(took, is_error);
        }
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

    /// Attempts that failed since the last that did not.
    pub(crate) fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row.load(Relaxed)
    }

    /// Peak EWMA of the time to the response head, and when it was seen; nothing before the first.
    pub(crate) fn seen_latency(&self) -> Option<(u64, Instant)> {
        match self.latency() {
            (_, 0) => None,
            (nanos, at) => Some((nanos, Instant::from_nanos(at))),
        }
    }

    /// Goes on from what another worker has seen, unless this one has seen more since.
    pub(crate) fn inherit(&self, latency: Option<(u64, Instant)>, failures_in_a_row: u32) {
        let at = latency.map_or(0, |(_, at)| at.as_nanos());
        if at < self.latency().1 {
            return;
        }
        self.failures_in_a_row.store(failures_in_a_row, Relaxed);
        if let Some((nanos, _)) = latency {
            self.latency_nanos.store(nanos, Relaxed);
            self.latency_at.store(at, Relaxed);
        }
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
        let before = self.endpoint.attempts.fetch_sub(1, AcqRel);
        if before & (LEAVING | IN_FLIGHT_MASK) == LEAVING | 1
            && let Some(emptied) = self.endpoint.emptied.get()
        {
            emptied.notify_one();
        }
    }
}

/// A tunnel under way.
#[derive(Debug)]
pub(crate) struct InTunnel<'a> {
    endpoint: &'a Endpoint,
}

impl Drop for InTunnel<'_> {
    fn drop(&mut self) {
        self.endpoint.tunnels.fetch_sub(1, Relaxed);
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

    #[tokio::test]
    async fn who_leaves_lets_nobody_in_and_says_when_the_last_has_ended() {
        let endpoint = Endpoint::new("pool", "a", "127.0.0.1:1", None);
        let emptied = Arc::new(Notify::new());
        let is_told = || {
            let told = std::pin::pin!(emptied.notified());
            told.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
        };
        let (first, second) = (endpoint.enter(), endpoint.enter());
        endpoint.set_share(100);
        endpoint.leave(&emptied);
        assert!(endpoint.enter().is_none());
        assert_eq!((endpoint.in_flight(), endpoint.totals(), endpoint.share()), (2, (2, 0), 0));
        drop(first);
        assert!(!is_told());
        drop(second);
        assert!(is_told());
        assert_eq!(endpoint.in_flight(), 0);
        assert!(endpoint.die(&emptied) && !endpoint.die(&emptied), "it dies once");
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
