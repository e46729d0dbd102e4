//! The fleet as it is shown.

use alloc::string::String;
use core::time::Duration;

use super::{Revision, Run};
use crate::deploy::Phase;

/// What an instance does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It should run and waits: for an app it comes after, or for the limit on starts.
    Waiting,
    /// Its process runs and is not ready yet.
    Starting,
    /// It may have requests.
    Ready,
    /// It was ready and hangs.
    Unhealthy,
    /// It finishes requests and gets no new ones.
    Draining {
        /// For so long from now at most.
        left: Duration,
    },
    /// It is being ended, or what its process left behind is.
    Stopping,
    /// It was killed and is still there.
    Stuck,
    /// It ended and will be started again.
    Backoff {
        /// In so long from now.
        left: Duration,
    },
    /// It failed too often, or for good.
    Fatal {
        /// Tried again in so long from now; not at all if none.
        left: Option<Duration>,
    },
    /// It ended, and nothing follows.
    Stopped,
}

/// One run as it is shown, or an instance that has none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct View {
    /// Which; the generation of the last run if there is none, 0 before the first.
    pub run: Run,
    /// What it does.
    pub state: State,
    /// How long it has done that.
    pub since: Duration,
    /// Of what it is a run.
    pub revision: Revision,
    /// Unplanned exits of the instance so far, failed starts included.
    pub exits: u32,
    /// Failures that count at the moment.
    pub failures: u16,
    /// How the last exit came about.
    pub last_exit: Option<String>,
    /// Why it is in this state, if there is more to say.
    pub reason: Option<String>,
}

/// A deploy as it is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeployView {
    /// Name of the app.
    pub app: String,
    /// Counts the deploys of the app, from 1.
    pub number: u32,
    /// What is rolled out.
    pub revision: Revision,
    /// How far it is.
    pub phase: Phase,
    /// Instances done.
    pub done: u16,
    /// Instances in all.
    pub of: u16,
    /// What it is about: "deploy", "restart" or "the configuration changed".
    pub cause: &'static str,
    /// What it does or did, or why it failed.
    pub message: String,
    /// How long this phase has lasted.
    pub since: Duration,
}
