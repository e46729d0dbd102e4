//! Whether packets to an address end here.
//!
//! Those to one of IPv4 do as soon as the kernel has answered who put it. One of IPv6 is finished by
//! a worker of the kernel's later on, and what arrives for it until then is thrown away.

use std::io;
use std::net::Ipv6Addr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use super::message::Draft;
use super::{DATAGRAM_BYTES_MAX, Netlink, open, refusal};
use crate::{clock, datagram};

/// Family, lengths of both ends, TOS, table, protocol, scope, type, flags (`rtmsg`).
const FIXED_BYTES: usize = 12;
/// Where in it the type of the route is.
const TYPE_AT: usize = 7;
/// All of an address matters.
const ADDRESS_BITS: u8 = 128;

impl Netlink {
    /// Waits until the kernel takes packets to all of these addresses, each on its interface, for its
    /// own, but no longer than `within`; whether it does. That takes some tens of microseconds, or
    /// milliseconds while others change the machine's network too.
    pub fn await_local(&self, addresses: &[(u32, Ipv6Addr)], within: Duration) -> io::Result<bool> {
        let deadline = clock::now() + within;
        let mut rest = addresses.to_vec();
        // Told of before it is looked: nothing is missed between.
        let (routes, _) = open(libc::RTMGRP_IPV6_ROUTE as u32)?;
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            while let Some(&(interface, ip)) = rest.last() {
                if !self.is_local(interface, ip)? {
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

    /// Whether the kernel takes packets to this address that come in on `interface` for its own. Of
    /// an address that was just added it does so only when a thread of its own has come to it.
    pub fn is_local(&self, interface: u32, ip: Ipv6Addr) -> io::Result<bool> {
        let mut fixed = [0; FIXED_BYTES];
        fixed[0] = libc::AF_INET6 as u8;
        fixed[1] = ADDRESS_BITS;
        let question = Draft::new(libc::RTM_GETROUTE, libc::NLM_F_REQUEST, &fixed)
            .attribute(libc::RTA_DST, &ip.octets())
            .attribute(libc::RTA_OIF, &interface.to_ne_bytes())
            .finish();
        let sequence = self.ask(question)?;
        let mut outcome = None;
        self.answers(sequence, |answer| {
            outcome = match answer.kind {
                libc::RTM_NEWROUTE => Some(Ok(answer.body.get(TYPE_AT) == Some(&libc::RTN_LOCAL))),
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
    use crate::namespace::lab::{alone, index, ip as configure};

    #[test]
    fn an_address_is_local_once_the_kernel_has_come_to_it() {
        alone(|| {
            configure("link add near type veth peer name far");
            configure("link set near up");
            configure("link set far up");
            let netlink = Netlink::open().unwrap();
            let near = index("near");
            for text in ["fd09::12", "fe80::12"] {
                let address: Ipv6Addr = text.parse().unwrap();
                assert!(!netlink.is_local(near, address).unwrap(), "{text}");
                configure(&format!("addr add {text}/64 dev near nodad"));
                let place = [(near, address)];
                assert!(netlink.await_local(&place, Duration::from_secs(20)).unwrap());
                assert!(netlink.is_local(near, address).unwrap(), "{text}");
                configure(&format!("addr del {text}/64 dev near"));
                assert!(!netlink.is_local(near, address).unwrap(), "{text}");
            }
            assert!(!netlink.is_local(near, "fd10::1".parse().unwrap()).unwrap());
        });
    }

    #[test]
    fn an_address_that_was_awaited_can_be_reached() {
        alone(|| {
            let netlink = Netlink::open().unwrap();
            let listener = std::net::TcpListener::bind("[::]:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let addresses: Vec<Ipv6Addr> =
                (1..=20).map(|number| Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, number)).collect();
            let lo = index("lo");
            for &ip in &addresses {
                netlink.put(&Place { interface: lo, ip: ip.into(), prefix: 128 }).unwrap();
            }
            let spots: Vec<_> = addresses.iter().map(|&ip| (lo, ip)).collect();
            assert!(netlink.await_local(&spots, Duration::from_secs(20)).unwrap());
            for &ip in &addresses {
                TcpStream::connect((ip, port)).unwrap();
            }
        });
    }

    #[test]
    fn an_address_that_is_not_here_is_not_waited_for_long() {
        alone(|| {
            let netlink = Netlink::open().unwrap();
            let absent = [(index("lo"), "fd09::1".parse().unwrap())];
            assert!(!netlink.await_local(&absent, Duration::from_millis(2)).unwrap());
            assert!(netlink.await_local(&[], Duration::ZERO).unwrap());
        });
    }
}
