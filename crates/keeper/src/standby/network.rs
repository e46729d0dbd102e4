//! The kernel's view of interfaces and addresses: what there is, what changes, and who did that.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use evergate_sys::mac::Mac;
use evergate_sys::netlink::{Author, Change, Event, Hidden, Monitor, Netlink, Place};
use rustix::event::epoll::{self, EventFlags};

use super::NETWORK;
use super::addresses::Spot;
use super::interface::Interfaces;

/// Most changes that are read in one turn.
const CHANGES_PER_TURN: usize = 1024;

/// How long the keeper waits, at most, until the kernel has finished addresses of IPv6 that were put.
/// As a rule it takes less than 0.1 ms. What is announced before can cost each client a second: the
/// first packet of a connection is thrown away.
const FINISHED_WITHIN: Duration = Duration::from_millis(5);

/// Interfaces and addresses.
#[derive(Debug)]
pub(super) struct Network {
    monitor: Monitor,
    netlink: Netlink,
    interfaces: Interfaces,
    /// Addresses that others have removed, by interface and address, and who.
    removed: BTreeMap<(u32, IpAddr), Author>,
    /// Addresses that others have added, and who.
    added: BTreeMap<(u32, IpAddr), Author>,
}

impl Network {
    /// All there is at the moment. Needs no rights.
    pub(super) fn open(events: BorrowedFd<'_>) -> io::Result<Self> {
        // In this order, or a change between the two is missed.
        let (monitor, netlink) = (Monitor::open()?, Netlink::open()?);
        epoll::add(events, &monitor, NETWORK, EventFlags::IN)?;
        let interfaces = look(&netlink)?;
        let (removed, added) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { monitor, netlink, interfaces, removed, added })
    }

    /// What there is.
    pub(super) fn interfaces(&self) -> &Interfaces {
        &self.interfaces
    }

    /// Takes in what has changed; whether anything has. An error is lasting.
    pub(super) fn hear(&mut self) -> io::Result<bool> {
        let mut has_changed = false;
        for _ in 0..CHANGES_PER_TURN {
            let Some(event) = self.monitor.receive()? else { break };
            has_changed = true;
            match &event {
                Event::AddressGone(address, author) if *author != self.netlink.author() => {
                    self.removed.insert((address.interface, address.ip), *author);
                }
                Event::Address(address, author) if *author != self.netlink.author() => {
                    if !self.interfaces.has(address.interface, address.ip) {
                        self.added.insert((address.interface, address.ip), *author);
                    }
                }
                Event::Missed => self.interfaces = look(&self.netlink)?,
                Event::AddressGone(..)
                | Event::Address(..)
                | Event::Link(_)
                | Event::LinkGone(_) => {}
            }
            self.interfaces.change(event);
        }
        Ok(has_changed)
    }

    /// Who has removed addresses since the last call, and who has added some.
    pub(super) fn take_authors(&mut self) -> [BTreeMap<(u32, IpAddr), Author>; 2] {
        [std::mem::take(&mut self.removed), std::mem::take(&mut self.added)]
    }

    /// Puts an address that is in a network with this prefix on an interface; how, and whether it
    /// was not there before.
    pub(super) fn add(&mut self, interface: u32, ip: IpAddr, prefix: u8) -> io::Result<(u8, bool)> {
        let place = Place::among(self.interfaces.addresses(), interface, ip, prefix);
        let change = self.netlink.put(&place)?;
        // The kernel tells of an IPv6 address only a little later.
        self.interfaces.expect(&place);
        Ok((place.prefix, change == Change::Made))
    }

    /// Waits until addresses that were just added can be reached; whether they can. What cannot by then
    /// is left to itself: it is announced more than once.
    pub(super) fn finish(&self, added: &[Spot]) -> bool {
        let finished_later = added.iter().filter_map(|&(interface, ip)| match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Some((interface, ip)),
        });
        let spots: Vec<_> = finished_later.collect();
        spots.is_empty() || self.netlink.await_local(&spots, FINISHED_WITHIN).unwrap_or(false)
    }

    /// Has an address without telling anybody.
    pub(super) fn hide(&self, hidden: Hidden) -> io::Result<()> {
        self.netlink.hide(hidden).map(drop)
    }

    /// Waits until addresses that were just hidden can be reached from here; what cannot by then is
    /// left to itself.
    pub(super) fn finish_hidden(&self, addresses: &[IpAddr]) {
        let _ = self.netlink.await_hidden(addresses, FINISHED_WITHIN);
    }

    /// Every address that this machine has without telling anybody.
    pub(super) fn hidden(&self) -> io::Result<Vec<Hidden>> {
        self.netlink.hidden()
    }

    /// Has a hidden address no more.
    pub(super) fn unhide(&self, ip: IpAddr) -> io::Result<()> {
        self.netlink.unhide(ip).map(drop)
    }

    /// Who has an address on the link of an interface, if the kernel knows.
    pub(super) fn neighbour(&self, interface: u32, ip: IpAddr) -> io::Result<Option<Mac>> {
        self.netlink.neighbour(interface, ip)
    }

    /// Removes an address from an interface.
    pub(super) fn remove(&mut self, interface: u32, ip: IpAddr, prefix: u8) -> io::Result<()> {
        self.netlink.remove(&Place { interface, ip, prefix })?;
        self.interfaces.remove(interface, ip, prefix);
        Ok(())
    }
}

impl AsFd for Network {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.monitor.as_fd()
    }
}

fn look(netlink: &Netlink) -> io::Result<Interfaces> {
    Ok(Interfaces::new(netlink.links()?, netlink.addresses()?))
}
