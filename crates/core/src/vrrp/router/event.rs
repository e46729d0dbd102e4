//! What a virtual router is told, and what it wants done.

use alloc::string::String;
use core::net::IpAddr;
use core::time::Duration;

use minicbor::{Decode, Encode};

use crate::time::Instant;
use crate::vrrp::{Advert, Role};

/// What makes a virtual router take part, or not.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Fitness {
    /// It takes part, with this priority (1 to 255).
    #[n(0)]
    Able {
        /// Effective priority.
        #[n(0)]
        priority: u8,
    },
    /// It cannot serve.
    #[n(1)]
    Faulty {
        /// How addresses are given up.
        #[n(0)]
        leave: Leave,
        /// Why, for people.
        #[n(1)]
        why: String,
    },
    /// It is not to take part.
    #[n(2)]
    Out {
        /// How addresses are given up.
        #[n(0)]
        leave: Leave,
        /// Why, for people.
        #[n(1)]
        why: String,
    },
}

/// How addresses are given up.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Leave {
    /// Kept until a successor is heard, for one master-down time at most.
    #[n(0)]
    InOrder,
    /// Released right after the advert of priority 0.
    #[n(1)]
    AtOnce,
}

/// What happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// Its fitness is this now.
    Fitness(Fitness),
    /// The address that adverts are sent from; nothing while there is none.
    Source(Option<IpAddr>),
    /// An advert in order was heard.
    Heard {
        /// The sender.
        from: IpAddr,
        /// What it says.
        advert: Advert,
    },
    /// Somebody else was seen to answer for the addresses.
    RivalOwner {
        /// Link-layer address, for people.
        who: String,
    },
    /// Another node is to have the addresses; this one stays able.
    Resign {
        /// Why, for people.
        why: String,
        /// How much longer than usual it waits before it would take them again, beside the wait for
        /// a successor.
        hold_off: Duration,
        /// Whether it preempts nobody from now on until it has been master again.
        is_lasting: bool,
    },
    /// Take the addresses at once, whatever the priorities.
    TakeOver {
        /// Why, for people.
        why: String,
        /// Whether the master that was heard last knows, and goes without a word: what it may say
        /// for one master-down time yet is not answered.
        is_agreed: bool,
    },
    /// Another node has taken the addresses, as agreed: be its backup and say nothing.
    Cede {
        /// Why, for people.
        why: String,
    },
    /// Until then a worse master is not replaced: there is a better way, and it is being tried.
    Defer {
        /// When this ends.
        until: Instant,
    },
    /// As a backup, claim nothing until then because of silence: others that it moves with hear
    /// their master.
    Wait {
        /// When this ends.
        until: Instant,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Send an advert.
    Advertise {
        /// 0 to 255.
        priority: u8,
    },
    /// Have the addresses.
    Hold,
    /// Have them no more.
    Release,
    /// Tell the network once.
    Announce,
    /// The role has changed.
    Turned {
        /// What it is now.
        role: Role,
        /// What it was.
        before: Role,
        /// Why, for people.
        reason: String,
    },
    /// Another master was heard, or seen, that nobody asked for.
    Rival {
        /// Who, for people.
        who: String,
    },
    /// It was not called for this long, longer than its peers wait.
    Late {
        /// How long.
        silence: Duration,
    },
}
