//! Large bodies, moved from socket to socket inside the kernel.
//!
//! A body of known length on two plaintext connections never enters our memory: it goes from the
//! server's socket into a pipe and from there into the client's. Pipes are kept for the next body.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use evergate_sys::splice::Pipe;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bodies with less than this left are copied: it takes fewer system calls.
pub(crate) const SPLICE_BYTES_MIN: u64 = 16 * 1024;
/// Size of a pipe, in bytes: also what the kernel holds for each client that reads slowly. Twice
/// the kernel's own choice halves the system calls of bodies around 100 KB.
const PIPE_BYTES: usize = 128 * 1024;
/// Spare pipes kept by a thread.
const PIPES_KEPT_MAX: usize = 16;

/// The spare pipes of one thread.
pub(crate) type Pipes = RefCell<Vec<Pipe>>;

/// A body on its way through a pipe.
#[derive(Debug)]
pub(crate) struct Splice {
    pipe: Pipe,
}

/// Which side failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// The source ended or broke.
    From,
    /// The destination broke.
    To,
}

impl Splice {
    /// With a spare pipe or a new one.
    pub(crate) fn new(pipes: &Pipes) -> io::Result<Self> {
        let spare = pipes.borrow_mut().pop();
        Ok(Self { pipe: spare.map_or_else(|| Pipe::new(PIPE_BYTES), Ok)? })
    }

    /// Moves up to `rest` bytes; says how many left the pipe.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        to: &TcpStream,
        rest: u64,
    ) -> Poll<Result<u64, Fault>> {
        if self.pipe.held() == 0 {
            let want = usize::try_from(rest).unwrap_or(usize::MAX);
            let filled = ready!(poll_io(cx, from, Interest::READABLE, || self
                .pipe
                .fill(from.as_fd(), want)));
            if !matches!(filled, Ok(count) if count > 0) {
                return Poll::Ready(Err(Fault::From));
            }
        }
        let drained = ready!(poll_io(cx, to, Interest::WRITABLE, || self.pipe.drain(to.as_fd())));
        Poll::Ready(drained.map(|count| count as u64).map_err(|_| Fault::To))
    }

    /// Whether it holds bytes that the destination has not taken.
    pub(crate) fn waits_to_write(&self) -> bool {
        self.pipe.held() > 0
    }

    /// Puts the pipe aside, if it is empty.
    pub(crate) fn rest(self, pipes: &Pipes) {
        let mut spare = pipes.borrow_mut();
        if self.pipe.held() == 0 && spare.len() < PIPES_KEPT_MAX {
            spare.push(self.pipe);
        }
    }
}

/// Tries `operation` until it does not block, or the socket is not ready any more.
pub(crate) fn poll_io<T>(
    cx: &mut Context<'_>,
    tcp: &TcpStream,
    interest: Interest,
    mut operation: impl FnMut() -> io::Result<T>,
) -> Poll<io::Result<T>> {
    loop {
        let ready =
            if interest.is_readable() { tcp.poll_read_ready(cx) } else { tcp.poll_write_ready(cx) };
        ready!(ready)?;
        match tcp.try_io(interest, &mut operation) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
    }
}
