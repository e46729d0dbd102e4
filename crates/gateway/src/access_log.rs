//! One line for each request, written beside the request path.
//!
//! A data-plane thread formats lines into its own buffer and hands it over when it is full or a
//! quarter of a second old. One writer thread prints. If it cannot keep up, whole buffers are
//! dropped and their lines counted: a slow reader never slows a request.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use evergate_config::AccessLog;
use evergate_core::head::{Name, RequestHead, Version};
use evergate_core::time::Calendar;
use evergate_sys::clock;
use tokio::sync::{Notify, oneshot};

use crate::caller::Announced;
use crate::http1::forward::{self, push_number};

/// Size at which a buffer is handed over, in bytes.
const BUFFER_BYTES: usize = 32 * 1024;
/// Buffers waiting for the writer; past that they are dropped.
const BUFFERS_QUEUED_MAX: usize = 32;
/// How long the end waits for room in the queue before it tries again.
const ROOM_WAIT: Duration = Duration::from_millis(10);
/// Age at which a buffer is handed over.
pub(crate) const BUFFER_AGE_MAX: Duration = Duration::from_millis(250);

/// What there is to say about a request.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// None if the head could not be read.
    pub(crate) head: Option<&'a RequestHead>,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    pub(crate) client: IpAddr,
    pub(crate) status: u16,
    pub(crate) took: Duration,
    pub(crate) sent: u64,
    pub(crate) route: &'a str,
    /// `pool/server`, if one was tried.
    pub(crate) upstream: Option<(&'a str, &'a str)>,
    pub(crate) retries: u32,
    pub(crate) request_id: &'a [u8; 32],
    /// What the proxy in front says of the connection.
    pub(crate) announced: Option<&'a Announced>,
    /// Why Evergate answered instead of a server.
    pub(crate) reason: Option<&'static str>,
}

/// The lines of one thread that are not handed over yet.
#[derive(Debug)]
pub(crate) struct LogBuffer {
    text: RefCell<Vec<u8>>,
    lines: Cell<u64>,
    writer: LogWriter,
    second: Cell<u64>,
    stamp: Cell<[u8; 19]>,
    /// Told when the first line enters an empty buffer.
    pub(crate) started: Notify,
}

/// The way to the writer thread, and what became of the lines.
#[derive(Clone, Debug)]
pub struct LogWriter {
    queue: SyncSender<Piece>,
    counts: Arc<LogCounts>,
}

/// What the writer thread is given.
#[derive(Debug)]
enum Piece {
    Lines(Vec<u8>),
    /// Whole lines of somebody else; the sender is dropped when they are printed.
    Others(Vec<u8>, oneshot::Sender<()>),
    /// To be dropped when its turn comes.
    Mark(oneshot::Sender<()>),
}

/// Lines printed or on their way, and lines dropped.
#[derive(Debug, Default)]
pub struct LogCounts {
    /// Handed to the writer.
    pub written: AtomicU64,
    /// Dropped because the writer was behind.
    pub dropped: AtomicU64,
}

impl LogWriter {
    /// Starts the writer thread; it ends when every clone of the result is gone.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(to: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (queue, buffers) = sync_channel(BUFFERS_QUEUED_MAX);
        std::thread::Builder::new().name("access-log".into()).spawn(move || print(buffers, to))?;
        Ok(Self { queue, counts: Arc::default() })
    }

    /// Prints `lines` of somebody else between ours, whole ones with their line feeds. The result
    /// closes when that is done; none if the writer is behind, and then they are dropped.
    pub fn print(&self, lines: Vec<u8>) -> Option<oneshot::Receiver<()>> {
        let (done, printed) = oneshot::channel();
        self.queue.try_send(Piece::Others(lines, done)).ok()?;
        Some(printed)
    }

    /// Waits until everything that was handed over has been printed.
    pub async fn finish(&self) {
        let (mark, passed) = oneshot::channel();
        let mut piece = Piece::Mark(mark);
        while let Err(TrySendError::Full(same)) = self.queue.try_send(piece) {
            piece = same;
            tokio::time::sleep(ROOM_WAIT).await;
        }
        // That it was dropped is all there is to hear.
        let _ = passed.await;
    }

    /// What became of the lines so far.
    pub fn counts(&self) -> &LogCounts {
        &self.counts
    }
}

fn print(pieces: Receiver<Piece>, mut to: impl Write) {
    for piece in pieces {
        let (buffer, _done) = match piece {
            Piece::Lines(buffer) => (buffer, None),
            Piece::Others(buffer, done) => (buffer, Some(done)),
            Piece::Mark(mark) => {
                drop(mark);
                continue;
            }
        };
        // A log that cannot be written must not end the service; the next line may get through.
        let _ = to.write_all(&buffer).and_then(|()| to.flush());
    }
}

impl LogBuffer {
    /// An empty buffer in front of `writer`.
    pub(crate) fn new(writer: LogWriter) -> Self {
        Self {
            text: RefCell::default(),
            lines: Cell::new(0),
            writer,
            second: Cell::new(u64::MAX),
            stamp: Cell::new([b'0'; 19]),
            started: Notify::new(),
        }
    }

    /// Adds a line in the shape of `access`.
    pub(crate) fn push(&self, access: AccessLog, entry: &Entry<'_>) {
        let millis = clock::unix_millis();
        let mut text = self.text.borrow_mut();
        match access {
            AccessLog::Off => return,
            AccessLog::Json => write_json(&mut text, entry, &self.stamp(millis / 1000), millis),
            AccessLog::Combined => write_combined(&mut text, entry, millis / 1000),
        }
        self.lines.set(self.lines.get() + 1);
        if self.lines.get() == 1 {
            self.started.notify_one();
        }
        if text.len() >= BUFFER_BYTES {
            drop(text);
            self.hand_over();
        }
    }

    /// Gives the buffered lines to the writer, or drops and counts them.
    pub(crate) fn hand_over(&self) {
        let lines = self.lines.replace(0);
        if lines == 0 {
            return;
        }
        let full = self.text.replace(Vec::with_capacity(BUFFER_BYTES + 1024));
        let counts = &self.writer.counts;
        match self.writer.queue.try_send(Piece::Lines(full)) {
            Ok(()) => counts.written.fetch_add(lines, Relaxed),
            Err(_) => counts.dropped.fetch_add(lines, Relaxed),
        };
    }

    /// `2026-11-21T03:05:00`, formatted once a second.
    fn stamp(&self, seconds: u64) -> [u8; 19] {
        if self.second.replace(seconds) != seconds {
            let at = Calendar::of(seconds);
            let text = format!(
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
                at.year % 10_000,
                at.month,
                at.day,
                at.hour,
                at.minute,
                at.second
            );
            if let Ok(stamp) = text.as_bytes().try_into() {
                self.stamp.set(stamp);
            }
        }
        self.stamp.get()
    }
}

impl Drop for LogBuffer {
    fn drop(&mut self) {
        self.hand_over();
    }
}

fn write_json(out: &mut Vec<u8>, entry: &Entry<'_>, stamp: &[u8; 19], millis: u64) {
    out.extend_from_slice(b"{\"timestamp\":\"");
    out.extend_from_slice(stamp);
    out.push(b'.');
    push_padded(out, millis % 1000);
    out.extend_from_slice(b"Z\",\"method\":\"");
    push_escaped(out, entry.head.map_or(b"-", |head| head.method_text()));
    out.extend_from_slice(b"\",\"url\":\"");
    if let Some(head) = entry.head {
        out.extend_from_slice(entry.scheme.as_bytes());
        out.extend_from_slice(b"://");
        push_escaped(out, head.authority());
        push_escaped(out, head.target());
    }
    out.extend_from_slice(b"\",\"statusCode\":");
    push_number(out, u64::from(entry.status));
    out.extend_from_slice(b",\"responseTime\":");
    let micros = entry.took.as_micros() as u64;
    push_number(out, micros / 1000);
    out.push(b'.');
    push_padded(out, micros % 1000);
    out.extend_from_slice(b",\"client\":\"");
    forward::push_address(out, entry.client);
    out.extend_from_slice(b"\",\"route\":\"");
    push_escaped(out, entry.route.as_bytes());
    if let Some((pool, server)) = entry.upstream {
        out.extend_from_slice(b"\",\"upstream\":\"");
        push_escaped(out, pool.as_bytes());
        out.push(b'/');
        push_escaped(out, server.as_bytes());
    }
    out.extend_from_slice(b"\",\"retries\":");
    push_number(out, u64::from(entry.retries));
    out.extend_from_slice(b",\"bytes\":");
    push_number(out, entry.sent);
    if let Some(reason) = entry.reason {
        out.extend_from_slice(b",\"reason\":\"");
        out.extend_from_slice(reason.as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b",\"requestId\":\"");
    out.extend_from_slice(entry.request_id);
    if let Some(Announced { unique_id, authority, .. }) = entry.announced {
        for (name, value) in [("uniqueId", unique_id), ("authority", authority)] {
            if let Some(value) = value {
                out.extend_from_slice(b"\",\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":\"");
                push_escaped(out, value);
            }
        }
    }
    out.extend_from_slice(b"\"}\n");
}

/// The Combined Log Format, with upstream, time in seconds, retries and request id at the end.
fn write_combined(out: &mut Vec<u8>, entry: &Entry<'_>, seconds: u64) {
    let at = Calendar::of(seconds);
    forward::push_address(out, entry.client);
    let date = format!(
        " - - [{:02}/{}/{:04}:{:02}:{:02}:{:02} +0000] \"",
        at.day,
        at.month_name(),
        at.year % 10_000,
        at.hour,
        at.minute,
        at.second
    );
    out.extend_from_slice(date.as_bytes());
    if let Some(head) = entry.head {
        push_escaped(out, head.method_text());
        out.push(b' ');
        push_escaped(out, head.target());
        out.extend_from_slice(match head.version {
            Version::Http10 => b" HTTP/1.0",
            Version::Http11 => b" HTTP/1.1",
            Version::Http2 => b" HTTP/2.0",
        });
    } else {
        out.push(b'-');
    }
    out.extend_from_slice(b"\" ");
    push_number(out, u64::from(entry.status));
    out.push(b' ');
    push_number(out, entry.sent);
    out.extend_from_slice(b" \"");
    push_escaped(out, entry.head.and_then(|head| head.fields.find(b"referer")).unwrap_or(b"-"));
    out.extend_from_slice(b"\" \"");
    let agent = entry.head.and_then(|head| head.fields.get(Name::UserAgent));
    push_escaped(out, agent.unwrap_or(b"-"));
    out.extend_from_slice(b"\" ");
    match entry.upstream {
        Some((pool, server)) => {
            out.extend_from_slice(pool.as_bytes());
            out.push(b'/');
            out.extend_from_slice(server.as_bytes());
        }
        None => out.push(b'-'),
    }
    let micros = entry.took.as_micros() as u64;
    out.push(b' ');
    push_number(out, micros / 1_000_000);
    out.push(b'.');
    push_padded(out, micros / 1000 % 1000);
    out.push(b' ');
    push_number(out, u64::from(entry.retries));
    out.push(b' ');
    out.extend_from_slice(entry.request_id);
    out.push(b'\n');
}

/// Three digits.
fn push_padded(out: &mut Vec<u8>, number: u64) {
    let digit = |value: u64| b'0' + (value % 10) as u8;
    out.extend_from_slice(&[digit(number / 100), digit(number / 10), digit(number)]);
}

/// Appends `text` so that it can stand between quotes in JSON; bytes that are not ASCII are shown
/// as the code point of the same number.
fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let plain = |&byte: &u8| (b' '..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
    if text.iter().all(plain) {
        return out.extend_from_slice(text);
    }
    for byte in text {
        if plain(byte) {
            out.push(*byte);
        } else {
            let _ = write!(out, "\\u{byte:04x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(announced: Option<&Announced>) -> Entry<'_> {
        Entry {
            head: None,
            scheme: "http",
            client: "192.0.2.1".parse().unwrap(),
            status: 400,
            took: Duration::from_micros(1234),
            sent: 0,
            route: "-",
            upstream: None,
            retries: 0,
            request_id: &[b'0'; 32],
            announced,
            reason: Some("bad_path"),
        }
    }

    #[test]
    fn quotes_and_controls_cannot_break_a_line() {
        let mut out = Vec::new();
        push_escaped(&mut out, b"a\"b\\c\n\xff");
        assert_eq!(out, b"a\\u0022b\\u005cc\\u000a\\u00ff");
    }

    #[test]
    fn what_the_proxy_in_front_says_of_a_connection_ends_the_line() {
        let announced = Announced { unique_id: Some(b"a\x01".to_vec()), ..Announced::default() };
        let mut out = Vec::new();
        write_json(&mut out, &entry(Some(&announced)), b"2026-11-21T03:05:00", 7);
        let line = String::from_utf8(out).unwrap();
        let end = format!("\"requestId\":\"{}\",\"uniqueId\":\"a\\u0001\"}}\n", "0".repeat(32));
        assert!(line.ends_with(&end), "{line}");
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
    }

    #[test]
    fn a_writer_that_is_behind_costs_lines_and_no_time() {
        let (blocked, release) = sync_channel::<()>(0);
        struct Stuck(SyncSender<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let _ = self.0.send(());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let writer = LogWriter::start(Stuck(blocked)).unwrap();
        let buffer = LogBuffer::new(writer.clone());
        let entry = entry(None);
        for _ in 0..BUFFERS_QUEUED_MAX + 10 {
            buffer.push(AccessLog::Json, &entry);
            buffer.hand_over();
        }
        let written = writer.counts().written.load(Relaxed);
        let dropped = writer.counts().dropped.load(Relaxed);
        assert_eq!(written + dropped, BUFFERS_QUEUED_MAX as u64 + 10);
        assert!(dropped >= 8, "{dropped} dropped");
        drop(release);
    }

    #[tokio::test]
    async fn the_end_waits_until_the_last_line_is_printed() {
        struct Held(Receiver<()>);
        impl Write for Held {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (release, held) = sync_channel(1);
        let writer = LogWriter::start(Held(held)).unwrap();
        writer.queue.try_send(Piece::Lines(b"last\n".to_vec())).unwrap();
        let mut finish = std::pin::pin!(writer.finish());
        let waker = std::task::Waker::noop();
        let first = finish.as_mut().poll(&mut std::task::Context::from_waker(waker));
        assert!(first.is_pending(), "the line is not out yet");
        release.send(()).unwrap();
        finish.await;
    }
}
