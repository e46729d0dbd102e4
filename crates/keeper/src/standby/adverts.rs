//! The sockets that adverts are sent and heard through: one for each interface and family.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use evergate_core::vrrp::packet::{Ends, Envelope};
use evergate_sys::family::Family;
use evergate_sys::vrrp_socket::{MESSAGE_BYTES_MAX, VrrpSocket};
use minicbor::{Decode, Encode};
use rustix::event::epoll::{self, EventFlags};

use super::ADVERTS;

use crate::carried::{Fd, Listing, Taken, Uses};

/// Most adverts of one socket that are read in one turn: more than its buffer holds in any but the
/// smallest of packets, so that what came before a timer ran out is known when it is looked at.
const ADVERTS_PER_TURN: usize = 1024;

/// The number of an interface, and a family of addresses.
pub(super) type Where = (u32, Family);

/// Every socket.
#[derive(Debug, Default)]
pub(super) struct Speakers {
    sockets: BTreeMap<Where, Speaker>,
}

/// A socket on its way into the keeper's next image, where it has all that arrives meanwhile.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub(super) struct Carried {
    #[n(0)]
    interface: u32,
    #[n(1)]
    is_ipv6: bool,
    #[n(2)]
    socket: Fd,
    /// The VRIDs that it hears.
    #[n(3)]
    routers: Vec<u8>,
}

impl Carried {
    /// What it refers to.
    pub(super) fn uses(&self, uses: &mut Uses) {
        uses.own(self.socket);
    }
}

#[derive(Debug)]
struct Speaker {
    socket: VrrpSocket,
    /// The VRIDs that it hears.
    routers: Vec<u8>,
}

impl Speakers {
    /// Every socket.
    pub(super) fn carry<'a>(&'a self, listing: &mut Listing<'a>) -> Vec<Carried> {
        let carry = |(&(interface, family), speaker): (&Where, &'a Speaker)| Carried {
            interface,
            is_ipv6: family == Family::V6,
            socket: listing.add(&speaker.socket),
            routers: speaker.routers.clone(),
        };
        self.sockets.iter().map(carry).collect()
    }

    /// Those that were carried.
    pub(super) fn resume(
        carried: Vec<Carried>,
        taken: &mut Taken,
        events: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        let mut sockets = BTreeMap::new();
        for Carried { interface, is_ipv6, socket, routers } in carried {
            let family = if is_ipv6 { Family::V6 } else { Family::V4 };
            let socket = VrrpSocket::from_fd(taken.owned(socket), interface, family);
            epoll::add(events, &socket, ADVERTS, EventFlags::IN)?;
            sockets.insert((interface, family), Speaker { socket, routers });
        }
        Ok(Self { sockets })
    }

    /// Has sockets for these, each to hear these VRIDs, and no others. Returns what could not be
    /// had.
    pub(super) fn set(
        &mut self,
        wanted: &BTreeMap<Where, Vec<u8>>,
        events: BorrowedFd<'_>,
    ) -> BTreeMap<Where, io::Error> {
        // One that is closed leaves the events by itself.
        self.sockets.retain(|place, _| wanted.contains_key(place));
        let mut failed = BTreeMap::new();
        for (&place, routers) in wanted {
            if let Err(error) = self.set_one(place, routers, events) {
                self.sockets.remove(&place);
                failed.insert(place, error);
            }
        }
        failed
    }

    fn set_one(&mut self, place: Where, routers: &[u8], events: BorrowedFd<'_>) -> io::Result<()> {
        let speaker = match self.sockets.entry(place) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(vacant) => {
                let (interface, family) = place;
                let socket = VrrpSocket::open(interface, family)?;
                epoll::add(events, &socket, ADVERTS, EventFlags::IN)?;
                vacant.insert(Speaker { socket, routers: Vec::new() })
            }
        };
        if speaker.routers != routers {
            speaker.socket.listen_to(routers)?;
            speaker.routers = routers.to_vec();
        }
        Ok(())
    }

    /// Sends a packet.
    pub(super) fn send(
        &self,
        place: Where,
        (from, to): (IpAddr, IpAddr),
        packet: &[u8],
    ) -> io::Result<()> {
        match self.sockets.get(&place) {
            Some(speaker) => speaker.socket.send(from, to, packet),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Takes in what was heard: where, from whom, and the packet.
    pub(super) fn hear(&self, mut take: impl FnMut(Where, &Envelope, &[u8])) {
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        for (&place, speaker) in &self.sockets {
            for _ in 0..ADVERTS_PER_TURN {
                match speaker.socket.receive(&mut buffer) {
                    Ok(Some(heard)) => {
                        let (source, destination) = (heard.source, heard.destination);
                        let ends = Ends { source, destination };
                        let envelope = Envelope { ends, hops: heard.hop_limit };
                        take(place, &envelope, heard.message);
                    }
                    Ok(None) => break,
                    // The interface went down: that is told by others, and there may be more.
                    Err(_) => {}
                }
            }
        }
    }
}

#[cfg(test)]
impl Carried {
    /// That of IPv4 on interface 3.
    pub(super) fn sample() -> Self {
        Self { interface: 3, is_ipv6: false, socket: Fd::of(91), routers: vec![51] }
    }
}
