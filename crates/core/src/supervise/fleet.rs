//! Every app with its instances: what runs, what is to run, and what follows from what happens.
//!
//! An *instance* is a place, `APP/N`, that outlives processes. A *run* is one process of it with
//! all that came of that process, known by its generation. A *revision* is what is run, a number
//! that the shell gives; an app moves from one revision to the next by a deploy.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::policy::Policy;
use crate::deploy;
pub use crate::deploy::Phase;

/// One process of an instance, with all that came of it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Run {
    /// Name of the app.
    pub app: String,
    /// Number of the instance, from 0.
    pub number: u16,
    /// Counts the starts of this instance, from 1.
    pub generation: u32,
}

/// What is run: a number that the shell gives and understands. A later one is a larger one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Revision(pub u32);

/// One app that should run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct App {
    /// Its name.
    pub name: String,
    /// What it goes by.
    pub policy: Policy,
    /// What it runs. Another one than before is rolled out.
    pub revision: Revision,
}

/// What happened, or is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// Every app that should run; others are drained and ended.
    Desired(Vec<App>),
    /// What the operator wants.
    Wish(Wish),
    /// [`Output::Spawn`] did not come off.
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

/// What to do, in this order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Start a process. If that fails, say [`Input::SpawnFailed`] at once.
    Spawn {
        /// The new run.
        run: Run,
        /// Of what.
        revision: Revision,
    },
    /// Ask its process to end, by the signal of the app.
    Ask(Run),
    /// Ask every process of it to end.
    AskTree(Run),
    /// Kill every process of it. [`Input::Exited`] and [`Input::Emptied`] follow.
    Kill(Run),
    /// Tell people.
    Tell(Event),
}

/// Something worth telling.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// How bad it is.
    pub severity: Severity,
    /// Such as `app_exited`, `app_fatal` or `deploy_failed`.
    pub kind: &'static str,
    /// Name of the app.
    pub app: String,
    /// Number of the instance, if it is about one.
    pub number: Option<u16>,
    /// Why, for people.
    pub reason: String,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "each variant is the level of the same name")]
pub enum Severity {
    Info,
    Warn,
    Error,
}

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
    /// What it does or did, or why it failed.
    pub message: String,
    /// How long this phase has lasted.
    pub since: Duration,
}

// `Fleet` itself: `new(rng, now)`, `handle(now, input)`, `next_output()`, `deadline()`,
// `views(now)`, `deploys(now)`, `plan(wish)` and `is_empty()`.
