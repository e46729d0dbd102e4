//! The probe: a process in the client's namespace that asks, and asks, and notes what it gets.
//!
//! It is a process of its own, a real-time one where that is allowed, so that what the lab or the
//! machine does beside it is not mistaken for an outage.

mod answer;
mod exchange;
pub mod open_loop;

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::network::Place;
use super::{Trace, wait_within};

/// What a line begins with that says who answers from now on.
const TURN: &str = "turn ";
/// How long the first answer may take.
const SERVED_WITHIN: Duration = Duration::from_secs(40);

/// The program that contains the probe: the lab's own, called with this word.
pub const WORD: &str = "probe";

/// A probe at work; it ends with this value.
#[derive(Debug)]
pub struct Probe {
    child: Child,
    stdin: Option<ChildStdin>,
    seen: Arc<Mutex<Sight>>,
    reader: Option<JoinHandle<()>>,
}

/// What a probe sees, as long as anybody wants to know.
#[derive(Clone, Debug)]
pub struct Seen {
    shared: Arc<Mutex<Sight>>,
}

impl Seen {
    /// Who answered last.
    pub fn last(&self) -> Option<char> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).turns.last().copied()
    }
}

#[derive(Debug, Default)]
struct Sight {
    lines: Vec<String>,
    /// Everybody who has answered, in turn.
    turns: Vec<char>,
}

impl Probe {
    /// Starts `program` as a probe at `client` that waits for each answer with this `patience`, and
    /// waits for the first one.
    ///
    /// # Panics
    /// If there is none.
    pub fn start(program: &Path, client: &Place, patience: Duration) -> Self {
        let program: PathBuf = program.canonicalize().expect("the lab is its own probe");
        let mut command = client.real_time(program.to_str().expect("a path in UTF-8"));
        let patience = patience.as_millis().to_string();
        let vip: IpAddr = client.vip().parse().expect("it is an address");
        command.args([WORD, &SocketAddr::from((vip, 80)).to_string(), &patience]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("`ip` is there");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("it is piped");
        let seen = Arc::new(Mutex::new(Sight::default()));
        let shared = Arc::clone(&seen);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let mut seen = shared.lock().unwrap_or_else(PoisonError::into_inner);
                match line.strip_prefix(TURN).and_then(|rest| rest.chars().next()) {
                    Some(node) => seen.turns.push(node),
                    None => seen.lines.push(line),
                }
            }
        });
        let probe = Self { child, stdin, seen, reader: Some(reader) };
        assert!(
            wait_within(SERVED_WITHIN, || probe.node().is_some()),
            "nobody answers at {vip} after {SERVED_WITHIN:?}"
        );
        probe
    }

    /// Who answered last.
    pub fn node(&self) -> Option<char> {
        self.seen().last()
    }

    /// What it sees, for whoever looks at something else at the same time.
    pub fn seen(&self) -> Seen {
        Seen { shared: Arc::clone(&self.seen) }
    }

    /// Everybody who has answered so far, in turn.
    pub fn turns(&self) -> Vec<char> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).turns.clone()
    }

    /// Waits until somebody else than `old` answers; says whether that came to pass.
    pub fn wait_for_other(&self, old: char, patience: Duration) -> bool {
        wait_within(patience, || self.node().is_some_and(|node| node != old))
    }

    /// Whether it still asks.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it; what it saw.
    pub fn stop(mut self) -> Trace {
        self.end();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Trace::read(seen.lines.iter().map(String::as_str))
    }

    fn end(&mut self) {
        // It ends when nobody holds the other end, once its last request has.
        self.stdin = None;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let _ = self.child.wait();
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.end();
    }
}
