//! The keeper's end of the link to one worker.
//!
//! Sending never waits: what the kernel does not take at once is queued, and a worker that lets the
//! queue run full is as good as dead.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use evergate_control::link::{self, FDS_MAX, MESSAGE_BYTES_MAX, ToKeeper, ToWorker};
use evergate_sys::seqpacket::{self, Received};
use minicbor::{Decode, Encode};

use crate::carried::{Fd, Listing, Taken, Uses};

/// Most messages that wait for a worker to read; the worker counts as hung past that.
pub(crate) const OUTBOX_MAX: usize = 1024;
/// Most bytes that wait for a worker to read; it counts as hung past that.
pub(crate) const OUTBOX_BYTES_MAX: usize = 1 << 20;

const _: () = assert!(FDS_MAX <= seqpacket::FDS_MAX, "a packet carries what a message may");

/// One end of a link.
#[derive(Debug)]
pub(crate) struct Link {
    socket: OwnedFd,
    outbox: VecDeque<Packet>,
    outbox_bytes: usize,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Packet {
    bytes: Vec<u8>,
    fds: Vec<Rc<OwnedFd>>,
}

/// Why a link is of no use any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Broken {
    /// The worker closed its end.
    Closed,
    /// The worker does not read what it is sent.
    Full,
    /// The worker sends what is no message, or what no message can answer.
    Nonsense,
}

impl Link {
    /// A link, and the end that the worker gets.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        let (socket, other) = seqpacket::pair()?;
        let buffer = vec![0; MESSAGE_BYTES_MAX];
        Ok((Self { socket, outbox: VecDeque::new(), outbox_bytes: 0, buffer }, other))
    }

    /// Sends `message` with `fds` beside it, now or when there is room.
    ///
    /// A worker that closed its end hears nothing, but what it said before is still to be read, so
    /// only [`Link::receive`] tells.
    pub(crate) fn send(&mut self, message: &ToWorker, fds: Vec<Rc<OwnedFd>>) -> Result<(), Broken> {
        debug_assert!(fds.len() <= FDS_MAX, "one message carries that many");
        let bytes = link::encode(message);
        if bytes.len() > MESSAGE_BYTES_MAX {
            // All that is long in it came from the worker.
            return Err(Broken::Nonsense);
        }
        self.outbox_bytes += bytes.len();
        self.outbox.push_back(Packet { bytes, fds });
        self.flush();
        if self.outbox.len() > OUTBOX_MAX || self.outbox_bytes > OUTBOX_BYTES_MAX {
            return Err(Broken::Full);
        }
        Ok(())
    }

    /// Sends as much of what waits as there is room for.
    pub(crate) fn flush(&mut self) {
        while let Some(packet) = self.outbox.front() {
            let fds: Vec<BorrowedFd<'_>> = packet.fds.iter().map(|fd| fd.as_fd()).collect();
            match seqpacket::send(&self.socket, &packet.bytes, &fds) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Sent, or never to be.
                Ok(()) | Err(_) => {}
            }
            self.outbox_bytes -= packet.bytes.len();
            self.outbox.pop_front();
        }
    }

    /// Whether something waits for room.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// The next message and the descriptors beside it, or `None` if there is none yet.
    pub(crate) fn receive(&mut self) -> Result<Option<(ToKeeper, Vec<OwnedFd>)>, Broken> {
        let mut fds = Vec::new();
        let length = match seqpacket::recv(&self.socket, &mut self.buffer, &mut fds) {
            Ok(Received::Packet(length)) => length,
            Ok(Received::Closed) => return Err(Broken::Closed),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(Broken::Nonsense);
            }
            Err(_) => return Err(Broken::Closed),
        };
        match link::decode(&self.buffer[..length]) {
            Ok(message) => Ok(Some((message, fds))),
            Err(_) => Err(Broken::Nonsense),
        }
    }
}

/// A link on its way into the next image of the keeper.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub(crate) struct Carried {
    #[n(0)]
    socket: Fd,
    /// What waits for room.
    #[n(1)]
    outbox: Vec<CarriedPacket>,
}

#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
struct CarriedPacket {
    #[cbor(n(0), with = "minicbor::bytes")]
    bytes: Vec<u8>,
    #[n(1)]
    fds: Vec<Fd>,
}

impl Carried {
    /// What it refers to.
    pub(crate) fn uses(&self, uses: &mut Uses) {
        uses.own(self.socket);
        self.outbox.iter().flat_map(|packet| &packet.fds).for_each(|&fd| uses.share(fd));
    }
}

#[cfg(test)]
impl Carried {
    /// One on which a packet waits.
    pub(crate) fn sample(number: i32) -> Self {
        let packet = CarriedPacket { bytes: b"packet".to_vec(), fds: vec![Fd::of(20)] };
        Self { socket: Fd::of(number), outbox: vec![packet] }
    }
}

impl Link {
    /// This end, and what the other one has not yet been sent.
    pub(crate) fn carry<'a>(&'a self, listing: &mut Listing<'a>) -> Carried {
        let carry = |packet: &'a Packet| CarriedPacket {
            bytes: packet.bytes.clone(),
            fds: packet.fds.iter().map(|fd| listing.add(fd)).collect(),
        };
        let outbox = self.outbox.iter().map(carry).collect();
        Carried { socket: listing.add(&self.socket), outbox }
    }

    /// The link that was carried: the other end notices nothing.
    pub(crate) fn resume(carried: Carried, taken: &mut Taken) -> Self {
        let mut resume = |packet: CarriedPacket| Packet {
            bytes: packet.bytes,
            fds: packet.fds.into_iter().map(|fd| taken.shared(fd)).collect(),
        };
        let outbox: VecDeque<Packet> = carried.outbox.into_iter().map(&mut resume).collect();
        let outbox_bytes = outbox.iter().map(|packet| packet.bytes.len()).sum();
        let buffer = vec![0; MESSAGE_BYTES_MAX];
        Self { socket: taken.owned(carried.socket), outbox, outbox_bytes, buffer }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(request: u32) -> ToWorker {
        ToWorker::Opened { request, error: None }
    }

    #[test]
    fn what_does_not_fit_waits_and_arrives_in_order() {
        let (mut link, worker) = Link::new().unwrap();
        let mut sent = 0;
        while !link.is_waiting() {
            link.send(&opened(sent), vec![]).unwrap();
            sent += 1;
        }
        link.send(&opened(sent), vec![]).unwrap();
        let (mut buffer, mut fds) = (vec![0; MESSAGE_BYTES_MAX], Vec::new());
        for request in 0..=sent {
            let received = seqpacket::recv(&worker, &mut buffer, &mut fds).unwrap();
            let Received::Packet(length) = received else { panic!("{received:?}") };
            assert_eq!(link::decode(&buffer[..length]), Ok(opened(request)));
            link.flush();
        }
        assert!(!link.is_waiting());
    }

    #[test]
    fn what_waits_arrives_in_order_from_the_next_image_too() {
        let (mut link, worker) = Link::new().unwrap();
        let file = Rc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        let mut sent = 0;
        while link.outbox.len() < 3 {
            link.send(&opened(sent), vec![Rc::clone(&file)]).unwrap();
            sent += 1;
        }
        let (bytes, mut taken) = {
            let mut listing = Listing::default();
            let bytes = minicbor::to_vec(link.carry(&mut listing)).unwrap();
            (bytes, Taken::of(&listing.finish().unwrap().1))
        };
        let mut next = Link::resume(minicbor::decode(&bytes).unwrap(), &mut taken);
        assert_eq!(next.outbox_bytes, link.outbox_bytes);
        drop((link, taken));
        let (mut buffer, mut fds) = (vec![0; MESSAGE_BYTES_MAX], Vec::new());
        for request in 0..sent {
            let received = seqpacket::recv(&worker, &mut buffer, &mut fds).unwrap();
            let Received::Packet(length) = received else { panic!("{received:?}") };
            assert_eq!(link::decode(&buffer[..length]), Ok(opened(request)));
            assert_eq!(fds.drain(..).count(), 1);
            next.flush();
        }
        assert!(!next.is_waiting());
        seqpacket::send(&worker, &link::encode(&ToKeeper::Ready), &[]).unwrap();
        assert!(matches!(next.receive(), Ok(Some((ToKeeper::Ready, _)))), "and back");
    }

    #[test]
    fn a_worker_that_reads_nothing_is_noticed_before_memory_runs_out() {
        let (mut link, _worker) = Link::new().unwrap();
        let mut sent = 0;
        let broken = loop {
            match link.send(&opened(sent), vec![]) {
                Ok(()) => sent += 1,
                Err(broken) => break broken,
            }
        };
        assert_eq!((broken, link.outbox.len()), (Broken::Full, OUTBOX_MAX + 1));

        let (mut link, _worker) = Link::new().unwrap();
        let text = "x".repeat(MESSAGE_BYTES_MAX - 64);
        let broken = (0..OUTBOX_MAX as u32).find_map(|request| {
            link.send(&ToWorker::Opened { request, error: Some(text.clone()) }, vec![]).err()
        });
        assert_eq!(broken, Some(Broken::Full));
        assert!(link.outbox_bytes <= OUTBOX_BYTES_MAX + MESSAGE_BYTES_MAX);

        let (mut link, _worker) = Link::new().unwrap();
        let error = Some("x".repeat(MESSAGE_BYTES_MAX));
        let sent = link.send(&ToWorker::Opened { request: 0, error }, vec![]);
        assert_eq!(sent, Err(Broken::Nonsense), "no message is that long");
    }

    #[test]
    fn the_end_and_nonsense_are_told_apart() {
        let (mut link, worker) = Link::new().unwrap();
        assert!(matches!(link.receive(), Ok(None)));
        seqpacket::send(&worker, b"\xff\xff", &[]).unwrap();
        assert!(matches!(link.receive(), Err(Broken::Nonsense)));
        seqpacket::send(&worker, &link::encode(&ToKeeper::Ready), &[]).unwrap();
        drop(worker);
        assert!(matches!(link.receive(), Ok(Some((ToKeeper::Ready, _)))), "sent before the end");
        assert!(matches!(link.receive(), Err(Broken::Closed)));
        assert_eq!(link.send(&opened(0), vec![]), Ok(()), "nobody hears it");
        assert!(!link.is_waiting());
    }
}
