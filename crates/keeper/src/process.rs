//! The worker's process and the link to it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use evergate_control::link::{PROTOCOL, Role, ToWorker};
use evergate_core::supervise::worker::{Policy, Reason, Worker as Machine};
use evergate_sys::child::{self, Spec};

use crate::link::Link;
use crate::{LINK_FD, LINK_VARIABLE, Options, notify};

/// The worker, whichever it is.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) machine: Machine,
    pub(crate) pid: Option<u32>,
    pub(crate) link: Option<Link>,
    /// How many there have been.
    generation: u32,
    keeper_started_at: u64,
}

impl Worker {
    /// None yet.
    pub(crate) fn new(policy: Policy, keeper_started_at: u64) -> Self {
        Self {
            machine: Machine::new(policy),
            pid: None,
            link: None,
            generation: 0,
            keeper_started_at,
        }
    }

    /// Starts the next one and greets it.
    pub(crate) fn spawn(
        &mut self,
        options: &Options,
        kept: &BTreeMap<String, Rc<OwnedFd>>,
    ) -> Result<(), String> {
        self.generation = self.generation.saturating_add(1);
        let (mut link, other) = Link::new().map_err(|error: io::Error| error.to_string())?;
        let welcome = ToWorker::Welcome {
            protocol: PROTOCOL,
            generation: self.generation,
            kept: kept.keys().cloned().collect(),
            keeper_pid: std::process::id(),
            started_at: self.keeper_started_at,
            role: Role::Primary,
        };
        link.send(&welcome, kept.values().cloned().collect())
            .expect("a new link takes one message");
        let spec = Spec {
            program: options.program.clone().into(),
            args: options.args.clone(),
            env: vec![
                (LINK_VARIABLE.into(), Some(LINK_FD.to_string().into())),
                (notify::VARIABLE.into(), None),
            ],
            fds: vec![(other.as_fd(), LINK_FD)],
            user: options.worker_user.clone(),
            no_new_privileges: true,
            ..Spec::default()
        };
        self.pid = Some(child::spawn(&spec).map_err(|error| error.to_string())?);
        self.link = Some(link);
        Ok(())
    }
}

/// Why a worker is killed, for the operator; `None` where the operator knows.
pub(crate) fn explain(reason: Reason, policy: &Policy) -> Option<String> {
    match reason {
        Reason::NotReady => Some(format!("was not ready within {:?}", policy.ready_within)),
        Reason::Deaf => Some("closed its link but did not exit".to_owned()),
        Reason::Hung => Some("no longer follows its link".to_owned()),
        Reason::Slow => Some(format!("was not done within {:?}", policy.grace)),
        Reason::Hopeless | Reason::Hurry => None,
    }
}
