//! Replacing the worker, and after it the keeper, while requests go on.
//!
//! The worker is replaced by another process that serves beside it for a while; the keeper becomes
//! the new binary in place. Every phase has a timeout, and until the last one a way back: what
//! serves is never let go before what follows it has proved that it serves.
//!
//! ```text
//!  Checking -> Loading -> Activating -> Probing -> Releasing -> Acquiring -> Soaking
//!      |          |           |            |           |            |           |
//!      v          v           v            v           v            v       Returning
//!   refused    new one gone, the old one goes on as it was           |           |
//!                                                                    v           v
//!                                                             old one is primary again
//!
//!  Soaking -> Rehearsing -> Executing -> done
//!                 |             |
//!                 v             v
//!            the keeper stays what it was; the worker stays new
//! ```
//!
//! Exclusive things (what apps print, checks of servers, certificates, the admin socket) belong to
//! the primary worker alone. They change hands once the new worker has been seen to serve, so that
//! nothing has to be given back before that.
//!
//! A new worker that is no good has clients all the same: unless it is silent, dead or has let nobody
//! in, it lets go in order and finishes what it began.

use alloc::string::String;
use core::time::Duration;

use minicbor::{Decode, Encode};

mod judge;
mod machine;

#[cfg(test)]
mod tests;

pub use machine::{EXECUTE_WITHIN, REASON_BYTES_MAX, Upgrade};

/// How long each phase may take, and when the new worker is no good.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Policy {
    /// For the new binary to say what it is and that it could go on from here.
    #[n(0)]
    pub check_within: Duration,
    /// From the start of the new worker until it could serve.
    #[n(1)]
    pub load_within: Duration,
    /// For the new worker to accept beside the old one.
    #[n(2)]
    pub activate_within: Duration,
    /// For the answer to a request through the new worker.
    #[n(3)]
    pub probe_within: Duration,
    /// For the old worker to let go of exclusive things.
    #[n(4)]
    pub release_within: Duration,
    /// For the new worker to take them.
    #[n(5)]
    pub acquire_within: Duration,
    /// How long the new worker is watched, the old one ready to come back.
    #[n(6)]
    pub soak: Duration,
    /// Responses of the new worker below which their errors say nothing.
    #[n(7)]
    pub samples_min: u64,
    /// By how many errors in 1,000 responses the new worker may exceed the old one.
    #[n(8)]
    pub errors_more_permille: u16,
    /// For the new keeper to say that it could go on from the state of this one.
    #[n(9)]
    pub rehearse_within: Duration,
}

impl Default for Policy {
    /// 10 s, 30 s, 2 s, 5 s, 10 s, 2 s; 30 s of soak, from 20 responses on, 5 % more errors; 10 s.
    fn default() -> Self {
        Self {
            check_within: Duration::from_secs(10),
            load_within: Duration::from_secs(30),
            activate_within: Duration::from_secs(2),
            probe_within: Duration::from_secs(5),
            release_within: Duration::from_secs(10),
            acquire_within: Duration::from_secs(2),
            soak: Duration::from_secs(30),
            samples_min: 20,
            errors_more_permille: 50,
            rehearse_within: Duration::from_secs(10),
        }
    }
}

/// Most workers that finish what they began, beside the one that serves and the one before it.
pub const DRAINING_MAX: usize = 2;

/// How far an upgrade is.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// The new binary is asked what it is, whether it understands the configuration in force and
    /// the state of the keeper.
    #[n(0)]
    Checking,
    /// The new worker starts and loads the configuration in force.
    #[n(1)]
    Loading,
    /// It takes over state and begins to accept beside the old one.
    #[n(2)]
    Activating,
    /// It answers a request.
    #[n(3)]
    Probing,
    /// The old worker lets go of exclusive things and says what it knows.
    #[n(4)]
    Releasing,
    /// The new one takes them: it is the primary worker.
    #[n(5)]
    Acquiring,
    /// The old one finishes what it began and stays; the new one is watched.
    #[n(6)]
    Soaking,
    /// The new one lets go of exclusive things, for the old one to have them back.
    #[n(9)]
    Returning,
    /// The new keeper is asked once more whether it could go on.
    #[n(7)]
    Rehearsing,
    /// The keeper becomes the new binary.
    #[n(8)]
    Executing,
}

/// Which of the two workers of an upgrade.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Side {
    /// That served when it began.
    #[n(0)]
    Old,
    /// That is to serve.
    #[n(1)]
    New,
}

/// How requests through a worker went, counted since it started.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct Served {
    /// Responses.
    #[n(0)]
    pub requests: u64,
    /// Of these, with a status from 500.
    #[n(1)]
    pub errors: u64,
}

/// What is to be replaced.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Parts {
    /// The worker.
    #[n(0)]
    pub worker: bool,
    /// The keeper.
    #[n(1)]
    pub keeper: bool,
}

/// What happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// The new binary said that it could go on from here, or why it could not; also an answer to
    /// [`Output::Rehearse`].
    Checked(Result<(), String>),
    /// The new worker could serve.
    Ready,
    /// The new worker accepts.
    Activated,
    /// A request through the new worker was answered as it should be, or not.
    Probed(Result<(), String>),
    /// A worker let go.
    Released(Side),
    /// The new worker is the primary one.
    Acquired,
    /// How a worker fares.
    Served(Side, Served),
    /// A worker exited, could not be started, or no longer follows its link; why. Whoever says so
    /// of one that might still be there has killed it: another may take its place at once.
    Lost(Side, String),
    /// The keeper did not become the new binary; why.
    Stayed(String),
    /// This is the new binary, and it goes on.
    Executed,
    /// The node ends, and this is in the way; why. Nobody is killed for that, and nothing is given
    /// back any more: who is the primary worker stays so to the end. Too late once the keeper was
    /// told to [`Output::Execute`].
    Stop(String),
    /// The deadline passed.
    Tick,
}

/// What to do.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Output {
    /// Run the new binary aside and say [`Input::Checked`].
    #[n(0)]
    Check,
    /// Start the new worker.
    #[n(1)]
    Spawn,
    /// Have the new worker accept.
    #[n(2)]
    Activate,
    /// Send a request through the new worker.
    #[n(3)]
    Probe,
    /// Have the old worker let go of exclusive things and say what it knows.
    #[n(4)]
    Release,
    /// Have the new worker, which has them, let go of exclusive things and say what it knows.
    #[n(12)]
    Recall,
    /// Have this worker be the primary one: it accepts, and what was let go is its own from here on.
    /// Nobody waits for the old one to say so: it has been the primary one before.
    #[n(5)]
    Acquire(#[n(0)] Side),
    /// Have the old worker finish what it began; it stays until [`Output::Finish`].
    #[n(6)]
    Retire,
    /// The new worker stays, and a worker that follows it is of its binary too. Nobody needs the old
    /// one any more: if it is still there, it ends when it has finished.
    #[n(7)]
    Finish,
    /// End the new worker at once, if it is still there.
    #[n(8)]
    Kill,
    /// Have the new worker accept no more, finish what it began, and end.
    #[n(13)]
    Dismiss,
    /// Run the new binary aside with the state of this keeper and say [`Input::Checked`].
    #[n(9)]
    Rehearse,
    /// Become the new binary. Who is still here after that says [`Input::Stayed`].
    #[n(10)]
    Execute,
    /// It is over: what was begun besides, such as a check, is to be given up. If no worker is left,
    /// the next one is started as after any crash.
    #[n(11)]
    End(#[n(0)] Outcome),
}

/// How an upgrade ended.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Outcome {
    /// All of it is new.
    #[n(0)]
    Done,
    /// Nothing was changed: the old worker never stopped to serve, unless it was lost. Why.
    #[n(1)]
    Refused(#[n(0)] String),
    /// The new worker was not good enough, and the old one serves again; where it was lost, another
    /// of its binary. Why.
    #[n(2)]
    Returned(#[n(0)] String),
    /// The worker is new, the keeper is not. Why.
    #[n(3)]
    Partial(#[n(0)] String),
}
