//! A client that sends bytes as they are and reads responses strictly.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::PATIENCE;
use crate::message::{Body, Broken, Ending, Response, ending, head_len, split_head};

/// A connection to a listener.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    /// Read and not used yet.
    kept: Vec<u8>,
}

/// How a wait for bytes ended without any.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Closed,
    Reset,
}

impl Client {
    /// Connects to `address`.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        stream.set_nodelay(true).expect("a connected socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        Self { stream, kept: Vec::new() }
    }

    /// Connects, sends `bytes` and reads one response.
    pub fn ask(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Response {
        let mut client = Self::connect(address);
        client.send(bytes);
        client.read_response()
    }

    /// Our own address.
    pub fn address(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket")
    }

    /// Sends `bytes`.
    ///
    /// # Panics
    /// If the other side does not take them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    /// Sends `bytes`, or says why not.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Ends our half of the connection.
    pub fn end(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// A second handle on the same connection, to send with while another thread reads.
    pub fn sender(&self) -> Self {
        Self { stream: self.stream.try_clone().expect("descriptors are left"), kept: Vec::new() }
    }

    /// Makes the socket hold little that is not read yet.
    pub fn receive_little(&self) {
        rustix::net::sockopt::set_socket_recv_buffer_size(&self.stream, 4096).expect("a socket");
    }

    /// Reads one response to a request that was not HEAD.
    ///
    /// # Panics
    /// If it breaks off.
    pub fn read_response(&mut self) -> Response {
        self.try_read_response().unwrap_or_else(|broken| panic!("no response: {broken}"))
    }

    /// Reads one response to a request that was not HEAD, or what there is of it.
    pub fn try_read_response(&mut self) -> Result<Response, Broken> {
        let mut response = self.try_read_head()?;
        let ending = match response.status {
            100..=199 | 204 | 304 => Ending::Empty,
            _ => ending(&response.fields, Ending::Close),
        };
        let mut body = Body::default();
        loop {
            let is_whole = match ending {
                Ending::Empty => true,
                Ending::Sized(length) => match self.kept.get(..length) {
                    Some(data) => {
                        body = Body::plain(data);
                        true
                    }
                    None => false,
                },
                Ending::Chunked => body.follow_chunks(&self.kept),
                Ending::Close => false,
            };
            if is_whole {
                break;
            }
            match self.read_more() {
                Ok(()) => {}
                Err(End::Closed) if ending == Ending::Close => {
                    body = Body::plain(&self.kept);
                    break;
                }
                Err(end) => {
                    let raw = [response.head.as_bytes(), &self.kept].concat();
                    return Err(Broken { reset: end == End::Reset, raw });
                }
            }
        }
        response.raw_body = self.kept.drain(..body.len).collect();
        (response.body, response.trailers) = (body.data, body.trailers);
        Ok(response)
    }

    /// Reads the head of a response; no body follows, or it is left for later.
    ///
    /// # Panics
    /// If it breaks off.
    pub fn read_head(&mut self) -> Response {
        self.try_read_head().unwrap_or_else(|broken| panic!("no response: {broken}"))
    }

    fn try_read_head(&mut self) -> Result<Response, Broken> {
        let len = loop {
            if let Some(len) = head_len(&self.kept) {
                break len;
            }
            if let Err(end) = self.read_more() {
                return Err(Broken { reset: end == End::Reset, raw: self.kept.clone() });
            }
        };
        let head: Vec<u8> = self.kept.drain(..len).collect();
        let head = String::from_utf8(head).expect("a head is text");
        let (line, fields) = split_head(&head);
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.unwrap_or_else(|| panic!("no status line: {line:?}"));
        let status = status.parse().unwrap_or_else(|_| panic!("no status: {line:?}"));
        Ok(Response { status, head, fields, ..Default::default() })
    }

    /// Reads exactly `count` bytes.
    pub fn read_exact_bytes(&mut self, count: usize) -> Vec<u8> {
        while self.kept.len() < count {
            if let Err(end) = self.read_more() {
                panic!("{end:?} after {} of {count} bytes: {:?}", self.kept.len(), self.shown());
            }
        }
        self.kept.drain(..count).collect()
    }

    /// Reads to the end of the connection; says whether it was in order.
    pub fn read_to_end(&mut self) -> (Vec<u8>, bool) {
        loop {
            match self.read_more() {
                Ok(()) => {}
                Err(end) => return (std::mem::take(&mut self.kept), end == End::Closed),
            }
        }
    }

    /// Waits for the connection to end without another byte. A reset counts: whoever closes with
    /// our bytes unread resets.
    pub fn expect_close(&mut self) {
        assert!(self.kept.is_empty(), "more was sent: {:?}", self.shown());
        if self.read_more().is_ok() {
            panic!("more was sent: {:?}", self.shown());
        }
    }

    /// Whether the connection is still open after `wait`, with nothing sent meanwhile.
    pub fn stays_silent_for(&mut self, wait: Duration) -> bool {
        assert!(self.kept.is_empty(), "more was sent: {:?}", self.shown());
        self.stream.set_read_timeout(Some(wait)).expect("not zero");
        let mut byte = [0];
        let read = self.stream.read(&mut byte);
        self.stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        match read {
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            Ok(count) => {
                self.kept.extend_from_slice(&byte[..count]);
                false
            }
        }
    }

    fn read_more(&mut self) -> Result<(), End> {
        let mut buffer = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(End::Closed),
                Ok(count) => {
                    self.kept.extend_from_slice(&buffer[..count]);
                    return Ok(());
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => return Err(End::Reset),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        panic!("waited for {PATIENCE:?}; there is only {:?}", self.shown())
                    }
                    _ => panic!("cannot read: {error}"),
                },
            }
        }
    }

    fn shown(&self) -> String {
        let shown = &self.kept[..self.kept.len().min(2000)];
        String::from_utf8_lossy(shown).into_owned()
    }
}
