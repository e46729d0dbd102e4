//! The workers: the one that serves, and those that come before or after it.
//!
//! Each process is known by its generation, has a link of its own, and a standing that says how much
//! its word counts. One at most is the primary one, and its life is what the machine decides on; the
//! others are there because of an upgrade, and end by themselves or are killed.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use evergate_control::link::{
    InstanceState, Observed, PROTOCOL, Role, Run, ToWorker, TrialNews, WorkerNews,
};
use evergate_core::supervise::worker::{Fate, Policy, Reason, Worker as Machine};
use evergate_core::time::Instant;
use evergate_sys::child::{self, SpawnError, Spec};
use minicbor::{Decode, Encode};

use crate::binary::Binary;
use crate::files::Readable;
use crate::link::{Broken, Link};
use crate::{LINK_FD, LINK_VARIABLE, Options, notify};

mod carried;
mod worker;

pub(crate) use self::carried::Carried;
pub(crate) use self::worker::Worker;

/// What is kept for workers to come, by name.
pub(crate) type Kept = BTreeMap<String, Rc<OwnedFd>>;

/// What a new worker is told of before it loads.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    pub(crate) kept: &'a Kept,
    pub(crate) trial: TrialNews,
}

/// Why a worker was not started.
#[derive(Debug)]
pub(crate) struct Unstarted {
    pub(crate) why: String,
    /// Whether another try would end alike.
    pub(crate) fate: Fate,
}

impl From<io::Error> for Unstarted {
    /// The machine is short of something, and may not be the next time.
    fn from(error: io::Error) -> Self {
        Self { why: error.to_string(), fate: Fate::Crashed }
    }
}

impl From<SpawnError> for Unstarted {
    fn from(error: SpawnError) -> Self {
        let fate = if error.is_lasting() { Fate::Hopeless } else { Fate::Crashed };
        Self { why: error.to_string(), fate }
    }
}

/// Every worker.
#[derive(Debug)]
pub(crate) struct Workers {
    /// Decides on the life of the primary one.
    pub(crate) machine: Machine,
    /// What the next primary one is started from, wherever its path leads by then.
    pub(crate) binary: Rc<Binary>,
    primary: Option<u32>,
    all: BTreeMap<u32, Worker>,
    /// How many there have been.
    count: u32,
    keeper_started_at: u64,
}

/// What a worker is there for, and so how much its word counts.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub(crate) enum Standing {
    /// It may become the primary one: what it wants is heard and not done yet.
    #[n(0)]
    Candidate,
    /// What it says is done.
    #[n(1)]
    Primary,
    /// It was the primary one, still serves, and may become that again.
    #[n(2)]
    Former,
    /// The same, but it takes no more.
    #[n(3)]
    Retired,
    /// It finishes what it began, and exits.
    #[n(4)]
    Leaving,
}

impl Workers {
    /// None yet.
    pub(crate) fn new(policy: Policy, binary: Rc<Binary>, keeper_started_at: u64) -> Self {
        Self {
            machine: Machine::new(policy),
            binary,
            primary: None,
            all: BTreeMap::new(),
            count: 0,
            keeper_started_at,
        }
    }

    /// Starts one and greets it; returns its generation. While that waits for its program,
    /// `meanwhile` is called again and again.
    pub(crate) fn spawn(
        &mut self,
        role: Role,
        binary: &Rc<Binary>,
        options: &Options,
        Known { kept, trial }: Known<'_>,
        now_ms: u64,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<u32, Unstarted> {
        let generation = self.count.saturating_add(1);
        self.count = generation;
        let (mut link, other) = Link::new()?;
        let welcome = ToWorker::Welcome {
            protocol: PROTOCOL,
            generation,
            kept: kept.keys().cloned().collect(),
            keeper_pid: std::process::id(),
            started_at: self.keeper_started_at,
            role,
            trial: Some(trial),
        };
        link.send(&welcome, kept.values().cloned().collect())
            .expect("a new link takes one message");
        let withheld = notify::variables().map(|name| (name.into(), None));
        let link_is = (LINK_VARIABLE.into(), Some(LINK_FD.to_string().into()));
        let spec = Spec {
            program: binary.path().into(),
            image: Some(binary.as_fd()),
            args: options.args.clone(),
            env: withheld.chain([link_is]).collect(),
            fds: vec![(other.as_fd(), LINK_FD)],
            user: options.worker_user.clone(),
            no_new_privileges: true,
            ..Spec::default()
        };
        let pid = child::spawn_while(&spec, meanwhile)?;
        let standing = match role {
            Role::Primary => Standing::Primary,
            Role::Candidate => Standing::Candidate,
        };
        let readable = Readable::new(options.config_dir.clone());
        let binary = Rc::clone(binary);
        let worker = Worker::new((pid, link), binary, standing, readable, now_ms);
        self.all.insert(generation, worker);
        if role == Role::Primary {
            self.primary = Some(generation);
        }
        Ok(generation)
    }

    /// The generation of the primary one, also when it has just exited and nobody has followed.
    pub(crate) fn primary(&self) -> Option<u32> {
        self.primary
    }

    /// Has this one be the primary one; whoever was it before is a former one.
    pub(crate) fn promote(&mut self, generation: u32, now_ms: u64) {
        if let Some(former) = self.primary.filter(|&former| former != generation) {
            self.set_standing(former, Standing::Former, now_ms);
        }
        self.primary = Some(generation);
        self.set_standing(generation, Standing::Primary, now_ms);
        if let Some(worker) = self.all.get_mut(&generation) {
            worker.has_drained = false;
        }
    }

    pub(crate) fn set_standing(&mut self, generation: u32, standing: Standing, now_ms: u64) {
        if let Some(worker) = self.all.get_mut(&generation) {
            let before = worker.state();
            worker.standing = standing;
            worker.mark(before, now_ms);
        }
    }

    /// Takes in that it could serve.
    pub(crate) fn set_ready(&mut self, generation: u32, now_ms: u64) {
        if let Some(worker) = self.all.get_mut(&generation) {
            let before = worker.state();
            worker.is_ready = true;
            worker.mark(before, now_ms);
        }
    }

    pub(crate) fn get(&self, generation: u32) -> Option<&Worker> {
        self.all.get(&generation)
    }

    pub(crate) fn get_mut(&mut self, generation: u32) -> Option<&mut Worker> {
        self.all.get_mut(&generation)
    }

    /// The primary one, if its process is there.
    pub(crate) fn get_primary(&self) -> Option<&Worker> {
        self.all.get(&self.primary?)
    }

    /// The generation of the primary one, if it is ready and can be talked to.
    pub(crate) fn serving(&self) -> Option<u32> {
        self.get_primary().filter(|primary| primary.is_fine()).and(self.primary)
    }

    /// Those of this standing, the oldest first.
    pub(crate) fn with(&self, standing: Standing) -> impl Iterator<Item = u32> {
        let of = self.iter().filter(move |(_, worker)| worker.standing == standing);
        of.map(|(generation, _)| generation)
    }

    /// Every one, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Worker)> {
        self.all.iter().map(|(&generation, worker)| (generation, worker))
    }

    pub(crate) fn generations(&self) -> Vec<u32> {
        self.all.keys().copied().collect()
    }

    /// Whose process this is.
    pub(crate) fn find(&self, pid: u32) -> Option<u32> {
        self.iter().find(|(_, worker)| worker.pid == pid).map(|(generation, _)| generation)
    }

    /// Forgets one that has exited.
    pub(crate) fn remove(&mut self, generation: u32) -> Option<Worker> {
        self.all.remove(&generation)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether nobody has anything in flight any more.
    pub(crate) fn have_drained(&self) -> bool {
        self.all.values().all(|worker| worker.has_drained)
    }

    /// Kills those that are not the primary one, at `at`.
    pub(crate) fn limit_others(&mut self, at: Instant) {
        let primary = self.primary;
        let others = self.all.iter_mut().filter(|&(&generation, _)| Some(generation) != primary);
        for (_, worker) in others {
            worker.kill_at = Some(worker.kill_at.map_or(at, |before| before.min(at)));
        }
    }

    /// Kills this one, unless it is gone by then.
    pub(crate) fn limit(&mut self, generation: u32, at: Instant) {
        if let Some(worker) = self.all.get_mut(&generation) {
            worker.kill_at = Some(at);
        }
    }

    /// Kills this one now.
    pub(crate) fn kill(&mut self, generation: u32) {
        self.all.get_mut(&generation).into_iter().for_each(Worker::kill);
    }

    /// Something is wrong with the link of this one.
    pub(crate) fn break_link(&mut self, generation: u32, broken: Broken) {
        if let Some(worker) = self.all.get_mut(&generation) {
            worker.broken = Some(broken);
        }
    }

    /// A worker whose link does not work any more, and why. Each is told once.
    pub(crate) fn take_broken(&mut self) -> Option<(u32, Broken)> {
        let mut all = self.all.iter_mut();
        all.find_map(|(&generation, worker)| Some((generation, worker.broken.take()?)))
    }

    /// The runs that no worker uses any more; each is returned once.
    pub(crate) fn take_idle(&mut self) -> Vec<Run> {
        let mut serving = self.all.values().filter(|worker| worker.serves());
        let Some(first) = serving.next() else {
            return Vec::new();
        };
        let mut idle = first.idle.clone();
        for worker in serving {
            idle.retain(|run| worker.idle.contains(run));
        }
        for worker in self.all.values_mut() {
            worker.idle.retain(|run| !idle.contains(run));
        }
        idle.into_iter().collect()
    }

    /// Forgets what was said of runs that do not drain.
    pub(crate) fn forget_idle(&mut self, observed: &Observed) {
        let drains = |run: &Run| {
            observed
                .instances
                .iter()
                .any(|one| one.run == *run && matches!(one.state, InstanceState::Draining { .. }))
        };
        for worker in self.all.values_mut().filter(|worker| !worker.idle.is_empty()) {
            worker.idle.retain(drains);
        }
    }

    /// When somebody has had time enough.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let limits = self.all.values().filter_map(|worker| worker.kill_at);
        limits.chain(self.machine.deadline()).min()
    }

    /// Kills whoever has had time enough.
    pub(crate) fn cut(&mut self, now: Instant) {
        for worker in self.all.values_mut() {
            if worker.kill_at.take_if(|at| *at <= now).is_some() {
                worker.kill();
            }
        }
    }

    /// What is told of them all.
    pub(crate) fn news(&self) -> Vec<WorkerNews> {
        let news = |(generation, worker): (u32, &Worker)| WorkerNews {
            generation,
            pid: worker.pid,
            version: worker.version.clone(),
            state: worker.state(),
            since_ms: worker.since_ms,
        };
        self.iter().map(news).collect()
    }
}

/// Why the primary one is killed, for the operator; `None` where the operator knows.
pub(crate) fn explain(reason: Reason, policy: &Policy) -> Option<String> {
    match reason {
        Reason::NotReady => Some(format!("was not ready within {:?}", policy.ready_within)),
        Reason::Deaf => Some("closed its link but did not exit".to_owned()),
        Reason::Hung => Some("no longer follows its link".to_owned()),
        Reason::Slow => Some(format!("was not done within {:?}", policy.grace)),
        Reason::Hopeless | Reason::Hurry => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_that_cannot_be_run_ends_the_search_for_a_worker() {
        let missing = io::Error::from_raw_os_error(rustix::io::Errno::NOENT.raw_os_error());
        let short = io::Error::from_raw_os_error(rustix::io::Errno::AGAIN.raw_os_error());
        for (error, fate) in [
            (SpawnError::Slow("evergate".into()), Fate::Crashed),
            (SpawnError::Fork(short), Fate::Crashed),
            (SpawnError::Program("evergate".into(), missing), Fate::Hopeless),
        ] {
            assert_eq!(Unstarted::from(error).fate, fate);
        }
    }
}
