//! Which TCP connections there are (sock_diag(7)).

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use evergate_core::handover::Flow;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};

use super::message::{self, Draft};
use super::{DATAGRAM_BYTES_MAX, LIST_TRIES, NLM_F_DUMP_INTR, kernel, refusal, too_long};
use crate::datagram::{self, Control, first};
use crate::sockopt;

/// Not in the libc crate: a question and an answer (linux/sock_diag.h).
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// States of a connection (net/tcp_states.h).
const ESTABLISHED: u32 = 1 << 1;
const SYN_RECEIVED: u32 = 1 << 3 | 1 << 12;
const FIN_WAIT_1: u32 = 1 << 4;
const FIN_WAIT_2: u32 = 1 << 5;
const CLOSE_WAIT: u32 = 1 << 8;
const LAST_ACK: u32 = 1 << 9;
const CLOSING: u32 = 1 << 11;
const UNFINISHED: u32 = ESTABLISHED | SYN_RECEIVED | FIN_WAIT_1 | CLOSE_WAIT | LAST_ACK | CLOSING;
/// Fixed part of an answer up to the end of the addresses (`inet_diag_msg`).
const ENDS_BYTES: usize = 4 + 4 + 32;

/// Which connections are meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Meant {
    /// All that have more to say or to hear than a last confirmation: all but `TIME_WAIT`, half-open
    /// ones among them.
    Open,
    /// Of these, those whose client would miss them: not those that only wait for a client to close
    /// what nobody listens to any more (`FIN_WAIT_2`).
    Missed,
}

/// Connections that were found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Listed {
    /// As many as there may be, in order.
    pub flows: Vec<Flow>,
    /// How many others there are. Where the list changed while it was told, some may be counted
    /// twice.
    pub others: usize,
}

/// A socket to ask which connections there are.
#[derive(Debug)]
pub struct Connections {
    fd: OwnedFd,
    sequence: u32,
}

impl Connections {
    /// Needs no rights, but a kernel with `inet_diag`.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = Some(netlink::SOCK_DIAG);
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, kind)
            .map_err(|error| sockopt::at("cannot open a socket to list sockets")(error.into()))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Those to any of these addresses, as many as `count_max`. One that comes about meanwhile may be
    /// among them or not.
    pub fn to(
        &mut self,
        addresses: &[IpAddr],
        meant: Meant,
        count_max: usize,
    ) -> io::Result<Listed> {
        let mut flows = BTreeSet::new();
        let mut others = 0;
        self.visit(meant, &mut |flow: Flow| {
            if !addresses.contains(&flow.local) || flows.contains(&flow) {
                return;
            }
            if flows.len() < count_max {
                flows.insert(flow);
            } else {
                others += 1;
            }
        })?;
        Ok(Listed { flows: flows.into_iter().collect(), others })
    }

    /// Whether there is one like this.
    pub fn any(&mut self, meant: Meant, is_one: impl Fn(&Flow) -> bool) -> io::Result<bool> {
        let mut is_there = false;
        self.visit(meant, &mut |flow: Flow| is_there = is_there || is_one(&flow))?;
        Ok(is_there)
    }

    /// Shows every connection; one may be shown more than once.
    fn visit(&mut self, meant: Meant, visit: &mut dyn FnMut(Flow)) -> io::Result<()> {
        let states = match meant {
            Meant::Open => UNFINISHED | FIN_WAIT_2,
            Meant::Missed => UNFINISHED,
        };
        // A listening socket of IPv6 may have connections of IPv4.
        for family in [libc::AF_INET, libc::AF_INET6] {
            self.list(family as u8, states, visit)
                .map_err(sockopt::at("cannot list connections"))?;
        }
        Ok(())
    }

    fn list(&mut self, family: u8, states: u32, visit: &mut dyn FnMut(Flow)) -> io::Result<()> {
        for _ in 0..LIST_TRIES {
            if self.list_once(family, states, visit)? {
                return Ok(());
            }
        }
        Err(io::Error::new(io::ErrorKind::WouldBlock, "the list changes all the time"))
    }

    /// Whether the list is whole; it can be seen again then.
    fn list_once(
        &mut self,
        family: u8,
        states: u32,
        visit: &mut dyn FnMut(Flow),
    ) -> io::Result<bool> {
        let mut fixed = vec![family, libc::IPPROTO_TCP as u8, 0, 0];
        fixed.extend(states.to_ne_bytes());
        // Any ends, any interface.
        fixed.extend([0; 48]);
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
        let mut question = Draft::new(SOCK_DIAG_BY_FAMILY, flags, &fixed).finish();
        self.sequence = self.sequence.wrapping_add(1);
        message::set_sequence(&mut question, self.sequence);
        datagram::send(&self.fd, &kernel(), &Control::new(), &question)?;
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let mut is_torn = false;
        while let Some(received) = datagram::receive(&self.fd, &mut buffer)? {
            if received.source.netlink_port() != Some(0) {
                continue;
            }
            if received.is_truncated {
                return Err(too_long());
            }
            for answer in message::messages(&buffer[..received.length]) {
                if answer.sequence != self.sequence {
                    continue;
                }
                is_torn |= answer.flags & NLM_F_DUMP_INTR != 0;
                match i32::from(answer.kind) {
                    libc::NLMSG_DONE => return Ok(!is_torn),
                    libc::NLMSG_ERROR => {
                        if let Some(refusal) = refusal(&answer) {
                            return Err(refusal.into_error());
                        }
                    }
                    _ => read(answer.body).into_iter().for_each(&mut *visit),
                }
            }
        }
        Err(io::Error::other("the kernel broke off its answer"))
    }
}

/// Reads an answer: the end that is here comes first.
fn read(body: &[u8]) -> Option<Flow> {
    let ends = body.get(..ENDS_BYTES)?;
    let family = ends[0];
    let port = |at: usize| u16::from_be_bytes([ends[at], ends[at + 1]]);
    Some(Flow {
        local: ip(family, &ends[8..24])?,
        local_port: port(4),
        client: ip(family, &ends[24..40])?,
        client_port: port(6),
    })
}

/// An address; one of IPv4 also where a socket of IPv6 has it.
fn ip(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::from_octets(first(bytes)?).into()),
        libc::AF_INET6 => Some(IpAddr::from(Ipv6Addr::from_octets(first(bytes)?)).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::namespace::lab::{add_address, alone, await_true, ip as configure};

    fn flow(stream: &TcpStream) -> Flow {
        let (local, client) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        Flow {
            client: client.ip().to_canonical(),
            client_port: client.port(),
            local: local.ip().to_canonical(),
            local_port: local.port(),
        }
    }

    #[test]
    fn connections_to_an_address_are_listed_and_no_others() {
        alone(|| {
            configure("addr add 10.9.0.100/32 dev lo");
            add_address("fd09::100/128", "lo");
            let addresses: [IpAddr; 2] =
                ["10.9.0.100".parse().unwrap(), "fd09::100".parse().unwrap()];
            let listener = TcpListener::bind("[::]:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let mut connections = Connections::open().unwrap();
            // The clients' ends are here too, and have the same addresses.
            let mut listed = |meant| {
                let mut found = connections.to(&addresses, meant, 10).unwrap().flows;
                found.retain(|flow| flow.local_port == port);
                found
            };
            assert_eq!(listed(Meant::Open), []);
            let mut open = Vec::new();
            let mut wanted = Vec::new();
            for address in ["10.9.0.100", "fd09::100", "127.0.0.1"] {
                let client = TcpStream::connect((address, port)).unwrap();
                let (server, _) = listener.accept().unwrap();
                if address != "127.0.0.1" {
                    wanted.push(flow(&server));
                }
                open.push((client, server));
            }
            wanted.sort_unstable();
            assert_eq!(listed(Meant::Open), wanted);
            // Both ends of each.
            let none = Connections::open().unwrap().to(&addresses, Meant::Open, 0).unwrap();
            assert_eq!(none, Listed { flows: Vec::new(), others: 4 });
            // What its client has closed is still open here.
            open.iter().for_each(|(client, _)| client.shutdown(std::net::Shutdown::Write).unwrap());
            assert_eq!(listed(Meant::Missed), wanted);
            // What both have closed is over once the last word of each has arrived.
            open.iter().for_each(|(_, server)| server.shutdown(std::net::Shutdown::Both).unwrap());
            await_true(|| listed(Meant::Missed).is_empty());
        });
    }

    #[test]
    fn more_connections_than_fit_a_datagram_are_listed() {
        alone(|| {
            // Other tests have some open too.
            crate::rlimit::raise_files().unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let pairs: Vec<_> = (0..400)
                .map(|_| (TcpStream::connect(address).unwrap(), listener.accept().unwrap()))
                .collect();
            let mut connections = Connections::open().unwrap();
            // Both ends are here, and both have this address.
            let found = connections.to(&[address.ip()], Meant::Missed, 10_000).unwrap();
            assert_eq!((found.flows.len(), found.others), (2 * pairs.len(), 0));
            let found = connections.to(&[address.ip()], Meant::Missed, 100).unwrap();
            assert_eq!((found.flows.len(), found.others), (100, 2 * pairs.len() - 100));
            // Whichever it is, and however many there are.
            for (client, _) in &pairs {
                let wanted = flow(client);
                assert!(connections.any(Meant::Missed, |flow| *flow == wanted).unwrap());
            }
            let nobody = Flow { client_port: 1, ..flow(&pairs[0].0) };
            assert!(!connections.any(Meant::Missed, |flow| *flow == nobody).unwrap());
        });
    }

    #[test]
    fn what_is_no_answer_is_not_read() {
        assert_eq!(read(&[0; 10]), None);
        assert_eq!(read(&[0; 100]), None);
    }
}
