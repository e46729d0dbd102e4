//! Whether packets to an address end here.

use std::io;
use std::net::Ipv6Addr;

use super::message::Draft;
use super::{Netlink, refusal};

/// Family, lengths of both ends, TOS, table, protocol, scope, type, flags (`rtmsg`).
const FIXED_BYTES: usize = 12;
/// Where in it the type of the route is.
const TYPE_AT: usize = 7;
/// All of an address matters.
const ADDRESS_BITS: u8 = 128;

impl Netlink {
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
                while !netlink.is_local(near, address).unwrap() {
                    std::thread::yield_now();
                }
                configure(&format!("addr del {text}/64 dev near"));
                assert!(!netlink.is_local(near, address).unwrap(), "{text}");
            }
            assert!(!netlink.is_local(near, "fd10::1".parse().unwrap()).unwrap());
        });
    }
}
