//! The clients of a load: each one connection, each with at most one request in flight.

mod connection;

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use self::connection::{Connection, Fault};
use crate::generator::Io;
use crate::http::{self, Framing};
use crate::load::{Failure, Load, Outcome, Pace, Reuse};

/// Requests begun in one turn, so that a thousand connections do not all knock at once.
const STARTS_PER_TURN: usize = 64;
/// Scheduled requests that may wait for a connection; more are failures.
const BACKLOG_MAX: usize = 100_000;
/// A client whose request failed rests this long, so that a dead server is not hammered.
const REST: Duration = Duration::from_millis(10);
/// How often requests are looked through for those that take too long.
const EXPIRY_EVERY: Duration = Duration::from_millis(100);
/// A longer response head is not one.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// All clients of one load.
#[derive(Debug)]
pub(crate) struct Clients {
    load: Load,
    request: Vec<u8>,
    clients: Vec<Client>,
    idle: VecDeque<u32>,
    resting: VecDeque<(Instant, u32)>,
    /// When the requests that wait for a connection should have been sent.
    backlog: VecDeque<Instant>,
    began_at: Instant,
    scheduled: u64,
    expiry_at: Instant,
    /// Nothing new is sent any more.
    ending: bool,
    outcome: Outcome,
}

#[derive(Debug)]
struct Client {
    connection: Option<Connection>,
    state: State,
    /// Where the latency of the request in flight counts from.
    from: Instant,
    sent_at: Instant,
}

/// Where a client is with its request.
#[derive(Debug)]
enum State {
    Idle,
    /// Connecting, or the socket is full. Over TLS the request is sent once it is encrypted.
    Sending {
        sent: usize,
    },
    /// Within the response's head, or before it.
    Head {
        partial: Vec<u8>,
    },
    Body {
        left: u64,
        verdict: Verdict,
        close: bool,
    },
}

/// What the head already says about the response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Body(u64),
    Good,
    Status(u16),
}

/// How a step ended for the request in flight.
#[derive(Debug)]
enum Step {
    /// It goes on when the socket is ready.
    Waiting,
    Done {
        verdict: Verdict,
        close: bool,
    },
    Failed(Failure, String),
}

impl Clients {
    pub(crate) fn new(load: Load, now: Instant) -> Self {
        let client = || Client { connection: None, state: State::Idle, from: now, sent_at: now };
        Self {
            request: load.request.render(load.reuse),
            clients: (0..load.connections).map(|_| client()).collect(),
            idle: (0..load.connections).collect(),
            resting: VecDeque::new(),
            backlog: VecDeque::new(),
            began_at: now,
            scheduled: 0,
            expiry_at: now + EXPIRY_EVERY,
            ending: false,
            outcome: Outcome::default(),
            load,
        }
    }

    pub(crate) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    pub(crate) fn take_outcome(&mut self) -> Outcome {
        std::mem::take(&mut self.outcome)
    }

    /// Sends nothing new; what waits in the backlog was scheduled and is still sent.
    pub(crate) fn end(&mut self) {
        self.ending = true;
    }

    /// Whether no request is in flight or waits for a connection.
    pub(crate) fn is_quiet(&self) -> bool {
        self.backlog.is_empty() && self.clients.iter().all(|c| matches!(c.state, State::Idle))
    }

    /// When [`Clients::advance`] has something to do, if no event comes before.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        let has_work = match self.load.pace {
            Pace::Closed => !self.ending,
            Pace::Open { .. } => !self.backlog.is_empty(),
        };
        if has_work && !self.idle.is_empty() {
            return Some(self.began_at);
        }
        let rested = self.resting.front().map(|&(at, _)| at);
        let sends = self.next_send().filter(|_| !self.ending);
        // Expiry is in no hurry: the loop turns often enough for it.
        [rested, sends].into_iter().flatten().min()
    }

    /// Does what the time asks for: schedules, begins, and gives up requests.
    pub(crate) fn advance(&mut self, now: Instant, io: &mut Io<'_>) -> io::Result<()> {
        while let Some(&(at, id)) = self.resting.front()
            && at <= now
        {
            self.resting.pop_front();
            self.idle.push_back(id);
        }
        self.schedule(now);
        for _ in 0..STARTS_PER_TURN {
            let Some(&id) = self.idle.front() else { break };
            let from = match self.load.pace {
                Pace::Closed if self.ending => break,
                Pace::Closed => now,
                Pace::Open { .. } => match self.backlog.pop_front() {
                    Some(scheduled) => scheduled,
                    None => break,
                },
            };
            self.idle.pop_front();
            self.begin(id, from, now, io)?;
        }
        if now >= self.expiry_at {
            self.expire(now);
        }
        Ok(())
    }

    /// Something happened to a connection. What it was, reading and writing will tell.
    pub(crate) fn handle(&mut self, id: u32, io: &mut Io<'_>) -> io::Result<()> {
        let client = &mut self.clients[id as usize];
        let step = match client.state {
            State::Idle => {
                // Closed by the server while nobody used it, or noise after a response.
                client.connection = None;
                return Ok(());
            }
            State::Sending { .. } => client.send(id, &self.request, io)?,
            State::Head { .. } | State::Body { .. } => {
                client.receive(id, self.load.body_bytes, io)?
            }
        };
        self.conclude(id, step, io)
    }

    /// Puts requests whose time has come into the backlog.
    fn schedule(&mut self, now: Instant) {
        while !self.ending
            && let Some(at) = self.next_send()
            && at <= now
        {
            self.scheduled += 1;
            if self.backlog.len() < BACKLOG_MAX {
                self.backlog.push_back(at);
            } else {
                self.outcome.fail(now - self.began_at, Failure::Backlog, "");
            }
        }
    }

    /// When the next scheduled request is due, counted from the beginning so that no error adds up.
    fn next_send(&self) -> Option<Instant> {
        let Pace::Open { per_second } = self.load.pace else { return None };
        let nanos = (u128::from(self.scheduled) * 1_000_000_000).checked_div(per_second.into())?;
        Some(self.began_at + Duration::from_nanos(u64::try_from(nanos).ok()?))
    }

    fn begin(&mut self, id: u32, from: Instant, now: Instant, io: &mut Io<'_>) -> io::Result<()> {
        let client = &mut self.clients[id as usize];
        client.from = from;
        client.sent_at = now;
        client.state = State::Sending { sent: 0 };
        // Of a connection that was idle, the event that says that it has ended may still be to come.
        let was_idle = matches!(self.load.pace, Pace::Open { .. });
        client.connection.take_if(|connection| was_idle && !connection.is_quiet());
        if client.connection.is_none() {
            match Connection::open(self.load.target, self.load.tls.as_ref()) {
                Ok(connection) => {
                    connection.register(id, io)?;
                    client.connection = Some(connection);
                    self.outcome.connected += 1;
                }
                Err(error) => {
                    let step = Step::Failed(Failure::Connect, error.to_string());
                    return self.conclude(id, step, io);
                }
            }
        }
        let step = self.clients[id as usize].send(id, &self.request, io)?;
        self.conclude(id, step, io)
    }

    fn conclude(&mut self, id: u32, step: Step, io: &mut Io<'_>) -> io::Result<()> {
        let (verdict, close) = match step {
            Step::Waiting => return Ok(()),
            Step::Done { verdict, close } => (verdict, close),
            Step::Failed(failure, detail) => {
                self.fail(id, Instant::now(), failure, &detail);
                return Ok(());
            }
        };
        let now = Instant::now();
        let client = &mut self.clients[id as usize];
        client.state = State::Idle;
        if close || self.load.reuse == Reuse::Close {
            client.connection = None;
        }
        let at = now - self.began_at;
        match verdict {
            Verdict::Good => {
                self.outcome.completed += 1;
                self.outcome.latency.record(now.saturating_duration_since(client.from));
            }
            Verdict::Body(bytes) => {
                self.outcome.fail(at, Failure::Body, &format!("{bytes} bytes"));
            }
            Verdict::Status(status) => {
                self.outcome.fail(at, Failure::Status, &status.to_string());
            }
        }
        match self.load.pace {
            Pace::Closed if verdict == Verdict::Good && !self.ending => {
                self.begin(id, now, now, io)
            }
            Pace::Closed | Pace::Open { .. } if verdict == Verdict::Good => {
                self.idle.push_back(id);
                Ok(())
            }
            Pace::Closed | Pace::Open { .. } => {
                self.resting.push_back((now + REST, id));
                Ok(())
            }
        }
    }

    fn fail(&mut self, id: u32, now: Instant, failure: Failure, detail: &str) {
        let client = &mut self.clients[id as usize];
        client.connection = None;
        client.state = State::Idle;
        self.outcome.fail(now - self.began_at, failure, detail);
        self.resting.push_back((now + REST, id));
    }

    fn expire(&mut self, now: Instant) {
        self.expiry_at = now + EXPIRY_EVERY;
        for id in 0..self.load.connections {
            let client = &self.clients[id as usize];
            let is_busy = !matches!(client.state, State::Idle);
            if is_busy && now.saturating_duration_since(client.sent_at) > self.load.timeout {
                self.fail(id, now, Failure::Timeout, "");
            }
        }
    }
}

impl Client {
    /// Sends what is left of the request.
    fn send(&mut self, id: u32, request: &[u8], io: &Io<'_>) -> io::Result<Step> {
        let (Some(connection), State::Sending { sent }) = (&mut self.connection, &mut self.state)
        else {
            return Ok(Step::Waiting);
        };
        if let Err(fault) = connection.send(request, sent) {
            let failure = match connection.responses {
                _ if connection.is_untouched() => Failure::Connect,
                0 => Failure::Cut,
                _ => Failure::Stale,
            };
            return match fault {
                Fault::Blocked => connection.wait(id, io).map(|()| Step::Waiting),
                Fault::Broken(error) => Ok(Step::Failed(failure, error.to_string())),
                Fault::Tls(error) => Ok(Step::Failed(Failure::Tls, error.to_string())),
            };
        }
        connection.wait(id, io)?;
        self.state = State::Head { partial: Vec::new() };
        Ok(Step::Waiting)
    }

    fn receive(&mut self, id: u32, expected: Option<u64>, io: &mut Io<'_>) -> io::Result<Step> {
        let Some(connection) = &mut self.connection else { return Ok(Step::Waiting) };
        let received = connection.receive(io.scratch);
        connection.wait(id, io)?;
        Ok(match received {
            Ok(0) => self.cut("end of stream"),
            Ok(length) => self.hear(&io.scratch[..length], expected),
            Err(Fault::Blocked) => Step::Waiting,
            Err(Fault::Broken(error)) => self.cut(&error.to_string()),
            Err(Fault::Tls(error)) => Step::Failed(Failure::Tls, error.to_string()),
        })
    }

    /// Takes in more of the response.
    fn hear(&mut self, bytes: &[u8], expected: Option<u64>) -> Step {
        let body = match &mut self.state {
            State::Head { partial } if partial.is_empty() => self.head(bytes, expected),
            State::Head { partial } => {
                let mut head = std::mem::take(partial);
                head.extend_from_slice(bytes);
                self.head(&head, expected)
            }
            State::Body { .. } => Ok(bytes.len() as u64),
            State::Idle | State::Sending { .. } => return Step::Waiting,
        };
        let body = match body {
            Ok(body) => body,
            Err(what) => return Step::Failed(Failure::Malformed, what.to_owned()),
        };
        let State::Body { left, verdict, close } = &mut self.state else { return Step::Waiting };
        let Some(still) = left.checked_sub(body) else {
            return Step::Failed(Failure::Malformed, "bytes after the body".to_owned());
        };
        *left = still;
        if still > 0 {
            return Step::Waiting;
        }
        if let Some(connection) = &mut self.connection {
            connection.responses += 1;
        }
        Step::Done { verdict: *verdict, close: *close }
    }

    /// Reads a head; `bytes` may end within it. Says how many bytes of body came with it.
    fn head(&mut self, bytes: &[u8], expected: Option<u64>) -> Result<u64, &'static str> {
        let Some(length) = http::head_len(bytes) else {
            if bytes.len() > HEAD_BYTES_MAX {
                return Err("the head is too long");
            }
            self.state = State::Head { partial: bytes.to_vec() };
            return Ok(0);
        };
        let head = &bytes[..length];
        let status = http::status(head).ok_or("no status")?;
        let framing = Framing::read(head).ok_or("a length that is no number")?;
        let left = framing.content_length.ok_or("no length")?;
        let verdict = match expected {
            _ if status != 200 => Verdict::Status(status),
            Some(expected) if expected != left => Verdict::Body(left),
            Some(_) | None => Verdict::Good,
        };
        self.state = State::Body { left, verdict, close: framing.close };
        Ok((bytes.len() - length) as u64)
    }

    /// The connection ended under the request.
    fn cut(&self, how: &str) -> Step {
        let responses = self.connection.as_ref().map_or(0, |connection| connection.responses);
        let is_untouched = matches!(&self.state, State::Head { partial } if partial.is_empty());
        let failure = if is_untouched && responses > 0 { Failure::Stale } else { Failure::Cut };
        Step::Failed(failure, how.to_owned())
    }
}
