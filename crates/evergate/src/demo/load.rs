//! Open-loop load: GETs at their time, over kept connections and now and then a fresh one.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use evergate_core::time::Instant;
use evergate_sys::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};

use super::tally::{Failure, Tally};

/// A request that is not over this long after its time has failed.
const DEADLINE: Duration = Duration::from_secs(10);
/// Every so many requests, one goes over a connection of its own.
const FRESH_EVERY: u64 = 8;
/// Most requests under way at once; over that, a request counts as not sent.
const UNDER_WAY_MAX: usize = 4096;
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long requests are sent, from the start, in milliseconds; may change meanwhile.
#[derive(Debug)]
struct Until(AtomicU64);

impl Until {
    fn of(time: Duration) -> Self {
        Self(AtomicU64::new(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }

    fn time(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Load that runs on a thread of its own.
pub(super) struct Load {
    until: Arc<Until>,
    thread: JoinHandle<()>,
}

impl Load {
    /// Sends `rate` requests a second to `target` for `time`, and records what becomes of them.
    pub(super) fn start(
        target: SocketAddr,
        rate: u32,
        time: Duration,
        tally: Arc<Mutex<Tally>>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let until = Arc::new(Until::of(time));
        let sender = Arc::new(Sender { target, idle: Mutex::new(Vec::new()), tally });
        let schedule = Schedule { began: clock::now(), rate };
        let end = Arc::clone(&until);
        let thread = std::thread::Builder::new()
            .name("load".into())
            .spawn(move || runtime.block_on(send_all(sender, schedule, &end)))?;
        Ok(Self { until, thread })
    }

    /// Sends no more; what is under way still counts.
    pub(super) fn stop(&self) {
        self.until.0.store(0, Ordering::Relaxed);
    }

    /// Goes on until `time` after the start, if it would end before.
    pub(super) fn extend(&self, time: Duration) {
        self.until.0.fetch_max(Until::of(time).0.into_inner(), Ordering::Relaxed);
    }

    /// Whether every request is over.
    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// When each request is due.
#[derive(Clone, Copy)]
struct Schedule {
    began: Instant,
    rate: u32,
}

impl Schedule {
    /// When request `number` is due, if that is before `until`.
    fn due(self, number: u64, until: Duration) -> Option<Instant> {
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(self.rate);
        let offset = Duration::from_nanos(u64::try_from(nanos).ok()?);
        (offset < until).then(|| self.began + offset)
    }
}

async fn send_all(sender: Arc<Sender>, schedule: Schedule, until: &Until) {
    let mut requests = JoinSet::new();
    let mut number = 0;
    while let Some(due) = schedule.due(number, until.time()) {
        let wait = due - clock::now();
        if wait > Duration::ZERO {
            sleep(wait).await;
        }
        while requests.try_join_next().is_some() {}
        if requests.len() < UNDER_WAY_MAX {
            let fresh = number.is_multiple_of(FRESH_EVERY);
            requests.spawn(Arc::clone(&sender).send(due, fresh));
        } else {
            sender.record(due, Err(Failure::NotSent));
        }
        number += 1;
        // When it is behind, it does not sleep; requests under way must go on all the same.
        yield_now().await;
    }
    while requests.join_next().await.is_some() {}
}

struct Sender {
    target: SocketAddr,
    /// Connections that wait for a request, the one used last at the end.
    idle: Mutex<Vec<TcpStream>>,
    tally: Arc<Mutex<Tally>>,
}

impl Sender {
    async fn send(self: Arc<Self>, due: Instant, fresh: bool) {
        let left = DEADLINE.saturating_sub(clock::now() - due);
        let outcome = match timeout(left, self.exchange(fresh)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::Late),
        };
        self.record(due, outcome);
    }

    fn record(&self, due: Instant, outcome: Result<u16, Failure>) {
        self.tally.lock().expect("no holder panics").record(due, clock::now(), outcome);
    }

    /// One request, without any second try: a client that hides failures would prove nothing. Says
    /// which release answered.
    async fn exchange(&self, fresh: bool) -> Result<u16, Failure> {
        let kept = if fresh { None } else { self.idle.lock().expect("no holder panics").pop() };
        let mut stream = match kept {
            Some(stream) => stream,
            None => TcpStream::connect(self.target).await.map_err(|_| Failure::Connect)?,
        };
        let connection = if fresh { "close" } else { "keep-alive" };
        let request =
            format!("GET / HTTP/1.1\r\nhost: {}\r\nconnection: {connection}\r\n\r\n", self.target);
        stream.write_all(request.as_bytes()).await.map_err(|_| Failure::Broken)?;
        let answer = read_answer(&mut stream).await?;
        if answer.keep && !fresh {
            self.idle.lock().expect("no holder panics").push(stream);
        }
        if answer.status == 200 { Ok(answer.release) } else { Err(Failure::Status(answer.status)) }
    }
}

#[derive(Debug, Eq, PartialEq)]
struct Answer {
    status: u16,
    /// Whether the connection may be used again.
    keep: bool,
    /// `x-release`, or 0.
    release: u16,
}

async fn read_answer(stream: &mut TcpStream) -> Result<Answer, Failure> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if let Some((answer, length)) = parse(&bytes)? {
            if bytes.len() > length {
                return Err(Failure::Garbled);
            }
            if bytes.len() == length {
                return Ok(answer);
            }
        }
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(Failure::Garbled);
        }
        if stream.read_buf(&mut bytes).await.map_err(|_| Failure::Broken)? == 0 {
            return Err(Failure::Broken);
        }
    }
}

/// The answer at the start of `bytes` and its whole length, once its head is there.
fn parse(bytes: &[u8]) -> Result<Option<(Answer, usize)>, Failure> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| Failure::Garbled)?;
    let mut lines = head.split("\r\n");
    let first = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3));
    let status = first.and_then(|status| status.parse().ok()).ok_or(Failure::Garbled)?;
    let (mut length, mut keep, mut release) = (None, true, 0);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("connection") {
            keep = !value.trim().eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("x-release") {
            release = value.trim().parse().unwrap_or_default();
        }
    }
    // The app always tells its lengths, and so does the gateway for its own answers.
    let length = length.filter(|length| *length <= ANSWER_BYTES_MAX).ok_or(Failure::Garbled)?;
    Ok(Some((Answer { status, keep, release }, end + 4 + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_end_where_their_length_says() {
        let text = b"HTTP/1.1 200 OK\r\nX-Release: 2\r\nContent-Length: 2\r\n\r\nok";
        let answer = Answer { status: 200, keep: true, release: 2 };
        assert_eq!(parse(text), Ok(Some((answer, text.len()))));
        let text = b"HTTP/1.1 503 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let answer = Answer { status: 503, keep: false, release: 0 };
        assert_eq!(parse(text), Ok(Some((answer, text.len()))));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nconten"), Ok(None));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\n"), Err(Failure::Garbled));
        assert_eq!(parse(b"nonsense\r\n\r\n"), Err(Failure::Garbled));
    }

    #[test]
    fn requests_are_due_evenly_until_the_end() {
        let schedule = Schedule { began: Instant::EPOCH, rate: 1500 };
        let until = Until::of(Duration::from_secs(20));
        let due = |number| schedule.due(number, until.time());
        assert_eq!(due(1500), Some(Instant::EPOCH + Duration::from_secs(1)));
        assert!(due(29_999).is_some());
        assert_eq!(due(30_000), None);
    }

    /// A server that answers each connection's requests with what `answer` makes of their number.
    async fn server(answer: fn(usize) -> &'static str) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut number = 0;
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 1024];
                while stream.read(&mut buffer).await.unwrap() > 0 {
                    stream.write_all(answer(number).as_bytes()).await.unwrap();
                    number += 1;
                    if answer(number).is_empty() {
                        break;
                    }
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn every_kind_of_failure_is_counted_as_what_it_is() {
        let target = server(|number| match number {
            0 => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            1 => "HTTP/1.1 503 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            2 => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhal",
            _ => "",
        })
        .await;
        let tally = Arc::new(Mutex::new(Tally::default()));
        let sender =
            Arc::new(Sender { target, idle: Mutex::new(Vec::new()), tally: Arc::clone(&tally) });
        for _ in 0..3 {
            Arc::clone(&sender).send(clock::now(), false).await;
        }
        // No port that was just let go of: another test may have it by now.
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        let lost =
            Arc::new(Sender { target: nobody, idle: Mutex::default(), tally: Arc::clone(&tally) });
        lost.send(clock::now(), true).await;
        let tally = tally.lock().unwrap();
        let failed: Vec<(Failure, u64)> = tally.failed.clone().into_iter().collect();
        assert_eq!(tally.ok, 1);
        assert_eq!(
            failed,
            [(Failure::Connect, 1), (Failure::Broken, 1), (Failure::Status(503), 1)]
        );
    }
}
