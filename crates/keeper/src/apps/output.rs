//! What runs print: a pipe for each, that the worker reads from.
//!
//! The keeper holds both ends while the run lives. So nothing is lost while there is no worker, a
//! run never writes to a pipe that nobody can read from any more, and the next worker goes on where
//! the last one stopped. A run that prints more than the pipe holds would wait for that worker:
//! after [`FULL_MAX`] what it printed is dropped, and counted.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use evergate_core::time::Instant;
use evergate_sys::pipe;
use minicbor::{Decode, Encode};
use rustix::event::{PollFd, PollFlags, poll};

use crate::carried::{Fd, Listing, Taken, Uses};

/// How long a run may wait for somebody to read what it prints.
const FULL_MAX: Duration = Duration::from_secs(1);
/// Room in a pipe, in bytes.
const PIPE_BYTES: usize = 256 * 1024;

/// The pipe of one run.
#[derive(Debug)]
pub(super) struct Pipe {
    reader: Rc<OwnedFd>,
    writer: OwnedFd,
    full_since: Option<Instant>,
    dropped: u64,
}

/// A pipe on its way into the next image of the keeper.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub(super) struct CarriedPipe {
    #[n(0)]
    reader: Fd,
    #[n(1)]
    writer: Fd,
    #[n(2)]
    full_since: Option<u64>,
    #[n(3)]
    dropped: u64,
}

impl CarriedPipe {
    /// What it refers to.
    pub(super) fn uses(&self, uses: &mut Uses) {
        uses.share(self.reader);
        uses.own(self.writer);
    }
}

#[cfg(test)]
impl CarriedPipe {
    /// One that was full, with its ends on this number and the next.
    pub(super) fn sample(number: i32) -> Self {
        let (reader, writer) = (Fd::of(number), Fd::of(number + 1));
        Self { reader, writer, full_since: Some(6_000_000_000), dropped: 17 }
    }
}

impl Pipe {
    /// A pipe whose end to read from never blocks. The other one does, as programs expect.
    pub(super) fn new() -> io::Result<Self> {
        let pipe::Pipe { reader, writer } = pipe::pipe(PIPE_BYTES)?;
        Ok(Self { reader: Rc::new(reader), writer, full_since: None, dropped: 0 })
    }

    /// All that there is of it.
    pub(super) fn carry<'a>(&'a self, listing: &mut Listing<'a>) -> CarriedPipe {
        CarriedPipe {
            reader: listing.add(&self.reader),
            writer: listing.add(&self.writer),
            full_since: self.full_since.map(Instant::as_nanos),
            dropped: self.dropped,
        }
    }

    /// The pipe that was carried.
    pub(super) fn resume_carried(carried: CarriedPipe, taken: &mut Taken) -> Self {
        Self {
            reader: taken.shared(carried.reader),
            writer: taken.owned(carried.writer),
            full_since: carried.full_since.map(Instant::from_nanos),
            dropped: carried.dropped,
        }
    }

    /// The end to read from.
    pub(super) fn reader(&self) -> Rc<OwnedFd> {
        Rc::clone(&self.reader)
    }

    /// The end to print to.
    pub(super) fn writer(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }

    /// Makes room if the pipe has been full for too long. Only while no worker reads: it would miss
    /// what is taken here. Once that has begun it goes on, so that the run waits once only.
    pub(super) fn relieve(&mut self, now: Instant) {
        if !self.is_full() {
            if self.dropped == 0 {
                self.full_since = None;
            }
            return;
        }
        let since = *self.full_since.get_or_insert(now);
        if now - since < FULL_MAX {
            return;
        }
        // The older half: what came last says most about what goes on.
        let half = pipe::fill(&self.reader).map_or(0, |fill| fill.waiting.div_ceil(2));
        self.dropped += pipe::drop_oldest(&self.reader, half).unwrap_or(0);
    }

    /// Somebody reads again; how many bytes were dropped meanwhile.
    pub(super) fn resume(&mut self) -> u64 {
        self.full_since = None;
        std::mem::take(&mut self.dropped)
    }

    fn is_full(&self) -> bool {
        let mut room = [PollFd::new(&self.writer, PollFlags::OUT)];
        let none = Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 });
        poll(&mut room, none) == Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::EPOCH + Duration::from_millis(millis)
    }

    /// Prints until nothing more fits; how much that was.
    fn fill(pipe: &Pipe) -> u64 {
        let (mut printed, line) = (0, [b'x'; 4096]);
        while !pipe.is_full() {
            printed += rustix::io::write(pipe.writer(), &line).unwrap() as u64;
        }
        printed
    }

    #[test]
    fn what_nobody_reads_is_dropped_after_a_second_and_counted() {
        let mut pipe = Pipe::new().unwrap();
        let printed = fill(&pipe);
        pipe.relieve(at(0));
        pipe.relieve(at(999));
        assert!(pipe.is_full(), "somebody may come yet");
        pipe.relieve(at(1000));
        assert!(!pipe.is_full());
        let more = fill(&pipe);
        pipe.relieve(at(1001));
        assert!(!pipe.is_full(), "it waits only once");
        assert_eq!(pipe.resume(), printed / 2 + printed / 2);
        assert_eq!((more, pipe.resume()), (printed / 2, 0));
    }

    #[test]
    fn a_pipe_that_was_read_in_time_loses_nothing() {
        let mut pipe = Pipe::new().unwrap();
        let printed = fill(&pipe);
        pipe.relieve(at(0));
        let mut buffer = vec![0; 1 << 20];
        assert_eq!(rustix::io::read(pipe.reader(), &mut buffer), Ok(printed as usize));
        pipe.relieve(at(500));
        fill(&pipe);
        pipe.relieve(at(1200));
        assert!(pipe.is_full(), "full for less than a second");
        assert_eq!(pipe.resume(), 0);
    }
}
