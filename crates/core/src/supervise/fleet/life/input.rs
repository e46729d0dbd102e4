//! What happens to a run, and what follows.

use crate::supervise::fleet::Probe;

/// What happens to a run, or is wanted of it.
#[derive(Clone, Copy, Debug)]
pub(in crate::supervise::fleet) enum Input<'a> {
    /// Its process exited.
    Exited { has_rest: bool },
    /// What its process left behind is gone.
    Emptied,
    /// It says that it is ready, or that it stops.
    Noticed { is_ready: bool },
    /// A probe ended.
    Probed { probe: Probe, failure: Option<&'a str> },
    /// No request is in flight.
    Idle,
    /// Resident bytes.
    Measured { rss: u64 },
    /// It is to end.
    End,
    /// If it is to end, then now.
    Hurry,
    /// Time passed, or there is a gateway, or none.
    Tick,
}

/// What follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::supervise::fleet) enum Effect {
    /// It may have requests.
    Ready,
    /// It hangs, or says that it stops.
    Unhealthy,
    /// It was not ready in time: kill it.
    Late,
    /// Its process exited and was not to; kill the rest if there is one.
    Crashed { has_rest: bool },
    /// Ask its process to end.
    Ask,
    /// Ask all its processes to end.
    AskTree,
    /// Kill all its processes.
    Kill,
    /// They survived that.
    Stuck,
    /// Nothing is left of it.
    Gone,
}
