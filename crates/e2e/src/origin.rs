//! A server that does exactly what a test tells it to, and keeps every byte that reaches it.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::message::{Body, Ending, Request, ending, head_len, split_head};

/// A scripted server on a port of its own.
pub struct Origin {
    address: SocketAddr,
    record: Arc<Record>,
}

/// One connection to an [`Origin`], as its script sees it.
#[derive(Debug)]
pub struct Served {
    /// Which connection of the origin it is, from 0.
    pub number: usize,
    stream: TcpStream,
    kept: Vec<u8>,
    record: Arc<Record>,
    is_reset: bool,
}

/// Lets a script wait until the test says so, or the other way round.
#[derive(Clone, Debug)]
pub struct Signal {
    sender: Sender<()>,
    receiver: Arc<Mutex<Receiver<()>>>,
}

#[derive(Debug, Default)]
struct Record {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Vec<Request>,
    /// Requests that [`Origin::next_request`] has handed out.
    taken: usize,
    /// Every byte of each connection.
    bytes: Vec<Vec<u8>>,
    streams: Vec<Option<TcpStream>>,
    /// Connections whose script is over.
    ended: usize,
    is_over: bool,
}

type Script = dyn Fn(&mut Served) + Send + Sync;

impl Origin {
    /// Runs `script` on every connection; it is closed when the script returns.
    pub fn scripted(script: impl Fn(&mut Served) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are ports left");
        Self::on(listener, script)
    }

    /// Runs `script` on every connection to `address`, where nobody listens yet.
    pub fn at(address: SocketAddr, script: impl Fn(&mut Served) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind(address).expect("the port is free"), script)
    }

    fn on(listener: TcpListener, script: impl Fn(&mut Served) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().expect("a bound socket has an address");
        let record = Arc::new(Record::default());
        let (for_thread, script): (_, Arc<Script>) = (Arc::clone(&record), Arc::new(script));
        std::thread::spawn(move || accept(&listener, &for_thread, &script));
        Self { address, record }
    }

    /// Answers every request with `response`, byte for byte, and keeps connections open.
    pub fn answering(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::scripted(move |served| {
            while served.read_request().is_some() {
                served.write(&response);
            }
        })
    }

    /// Answers every request with 200 and `body`.
    pub fn saying(body: &str) -> Self {
        Self::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://` and where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request read so far, in the order in which they were complete.
    pub fn requests(&self) -> Vec<Request> {
        self.record.lock().requests.clone()
    }

    /// Waits for the next request that this has not returned before.
    pub fn next_request(&self) -> Request {
        let mut seen = self.record.wait("a request", |seen| seen.requests.len() > seen.taken);
        seen.taken += 1;
        seen.requests[seen.taken - 1].clone()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.record.lock().bytes.len()
    }

    /// Waits until there have been `count` connections.
    pub fn wait_for_connections(&self, count: usize) {
        drop(self.record.wait("a connection", |seen| seen.bytes.len() >= count));
    }

    /// Waits until the scripts of `count` connections are over.
    pub fn wait_for_ends(&self, count: usize) {
        drop(self.record.wait("the end of a connection", |seen| seen.ended >= count));
    }

    /// Every byte that has reached it, on whatever connection.
    pub fn bytes(&self) -> Vec<u8> {
        self.record.lock().bytes.concat()
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let mut seen = self.record.lock();
        seen.is_over = true;
        for stream in seen.streams.iter().flatten() {
            // One that ended already is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(seen);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, record: &Arc<Record>, script: &Arc<Script>) {
    while let Ok((stream, _)) = listener.accept() {
        let mut seen = record.lock();
        if seen.is_over {
            return;
        }
        stream.set_nodelay(true).expect("a connected socket");
        seen.streams.push(Some(stream.try_clone().expect("descriptors are left")));
        seen.bytes.push(Vec::new());
        let number = seen.bytes.len() - 1;
        drop(seen);
        record.changed.notify_all();
        let served = Served {
            number,
            stream,
            kept: Vec::new(),
            record: Arc::clone(record),
            is_reset: false,
        };
        let script = Arc::clone(script);
        std::thread::spawn(move || serve(served, &*script));
    }
}

fn serve(mut served: Served, script: &Script) {
    // The client of a script that panicked sees a connection that ends; the message is printed.
    let _ = catch_unwind(AssertUnwindSafe(|| script(&mut served)));
    if !served.is_reset {
        let _ = served.stream.shutdown(Shutdown::Both);
    }
    let record = Arc::clone(&served.record);
    drop(served);
    record.lock().ended += 1;
    record.changed.notify_all();
}

impl Record {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, what: &str, ready: impl Fn(&Seen) -> bool) -> MutexGuard<'_, Seen> {
        let until = Instant::now() + PATIENCE;
        let mut seen = self.lock();
        while !ready(&seen) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "waited for {PATIENCE:?} for {what}; there were {} connections and {} requests",
                seen.bytes.len(),
                seen.requests.len()
            );
            seen = self.changed.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        seen
    }
}

impl Served {
    /// Reads one request, body and all, and records it; none if the connection ended.
    pub fn read_request(&mut self) -> Option<Request> {
        let mut request = self.read_head()?;
        let ends = ending(&request.fields, Ending::Empty);
        let mut body = Body::default();
        loop {
            let is_whole = match ends {
                Ending::Empty | Ending::Close => true,
                Ending::Sized(length) => match self.kept.get(..length) {
                    Some(data) => {
                        body = Body::plain(data);
                        true
                    }
                    None => false,
                },
                Ending::Chunked => body.follow_chunks(&self.kept),
            };
            if is_whole {
                break;
            }
            self.read_more()?;
        }
        request.raw_body = self.kept.drain(..body.len).collect();
        (request.body, request.trailers) = (body.data, body.trailers);
        self.record(request.clone());
        Some(request)
    }

    /// Reads the head of a request and leaves its body; nothing is recorded. None if the
    /// connection ended.
    pub fn read_head(&mut self) -> Option<Request> {
        let len = loop {
            match head_len(&self.kept) {
                Some(len) => break len,
                None => self.read_more()?,
            }
        };
        let head: Vec<u8> = self.kept.drain(..len).collect();
        let head = String::from_utf8(head).expect("a head is text");
        let (line, fields) = split_head(&head);
        Some(Request { connection: self.number, line, head, fields, ..Default::default() })
    }

    /// Records `request` as one that [`Origin::next_request`] returns.
    pub fn record(&self, request: Request) {
        self.record.lock().requests.push(request);
        self.record.changed.notify_all();
    }

    /// Whatever has come and was not read yet; none if the connection ended.
    pub fn read_some(&mut self) -> Option<Vec<u8>> {
        if self.kept.is_empty() {
            self.read_more()?;
        }
        Some(std::mem::take(&mut self.kept))
    }

    /// Reads exactly `count` bytes; none if the connection ended before.
    pub fn read_exact_bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.kept.len() < count {
            self.read_more()?;
        }
        Some(self.kept.drain(..count).collect())
    }

    /// Sends `bytes`. If the other side has gone, that shows in the next read.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_write(bytes);
    }

    /// Sends `bytes`, or says why not.
    pub fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Ends our half of the connection.
    pub fn end(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends the connection with a reset, as soon as the script returns.
    pub fn reset(&mut self) {
        let at_once = Some(Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(&self.stream, at_once).expect("a socket");
        self.is_reset = true;
        // The handle kept for the end of the test would keep the connection open.
        self.record.lock().streams[self.number] = None;
    }

    /// Makes the socket hold little that is not read yet.
    pub fn receive_little(&self) {
        rustix::net::sockopt::set_socket_recv_buffer_size(&self.stream, 4096).expect("a socket");
    }

    /// Waits until the other side has ended the connection, whatever it sends before.
    pub fn wait_for_end(&mut self) {
        while self.read_more().is_some() {
            self.kept.clear();
        }
    }

    fn read_more(&mut self) -> Option<()> {
        let mut buffer = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => {
                    self.kept.extend_from_slice(&buffer[..count]);
                    let mut seen = self.record.lock();
                    seen.bytes[self.number].extend_from_slice(&buffer[..count]);
                    return Some(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }
}

impl Signal {
    /// Not given yet.
    pub fn new() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver: Arc::new(Mutex::new(receiver)) }
    }

    /// Lets one waiter go on.
    pub fn give(&self) {
        self.sender.send(()).expect("we hold the receiver");
    }

    /// Waits until it is given once more.
    pub fn wait(&self) {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        receiver.recv_timeout(PATIENCE).expect("the signal is given in time");
    }
}

impl Default for Signal {
    fn default() -> Self {
        Self::new()
    }
}
