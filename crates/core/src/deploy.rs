//! Replacing the runs of an app in turn, joined to draining.
//!
//! The first new run is the canary: it serves beside the old ones for a while, and the deploy goes
//! on only if it does not fare worse. What a new run that fails leads to is [`OnFailure`]'s to say.

use core::time::Duration;

/// How an app is deployed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Runs beyond the number of instances at a time; a new run then starts beside the old one.
    pub surge: u16,
    /// Instances that may be missing at a time; a new run then starts when the old one is gone.
    /// At least one of the two is not 0; if both are, the surge is used.
    pub unavailable: u16,
    /// How long the canary is watched; zero for not at all.
    pub canary_for: Duration,
    /// What happens when a new run fails.
    pub on_failure: OnFailure,
}

/// What happens when a new run fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnFailure {
    /// The instance gets its old revision back; the others are left as they are.
    Abort,
    /// Every instance gets its old revision back.
    Rollback,
    /// The next instance is replaced.
    Continue,
}

/// How requests to some runs went, since the canary began to serve.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sample {
    /// Responses and failed attempts.
    pub requests: u64,
    /// Of these, failed attempts and statuses from 500.
    pub errors: u64,
    /// 99th percentile of the time to the response head; zero without a request.
    pub p99: Duration,
}
