//! Telling a link where an address is, and noticing who else claims it: ARP (RFC 826, RFC 5227) and
//! neighbour discovery (RFC 4861).
//!
//! Both go by whole frames (packet(7)), because the system's own ARP cannot be asked to speak, and
//! frames can be made before the moment when they are needed.

mod frame;
mod watch;

use std::io;
use std::net::Ipv6Addr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

pub use self::frame::{Forwarding, Frame};
pub use self::watch::{ADDRESSES_MAX, Claim, ClaimWatch, Manner};
use crate::datagram::{self, Address, Control};
use crate::sockopt::{self, at};

/// Every node of a link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Before everything else in the queues of the interface (`TC_PRIO_CONTROL`).
const QUEUE_PRIORITY: i32 = 7;

/// A socket that sends prepared frames over any interface, and receives nothing.
#[derive(Debug)]
pub struct Announcer {
    fd: OwnedFd,
}

impl Announcer {
    /// Needs `CAP_NET_RAW`.
    pub fn open() -> io::Result<Self> {
        // Of no protocol, so that nothing is received.
        let fd = packet_socket()?;
        sockopt::set_int(&fd, libc::SOL_SOCKET, libc::SO_PRIORITY, QUEUE_PRIORITY)
            .map_err(at("cannot set the priority in queues"))?;
        Ok(Self { fd })
    }

    /// Sends a frame once.
    ///
    /// # Errors
    /// `ENETDOWN` while the interface is down, `ENXIO` if it is gone, `WouldBlock` or `ENOBUFS` if
    /// the queue is full.
    pub fn send(&self, interface: u32, frame: &Frame) -> io::Result<()> {
        let to = link_address(interface, frame.protocol());
        datagram::send(&self.fd, &to, &Control::new(), frame.bytes())
    }
}

impl std::os::fd::AsFd for Announcer {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether this machine forwards IPv6 packets that arrive over the interface of this name: routers say
/// so in what they announce, and who is told that a router is none any more forgets its routes.
pub fn is_forwarding(interface: &str) -> Forwarding {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/forwarding");
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim() != "0" => Forwarding::Yes,
        Ok(_) | Err(_) => Forwarding::No,
    }
}

/// A socket of whole frames that receives none until it is bound.
fn packet_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)
        .map_err(io::Error::from)
        .map_err(at("cannot open a packet socket"))
}

/// The interface and what is spoken over it (`sockaddr_ll`).
fn link_address(interface: u32, protocol: u16) -> Address {
    let family = (libc::AF_PACKET as u16).to_ne_bytes();
    // Where frames go to is written in them.
    let rest = [0; 12];
    Address::from_parts(&[&family, &protocol.to_be_bytes(), &interface.to_ne_bytes(), &rest])
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::mac::Mac;
    use crate::namespace::lab::{
        Far, Patience, alone, await_readable, index, ip, is_readable_soon,
    };
    use crate::netlink::Netlink;

    const RIVAL: Mac = Mac([2, 0, 0, 0, 0, 9]);

    fn own_mac(name: &str) -> Mac {
        let links = Netlink::open().unwrap().links().unwrap();
        links.into_iter().find(|link| link.name == name).unwrap().mac.unwrap()
    }

    /// What the system at the far end knows of an address.
    fn known(address: &str) -> Option<String> {
        let output = std::process::Command::new("ip").args(["neigh", "show", address]).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        let (_, after) = text.split_once("lladdr ")?;
        Some(after.split(' ').next()?.to_owned())
    }

    /// The far end knows `vip` at an address of before; then it is announced from here.
    fn announce(addresses: [&'static str; 2], prefix: u8, vip: &'static str) {
        let [near, far] = addresses;
        let there = Far::start(move || {
            ip(&format!("addr add {far}/{prefix} dev far nodad"));
            ip("link set far up");
            ip(&format!("neigh replace {vip} lladdr {RIVAL} dev far nud stale"));
            // It is told of by others, so it cannot be waited for at a socket.
            let patience = Patience::new();
            loop {
                patience.check();
                match known(vip) {
                    Some(mac) if mac != RIVAL.to_string() => return mac,
                    _ => {}
                }
            }
        });
        ip(&format!("addr add {near}/{prefix} dev near nodad"));
        ip("link set near up");
        let announcer = Announcer::open().unwrap();
        // The cable is gone with its other end.
        let (near, mac) = (index("near"), own_mac("near"));
        let frame = Frame::announcement(vip.parse().unwrap(), mac, Forwarding::No);
        while !there.is_over() {
            let _ = announcer.send(near, &frame);
            is_readable_soon(&announcer);
        }
        assert_eq!(there.join(), mac.to_string());
    }

    #[test]
    fn an_announcement_corrects_what_a_link_knows_of_ipv4() {
        alone(|| announce(["10.77.0.11", "10.77.0.12"], 24, "10.77.0.100"));
    }

    #[test]
    fn an_announcement_corrects_what_a_link_knows_of_ipv6() {
        alone(|| announce(["2001:db8::11", "2001:db8::12"], 64, "2001:db8::100"));
    }

    /// Somebody claims `ours` and something else; only the former is told.
    fn notice(ours: [&'static str; 2], other: &'static str, manner: Manner) {
        let parse = |text: &str| -> IpAddr { text.parse().unwrap() };
        let there = Far::start(move || {
            ip("link set far up");
            let mac = own_mac("far");
            let family = crate::family::Family::of(parse(ours[0]));
            let watch = ClaimWatch::open(index("far"), family).unwrap();
            watch.look_for(mac, &ours.map(parse)).unwrap();
            let mut claims = Vec::new();
            while claims.len() < 2 {
                await_readable(&watch);
                if let Some(claim) = watch.receive().unwrap()
                    && !claims.contains(&claim)
                {
                    claims.push(claim);
                }
            }
            claims
        });
        ip("link set near up");
        let announcer = Announcer::open().unwrap();
        let near = index("near");
        while !there.is_over() {
            for address in [other, ours[0], ours[1]] {
                let frame = Frame::announcement(parse(address), RIVAL, Forwarding::Yes);
                let _ = announcer.send(near, &frame);
            }
            is_readable_soon(&announcer);
        }
        let claims = there.join();
        let claim = |text| Claim { address: parse(text), mac: RIVAL, manner };
        assert_eq!(claims, ours.map(claim));
    }

    #[test]
    fn who_claims_an_address_of_ipv4_is_noticed() {
        alone(|| notice(["10.77.0.100", "10.77.0.101"], "10.77.0.102", Manner::ArpRequest));
    }

    #[test]
    fn who_claims_an_address_of_ipv6_is_noticed() {
        let ours = ["2001:db8::100", "2001:db8::101"];
        alone(move || notice(ours, "2001:db8::102", Manner::NeighbourAdvertisement));
    }

    #[test]
    fn own_announcements_and_what_is_not_asked_for_wake_nobody() {
        alone(|| {
            let there = Far::start(|| {
                ip("link set far up");
                let watch = ClaimWatch::open(index("far"), crate::family::Family::V4).unwrap();
                let other = ClaimWatch::open(index("far"), crate::family::Family::V4).unwrap();
                let deaf = ClaimWatch::open(index("far"), crate::family::Family::V4).unwrap();
                let vip = "10.77.0.100".parse().unwrap();
                watch.look_for(RIVAL, &[vip]).unwrap();
                other.look_for(own_mac("far"), &[vip]).unwrap();
                await_readable(&other);
                assert!(!is_readable_soon(&watch), "that was its own address");
                assert!(!is_readable_soon(&deaf), "it looks for nothing");
                assert!(watch.receive().unwrap().is_none());
            });
            ip("link set near up");
            let announcer = Announcer::open().unwrap();
            let (near, vip) = (index("near"), "10.77.0.100".parse().unwrap());
            let frame = Frame::announcement(vip, RIVAL, Forwarding::No);
            while !there.is_over() {
                let _ = announcer.send(near, &frame);
                is_readable_soon(&announcer);
            }
            there.join();
        });
    }

    #[test]
    fn a_watch_outlives_an_interface_that_goes_down() {
        alone(|| {
            let (down, is_down) = std::sync::mpsc::channel();
            let there = Far::start(move || {
                // It is down already.
                let watch = ClaimWatch::open(index("far"), crate::family::Family::V4).unwrap();
                let vip = "10.77.0.100".parse().unwrap();
                watch.look_for(own_mac("far"), &[vip]).unwrap();
                for _ in 0..2 {
                    assert_eq!(watch.receive().unwrap(), None);
                    ip("link set far up");
                    await_readable(&watch);
                    assert_eq!(watch.receive().unwrap().unwrap().mac, RIVAL);
                    ip("link set far down");
                    while watch.receive().unwrap().is_some() {}
                }
                ip("link del far");
                assert_eq!(watch.receive().unwrap(), None);
                down.send(()).unwrap();
            });
            ip("link set near up");
            let announcer = Announcer::open().unwrap();
            let (near, vip) = (index("near"), "10.77.0.100".parse().unwrap());
            let frame = Frame::announcement(vip, RIVAL, Forwarding::No);
            while is_down.try_recv().is_err() && !there.is_over() {
                let _ = announcer.send(near, &frame);
                is_readable_soon(&announcer);
            }
            there.join();
        });
    }

    #[test]
    fn a_link_that_is_down_or_gone_cannot_be_told() {
        alone(|| {
            let announcer = Announcer::open().unwrap();
            let vip = "10.77.0.100".parse().unwrap();
            let frame = Frame::announcement(vip, RIVAL, Forwarding::No);
            ip("link add near type veth peer name far");
            assert!(announcer.send(index("near"), &frame).is_err());
            assert!(announcer.send(4711, &frame).is_err());
        });
    }

    #[test]
    fn who_forwards_says_so() {
        alone(|| {
            assert_eq!(is_forwarding("lo"), Forwarding::No);
            std::fs::write("/proc/sys/net/ipv6/conf/lo/forwarding", "1").unwrap();
            assert_eq!(is_forwarding("lo"), Forwarding::Yes);
            assert_eq!(is_forwarding("nothing"), Forwarding::No);
        });
    }
}
