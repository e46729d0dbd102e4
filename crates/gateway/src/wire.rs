//! One connection's socket, whichever side of the gateway it is on.
//!
//! Reads go through the thread's scratch buffer, so a connection that waits holds no memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A plaintext TCP connection.
#[derive(Debug)]
pub(crate) struct Wire {
    tcp: TcpStream,
    /// Received before anybody knew whom it is for; it comes before what the socket has.
    early: Option<Box<Early>>,
}

/// Bytes that are read again.
#[derive(Debug)]
struct Early {
    bytes: Vec<u8>,
    read: usize,
}

impl Wire {
    /// Wraps a connected socket; small writes go out at once.
    pub(crate) fn new(tcp: TcpStream) -> Self {
        // A socket that cannot be set up so still works, only slower.
        let _ = tcp.set_nodelay(true);
        Self { tcp, early: None }
    }

    /// A wire whose reader gets to see `bytes` next, before all else.
    pub(crate) fn with_early(mut self, bytes: Vec<u8>) -> Self {
        debug_assert!(self.early.is_none(), "there is one reader at a time");
        if !bytes.is_empty() {
            self.early = Some(Box::new(Early { bytes, read: 0 }));
        }
        self
    }

    /// Reads into `buffer`; 0 is the end of the stream.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.early.is_some() {
            return Poll::Ready(Ok(self.read_early(buffer)));
        }
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
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

    /// Writes what the socket takes.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    /// Says that nothing more will be written.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    /// Writes all of `unsent`, forgetting what went out; what is left stays for the next call.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        unsent: &mut Unsent,
    ) -> Poll<io::Result<()>> {
        while unsent.start < unsent.bytes.len() {
            let sent = ready!(self.poll_write(cx, &unsent.bytes[unsent.start..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            unsent.start += sent;
        }
        unsent.clear();
        Poll::Ready(Ok(()))
    }

    /// Makes the connection end with a reset when it is dropped, whatever is still on its way.
    pub(crate) fn reset(&self) {
        // One that is gone already needs none.
        let _ = self.tcp.set_zero_linger();
    }

    /// Whether the peer is silent and still there, as an idle connection must be.
    pub(crate) fn is_quiet(&mut self) -> bool {
        if self.early.is_some() {
            return false;
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if self.tcp.poll_read_ready(&mut cx).is_pending() {
            return true;
        }
        let refused = self.tcp.try_read(&mut [0]);
        matches!(refused, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The socket, if its bytes may be moved inside the kernel.
    pub(crate) fn plaintext(&self) -> Option<&TcpStream> {
        self.early.is_none().then_some(&self.tcp)
    }
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

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
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
    start: usize,
}

impl Unsent {
    /// How much is left.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Forgets the first `count` bytes of what is left.
    pub(crate) fn advance(&mut self, count: usize) {
        self.start += count;
    }

    /// Whether everything went out.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }
}
