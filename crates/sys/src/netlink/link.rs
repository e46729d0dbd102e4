//! Interfaces, as the kernel describes them.

use super::message::{attributes, text, u16_at, u32_at};
use crate::mac::Mac;

/// Family, padding, type, index, flags, changes (`ifinfomsg`).
const FIXED_BYTES: usize = 16;

/// A network interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// Its number, which no other one has until the machine starts again.
    pub index: u32,
    /// Its name, which may change.
    pub name: String,
    /// Its own address, if it is Ethernet or looks like it.
    pub mac: Option<Mac>,
    /// Whether it is switched on.
    pub is_up: bool,
    /// Whether it is on, something is at the other end, and packets can be sent.
    pub has_carrier: bool,
    /// Whether it leads back to this machine only.
    pub is_loopback: bool,
    /// Whether neighbours are asked for by ARP or neighbour discovery.
    pub has_neighbours: bool,
    /// Longest packet, in bytes.
    pub mtu: u32,
    /// What it is if no hardware: `veth`, `bridge`, `vlan`, `macvlan`, `bond` …
    pub kind: Option<String>,
}

impl Link {
    /// Reads a message without its head.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let flags = u32_at(body, 8)? as i32;
        let is_ethernet = u16_at(body, 2)? == libc::ARPHRD_ETHER;
        let running = libc::IFF_RUNNING | libc::IFF_LOWER_UP;
        let mut link = Self {
            index: u32_at(body, 4)?,
            name: String::new(),
            mac: None,
            is_up: flags & libc::IFF_UP != 0,
            has_carrier: flags & running == running,
            is_loopback: flags & libc::IFF_LOOPBACK != 0,
            has_neighbours: is_ethernet && flags & libc::IFF_NOARP == 0,
            mtu: 0,
            kind: None,
        };
        for (kind, data) in attributes(body.get(FIXED_BYTES..)?) {
            match kind {
                libc::IFLA_IFNAME => link.name = text(data),
                libc::IFLA_ADDRESS if is_ethernet => {
                    link.mac = data.try_into().ok().map(Mac);
                }
                libc::IFLA_MTU => link.mtu = u32_at(data, 0)?,
                libc::IFLA_LINKINFO => {
                    link.kind = attributes(data).find_map(|(kind, data)| {
                        (kind == libc::IFLA_INFO_KIND).then(|| text(data))
                    });
                }
                _ => {}
            }
        }
        Some(link)
    }
}
