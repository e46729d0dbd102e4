//! What a node must have to be worth an address: verdicts on listeners, pools, apps, links and
//! gateways, and what they do to a priority.
//!
//! A [`Tracker`] holds the rules of one virtual router. Three things stand between what is heard of
//! a subject and what it counts as:
//!
//! - *Doubt*: a failure counts after `fall`, a recovery after `rise`, if it lasts that long.
//! - *Nothing heard yet*: whoever has not been judged is no reason to give an address up, but the
//!   node is not ready to claim one either ([`Tracker::waits_for`]).
//! - *Flapping*: a subject that has failed [`FLAPS_MAX`] times within [`FLAP_WINDOW`] is not trusted
//!   until it has been well for [`QUIET_LEAST`], and twice as long each time, up to [`QUIET_MAX`].
//!   Until then a fault makes the node the last resort ([`PRIORITY_LAST`]) instead of a good home:
//!   were it a fault still, something that flaps below all nodes would leave nobody to serve.

use alloc::string::String;
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use minicbor::{Decode, Encode};

mod tracker;
mod watched;

pub use tracker::{Input, Tracker};

#[cfg(test)]
mod tests;

/// Most rules of one virtual address.
pub const RULES_MAX: usize = 32;
/// How often a subject may fail within [`FLAP_WINDOW`] before it is not trusted any more.
pub const FLAPS_MAX: usize = 3;
/// What is near enough to be flapping.
pub const FLAP_WINDOW: Duration = Duration::from_secs(60);
/// How long a subject that flapped must be well to be trusted again, at first.
pub const QUIET_LEAST: Duration = Duration::from_secs(10);
/// And at most.
pub const QUIET_MAX: Duration = Duration::from_secs(300);
/// A subject that has not failed for this long is as one that never flapped.
pub const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Priority of a node of which something that must not fail flaps.
pub const PRIORITY_LAST: u8 = 1;

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

/// As in the configuration: `pool.api`; of a gateway `gateway 10.0.0.1`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(name) => write!(f, "listener.{name}"),
            Self::Pool(name) => write!(f, "pool.{name}"),
            Self::App(name) => write!(f, "app.{name}"),
            Self::Link(name) => write!(f, "link.{name}"),
            Self::Gateway(ip) => write!(f, "gateway {ip}"),
        }
    }
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
