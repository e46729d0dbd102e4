//! What an app goes by: everything about it that decides when a process is started, ready, hung,
//! ended and replaced. What is started, and as whom, is the shell's to know.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use minicbor::{Decode, Encode};

use crate::deploy;

/// What an app goes by. A change of it never restarts anything.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Policy {
    /// How many instances.
    #[n(0)]
    pub instances: u16,
    /// Apps of which every instance must be ready before one of this app starts; they stop after
    /// it. Apps that do not exist are no obstacle.
    #[n(1)]
    pub after: Vec<String>,
    /// When a run is ready.
    #[n(2)]
    pub ready: Ready,
    /// When a ready run counts as hanging; never if none.
    #[n(3)]
    pub alive: Option<Alive>,
    /// Which unplanned ends are followed by another start.
    #[n(4)]
    pub restart: Restart,
    /// When.
    #[n(5)]
    pub backoff: Backoff,
    /// How a run is ended.
    #[n(6)]
    pub stop: Stop,
    /// When a run that uses much memory is replaced; never if none.
    #[n(7)]
    pub memory: Option<MemoryWatch>,
    /// How runs are replaced in turn.
    #[n(8)]
    pub deploy: deploy::Policy,
}

/// When a run is ready.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Ready {
    /// How that is found out.
    #[n(0)]
    pub by: ReadyBy,
    /// Longest time from its start; it is killed past that. Only time with a gateway counts where
    /// the gateway probes.
    #[n(1)]
    pub within: Duration,
}

/// How it is found out that a run is ready.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum ReadyBy {
    /// So many probes in a row passed.
    #[n(0)]
    Probes {
        /// At least 1.
        #[n(0)]
        rise: u16,
    },
    /// It says so.
    #[n(1)]
    Notice,
    /// It has run for so long.
    #[n(2)]
    Uptime(#[n(0)] Duration),
}

/// When a ready run counts as hanging.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Alive {
    /// Probes that failed in a row; one that passes takes it back.
    #[n(0)]
    pub fall: u16,
    /// A run that hung for so long is replaced, drained first, while another of its app is ready
    /// and none is being replaced for that reason; never if none.
    #[n(1)]
    pub restart_after: Option<Duration>,
}

/// Which unplanned ends are followed by another start.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Restart {
    /// All.
    #[n(0)]
    Always,
    /// All but exit status 0.
    #[n(1)]
    OnFailure,
    /// None.
    #[n(2)]
    Never,
}

/// When another start follows.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Backoff {
    /// Wait after the first failure; each further one doubles it.
    #[n(0)]
    pub base: Duration,
    /// Longest wait.
    #[n(1)]
    pub cap: Duration,
    /// So many failures within [`Self::within`] are too many.
    #[n(2)]
    pub failures: u16,
    /// The window that slides over the failures.
    #[n(3)]
    pub within: Duration,
    /// From too many failures to the single next try; never if zero.
    #[n(4)]
    pub cooldown: Duration,
    /// A run that was ready for so long is followed by another at once, and resets the doubling.
    #[n(5)]
    pub stable_after: Duration,
}

/// How a run is ended.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Stop {
    /// What requests in flight get to finish first.
    #[n(0)]
    pub drain: Duration,
    /// From asking the process to end until the rest of the tree is asked; then
    /// [`Stop::TREE_GRACE`] until it is killed, and [`Stop::STUCK_AFTER`] until it counts as stuck.
    #[n(1)]
    pub timeout: Duration,
}

impl Stop {
    /// From asking the whole tree to end until it is killed.
    pub const TREE_GRACE: Duration = Duration::from_secs(2);
    /// From killing the tree until whatever is still there is stuck.
    pub const STUCK_AFTER: Duration = Duration::from_secs(5);
}

/// When a run that uses much memory is replaced, drained first and not together with another of its
/// app.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub struct MemoryWatch {
    /// Resident bytes.
    #[n(0)]
    pub rss: u64,
    /// How long it may use more.
    #[n(1)]
    pub over: Duration,
}
