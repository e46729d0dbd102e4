//! Packets of connections that are the other node's, while addresses move as planned
//! ([`evergate_core::handover`]).
//!
//! Nothing here waits. What is to be done at a step is done at once, in the kernel; packets are
//! passed on in each turn, so many at most, and wait in the kernel until then. One move at a time.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use evergate_core::handover::{FLOWS_MAX, Flow};
use evergate_core::standby::{Input, RouterKey};
use evergate_core::time::Instant;
use evergate_sys::flow::capture::Capture;
use evergate_sys::flow::filter::{self, Which};
use evergate_sys::flow::packet;
use evergate_sys::mac::Mac;
use evergate_sys::netlink::{Connections, Meant};
use rustix::event::epoll::{self, EventFlags};

use self::veil::Veil;
use super::network::Network;
use super::{PACKETS, Running};
use crate::will::Shaded;

mod veil;

/// Most packets that are passed on in one turn, so that adverts are not late.
const PACKETS_PER_TURN: usize = 512;
/// How often it is looked whether connections have ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a neighbour is looked for that has not answered yet.
const RESOLVE_EVERY: Duration = Duration::from_millis(2);
/// Where nobody listens: what is sent there makes the kernel find the neighbour (RFC 863).
const DISCARD_PORT: u16 = 9;

/// What is done for a planned move, if one is under way.
#[derive(Debug, Default)]
pub(super) struct Passing {
    /// Every listening socket for TCP.
    pub(super) listeners: Vec<Rc<OwnedFd>>,
    work: Option<Work>,
    /// Counts the sockets that came and went.
    changes: u64,
    /// Clients are to connect anew, to the successor.
    is_retreat: bool,
}

#[derive(Debug)]
struct Work {
    routers: Vec<RouterKey>,
    addresses: Vec<IpAddr>,
    /// Connections of the old node, by mark, sorted.
    marks: Vec<u32>,
    /// Whose filters are to be taken off.
    filtered: Vec<Rc<OwnedFd>>,
    lanes: Vec<Lane>,
    side: Side,
    /// More packets may wait.
    has_more: bool,
    passed: usize,
}

#[derive(Debug)]
enum Side {
    /// The old node, before the successor has claimed.
    Frozen,
    /// The old node; connections end here.
    Old { veil: Veil, look_at: Instant },
    /// The successor.
    New,
}

/// An interface on which packets are caught, and whom they are for.
#[derive(Debug)]
struct Lane {
    interface: u32,
    capture: Capture,
    to: Option<IpAddr>,
    mac: Option<Mac>,
    resolve_at: Instant,
}

/// An interface, and the addresses that move on it.
#[derive(Debug)]
struct Link {
    index: u32,
    name: String,
    mac: Mac,
    addresses: Vec<IpAddr>,
    to: Option<IpAddr>,
}

impl Passing {
    /// Whether what is open is to end, since the last call.
    pub(super) fn take_retreat(&mut self) -> bool {
        std::mem::take(&mut self.is_retreat)
    }

    /// When to look again; long ago if at once.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let work = self.work.as_ref()?;
        let unresolved = work.lanes.iter().filter(|lane| lane.to.is_some() && lane.mac.is_none());
        let look_at = match work.side {
            Side::Frozen | Side::New => None,
            Side::Old { look_at, .. } => Some(look_at),
        };
        let more = work.has_more.then_some(Instant::EPOCH);
        unresolved.map(|lane| lane.resolve_at).chain(look_at).chain(more).min()
    }

    /// Undoes what a keeper that was killed in the midst of a move has left.
    pub(super) fn sweep(network: &Network) -> io::Result<()> {
        Veil::sweep(network)
    }

    /// What is hidden, and what is set on interfaces so that nobody tells of it, to be undone by
    /// somebody else if the keeper cannot.
    pub(super) fn veil(&self) -> (Vec<IpAddr>, Vec<Shaded>) {
        match self.work.as_ref().map(|work| &work.side) {
            Some(Side::Old { veil, .. }) => veil.told(),
            Some(Side::Frozen | Side::New) | None => (Vec::new(), Vec::new()),
        }
    }

    /// How often a socket came or went.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Every packet socket, and every listening socket that does not see everything.
    pub(super) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.work.iter().flat_map(|work| {
            let captures = work.lanes.iter().map(|lane| lane.capture.as_fd());
            captures.chain(work.filtered.iter().map(|listener| listener.as_fd()))
        })
    }

    /// Takes no packet that begins a connection any more, and lists the connections there are.
    fn freeze(&mut self, routers: Vec<RouterKey>, links: &[Link]) -> io::Result<Vec<Flow>> {
        let addresses: Vec<IpAddr> =
            links.iter().flat_map(|link| &link.addresses).copied().collect();
        let lanes = links.iter().map(|link| Lane::open(link, &Which::All));
        let lanes = lanes.collect::<io::Result<Vec<Lane>>>()?;
        let mut work = Work::new(routers, addresses, lanes, Side::Frozen);
        // Caught before they are dropped, so that none is lost; listed after that, so that no other
        // comes about.
        let outcome = work.refuse(&self.listeners, &Which::Beginning).and_then(|()| {
            let mut connections = Connections::open()?;
            let mut flows = connections.to(&work.addresses, Meant::Open, FLOWS_MAX)?;
            work.refuse_all_but(&self.listeners, &mut flows)?;
            Ok(flows)
        });
        if outcome.is_err() {
            work.undo();
        } else {
            self.work = Some(work);
            self.changes += 1;
        }
        outcome
    }

    /// Keeps packets of the old node's connections from the sockets here, and catches them.
    fn pass_back(
        &mut self,
        routers: Vec<RouterKey>,
        links: &[Link],
        flows: &[Flow],
    ) -> io::Result<()> {
        let addresses: Vec<IpAddr> =
            links.iter().flat_map(|link| &link.addresses).copied().collect();
        let which = Which::of(flows);
        let lanes = links.iter().map(|link| Lane::open(link, &which));
        let lanes = lanes.collect::<io::Result<Vec<Lane>>>()?;
        let mut work = Work::new(routers, addresses, lanes, Side::New);
        let outcome = work.refuse(&self.listeners, &which);
        if outcome.is_err() {
            work.undo();
        } else {
            work.keep_marks(&which);
            self.work = Some(work);
            self.changes += 1;
        }
        outcome
    }

    /// Whether the connections that are waited for have ended.
    fn look(&mut self, now: Instant) -> io::Result<bool> {
        let Some(work) = &mut self.work else { return Ok(false) };
        let Side::Old { look_at, .. } = &mut work.side else { return Ok(false) };
        if *look_at > now {
            return Ok(false);
        }
        *look_at = now + LOOK_EVERY;
        // More than were listed: some that have begun since may be among them.
        let left = Connections::open()?.to(&work.addresses, Meant::Missed, 2 * FLOWS_MAX)?;
        Ok(!left.iter().any(|flow| work.marks.binary_search(&flow.mark()).is_ok()))
    }
}

impl Work {
    fn new(routers: Vec<RouterKey>, addresses: Vec<IpAddr>, lanes: Vec<Lane>, side: Side) -> Self {
        let (marks, filtered) = (Vec::new(), Vec::new());
        Self { routers, addresses, marks, filtered, lanes, side, has_more: false, passed: 0 }
    }

    fn keep_marks(&mut self, which: &Which) {
        match which {
            Which::All | Which::Beginning => {}
            Which::Of(marks) | Which::NotOf(marks) => self.marks.clone_from(marks),
        }
    }

    fn refuse(&mut self, listeners: &[Rc<OwnedFd>], which: &Which) -> io::Result<()> {
        for listener in listeners {
            filter::refuse(listener, &self.addresses, which)?;
            if !self.filtered.iter().any(|known| Rc::ptr_eq(known, listener)) {
                self.filtered.push(Rc::clone(listener));
            }
        }
        Ok(())
    }

    /// Refuses whatever belongs to none of `flows`; of as many as the kernel has room for.
    fn refuse_all_but(
        &mut self,
        listeners: &[Rc<OwnedFd>],
        flows: &mut Vec<Flow>,
    ) -> io::Result<()> {
        loop {
            let which = Which::not_of(flows);
            match self.refuse(listeners, &which) {
                Err(error) if error.raw_os_error() == Some(NO_ROOM) && flows.len() > 1 => {
                    flows.truncate(flows.len() / 2);
                }
                Err(error) => return Err(error),
                Ok(()) => {
                    for lane in &self.lanes {
                        lane.capture.narrow(&self.addresses, &which)?;
                    }
                    self.keep_marks(&which);
                    return Ok(());
                }
            }
        }
    }

    /// Takes every filter off.
    fn undo(&self) {
        for listener in &self.filtered {
            // One that is closed has none any more.
            let _ = filter::refuse_none(listener);
        }
    }

    /// Passes packets on; what is wrong with an interface, if something is.
    fn pass(&mut self, now: Instant, network: &Network, events: BorrowedFd<'_>) -> io::Result<()> {
        self.has_more = false;
        let is_old = match self.side {
            Side::Frozen => return Ok(()),
            Side::Old { .. } => true,
            Side::New => false,
        };
        let mut outcome = Ok(());
        for lane in &mut self.lanes {
            let Some(mac) = lane.find(now, network, events)? else { continue };
            let marks = &self.marks;
            // Before the connections were listed, all packets were caught.
            let keeps = |packet: &[u8]| {
                let flow = packet::flow(packet);
                let is_theirs = flow.is_some_and(|flow| marks.binary_search(&flow.mark()).is_ok());
                is_old != is_theirs
            };
            match lane.capture.pass_on(mac, PACKETS_PER_TURN, keeps) {
                Ok(passed) => {
                    self.passed += passed.packets;
                    self.has_more |= passed.has_more;
                }
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }
}

/// `ENOMEM`: a filter is longer than `net.core.optmem_max` allows.
const NO_ROOM: i32 = rustix::io::Errno::NOMEM.raw_os_error();

impl Lane {
    fn open(link: &Link, which: &Which) -> io::Result<Self> {
        let capture = Capture::open(link.index, link.mac, &link.addresses, which)?;
        Ok(Self {
            interface: link.index,
            capture,
            to: link.to,
            mac: None,
            resolve_at: Instant::EPOCH,
        })
    }

    /// The link-layer address of the other node, once it is known.
    fn find(
        &mut self,
        now: Instant,
        network: &Network,
        events: BorrowedFd<'_>,
    ) -> io::Result<Option<Mac>> {
        let Some(to) = self.to else { return Ok(None) };
        if self.mac.is_none() && self.resolve_at <= now {
            self.resolve_at = now + RESOLVE_EVERY;
            self.mac = network.neighbour(self.interface, to)?;
            if self.mac.is_none() {
                ask(self.interface, to)?;
            } else {
                epoll::add(events, &self.capture, PACKETS, EventFlags::IN)?;
            }
        }
        Ok(self.mac)
    }

    /// Nothing more is waited for.
    fn forget(&self, events: BorrowedFd<'_>) {
        if self.mac.is_some() {
            let _ = epoll::delete(events, &self.capture);
        }
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

impl Running {
    /// A planned move, at the old node.
    pub(super) fn freeze(&mut self, now: Instant, routers: Vec<RouterKey>) {
        let flows = self.links(routers.iter().map(|key| (*key, None))).and_then(|links| {
            self.stop_passing();
            self.passing.freeze(routers, &links).map_err(|error| error.to_string())
        });
        self.feed(now, Input::Frozen { flows });
    }

    /// The successor has the addresses: this node has them no more, as far as others can see.
    pub(super) fn pass_on(&mut self, now: Instant, routers: &[(RouterKey, IpAddr)]) {
        let to = routers.iter().map(|(key, to)| (*key, Some(*to)));
        let outcome = self.links(to).and_then(|links| self.hide(now, &links));
        if let Err(why) = outcome {
            self.note_unpassed(&why);
        }
        self.pass(now);
    }

    fn hide(&mut self, now: Instant, links: &[Link]) -> Result<(), String> {
        let Some(work) = &mut self.passing.work else { return Ok(()) };
        for lane in &mut work.lanes {
            lane.to =
                links.iter().find(|link| link.index == lane.interface).and_then(|link| link.to);
        }
        let (veil, planned) = Veil::new(links);
        work.side = Side::Old { veil, look_at: now };
        self.passing.is_retreat = true;
        // Before it is done: whoever may have to undo it must know.
        self.bequeath();
        match self.passing.work.as_mut().map(|work| &mut work.side) {
            Some(Side::Old { veil, .. }) => planned.and(veil.hang(&self.network)),
            Some(Side::Frozen | Side::New) | None => planned,
        }
    }

    /// A planned move, at the successor.
    pub(super) fn pass_back(
        &mut self,
        now: Instant,
        routers: &[(RouterKey, IpAddr)],
        flows: &[Flow],
    ) {
        self.stop_passing();
        let to = routers.iter().map(|(key, to)| (*key, Some(*to)));
        let keys = routers.iter().map(|(key, _)| *key).collect();
        let outcome = self.links(to).and_then(|links| {
            self.passing.pass_back(keys, &links, flows).map_err(|error| error.to_string())
        });
        if let Err(why) = outcome {
            self.note_unpassed(&why);
        }
        if !routers.iter().all(|(key, _)| self.make_ready(now, *key)) {
            self.note_unpassed("the kernel has put new addresses into no route yet");
        }
        self.pass(now);
    }

    /// Puts IPv6 addresses there just before they are claimed, for what arrives from then on not to be
    /// thrown away: of clients that were told first, and what the old node has caught.
    fn make_ready(&mut self, now: Instant, key: RouterKey) -> bool {
        let Some(vip) = self.vips.get(&key) else { return true };
        let Some(link) = self.network.interfaces().find(&vip.wish().interface) else { return true };
        let (interface, mut spots) = (link.index, Vec::new());
        for (ip, prefix) in vip.addresses().to_vec() {
            if ip.is_ipv6() {
                // If it is not claimed after all, it is one too many and goes.
                self.put(now, (interface, ip), key, prefix);
                spots.push((interface, ip));
            }
        }
        self.network.finish(&spots)
    }

    /// Nothing is passed on any more.
    pub(super) fn pass_none(&mut self, routers: &[RouterKey]) {
        let work = self.passing.work.as_ref();
        if work.is_some_and(|work| work.routers.iter().any(|key| routers.contains(key))) {
            self.stop_passing();
        }
    }

    /// Ends whatever is under way.
    pub(super) fn stop_passing(&mut self) {
        let Some(work) = self.passing.work.take() else { return };
        self.passing.changes += 1;
        work.undo();
        for lane in &work.lanes {
            // The watcher has it too, so that it is not closed for good here.
            lane.forget(self.events.as_fd());
        }
        if let Side::Old { veil, .. } = work.side
            && let Err(error) = veil.take_off(&self.network)
        {
            self.note_unpassed(&error.to_string());
        }
    }

    /// Passes on what is caught, and looks whether that is still needed.
    pub(super) fn pass(&mut self, now: Instant) {
        let Self { passing, network, events, .. } = self;
        let Some(work) = &mut passing.work else { return };
        if let Err(error) = work.pass(now, network, events.as_fd()) {
            self.note_unpassed(&error.to_string());
        }
        match self.passing.look(now) {
            Ok(false) => {}
            Ok(true) => self.feed(now, Input::Drained),
            Err(error) => {
                self.note_unpassed(&error.to_string());
                self.feed(now, Input::Drained);
            }
        }
    }

    fn note_unpassed(&mut self, why: &str) {
        self.problems.insert("move".to_owned(), format!("packets were not passed on: {why}"));
        self.telling.mark();
    }

    /// The interfaces of virtual routers, with their addresses there.
    fn links(
        &self,
        routers: impl Iterator<Item = (RouterKey, Option<IpAddr>)>,
    ) -> Result<Vec<Link>, String> {
        let mut links: BTreeMap<u32, Link> = BTreeMap::new();
        for (key, to) in routers {
            let vip = self.vips.get(&key).ok_or("it is not there any more")?;
            let name = &vip.wish().interface;
            let found = self.network.interfaces().find(name);
            let found = found.ok_or_else(|| format!("there is no interface {name}"))?;
            let mac = found.mac.ok_or_else(|| format!("interface {name} has no neighbours"))?;
            let link = links.entry(found.index).or_insert_with(|| Link {
                index: found.index,
                name: name.clone(),
                mac,
                addresses: Vec::new(),
                to: None,
            });
            link.addresses.extend(vip.addresses().iter().map(|(ip, _)| *ip));
            link.to = link.to.or(to);
        }
        Ok(links.into_values().collect())
    }
}
