//! What is known of the interfaces of this machine: which there are, whether packets pass, and which
//! addresses they have.
//!
//! Names come and go; the kernel's numbers say which interface is meant.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use evergate_sys::netlink::{Address, Event, Link, Place, Scope};

/// Every interface.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    /// By number.
    links: BTreeMap<u32, Link>,
    /// In the kernel's order: what was there first has precedence.
    addresses: Vec<Address>,
}

impl Interfaces {
    /// All there is.
    pub(super) fn new(links: Vec<Link>, addresses: Vec<Address>) -> Self {
        let links = links.into_iter().map(|link| (link.index, link)).collect();
        Self { links, addresses }
    }

    /// Takes in a change.
    pub(super) fn change(&mut self, event: Event) {
        match event {
            Event::Link(link) => drop(self.links.insert(link.index, link)),
            Event::LinkGone(link) => {
                self.links.remove(&link.index);
                self.addresses.retain(|address| address.interface != link.index);
            }
            Event::Address(address, _) => self.add(address),
            Event::AddressGone(address, _) => {
                self.remove(address.interface, address.ip, address.prefix);
            }
            Event::Missed => {}
        }
    }

    fn add(&mut self, address: Address) {
        let is_same = |known: &&mut Address| {
            (known.interface, known.ip, known.prefix)
                == (address.interface, address.ip, address.prefix)
        };
        match self.addresses.iter_mut().find(is_same) {
            Some(known) => *known = address,
            None => self.addresses.push(address),
        }
    }

    /// Takes in that an address was put somewhere, before the kernel tells of it.
    pub(super) fn expect(&mut self, place: &Place) {
        let &Place { interface, ip, prefix } = place;
        self.add(Address {
            interface,
            ip,
            prefix,
            scope: Scope::Global,
            is_secondary: false,
            is_tentative: false,
            is_duplicate: false,
            is_marked: true,
        });
    }

    /// Takes in that an address is gone.
    pub(super) fn remove(&mut self, interface: u32, ip: IpAddr, prefix: u8) {
        self.addresses
            .retain(|known| (known.interface, known.ip, known.prefix) != (interface, ip, prefix));
    }

    /// The interface with this name.
    pub(super) fn find(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name)
    }

    /// The interface with this number.
    pub(super) fn get(&self, number: u32) -> Option<&Link> {
        self.links.get(&number)
    }

    /// Every address of every interface.
    pub(super) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Whether an interface has an address, whatever its prefix.
    pub(super) fn has(&self, interface: u32, ip: IpAddr) -> bool {
        self.addresses.iter().any(|known| known.interface == interface && known.ip == ip)
    }

    /// Why nothing can be sent or heard on the interface with this name, if it cannot.
    pub(super) fn failure(&self, name: &str) -> Option<String> {
        match self.find(name) {
            None => Some(format!("there is no interface {name}")),
            Some(link) if !link.is_up => Some(format!("interface {name} is down")),
            Some(link) if !link.has_carrier => Some(format!("interface {name} has no carrier")),
            Some(_) => None,
        }
    }

    /// The address that adverts are sent from: the primary IPv4 address, or the link-local IPv6
    /// one, but none that comes and goes (`virtual_ones`).
    pub(super) fn source(
        &self,
        name: &str,
        is_ipv6: bool,
        virtual_ones: &BTreeSet<IpAddr>,
    ) -> Result<IpAddr, String> {
        if let Some(why) = self.failure(name) {
            return Err(why);
        }
        let number = self.find(name).map(|link| link.index);
        let is_meant = |address: &&Address| match address.ip {
            IpAddr::V4(_) => !is_ipv6 && address.scope == Scope::Global,
            IpAddr::V6(ip) => is_ipv6 && ip.is_unicast_link_local(),
        };
        let own = || {
            let here = self.addresses.iter().filter(|address| Some(address.interface) == number);
            let own = here.filter(is_meant);
            own.filter(|address| !address.is_marked && !virtual_ones.contains(&address.ip))
        };
        let usable = || own().filter(|address| !address.is_tentative && !address.is_duplicate);
        let found = usable().find(|address| !address.is_secondary).or_else(|| usable().next());
        found.map(|address| address.ip).ok_or_else(|| match own().next() {
            Some(address) if address.is_duplicate => {
                format!("another machine has address {} of interface {name}", address.ip)
            }
            Some(address) => {
                format!("address {} of interface {name} cannot be used yet", address.ip)
            }
            None if is_ipv6 => format!("interface {name} has no link-local IPv6 address"),
            None => format!("interface {name} has no IPv4 address of its own"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn link(is_up: bool, has_carrier: bool) -> Link {
        Link {
            index: 7,
            name: "eth0".to_owned(),
            mac: None,
            is_up,
            has_carrier,
            is_loopback: false,
            has_neighbours: true,
            mtu: 1500,
            kind: None,
        }
    }

    fn address(text: &str, prefix: u8) -> Address {
        Address {
            interface: 7,
            ip: ip(text),
            prefix,
            scope: Scope::Global,
            is_secondary: false,
            is_tentative: false,
            is_duplicate: false,
            is_marked: false,
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let none = BTreeSet::new();
        let mut all = Interfaces::default();
        let why = |all: &Interfaces, is_ipv6| all.source("eth0", is_ipv6, &none).unwrap_err();
        assert_eq!(why(&all, false), "there is no interface eth0");
        all.change(Event::Link(link(false, false)));
        assert_eq!(why(&all, false), "interface eth0 is down");
        all.change(Event::Link(link(true, false)));
        assert_eq!(why(&all, false), "interface eth0 has no carrier");
        all.change(Event::Link(link(true, true)));
        assert_eq!(why(&all, false), "interface eth0 has no IPv4 address of its own");
        all.add(address("2001:db8::1", 64));
        assert_eq!(why(&all, true), "interface eth0 has no link-local IPv6 address");
        all.add(Address { is_tentative: true, ..address("fe80::1", 64) });
        assert_eq!(why(&all, true), "address fe80::1 of interface eth0 cannot be used yet");
        all.add(Address { is_duplicate: true, ..address("fe80::1", 64) });
        assert_eq!(why(&all, true), "another machine has address fe80::1 of interface eth0");
        all.change(Event::LinkGone(link(true, true)));
        assert_eq!(why(&all, true), "there is no interface eth0");
        assert!(all.addresses().is_empty());
    }

    #[test]
    fn adverts_are_sent_from_what_stays() {
        let mut all = Interfaces::new(vec![link(true, true)], vec![]);
        let virtual_ones = BTreeSet::from([ip("10.0.0.5"), ip("fe80::5")]);
        let source = |all: &Interfaces, is_ipv6| all.source("eth0", is_ipv6, &virtual_ones);
        all.add(address("10.0.0.5", 24));
        all.add(address("fe80::5", 64));
        all.add(Address { is_marked: true, ..address("10.0.0.6", 32) });
        assert!(source(&all, false).is_err() && source(&all, true).is_err());
        all.add(Address { is_secondary: true, ..address("10.0.0.9", 24) });
        assert_eq!(source(&all, false), Ok(ip("10.0.0.9")));
        all.add(address("10.0.0.11", 24));
        all.add(address("10.0.0.7", 24));
        all.add(address("fe80::11", 64));
        assert_eq!(source(&all, false), Ok(ip("10.0.0.11")), "the first one that is primary");
        assert_eq!(source(&all, true), Ok(ip("fe80::11")));
        all.remove(7, ip("10.0.0.11"), 32);
        assert_eq!(source(&all, false), Ok(ip("10.0.0.11")), "with another prefix it is another");
        all.remove(7, ip("10.0.0.11"), 24);
        assert_eq!(source(&all, false), Ok(ip("10.0.0.7")));
    }

    #[test]
    fn an_interface_that_was_renamed_is_known_by_its_new_name_only() {
        let mut all = Interfaces::new(vec![link(true, true)], vec![address("10.0.0.11", 24)]);
        all.change(Event::Link(Link { name: "lan".to_owned(), ..link(true, true) }));
        assert!(all.find("eth0").is_none());
        assert_eq!(all.source("lan", false, &BTreeSet::new()), Ok(ip("10.0.0.11")));
    }
}
