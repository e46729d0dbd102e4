//! The bytes of a session on their way between its socket and `h2`.
//!
//! `h2` flushes after almost every frame. Here what it writes is gathered, and goes out at once when
//! the task that drives the session has nothing more to say.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wire::{Unsent, Wire};

/// Bytes gathered before the socket has to take some.
const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// A socket, with what was written and not sent.
#[derive(Debug)]
pub(crate) struct Socket {
    wire: Wire,
    unsent: Unsent,
    heard: u64,
}

/// `h2`'s end of a [`Socket`].
#[derive(Debug)]
pub(crate) struct Transport(Rc<RefCell<Socket>>);

impl Socket {
    /// A connected socket, and its end for `h2`.
    pub(crate) fn new(wire: Wire) -> (Rc<RefCell<Self>>, Transport) {
        let socket = Self { wire, unsent: Unsent::default(), heard: 0 };
        let socket = Rc::new(RefCell::new(socket));
        (Rc::clone(&socket), Transport(socket))
    }

    /// Bytes that came from the peer so far.
    pub(crate) fn heard(&self) -> u64 {
        self.heard
    }

    /// Whether the connection is secured.
    pub(crate) fn is_secure(&self) -> bool {
        self.wire.plaintext().is_none()
    }

    /// Sends what was gathered.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unsent.bytes.capacity() == 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(self.wire.poll_flush(cx, &mut self.unsent))?;
        // A session that is silent holds no buffer.
        self.unsent.bytes = Vec::new();
        Poll::Ready(Ok(()))
    }

    /// Takes `slices`, sending what was gathered before if that is too much.
    fn poll_gather(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.unsent.len() >= GATHERED_BYTES_MAX {
            ready!(self.poll_send(cx))?;
        }
        for slice in slices {
            self.unsent.bytes.extend_from_slice(slice);
        }
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut socket = self.0.borrow_mut();
        let before = buffer.filled().len();
        ready!(AsyncRead::poll_read(Pin::new(&mut socket.wire), cx, buffer))?;
        socket.heard += (buffer.filled().len() - before) as u64;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_gather(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_gather(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // By `Socket::poll_send`, once everything is said.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = self.0.borrow_mut();
        ready!(socket.poll_send(cx))?;
        socket.wire.poll_shutdown(cx)
    }
}
