//! One worker: its process, its link, and what it has said.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use evergate_control::link::{Desired, Run, ToKeeper, ToWorker, WorkerState};
use evergate_core::time::Instant;
use evergate_sys::signal::{self, Signal};

use super::Standing;
use crate::apps::USERS_NAMED_MAX;
use crate::binary::Binary;
use crate::files::Readable;
use crate::link::{Broken, Link};

/// Most runs of which it is remembered that a worker does not use them any more.
const IDLE_MAX: usize = 1024;

/// One worker, from its start until its exit.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its process.
    pub(crate) pid: u32,
    /// Until either side lets go of it.
    pub(crate) link: Option<Link>,
    /// What it was started from.
    pub(crate) binary: Rc<Binary>,
    /// Version of Evergate, once it has said that.
    pub(crate) version: Option<String>,
    /// Whether it has said that it could serve.
    pub(crate) is_ready: bool,
    /// Whether it has said that nothing is in flight any more.
    pub(crate) has_drained: bool,
    /// What it wants, as it said last.
    pub(crate) desired: Option<Desired>,
    /// What is opened for it.
    pub(crate) readable: Readable,
    /// Whether it can be asked to go back to the configuration before.
    pub(crate) knows_trials: bool,
    /// Whom it wants apps to run as.
    pub(crate) users: Vec<String>,
    /// What it has open and has counted since it let go, as it said last.
    pub(crate) shared: Option<Rc<OwnedFd>>,
    pub(super) standing: Standing,
    /// When it began what it does, in milliseconds of Unix time.
    pub(super) since_ms: u64,
    /// Which runs that drain it has nothing in flight to any more.
    pub(super) idle: BTreeSet<Run>,
    /// What is wrong with its link.
    pub(super) broken: Option<Broken>,
    /// Whether we killed it.
    pub(super) is_killed: bool,
    /// Whether it let go of its link while it was to serve.
    pub(crate) is_lost: bool,
    /// When it has had time enough.
    pub(super) kill_at: Option<Instant>,
}

impl Worker {
    /// One that has just been started.
    pub(super) fn new(
        (pid, link): (u32, Link),
        binary: Rc<Binary>,
        standing: Standing,
        readable: Readable,
        now_ms: u64,
    ) -> Self {
        Self {
            pid,
            link: Some(link),
            binary,
            version: None,
            is_ready: false,
            has_drained: false,
            desired: None,
            readable,
            knows_trials: false,
            users: Vec::new(),
            shared: None,
            standing,
            since_ms: now_ms,
            idle: BTreeSet::new(),
            broken: None,
            is_killed: false,
            is_lost: false,
            kill_at: None,
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether we killed it, and its exit is still to come.
    pub(crate) fn is_killed(&self) -> bool {
        self.is_killed
    }

    /// Whether it is ready and can be talked to.
    pub(super) fn is_fine(&self) -> bool {
        let is_heard = self.link.is_some() && self.broken.is_none();
        self.is_ready && is_heard && !self.is_killed
    }

    /// Whether requests may come of it.
    pub(super) fn serves(&self) -> bool {
        let is_there = self.link.is_some() && !self.is_killed && !self.has_drained;
        is_there && (self.is_ready || self.standing == Standing::Primary)
    }

    /// Sends it a message, now or when there is room. What comes of a link that does not work any
    /// more is for [`super::Workers::take_broken`] to tell.
    pub(crate) fn send(&mut self, message: &ToWorker, fds: Vec<Rc<OwnedFd>>) {
        if let (Some(link), None) = (&mut self.link, self.broken)
            && let Err(broken) = link.send(message, fds)
        {
            self.broken = Some(broken);
        }
    }

    /// The next message and the descriptors beside it, if there is one.
    pub(crate) fn receive(&mut self) -> Option<(ToKeeper, Vec<OwnedFd>)> {
        let (Some(link), None) = (&mut self.link, self.broken) else {
            return None;
        };
        link.flush();
        link.receive().unwrap_or_else(|broken| {
            self.broken = Some(broken);
            None
        })
    }

    /// Wants apps to run as these users too.
    pub(crate) fn name_users(&mut self, users: Vec<String>) {
        let room = USERS_NAMED_MAX.saturating_sub(self.users.len());
        self.users.extend(users.into_iter().take(room));
    }

    /// A run that drains has nothing of this worker in flight any more.
    pub(crate) fn set_idle(&mut self, run: Run) {
        if self.idle.len() < IDLE_MAX {
            self.idle.insert(run);
        }
    }

    /// Ends it at once, with all that it may have started.
    pub(super) fn kill(&mut self) {
        self.is_killed = true;
        // Gone already is as good.
        let _ = signal::send_group(self.pid, Signal::Kill);
    }

    /// In the words of the link.
    pub(super) fn state(&self) -> WorkerState {
        match (self.standing, self.is_ready) {
            (Standing::Candidate | Standing::Primary, false) => WorkerState::Starting,
            (Standing::Candidate | Standing::Former, _) => WorkerState::Standby,
            (Standing::Primary, true) => WorkerState::Primary,
            (Standing::Retired | Standing::Leaving, _) => WorkerState::Draining,
        }
    }

    /// What it does has changed, or has not.
    pub(super) fn mark(&mut self, before: WorkerState, now_ms: u64) {
        if self.state() != before {
            self.since_ms = now_ms;
        }
    }
}
