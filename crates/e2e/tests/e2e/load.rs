//! Requests that keep coming on a schedule while a test does something to the node.
//!
//! Half of them come over connections that are kept, half over a new one each. The schedule waits
//! for nobody: a node that stands still finds every request waiting that was due meanwhile, and
//! their latencies count from when they were due. No request is tried again.

#[path = "load/http2.rs"]
mod http2;
#[path = "load/storm.rs"]
mod storm;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use evergate_bench::background::Background;
pub(crate) use evergate_bench::load::Failure;
use evergate_bench::load::{Load, Outcome, Pace, Reuse};
use evergate_bench::tls::Tls;
use evergate_e2e::{PATIENCE, wait_until};

pub(crate) use storm::{Storm, Strength};

/// Connections of each kind, at most.
pub(crate) const CONNECTIONS: u32 = 32;

/// Requests in the background. Finish it before the node ends; dropped, it ends uncounted.
#[derive(Debug)]
pub(crate) struct Traffic {
    kept: Background,
    fresh: Background,
}

/// What came of all requests.
#[derive(Debug)]
pub(crate) struct Report {
    kept: Outcome,
    fresh: Outcome,
}

impl Traffic {
    /// Begins to send `GET path` to `address`, that many a second.
    pub(crate) fn start(address: SocketAddr, path: &str, per_second: u32) -> Self {
        Self::over(None, address, path, per_second)
    }

    /// The same over TLS; whatever certificate comes is believed.
    pub(crate) fn start_secure(address: SocketAddr, path: &str, per_second: u32) -> Self {
        let tls = Tls::unverified("localhost").expect("it is a name");
        Self::over(Some(tls), address, path, per_second)
    }

    fn over(tls: Option<Tls>, address: SocketAddr, path: &str, per_second: u32) -> Self {
        let load = |reuse| Load {
            tls: tls.clone(),
            reuse,
            pace: Pace::Open { per_second: per_second / 2 },
            // A slow machine is no fault.
            timeout: PATIENCE,
            ..Load::get(address, path, CONNECTIONS)
        };
        Self {
            kept: Background::start(load(Reuse::KeepAlive)),
            fresh: Background::start(load(Reuse::Close)),
        }
    }

    /// Waits until this many more have been answered over connections of each kind.
    pub(crate) fn wait_for(&self, more: u64) {
        for background in [&self.kept, &self.fresh] {
            let enough = background.completed() + more / 2;
            wait_until("requests are answered", || background.completed() >= enough);
        }
    }

    /// Sends nothing new, waits for what is under way, and says what came of it all.
    pub(crate) fn finish(self) -> Report {
        let outcome = |load: Background| load.finish().expect("the load needs a few descriptors");
        Report { kept: outcome(self.kept), fresh: outcome(self.fresh) }
    }
}

impl Report {
    /// Requests that got 200.
    pub(crate) fn completed(&self) -> u64 {
        self.kept.completed + self.fresh.completed
    }

    /// Requests that did not.
    pub(crate) fn failures(&self) -> u64 {
        self.kept.failures() + self.fresh.failures()
    }

    /// Requests that failed like that.
    pub(crate) fn failed(&self, how: Failure) -> u64 {
        let count = |outcome: &Outcome| outcome.failed.get(&how).copied().unwrap_or_default();
        count(&self.kept) + count(&self.fresh)
    }

    /// # Panics
    /// If any failed.
    pub(crate) fn expect_no_failure(&self) {
        assert_eq!(self.failures(), 0, "{self}");
        assert!(self.completed() > 0, "nothing was sent");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, outcome) in [("kept", &self.kept), ("fresh", &self.fresh)] {
            let quantile = |per_mille| milliseconds(outcome.latency.quantile(per_mille));
            let (p50, p99) = (quantile(500), quantile(990));
            let (completed, max) = (outcome.completed, milliseconds(outcome.latency.max()));
            write!(f, "{name}: {completed} answered (p50 {p50}, p99 {p99}, max {max} ms)")?;
            for (failure, count) in &outcome.failed {
                write!(f, ", {count} x {failure}")?;
            }
            write!(f, "; ")?;
            if !outcome.notes.is_empty() {
                write!(f, "{:?}; ", outcome.notes)?;
            }
        }
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1000.0)
}
