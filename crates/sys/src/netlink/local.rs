//! When an address that was put can be reached.
//!
//! One of IPv4 can as soon as the kernel has answered. One of IPv6 is finished by a worker of the
//! kernel's later on, and what arrives for it until then is thrown away.

use std::io;
use std::net::Ipv6Addr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use super::message::Draft;
use super::{DATAGRAM_BYTES_MAX, Netlink, open, refusal};
use crate::{clock, datagram};

/// Family, lengths of destination and source, service, table, protocol, scope, type, flags (`rtmsg`).
const FIXED_BYTES: usize = 12;
/// Where the type is in it.
const TYPE: usize = 7;

impl Netlink {
    /// Waits until every address is this machine's own to the kernel's routes, but no longer than
    /// `within`; whether every one is. It takes some tens of microseconds, or milliseconds while others
    /// change the machine's network too.
    pub fn await_local(&self, addresses: &[Ipv6Addr], within: Duration) -> io::Result<bool> {
        let deadline = clock::now() + within;
        let mut rest = addresses.to_vec();
        // Told of before it is looked: nothing is missed between.
        let (routes, _) = open(libc::RTMGRP_IPV6_ROUTE as u32)?;
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            while let Some(&address) = rest.last() {
                if !self.is_local(address)? {
                    break;
                }
                rest.pop();
            }
            let left = deadline.since(clock::now());
            if rest.is_empty() || left.is_zero() {
                return Ok(rest.is_empty());
            }
            let timeout = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(&routes, PollFlags::IN)], timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            // What changed does not matter, nor whether some of it was lost.
            while let Ok(Some(_)) = datagram::receive(&routes, &mut buffer) {}
        }
    }

    /// Whether what is sent to `address` stays on this machine.
    fn is_local(&self, address: Ipv6Addr) -> io::Result<bool> {
        let mut fixed = [0; FIXED_BYTES];
        fixed[..2].copy_from_slice(&[libc::AF_INET6 as u8, Ipv6Addr::BITS as u8]);
        let question = Draft::new(libc::RTM_GETROUTE, libc::NLM_F_REQUEST, &fixed)
            .attribute(libc::RTA_DST, &address.octets())
            .finish();
        let sequence = self.ask(question)?;
        let mut outcome = None;
        self.answers(sequence, |answer| {
            outcome = match answer.kind {
                libc::RTM_NEWROUTE => Some(Ok(answer.body.get(TYPE) == Some(&libc::RTN_LOCAL))),
                kind if i32::from(kind) == libc::NLMSG_ERROR => {
                    refusal(answer).map(|refusal| match refusal.number {
                        libc::ENETUNREACH | libc::EHOSTUNREACH => Ok(false),
                        _ => Err(refusal.into_error()),
                    })
                }
                _ => None,
            };
            outcome.is_some()
        })?;
        outcome.unwrap_or_else(|| Err(io::Error::other("the kernel gave no answer")))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::super::Place;
    use super::*;
    use crate::namespace::lab::{alone, index};

    #[test]
    fn an_address_that_was_awaited_can_be_reached() {
        alone(|| {
            let netlink = Netlink::open().unwrap();
            let listener = std::net::TcpListener::bind("[::]:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let addresses: Vec<Ipv6Addr> =
                (1..=20).map(|number| Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, number)).collect();
            for &ip in &addresses {
                let place = Place { interface: index("lo"), ip: ip.into(), prefix: 128 };
                netlink.put(&place).unwrap();
            }
            assert!(netlink.await_local(&addresses, Duration::from_secs(20)).unwrap());
            for &ip in &addresses {
                TcpStream::connect((ip, port)).unwrap();
            }
        });
    }

    #[test]
    fn an_address_that_is_not_here_is_not_waited_for_long() {
        alone(|| {
            let netlink = Netlink::open().unwrap();
            let absent = ["fd09::1".parse().unwrap()];
            assert!(!netlink.await_local(&absent, Duration::from_millis(2)).unwrap());
            assert!(netlink.await_local(&[], Duration::ZERO).unwrap());
        });
    }
}
