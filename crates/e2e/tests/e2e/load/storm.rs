//! Everything at once: kept and fresh connections, in the clear and over TLS, clients that think
//! between their requests, HTTP/2, WebSockets, and somebody who reads the metrics.

use std::fmt;
use std::time::Duration;

use evergate_bench::background::Background;
use evergate_bench::load::{Load, Outcome, Pace};
use evergate_e2e::scraper::Scrapes;
use evergate_e2e::{Node, PATIENCE, Scraper, wait_until};

use super::http2::{Http2, Http2Report};
use super::{Failure, Report, Traffic};
use crate::apps::web_socket::{Farewell, WebSockets};

/// Times that clients think, and how many clients each: shorter and longer than an idle connection
/// is left to itself by a worker that ends.
const THINKERS: [(Duration, u32); 4] = [
    (Duration::from_millis(100), 16),
    (Duration::from_millis(900), 40),
    (Duration::from_millis(4500), 60),
    (Duration::from_millis(9500), 60),
];
/// How long a worker that ends waits for one more request on a connection without one.
const IDLE_WAIT: Duration = Duration::from_secs(5);
/// A WebSocket says something that often.
const TALK_EVERY: Duration = Duration::from_millis(300);

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strength {
    /// Requests a second over HTTP/1.1, half of them over fresh connections.
    pub(crate) plain: u32,
    /// The same over TLS.
    pub(crate) secure: u32,
    /// Requests a second over HTTP/2.
    pub(crate) http2: u32,
    pub(crate) web_sockets: usize,
}

impl Strength {
    /// What is promised.
    pub(crate) const FULL: Self = Self { plain: 2000, secure: 100, http2: 200, web_sockets: 100 };
    /// What a build has time for.
    pub(crate) const FEW: Self = Self { plain: 400, secure: 20, http2: 100, web_sockets: 20 };
}

/// A storm; finish it before the node ends.
#[derive(Debug)]
pub(crate) struct Storm {
    plain: Traffic,
    secure: Traffic,
    thinkers: Vec<Background>,
    http2: Http2,
    web_sockets: WebSockets,
    scraper: Scraper,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Aftermath {
    pub(crate) plain: Report,
    pub(crate) secure: Report,
    pub(crate) thinkers: Vec<Outcome>,
    pub(crate) http2: Http2Report,
    pub(crate) farewells: Vec<Farewell>,
    pub(crate) scrapes: Scrapes,
}

impl Storm {
    /// Begins. The listeners `web` and `tls` answer `GET /`, and an app `/talk`.
    pub(crate) fn start(node: &Node, strength: Strength) -> Self {
        let web = node.web();
        let think = |(time, clients): (Duration, u32)| {
            let per_second = (f64::from(clients) / time.as_secs_f64()).ceil() as u32;
            let pace = Pace::Open { per_second };
            Background::start(Load { pace, timeout: PATIENCE, ..Load::get(web, "/", clients) })
        };
        let storm = Self {
            plain: Traffic::start(web, "/", strength.plain),
            secure: Traffic::start_secure(node.address("tls"), "/", strength.secure),
            thinkers: THINKERS.into_iter().map(think).collect(),
            http2: Http2::start(web, "/", 4, strength.http2),
            web_sockets: WebSockets::open_calm(web, strength.web_sockets, TALK_EVERY),
            scraper: Scraper::start(node),
        };
        storm.wait_for(20);
        storm
    }

    /// Waits until so many more have been answered, of every kind that comes often.
    pub(crate) fn wait_for(&self, more: u64) {
        let (http2, echoes) = (self.http2.completed() + more, self.web_sockets.echoes() + 1);
        self.plain.wait_for(more);
        self.secure.wait_for(more.div_ceil(4));
        wait_until("requests over HTTP/2 are answered", || self.http2.completed() >= http2);
        wait_until("WebSockets talk", || self.web_sockets.echoes() >= echoes);
    }

    /// Sends nothing new, waits for what is under way, and says what came of it all.
    pub(crate) fn finish(self) -> Aftermath {
        let ended = |load: Background| load.finish().expect("the load needs a few descriptors");
        Aftermath {
            plain: self.plain.finish(),
            secure: self.secure.finish(),
            thinkers: self.thinkers.into_iter().map(ended).collect(),
            http2: self.http2.finish(),
            farewells: self.web_sockets.finish(),
            scrapes: self.scraper.finish(),
        }
    }
}

impl Aftermath {
    /// Requests that did not get 200; WebSockets that were cut have failed the test already.
    pub(crate) fn failures(&self) -> u64 {
        let thinkers: u64 = self
            .thinkers
            .iter()
            .zip(THINKERS)
            .map(|(one, (time, _))| {
                // Whoever thinks for that long may ask in the very moment in which the connection ends,
                // as with any server of HTTP/1.1 (RFC 9112, 9.5).
                let crossed = one.failed.get(&Failure::Stale).copied().unwrap_or_default();
                one.failures() - if time < IDLE_WAIT / 2 { 0 } else { crossed }
            })
            .sum();
        let http2: u64 = self.http2.failed.values().sum();
        self.plain.failures() + self.secure.failures() + thinkers + http2
    }

    /// # Panics
    /// If a request failed, a counter went back, or somebody who read the metrics got no answer.
    pub(crate) fn expect_no_failure(&self) {
        assert_eq!(self.failures(), 0, "{self}");
        self.scrapes.expect_monotone();
    }
}

impl fmt::Display for Aftermath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "in the clear: {}", self.plain)?;
        writeln!(f, "over TLS: {}", self.secure)?;
        for (outcome, (time, clients)) in self.thinkers.iter().zip(THINKERS) {
            let (completed, failed, notes) = (outcome.completed, &outcome.failed, &outcome.notes);
            write!(f, "{clients} that think for {time:?}: {completed} answered, ")?;
            writeln!(f, "{failed:?} {notes:?}")?;
        }
        writeln!(f, "HTTP/2: {} answered, {:?}", self.http2.completed, self.http2.failed)?;
        let codes = crate::apps::web_socket::codes(&self.farewells);
        writeln!(f, "WebSockets closed by the other side: {codes:?}")?;
        write!(f, "{} looks at the metrics", self.scrapes.read)
    }
}
