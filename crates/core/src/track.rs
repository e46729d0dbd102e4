//! What a node must have to be worth an address: verdicts on listeners, pools, apps, links and
//! gateways, and what they do to a priority.

use alloc::string::String;
use core::net::IpAddr;
use core::time::Duration;

use minicbor::{Decode, Encode};

/// Most rules of one virtual address.
pub const RULES_MAX: usize = 32;

/// What is watched.
#[derive(Clone, Debug, Decode, Encode, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Subject {
    /// A listener: all its sockets are open. The keeper knows.
    #[n(0)]
    Listener(#[n(0)] String),
    /// A pool: some server is up. The worker says so.
    #[n(1)]
    Pool(#[n(0)] String),
    /// An app: an instance is ready, or is being brought back. The keeper knows.
    #[n(2)]
    App(#[n(0)] String),
    /// An interface: it is up and has a carrier. The keeper knows.
    #[n(3)]
    Link(#[n(0)] String),
    /// An address that answers echo requests. The keeper asks.
    #[n(4)]
    Gateway(#[n(0)] IpAddr),
}

/// What a failure does.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Effect {
    /// The node gives the address up.
    #[n(0)]
    Fault,
    /// This is added to the priority while it fails (a negative weight), or while it does not (a
    /// positive one). The sum stays within 1 to 254.
    #[n(1)]
    Weight(#[n(0)] i16),
}

/// One rule of `track`.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Rule {
    /// What is watched.
    #[n(0)]
    pub subject: Subject,
    /// What its failure does.
    #[n(1)]
    pub effect: Effect,
    /// How long it must have failed before that counts. Default none.
    #[n(2)]
    pub fall: Duration,
    /// How long it must have been well before that counts. Default 1 s.
    #[n(3)]
    pub rise: Duration,
}

/// What the rules come to.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Standing {
    /// It may take part, with this priority (1 to 255).
    #[n(0)]
    Able {
        /// Effective priority.
        #[n(0)]
        priority: u8,
        /// Why it is not its own, for people.
        #[n(1)]
        reason: Option<String>,
    },
    /// It must not hold the address; why, for people.
    #[n(1)]
    Faulty(#[n(0)] String),
}
