//! Addresses that a node has without saying so.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::address::{Address, PROTOCOL};
use super::message::{Draft, attributes};
use super::{ADDRESSES_MAX, Change, Netlink, Place};
use crate::family::Family;
use crate::flow::shade::Manners;
use crate::sockopt;

/// The loopback interface is the first one of every network.
const LOOPBACK: u32 = 1;
/// Where the attributes of a message begin.
const FIXED_BYTES: usize = 8;
/// Not in the libc crate: who put an address there (linux/if_addr.h).
const IFA_PROTO: u16 = 11;
const IFA_FLAGS: u16 = 8;
/// Longest label (`IFNAMSIZ`, without the byte at its end).
const LABEL_BYTES_MAX: usize = 15;

/// An address that is hidden.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hidden {
    /// The address.
    pub ip: IpAddr,
    /// Number of the interface that does not tell of it, and the manners that it had before.
    pub shaded: Option<(u32, Manners)>,
}

impl Netlink {
    /// Has an address on the loopback interface, meant for this host alone: packets to it are taken
    /// and connections go on, but nobody who asks on a link learns of it. IPv6 never tells; IPv4 does
    /// not on an interface that is `shaded` ([`crate::flow::shade`]).
    ///
    /// Which one that is and how it was is written into the label of the address, so that whoever
    /// removes it knows how to undo the rest, also if that is a process that knows nothing else.
    ///
    /// One of IPv6 can be reached only a moment later: see [`Self::await_hidden`].
    pub fn hide(&self, hidden: Hidden) -> io::Result<Change> {
        let Hidden { ip, shaded } = hidden;
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let (family, octets) = match ip {
            IpAddr::V4(ip) => (libc::AF_INET, ip.octets().to_vec()),
            IpAddr::V6(ip) => (libc::AF_INET6, ip.octets().to_vec()),
        };
        let mut fixed = vec![family as u8, Family::of(ip).bits(), 0, libc::RT_SCOPE_HOST];
        fixed.extend(LOOPBACK.to_ne_bytes());
        let draft = Draft::new(libc::RTM_NEWADDR, flags, &fixed)
            .attribute(libc::IFA_LOCAL, &octets)
            .attribute(libc::IFA_ADDRESS, &octets)
            .attribute(IFA_PROTO, &[PROTOCOL])
            .attribute(IFA_FLAGS, &libc::IFA_F_NODAD.to_ne_bytes());
        let message = match label(shaded) {
            Some(label) if ip.is_ipv4() => draft.attribute(libc::IFA_LABEL, label.as_bytes()),
            Some(_) | None => draft,
        };
        self.perform(&message.finish()).map_err(sockopt::at(format_args!("cannot hide {ip}")))
    }

    /// Waits until the kernel takes packets to all of these addresses, which are hidden, for its own,
    /// but no longer than `within`; whether it does.
    pub fn await_hidden(&self, addresses: &[IpAddr], within: Duration) -> io::Result<bool> {
        let finished_later = addresses.iter().filter_map(|ip| match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Some((LOOPBACK, *ip)),
        });
        self.await_local(&finished_later.collect::<Vec<_>>(), within)
    }

    /// Has a hidden address no more.
    pub fn unhide(&self, ip: IpAddr) -> io::Result<Change> {
        self.remove(&place(ip))
    }

    /// Every address that is hidden.
    pub fn hidden(&self) -> io::Result<Vec<Hidden>> {
        self.list((libc::RTM_GETADDR, libc::RTM_NEWADDR), &[0; 8], ADDRESSES_MAX, Hidden::read)
            .map_err(sockopt::at("cannot list addresses"))
    }
}

impl Hidden {
    /// Reads a message without its head; nothing if it is of another address.
    fn read(body: &[u8]) -> Option<Self> {
        let address = Address::read(body)?;
        if Place::of(&address) != place(address.ip) {
            return None;
        }
        let label = attributes(body.get(FIXED_BYTES..)?).find(|(kind, _)| *kind == libc::IFA_LABEL);
        let shaded = label.and_then(|(_, label)| unlabel(label));
        (address.is_marked || shaded.is_some()).then_some(Self { ip: address.ip, shaded })
    }
}

/// Where an address is hidden.
fn place(ip: IpAddr) -> Place {
    Place { interface: LOOPBACK, ip, prefix: Family::of(ip).bits() }
}

/// `lo:INTERFACE.IGNORE.ANNOUNCE`, with a zero byte at its end; nothing if that is too long, which it
/// is on no machine that was ever seen.
fn label(shaded: Option<(u32, Manners)>) -> Option<String> {
    let (interface, Manners { ignore, announce }) = shaded?;
    let label = format!("lo:{interface}.{ignore}.{announce}");
    (label.len() <= LABEL_BYTES_MAX).then(|| label + "\0")
}

fn unlabel(label: &[u8]) -> Option<(u32, Manners)> {
    let label = label.strip_suffix(b"\0").unwrap_or(label);
    let mut numbers = std::str::from_utf8(label).ok()?.strip_prefix("lo:")?.split('.');
    let interface = numbers.next()?.parse().ok()?;
    let (ignore, announce) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    numbers.next().is_none().then_some((interface, Manners { ignore, announce }))
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
            let shaded = Some((7, Manners { ignore: 1, announce: 2 }));
            for (text, found) in [("10.9.0.100", shaded), ("10.9.0.101", None), ("fd09::100", None)]
            {
                let ip: IpAddr = text.parse().unwrap();
                let hidden = Hidden { ip, shaded: found };
                assert_eq!(netlink.hide(hidden).unwrap(), Change::Made);
                assert_eq!(netlink.hide(hidden).unwrap(), Change::Unneeded);
                let listed = netlink.addresses().unwrap();
                let there = listed.iter().find(|one| Place::of(one) == place(ip)).unwrap();
                // The kernel chooses the scope of IPv6 addresses itself.
                assert!(ip.is_ipv6() || there.scope == Scope::Host);
                if there.is_marked || found.is_some() {
                    assert_eq!(netlink.hidden().unwrap(), [hidden]);
                }
                assert!(netlink.await_hidden(&[ip], Duration::from_secs(60)).unwrap());
                let listener = std::net::TcpListener::bind((ip, 0)).unwrap();
                std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                assert_eq!(netlink.unhide(ip).unwrap(), Change::Made);
                assert_eq!(netlink.unhide(ip).unwrap(), Change::Unneeded);
                assert_eq!(netlink.hidden().unwrap(), []);
            }
        });
    }

    #[test]
    fn a_label_says_what_was_set_before_and_others_say_nothing() {
        for shaded in [(2, 0, 0), (1_234_567, 8, 2)] {
            let shaded = (shaded.0, Manners { ignore: shaded.1, announce: shaded.2 });
            assert_eq!(unlabel(label(Some(shaded)).unwrap().as_bytes()), Some(shaded));
        }
        assert_eq!(label(Some((u32::MAX, Manners { ignore: 255, announce: 255 }))), None);
        for other in ["lo", "lo:", "lo:1", "lo:1.2", "lo:1.2.3.4", "lo:a.b.c", "eth0:1.2.3"] {
            assert_eq!(unlabel(other.as_bytes()), None, "{other}");
        }
    }
}
