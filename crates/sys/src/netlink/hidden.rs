//! Addresses that a node has without saying so.

use std::io;
use std::net::IpAddr;

use super::address::PROTOCOL;
use super::message::Draft;
use super::{Change, Netlink, Place};
use crate::family::Family;
use crate::sockopt;

/// The loopback interface is the first one of every network.
const LOOPBACK: u32 = 1;
/// Not in the libc crate: who put an address there (linux/if_addr.h).
const IFA_PROTO: u16 = 11;
const IFA_FLAGS: u16 = 8;

impl Netlink {
    /// Has an address on the loopback interface, meant for this host alone: packets to it are taken
    /// and connections go on, but nobody who asks on a link learns of it. IPv6 never tells; IPv4 does
    /// not where `arp_ignore` is 3, see [`crate::flow::shade`].
    pub fn hide(&self, ip: IpAddr) -> io::Result<Change> {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let (family, octets) = match ip {
            IpAddr::V4(ip) => (libc::AF_INET, ip.octets().to_vec()),
            IpAddr::V6(ip) => (libc::AF_INET6, ip.octets().to_vec()),
        };
        let mut fixed = vec![family as u8, Family::of(ip).bits(), 0, libc::RT_SCOPE_HOST];
        fixed.extend(LOOPBACK.to_ne_bytes());
        let message = Draft::new(libc::RTM_NEWADDR, flags, &fixed)
            .attribute(libc::IFA_LOCAL, &octets)
            .attribute(libc::IFA_ADDRESS, &octets)
            .attribute(IFA_PROTO, &[PROTOCOL])
            .attribute(IFA_FLAGS, &libc::IFA_F_NODAD.to_ne_bytes())
            .finish();
        self.perform(&message).map_err(sockopt::at(format_args!("cannot hide {ip}")))
    }

    /// Has a hidden address no more.
    pub fn unhide(&self, ip: IpAddr) -> io::Result<Change> {
        self.remove(&hidden(ip))
    }
}

/// Where [`Netlink::hide`] puts it.
pub fn hidden(ip: IpAddr) -> Place {
    Place { interface: LOOPBACK, ip, prefix: Family::of(ip).bits() }
}

#[cfg(test)]
mod tests {
    use super::super::Scope;
    use super::*;
    use crate::namespace::lab::alone;

    #[test]
    fn an_address_is_hidden_once_and_gone_after() {
        alone(|| {
            let netlink = Netlink::open().unwrap();
            for text in ["10.9.0.100", "fd09::100"] {
                let ip: IpAddr = text.parse().unwrap();
                assert_eq!(netlink.hide(ip).unwrap(), Change::Made);
                assert_eq!(netlink.hide(ip).unwrap(), Change::Unneeded);
                let listed = netlink.addresses().unwrap();
                let found = listed.iter().find(|address| Place::of(address) == hidden(ip)).unwrap();
                // The kernel chooses the scope of IPv6 addresses itself.
                assert!(ip.is_ipv6() || found.scope == Scope::Host);
                std::net::TcpListener::bind((ip, 0)).unwrap();
                assert_eq!(netlink.unhide(ip).unwrap(), Change::Made);
                assert_eq!(netlink.unhide(ip).unwrap(), Change::Unneeded);
            }
        });
    }
}
