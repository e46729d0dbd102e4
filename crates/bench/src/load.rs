//! What to send, how fast, and what came of it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::histogram::Histogram;
use crate::tls::Tls;

/// Descriptions of errors kept for people; later ones are only counted.
const NOTES_MAX: usize = 8;

/// The name that servers are asked for unless another is given.
pub const HOST: &str = "bench.example";

/// What a browser says with every request.
pub(crate) const BROWSER_FIELDS: [(&str, &str); 3] = [
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("Accept", "text/html,application/json;q=0.9,*/*;q=0.8"),
    ("Accept-Encoding", "gzip, deflate, br"),
];

/// What to send, and how fast.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where to connect.
    pub target: SocketAddr,
    /// How connections are secured; `None` leaves them in the clear.
    pub tls: Option<Tls>,
    /// What to send.
    pub request: Request,
    /// Bytes that every body must have; `None` takes any.
    pub body_bytes: Option<u64>,
    /// Connections at once.
    pub connections: u32,
    /// How long a connection lives.
    pub reuse: Reuse,
    /// When requests are sent.
    pub pace: Pace,
    /// A request that takes longer counts as failed.
    pub timeout: Duration,
}

impl Load {
    /// `GET path`, closed loop over `connections` kept connections, 10 s for each request.
    pub fn get(target: SocketAddr, path: &str, connections: u32) -> Self {
        Self {
            target,
            tls: None,
            request: Request { host: HOST.to_owned(), path: path.to_owned(), upload: 0 },
            body_bytes: None,
            connections,
            reuse: Reuse::KeepAlive,
            pace: Pace::Closed,
            timeout: Duration::from_secs(10),
        }
    }
}

/// A request as a browser would send it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// `Host`.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Bytes of body; none makes it a GET, any a POST.
    pub upload: usize,
}

impl Request {
    pub(crate) fn render(&self, reuse: Reuse) -> Vec<u8> {
        let method = if self.upload == 0 { "GET" } else { "POST" };
        let mut text = format!("{method} {} HTTP/1.1\r\nHost: {}\r\n", self.path, self.host);
        for (name, value) in BROWSER_FIELDS {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if reuse == Reuse::Close {
            text.push_str("Connection: close\r\n");
        }
        if self.upload > 0 {
            text.push_str("Content-Type: application/octet-stream\r\n");
            text.push_str(&format!("Content-Length: {}\r\n", self.upload));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.resize(bytes.len() + self.upload, b'u');
        bytes
    }
}

/// How long a connection lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reuse {
    /// For one request, and says so.
    Close,
    /// Until the server closes it.
    KeepAlive,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pace {
    /// On each connection as soon as the last response is complete. Latency counts from the send.
    Closed,
    /// On a schedule that does not wait for anybody. Latency counts from the scheduled time, so a
    /// server that stands still is charged for all that should have been sent meanwhile.
    Open {
        /// Requests a second; zero sends none.
        per_second: u32,
    },
}

/// What came of a load, since it began or since it was last taken.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Requests that got the right answer.
    pub completed: u64,
    /// How long those took.
    pub latency: Histogram,
    /// Requests that did not, by what went wrong.
    pub failed: BTreeMap<Failure, u64>,
    /// Connections made.
    pub connected: u64,
    /// The first failures in words.
    pub notes: Vec<String>,
}

impl Outcome {
    /// All failures together.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    pub(crate) fn fail(&mut self, at: Duration, failure: Failure, detail: &str) {
        *self.failed.entry(failure).or_default() += 1;
        if self.notes.len() < NOTES_MAX {
            let separator = if detail.is_empty() { "" } else { ": " };
            let note = format!("{:.3}s: {failure}{separator}{detail}", at.as_secs_f64());
            self.notes.push(note);
        }
    }
}

/// Why a request did not get the right answer.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Failure {
    /// The schedule ran ahead of the connections by more than the backlog holds.
    Backlog,
    /// The body was longer or shorter than it must be.
    Body,
    /// The connection could not be made.
    Connect,
    /// The connection ended within a response, or before one on a new connection.
    Cut,
    /// What came is no response.
    Malformed,
    /// The connection ended under a request that was not its first, before any answer.
    Stale,
    /// The status was not 200.
    Status,
    /// The answer took longer than the load allows.
    Timeout,
    /// What came is no TLS, or not from whom it should be.
    Tls,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backlog => "backlog is full",
            Self::Body => "wrong body length",
            Self::Connect => "cannot connect",
            Self::Cut => "connection cut",
            Self::Malformed => "malformed response",
            Self::Stale => "kept connection cut",
            Self::Status => "wrong status",
            Self::Timeout => "timeout",
            Self::Tls => "TLS failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_long_as_a_browsers_and_says_what_it_is() {
        let get = Load::get(([127, 0, 0, 1], 80).into(), "/1024", 1).request;
        let text = String::from_utf8(get.render(Reuse::KeepAlive)).expect("it is ASCII");
        assert!(text.starts_with("GET /1024 HTTP/1.1\r\nHost: bench.example\r\n"), "{text}");
        assert!((180..300).contains(&text.len()), "{} bytes", text.len());
        assert!(!text.contains("Connection"), "{text}");

        let post = Request { upload: 3, ..get };
        let text = String::from_utf8(post.render(Reuse::Close)).expect("it is ASCII");
        assert!(text.starts_with("POST "), "{text}");
        assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
        assert!(text.ends_with("\r\nContent-Length: 3\r\n\r\nuuu"), "{text}");
    }

    #[test]
    fn failures_are_counted_without_end_and_described_up_to_a_bound() {
        let mut outcome = Outcome::default();
        for _ in 0..20 {
            outcome.fail(Duration::from_millis(1500), Failure::Status, "503");
        }
        assert_eq!(outcome.failures(), 20);
        assert_eq!(outcome.notes.len(), NOTES_MAX);
        assert_eq!(outcome.notes[0], "1.500s: wrong status: 503");
    }
}
