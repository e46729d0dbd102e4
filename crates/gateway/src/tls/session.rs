//! The TLS of one connection, without its socket.
//!
//! Ciphertext goes in and plaintext comes out by [`Session::receive`], and the other way round by
//! [`Session::encrypt`]. What it holds between two calls is a record that has not arrived whole, plaintext
//! that nobody had room for, and ciphertext that the socket did not take.

use std::fmt;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, Error, ProtocolVersion, ServerConfig};

use crate::tls::termination::{self, Choice};

/// Plaintext of one record (RFC 8446, 5.1).
pub(crate) const RECORD_BYTES: usize = 16 * 1024;
/// What a record is longer than its plaintext at most (RFC 8446, 5.2, and its header).
pub(crate) const RECORD_EXTRA_BYTES: usize = 256 + 5;
/// Plaintext encrypted at once.
pub(crate) const ENCRYPT_BYTES: usize = 4 * RECORD_BYTES;

/// The TLS of one connection.
pub(crate) struct Session {
    connection: Connection,
    /// A record that is not whole yet.
    pub(crate) kept: Vec<u8>,
    plain: Queue,
    /// Ciphertext on its way out.
    pub(crate) out: Queue,
    /// Nobody waits for `out`: it goes with whatever goes next.
    pub(crate) out_may_wait: bool,
    peer_closed: bool,
    closed: bool,
    failure: Option<Error>,
    choice: Option<Choice>,
}

/// Bytes taken from the front; without memory once it is empty.
#[derive(Default)]
pub(crate) struct Queue {
    bytes: Vec<u8>,
    start: usize,
}

enum Connection {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What to do once rustls has nothing else to do.
enum Order<'a> {
    Nothing,
    Encrypt { plain: &'a [u8], into: &'a mut [u8] },
    Close,
}

/// What one call of rustls came to.
enum Step {
    /// There is more to do.
    Again,
    /// The peer has ended its half.
    PeerClosed,
    /// More has to come in.
    Over,
    /// The order was carried out, with this many bytes.
    Done(usize),
}

impl Session {
    /// The server's side of a connection that has just been accepted.
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self::new(Connection::Server(UnbufferedServerConnection::new(config)?)))
    }

    /// The client's side; the first flight is in `out`.
    pub(crate) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, Error> {
        let connection = UnbufferedClientConnection::new(config, name)?;
        let mut session = Self::new(Connection::Client(connection));
        session.receive(&mut [], &mut |_| {})?;
        Ok(session)
    }

    fn new(connection: Connection) -> Self {
        Self {
            connection,
            kept: Vec::new(),
            plain: Queue::default(),
            out: Queue::default(),
            out_may_wait: false,
            peer_closed: false,
            closed: false,
            failure: None,
            choice: None,
        }
    }

    /// What was negotiated.
    pub(crate) fn state(&self) -> &CommonState {
        match &self.connection {
            Connection::Server(connection) => connection,
            Connection::Client(connection) => connection,
        }
    }

    /// What we showed to a client that has come, once.
    pub(crate) fn take_choice(&mut self) -> Option<Choice> {
        self.choice.take()
    }

    /// Whether no more plaintext will come, because the peer said so.
    pub(crate) fn is_ended(&self) -> bool {
        self.peer_closed
    }

    /// Why it is broken, if it is.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Decrypts all whole records of `bytes`, handing the plaintext to `sink`, and keeps the rest.
    pub(crate) fn receive(
        &mut self,
        bytes: &mut [u8],
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Error> {
        let handshaking = self.state().is_handshaking();
        if handshaking {
            // Whatever another connection left behind.
            termination::take_choice();
        }
        let mut used = 0;
        loop {
            let rest = &mut bytes[used..];
            let (discard, step) = self.connection.step(rest, sink, &mut self.out, Order::Nothing);
            used += discard;
            match step {
                Ok(Step::Again) => {}
                Ok(Step::PeerClosed) => self.peer_closed = true,
                Ok(Step::Over | Step::Done(_)) => break,
                Err(error) => {
                    self.take_alert(&mut bytes[used..]);
                    self.failure = Some(error.clone());
                    return Err(error);
                }
            }
        }
        self.kept.clear();
        self.kept.extend_from_slice(&bytes[used..]);
        if self.kept.is_empty() {
            self.kept = Vec::new();
        }
        if handshaking && let Some(choice) = termination::take_choice() {
            self.choice = Some(choice);
        }
        if handshaking && !self.state().is_handshaking() {
            self.out_may_wait = self.is_last_flight_unhurried();
        }
        Ok(())
    }

    /// Whether what we send last in a handshake is of use only with what is sent after it: a
    /// server's tickets, a client's `Finished`. That of a TLS 1.2 server is waited for.
    fn is_last_flight_unhurried(&self) -> bool {
        match self.connection {
            Connection::Server(_) => {
                self.state().protocol_version() == Some(ProtocolVersion::TLSv1_3)
            }
            Connection::Client(_) => true,
        }
    }

    /// The alert that tells the peer what it did wrong.
    fn take_alert(&mut self, rest: &mut [u8]) {
        let (_, step) = self.connection.step(rest, &mut |_| {}, &mut self.out, Order::Nothing);
        // It is lost where there is none.
        let _ = step;
    }

    /// Encrypts `plain` into `into`, which must have room for it; says how much that came to.
    /// What stands in `out` has to be sent before it.
    pub(crate) fn encrypt(&mut self, plain: &[u8], into: &mut [u8]) -> Result<usize, Error> {
        debug_assert!(plain.len() <= ENCRYPT_BYTES, "the caller brings that much room");
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        loop {
            let order = Order::Encrypt { plain, into: &mut *into };
            let plain_in = &mut self.plain;
            let sink = &mut |data: &[u8]| plain_in.push(data);
            let (discard, step) = self.connection.step(&mut self.kept, sink, &mut self.out, order);
            self.kept.drain(..discard);
            match step {
                Ok(Step::Again) => {}
                Ok(Step::PeerClosed) => self.peer_closed = true,
                Ok(Step::Done(count)) => return Ok(count),
                // Before the handshake is over, or after we said that nothing follows.
                Ok(Step::Over) => return Err(Error::General("not open for writing".to_owned())),
                Err(error) => {
                    self.failure = Some(error.clone());
                    return Err(error);
                }
            }
        }
    }

    /// Puts the word that nothing follows into `out`, once.
    pub(crate) fn close(&mut self) {
        if self.closed || self.failure.is_some() {
            return;
        }
        self.closed = true;
        loop {
            let sink = &mut |_: &[u8]| {};
            let (discard, step) =
                self.connection.step(&mut self.kept, sink, &mut self.out, Order::Close);
            self.kept.drain(..discard);
            match step {
                Ok(Step::Again) => {}
                Ok(Step::PeerClosed) => self.peer_closed = true,
                Ok(Step::Over | Step::Done(_)) | Err(_) => return,
            }
        }
    }

    /// Nothing is sent any more, not even that nothing follows.
    pub(crate) fn abandon(&mut self) {
        self.closed = true;
        self.out = Queue::default();
    }

    /// Whether the peer waits to hear that nothing follows.
    pub(crate) fn owes_close(&self) -> bool {
        !self.closed
            && self.failure.is_none()
            && !self.state().is_handshaking()
            && (self.out.is_empty() || self.out_may_wait)
    }

    /// Bytes that the socket should have taken already.
    pub(crate) fn waiting(&self) -> usize {
        if self.out_may_wait { 0 } else { self.out.len() }
    }

    /// Whether there is plaintext that nobody had room for.
    pub(crate) fn has_plain(&self) -> bool {
        !self.plain.is_empty()
    }

    /// Plaintext that nobody had room for.
    pub(crate) fn plain(&mut self) -> &mut Queue {
        &mut self.plain
    }
}

impl Connection {
    /// Lets rustls take one step. Says how many bytes of `incoming` are used up.
    fn step(
        &mut self,
        incoming: &mut [u8],
        sink: &mut dyn FnMut(&[u8]),
        out: &mut Queue,
        order: Order<'_>,
    ) -> (usize, Result<Step, Error>) {
        match self {
            Self::Server(connection) => {
                perform(connection.process_tls_records(incoming), sink, out, order)
            }
            Self::Client(connection) => {
                perform(connection.process_tls_records(incoming), sink, out, order)
            }
        }
    }
}

fn perform<D>(
    status: UnbufferedStatus<'_, '_, D>,
    sink: &mut dyn FnMut(&[u8]),
    out: &mut Queue,
    order: Order<'_>,
) -> (usize, Result<Step, Error>) {
    let mut discard = status.discard;
    let step = match status.state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut broken = None;
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        sink(record.payload);
                    }
                    Err(error) => broken = Some(error),
                }
            }
            broken.map_or(Ok(Step::Again), Err)
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let room = match data.encode(&mut []) {
                Err(EncodeError::InsufficientSize(needs)) => needs.required_size,
                Ok(_) | Err(EncodeError::AlreadyEncoded) => 0,
            };
            // It fails only for want of room.
            let _ = data.encode(out.room(room));
            Ok(Step::Again)
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // It stands in `out`, which goes before anything else.
            data.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::PeerClosed) => Ok(Step::PeerClosed),
        Ok(ConnectionState::WriteTraffic(mut traffic)) => match order {
            Order::Nothing => Ok(Step::Over),
            Order::Encrypt { plain, into } => {
                traffic.encrypt(plain, into).map(Step::Done).map_err(refused)
            }
            Order::Close => {
                let mut alert = [0; RECORD_EXTRA_BYTES];
                let closed = traffic.queue_close_notify(&mut alert);
                closed.map_err(refused).map(|count| {
                    out.push(&alert[..count]);
                    Step::Done(count)
                })
            }
        },
        Ok(_) => Ok(Step::Over),
    };
    (discard, step)
}

fn refused(error: EncryptError) -> Error {
    match error {
        EncryptError::InsufficientSize(_) | EncryptError::EncryptExhausted => {
            Error::General(error.to_string())
        }
    }
}

impl Queue {
    /// Appends `data`.
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    /// Appends `count` bytes, to be filled in.
    fn room(&mut self, count: usize) -> &mut [u8] {
        let end = self.bytes.len();
        self.bytes.resize(end + count, 0);
        &mut self.bytes[end..]
    }

    /// What is in it.
    pub(crate) fn front(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Forgets the first `count` bytes, and its memory with the last.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// How many bytes are in it.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("failure", &self.failure).finish_non_exhaustive()
    }
}
