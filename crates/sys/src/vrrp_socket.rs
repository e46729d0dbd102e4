//! Sockets that VRRP is spoken over: IP protocol 112 on one interface (RFC 9568 section 5.1).
//!
//! What is said and heard here is the message itself; the codec has its checksum. That of IPv6 is
//! left to the codec too, though the kernel could do it (`IPV6_CHECKSUM`): it would drop forged and
//! damaged adverts before anybody could count them.

#[cfg(test)]
mod keepalived;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{Protocol, SocketFlags, SocketType, socket_with, sockopt as common};

use crate::datagram::{self, Address, Control, SKIPPED_MAX, first};
use crate::family::Family;
use crate::packet_filter::Program;
use crate::sockopt::{self, at};

/// Whom IPv4 adverts are sent to by default.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Whom IPv6 adverts are sent to by default.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// Longest message that is received whole, the header of IPv4 included. The longest in order, 20
/// IPv6 addresses and a seal, has less than 400 bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024;

/// VRRP.
const PROTOCOL: u32 = 112;
/// Sent, and required of whoever is on the same link.
const HOP_LIMIT: u8 = 255;
/// Internetwork control (RFC 791; CS6 in RFC 2474).
const TRAFFIC_CLASS: u8 = 0xc0;
/// Before everything else in the queues of the interface (`TC_PRIO_CONTROL`).
const QUEUE_PRIORITY: i32 = 7;
/// Room for some hundred adverts: those of ten seconds at 30 ms, that the keeper was away.
const RECEIVE_BUFFER_BYTES: usize = 256 * 1024;
/// Not in the libc crate for every C library (linux/in6.h).
const IPV6_MULTICAST_ALL: i32 = 29;

/// One socket for all virtual routers of one family on one interface. Neither sends nor hears
/// anything that goes through another interface, nor what it says itself.
///
/// It stays bound to the interface with the index that it was opened with: when that is removed, and
/// one of the same name comes, open another socket.
#[derive(Debug)]
pub struct VrrpSocket {
    fd: OwnedFd,
    family: Family,
    interface: u32,
}

/// A message that was heard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Heard<'a> {
    /// Who sent it.
    pub source: IpAddr,
    /// Whom it was sent to: the group, or an address of ours.
    pub destination: IpAddr,
    /// TTL or hop limit as it arrived.
    pub hop_limit: u8,
    /// The message; the header of IPv4 is not in it.
    pub message: &'a [u8],
}

impl VrrpSocket {
    /// Listens on the interface with this index to the group of the family, and to what is sent to us
    /// alone. It hears nothing until [`Self::listen_to`] says what. Needs `CAP_NET_RAW` and
    /// `CAP_NET_ADMIN`.
    pub fn open(interface: u32, family: Family) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = Protocol::from_raw(PROTOCOL.try_into().expect("112 is not 0"));
        let fd = socket_with(family.raw(), SocketType::RAW, flags, Some(protocol))
            .map_err(io::Error::from)
            .map_err(at("cannot open a socket of protocol 112"))?;
        // Until it is bound it hears every interface.
        Program::new().attach(&fd).map_err(at("cannot set a filter"))?;
        sockopt::bind_to_interface(&fd, interface)?;
        sockopt::set_receive_buffer(&fd, RECEIVE_BUFFER_BYTES)
            .map_err(at("cannot size the receive buffer"))?;
        match family {
            Family::V4 => prepare_v4(&fd, interface)?,
            Family::V6 => prepare_v6(&fd, interface)?,
        }
        // After the traffic class, which sets a priority too.
        sockopt::set_int(&fd, libc::SOL_SOCKET, libc::SO_PRIORITY, QUEUE_PRIORITY)
            .map_err(at("cannot set the priority in queues"))?;
        let socket = Self { fd, family, interface };
        // What came before the filter.
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        while datagram::receive(&socket.fd, &mut buffer)?.is_some() {}
        Ok(socket)
    }

    /// The one that this process, or the program that it was before, opened on the interface with this
    /// index: it hears what it heard, and what has arrived meanwhile waits.
    pub fn from_fd(fd: OwnedFd, interface: u32, family: Family) -> Self {
        Self { fd, family, interface }
    }

    /// Which family it speaks.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Index of the interface.
    pub fn interface(&self) -> u32 {
        self.interface
    }

    /// Hears adverts of the virtual routers with these VRIDs only, from now on: the kernel drops the
    /// others, and nobody wakes for them.
    pub fn listen_to(&self, routers: &[u8]) -> io::Result<()> {
        let mut program = Program::new();
        // Raw sockets of IPv4 get the header too, those of IPv6 do not.
        match self.family {
            Family::V4 => program.index_past_ipv4_header(0).load_byte_past(1),
            Family::V6 => program.load_byte(1),
        };
        for &router in routers {
            program.accept(router.into());
        }
        program.attach(&self.fd).map_err(at("cannot set a filter"))
    }

    /// Sends a message from `source`, an address of this interface, to the group
    /// ([`Self::group`]) or to one peer.
    ///
    /// # Errors
    /// `EINVAL` or `EADDRNOTAVAIL` if the source is not on the interface, `ENETDOWN` and
    /// `ENETUNREACH` while the interface is down, `WouldBlock` if the queue is full.
    pub fn send(&self, source: IpAddr, to: IpAddr, message: &[u8]) -> io::Result<()> {
        let mut control = Control::new();
        let interface = self.interface.to_ne_bytes();
        match source {
            IpAddr::V4(source) => {
                let info = [interface, source.octets(), [0; 4]].concat();
                control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            IpAddr::V6(source) => {
                let info = [&source.octets()[..], &interface].concat();
                control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
        datagram::send(&self.fd, &Address::host(to, self.interface), &control, message)
    }

    /// The group that everybody who speaks this family's VRRP listens to.
    pub fn group(&self) -> IpAddr {
        group(self.family)
    }

    /// The next message that waits, put into `buffer`; nothing if there is none. Skips what is too
    /// long to be a message, and what is no packet at all; after a lot of that there is nothing either,
    /// and the socket stays readable. While the interface is down there are
    /// none; when it is up again, so is the socket.
    pub fn receive<'a>(
        &self,
        buffer: &'a mut [u8; MESSAGE_BYTES_MAX],
    ) -> io::Result<Option<Heard<'a>>> {
        for _ in 0..SKIPPED_MAX {
            let Some(received) = datagram::receive(&self.fd, &mut buffer[..])? else {
                return Ok(None);
            };
            if received.is_truncated {
                continue;
            }
            let length = received.length;
            let envelope = match self.family {
                Family::V4 => Envelope::of_v4(&buffer[..length]),
                Family::V6 => Envelope::of_v6(&received),
            };
            if let Some(Envelope { source, destination, hop_limit, header_bytes }) = envelope {
                let message = &buffer[header_bytes..length];
                return Ok(Some(Heard { source, destination, hop_limit, message }));
            }
        }
        Ok(None)
    }
}

impl AsFd for VrrpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The group that everybody who speaks this family's VRRP listens to.
pub const fn group(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(GROUP_V4),
        Family::V6 => IpAddr::V6(GROUP_V6),
    }
}

/// What is around a message.
struct Envelope {
    source: IpAddr,
    destination: IpAddr,
    hop_limit: u8,
    /// Length of the header that was received before the message.
    header_bytes: usize,
}

impl Envelope {
    /// Reads the header of IPv4 (RFC 791), which the kernel found in order.
    fn of_v4(packet: &[u8]) -> Option<Self> {
        let header_bytes = usize::from(packet.first()? & 0xf) * 4;
        if header_bytes < 20 || packet.len() < header_bytes {
            return None;
        }
        Some(Self {
            source: Ipv4Addr::from_octets(first(&packet[12..])?).into(),
            destination: Ipv4Addr::from_octets(first(&packet[16..])?).into(),
            hop_limit: packet[8],
            header_bytes,
        })
    }

    /// Reads what the kernel says of the header of IPv6, which is not received.
    fn of_v6(received: &datagram::Received) -> Option<Self> {
        let info = received.control.find(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO)?;
        let hop_limit = received.control.find(libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT)?;
        Some(Self {
            source: received.source.ip()?,
            destination: Ipv6Addr::from_octets(first(info)?).into(),
            hop_limit: u8::try_from(i32::from_ne_bytes(first(hop_limit)?)).ok()?,
            header_bytes: 0,
        })
    }
}

fn prepare_v4(fd: &OwnedFd, interface: u32) -> io::Result<()> {
    let set = |option, value| {
        sockopt::set_int(fd, libc::IPPROTO_IP, option, value).map_err(at("cannot set up IPv4"))
    };
    set(libc::IP_TTL, HOP_LIMIT.into())?;
    set(libc::IP_MULTICAST_TTL, HOP_LIMIT.into())?;
    set(libc::IP_MULTICAST_LOOP, 0)?;
    // Only what this socket joined, not what others on this machine did.
    set(libc::IP_MULTICAST_ALL, 0)?;
    set(libc::IP_TOS, TRAFFIC_CLASS.into())?;
    let any = Ipv4Addr::UNSPECIFIED;
    common::set_ip_multicast_if_with_ifindex(fd, &any, &any, interface)
        .map_err(io::Error::from)
        .map_err(at("cannot send to groups over the interface"))?;
    common::set_ip_add_membership_with_ifindex(fd, &GROUP_V4, &any, interface)
        .map_err(io::Error::from)
        .map_err(at(format_args!("cannot join {GROUP_V4} on interface {interface}")))
}

fn prepare_v6(fd: &OwnedFd, interface: u32) -> io::Result<()> {
    let set = |option, value| {
        sockopt::set_int(fd, libc::IPPROTO_IPV6, option, value).map_err(at("cannot set up IPv6"))
    };
    set(libc::IPV6_UNICAST_HOPS, HOP_LIMIT.into())?;
    set(libc::IPV6_MULTICAST_HOPS, HOP_LIMIT.into())?;
    set(libc::IPV6_MULTICAST_LOOP, 0)?;
    set(IPV6_MULTICAST_ALL, 0)?;
    set(libc::IPV6_TCLASS, TRAFFIC_CLASS.into())?;
    set(libc::IPV6_RECVPKTINFO, 1)?;
    set(libc::IPV6_RECVHOPLIMIT, 1)?;
    common::set_ipv6_multicast_if(fd, interface)
        .map_err(io::Error::from)
        .map_err(at("cannot send to groups over the interface"))?;
    common::set_ipv6_add_membership(fd, &GROUP_V6, interface)
        .map_err(io::Error::from)
        .map_err(at(format_args!("cannot join {GROUP_V6} on interface {interface}")))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::namespace::lab::{
        Far, Patience, alone, await_readable, index, ip, is_readable_soon,
    };

    const ADVERT: [u8; 12] = [0x31, 51, 150, 1, 0, 10, 0x2e, 0x10, 10, 77, 0, 100];

    /// The next message; waits for it.
    fn hear(socket: &VrrpSocket) -> (String, String, u8, Vec<u8>) {
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        loop {
            await_readable(socket);
            if let Some(heard) = socket.receive(&mut buffer).unwrap() {
                let (source, destination) = (heard.source.to_string(), heard.destination);
                let message = heard.message.to_vec();
                return (source, destination.to_string(), heard.hop_limit, message);
            }
        }
    }

    /// Two networks talk: `near`, which has another address before and one after it, to the group until
    /// `far` answers; `far` to `near` alone.
    fn talk(family: Family, [before, near, after, far]: [&'static str; 4], prefix: u8) {
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        let there = Far::start(move || {
            ip(&format!("addr add {far}/{prefix} dev far nodad"));
            ip("link set far up");
            let socket = VrrpSocket::open(index("far"), family).unwrap();
            socket.listen_to(&[50, 51]).unwrap();
            let heard = hear(&socket);
            socket.send(address(far), address(near), &ADVERT).unwrap();
            heard
        });
        for own in [before, near, after] {
            ip(&format!("addr add {own}/{prefix} dev near nodad"));
        }
        ip("link set near up");
        let socket = VrrpSocket::open(index("near"), family).unwrap();
        socket.listen_to(&[51]).unwrap();
        // Nobody listens before it has begun to.
        let patience = Patience::new();
        loop {
            patience.check();
            let not_for_it = [0x31, 52, 150];
            let _ = socket.send(address(near), socket.group(), &not_for_it);
            let _ = socket.send(address(near), socket.group(), &ADVERT);
            if is_readable_soon(&socket) {
                break;
            }
        }
        let (source, destination, hop_limit, message) = there.join();
        let group = socket.group().to_string();
        assert_eq!((&source[..], destination, hop_limit), (near, group, 255));
        assert_eq!(message, ADVERT, "and not the one of VRID 52");
        let (source, destination, hop_limit, message) = hear(&socket);
        assert_eq!((&source[..], &destination[..], hop_limit), (far, near, 255));
        assert_eq!(message, ADVERT);
        assert!(!is_readable_soon(&socket), "it does not hear itself");
    }

    #[test]
    fn two_networks_talk_over_ipv4() {
        alone(|| talk(Family::V4, ["10.77.0.9", "10.77.0.11", "10.77.0.10", "10.77.0.12"], 24));
    }

    #[test]
    fn two_networks_talk_over_ipv6() {
        alone(|| talk(Family::V6, ["fe80::9", "fe80::11", "fe80::10", "fe80::12"], 64));
    }

    #[test]
    fn a_flood_of_what_is_no_message_holds_nobody_up() {
        alone(|| {
            let open = || VrrpSocket::open(index("lo"), Family::V4).unwrap();
            let (near, far) = (open(), open());
            near.listen_to(&[51]).unwrap();
            let own = "127.0.0.1".parse().unwrap();
            let mut long = [0; MESSAGE_BYTES_MAX];
            long[..ADVERT.len()].copy_from_slice(&ADVERT);
            for _ in 0..SKIPPED_MAX {
                far.send(own, own, &long).unwrap();
            }
            far.send(own, own, &ADVERT).unwrap();
            let mut buffer = [0; MESSAGE_BYTES_MAX];
            assert_eq!(near.receive(&mut buffer).unwrap(), None, "it lets others have their turn");
            assert_eq!(hear(&near).3, ADVERT);
        });
    }

    #[test]
    fn only_one_interface_is_heard() {
        alone(|| {
            let (ready, is_ready) = channel();
            let there = Far::start(move || {
                ip("addr add 10.77.0.12/24 dev far");
                ip("link set far up");
                let socket = VrrpSocket::open(index("far"), Family::V4).unwrap();
                // This one, at the same time, of the loopback.
                let other = VrrpSocket::open(index("lo"), Family::V4).unwrap();
                other.listen_to(&[51]).unwrap();
                socket.listen_to(&[51]).unwrap();
                ready.send(()).unwrap();
                hear(&socket);
                assert!(!is_readable_soon(&other), "it came over another one");
            });
            ip("addr add 10.77.0.11/24 dev near");
            ip("link set near up");
            let socket = VrrpSocket::open(index("near"), Family::V4).unwrap();
            is_ready.recv().unwrap();
            let source = "10.77.0.11".parse().unwrap();
            while !there.is_over() {
                let _ = socket.send(source, socket.group(), &ADVERT);
                is_readable_soon(&socket);
            }
            there.join();
        });
    }

    #[test]
    fn what_cannot_be_is_an_error_in_words() {
        alone(|| {
            let error = VrrpSocket::open(4711, Family::V4).unwrap_err();
            assert!(error.to_string().starts_with("cannot "), "{error}");
            let socket = VrrpSocket::open(index("lo"), Family::V4).unwrap();
            let foreign = "10.9.9.9".parse().unwrap();
            assert!(socket.send(foreign, socket.group(), &ADVERT).is_err(), "not its address");
        });
    }

    #[test]
    fn an_envelope_of_ipv4_is_read_behind_its_options_too() {
        let mut packet = vec![0x46, 0xc0, 0, 36, 0, 0, 0, 0, 64, 112, 0, 0];
        packet.extend([10, 0, 0, 1, 224, 0, 0, 18, 0, 0, 0, 0]);
        packet.extend(ADVERT);
        let envelope = Envelope::of_v4(&packet).unwrap();
        assert_eq!((envelope.hop_limit, envelope.header_bytes), (64, 24));
        assert_eq!(envelope.source, IpAddr::from([10, 0, 0, 1]));
        assert_eq!(envelope.destination, group(Family::V4));
        for length in 0..24 {
            assert!(Envelope::of_v4(&packet[..length]).is_none());
        }
    }
}
