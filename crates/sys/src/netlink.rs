//! Interfaces and addresses of this machine: asking, changing, and being told (rtnetlink(7)).
//!
//! The kernel does what it is asked while it is being asked, and has answered when the call
//! returns; so nothing here waits for anybody, except, inside the kernel, for whoever changes the
//! network's configuration at the same moment.

mod address;
mod connections;
mod hidden;
mod link;
mod message;
mod monitor;
mod neighbours;
mod routes;

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};

pub use self::address::{Address, PROTOCOL, Place, Scope};
pub use self::connections::{Connections, Listed, Meant};
pub use self::hidden::Hidden;
pub use self::link::Link;
use self::message::{Draft, Message};
pub use self::monitor::{Author, Event, Monitor};
use crate::datagram::{self, Control};
use crate::sockopt;

/// Most interfaces that are looked at.
pub const LINKS_MAX: usize = 4096;
/// Most addresses that are looked at.
pub const ADDRESSES_MAX: usize = 16 * 1024;

/// Room for a datagram: the kernel's lists come in parts of at most this size.
const DATAGRAM_BYTES_MAX: usize = 32 * 1024;
/// How often a list is begun anew because it changed meanwhile.
const LIST_TRIES: u32 = 5;
/// The message says more than the error's number (linux/netlink.h).
const NLM_F_ACK_TLVS: u16 = 0x200;
/// A list may have missed something, because it changed while it was told (linux/netlink.h).
const NLM_F_DUMP_INTR: u16 = 0x10;
/// In words why not (linux/netlink.h).
const NLMSGERR_ATTR_MSG: u16 = 1;

/// A socket to ask the kernel by. One at a time.
#[derive(Debug)]
pub struct Netlink {
    fd: OwnedFd,
    sequence: Cell<u32>,
    author: Author,
}

/// What a change came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// It was made.
    Made,
    /// It was like that already.
    Unneeded,
}

impl Netlink {
    /// Needs no rights; changes need `CAP_NET_ADMIN`.
    pub fn open() -> io::Result<Self> {
        let (fd, author) = open(0)?;
        // Answers with reasons in words, and without what was asked; older kernels have neither.
        let _ = sockopt::set_int(&fd, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1);
        let _ = sockopt::set_int(&fd, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1);
        Ok(Self { fd, sequence: Cell::new(0), author })
    }

    /// Whom the [`Monitor`] names as the author of changes that are made here.
    pub fn author(&self) -> Author {
        self.author
    }

    /// Every interface, at most [`LINKS_MAX`].
    pub fn links(&self) -> io::Result<Vec<Link>> {
        // Family and all the rest: any.
        self.list((libc::RTM_GETLINK, libc::RTM_NEWLINK), &[0; 16], LINKS_MAX, Link::read)
            .map_err(sockopt::at("cannot list interfaces"))
    }

    /// Every address of every interface, at most [`ADDRESSES_MAX`].
    pub fn addresses(&self) -> io::Result<Vec<Address>> {
        self.list((libc::RTM_GETADDR, libc::RTM_NEWADDR), &[0; 8], ADDRESSES_MAX, Address::read)
            .map_err(sockopt::at("cannot list addresses"))
    }

    /// Sees to it that the address is there; see [`Place::among`].
    ///
    /// One of IPv6 can be reached only a moment later: see [`Self::await_local`].
    ///
    /// # Errors
    /// In words. `NotFound` if there is no such interface.
    pub fn put(&self, place: &Place) -> io::Result<Change> {
        let Place { interface, ip, prefix } = place;
        self.perform(&place.addition())
            .map_err(sockopt::at(format_args!("cannot put {ip}/{prefix} on interface {interface}")))
    }

    /// Sees to it that the address is not there.
    ///
    /// # Errors
    /// In words.
    pub fn remove(&self, place: &Place) -> io::Result<Change> {
        let Place { interface, ip, prefix } = place;
        self.perform(&place.removal()).map_err(sockopt::at(format_args!(
            "cannot remove {ip}/{prefix} from interface {interface}"
        )))
    }

    /// Has the kernel do what a message says that was made before: [`Place::removal`].
    pub fn perform(&self, message: &[u8]) -> io::Result<Change> {
        let sequence = self.ask(message.to_vec())?;
        let is_removal = message::u16_at(message, 4) == Some(libc::RTM_DELADDR);
        let mut outcome = None;
        self.answers(sequence, |answer| {
            if i32::from(answer.kind) == libc::NLMSG_ERROR {
                outcome = Some(refusal(answer));
            }
            outcome.is_some()
        })?;
        let Some(refusal) = outcome else {
            return Err(io::Error::other("the kernel gave no answer"));
        };
        match refusal {
            None => Ok(Change::Made),
            Some(refusal) => match (refusal.number, is_removal) {
                (libc::EEXIST, false) | (libc::EADDRNOTAVAIL | libc::ENODEV, true) => {
                    Ok(Change::Unneeded)
                }
                _ => Err(refusal.into_error()),
            },
        }
    }

    fn list<T>(
        &self,
        (question, answer): (u16, u16),
        fixed: &[u8],
        count_max: usize,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        for _ in 0..LIST_TRIES {
            let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
            let sequence = self.ask(Draft::new(question, flags, fixed).finish())?;
            let (mut found, mut is_torn, mut outcome) = (Vec::new(), false, None);
            self.answers(sequence, |message| {
                is_torn |= message.flags & NLM_F_DUMP_INTR != 0;
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => outcome = Some(None),
                    libc::NLMSG_ERROR => outcome = Some(refusal(message)),
                    _ if message.kind == answer && found.len() < count_max => {
                        found.extend(read(message.body));
                    }
                    _ => {}
                }
                outcome.is_some()
            })?;
            match outcome {
                Some(None) if is_torn => {}
                Some(None) => return Ok(found),
                Some(Some(refusal)) => return Err(refusal.into_error()),
                None => return Err(io::Error::other("the kernel broke off its answer")),
            }
        }
        Err(io::Error::new(io::ErrorKind::WouldBlock, "the list changes all the time"))
    }

    /// Sends a question; its number.
    fn ask(&self, mut message: Vec<u8>) -> io::Result<u32> {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        message::set_sequence(&mut message, sequence);
        datagram::send(&self.fd, &kernel(), &Control::new(), &message)?;
        Ok(sequence)
    }

    /// Shows `visit` the answers to a question until it has seen enough or there are no more.
    fn answers(
        &self,
        sequence: u32,
        mut visit: impl FnMut(&Message<'_>) -> bool,
    ) -> io::Result<()> {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        while let Some(received) = datagram::receive(&self.fd, &mut buffer)? {
            if received.source.netlink_port() != Some(0) {
                continue;
            }
            if received.is_truncated {
                return Err(too_long());
            }
            let answers = message::messages(&buffer[..received.length]);
            // Others are of a question whose answer nobody waited for.
            let mut answers = answers.filter(|answer| answer.sequence == sequence);
            if answers.any(|answer| visit(&answer)) {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// What is behind the cut may be the end of a list, or the most of it.
fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is too long to be read")
}

/// Why the kernel does not do something.
struct Refusal {
    number: i32,
    words: Option<String>,
}

impl Refusal {
    fn into_error(self) -> io::Error {
        let error = io::Error::from_raw_os_error(self.number);
        let kind = match self.number {
            libc::ENODEV => io::ErrorKind::NotFound,
            _ => error.kind(),
        };
        match self.words {
            Some(words) => io::Error::new(kind, format!("{error}: {words}")),
            None => io::Error::new(kind, error),
        }
    }
}

/// Reads a message that tells of an error; none if it tells that there was none.
fn refusal(answer: &Message<'_>) -> Option<Refusal> {
    let number = (message::u32_at(answer.body, 0).unwrap_or(0) as i32).wrapping_neg();
    if number == 0 {
        return None;
    }
    // Behind the number is the head of what was asked, and not the rest of it (NETLINK_CAP_ACK).
    let details = match answer.flags & NLM_F_ACK_TLVS {
        0 => &[],
        _ => answer.body.get(4 + message::HEAD_BYTES..).unwrap_or_default(),
    };
    let words = message::attributes(details).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG);
    Some(Refusal { number, words: words.map(|(_, data)| message::text(data)) })
}

/// A socket that is told of these groups, and whom it is known as.
fn open(groups: u32) -> io::Result<(OwnedFd, Author)> {
    let open = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Protocol 0 is that of links and addresses (NETLINK_ROUTE).
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        rustix::net::bind(&fd, &netlink::SocketAddrNetlink::new(0, groups))?;
        let own = netlink::SocketAddrNetlink::try_from(rustix::net::getsockname(&fd)?)?;
        Ok((fd, Author::new(own.pid())))
    };
    open().map_err(|error: rustix::io::Errno| {
        sockopt::at("cannot open a netlink socket")(error.into())
    })
}

/// The address of the kernel.
fn kernel() -> datagram::Address {
    datagram::Address::from_parts(&[&(libc::AF_NETLINK as u16).to_ne_bytes(), &[0; 10]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::lab::{add_address, alone, await_readable, index, ip};

    fn place(text: &str, prefix: u8) -> Place {
        Place { interface: index("lo"), ip: text.parse().unwrap(), prefix }
    }

    fn find(netlink: &Netlink, place: &Place) -> Option<Address> {
        netlink.addresses().unwrap().into_iter().find(|address| Place::of(address) == *place)
    }

    #[test]
    fn interfaces_are_listed_as_they_are() {
        alone(|| {
            ip("link add near address 02:00:00:00:00:01 mtu 1400 type veth peer name far");
            ip("link set near up");
            let netlink = Netlink::open().unwrap();
            let links = netlink.links().unwrap();
            let find = |name: &str| links.iter().find(|link| link.name == name).unwrap();
            let near = find("near");
            assert_eq!(near.index, index("near"));
            assert_eq!(near.mac.unwrap().to_string(), "02:00:00:00:00:01");
            assert_eq!((near.kind.as_deref(), near.mtu), (Some("veth"), 1400));
            assert!(near.is_up && !near.has_carrier, "its other end is down");
            assert!(near.has_neighbours && !near.is_loopback && !find("far").is_up);
            let lo = find("lo");
            assert!(lo.is_loopback && lo.is_up && lo.has_carrier && lo.mac.is_none());
        });
    }

    #[test]
    fn an_address_is_put_once_and_removed_once() {
        alone(|| {
            let netlink = Netlink::open().unwrap();
            for (text, prefix) in [("10.77.0.100", 24), ("10.77.1.1", 32), ("2001:db8::1", 64)] {
                let place = place(text, prefix);
                assert_eq!(netlink.remove(&place).unwrap(), Change::Unneeded);
                assert_eq!(netlink.put(&place).unwrap(), Change::Made);
                assert_eq!(netlink.put(&place).unwrap(), Change::Unneeded);
                let address = find(&netlink, &place).unwrap();
                assert!(!address.is_tentative && !address.is_duplicate && !address.is_secondary);
                assert_eq!(address.scope, Scope::Global);
                if address.is_marked {
                    eprintln!("this kernel tells whose an address is");
                }
                // By another socket, from bytes made before.
                let other = Netlink::open().unwrap();
                assert_eq!(other.perform(&place.removal()).unwrap(), Change::Made);
                assert_eq!(other.perform(&place.removal()).unwrap(), Change::Unneeded);
                assert_eq!(find(&netlink, &place), None);
            }
        });
    }

    #[test]
    fn an_address_of_ipv6_is_not_chosen_for_new_connections() {
        alone(|| {
            let netlink = Netlink::open().unwrap();
            add_address("2001:db8::11/64", "lo");
            let present = netlink.addresses().unwrap();
            let wanted = place("2001:db8::100", 64);
            let place = Place::among(&present, wanted.interface, wanted.ip, wanted.prefix);
            assert_eq!(place.prefix, 128);
            netlink.put(&place).unwrap();
            let socket = std::net::UdpSocket::bind("[::]:0").unwrap();
            socket.connect("[2001:db8::101]:9").unwrap();
            let chosen = socket.local_addr().unwrap().ip().to_string();
            assert_eq!(chosen, "2001:db8::11", "though the other one is nearer");
            std::net::TcpListener::bind((place.ip, 0)).unwrap();
        });
    }

    #[test]
    fn an_own_address_that_comes_and_goes_leaves_ours_alone() {
        alone(|| {
            let netlink = Netlink::open().unwrap();
            std::fs::write("/proc/sys/net/ipv4/conf/lo/promote_secondaries", "0").unwrap();
            ip("addr add 10.77.0.11/24 dev lo");
            let present = netlink.addresses().unwrap();
            let wanted = place("10.77.0.100", 24);
            let place = Place::among(&present, wanted.interface, wanted.ip, wanted.prefix);
            netlink.put(&place).unwrap();
            ip("addr del 10.77.0.11/24 dev lo");
            assert!(find(&netlink, &place).is_some());
            ip("addr add 10.77.0.11/24 dev lo");
            netlink.remove(&place).unwrap();
            let own = netlink.addresses().unwrap();
            let own = own.iter().find(|address| address.ip.to_string() == "10.77.0.11");
            assert!(!own.unwrap().is_secondary);
        });
    }

    #[test]
    fn what_the_kernel_refuses_it_refuses_in_words() {
        alone(|| {
            let netlink = Netlink::open().unwrap();
            let nowhere = Place { interface: 4711, ..place("10.77.0.100", 24) };
            let error = netlink.put(&nowhere).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            let text = error.to_string();
            assert!(text.starts_with("cannot put 10.77.0.100/24 on interface 4711: "), "{text}");
            assert_eq!(netlink.remove(&nowhere).unwrap(), Change::Unneeded);
            let error = netlink.put(&place("10.77.0.100", 33)).unwrap_err();
            assert!(!error.to_string().is_empty());
            assert!(netlink.perform(&[1, 2, 3]).is_err());
            // Nothing of all that is in the way of the next question.
            assert_eq!(netlink.links().unwrap().len(), 1);
        });
    }

    #[test]
    fn changes_are_told_with_their_author() {
        alone(|| {
            let mut monitor = Monitor::open().unwrap();
            assert_eq!(monitor.receive().unwrap(), None);
            let netlink = Netlink::open().unwrap();
            let place = place("10.77.0.100", 24);
            netlink.put(&place).unwrap();
            let Some(Event::Address(address, author)) = monitor.receive().unwrap() else {
                panic!("an address was put");
            };
            assert_eq!((Place::of(&address), author), (place, netlink.author()));
            ip("addr del 10.77.0.100/24 dev lo");
            let Some(Event::AddressGone(address, author)) = monitor.receive().unwrap() else {
                panic!("an address was removed");
            };
            assert_eq!(Place::of(&address), place);
            assert!(author != netlink.author() && !author.is_kernel());
            assert!(author.to_string().starts_with("a program that has ended"), "{author}");
            ip("link add near type veth peer name far");
            await_readable(&monitor);
            ip("link del near");
            let mut gone = Vec::new();
            while let Some(event) = monitor.receive().unwrap() {
                match event {
                    Event::LinkGone(link) => gone.push(link.name),
                    Event::Link(_) | Event::Address(..) | Event::AddressGone(..) => {}
                    Event::Missed => panic!("that was not much"),
                }
            }
            gone.sort();
            assert_eq!(gone, ["far", "near"]);
        });
    }

    #[test]
    fn who_misses_changes_is_told_and_goes_on() {
        alone(|| {
            let mut monitor = Monitor::open().unwrap();
            rustix::net::sockopt::set_socket_recv_buffer_size(&monitor, 1).unwrap();
            let netlink = Netlink::open().unwrap();
            let place = place("10.77.0.100", 24);
            for _ in 0..100 {
                netlink.put(&place).unwrap();
                netlink.remove(&place).unwrap();
            }
            let events: Vec<Event> = std::iter::from_fn(|| monitor.receive().unwrap()).collect();
            assert!(events.contains(&Event::Missed), "{events:?}");
            netlink.put(&place).unwrap();
            assert!(matches!(monitor.receive().unwrap(), Some(Event::Address(..))));
        });
    }

    #[test]
    fn without_rights_one_may_look_and_not_touch() {
        alone(|| {
            let netlink = Netlink::open().unwrap();
            // Of this thread only, which ends with the test.
            let none = rustix::thread::CapabilitySets {
                effective: rustix::thread::CapabilitySet::empty(),
                permitted: rustix::thread::CapabilitySet::empty(),
                inheritable: rustix::thread::CapabilitySet::empty(),
            };
            rustix::thread::set_capabilities(None, none).unwrap();
            assert_eq!(netlink.links().unwrap().len(), 1);
            let error = netlink.put(&place("10.77.0.100", 24)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        });
    }
}
