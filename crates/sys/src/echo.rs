//! Asking a host whether it is there: ICMP echo (RFC 792, RFC 4443 section 4.1).
//!
//! By raw sockets. The system's "ping sockets" would need no rights, but are closed to everybody,
//! root too, until an administrator opens them (`net.ipv4.ping_group_range`).

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{SocketFlags, SocketType, ipproto, socket_with};

use crate::datagram::{self, Address, Control, SKIPPED_MAX, first};
use crate::family::Family;
use crate::packet_filter::Program;
use crate::sockopt::{self, at};

/// Kind, code, checksum, id, sequence number, token.
const MESSAGE_BYTES: usize = 16;
/// Longest answer that is looked at, the header of IPv4 included.
const ANSWER_BYTES_MAX: usize = 256;
/// Room for answers that come while nobody reads.
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;

/// A socket to ask hosts of one family by. The kernel drops every answer that is not of its id.
#[derive(Debug)]
pub struct Echo {
    fd: OwnedFd,
    family: Family,
    id: u16,
    interface: u32,
}

/// An answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reply {
    /// Who answers.
    pub from: IpAddr,
    /// Which question.
    pub sequence: u16,
    /// What was in it: nobody who has not seen the question knows.
    pub token: u64,
}

impl Echo {
    /// `id` is in every question and answer; no other process on this machine should have it too.
    /// Asks over the interface with this index only, if one is given. Needs `CAP_NET_RAW`.
    pub fn open(family: Family, id: u16, interface: Option<u32>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = match family {
            Family::V4 => ipproto::ICMP,
            Family::V6 => ipproto::ICMPV6,
        };
        let fd = socket_with(family.raw(), SocketType::RAW, flags, Some(protocol))
            .map_err(io::Error::from)
            .map_err(at("cannot open a socket of ICMP"))?;
        // What comes in between is of another id, or an answer to nothing.
        filter(family, id).attach(&fd).map_err(at("cannot set a filter"))?;
        sockopt::set_receive_buffer(&fd, RECEIVE_BUFFER_BYTES)
            .map_err(at("cannot size the receive buffer"))?;
        if let Some(index) = interface {
            sockopt::bind_to_interface(&fd, index)?;
        }
        Ok(Self { fd, family, id, interface: interface.unwrap_or(0) })
    }

    /// Which family it asks.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Asks `to`. The `token` comes back in the answer.
    ///
    /// # Errors
    /// Among others `EHOSTUNREACH` and `ENETUNREACH` if there is no way there: as good as no answer.
    pub fn ask(&self, to: IpAddr, sequence: u16, token: u64) -> io::Result<()> {
        let mut message = [0; MESSAGE_BYTES];
        message[0] = match self.family {
            Family::V4 => 8,
            Family::V6 => 128,
        };
        message[4..6].copy_from_slice(&self.id.to_be_bytes());
        message[6..8].copy_from_slice(&sequence.to_be_bytes());
        message[8..].copy_from_slice(&token.to_be_bytes());
        // That of IPv6 is the kernel's to fill in, always.
        if self.family == Family::V4 {
            let checksum = checksum(&message);
            message[2..4].copy_from_slice(&checksum.to_be_bytes());
        }
        datagram::send(&self.fd, &Address::host(to, self.interface), &Control::new(), &message)
    }

    /// The next answer that waits; nothing if there is none, or only a lot that is none, and then the
    /// socket stays readable.
    pub fn receive(&self) -> io::Result<Option<Reply>> {
        let mut buffer = [0; ANSWER_BYTES_MAX];
        for _ in 0..SKIPPED_MAX {
            let Some(received) = datagram::receive(&self.fd, &mut buffer)? else { break };
            let packet = &buffer[..received.length];
            let message = match self.family {
                Family::V4 => past_ipv4_header(packet),
                Family::V6 => packet,
            };
            if let (Some(from), Some((sequence, token))) =
                (received.source.ip(), self.read(message))
            {
                return Ok(Some(Reply { from, sequence, token }));
            }
        }
        Ok(None)
    }

    /// Sequence number and token of an answer in order. The kernel has checked those of IPv6.
    fn read(&self, message: &[u8]) -> Option<(u16, u64)> {
        let message: &[u8; MESSAGE_BYTES] = message.try_into().ok()?;
        let kind = answer(self.family);
        let is_whole = self.family == Family::V6 || checksum(message) == 0;
        let is_ours = message[..2] == [kind, 0] && message[4..6] == self.id.to_be_bytes();
        let sequence = u16::from_be_bytes(first(&message[6..])?);
        let token = u64::from_be_bytes(first(&message[8..])?);
        (is_whole && is_ours).then_some((sequence, token))
    }
}

impl AsFd for Echo {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What follows the header that raw sockets of IPv4 get too; nothing if that is not whole.
fn past_ipv4_header(packet: &[u8]) -> &[u8] {
    let words = packet.first().map_or(0, |first| first & 0xf);
    packet.get(usize::from(words) * 4..).unwrap_or_default()
}

/// Kind of an answer.
const fn answer(family: Family) -> u8 {
    match family {
        Family::V4 => 0,
        Family::V6 => 129,
    }
}

/// Takes answers with this id. Raw sockets of IPv4 get the header too, those of IPv6 do not.
fn filter(family: Family, id: u16) -> Program {
    let mut program = Program::new();
    let kind = answer(family).into();
    match family {
        Family::V4 => program
            .index_past_ipv4_header(0)
            .load_byte_past(0)
            .require(kind)
            .load_half_past(4)
            .accept(id.into()),
        Family::V6 => program.load_byte(0).require(kind).load_half(4).accept(id.into()),
    };
    program
}

/// RFC 1071. Of a message whose checksum is in place it is 0.
fn checksum(message: &[u8; MESSAGE_BYTES]) -> u16 {
    let pairs = message.chunks_exact(2);
    let sum: u32 = pairs.map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::lab::{Far, alone, await_readable, index, ip, is_readable_soon};

    fn answered(family: Family, address: &str) {
        let own = Echo::open(family, 0x1234, None).unwrap();
        let other = Echo::open(family, 0x1235, Some(index("lo"))).unwrap();
        let address: IpAddr = address.parse().unwrap();
        own.ask(address, 7, 0x0102_0304_0506_0708).unwrap();
        await_readable(&own);
        let expected = Reply { from: address, sequence: 7, token: 0x0102_0304_0506_0708 };
        assert_eq!(own.receive().unwrap(), Some(expected));
        assert_eq!(own.receive().unwrap(), None, "not its own question");
        assert!(!is_readable_soon(&other), "the answer was not for it");
    }

    #[test]
    fn a_host_answers_over_ipv4() {
        alone(|| answered(Family::V4, "127.0.0.1"));
    }

    #[test]
    fn a_host_answers_over_ipv6() {
        alone(|| answered(Family::V6, "::1"));
    }

    #[test]
    fn a_host_answers_by_an_address_of_its_link() {
        alone(|| {
            let (stop, end) = std::sync::mpsc::channel::<()>();
            let there = Far::start(move || {
                ip("addr add fe80::12/64 dev far nodad");
                ip("link set far up");
                let _ = end.recv();
            });
            ip("addr add fe80::11/64 dev near nodad");
            ip("link set near up");
            let echo = Echo::open(Family::V6, 1, Some(index("near"))).unwrap();
            let patience = crate::namespace::lab::Patience::new();
            let mut sequence = 0;
            let reply = loop {
                patience.check();
                sequence += 1;
                let _ = echo.ask("fe80::12".parse().unwrap(), sequence, 5);
                is_readable_soon(&echo);
                if let Some(reply) = echo.receive().unwrap() {
                    break reply;
                }
            };
            assert_eq!((reply.from.to_string().as_str(), reply.token), ("fe80::12", 5));
            drop(stop);
            there.join();
        });
    }

    #[test]
    fn where_no_way_leads_nobody_can_be_asked() {
        alone(|| {
            let echo = Echo::open(Family::V4, 1, None).unwrap();
            assert!(echo.ask("192.0.2.1".parse().unwrap(), 1, 1).is_err());
            assert!(Echo::open(Family::V4, 1, Some(4711)).is_err());
        });
    }

    #[test]
    fn a_header_that_is_not_whole_has_nothing_behind_it() {
        let packet = [0x45; 24];
        assert_eq!(past_ipv4_header(&packet), &packet[20..]);
        for length in 0..=20 {
            assert_eq!(past_ipv4_header(&packet[..length]), &[0; 0]);
        }
    }

    #[test]
    fn only_answers_in_order_are_read() {
        alone(|| {
            let echo = Echo::open(Family::V4, 0x1234, None).unwrap();
            let mut message = [0, 0, 0, 0, 0x12, 0x34, 0, 9, 0, 0, 0, 0, 0, 0, 0, 3];
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            assert_eq!(echo.read(&message), Some((9, 3)));
            for at in 0..MESSAGE_BYTES {
                let mut damaged = message;
                damaged[at] ^= 1;
                assert_eq!(echo.read(&damaged), None);
                assert_eq!(echo.read(&message[..at]), None);
            }
        });
    }
}
