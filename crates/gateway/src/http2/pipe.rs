//! The bytes of a connection on their way between its socket and `h2`.
//!
//! `h2` flushes after almost every frame. Here everything that it writes in one turn is gathered
//! and goes out at once when the turn is over: a hundred responses need a handful of system calls.
//! Reading is done through the thread's scratch buffer, and every byte passes the guard.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use evergate_core::http2::{Flood, Guard};
use evergate_core::time::Instant;
use evergate_sys::clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::shard::Shard;
use crate::wire::{Unsent, Wire};

/// Bytes gathered before the socket has to take some.
const OUTBOX_BYTES_MAX: usize = 64 * 1024;

/// A connection's socket, with what was read and not used, and written and not sent.
#[derive(Debug)]
pub(super) struct Socket {
    shard: Rc<Shard>,
    wire: Wire,
    inbox: Vec<u8>,
    used: usize,
    outbox: Unsent,
    guard: Guard,
    flood: Option<Flood>,
    /// Bytes that the client has taken.
    taken: u64,
}

/// `h2`'s end of a [`Socket`].
#[derive(Debug)]
pub(super) struct Pipe(Rc<RefCell<Socket>>);

impl Socket {
    /// A connection that begins with `early`, which was read from `wire` before.
    pub(super) fn new(shard: Rc<Shard>, wire: Wire, early: Vec<u8>, now: Instant) -> Self {
        let mut guard = Guard::new(now);
        let flood = guard.hear(now, &early).err();
        Self {
            shard,
            wire,
            inbox: early,
            used: 0,
            outbox: Unsent::default(),
            guard,
            flood,
            taken: 0,
        }
    }

    /// What the client does too much of, if it does.
    pub(super) fn flood(&self) -> Option<Flood> {
        self.flood
    }

    /// Since when a header block is incomplete.
    pub(super) fn block_since(&self) -> Option<Instant> {
        self.guard.block_since()
    }

    /// Bytes that the client has taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken.saturating_sub(self.wire.undelivered())
    }

    /// Sends what was gathered.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.outbox.len();
        if before == 0 {
            return Poll::Ready(Ok(()));
        }
        let sent = self.wire.poll_flush(cx, &mut self.outbox);
        self.taken += (before - self.outbox.len()) as u64;
        ready!(sent)?;
        self.shard.buffers.give(std::mem::take(&mut self.outbox.bytes));
        Poll::Ready(Ok(()))
    }

    /// Sends what was gathered, and the end of the stream.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        self.wire.poll_shutdown(cx)
    }

    /// Reads and forgets; ready with 0 at the end.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let wire = &mut self.wire;
        self.shard.buffers.with_scratch(|scratch| wire.poll_read(cx, scratch))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.flood.is_some() {
            // Whoever polls looks at that next; no more is read.
            return Poll::Pending;
        }
        if self.used < self.inbox.len() {
            let count = into.remaining().min(self.inbox.len() - self.used);
            into.put_slice(&self.inbox[self.used..self.used + count]);
            self.used += count;
            if self.used == self.inbox.len() {
                self.used = 0;
                self.shard.buffers.give(std::mem::take(&mut self.inbox));
            }
            return Poll::Ready(Ok(()));
        }
        let (wire, guard, inbox) = (&mut self.wire, &mut self.guard, &mut self.inbox);
        let buffers = &self.shard.buffers;
        let judged = buffers.with_scratch(|scratch| {
            let count = ready!(wire.poll_read(cx, scratch))?;
            let bytes = &scratch[..count];
            if let Err(flood) = guard.hear(clock::now(), bytes) {
                return Poll::Ready(Ok(Some(flood)));
            }
            let (now, later) = bytes.split_at(count.min(into.remaining()));
            into.put_slice(now);
            if !later.is_empty() {
                *inbox = buffers.take();
                inbox.extend_from_slice(later);
            }
            Poll::Ready(Ok::<_, io::Error>(None))
        });
        self.flood = ready!(judged)?;
        if self.flood.is_some() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// Makes room for more; ready when there is some.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outbox.len() >= OUTBOX_BYTES_MAX {
            ready!(self.poll_send(cx))?;
        }
        if self.outbox.bytes.capacity() == 0 {
            self.outbox.bytes = self.shard.buffers.take();
        }
        Poll::Ready(Ok(()))
    }

    fn gather(&mut self, now: Instant, bytes: &[u8]) {
        if self.flood.is_none() {
            self.flood = self.guard.say(now, bytes).err();
        }
        self.outbox.bytes.extend_from_slice(bytes);
    }
}

impl Pipe {
    /// The end of `socket` for `h2`.
    pub(super) fn new(socket: &Rc<RefCell<Socket>>) -> Self {
        Self(Rc::clone(socket))
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut socket = self.0.borrow_mut();
        ready!(socket.poll_room(cx))?;
        socket.gather(clock::now(), bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut socket = self.0.borrow_mut();
        ready!(socket.poll_room(cx))?;
        let now = clock::now();
        for slice in slices {
            socket.gather(now, slice);
        }
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // At the end of the turn, by `Socket::poll_send`.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_end(cx)
    }
}
