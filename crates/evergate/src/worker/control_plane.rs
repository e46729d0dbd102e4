//! The worker's control plane: one task that owns everything that is not on the request path.
//!
//! It listens to the keeper, to the admin API and to the clock, and carries out what they want.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use evergate_acme::Agents;
use evergate_config::{Basis, Level};
use evergate_control::command::Command;
use evergate_control::link::{Desired, NodeNews, Observed, StandbyNews, ToKeeper};
use evergate_core::time::Instant;
use evergate_gateway::Gateway;
use evergate_sys::{clock, code};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::Birth;
use super::admin::AdminServers;
use super::carried::Carried;
use super::configurations::Configurations;
use super::kept_changes::KeptChanges;
use super::link::{Link, LinkEvents, Packet};
use super::output::Output;
use super::probes::Probes;
use super::role::Role;
use super::sockets::{Bound, Key};
use super::standby::{Evidence, Verdicts};
use super::users::Users;
use super::watch::{LOOK_EVERY, Watch};
use super::wishes::Wishes;

mod changes;
mod handover;
mod kept;
mod listening;
mod messages;
mod reload;
mod start;
mod stop;
mod way_back;

/// How long after a change the memory of its code is given back: what follows it needs code too.
const SETTLES_AFTER: Duration = Duration::from_secs(3);
/// How often names of servers are looked up again.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);

/// The control plane of one worker.
#[derive(Debug)]
pub(super) struct ControlPlane {
    pub(super) birth: Birth,
    pub(super) gateway: Gateway,
    pub(super) reloads: Reloads,
    /// What the keeper said last of the apps.
    pub(super) observed: Observed,
    /// When it said so.
    pub(super) observed_at: Instant,
    /// What the keeper said last of itself and of the workers.
    pub(super) node: NodeNews,
    /// How virtual addresses and peers are, as the keeper said last.
    pub(super) standby: StandbyNews,
    /// What the keeper was told of pools that it tracks.
    pub(super) verdicts: Verdicts,
    /// What other machines answer.
    pub(super) evidence: Evidence,
    /// What of that people have been told; nothing is known before the keeper has spoken.
    told: Option<NodeNews>,
    pub(super) wishes: Wishes,
    probes: Probes,
    pub(super) output: Output,
    pub(super) file: PathBuf,
    /// In seconds of Unix time.
    pub(super) started_at: u64,
    pub(super) carried: Carried,
    pub(super) admin: AdminServers,
    pub(super) agents: Agents,
    pub(super) link: Link,
    /// None once the keeper is gone.
    link_events: Option<LinkEvents>,
    /// Messages that came while something else was waited for.
    inbox: VecDeque<Packet>,
    desired: Desired,
    users: Users,
    /// What the configuration in force was made of.
    basis: Basis,
    pub(super) changes: KeptChanges,
    pub(super) configurations: Configurations,
    /// What tells whether the file has changed since it was read last.
    file_mark: u64,
    commands: mpsc::Receiver<Command>,
    watch: Watch,
    pub(super) role: Role,
    /// Sockets of a worker that does not accept yet.
    held: BTreeMap<Key, Bound>,
    /// Whether there were fewer of them than it wants.
    is_short: bool,
    /// How many sockets of each listener and address are accepted from, or were.
    accepted: BTreeMap<(String, String), usize>,
    /// Whether it was acted on that the keeper is gone.
    is_orphaned: bool,
    /// Whether the file is yet to be compared with what is in force.
    is_file_unread: bool,
    /// When code that only a change needed is given back.
    settles_at: Option<Instant>,
}

/// How reloading went so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Reloads {
    /// When the configuration in force was applied, in seconds of Unix time.
    pub(super) applied_at: u64,
    /// Counts the configurations applied, from 1.
    pub(super) generation: u64,
    pub(super) refused: u64,
    /// Why the last one was refused; none if it was applied.
    pub(super) failure: Option<String>,
}

/// Why a configuration is applied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cause {
    /// Somebody asked for it.
    Asked,
    /// SIGHUP, or the keeper for a reason of its own.
    Signal,
    /// A file changed.
    FileChanged,
}

impl Cause {
    const fn in_words(self) -> &'static str {
        match self {
            Self::Asked => "reload",
            Self::Signal => "SIGHUP",
            Self::FileChanged => "the file changed",
        }
    }
}

/// A start that failed for a reason that starting again does not mend.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) link: Link,
    pub(super) message: String,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    Go,
    /// Finish within the grace, and exit.
    Stop {
        grace: Duration,
    },
    /// Nothing is open any more, and nobody wants it otherwise.
    Exit,
}

impl ControlPlane {
    /// Does what the keeper wants until that is to exit.
    pub(super) async fn run(mut self) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut resolve = interval(RESOLVE_EVERY);
        resolve.reset();
        loop {
            // Whatever has just happened may have been the end of a pool, or its return.
            self.tell_verdicts();
            let waiting = self.has_waiting();
            tokio::select! {
                () = self.gateway.turn() => self.tell_idle(),
                () = readable(self.link_events.as_ref(), waiting) => {}
                Some(command) = self.commands.recv() => self.answer(command).await,
                news = self.agents.next() => self.tell_certificate(&news),
                probed = self.probes.next() => self.tell_keeper(&probed),
                (level, kind, subject, reason) = self.output.next() => {
                    self.event(level, kind, &subject, &reason);
                }
                _ = look.tick() => self.look_around().await,
                _ = resolve.tick() => self.resolve_again().await,
            }
            match self.hear_keeper().await {
                Next::Go => {}
                Next::Stop { grace } => return self.stop(grace).await,
                Next::Exit => return self.leave().await,
            }
        }
    }

    /// Does what is done every second.
    async fn look_around(&mut self) {
        if self.role.is_primary() {
            self.tell_samples();
            self.look_at_calendar();
            self.look_at_files().await;
            self.go_back_alone().await;
            self.keep_state_in_time().await;
        }
        if self.role.has_let_go() {
            self.tell_shared().await;
        }
        self.tell_served().await;
        if self.settles_at.is_some_and(|at| at <= clock::now()) {
            self.settle_down();
            self.settles_at = None;
        }
    }

    /// Gives back the memory of code that only a start, a reload or a hand-over needed, now and
    /// once more when all that follows from it is over.
    fn settle_down(&mut self) {
        self.settles_at = Some(clock::now() + SETTLES_AFTER);
        // Where it cannot be given back it is only memory.
        let _ = code::release();
    }

    pub(super) fn event(&mut self, level: Level, kind: &str, subject: &str, reason: &str) {
        self.gateway.events().push(level, kind, subject, reason);
    }

    /// Tells the keeper what it can do without; one that is gone need not know.
    pub(super) fn tell_keeper(&self, message: &ToKeeper) {
        if !self.keeper_is_gone() {
            let _ = self.link.send(message, &[]);
        }
    }

    /// Whether a message is here that no event will announce.
    fn has_waiting(&self) -> bool {
        !self.inbox.is_empty() || self.link.has_backlog()
    }

    /// Whether there is nobody to restart us or to change sockets and apps.
    pub(super) fn keeper_is_gone(&self) -> bool {
        self.link_events.is_none()
    }
}

/// Waits until the keeper has said something.
async fn readable(events: Option<&LinkEvents>, waiting: bool) {
    if waiting {
        return;
    }
    match events {
        Some(events) if events.readable().await.is_ok() => {}
        Some(_) | None => std::future::pending().await,
    }
}
