//! Addresses of interfaces, and how to put one beside those that are there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::{Draft, attributes, u32_at};
use crate::datagram::first;
use crate::family::Family;

/// Marks addresses as put by Evergate, on kernels that can (5.18): a number that nobody registered
/// (linux/if_addr.h has up to 3, and lists routing protocols' numbers beside them).
pub const PROTOCOL: u8 = 230;

/// Family, length of the prefix, flags, scope, interface (`ifaddrmsg`).
const FIXED_BYTES: usize = 8;
/// Not in the libc crate: who put an address there (linux/if_addr.h).
const IFA_PROTO: u16 = 11;
/// Not in the libc crate: more flags than fit into the fixed part.
const IFA_FLAGS: u16 = 8;
/// Not in the libc crate: add no route to the prefix.
const IFA_F_NOPREFIXROUTE: u32 = 0x200;
/// Valid for ever and preferred for ever, in seconds.
const FOREVER: u32 = u32::MAX;

/// An address on an interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// Index of the interface.
    pub interface: u32,
    /// The address.
    pub ip: IpAddr,
    /// Length of its prefix.
    pub prefix: u8,
    /// Where it means something.
    pub scope: Scope,
    /// Whether it goes when the first address with its prefix goes (IPv4, unless
    /// `promote_secondaries` is set).
    pub is_secondary: bool,
    /// Whether it may not be used yet, until the network was asked whether somebody has it (IPv6).
    pub is_tentative: bool,
    /// Whether the network was asked, and somebody has it (IPv6).
    pub is_duplicate: bool,
    /// Whether Evergate put it there, as far as the kernel can tell: see [`PROTOCOL`].
    pub is_marked: bool,
}

/// Where an address means something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Everywhere, or at least beyond the link.
    Global,
    /// On its link.
    Link,
    /// On this machine.
    Host,
}

impl Address {
    /// Reads a message without its head.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let &[family, prefix, short_flags, scope, ..] = body else { return None };
        let (mut peer, mut local, mut flags, mut protocol) =
            (None, None, u32::from(short_flags), 0);
        for (kind, data) in attributes(body.get(FIXED_BYTES..)?) {
            match kind {
                libc::IFA_ADDRESS => peer = ip(family, data),
                libc::IFA_LOCAL => local = ip(family, data),
                IFA_FLAGS => flags = u32_at(data, 0)?,
                IFA_PROTO => protocol = *data.first()?,
                _ => {}
            }
        }
        Some(Self {
            interface: u32_at(body, 4)?,
            // Of a line with two ends, the far one is said to be the address.
            ip: local.or(peer)?,
            prefix,
            scope: match scope {
                libc::RT_SCOPE_HOST | libc::RT_SCOPE_NOWHERE => Scope::Host,
                libc::RT_SCOPE_LINK => Scope::Link,
                _ => Scope::Global,
            },
            is_secondary: flags & libc::IFA_F_SECONDARY != 0,
            is_tentative: flags & libc::IFA_F_TENTATIVE != 0 && flags & libc::IFA_F_OPTIMISTIC == 0,
            is_duplicate: flags & libc::IFA_F_DADFAILED != 0,
            is_marked: protocol == PROTOCOL,
        })
    }

    /// Whether `other` has the same prefix.
    fn covers(&self, other: IpAddr) -> bool {
        match (self.ip, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// An address to be put on an interface, or to be removed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Place {
    /// Index of the interface.
    pub interface: u32,
    /// The address.
    pub ip: IpAddr,
    /// Length of its prefix.
    pub prefix: u8,
}

impl Place {
    /// How `ip`, said to be in a network with this prefix, is best put on an interface that has
    /// `present` already.
    ///
    /// With a prefix of its own alone if another address of the interface is in the same network. That
    /// one brings the route; and neither hangs on the other then. With the network's prefix, an
    /// IPv4 address is removed by the kernel when the first one with this prefix is removed, such as by
    /// a DHCP client that begins anew; and the other way round, the machine's own address would go
    /// with ours. Otherwise with the network's prefix, and the route to it.
    pub fn among(present: &[Address], interface: u32, ip: IpAddr, prefix: u8) -> Self {
        let is_covered = present.iter().any(|address| {
            // One of ours may go at any time.
            address.interface == interface && address.ip != ip && !address.is_marked
                // A host alone covers nothing but itself.
                && address.prefix < Family::of(ip).bits() && address.covers(ip)
        });
        let prefix = if is_covered { Family::of(ip).bits() } else { prefix };
        Self { interface, ip, prefix }
    }

    /// Where an address is.
    pub fn of(address: &Address) -> Self {
        Self { interface: address.interface, ip: address.ip, prefix: address.prefix }
    }

    /// The message that puts it there.
    ///
    /// IPv6: nobody is asked whether it is free (`IFA_F_NODAD`), as it may still be somebody's
    /// while it moves. And no new connection is made from it while there is another address
    /// (deprecated, RFC 4862 section 5.5.4): it may not stay. IPv4 has no such thing and needs none, as
    /// routes say which address to use.
    pub(super) fn addition(&self) -> Vec<u8> {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let draft = self.draft(libc::RTM_NEWADDR, flags).attribute(IFA_PROTO, &[PROTOCOL]);
        let is_alone = self.prefix == Family::of(self.ip).bits();
        let route = if is_alone { IFA_F_NOPREFIXROUTE } else { 0 };
        match self.ip {
            IpAddr::V4(_) => draft.attribute(IFA_FLAGS, &route.to_ne_bytes()),
            IpAddr::V6(_) => {
                let [preferred, valid, created, updated] = [0, FOREVER, 0, 0].map(u32::to_ne_bytes);
                draft
                    .attribute(IFA_FLAGS, &(route | libc::IFA_F_NODAD).to_ne_bytes())
                    .attribute(libc::IFA_CACHEINFO, &[preferred, valid, created, updated].concat())
            }
        }
        .finish()
    }

    /// The message that removes it, for [`super::Netlink::perform`]: by this process or another, now
    /// or later.
    pub fn removal(&self) -> Vec<u8> {
        self.draft(libc::RTM_DELADDR, libc::NLM_F_REQUEST | libc::NLM_F_ACK).finish()
    }

    /// Interface and address: the prefix too, so that what is removed is what was put.
    fn draft(&self, kind: u16, flags: i32) -> Draft {
        let family = match Family::of(self.ip) {
            Family::V4 => libc::AF_INET,
            Family::V6 => libc::AF_INET6,
        };
        let mut fixed = vec![family as u8, self.prefix, 0, libc::RT_SCOPE_UNIVERSE];
        fixed.extend(self.interface.to_ne_bytes());
        let octets = match self.ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        Draft::new(kind, flags, &fixed)
            .attribute(libc::IFA_LOCAL, &octets)
            .attribute(libc::IFA_ADDRESS, &octets)
    }
}

fn ip(family: u8, data: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::from_octets(first(data)?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from_octets(first(data)?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str, prefix: u8) -> Address {
        Address {
            interface: 3,
            ip: text.parse().unwrap(),
            prefix,
            scope: Scope::Global,
            is_secondary: false,
            is_tentative: false,
            is_duplicate: false,
            is_marked: false,
        }
    }

    #[test]
    fn an_address_beside_another_of_its_network_stands_alone() {
        let place = |present: &[Address], ip: &str, prefix| {
            Place::among(present, 3, ip.parse().unwrap(), prefix).prefix
        };
        let own = [address("10.77.0.11", 24), address("2001:db8::11", 64)];
        assert_eq!(place(&own, "10.77.0.100", 24), 32);
        assert_eq!(place(&own, "10.77.1.100", 24), 24);
        assert_eq!(place(&own, "2001:db8::100", 64), 128);
        assert_eq!(place(&own, "2001:db8:1::100", 64), 64);
        assert_eq!(place(&[address("10.77.0.11", 0)], "1.2.3.4", 24), 32);
        // None of these brings a route that stays.
        let marked = Address { is_marked: true, ..address("10.77.0.99", 24) };
        let elsewhere = Address { interface: 4, ..address("10.77.0.11", 24) };
        let others = [marked, elsewhere, address("10.77.0.100", 24), address("10.77.0.100", 32)];
        assert_eq!(place(&others, "10.77.0.100", 24), 24);
    }

    #[test]
    fn what_is_no_address_is_not_read() {
        let whole = Place::of(&address("10.77.0.11", 24)).addition();
        let body = &whole[16..];
        assert_eq!(
            Address::read(body).unwrap(),
            Address { is_marked: true, ..address("10.77.0.11", 24) }
        );
        for length in 0..16 {
            assert_eq!(Address::read(&body[..length]), None);
        }
        let mut other = body.to_vec();
        other[0] = libc::AF_PACKET as u8;
        assert_eq!(Address::read(&other), None);
    }
}
