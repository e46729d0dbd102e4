//! Who has which address on a link, as far as the kernel knows.

use std::io;
use std::net::IpAddr;

use super::message::{Draft, attributes, u16_at};
use super::{Netlink, refusal};
use crate::family::Family;
use crate::mac::Mac;

/// Family, interface, state, flags, kind (`ndmsg`).
const FIXED_BYTES: usize = 12;
/// The address was not found out, or not yet (`NUD_INCOMPLETE`, `NUD_FAILED`).
const UNKNOWN: u16 = 0x01 | 0x20;

impl Netlink {
    /// The link-layer address behind an address on the link of `interface`; nothing if the kernel
    /// has not asked for it lately. It does when something is sent there.
    pub fn neighbour(&self, interface: u32, ip: IpAddr) -> io::Result<Option<Mac>> {
        let (family, octets) = match Family::of(ip) {
            Family::V4 => (libc::AF_INET, octets(ip)),
            Family::V6 => (libc::AF_INET6, octets(ip)),
        };
        let mut fixed = [0; FIXED_BYTES];
        fixed[0] = family as u8;
        fixed[4..8].copy_from_slice(&interface.to_ne_bytes());
        let question = Draft::new(libc::RTM_GETNEIGH, libc::NLM_F_REQUEST, &fixed)
            .attribute(libc::NDA_DST, &octets)
            .finish();
        let sequence = self.ask(question)?;
        let mut outcome = None;
        self.answers(sequence, |answer| {
            outcome = match answer.kind {
                libc::RTM_NEWNEIGH => Some(Ok(read(answer.body))),
                kind if i32::from(kind) == libc::NLMSG_ERROR => {
                    refusal(answer).map(|refusal| match refusal.number {
                        libc::ENOENT => Ok(None),
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

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn read(body: &[u8]) -> Option<Mac> {
    if u16_at(body, 8)? & UNKNOWN != 0 {
        return None;
    }
    let mut found = attributes(body.get(FIXED_BYTES..)?);
    let (_, data) = found.find(|(kind, _)| *kind == libc::NDA_LLADDR)?;
    data.try_into().ok().map(Mac)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::lab::{alone, index, ip as configure};

    #[test]
    fn a_neighbour_is_known_or_not() {
        alone(|| {
            configure("link add near type veth peer name far");
            configure("link set near up");
            let netlink = Netlink::open().unwrap();
            let near = index("near");
            for (text, prefix) in [("10.9.0.12", 24), ("fd09::12", 64)] {
                let address: IpAddr = text.parse().unwrap();
                assert_eq!(netlink.neighbour(near, address).unwrap(), None);
                configure(&format!("addr add {}1/{prefix} dev near", text));
                configure(&format!("neigh add {text} lladdr 02:00:00:00:00:07 dev near"));
                let found = netlink.neighbour(near, address).unwrap();
                assert_eq!(found, Some(Mac([2, 0, 0, 0, 0, 7])));
                assert_eq!(netlink.neighbour(index("lo"), address).unwrap(), None);
            }
            configure("neigh add 10.9.0.13 dev near nud failed");
            assert_eq!(netlink.neighbour(near, "10.9.0.13".parse().unwrap()).unwrap(), None);
            assert!(netlink.neighbour(4711, "10.9.0.13".parse().unwrap()).is_err());
        });
    }
}
