//! Telling the network where addresses are, and noticing who else says that it has them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use evergate_core::standby::{Input, RouterKey, Severity};
use evergate_core::time::Instant;
use evergate_sys::family::Family;
use evergate_sys::mac::Mac;
use evergate_sys::neighbour::{self, Announcer, ClaimWatch, Forwarding, Frame};
use rustix::event::epoll::{self, EventFlags};

use super::adverts::Where;
use super::{CLAIMS, Running};

/// Most claims of one interface that are read in one turn.
const CLAIMS_PER_TURN: usize = 64;

/// What is needed to speak of addresses, and to hear others do so.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    /// Made when it is needed first.
    announcer: Option<Announcer>,
    watches: BTreeMap<Where, Watch>,
    /// Counts the sockets that came and went.
    changes: u64,
}

#[derive(Debug)]
struct Watch {
    socket: ClaimWatch,
    /// Our own link-layer address, and what others must not claim.
    looks_for: Option<(Mac, Vec<IpAddr>)>,
}

impl Neighbours {
    /// Tells everybody on the link of an interface once that these addresses are at `mac`; how many
    /// that were, or why not all.
    fn announce(&mut self, interface: (u32, &str, Mac), all: &[IpAddr]) -> io::Result<()> {
        let (number, name, mac) = interface;
        let announcer = match &mut self.announcer {
            Some(announcer) => announcer,
            none => {
                self.changes += 1;
                none.insert(Announcer::open()?)
            }
        };
        let forwards = || neighbour::is_forwarding(name);
        let forwarding = all.iter().any(IpAddr::is_ipv6).then(forwards);
        for &address in all {
            let frame = Frame::announcement(address, mac, forwarding.unwrap_or(Forwarding::No));
            announcer.send(number, &frame)?;
        }
        Ok(())
    }

    /// Listens for claims of these addresses by others than these, and for no others. Returns why
    /// not, if it cannot.
    fn listen(
        &mut self,
        wanted: &BTreeMap<Where, (Mac, Vec<IpAddr>)>,
        events: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let changes = &mut self.changes;
        self.watches.retain(|place, watch| {
            let stays = wanted.contains_key(place);
            if !stays {
                *changes += 1;
                // The watcher has it too, so that it is not closed for good here.
                let _ = epoll::delete(events, &watch.socket);
            }
            stays
        });
        for (&place, looks_for) in wanted {
            let watch = match self.watches.entry(place) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(vacant) => {
                    let (interface, family) = place;
                    let socket = ClaimWatch::open(interface, family)?;
                    epoll::add(events, &socket, CLAIMS, EventFlags::IN)?;
                    self.changes += 1;
                    vacant.insert(Watch { socket, looks_for: None })
                }
            };
            if watch.looks_for.as_ref() != Some(looks_for) {
                let (own, addresses) = looks_for;
                watch.socket.look_for(*own, addresses)?;
                watch.looks_for = Some(looks_for.clone());
            }
        }
        Ok(())
    }

    /// How often a socket came or went.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Every packet socket: the kernel takes its time when the last descriptor of one is closed.
    pub(super) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let watches = self.watches.values().map(|watch| watch.socket.as_fd());
        self.announcer.iter().map(AsFd::as_fd).chain(watches)
    }

    /// What others claim: on which interface, which address, and who.
    fn hear(&self) -> Vec<(u32, IpAddr, Mac)> {
        let mut claims = Vec::new();
        for (&(interface, _), watch) in &self.watches {
            for _ in 0..CLAIMS_PER_TURN {
                match watch.socket.receive() {
                    Ok(Some(claim)) => claims.push((interface, claim.address, claim.mac)),
                    Ok(None) => break,
                    // The interface went down: that is told by others, and there may be more.
                    Err(_) => {}
                }
            }
        }
        claims
    }
}

impl Running {
    /// Tells the network once where the addresses of a virtual router are.
    pub(super) fn announce(&mut self, router: RouterKey) {
        let Some(vip) = self.vips.get_mut(&router).filter(|vip| vip.is_held()) else {
            return;
        };
        let Some(link) = self.network.interfaces().find(&vip.wish().interface) else {
            return;
        };
        // Without neighbours there is nobody to tell.
        let Some(mac) = link.mac.filter(|_| link.has_neighbours) else {
            return;
        };
        let all: Vec<IpAddr> = vip.addresses().iter().map(|&(address, _)| address).collect();
        let told = self.neighbours.announce((link.index, &link.name, mac), &all);
        match told {
            Ok(()) => vip.counts().announced += all.len() as u64,
            Err(error) => {
                let reason = format!("addresses cannot be announced: {error}");
                self.notes.push(vip.note(Severity::Warn, "vip_unannounced", reason));
            }
        }
    }

    /// Listens to whoever claims what this node holds.
    pub(super) fn watch_claims(&mut self) {
        let mut wanted: BTreeMap<Where, (Mac, Vec<IpAddr>)> = BTreeMap::new();
        for vip in self.vips.values() {
            let link = self.network.interfaces().find(&vip.wish().interface);
            let Some((link, mac)) = link.and_then(|link| Some((link, link.mac?))) else { continue };
            let place = (link.index, vip.family());
            // Also where nothing is held: the kernel takes its time when such a socket is closed.
            let (_, all) = wanted.entry(place).or_insert_with(|| (mac, Vec::new()));
            let held = vip.addresses().iter().filter(|_| vip.is_held());
            all.extend(held.map(|&(address, _)| address));
        }
        let (of, events) = ("other owners".to_owned(), std::os::fd::AsFd::as_fd(&self.events));
        match self.neighbours.listen(&wanted, events) {
            Ok(()) => drop(self.problems.remove(&of)),
            Err(error) => {
                drop(self.problems.insert(of, format!("they are not noticed: {error}")));
            }
        }
    }

    /// Takes in who claims what this node holds.
    pub(super) fn hear_claims(&mut self, now: Instant) {
        for (interface, address, who) in self.neighbours.hear() {
            let is_its = |vip: &&super::vip::Vip| {
                let link = self.network.interfaces().get(interface);
                vip.is_held()
                    && vip.family() == Family::of(address)
                    && link.is_some_and(|link| link.name == vip.wish().interface)
                    && vip.addresses().iter().any(|&(own, _)| own == address)
            };
            if let Some(router) = self.vips.values().find(is_its).map(|vip| vip.wish().key) {
                self.feed(now, Input::RivalOwner { router, who: who.to_string() });
            }
        }
    }
}
