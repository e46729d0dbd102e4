//! An interface on which packets are caught, and whom they are for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use evergate_core::time::Instant;
use evergate_sys::flow::capture::{Capture, Passed};
use evergate_sys::flow::filter::{Place, Which};
use evergate_sys::mac::Mac;
use rustix::event::epoll::{self, EventFlags};

use super::super::PACKETS;
use super::super::network::Network;

/// Most packets that are passed on in one turn, so that adverts are not late.
const PACKETS_PER_TURN: usize = 512;
/// How often a neighbour is looked for that has not answered yet: packets wait for it.
const RESOLVE_EVERY: Duration = Duration::from_millis(2);
/// How often that is done so; whoever has not answered by then may not be there.
const RESOLVES_QUICK: u32 = 500;
/// How often it is looked for from then on.
const RESOLVE_EVERY_LATER: Duration = Duration::from_millis(200);
/// How often it is looked whether a neighbour has got another link-layer address.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// When to try again where nothing could be sent.
const STUCK_FOR: Duration = Duration::from_millis(1);
/// Where nobody listens: what is sent there makes the kernel find the neighbour (RFC 863).
const DISCARD_PORT: u16 = 9;

/// An interface, the addresses that move on it, and who has them or had them.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) mac: Mac,
    pub(super) place: Place,
    pub(super) to: Option<IpAddr>,
}

/// Where packets are caught, and whom they are for.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) place: Place,
    pub(super) to: Option<IpAddr>,
    capture: Capture,
    mac: Option<Mac>,
    resolve_at: Instant,
    /// How often it was looked for in vain.
    resolved_in_vain: u32,
    stuck_until: Option<Instant>,
    /// Whether it is heard of what is caught.
    is_watched: bool,
    /// More packets may wait.
    has_more: bool,
}

impl Lane {
    pub(super) fn open(link: &Link, which: &Which) -> io::Result<Self> {
        Ok(Self {
            place: link.place.clone(),
            to: link.to,
            capture: Capture::open(&link.place, link.mac, which)?,
            mac: None,
            resolve_at: Instant::EPOCH,
            resolved_in_vain: 0,
            stuck_until: None,
            is_watched: false,
            has_more: false,
        })
    }

    /// Catches others from now on.
    pub(super) fn narrow(&self, which: &Which) -> io::Result<()> {
        self.capture.narrow(&self.place, which)
    }

    /// The socket that catches.
    pub(super) fn capture(&self) -> BorrowedFd<'_> {
        self.capture.as_fd()
    }

    /// It is heard of nothing any more.
    pub(super) fn forget(&mut self, events: BorrowedFd<'_>) {
        // What cannot be taken out is closed next.
        let _ = self.watch(events, false);
    }

    /// When to look again; long ago if at once.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let unresolved = (self.to.is_some() && self.mac.is_none()).then_some(self.resolve_at);
        let more = self.has_more.then(|| self.stuck_until.unwrap_or(Instant::EPOCH));
        [unresolved, more].into_iter().flatten().min()
    }

    /// How many packets there was no room for since the last call.
    pub(super) fn take_overflow(&self) -> usize {
        // A socket that cannot say so has lost none that anybody knows of.
        self.capture.take_overflow().map_or(0, |lost| lost as usize)
    }

    /// Passes on what was caught and `keeps` agrees with, once it is known to whom.
    pub(super) fn pass(
        &mut self,
        now: Instant,
        network: &Network,
        events: BorrowedFd<'_>,
        keeps: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Passed> {
        if self.stuck_until.is_some_and(|until| until > now) {
            return Ok(Passed::default());
        }
        (self.has_more, self.stuck_until) = (false, None);
        let Some(mac) = self.find(now, network)? else { return Ok(Passed::default()) };
        let passed = self.capture.pass_on(mac, PACKETS_PER_TURN, keeps)?;
        self.has_more = passed.has_more;
        self.stuck_until = passed.is_stuck.then(|| now + STUCK_FOR);
        self.watch(events, !passed.is_stuck)?;
        Ok(passed)
    }

    /// What cannot be sent just now is no news.
    fn watch(&mut self, events: BorrowedFd<'_>, is_wanted: bool) -> io::Result<()> {
        match (self.is_watched, is_wanted) {
            (false, true) => epoll::add(events, &self.capture, PACKETS, EventFlags::IN)?,
            (true, false) => epoll::delete(events, &self.capture)?,
            (true, true) | (false, false) => {}
        }
        self.is_watched = is_wanted;
        Ok(())
    }

    /// The link-layer address of the other node, once it is known.
    fn find(&mut self, now: Instant, network: &Network) -> io::Result<Option<Mac>> {
        let Some(to) = self.to.filter(|_| self.resolve_at <= now) else { return Ok(self.mac) };
        let found = network.neighbour(self.place.interface, to)?;
        // Whoever is not found for a while is still where it was.
        self.mac = found.or(self.mac);
        let pause = if self.mac.is_some() {
            REFRESH_EVERY
        } else if self.resolved_in_vain < RESOLVES_QUICK {
            self.resolved_in_vain += 1;
            RESOLVE_EVERY
        } else {
            RESOLVE_EVERY_LATER
        };
        self.resolve_at = now + pause;
        if self.mac.is_none() {
            ask(self.place.interface, to)?;
        }
        Ok(self.mac)
    }
}

/// Has the kernel ask who has an address.
fn ask(interface: u32, to: IpAddr) -> io::Result<()> {
    let (any, to): (IpAddr, SocketAddr) = match to {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), (to, DISCARD_PORT).into()),
        IpAddr::V6(ip) => {
            let to = SocketAddrV6::new(ip, DISCARD_PORT, 0, interface);
            (Ipv6Addr::UNSPECIFIED.into(), to.into())
        }
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    socket.send_to(&[], to).map(drop)
}
