//! All virtual routers of a node, and what couples them: tracking, groups that move together, peers,
//! orders of the operator. What the keeper's shell talks to.
//!
//! One machine, so that a simulation of two to five nodes is a simulation of what really runs.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use minicbor::{Decode, Encode};

use crate::track::{Rule, Subject};
use crate::vrrp::{Advert, Policy, Role};
use crate::{handover, peer};

mod acts;
mod group;
mod joining;
mod machine;
mod member;
mod moves;
mod order;
mod pause;
mod talk;

pub use machine::{Birth, Standby};

#[cfg(test)]
mod tests;

/// Most virtual routers of a node.
pub const ROUTERS_MAX: usize = 32;

/// Names a virtual router on every node: its VRID, 256 more if its addresses are IPv6.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[cbor(transparent)]
pub struct RouterKey(#[n(0)] pub u16);

/// A virtual router as it should be.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Setup {
    /// Which.
    #[n(0)]
    pub key: RouterKey,
    /// Name in `[vip.NAME]`.
    #[n(1)]
    pub name: String,
    /// How it behaves.
    #[n(2)]
    pub policy: Policy,
    /// Those with the same word move together.
    #[n(3)]
    pub sync: Option<String>,
    /// What it must have.
    #[n(4)]
    pub track: Vec<Rule>,
    /// How long connections that are open here may go on once it has moved as planned, up to
    /// [`handover::PASS_MAX`]; none is [`handover::PASS_DEFAULT`].
    #[n(5)]
    pub drain: Option<Duration>,
}

/// Everything as it should be.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct Plan {
    /// Every virtual router; others give their addresses up.
    #[n(0)]
    pub routers: Vec<Setup>,
    /// The other nodes.
    #[n(1)]
    pub peers: Vec<peer::Setup>,
    /// How heartbeats are exchanged; none without peers.
    #[n(2)]
    pub heartbeat: Option<peer::Policy>,
    /// Name of this node, said in heartbeats.
    #[n(3)]
    pub node: String,
}

/// What an operator wants.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Order {
    /// Let a peer have an address.
    #[n(0)]
    Failover {
        /// Name in `[vip.NAME]`, with it all that move together; every address this node has if
        /// none.
        #[n(0)]
        vip: Option<String>,
    },
    /// Let peers have every address, and take part no more until it is off again. Survives restarts
    /// of worker and keeper, not of the machine.
    #[n(1)]
    Maintenance {
        /// On or off.
        #[n(0)]
        is_on: bool,
    },
}

/// What happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// An advert in order, of a virtual router of ours, was heard.
    Heard {
        /// Which.
        router: RouterKey,
        /// The sender's address: it decides between equal priorities.
        from: IpAddr,
        /// What it says.
        advert: Advert,
    },
    /// The interface of a virtual router: the address that adverts are sent from, if they can be
    /// sent; else why not.
    Interface {
        /// Which.
        router: RouterKey,
        /// Primary IPv4 or link-local IPv6 address.
        source: Result<IpAddr, String>,
    },
    /// Something that is tracked works, or does not and why.
    Verdict {
        /// What.
        subject: Subject,
        /// Why it fails; nothing if it does not.
        failure: Option<String>,
    },
    /// Somebody else was seen to answer for an address that is ours (ARP or neighbour discovery).
    RivalOwner {
        /// Which virtual router.
        router: RouterKey,
        /// Link-layer address, for people.
        who: String,
    },
    /// A peer said something, over the path with this number.
    Said {
        /// Position in [`Plan::peers`].
        peer: usize,
        /// Position among its addresses.
        path: usize,
        /// What.
        message: peer::Message,
    },
    /// Something that came over a path was refused: no seal or a wrong one, or heard before.
    Refused {
        /// Position in [`Plan::peers`].
        peer: usize,
        /// Position among its addresses.
        path: usize,
    },
    /// Whether a path answers echo requests.
    Echo {
        /// Position in [`Plan::peers`].
        peer: usize,
        /// Position among its addresses.
        path: usize,
        /// Whether it does.
        answers: bool,
    },
    /// Step 2 of a planned move ([`handover`]) was done: these are the open connections.
    Frozen {
        /// Connections to the addresses; or why they could not be had.
        flows: Result<Vec<handover::Flow>, String>,
    },
    /// The old node's last connection has ended, or all that it may be waited for.
    Drained,
    /// Something waits until no move is under way: connections of the last one are waited for no
    /// longer than [`handover::NEXT_WITHIN`]. To be said again while it does.
    Hasten,
    /// The worker cannot be brought back: every address is to be given up at once.
    Helpless {
        /// Why, for people.
        why: String,
    },
    /// The worker is there again.
    Helped,
    /// The node ends: addresses are given up in order. [`Output::Idle`] follows.
    Stop,
    /// Time has passed.
    Tick,
}

/// What is to be done. In this order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Send an advert now.
    Advertise {
        /// Of which virtual router.
        router: RouterKey,
        /// 0 to 255.
        priority: u8,
    },
    /// Have the addresses on the interface, from now on.
    Hold(RouterKey),
    /// Have them there no more.
    Release(RouterKey),
    /// Tell the network once where the addresses are.
    Announce(RouterKey),
    /// Send this to a peer.
    Say {
        /// Position in [`Plan::peers`].
        peer: usize,
        /// Over this path; over all that work if none.
        path: Option<usize>,
        /// What.
        message: peer::Message,
    },
    /// A planned move, at the old node: catch what arrives for these addresses, list what is open,
    /// answer with [`Input::Frozen`].
    Freeze {
        /// Of which virtual routers.
        routers: Vec<RouterKey>,
    },
    /// At the old node: pass on to this peer what was caught and is caught from now on; keep the
    /// addresses out of sight of ARP; say [`Input::Drained`] when what was open has ended.
    PassOn {
        /// Of which virtual routers, each with an address of the successor on its link: the sender of
        /// its adverts.
        routers: Vec<(RouterKey, IpAddr)>,
        /// For so long at most.
        within: Duration,
    },
    /// What is passed on since [`Self::PassOn`] is so for this long at most from now on.
    Hasten {
        /// Of which virtual routers.
        routers: Vec<RouterKey>,
        /// How long.
        within: Duration,
    },
    /// At the successor: pass packets of these connections back to the old node.
    PassBack {
        /// Of which virtual routers, each with an address of the old node on its link.
        routers: Vec<(RouterKey, IpAddr)>,
        /// What is not ours.
        flows: Vec<handover::Flow>,
    },
    /// Nothing is caught or passed on any more for these; at the old node, the addresses are
    /// removed.
    PassNone {
        /// Of which virtual routers.
        routers: Vec<RouterKey>,
    },
    /// A role has changed: for hooks, numbered and in order.
    Turned(Turn),
    /// Something worth an event.
    Note(Note),
    /// After [`Input::Stop`]: no address is held any more, and nothing will be said.
    Idle,
}

/// A change of role. The first one of each virtual router is from [`Role::Init`] to the same: that it
/// begins.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Turn {
    /// Counts the changes of this node, on from the milliseconds of Unix time at its birth: what a node
    /// tells that was started again has greater numbers than what it told before, unless its clock was
    /// set back.
    #[n(0)]
    pub sequence: u64,
    /// Name in `[vip.NAME]`.
    #[n(1)]
    pub vip: String,
    /// What it is now.
    #[n(2)]
    pub role: Role,
    /// What it was.
    #[n(3)]
    pub before: Role,
    /// Which mastership this is, counted over all nodes: a newer one has a greater number. Grows with
    /// each claim, and is never below the claimant's clock in seconds, so that it does not go back
    /// when all nodes start anew.
    #[n(4)]
    pub epoch: u64,
    /// Why, for people.
    #[n(5)]
    pub reason: String,
}

/// Something that happened, in words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// How bad it is.
    pub severity: Severity,
    /// Such as `vip_split`.
    pub kind: &'static str,
    /// Such as `vip.web` or `peer.edge-b`.
    pub subject: String,
    /// Why, for people.
    pub reason: String,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "each variant is the level of the same name")]
pub enum Severity {
    Info,
    Warn,
    Error,
}

/// How a virtual router is, for status.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct View {
    /// Which.
    #[n(0)]
    pub key: RouterKey,
    /// Name in `[vip.NAME]`.
    #[n(1)]
    pub name: String,
    /// What it does.
    #[n(2)]
    pub role: Role,
    /// Effective priority; 0 while it takes no part.
    #[n(3)]
    pub priority: u8,
    /// Newest epoch known.
    #[n(4)]
    pub epoch: u64,
    /// When it took this role, in milliseconds of Unix time.
    #[n(5)]
    pub since_ms: u64,
    /// Why it has this role, for people.
    #[n(6)]
    pub reason: String,
    /// Who is master, as far as this node knows: its address and priority.
    #[n(7)]
    pub master: Option<(IpAddr, u8)>,
    /// What fails of all that is tracked, a line each.
    #[n(8)]
    pub failures: Vec<String>,
    /// Another master, heard or seen while this one is: a split. Who, for people.
    #[n(9)]
    pub rival: Option<String>,
    /// Why nothing can be claimed now though nothing fails: a delay, maintenance, a move under way.
    #[n(10)]
    pub holding_back: Option<String>,
    /// Changes of role.
    #[n(11)]
    pub turns: u64,
    /// Splits that were noticed.
    #[n(12)]
    pub splits: u64,
}
