//! The frames that say where an address is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ALL_NODES;
use crate::mac::Mac;

/// Bytes of an Ethernet head: to whom, from whom, what.
pub(super) const ETHERNET_BYTES: usize = 14;
/// Bytes of an IPv6 head.
pub(super) const IPV6_BYTES: usize = 40;
/// Neighbour advertisement (RFC 4861 section 4.4).
pub(super) const ADVERTISEMENT: u8 = 136;
/// ICMP for IPv6.
pub(super) const ICMPV6: u8 = 58;

/// Shortest payload of Ethernet; shorter ones are filled up, lest an interface sends what is left in
/// its buffers.
const PAYLOAD_BYTES_MIN: usize = 46;
/// The group of Ethernet that every node of IPv6 belongs to (RFC 2464 section 7).
const ALL_NODES_MAC: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);
/// Not forwarded by anybody since.
const HOP_LIMIT: u8 = 255;
/// Internetwork control.
const TRAFFIC_CLASS: u8 = 0xc0;
/// The target's link-layer address (RFC 4861 section 4.6.1), one unit of eight bytes.
const TARGET_OPTION: [u8; 2] = [2, 1];

/// Whether a node is a router (RFC 4861 section 4.4, flag R).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Forwarding {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// A frame, ready to be sent by [`super::Announcer`] any number of times.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    /// Says to everybody on the link that `address` is at `mac` (RFC 9568 section 8.1.2 and 8.2.2).
    /// `forwarding` is of interest for IPv6 only: see [`super::is_forwarding`].
    pub fn announcement(address: IpAddr, mac: Mac, forwarding: Forwarding) -> Self {
        match address {
            IpAddr::V4(address) => Self::arp(address, mac),
            IpAddr::V6(address) => Self::advertisement(address, mac, forwarding),
        }
    }

    /// The bytes, from the Ethernet head on.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What is in it.
    pub(super) fn protocol(&self) -> u16 {
        u16::from_be_bytes([self.bytes[12], self.bytes[13]])
    }

    /// A request of ARP for one's own address (RFC 5227 section 2.3 and 3): understood by what
    /// ignores answers that it has not asked for.
    fn arp(address: Ipv4Addr, mac: Mac) -> Self {
        let mut bytes = ethernet(Mac::BROADCAST, mac, libc::ETH_P_ARP);
        // Ethernet, IPv4, the lengths of their addresses, a request.
        bytes.extend([0, 1, 8, 0, 6, 4, 0, 1]);
        bytes.extend(mac.0);
        bytes.extend(address.octets());
        // Nothing that anybody should look at; keepalived has the same here.
        bytes.extend(Mac::BROADCAST.0);
        bytes.extend(address.octets());
        bytes.resize(ETHERNET_BYTES + PAYLOAD_BYTES_MIN, 0);
        Self { bytes }
    }

    /// An advertisement that nobody asked for, to every node (RFC 4861 section 7.2.6).
    fn advertisement(address: Ipv6Addr, mac: Mac, forwarding: Forwarding) -> Self {
        // Override: replaces what is known. Not solicited.
        let mut flags = 0x20;
        if forwarding == Forwarding::Yes {
            flags |= 0x80;
        }
        let mut message = vec![ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
        message.extend(address.octets());
        message.extend(TARGET_OPTION);
        message.extend(mac.0);
        let checksum = checksum(address, ALL_NODES, &message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());

        let mut bytes = ethernet(ALL_NODES_MAC, mac, libc::ETH_P_IPV6);
        bytes.extend([0x60 | TRAFFIC_CLASS >> 4, TRAFFIC_CLASS << 4, 0, 0]);
        bytes.extend((message.len() as u16).to_be_bytes());
        bytes.extend([ICMPV6, HOP_LIMIT]);
        bytes.extend(address.octets());
        bytes.extend(ALL_NODES.octets());
        bytes.extend(message);
        Self { bytes }
    }
}

fn ethernet(to: Mac, from: Mac, protocol: i32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ETHERNET_BYTES + IPV6_BYTES + 32);
    bytes.extend(to.0);
    bytes.extend(from.0);
    // Both that are used are of 16 bits.
    bytes.extend((protocol as u16).to_be_bytes());
    bytes
}

/// Of a message of ICMPv6, with its pseudo-header (RFC 8200 section 8.1). Of one whose checksum is
/// in place it is 0.
pub(super) fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let length = (message.len() as u32).to_be_bytes();
    let (source, destination) = (source.octets(), destination.octets());
    let parts = [&source[..], &destination, &length, &[0, 0, 0, ICMPV6], message];
    let pairs = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 = pairs
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn an_announcement_of_ipv4_is_a_request_for_oneself() {
        let address = "10.77.0.100".parse().unwrap();
        let frame = Frame::announcement(address, MAC, Forwarding::Yes);
        let head = "ffffffffffff 020000000001 0806";
        let arp = "0001 0800 06 04 0001 020000000001 0a4d0064 ffffffffffff 0a4d0064";
        let expected: String = [head, arp].concat().split(' ').collect();
        assert_eq!(hex(&frame.bytes[..42]), expected);
        assert_eq!(frame.bytes.len(), 60);
        assert_eq!(frame.protocol(), 0x0806);
    }

    #[test]
    fn an_announcement_of_ipv6_overrides_and_is_not_solicited() {
        let address = "2001:db8::100".parse().unwrap();
        let frame = Frame::announcement(address, MAC, Forwarding::No);
        let head = "333300000001 020000000001 86dd";
        let ip = "6c000000 0020 3a ff 20010db8000000000000000000000100 \
                  ff020000000000000000000000000001";
        // Checksum computed by hand: 33 words, of which 3 are the flags and the option's head.
        let message = "88 00 CCCC 20000000 20010db8000000000000000000000100 02 01 020000000001";
        let own = hex(&frame.bytes[56..58]);
        let expected: String =
            [head, ip, &message.replace("CCCC", &own)].concat().split_whitespace().collect();
        assert_eq!(hex(&frame.bytes), expected);
        let IpAddr::V6(source) = address else { unreachable!("it is of IPv6") };
        assert_eq!(checksum(source, ALL_NODES, &frame.bytes[54..]), 0);
        let router = Frame::announcement(address, MAC, Forwarding::Yes);
        assert_eq!(router.bytes[58], 0xa0);
    }

    #[test]
    fn a_checksum_is_that_of_the_rfc() {
        // RFC 1071 section 3: 0001 f203 f4f5 f6f7 sums to ddf2, with what the pseudo-header adds.
        let none = Ipv6Addr::UNSPECIFIED;
        let message = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(none, none, &message), !(0xddf2 + 8 + 58));
        assert_eq!(checksum(none, none, &[0xff]), !(0xff00 + 1 + 58));
    }
}
