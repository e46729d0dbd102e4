//! What is said of virtual addresses.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use evergate_core::standby::{Plan, RouterKey, View};
use evergate_core::{peer, track};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

/// Most addresses of one virtual router, so that an advert fits any link.
pub const VIP_ADDRESSES_MAX: usize = 20;
/// Most unicast peers of one virtual router.
pub const VIP_PEERS_MAX: usize = 16;
/// Most programs that are called when a role changes.
pub const HOOKS_MAX: usize = 8;

/// Virtual addresses as they should be.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct Standby {
    /// Name of this node.
    #[n(0)]
    pub node: String,
    /// How they behave, and the peers.
    #[n(1)]
    pub plan: Plan,
    /// What they are, one for each of the plan's routers, in its order.
    #[n(2)]
    pub vips: Vec<Vip>,
    /// What heartbeats are sealed with.
    #[n(3)]
    pub secret: Option<Key>,
}

/// One virtual router: where it is, and how it is spoken of.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Vip {
    /// Which.
    #[n(0)]
    pub key: RouterKey,
    /// Its addresses, all of one family, each with the length of its prefix.
    #[n(1)]
    pub addresses: Vec<(IpAddr, u8)>,
    /// Where they are put, and adverts sent.
    #[n(2)]
    pub interface: String,
    /// Whom adverts are sent to; empty: everybody, by multicast.
    #[n(3)]
    pub peers: Vec<IpAddr>,
    /// How adverts are told from forged ones.
    #[n(4)]
    pub auth: VipAuth,
    /// Which checksum adverts of version 3 over IPv4 have.
    #[n(5)]
    pub checksum: VipChecksum,
    /// Programs that are called when its role changes, with their arguments.
    #[n(6)]
    pub hooks: Vec<Vec<String>>,
    /// How long a hook may take.
    #[n(7)]
    pub hook_within: Duration,
}

/// How adverts are told from forged ones.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub enum VipAuth {
    /// Not at all.
    #[default]
    #[n(0)]
    None,
    /// A password in clear text, up to 8 bytes: version 2 only.
    #[n(1)]
    Password(#[n(0)] Key),
    /// An HMAC-SHA-256 trailer.
    #[n(2)]
    Hmac(#[n(0)] Key),
}

/// Which checksum adverts of version 3 over IPv4 are sent with; both are understood.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub enum VipChecksum {
    /// Like the last one that was heard; until then [`Self::Message`].
    #[default]
    #[n(0)]
    Auto,
    /// Over the message (RFC 9568 section 5.2.8).
    #[n(1)]
    Message,
    /// Over a pseudo-header too, like keepalived.
    #[n(2)]
    PseudoHeader,
}

/// A secret: neither `Debug` nor any message to people prints it.
#[derive(Clone, Decode, Encode, Eq, PartialEq)]
#[cbor(transparent)]
pub struct Key(#[n(0)] ByteVec);

impl Key {
    /// Hides `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for sealing and comparing only.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// How virtual addresses and peers are.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct StandbyNews {
    /// In the order of the plan.
    #[n(0)]
    pub vips: Vec<VipNews>,
    /// In the order of the plan.
    #[n(1)]
    pub peers: Vec<peer::View>,
    /// Whether the operator has taken this node out of service.
    #[n(2)]
    pub is_in_maintenance: bool,
    /// What cannot be done here and why, a line each: missing rights, no real-time priority …
    #[n(3)]
    pub problems: Vec<String>,
    /// How late timers were, of the last 10 s, in microseconds: the worst.
    #[n(4)]
    pub lateness_us: u64,
}

/// How a virtual address is.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct VipNews {
    /// How its election stands.
    #[n(0)]
    pub view: View,
    /// Its addresses, and whether each is on the interface now.
    #[n(1)]
    pub addresses: Vec<(String, bool)>,
    /// How often each happened since the keeper's first image started.
    #[n(2)]
    pub counts: VipCounts,
    /// Hooks that wait or run.
    #[n(3)]
    pub hooks_waiting: u32,
    /// What is tracked, and why it fails.
    #[n(4)]
    pub tracked: Vec<(track::Subject, Option<String>)>,
}

/// What has happened to a virtual address.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct VipCounts {
    /// Adverts sent.
    #[n(0)]
    pub sent: u64,
    /// Adverts that could not be sent.
    #[n(1)]
    pub send_failures: u64,
    /// Adverts in order that were heard.
    #[n(2)]
    pub heard: u64,
    /// Adverts that were refused: checksum, TTL, version, interval, address list …
    #[n(3)]
    pub refused: u64,
    /// Adverts that were refused because of their seal or password.
    #[n(4)]
    pub refused_auth: u64,
    /// Announcements (ARP, neighbour advertisements), counted by address.
    #[n(5)]
    pub announced: u64,
    /// How often an address was put back that something else had removed.
    #[n(6)]
    pub put_back: u64,
    /// Hooks that failed or took too long.
    #[n(7)]
    pub hooks_failed: u64,
}
