//! What is known of the other nodes beside VRRP: heartbeats over every path, and what they prove.
//!
//! VRRP tells that a master is silent, not why. [`Peers`] sends a [`Beat`] over every path in every
//! interval and hears those of the others, so it can: a path is dead when several beats in a row are
//! missing, or when the peer says that it does not hear ours; a host is dead when every path is.
//! Beats also carry how each node stands with each virtual router, which is how a successor for a
//! planned move is found.
//!
//! Whether a message is true and new is found out before it comes here.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use minicbor::{Decode, Encode};

use crate::handover;
use crate::vrrp::Role;

mod machine;
mod path;
pub mod session;
#[cfg(test)]
mod tests;

pub use machine::{Input, Note, Output, Peers};

/// Most peers of a node.
pub const PEERS_MAX: usize = 8;
/// Most paths to one peer.
pub const PATHS_MAX: usize = 4;
/// Most claims of a peer that are listened to: one for each virtual router of a node.
pub const CLAIMS_MAX: usize = 32;
/// Longest interval of a peer that is believed.
pub const INTERVAL_MAX: Duration = Duration::from_secs(10);

/// Another node.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Setup {
    /// Name in `[peer.NAME]`: the other node's `node.name`.
    #[n(0)]
    pub name: String,
    /// Its addresses, one for each path.
    #[n(1)]
    pub addresses: Vec<IpAddr>,
}

/// How heartbeats are exchanged.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Policy {
    /// Between two heartbeats on each path. Default 100 ms.
    #[n(0)]
    pub interval: Duration,
    /// How many in a row must be missing for a path to count as dead. Default 3.
    #[n(1)]
    pub missing: u8,
    /// UDP port of every node. Default 7947.
    #[n(2)]
    pub port: u16,
}

/// What nodes say to each other, sealed and numbered on its way.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Message {
    /// Sent on every path in every interval.
    #[n(0)]
    Beat(#[n(0)] Beat),
    /// About a planned move.
    #[n(1)]
    Handover(#[n(0)] handover::Message),
}

/// A heartbeat.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Beat {
    /// Who sends it: its `node.name`.
    #[n(0)]
    pub node: String,
    /// How it stands with each of its virtual routers.
    #[n(1)]
    pub routers: Vec<Claim>,
    /// Numbers of the paths (positions in the sender's list of the receiver's addresses) on which it
    /// hears the receiver: so that each side knows of one-way cuts.
    #[n(2)]
    pub hears: Vec<u8>,
    /// Number of the path that this goes over, in the same list.
    #[n(3)]
    pub path: u8,
    /// Counts the sender's beats over this path, from 1, so that lost ones are noticed.
    #[n(4)]
    pub number: u64,
    /// Drawn by chance when the sender started.
    #[n(5)]
    pub boot: u64,
    /// How long until its next one.
    #[n(6)]
    pub interval: Duration,
}

/// How a node stands with a virtual router.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Claim {
    /// VRID, IPv6 ones plus 256.
    #[n(0)]
    pub router: u16,
    /// What it does.
    #[n(1)]
    pub role: Role,
    /// Its effective priority, 0 if it cannot take part.
    #[n(2)]
    pub priority: u8,
    /// Newest epoch that it knows.
    #[n(3)]
    pub epoch: u64,
    /// Whether it could take over at once, as part of a planned move.
    #[n(4)]
    pub is_ready: bool,
}

/// How well a peer is, from all that is known.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub enum Health {
    /// Nothing was heard of it yet.
    #[default]
    #[n(0)]
    Unknown,
    /// Heard on every path, or on some and the others have had no time yet.
    #[n(1)]
    Alive,
    /// Heard on some path, but not on all, or not hearing us on all: a link is dead, the host is
    /// not.
    #[n(2)]
    LinkDead,
    /// Heard on none, after it was heard.
    #[n(3)]
    HostDead,
}

impl Health {
    /// As in status and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Alive => "alive",
            Self::LinkDead => "link_dead",
            Self::HostDead => "host_dead",
        }
    }
}

/// What is known of a peer, for status.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct View {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// How well it is.
    #[n(1)]
    pub health: Health,
    /// Each path.
    #[n(2)]
    pub paths: Vec<PathView>,
    /// What it said last of virtual routers.
    #[n(3)]
    pub claims: Vec<Claim>,
}

/// What is known of a path.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct PathView {
    /// The peer's address there.
    #[n(0)]
    pub address: IpAddr,
    /// Whether heartbeats come in.
    #[n(1)]
    pub is_heard: bool,
    /// Whether the peer says that it hears ours.
    #[n(2)]
    pub hears_us: bool,
    /// Since when the first of these two is so, in milliseconds of Unix time.
    #[n(3)]
    pub since_ms: u64,
    /// Whether it answers echo requests; nothing while nobody knows.
    #[n(4)]
    pub answers_echo: Option<bool>,
    /// Heartbeats that came in.
    #[n(5)]
    pub received: u64,
    /// Heartbeats that are known to be lost.
    #[n(6)]
    pub lost: u64,
    /// Packets that were refused: no seal or a wrong one, or repeated.
    #[n(7)]
    pub refused: u64,
}
