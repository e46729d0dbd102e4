//! The bytes of a file on their way to a client.
//!
//! The first ones go out together with the head; the rest by `sendfile` where the kernel may move
//! them, and in pieces otherwise. The client is waited for as it is for a server's response.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::task::{Context, Poll, ready};

use evergate_config::Limits;
use evergate_core::files::Span;
use evergate_core::time::Instant;
use evergate_sys::clock;
use evergate_sys::sendfile::sendfile;
use tokio::io::Interest;

use super::opened::Source;
use crate::buffers::SCRATCH_BYTES;
use crate::client::Client;
use crate::pace::{Pace, TICK};
use crate::plan::Route;
use crate::reject::{ClientFault, FileFault, Reject};
use crate::shard::Shard;
use crate::splice::poll_io;

/// Bytes waiting for the client; past that the file has to wait.
const AHEAD_BYTES_MAX: usize = 64 * 1024;
/// Bytes that go out with the head.
const FIRST_BYTES: usize = 32 * 1024;
/// Bytes moved by one call of `sendfile`: how long the others of this thread may have to wait if
/// they come from a disk.
const SENDFILE_BYTES_MAX: u64 = 512 * 1024;

/// A body on its way.
#[derive(Debug)]
pub(super) struct Sending {
    source: Source,
    /// What is being sent.
    span: Span,
    /// Text and span of each part that follows.
    parts: std::vec::IntoIter<(Vec<u8>, Span)>,
    /// What ends the parts.
    tail: Vec<u8>,
    /// Bytes of the body so far.
    pub(super) sent: u64,
    begun: bool,
    done: bool,
    may_sendfile: bool,
    pace: Pace,
    /// Whether the timer ticks; a body that goes out at once needs none.
    is_timed: bool,
}

impl Sending {
    /// All bytes of `source` in `span`.
    pub(super) fn one(source: Source, span: Span, limits: &Limits) -> Self {
        Self {
            source,
            span,
            parts: Vec::new().into_iter(),
            tail: Vec::new(),
            sent: 0,
            begun: false,
            done: false,
            may_sendfile: true,
            pace: Pace::new(limits),
            is_timed: false,
        }
    }

    /// Several spans, each behind its text, and `tail` behind the last.
    pub(super) fn several(
        source: Source,
        parts: Vec<(Vec<u8>, Span)>,
        tail: Vec<u8>,
        limits: &Limits,
    ) -> Self {
        Self { parts: parts.into_iter(), tail, ..Self::one(source, 0..0, limits) }
    }

    /// No bytes at all.
    pub(super) fn nothing(limits: &Limits) -> Self {
        Self::one(Source::Binary(&[]), 0..0, limits)
    }

    /// Moves what can be moved; ready when the client has everything.
    pub(super) fn poll<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        shard: &Shard,
        route: &Route,
        local: Option<IpAddr>,
        client: &mut C,
    ) -> Poll<Result<(), Reject>> {
        loop {
            if let Poll::Ready(moved) = self.move_on(cx, shard, client) {
                return Poll::Ready(moved);
            }
            if !std::mem::replace(&mut self.is_timed, true) {
                client.timer().set(clock::now() + TICK);
            }
            ready!(client.timer().poll_elapsed(cx));
            if shard.cuts(clock::now(), local, route.drain_timeout) {
                return Poll::Ready(Err(Reject::Drained));
            }
            // All there is to wait for is the client.
            if self.pace.is_too_slow(self.sent.saturating_sub(client.undelivered())) {
                return Poll::Ready(Err(Reject::Client(ClientFault::BodyTimeout)));
            }
            client.timer().set(next_tick());
        }
    }

    fn move_on<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        shard: &Shard,
        client: &mut C,
    ) -> Poll<Result<(), Reject>> {
        loop {
            if client.unsent() >= AHEAD_BYTES_MAX {
                ready!(flush(cx, client))?;
            }
            if self.done {
                ready!(flush(cx, client))?;
                return Poll::Ready(Ok(()));
            }
            if self.span.is_empty() {
                self.next_part(client);
            } else if self.is_for_the_kernel(client) {
                ready!(flush(cx, client))?;
                ready!(self.sendfile(cx, client))?;
            } else {
                self.read(shard, client)?;
            }
        }
    }

    fn next_part<C: Client>(&mut self, client: &mut C) {
        let text = match self.parts.next() {
            Some((text, span)) => {
                self.span = span;
                text
            }
            None => {
                self.done = true;
                std::mem::take(&mut self.tail)
            }
        };
        self.sent += text.len() as u64;
        client.push(&text);
        if self.done {
            client.finish(b"");
        }
    }

    fn is_for_the_kernel<C: Client>(&self, client: &mut C) -> bool {
        match self.source {
            Source::File(_) => self.begun && self.may_sendfile && client.splice_target().is_some(),
            Source::Memory(_) | Source::Shared(_) | Source::Binary(_) => false,
        }
    }

    fn sendfile<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
    ) -> Poll<Result<(), Reject>> {
        let Source::File(file) = &self.source else { return Poll::Ready(Err(Reject::Bug)) };
        let (Some(file), Some(socket)) = (file.on_disk(), client.splice_target()) else {
            return Poll::Ready(Err(Reject::Bug));
        };
        let want = (self.span.end - self.span.start).min(SENDFILE_BYTES_MAX) as usize;
        let at = self.span.start;
        let moved = ready!(poll_io(cx, socket, Interest::WRITABLE, || {
            sendfile(socket.as_fd(), file, at, want)
        }));
        Poll::Ready(match moved {
            Ok(0) => Err(Reject::File(FileFault::Shrank)),
            Ok(count) => {
                self.span.start += count as u64;
                self.sent += count as u64;
                Ok(())
            }
            // Some file systems cannot.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.may_sendfile = false;
                Ok(())
            }
            Err(error) => Err(fault_of(&error)),
        })
    }

    fn read<C: Client>(&mut self, shard: &Shard, client: &mut C) -> Result<(), Reject> {
        let most = if self.begun { SCRATCH_BYTES } else { FIRST_BYTES };
        let want = (self.span.end - self.span.start).min(most as u64) as usize;
        let at = self.span.start;
        self.begun = true;
        let count = match &self.source {
            Source::Memory(bytes) => push(client, bytes, at, want),
            Source::Shared(bytes) => push(client, bytes, at, want),
            Source::Binary(bytes) => push(client, bytes, at, want),
            Source::File(file) => {
                let read = shard.buffers.with_scratch(|scratch| {
                    let file = file.on_disk().ok_or(io::ErrorKind::NotFound)?;
                    let count = file.read_at(&mut scratch[..want], at)?;
                    client.push(&scratch[..count]);
                    Ok::<_, io::Error>(count)
                });
                match read {
                    Ok(0) => return Err(Reject::File(FileFault::Shrank)),
                    Ok(count) => count,
                    Err(_) => return Err(Reject::File(FileFault::Unreadable)),
                }
            }
        };
        self.span.start += count as u64;
        self.sent += count as u64;
        Ok(())
    }
}

fn push<C: Client>(client: &mut C, bytes: &[u8], at: u64, count: usize) -> usize {
    let at = at as usize;
    client.push(&bytes[at..at + count]);
    count
}

fn flush<C: Client>(cx: &mut Context<'_>, client: &mut C) -> Poll<Result<(), Reject>> {
    client.poll_flush(cx).map_err(|_| Reject::Client(ClientFault::Gone))
}

fn next_tick() -> Instant {
    clock::now() + TICK
}

/// Of two that may be at fault, the socket says so by name.
fn fault_of(error: &io::Error) -> Reject {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown,
        NetworkUnreachable, NotConnected, TimedOut,
    };
    match error.kind() {
        BrokenPipe | ConnectionAborted | ConnectionReset | HostUnreachable | NetworkDown
        | NetworkUnreachable | NotConnected | TimedOut => Reject::Client(ClientFault::Gone),
        _ => Reject::File(FileFault::Unreadable),
    }
}
