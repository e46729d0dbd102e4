//! What is to be done when the keeper is gone: its last words to the other nodes, and the addresses
//! that it leaves behind.
//!
//! The keeper writes it into a shared page ([`evergate_sys::shared_page`]) ahead of every change, the
//! watcher ([`crate::watcher`]) reads it. The two may be of different releases for a moment, so it
//! begins with the number of its format, and a reader takes nothing else.

use std::net::IpAddr;
use std::time::Duration;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

/// Of this layout.
const FORMAT: u32 = 1;

/// Everything that is to be done.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub(crate) struct Will {
    /// After this time without progress the keeper counts as hung: the shortest time after which
    /// another node counts it as dead. Nothing while there is nothing to lose.
    #[n(0)]
    pub(crate) patience: Option<Duration>,
    /// Last words, once the keeper is dead.
    #[n(1)]
    pub(crate) words: Vec<Words>,
    /// Addresses to remove, once it is dead or hung.
    #[n(2)]
    pub(crate) addresses: Vec<Held>,
    /// Addresses that are hidden for a planned move, to be had no more once it is dead.
    #[n(3)]
    #[cbor(default)]
    pub(crate) hidden: Vec<IpAddr>,
    /// And the interfaces that are kept from telling of them.
    #[n(4)]
    #[cbor(default)]
    pub(crate) shaded: Vec<Shaded>,
}

/// An interface that is kept from telling of hidden addresses, and what was set on it before.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub(crate) struct Shaded {
    /// Its name.
    #[n(0)]
    pub(crate) interface: String,
    /// Which addresses it answers for (`arp_ignore`).
    #[n(1)]
    pub(crate) ignore: u8,
    /// Under which address it asks (`arp_announce`).
    #[n(2)]
    pub(crate) announce: u8,
}

/// A packet that says that a virtual router stops (priority 0).
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub(crate) struct Words {
    /// Index of the interface that it goes out through.
    #[n(0)]
    pub(crate) interface: u32,
    /// The sender's address.
    #[n(1)]
    pub(crate) source: IpAddr,
    /// Whom it is sent to.
    #[n(2)]
    pub(crate) to: Vec<IpAddr>,
    /// The message of VRRP.
    #[n(3)]
    pub(crate) message: ByteVec,
}

/// An address that is on an interface because of us.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Held {
    /// Index of the interface.
    #[n(0)]
    pub(crate) interface: u32,
    /// The address.
    #[n(1)]
    pub(crate) address: IpAddr,
    /// Length of its prefix.
    #[n(2)]
    pub(crate) prefix: u8,
}

impl Will {
    /// As it is written to the page.
    pub(crate) fn encode(&self) -> Vec<u8> {
        minicbor::to_vec((FORMAT, self)).expect("a vector takes every byte")
    }

    /// What was written to the page; nothing if this release does not understand it, or if nothing
    /// was written yet.
    pub(crate) fn decode(record: &[u8]) -> Option<Self> {
        let mut decoder = minicbor::Decoder::new(record);
        let is_ours = decoder.array().ok()? == Some(2) && decoder.u32().ok()? == FORMAT;
        is_ours.then(|| decoder.decode().ok())?
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { patience: _, words, addresses, hidden, shaded } = self;
        words.is_empty() && addresses.is_empty() && hidden.is_empty() && shaded.is_empty()
    }
}

#[cfg(test)]
impl Will {
    /// That of the master of one virtual router.
    pub(crate) fn sample() -> Self {
        let address = IpAddr::from([10, 77, 0, 100]);
        Self {
            patience: Some(Duration::from_millis(90)),
            words: vec![Words {
                interface: 3,
                source: IpAddr::from([10, 77, 0, 11]),
                to: vec![IpAddr::from([224, 0, 0, 18])],
                message: vec![0x31, 51, 0, 1, 0, 3, 0, 0, 10, 77, 0, 100].into(),
            }],
            addresses: vec![Held { interface: 3, address, prefix: 32 }],
            hidden: vec![IpAddr::from([10, 77, 0, 101])],
            shaded: vec![Shaded { interface: "eth0".to_owned(), ignore: 0, announce: 1 }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_will_is_read_as_it_was_written_and_nothing_else_is_taken_for_one() {
        let will = Will::sample();
        assert_eq!(Will::decode(&will.encode()), Some(will.clone()));
        assert_eq!(Will::decode(&Will::default().encode()), Some(Will::default()));
        // Of a release that knew of no hidden addresses, for whom this one's watcher is there a moment.
        let older = (FORMAT, (will.patience, &will.words, &will.addresses));
        let known = Will { hidden: vec![], shaded: vec![], ..will.clone() };
        assert_eq!(Will::decode(&minicbor::to_vec(older).unwrap()), Some(known));
        let newer = minicbor::to_vec((FORMAT + 1, &will)).unwrap();
        for record in [&b""[..], b"\x00", &newer, &will.encode()[..20]] {
            assert_eq!(Will::decode(record), None, "{record:?}");
        }
    }

    #[test]
    fn whatever_is_to_be_done_is_something() {
        let nothing = Will { patience: Some(Duration::from_secs(1)), ..Will::default() };
        assert!(nothing.is_empty());
        let Will { words, addresses, hidden, shaded, .. } = Will::sample();
        let each = [
            Will { words, ..nothing.clone() },
            Will { addresses, ..nothing.clone() },
            Will { hidden, ..nothing.clone() },
            Will { shaded, ..nothing.clone() },
        ];
        assert!(each.iter().all(|will| !will.is_empty()));
    }

    /// The most that can be configured.
    #[test]
    fn the_longest_will_fits_its_page() {
        use evergate_control::link::{VIP_ADDRESSES_MAX, VIP_PEERS_MAX};
        use evergate_core::standby::ROUTERS_MAX;

        let far = |number: usize| {
            let parts: [u16; 8] =
                [0x2001, 0xdb8, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, number as u16];
            IpAddr::from(parts)
        };
        let words = Words {
            interface: u32::MAX,
            source: far(0),
            to: vec![far(1)],
            // Head, addresses, and a seal.
            message: vec![255; 8 + 16 * VIP_ADDRESSES_MAX + 64].into(),
        };
        let held = |number| Held { interface: u32::MAX, address: far(number), prefix: 128 };
        let will = Will {
            patience: Some(Duration::MAX),
            // Whom it is for may change the checksum.
            words: vec![words; ROUTERS_MAX * VIP_PEERS_MAX],
            addresses: (0..ROUTERS_MAX * VIP_ADDRESSES_MAX).map(held).collect(),
            hidden: (0..ROUTERS_MAX * VIP_ADDRESSES_MAX).map(far).collect(),
            shaded: vec![
                Shaded { interface: "fifteen-letters".to_owned(), ignore: 8, announce: 2 };
                ROUTERS_MAX
            ],
        };
        let bytes = will.encode().len();
        assert!(bytes <= evergate_sys::shared_page::RECORD_BYTES_MAX, "{bytes}");
    }
}
