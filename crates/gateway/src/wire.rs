//! One connection's socket, whichever side of the gateway it is on, with TLS or without.
//!
//! Reads go through the thread's scratch buffer, so a connection that waits holds no memory. With
//! TLS they go through one more, [`Scratch`]: ciphertext lies in a connection of its own only while
//! a record is incomplete or the socket is full.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::tls::session::{ENCRYPT_BYTES, RECORD_BYTES, RECORD_EXTRA_BYTES, Session};

#[cfg(test)]
mod tests;

/// Ciphertext read at once; also the longest handshake message with its records' headers.
const READ_BYTES: usize = 4 * (RECORD_BYTES + RECORD_EXTRA_BYTES);
/// Ciphertext of [`ENCRYPT_BYTES`], and of a change of keys before it.
const WRITE_BYTES: usize = 5 * (RECORD_BYTES + RECORD_EXTRA_BYTES);

/// A TCP connection, plaintext or TLS.
#[derive(Debug)]
pub(crate) struct Wire {
    tcp: TcpStream,
    /// Received before anybody knew whom it is for; it comes before what the socket has.
    early: Option<Box<Early>>,
    tls: Option<Box<Session>>,
}

/// Bytes that are read again.
#[derive(Debug)]
struct Early {
    bytes: Vec<u8>,
    read: usize,
}

/// Where the ciphertext of one thread passes through.
struct Scratch {
    read: Box<[u8]>,
    write: Box<[u8]>,
    gather: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        read: vec![0; READ_BYTES].into_boxed_slice(),
        write: vec![0; WRITE_BYTES].into_boxed_slice(),
        gather: Vec::new(),
    });
}

/// Why there is no TLS on a connection.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// The connection ended or broke.
    Gone,
    /// The peer speaks, but not TLS.
    NotTls,
    /// One side refused the other.
    Refused(rustls::Error),
}

impl Wire {
    /// Wraps a connected socket; small writes go out at once.
    pub(crate) fn new(tcp: TcpStream) -> Self {
        // A socket that cannot be set up so still works, only slower.
        let _ = tcp.set_nodelay(true);
        Self { tcp, early: None, tls: None }
    }

    /// A wire whose reader gets to see `bytes` next, before all else.
    pub(crate) fn with_early(mut self, bytes: Vec<u8>) -> Self {
        debug_assert!(self.early.is_none(), "there is one reader at a time");
        if !bytes.is_empty() {
            self.early = Some(Box::new(Early { bytes, read: 0 }));
        }
        self
    }

    /// Speaks TLS from here on, as the server. [`Wire::poll_handshake`] must end well before
    /// anything else is read or written.
    pub(crate) fn serve_tls(&mut self, config: Arc<ServerConfig>) -> Result<(), rustls::Error> {
        self.tls = Some(Box::new(Session::server(config)?));
        Ok(())
    }

    /// Speaks TLS from here on, as the client of a server called `name`.
    pub(crate) fn ask_for_tls(
        &mut self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<(), rustls::Error> {
        self.tls = Some(Box::new(Session::client(config, name)?));
        Ok(())
    }

    /// What was negotiated, if it speaks TLS.
    pub(crate) fn tls(&self) -> Option<&Session> {
        self.tls.as_deref()
    }

    /// What was negotiated, if it speaks TLS.
    pub(crate) fn tls_mut(&mut self) -> Option<&mut Session> {
        self.tls.as_deref_mut()
    }

    /// Ready when the TLS handshake has ended.
    pub(crate) fn poll_handshake(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), HandshakeError>> {
        let Self { tcp, early, tls: Some(session) } = self else { return Poll::Ready(Ok(())) };
        let mut heard = None;
        if let Some(early) = early.take() {
            let mut bytes = early.bytes;
            heard = Some(hear(session, &mut bytes[early.read..]));
        }
        loop {
            if let Some(Err(error)) = heard {
                // The alert says why; a peer that does not take it learns nothing.
                let _ = tcp.try_write(session.out.front());
                return Poll::Ready(Err(error));
            }
            if session.waiting() > 0 && ready!(poll_send(tcp, session, cx)).is_err() {
                return Poll::Ready(Err(HandshakeError::Gone));
            }
            if !session.state().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if session.is_ended() {
                return Poll::Ready(Err(HandshakeError::Gone));
            }
            let next = SCRATCH.with_borrow_mut(|scratch| {
                match ready!(poll_fill(tcp, session, cx, &mut scratch.read, RECORD_BYTES)) {
                    Ok(filled) => Poll::Ready(hear(session, filled)),
                    Err(_) => Poll::Ready(Err(HandshakeError::Gone)),
                }
            });
            heard = Some(ready!(next));
        }
    }

    /// Reads into `buffer`; 0 is the end of the stream. With TLS, an end that the peer did not
    /// announce is an error: somebody may have cut the connection.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.early.is_some() {
            return Poll::Ready(Ok(self.read_early(buffer)));
        }
        if let Some(session) = &mut self.tls {
            return poll_decrypted(&mut self.tcp, session, cx, buffer);
        }
        poll_tcp_read(&mut self.tcp, cx, buffer)
    }

    fn read_early(&mut self, buffer: &mut [u8]) -> usize {
        let Some(early) = &mut self.early else { return 0 };
        let rest = &early.bytes[early.read..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        early.read += count;
        if early.read == early.bytes.len() {
            self.early = None;
        }
        count
    }

    /// Writes what the socket takes. With TLS some of what it took may still be on its way, which
    /// only [`Wire::poll_flush`] tells.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(session) = &mut self.tls {
            return poll_encrypted(&mut self.tcp, session, cx, bytes);
        }
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    /// Says that nothing more will be written.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(session) = &mut self.tls {
            session.close();
            ready!(poll_send(&mut self.tcp, session, cx))?;
        }
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    /// Writes all of `unsent`, forgetting what went out; what is left stays for the next call.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        unsent: &mut Unsent,
    ) -> Poll<io::Result<()>> {
        while (unsent.start as usize) < unsent.bytes.len() {
            let sent = ready!(self.poll_write(cx, &unsent.bytes[unsent.start as usize..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            unsent.start += sent as u32;
        }
        if let Some(session) = &mut self.tls {
            unsent.encrypted = session.waiting() as u32;
            if unsent.encrypted > 0 {
                ready!(poll_send(&mut self.tcp, session, cx))?;
            }
        }
        unsent.clear();
        Poll::Ready(Ok(()))
    }

    /// Makes the connection end with a reset when it is dropped, whatever is still on its way.
    pub(crate) fn reset(&mut self) {
        if let Some(session) = &mut self.tls {
            session.abandon();
        }
        // One that is gone already needs none.
        let _ = self.tcp.set_zero_linger();
    }

    /// Bytes that the socket has taken and the peer has not received, as far as the kernel tells.
    pub(crate) fn undelivered(&self) -> u64 {
        // Where it cannot be told, what the socket took counts as received.
        evergate_sys::delivery::undelivered(&self.tcp).unwrap_or(0)
    }

    /// Whether the peer is silent and still there, as an idle connection must be. What belongs to
    /// TLS alone, such as a ticket, breaks no silence.
    pub(crate) fn is_quiet(&mut self) -> bool {
        if self.early.is_some() {
            return false;
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if let Some(session) = &mut self.tls {
            return is_quiet_under(&mut self.tcp, session, &mut cx);
        }
        if self.tcp.poll_read_ready(&mut cx).is_pending() {
            return true;
        }
        let refused = self.tcp.try_read(&mut [0]);
        matches!(refused, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The socket, if its bytes may be moved inside the kernel.
    pub(crate) fn plaintext(&self) -> Option<&TcpStream> {
        (self.early.is_none() && self.tls.is_none()).then_some(&self.tcp)
    }

    /// The socket itself, whatever is spoken on it.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.tcp
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(session) = &mut self.tls
            && session.owes_close()
        {
            session.close();
            // Whoever does not take it at once has no room for anything else either.
            let _ = self.tcp.try_write(session.out.front());
        }
    }
}

/// Takes bytes of the peer's handshake.
fn hear(session: &mut Session, bytes: &mut [u8]) -> Result<(), HandshakeError> {
    let is_first = session.kept.is_empty() && session.state().protocol_version().is_none();
    // A handshake begins with its content type, 22, and HTTP with a method.
    if is_first && bytes.first().is_some_and(u8::is_ascii_uppercase) {
        return Err(HandshakeError::NotTls);
    }
    let mut plain = Vec::new();
    let received = session.receive(bytes, &mut |data| plain.extend_from_slice(data));
    session.plain().push(&plain);
    received.map_err(HandshakeError::Refused)
}

/// Sends what stands in `out`.
fn poll_send(
    tcp: &mut TcpStream,
    session: &mut Session,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !session.out.is_empty() {
        session.out_may_wait = false;
        let sent = ready!(Pin::new(&mut *tcp).poll_write(cx, session.out.front()))?;
        session.out.consume(sent);
    }
    Poll::Ready(Ok(()))
}

/// Reads after what `session` keeps, about as much as `want` bytes of plaintext need. Gives what is
/// there to be decrypted; an end of the stream is an error.
fn poll_fill<'a>(
    tcp: &mut TcpStream,
    session: &Session,
    cx: &mut Context<'_>,
    scratch: &'a mut [u8],
    want: usize,
) -> Poll<io::Result<&'a mut [u8]>> {
    let kept = session.kept.len();
    let end = (kept + want.max(RECORD_BYTES + RECORD_EXTRA_BYTES)).min(scratch.len());
    if kept >= end {
        return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
    }
    let count = ready!(poll_tcp_read(tcp, cx, &mut scratch[kept..end]))?;
    if count == 0 {
        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
    }
    scratch[..kept].copy_from_slice(&session.kept);
    Poll::Ready(Ok(&mut scratch[..kept + count]))
}

fn poll_decrypted(
    tcp: &mut TcpStream,
    session: &mut Session,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    if session.has_plain() {
        let count = session.plain().len().min(buffer.len());
        buffer[..count].copy_from_slice(&session.plain().front()[..count]);
        session.plain().consume(count);
        return Poll::Ready(Ok(count));
    }
    loop {
        if let Some(failure) = session.failure() {
            return Poll::Ready(Err(invalid(failure.clone())));
        }
        if session.is_ended() || buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let decrypted = SCRATCH.with_borrow_mut(|scratch| {
            let filled = ready!(poll_fill(tcp, session, cx, &mut scratch.read, buffer.len()))?;
            let (mut taken, mut surplus) = (0, Vec::new());
            let received = session.receive(filled, &mut |data| {
                let fits = data.len().min(buffer.len() - taken);
                buffer[taken..taken + fits].copy_from_slice(&data[..fits]);
                taken += fits;
                surplus.extend_from_slice(&data[fits..]);
            });
            session.plain().push(&surplus);
            Poll::Ready(Ok::<_, io::Error>((taken, received)))
        });
        match ready!(decrypted)? {
            // What came before something broken is good; the next call tells of the rest.
            (taken, _) if taken > 0 => return Poll::Ready(Ok(taken)),
            (_, Ok(())) => {}
            (_, Err(error)) => {
                let _ = tcp.try_write(session.out.front());
                return Poll::Ready(Err(invalid(error)));
            }
        }
    }
}

fn poll_encrypted(
    tcp: &mut TcpStream,
    session: &mut Session,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    if session.waiting() > 0 {
        ready!(poll_send(tcp, session, cx))?;
    }
    let taken = bytes.len().min(ENCRYPT_BYTES);
    if taken == 0 {
        return Poll::Ready(Ok(0));
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let count = session.encrypt(&bytes[..taken], &mut scratch.write).map_err(invalid)?;
        let encrypted = &scratch.write[..count];
        let sent = if session.out.is_empty() {
            match Pin::new(&mut *tcp).poll_write(cx, encrypted) {
                Poll::Ready(sent) => sent?,
                Poll::Pending => 0,
            }
        } else {
            0
        };
        session.out.push(&encrypted[sent..]);
        Ok::<_, io::Error>(())
    })?;
    if !session.out.is_empty() {
        // Taken it is; when it goes out is for the flush to tell.
        session.out_may_wait = false;
        if let Poll::Ready(Err(error)) = poll_send(tcp, session, cx) {
            return Poll::Ready(Err(error));
        }
    }
    Poll::Ready(Ok(taken))
}

fn is_quiet_under(tcp: &mut TcpStream, session: &mut Session, cx: &mut Context<'_>) -> bool {
    loop {
        if session.has_plain() || session.is_ended() || session.failure().is_some() {
            return false;
        }
        let filled = SCRATCH.with_borrow_mut(|scratch| {
            let filled = match poll_fill(tcp, session, cx, &mut scratch.read, RECORD_BYTES) {
                Poll::Pending => return None,
                Poll::Ready(filled) => filled,
            };
            let mut spoke = false;
            let silent =
                filled.is_ok_and(|filled| session.receive(filled, &mut |_| spoke = true).is_ok());
            Some(silent && !spoke)
        });
        match filled {
            None => return true,
            Some(true) => {}
            Some(false) => return false,
        }
    }
}

fn poll_tcp_read(
    tcp: &mut TcpStream,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(buffer);
    ready!(Pin::new(tcp).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// For libraries that bring their own buffers; everybody else uses the methods of the same names.
impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = ready!(Self::poll_read(self.get_mut(), cx, buffer.initialize_unfilled()))?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Self::poll_write(self.get_mut(), cx, bytes)
    }

    /// Small pieces that go out together make one record.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        if wire.tls.is_none() {
            return Pin::new(&mut wire.tcp).poll_write_vectored(cx, pieces);
        }
        let mut gathered = SCRATCH.with_borrow_mut(|scratch| std::mem::take(&mut scratch.gather));
        gathered.clear();
        for piece in pieces {
            let room = ENCRYPT_BYTES - gathered.len();
            gathered.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        let written = Self::poll_write(wire, cx, &gathered);
        SCRATCH.with_borrow_mut(|scratch| scratch.gather = gathered);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self { tcp, tls: Some(session), .. } if session.waiting() > 0 => {
                poll_send(tcp, session, cx)
            }
            Self { .. } => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_shutdown(self.get_mut(), cx)
    }
}

/// Bytes on their way out.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    /// Append here.
    pub(crate) bytes: Vec<u8>,
    /// Both are small numbers: what is appended is bounded by whoever appends.
    start: u32,
    /// What TLS has made of those that seem to be gone, and the socket has not taken.
    encrypted: u32,
}

impl Unsent {
    /// How much is left.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start as usize + self.encrypted as usize
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.start as usize..]
    }

    /// Forgets the first `count` bytes of what is left.
    pub(crate) fn advance(&mut self, count: usize) {
        self.start += count as u32;
    }

    /// Whether everything went out.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
        self.encrypted = 0;
    }
}
