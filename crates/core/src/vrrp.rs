//! One virtual router among its peers: who answers for an address (RFC 9568, RFC 3768).
//!
//! Timers are [`core::time::Duration`]s throughout: a skew that is
//! rounded to whole units would make backups race.

use core::time::Duration;

use minicbor::{Decode, Encode};

mod announce;
pub mod packet;
pub mod router;

/// Priority of whoever owns the address as its own (RFC 9568 section 5.2.4): never given up to
/// another one.
pub const PRIORITY_OWNER: u8 = 255;
/// Said by whoever stops: a backup follows after its skew.
pub const PRIORITY_STOP: u8 = 0;
/// How many intervals without an advert, the skew beside it, make a master dead
/// (Active_Down_Interval, RFC 9568 section 6.1).
pub const INTERVALS_DOWN: u32 = 3;

/// Which protocol is spoken.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Version {
    /// RFC 3768: IPv4 only, intervals in whole seconds, all alike.
    #[n(2)]
    V2,
    /// RFC 9568: intervals in hundredths of a second, learned from the master.
    #[n(3)]
    V3,
}

/// What a virtual router does.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// Not taking part: starting, or stopped by an operator.
    #[default]
    #[n(0)]
    Init,
    /// Ready to follow.
    #[n(1)]
    Backup,
    /// It answers for its addresses ("Active" in RFC 9568).
    #[n(2)]
    Master,
    /// Unable to serve, so not taking part.
    #[n(3)]
    Fault,
}

impl Role {
    /// As in status, metrics and hooks.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Backup => "backup",
            Self::Master => "master",
            Self::Fault => "fault",
        }
    }
}

/// How a virtual router behaves.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Policy {
    /// Which protocol.
    #[n(0)]
    pub version: Version,
    /// VRID, 1 to 255.
    #[n(1)]
    pub router_id: u8,
    /// Own priority when all is well, 1 to 255. Default 254.
    #[n(2)]
    pub priority: u8,
    /// Between two adverts of ours. Default 30 ms, of version 2 one second.
    #[n(3)]
    pub interval: Duration,
    /// Whether a master of lower priority is replaced. Default no.
    #[n(4)]
    pub preempt: bool,
    /// How long this node must have been well, and ready, before it preempts. Default 5 s.
    #[n(5)]
    pub preempt_delay: Duration,
    /// How long after its start a node claims nothing unless told to. Default none.
    #[n(6)]
    pub startup_delay: Duration,
    /// How often an address that was taken is told to the network. Default 5.
    #[n(7)]
    pub announce_repeat: u8,
    /// How often the master tells it again; nothing: never. Default 60 s.
    #[n(8)]
    pub announce_refresh: Option<Duration>,
}

/// What somebody else said, once its packet was found to be in order.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Advert {
    /// 0 to 255.
    #[n(0)]
    pub priority: u8,
    /// Its interval.
    #[n(1)]
    pub interval: Duration,
}
