//! Whose connection a packet belongs to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use evergate_core::handover::Flow;

use crate::datagram::first;

/// The connection of a TCP packet that came from a client, from its network header on; nothing if it
/// is no such packet.
pub fn flow(packet: &[u8]) -> Option<Flow> {
    let (client, local, rest): (IpAddr, IpAddr, _) = match packet.first()? >> 4 {
        4 => {
            let length = usize::from(packet[0] & 0x0f) * 4;
            let fragment = u16::from_be_bytes(first(packet.get(6..)?)?) & 0x1fff;
            if *packet.get(9)? != libc::IPPROTO_TCP as u8 || fragment != 0 {
                return None;
            }
            let address = |at: usize| Some(Ipv4Addr::from_octets(first(packet.get(at..)?)?).into());
            (address(12)?, address(16)?, packet.get(length..)?)
        }
        6 => {
            if *packet.get(6)? != libc::IPPROTO_TCP as u8 {
                return None;
            }
            let address = |at: usize| Some(Ipv6Addr::from_octets(first(packet.get(at..)?)?).into());
            (address(8)?, address(24)?, packet.get(40..)?)
        }
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(first(rest.get(at..)?)?));
    Some(Flow { client, client_port: port(0)?, local, local_port: port(2)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(header_words: u8) -> Vec<u8> {
        let mut packet = vec![0; usize::from(header_words) * 4];
        (packet[0], packet[9]) = (0x40 | header_words, 6);
        packet[12..20].copy_from_slice(&[10, 9, 0, 1, 10, 9, 0, 100]);
        packet.extend([0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 0]);
        packet
    }

    #[test]
    fn the_connection_is_read_behind_any_header() {
        let wanted = Flow {
            client: Ipv4Addr::new(10, 9, 0, 1).into(),
            client_port: 40_000,
            local: Ipv4Addr::new(10, 9, 0, 100).into(),
            local_port: 443,
        };
        assert_eq!(flow(&ipv4(5)), Some(wanted));
        assert_eq!(flow(&ipv4(15)), Some(wanted));
        let mut ipv6 = vec![0; 44];
        (ipv6[0], ipv6[6], ipv6[23], ipv6[39]) = (0x60, 6, 1, 2);
        ipv6[40..].copy_from_slice(&[0x9c, 0x40, 0x01, 0xbb]);
        let found = flow(&ipv6).unwrap();
        assert_eq!(
            (found.client.to_string(), found.local.to_string()),
            ("::1".into(), "::2".into())
        );
        assert_eq!((found.client_port, found.local_port), (40_000, 443));
    }

    #[test]
    fn what_is_no_packet_of_tcp_has_no_connection() {
        let whole = ipv4(5);
        (0..24).for_each(|length| assert_eq!(flow(&whole[..length]), None));
        for (at, value) in [(0, 0x50), (9, 17), (7, 1)] {
            let mut other = whole.clone();
            other[at] = value;
            assert_eq!(flow(&other), None);
        }
    }
}
