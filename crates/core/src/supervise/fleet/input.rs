//! What happens to the fleet, or is wanted of it.

use alloc::string::String;
use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::deploy;
use crate::supervise::policy::Policy;

/// One process of an instance, with all that came of it.
#[derive(Clone, Debug, Decode, Encode, Eq, Ord, PartialEq, PartialOrd)]
pub struct Run {
    /// Name of the app.
    #[n(0)]
    pub app: String,
    /// Number of the instance, from 0.
    #[n(1)]
    pub number: u16,
    /// Counts the starts of this instance, from 1.
    #[n(2)]
    pub generation: u32,
}

/// What is run: a number that the shell gives and understands. A later one is a larger one.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, Ord, PartialEq, PartialOrd)]
pub struct Revision(#[n(0)] pub u32);

/// One app that should run.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct App {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// What it goes by.
    #[n(1)]
    pub policy: Policy,
    /// What it runs. Another one than before is rolled out.
    #[n(2)]
    pub revision: Revision,
}

/// What happened, or is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// Every app that should run; others are drained and ended.
    Desired(Vec<App>),
    /// [`super::Output::Spawn`] did not come off.
    SpawnFailed {
        /// Which.
        run: Run,
        /// Whether another try may come off.
        fault: SpawnFault,
        /// For people.
        why: String,
    },
    /// The process of a run exited.
    Exited {
        /// Which.
        run: Run,
        /// How.
        exit: Exit,
        /// For people: "exit status 1".
        how: String,
        /// Whether other processes of it are still there.
        has_rest: bool,
    },
    /// The last process of a run that had exited or was to end is gone.
    Emptied(Run),
    /// The run says that it is ready, or again not (`STOPPING=1`).
    Noticed {
        /// Which.
        run: Run,
        /// Whether it is ready.
        is_ready: bool,
    },
    /// A probe of a starting run (is it ready?) or of a ready one (does it hang?) ended.
    Probed {
        /// Which.
        run: Run,
        /// What it was about.
        probe: Probe,
        /// Why it failed; nothing if it passed.
        failure: Option<String>,
    },
    /// A draining run has no request in flight.
    Idle(Run),
    /// Resident bytes of a run.
    Measured {
        /// Which.
        run: Run,
        /// Bytes.
        rss: u64,
    },
    /// How the new runs of a deploy fare beside the old ones.
    Sampled {
        /// Name of the app.
        app: String,
        /// The new ones.
        canary: deploy::Sample,
        /// The old ones.
        others: deploy::Sample,
    },
    /// There is a gateway, or none: then nothing is in flight, and nobody probes or samples.
    Gateway(bool),
    /// Everything is to end, apps before those that they come after.
    End,
    /// If something is to end, then now.
    Hurry,
    /// The deadline passed.
    Tick,
}

/// What a probe is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Probe {
    /// Whether a starting run is ready.
    Ready,
    /// Whether a ready run hangs.
    Alive,
}

/// What the operator wants of an app, or of one instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wish {
    /// Name of the app.
    pub app: String,
    /// Number of the instance; all of them if none.
    pub number: Option<u16>,
    /// What.
    pub verb: Verb,
}

/// What the operator wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    /// Run it, whatever stopped it, with a budget that is whole again.
    Start,
    /// Drain it, end it, and leave it so.
    Stop,
    /// Replace its runs in turn, with this revision: the one it has, or for a deploy a new one.
    Roll(Revision),
    /// Give up the deploy that is under way.
    Abort,
}

/// Why there is no process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SpawnFault {
    /// Another try may come off: no memory, no port.
    Passing,
    /// It will not: no such program, no such user.
    Lasting,
}

/// How a process ended, as far as it matters here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// By itself, with this status. 78 (EX_CONFIG) and 125 say that another start ends alike.
    Status(i32),
    /// By a signal.
    Signal(i32),
    /// It used more memory than its own limit: a failure like any other.
    OutOfMemory,
    /// The machine ran out of memory, or somebody else had the port that we chose: not its fault,
    /// and not counted.
    Blameless,
}
