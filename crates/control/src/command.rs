//! What the admin API asks of the worker's control plane.

use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};

use crate::link::{UpgradeOrder, Verb};
use crate::snapshot::{Changes, Event, Explanation, History, LogLine, PlanChange, Stats, Status};

/// Most commands waiting at once; the admin API answers 503 past that.
pub const COMMANDS_QUEUED_MAX: usize = 64;
/// Most events that a slow reader may fall behind before it loses some.
pub const EVENTS_QUEUED_MAX: usize = 256;

/// A wish, and where the answer goes. Whoever drops `reply` unanswered is shutting down.
#[derive(Debug)]
pub enum Command {
    /// The state of the node.
    Status {
        /// Where the answer goes.
        reply: oneshot::Sender<Status>,
    },
    /// Every counter.
    Stats {
        /// Where the answer goes.
        reply: oneshot::Sender<Stats>,
    },
    /// The latest events, oldest first.
    Events {
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<Event>>,
    },
    /// Read the configuration again and apply it, or only say what would change.
    Reload {
        /// Whether nothing must be applied.
        dry_run: bool,
        /// If given, the one before comes back unless it is confirmed within that time.
        confirm_within: Option<Duration>,
        /// What changed (or would); or every error as text, when nothing did.
        reply: oneshot::Sender<Result<PlanChange, String>>,
    },
    /// Keep the configuration on trial.
    Confirm {
        /// What is kept, in words, or why not.
        reply: oneshot::Sender<Result<String, ChangeRefusal>>,
    },
    /// Put a configuration in force that was applied before, or only say what would change.
    Rollback {
        /// Which one; the one before if none.
        to: Option<u64>,
        /// Whether nothing must be applied.
        dry_run: bool,
        /// What changed (or would), or why nothing did.
        reply: oneshot::Sender<Result<PlanChange, ChangeRefusal>>,
    },
    /// The configurations that can be put in force again.
    History {
        /// Where the answer goes.
        reply: oneshot::Sender<History>,
    },
    /// Change routes and servers beside the file, or only say what that would do.
    Change {
        /// What is wanted.
        order: ChangeOrder,
        /// Whether nothing must be applied.
        dry_run: bool,
        /// What changed (or would), or why nothing did.
        reply: oneshot::Sender<Result<PlanChange, ChangeRefusal>>,
    },
    /// What was changed beside the file.
    Changes {
        /// Where the answer goes.
        reply: oneshot::Sender<Changes>,
    },
    /// What would happen to a request.
    Explain {
        /// The request.
        question: Question,
        /// The answer, or what is wrong with the question.
        reply: oneshot::Sender<Result<Explanation, String>>,
    },
    /// Change one server until the next reload of its pool.
    Adjust {
        /// Name of the pool.
        pool: String,
        /// Name of the server.
        server: String,
        /// What to change.
        adjustment: Adjustment,
        /// Done, or why not.
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// The configuration in force, as text, secrets replaced.
    Config {
        /// Where the answer goes.
        reply: oneshot::Sender<String>,
    },
    /// Starts, stops or replaces runs of an app.
    App {
        /// Name of the app.
        app: String,
        /// Number of the instance; all of them if none.
        instance: Option<u16>,
        /// What to do.
        verb: Verb,
        /// What will be done (or would be), a line for each step; or why not.
        reply: oneshot::Sender<Result<Vec<String>, String>>,
    },
    /// Replaces worker and keeper. How it goes is in [`Status::upgrade`].
    Upgrade {
        /// What is wanted.
        order: UpgradeOrder,
        /// What will be done, a line for each step; or why nothing will.
        reply: oneshot::Sender<Result<Vec<String>, String>>,
    },
    /// Moves virtual addresses, or takes this node out of service.
    Standby {
        /// What is wanted.
        order: evergate_core::standby::Order,
        /// What will be done, a line for each step; or why nothing will.
        reply: oneshot::Sender<Result<Vec<String>, String>>,
    },
    /// What apps printed.
    Logs {
        /// Name of the app; all of them if none.
        app: Option<String>,
        /// Number of the instance; all of them if none.
        instance: Option<u16>,
        /// Most lines of the past.
        lines: usize,
        /// Whether lines that come later are wanted too.
        follow: bool,
        /// The lines, or why there are none.
        reply: oneshot::Sender<Result<Logs, String>>,
    },
    /// Ends an instance of an app with SIGKILL, as the demo does.
    Kill {
        /// Name of the app.
        app: String,
        /// Number of the instance.
        instance: u16,
        /// Sent on, or why not.
        reply: oneshot::Sender<Result<(), String>>,
    },
}

/// A change beside the file. Subjects are named as in [`PlanChange`]: `route.api`, `pool.api/a`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ChangeOrder {
    /// Put a section there, in place of what the file or an earlier change has.
    Put {
        /// What it is about.
        subject: String,
        /// The keys of the section as in the file: a JSON object. It may hold secrets.
        body: String,
    },
    /// Take it away: what was put, or else what the file has.
    Delete {
        /// What it is about.
        subject: String,
    },
    /// Forget changes, so that what the file has counts again; all of them or none.
    Drop {
        /// What they are about.
        subjects: Vec<String>,
    },
}

/// Why nothing was changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChangeRefusal {
    /// Who is at fault.
    pub fault: ChangeFault,
    /// What is wrong; may have several lines.
    pub message: String,
    /// The key it is about, such as `route.api.pool`.
    pub path: String,
    /// How to mend it.
    pub help: String,
}

/// Who is at fault that nothing was changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChangeFault {
    /// The change is wrong in itself or does not fit the rest.
    Invalid,
    /// There is nothing of that name.
    NotFound,
    /// Not now, or not by this worker.
    Conflict,
    /// It cannot be kept: the disk is full, or not ours.
    NotKept,
}

/// What apps printed.
#[derive(Debug)]
pub struct Logs {
    /// The past, oldest first.
    pub lines: Vec<LogLine>,
    /// Lines of all apps as they come, if they are wanted; the reader picks its own.
    pub follow: Option<broadcast::Receiver<LogLine>>,
}

/// A request to explain.
#[derive(Clone, Debug)]
pub struct Question {
    /// Method.
    pub method: String,
    /// `http://host[:port]/path?query`
    pub url: String,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// As if it came from this address; default 127.0.0.1.
    pub client: Option<std::net::IpAddr>,
}

/// A change to one server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Adjustment {
    /// No new requests; those in flight finish.
    Drain,
    /// Take requests again.
    Undrain,
    /// Another weight, 0 to 65535; 0 is like drain.
    Weight(u16),
}

/// How the admin API reaches the control plane.
#[derive(Clone, Debug)]
pub struct Control {
    /// Commands.
    pub commands: mpsc::Sender<Command>,
    /// Events as they happen.
    pub events: broadcast::Sender<Event>,
}
