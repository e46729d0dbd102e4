//! The test's end of a puppet worker.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};

use evergate_control::link::{
    self, Happening, Instance, InstanceState, NodeNews, Probe, Role, Run, StandbyNews, ToKeeper,
    ToWorker,
};
use evergate_core::time::Instant;
use evergate_sys::signal::{self, Signal};
use evergate_sys::{clock, seqpacket};

use crate::puppet;

/// A puppet worker, seen from the test.
pub(crate) struct Worker {
    pub(crate) socket: OwnedFd,
    pub(crate) pid: u32,
    pub(crate) generation: u32,
    pub(crate) kept: BTreeMap<String, OwnedFd>,
    /// Whether what starts passes its probe at once, and what drains is idle at once.
    pub(crate) probes: bool,
    /// What has happened and was not waited for.
    pub(crate) news: RefCell<Vec<Happening>>,
    /// What runs print.
    pub(crate) outputs: RefCell<BTreeMap<Run, OwnedFd>>,
    /// What was said last of keeper and workers.
    pub(crate) node: RefCell<NodeNews>,
    /// What was said last of virtual addresses.
    pub(crate) standby: RefCell<StandbyNews>,
    /// Messages that came while something else was waited for.
    pub(crate) inbox: RefCell<VecDeque<(ToWorker, Vec<OwnedFd>)>>,
    pub(crate) role: Role,
}

impl Worker {
    /// Says that what is starting is ready, and that nothing is in flight to what drains.
    pub(crate) fn pass(&self, instances: &[Instance]) {
        let drains = |one: &&Instance| matches!(one.state, InstanceState::Draining { .. });
        for one in instances.iter().filter(drains) {
            self.say(&ToKeeper::Idle { run: one.run.clone() });
        }
        let starts = |one: &&Instance| one.state == InstanceState::Starting && one.pid.is_some();
        for one in instances.iter().filter(starts) {
            let run = one.run.clone();
            self.say(&ToKeeper::Probed { run, probe: Probe::Ready, failure: None });
        }
    }

    pub(crate) fn say(&self, message: &ToKeeper) {
        self.say_with(message, &[]);
    }

    pub(crate) fn say_with(&self, message: &ToKeeper, fds: &[&OwnedFd]) {
        let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
        seqpacket::send(&self.socket, &link::encode(message), &fds).unwrap();
    }

    /// Sends bytes as they are.
    pub(crate) fn babble(&self, bytes: &[u8]) {
        seqpacket::send(&self.socket, bytes, &[]).unwrap();
    }

    pub(crate) fn exit(&self, status: u8) {
        self.babble(&[puppet::EXIT, status]);
    }

    pub(crate) fn crash(&self) -> Instant {
        let at = clock::now();
        signal::send(self.pid, Signal::Kill).unwrap();
        at
    }
}
