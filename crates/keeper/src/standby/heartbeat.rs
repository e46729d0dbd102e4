//! What nodes say to each other beside VRRP: datagrams over UDP, sealed if a secret is configured.
//!
//! One socket for each family that a peer has an address of, on every address of this node. What a
//! datagram must be to be believed is decided by [`Sessions`]; here it is only looked whether it came
//! from the address of a peer. Nothing here waits: what cannot be sent at once is lost, as it could
//! be on its way.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use evergate_control::link::Key;
use evergate_core::peer::session::{DATAGRAM_BYTES_MAX, Refusal, Sessions};
use evergate_core::peer::{Input, Message, Setup};
use evergate_core::standby::Plan;
use evergate_core::time::Instant;
use evergate_core::vrrp::packet::seal::MAC_BYTES;
use evergate_sys::family::Family;
use minicbor::{Decode, Encode};
use ring::hmac;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use super::vip::mac;

/// Most datagrams that are read of a socket in one turn.
const DATAGRAMS_PER_TURN: usize = 512;
/// Room for what comes while nobody reads: all connections of a planned move.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
/// How often a socket that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How often it is told why datagrams are refused.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Network control, as adverts have it (RFC 2474 section 4.2.2).
const TRAFFIC_CLASS: u8 = 0xc0;

/// The sockets, and what was said so far.
#[derive(Debug)]
pub(super) struct Heartbeat {
    sessions: Sessions,
    peers: Vec<Setup>,
    /// Nothing is sent or heard without.
    port: Option<u16>,
    key: Option<hmac::Key>,
    sockets: Vec<(Family, UdpSocket)>,
    /// Where to bind, for tests; elsewhere everywhere.
    place: Option<IpAddr>,
    problem: Option<String>,
    retry_at: Option<Instant>,
    odd: Option<(String, String)>,
    told_at: Option<Instant>,
    counts: Counts,
    datagram: Vec<u8>,
}

/// What crosses to the next image of the keeper.
#[derive(Clone, Debug, Decode, Encode)]
pub(super) struct Carried {
    #[n(0)]
    sessions: Sessions,
    #[n(1)]
    counts: Counts,
}

/// What happened to datagrams that no path of a peer counts.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub(super) struct Counts {
    /// They came from an address that is no peer's.
    #[n(0)]
    pub(super) strangers: u64,
    /// They could not be sent.
    #[n(1)]
    pub(super) unsent: u64,
}

impl Heartbeat {
    /// Nobody is spoken with yet. `start` was drawn by chance just now.
    pub(super) fn new(start: u64) -> Self {
        Self::resume(Carried { sessions: Sessions::new(start), counts: Counts::default() })
    }

    /// Goes on from what the image before knew.
    pub(super) fn resume(carried: Carried) -> Self {
        Self {
            sessions: carried.sessions,
            peers: Vec::new(),
            port: None,
            key: None,
            sockets: Vec::new(),
            place: None,
            problem: None,
            retry_at: None,
            odd: None,
            told_at: None,
            counts: carried.counts,
            datagram: Vec::with_capacity(DATAGRAM_BYTES_MAX),
        }
    }

    /// What the next image is to know.
    pub(super) fn carried(&self) -> Carried {
        Carried { sessions: self.sessions.clone(), counts: self.counts }
    }

    /// From now on these are the peers. Sockets that are not needed are closed, others opened, and
    /// put on `events` under `name`.
    pub(super) fn apply(
        &mut self,
        now: Instant,
        plan: &Plan,
        secret: Option<&Key>,
        events: (BorrowedFd<'_>, EventData),
    ) {
        let port = plan.heartbeat.map(|policy| policy.port);
        if self.port != port {
            self.sockets.clear();
        }
        self.port = port;
        self.peers = if port.is_some() { plan.peers.clone() } else { Vec::new() };
        self.sessions.apply(self.peers.iter().map(|peer| peer.name.as_str()));
        self.key = secret.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose()));
        self.open(now, events);
    }

    /// Tries again what failed, if it is time.
    pub(super) fn tick(&mut self, now: Instant, events: (BorrowedFd<'_>, EventData)) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.open(now, events);
        }
    }

    /// When [`Self::tick`] is wanted.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    /// How many sockets are open.
    #[cfg(test)]
    fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// Takes in what has arrived.
    pub(super) fn receive(&mut self, now: Instant, mut hear: impl FnMut(Input)) {
        let mut datagram = [0; DATAGRAM_BYTES_MAX + 1];
        for at in 0..self.sockets.len() {
            for _ in 0..DATAGRAMS_PER_TURN {
                // Whatever else it is, it is of a datagram, not of the socket.
                let (length, from) = match self.sockets[at].1.recv_from(&mut datagram) {
                    Ok(received) => received,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => continue,
                };
                if let Some(input) = self.read(now, from.ip(), &datagram[..length]) {
                    hear(input);
                }
            }
        }
    }

    /// Sends a message to a peer over this path, or over all if none is named.
    pub(super) fn send(&mut self, peer: usize, path: Option<usize>, message: &Message) {
        let Some(setup) = self.peers.get(peer) else { return };
        let paths = match path {
            Some(path) => path..path.saturating_add(1),
            None => 0..setup.addresses.len(),
        };
        for path in paths {
            self.send_one(peer, path, Some(message));
        }
    }

    /// Why nothing can be said or heard over some path.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// What happened to datagrams that no path of a peer counts.
    #[cfg(test)]
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Why a datagram was refused, and of whom: the first one that was not told, seldom.
    pub(super) fn take_odd(&mut self, now: Instant) -> Option<(String, String)> {
        if self.told_at.is_some_and(|at| now - at < TOLD_EVERY) {
            return None;
        }
        let odd = self.odd.take()?;
        self.told_at = Some(now);
        Some(odd)
    }

    /// What a datagram comes to.
    fn read(&mut self, now: Instant, from: IpAddr, datagram: &[u8]) -> Option<Input> {
        let Some((peer, path)) = self.find(from) else {
            self.counts.strangers += 1;
            return None;
        };
        let key = self.key.clone();
        let mac = |parts: &[&[u8]]| key.as_ref().map_or([0; MAC_BYTES], |key| mac(key, parts));
        match self.sessions.read(peer, datagram, key.is_some().then_some(&mac)) {
            Ok(taken) => {
                if taken.wants_answer {
                    self.send_one(peer, path, None);
                }
                taken.message.map(|message| Input::Said { peer, path, message })
            }
            Err(refusal) => {
                self.note(now, peer, from, refusal);
                Some(Input::Refused { peer, path })
            }
        }
    }

    fn note(&mut self, now: Instant, peer: usize, from: IpAddr, refusal: Refusal) {
        let is_told = self.told_at.is_some_and(|at| now - at < TOLD_EVERY);
        // Networks double packets: that is no news.
        if !is_told && refusal != Refusal::Repeated {
            let subject = format!("peer.{}", self.peers[peer].name);
            self.odd = Some((subject, format!("a heartbeat of {from} is refused: {refusal}")));
        }
    }

    fn send_one(&mut self, peer: usize, path: usize, message: Option<&Message>) {
        let address = self.peers.get(peer).and_then(|setup| setup.addresses.get(path));
        let (Some(address), Some(port)) = (address.copied(), self.port) else { return };
        let key = self.key.clone();
        let mac = |parts: &[&[u8]]| key.as_ref().map_or([0; MAC_BYTES], |key| mac(key, parts));
        let seal = key.is_some().then_some(&mac as _);
        let written = self.sessions.write(peer, message, seal, &mut self.datagram);
        let family = Family::of(address);
        let socket = self.sockets.iter().find(|(other, _)| *other == family);
        let is_sent = written.is_ok()
            && socket.is_some_and(|(_, socket)| {
                socket.send_to(&self.datagram, SocketAddr::new(address, port)).is_ok()
            });
        if !is_sent {
            self.counts.unsent += 1;
        }
    }

    fn find(&self, address: IpAddr) -> Option<(usize, usize)> {
        self.peers.iter().enumerate().find_map(|(at, peer)| {
            let path = peer.addresses.iter().position(|other| *other == address)?;
            Some((at, path))
        })
    }

    /// Opens what is needed and not open, and closes what is not needed.
    fn open(&mut self, now: Instant, (events, name): (BorrowedFd<'_>, EventData)) {
        let addresses = || self.peers.iter().flat_map(|peer| &peer.addresses);
        let needed: Vec<Family> = [Family::V4, Family::V6]
            .into_iter()
            .filter(|family| addresses().any(|address| Family::of(*address) == *family))
            .collect();
        self.sockets.retain(|(family, _)| needed.contains(family));
        (self.problem, self.retry_at) = (None, None);
        let Some(port) = self.port else { return };
        for family in needed {
            if self.sockets.iter().any(|(open, _)| *open == family) {
                continue;
            }
            let opened = udp(family, self.place, port).and_then(|socket| {
                epoll::add(events, &socket, name, EventFlags::IN)?;
                Ok(socket)
            });
            match opened {
                Ok(socket) => self.sockets.push((family, socket)),
                Err(error) => {
                    self.problem = Some(format!("heartbeats on UDP port {port}: {error}"));
                    self.retry_at = Some(now + RETRY);
                }
            }
        }
    }
}

/// A socket on every address of one family.
fn udp(family: Family, place: Option<IpAddr>, port: u16) -> io::Result<UdpSocket> {
    let (domain, everywhere) = match family {
        Family::V4 => (AddressFamily::INET, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        Family::V6 => (AddressFamily::INET6, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(domain, SocketType::DGRAM, flags, None)?;
    match family {
        Family::V4 => sockopt::set_ip_tos(&socket, TRAFFIC_CLASS)?,
        Family::V6 => {
            sockopt::set_ipv6_v6only(&socket, true)?;
            sockopt::set_ipv6_tclass(&socket, u32::from(TRAFFIC_CLASS))?;
        }
    }
    sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES)?;
    bind(&socket, &SocketAddr::new(place.unwrap_or(everywhere), port))?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests;
