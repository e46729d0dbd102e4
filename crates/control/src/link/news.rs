//! What is said of apps between: wishes, probes, samples, and what has happened.

use minicbor::{Decode, Encode};

/// What the operator wants of an app.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Verb {
    /// Run it, whatever stopped it: an operator, too many failures, its own end.
    #[n(0)]
    Start,
    /// Drain it, end it, and leave it so until it is started.
    #[n(1)]
    Stop,
    /// Replace its runs in turn, of the same revision.
    #[n(2)]
    Restart,
    /// Replace its runs in turn by those of what its paths lead to now.
    #[n(3)]
    Deploy,
    /// Say what [`Verb::Deploy`] would do.
    #[n(4)]
    PlanDeploy,
    /// Say what [`Verb::Restart`] would do.
    #[n(5)]
    PlanRestart,
    /// Give up the deploy that is under way, as if a run of it had failed.
    #[n(6)]
    Abort,
}

/// What a probe is about.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Probe {
    /// Whether a starting run is ready.
    #[n(0)]
    Ready,
    /// Whether a ready run hangs.
    #[n(1)]
    Alive,
}

/// How requests to some runs went.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct Sample {
    /// Responses and failed attempts.
    #[n(0)]
    pub requests: u64,
    /// Of these, failed attempts and statuses from 500.
    #[n(1)]
    pub errors: u64,
    /// 99th percentile of the time to the response head, in microseconds; 0 without a request.
    #[n(2)]
    pub p99_us: u64,
}

/// Something that happened to an app, in words.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Happening {
    /// How bad it is.
    #[n(0)]
    pub severity: Severity,
    /// Such as `app_exited` or `deploy_aborted`.
    #[n(1)]
    pub kind: String,
    /// Such as `app.shop/0`.
    #[n(2)]
    pub subject: String,
    /// Why, for people.
    #[n(3)]
    pub reason: String,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[allow(missing_docs, reason = "each variant is the level of the same name")]
pub enum Severity {
    #[n(0)]
    Info,
    #[n(1)]
    Warn,
    #[n(2)]
    Error,
}
