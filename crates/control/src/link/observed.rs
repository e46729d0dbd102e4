//! What the apps do, as the keeper sees it.

use minicbor::{Decode, Encode};

/// What the apps do.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct Observed {
    /// Every instance, sorted by app, number and generation. One that is being replaced may be
    /// there twice.
    #[n(0)]
    pub instances: Vec<Instance>,
    /// For each app the deploy that is under way, or else the last one.
    #[n(1)]
    pub deploys: Vec<Deploy>,
    /// How the limits of each app that has some are kept.
    #[n(2)]
    pub limits: Vec<AppLimits>,
}

/// One process of an instance: what an instance is from one start to the end of all that came of
/// it.
#[derive(Clone, Debug, Decode, Encode, Eq, Ord, PartialEq, PartialOrd)]
pub struct Run {
    /// Name of the app.
    #[n(0)]
    pub app: String,
    /// Number of the instance, from 0.
    #[n(1)]
    pub number: u16,
    /// Counts the starts of this instance; where it listens belongs to one generation.
    #[n(2)]
    pub generation: u32,
}

/// One instance of an app, or one of its two while it is being replaced.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Instance {
    /// Which; the generation of its last run if there is none now.
    #[n(0)]
    pub run: Run,
    /// What it does.
    #[n(1)]
    pub state: InstanceState,
    /// How long it has done that, in milliseconds.
    #[n(2)]
    pub since_ms: u64,
    /// Its process, while there is one.
    #[n(3)]
    pub pid: Option<u32>,
    /// Where it listens, while there is a process.
    #[n(4)]
    pub place: Option<Place>,
    /// Of what it is a run; grows with each deploy.
    #[n(5)]
    pub revision: u32,
    /// Unplanned exits of the instance so far, failed starts included.
    #[n(6)]
    pub exits: u32,
    /// Failures that count at the moment, and how many are too many.
    #[n(7)]
    pub budget: (u16, u16),
    /// How the last exit came about ("signal 9 (KILL)", "exit status 1"), or why it could not
    /// start.
    #[n(8)]
    pub last_exit: Option<String>,
    /// Why it is in this state, if there is more to say than the state does.
    #[n(9)]
    pub reason: Option<String>,
}

/// Where a run listens.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Place {
    /// `127.0.0.1:PORT`.
    #[n(0)]
    Port(#[n(0)] u16),
    /// A Unix socket at this path.
    #[n(1)]
    Unix(#[n(0)] String),
}

/// What an instance does.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum InstanceState {
    /// It should run and waits for its turn: for an app of `after`, or the limit on starts.
    #[n(0)]
    Waiting,
    /// Its process runs and is not ready yet.
    #[n(1)]
    Starting,
    /// It may have requests.
    #[n(2)]
    Ready,
    /// It was ready and hangs; it gets no requests.
    #[n(3)]
    Unhealthy,
    /// It finishes its requests and gets no new ones.
    #[n(4)]
    Draining {
        /// The rest is cut in this many milliseconds from now.
        #[n(0)]
        for_ms: u32,
    },
    /// It is being ended on purpose.
    #[n(5)]
    Stopping,
    /// It was killed and is still there: the kernel does not let go of it.
    #[n(6)]
    Stuck,
    /// It ended and will be started again.
    #[n(7)]
    Backoff {
        /// In this many milliseconds from now.
        #[n(0)]
        for_ms: u32,
    },
    /// It failed too often, or in a way that another start does not mend.
    #[n(8)]
    Fatal {
        /// Tried again in this many milliseconds from now; if none, when the operator starts it.
        #[n(0)]
        for_ms: Option<u32>,
    },
    /// It ended, and nothing is to follow.
    #[n(9)]
    Stopped,
}

/// How the limits of an app are kept.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct AppLimits {
    /// Name of the app.
    #[n(0)]
    pub app: String,
    /// A line for each limit: "memory 256 MiB by cgroup v1", "cpu unsupported: ...".
    #[n(1)]
    pub kept: Vec<String>,
}

/// The runs of an app being replaced in turn.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Deploy {
    /// Name of the app.
    #[n(0)]
    pub app: String,
    /// Counts the deploys of the app, from 1.
    #[n(1)]
    pub number: u32,
    /// The revision that is rolled out.
    #[n(2)]
    pub revision: u32,
    /// How far it is.
    #[n(3)]
    pub phase: DeployPhase,
    /// Instances done.
    #[n(4)]
    pub done: u16,
    /// Instances in all.
    #[n(5)]
    pub of: u16,
    /// What it is about ("deploy", "restart", "the configuration changed").
    #[n(6)]
    pub cause: String,
    /// What it does or did, or why it failed, for people.
    #[n(7)]
    pub message: String,
    /// How long this phase has lasted, in milliseconds.
    #[n(8)]
    pub since_ms: u64,
}

/// How far a deploy is.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum DeployPhase {
    /// Instances are being replaced.
    #[n(0)]
    Rolling,
    /// The first new run serves and is compared with the old ones.
    #[n(1)]
    Soaking,
    /// There is no worker; it goes on when there is one.
    #[n(2)]
    Paused,
    /// Instances get their old revision back.
    #[n(3)]
    Reverting,
    /// Every instance was replaced.
    #[n(4)]
    Done,
    /// It failed; the message says why.
    #[n(5)]
    Failed,
}
