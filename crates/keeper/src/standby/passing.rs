//! Packets of connections that are the other node's, while addresses move as planned
//! ([`evergate_core::handover`]).
//!
//! Nothing here waits, but for a moment in [`ready`]. What is to be done at a step is done at once, in
//! the kernel; packets are passed on in each turn, so many at most, and wait in the kernel until then.
//! One move at a time.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use evergate_core::handover::{FLOWS_MAX, Flow};
use evergate_core::standby::{Input, RouterKey, Severity};
use evergate_core::time::Instant;
use evergate_sys::flow::filter::{self, Place, Which};
use evergate_sys::flow::packet;
use evergate_sys::netlink::{Connections, Meant};

use self::lane::{Lane, Link};
use self::veil::Veil;
use super::Running;
use super::network::Network;
use crate::will::Shaded;

mod lane;
mod ready;
mod veil;

/// How often it is looked whether connections have ended: at first, and at last. Each look goes
/// through every connection of the host.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);
/// What is about planned moves, among what cannot be done.
const PROBLEM: &str = "move";

/// What is done for a planned move, if one is under way.
#[derive(Debug, Default)]
pub(super) struct Passing {
    /// Every listening socket for TCP.
    pub(super) listeners: Vec<Rc<OwnedFd>>,
    work: Option<Work>,
    /// Counts the sockets that came and went.
    changes: u64,
    retreat: Option<Retreat>,
}

/// Clients of these addresses are to connect anew, to the successor.
#[derive(Debug)]
pub(crate) struct Retreat {
    /// All that have moved; none once that is over.
    pub(crate) addresses: Vec<IpAddr>,
    /// How long their packets are still passed on to this node.
    pub(crate) within: Duration,
}

#[derive(Debug)]
struct Work {
    routers: Vec<RouterKey>,
    places: Vec<Place>,
    /// What listeners see nothing of.
    which: Which,
    /// Connections of the old node, by mark, sorted.
    marks: Vec<u32>,
    /// Whose filters are to be taken off.
    filtered: Vec<Rc<OwnedFd>>,
    lanes: Vec<Lane>,
    side: Side,
    /// Packets that should have been passed on.
    lost: usize,
}

#[derive(Debug)]
enum Side {
    /// The old node, before the successor has claimed.
    Frozen,
    /// The old node; connections end here.
    Old { veil: Veil, look_at: Instant, look_every: Duration },
    /// The successor.
    New,
}

impl Passing {
    /// What is to end, if that has changed since the last call.
    pub(super) fn take_retreat(&mut self) -> Option<Retreat> {
        self.retreat.take()
    }

    /// When to look again; long ago if at once.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let work = self.work.as_ref()?;
        let look_at = match work.side {
            Side::Frozen => return None,
            Side::New => None,
            Side::Old { look_at, .. } => Some(look_at),
        };
        work.lanes.iter().filter_map(Lane::deadline).chain(look_at).min()
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
            let captures = work.lanes.iter().map(Lane::capture);
            captures.chain(work.filtered.iter().map(|listener| listener.as_fd()))
        })
    }

    /// What is passed on is so for this long at most.
    pub(super) fn hasten(&mut self, routers: &[RouterKey], within: Duration) {
        let work = self.work.as_ref().filter(|work| work.is_of(routers));
        if let Some(work) = work.filter(|work| matches!(work.side, Side::Old { .. })) {
            self.retreat = Some(Retreat { addresses: work.addresses(), within });
        }
    }

    /// Takes no packet that begins a connection any more, and lists the connections there are; how
    /// many more there are than can be passed on, too.
    fn freeze(
        &mut self,
        routers: Vec<RouterKey>,
        links: &[Link],
    ) -> io::Result<(Vec<Flow>, usize)> {
        // Caught before they are dropped, so that none is lost; listed after that, so that no other
        // comes about.
        let mut work = Work::new(routers, links, Which::All, Side::Frozen)?;
        let outcome = work.refuse(&self.listeners, Which::Beginning).and_then(|()| {
            let found = Connections::open()?.to(&work.addresses(), Meant::Open, FLOWS_MAX)?;
            let (mut flows, all) = (found.flows, found.others);
            let listed = flows.len();
            work.refuse_all_but(&self.listeners, &mut flows)?;
            let cut = all + (listed - flows.len());
            Ok((flows, cut))
        });
        self.begin(work, outcome)
    }

    /// Keeps packets of the old node's connections from the sockets here, and catches them; how many
    /// connections there was no room for.
    fn pass_back(
        &mut self,
        routers: Vec<RouterKey>,
        links: &[Link],
        flows: &[Flow],
    ) -> io::Result<usize> {
        let mut flows = flows.to_vec();
        let all = flows.len();
        let mut work = Work::new(routers, links, Which::of(&flows), Side::New)?;
        let outcome = work.refuse_only(&self.listeners, &mut flows);
        self.begin(work, outcome).map(|()| all - flows.len())
    }

    fn begin<T>(&mut self, work: Work, outcome: io::Result<T>) -> io::Result<T> {
        if outcome.is_err() {
            work.undo();
        } else {
            self.work = Some(work);
            self.changes += 1;
        }
        outcome
    }

    /// Whether the connections that are waited for have ended.
    fn look(&mut self, now: Instant) -> io::Result<bool> {
        let Some(work) = &mut self.work else { return Ok(false) };
        let Side::Old { look_at, look_every, .. } = &mut work.side else { return Ok(false) };
        if *look_at > now {
            return Ok(false);
        }
        *look_at = now + *look_every;
        *look_every = (*look_every + LOOK_EVERY).min(LOOK_EVERY_MAX);
        let marks = &work.marks;
        let addresses: Vec<&IpAddr> =
            work.places.iter().flat_map(|place| &place.addresses).collect();
        let is_awaited = |flow: &Flow| {
            addresses.contains(&&flow.local) && marks.binary_search(&flow.mark()).is_ok()
        };
        Ok(!Connections::open()?.any(Meant::Missed, is_awaited)?)
    }
}

impl Work {
    /// Catches `which` packets on each link.
    fn new(routers: Vec<RouterKey>, links: &[Link], which: Which, side: Side) -> io::Result<Self> {
        let lanes = links.iter().map(|link| Lane::open(link, &which));
        let lanes = lanes.collect::<io::Result<Vec<Lane>>>()?;
        let places = links.iter().map(|link| link.place.clone()).collect();
        let (marks, filtered) = (Vec::new(), Vec::new());
        Ok(Self { routers, places, which, marks, filtered, lanes, side, lost: 0 })
    }

    fn is_of(&self, routers: &[RouterKey]) -> bool {
        self.routers.iter().any(|key| routers.contains(key))
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.places.iter().flat_map(|place| &place.addresses).copied().collect()
    }

    /// Keeps these packets from every listener.
    fn refuse(&mut self, listeners: &[Rc<OwnedFd>], which: Which) -> io::Result<()> {
        for listener in listeners {
            filter::refuse(listener, &self.places, &which)?;
            if !self.filtered.iter().any(|known| Rc::ptr_eq(known, listener)) {
                self.filtered.push(Rc::clone(listener));
            }
        }
        if let Which::Of(marks) | Which::NotOf(marks) = &which {
            self.marks.clone_from(marks);
        }
        self.which = which;
        Ok(())
    }

    /// Refuses whatever belongs to none of `flows`; of as many as the kernel has room for.
    fn refuse_all_but(
        &mut self,
        listeners: &[Rc<OwnedFd>],
        flows: &mut Vec<Flow>,
    ) -> io::Result<()> {
        self.refuse_for(listeners, flows, Which::not_of)?;
        self.lanes.iter().try_for_each(|lane| lane.narrow(&self.which))
    }

    /// Refuses what belongs to one of `flows`; of as many as the kernel has room for.
    fn refuse_only(&mut self, listeners: &[Rc<OwnedFd>], flows: &mut Vec<Flow>) -> io::Result<()> {
        self.refuse_for(listeners, flows, Which::of)
    }

    fn refuse_for(
        &mut self,
        listeners: &[Rc<OwnedFd>],
        flows: &mut Vec<Flow>,
        which: fn(&[Flow]) -> Which,
    ) -> io::Result<()> {
        loop {
            match self.refuse(listeners, which(flows)) {
                Err(error) if filter::is_too_long(&error) && flows.len() > 1 => {
                    flows.truncate(flows.len() / 2);
                }
                outcome => return outcome,
            }
        }
    }

    /// Keeps the same packets from listeners that have come since: a packet of a connection that is
    /// the other node's must meet no socket that would reset it. Whether any came or went.
    fn follow(&mut self, listeners: &[Rc<OwnedFd>]) -> (bool, io::Result<()>) {
        // What is closed is closed: nothing of it is kept open from here.
        let before = self.filtered.len();
        self.filtered.retain(|known| listeners.iter().any(|one| Rc::ptr_eq(known, one)));
        let mut has_changed = self.filtered.len() != before;
        for listener in listeners {
            if !self.filtered.iter().any(|known| Rc::ptr_eq(known, listener)) {
                self.filtered.push(Rc::clone(listener));
                has_changed = true;
                if let Err(error) = filter::refuse(listener, &self.places, &self.which) {
                    return (has_changed, Err(error));
                }
            }
        }
        (has_changed, Ok(()))
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
        let is_old = match self.side {
            Side::Frozen => return Ok(()),
            Side::Old { .. } => true,
            Side::New => false,
        };
        let mut outcome = Ok(());
        for lane in &mut self.lanes {
            let marks = &self.marks;
            // Before the connections were listed, all packets were caught.
            let keeps = |packet: &[u8]| {
                let flow = packet::flow(packet);
                let is_theirs = flow.is_some_and(|flow| marks.binary_search(&flow.mark()).is_ok());
                is_old != is_theirs
            };
            match lane.pass(now, network, events, keeps) {
                Ok(passed) => self.lost += passed.lost,
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }
}

impl Running {
    /// A planned move, at the old node.
    pub(super) fn freeze(&mut self, now: Instant, routers: Vec<RouterKey>) {
        self.stop_passing();
        let flows = self.links(routers.iter().map(|key| (*key, None))).and_then(|links| {
            self.passing.freeze(routers, &links).map_err(|error| error.to_string())
        });
        let flows = flows.map(|(flows, cut)| {
            self.note_cut(flows.len(), cut);
            flows
        });
        self.feed(now, Input::Frozen { flows });
    }

    /// The successor has the addresses: this node has them no more, as far as others can see.
    pub(super) fn pass_on(
        &mut self,
        now: Instant,
        routers: &[(RouterKey, IpAddr)],
        within: Duration,
    ) {
        let to = routers.iter().map(|(key, to)| (*key, Some(*to)));
        let outcome = self.links(to).and_then(|links| self.hide(now, &links, within));
        if let Err(why) = outcome {
            self.note_unpassed(&why);
        }
        self.pass(now);
    }

    fn hide(&mut self, now: Instant, links: &[Link], within: Duration) -> Result<(), String> {
        let Some(work) = &mut self.passing.work else { return Ok(()) };
        for lane in &mut work.lanes {
            let link = links.iter().find(|link| link.place.interface == lane.place.interface);
            lane.to = link.and_then(|link| link.to);
        }
        let (veil, planned) = Veil::new(links);
        work.side = Side::Old { veil, look_at: now, look_every: LOOK_EVERY };
        self.passing.retreat = Some(Retreat { addresses: work.addresses(), within });
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
        match outcome {
            Ok(cut) => self.note_cut(flows.len() - cut, cut),
            Err(why) => self.note_unpassed(&why),
        }
        if !self.make_ready(now, routers.iter().map(|(key, _)| *key)) {
            self.note_unpassed("the kernel has put new addresses into no route yet");
        }
        self.pass(now);
    }

    /// Nothing is passed on any more.
    pub(super) fn pass_none(&mut self, routers: &[RouterKey]) {
        if self.passing.work.as_ref().is_some_and(|work| work.is_of(routers)) {
            self.stop_passing();
        }
    }

    /// Ends whatever is under way.
    pub(super) fn stop_passing(&mut self) {
        self.problems.remove(PROBLEM);
        let Some(mut work) = self.passing.work.take() else { return };
        self.passing.changes += 1;
        work.undo();
        for lane in &mut work.lanes {
            // The watcher has it too, so that it is not closed for good here.
            lane.forget(self.events.as_fd());
        }
        let lost =
            work.lanes.iter().map(Lane::take_overflow).fold(work.lost, usize::saturating_add);
        if lost > 0 {
            let why = format!("{lost} packets were lost on the way to the other node");
            self.note(Severity::Warn, "vip_move_lossy", "node".to_owned(), why);
        }
        let Side::Old { veil, .. } = work.side else { return };
        if let Err(error) = veil.take_off(&self.network) {
            self.note_unpassed(&error.to_string());
        }
        self.passing.retreat = Some(Retreat { addresses: Vec::new(), within: Duration::ZERO });
    }

    /// Passes on what is caught, and looks whether that is still needed.
    pub(super) fn pass(&mut self, now: Instant) {
        let Self { passing, network, events, .. } = self;
        let Passing { work: Some(work), listeners, changes, .. } = passing else { return };
        let (has_changed, followed) = work.follow(listeners);
        *changes += u64::from(has_changed);
        if let Err(error) = work.pass(now, network, events.as_fd()).and(followed) {
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
        self.problems.insert(PROBLEM.to_owned(), format!("packets were not passed on: {why}"));
        self.telling.mark();
    }

    fn note_cut(&mut self, kept: usize, cut: usize) {
        if cut > 0 {
            let why = format!(
                "{cut} open connections are cut by the move, {kept} are kept: more than {FLOWS_MAX}, \
                 or than net.core.optmem_max has room for, cannot be passed on"
            );
            self.note(Severity::Warn, "vip_move_cut", "node".to_owned(), why);
        }
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
                name: name.clone(),
                mac,
                place: Place { interface: found.index, addresses: Vec::new() },
                to: None,
            });
            link.place.addresses.extend(vip.addresses().iter().map(|(ip, _)| *ip));
            link.to = link.to.or(to);
        }
        Ok(links.into_values().collect())
    }
}
