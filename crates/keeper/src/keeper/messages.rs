//! What workers say.
//!
//! Every worker may introduce itself, want files opened and want to know where to listen; only the
//! word of the primary one has consequences for sockets, apps and what is kept.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use evergate_control::link::{
    Desired, KEPT_MAX, Listener, Outcome as Bind, PROTOCOL, PROTOCOL_MIN, ToKeeper, ToWorker,
};
use evergate_core::supervise::worker::Input;
use evergate_core::time::Instant;
use evergate_core::upgrade::{Input as Upgrade, Served, Side};
use evergate_sys::privilege::{self, User};
use evergate_sys::{clock, code, process};

use super::{Keeper, MESSAGES_PER_TURN, Stopping};
use crate::link::Broken;
use crate::notify::Word;
use crate::workers::Standing;
use crate::{print, report};

/// Why a worker that is not the primary one is not obeyed.
pub(super) const NOT_PRIMARY: &str = "this worker is being replaced; ask again";

impl Keeper {
    /// Takes in what workers said.
    pub(super) fn read_links(&mut self, now: Instant) {
        for generation in self.workers.generations() {
            self.read_link(now, generation, MESSAGES_PER_TURN);
        }
    }

    /// Takes in up to `messages_max` messages of one worker.
    pub(super) fn read_link(&mut self, now: Instant, from: u32, messages_max: usize) {
        for _ in 0..messages_max {
            let Some(worker) = self.workers.get_mut(from) else {
                return;
            };
            match worker.receive() {
                Some((message, fds)) => self.hear(now, from, message, fds),
                None => return,
            }
        }
    }

    fn hear(&mut self, now: Instant, from: u32, message: ToKeeper, mut fds: Vec<OwnedFd>) {
        let Some(worker) = self.workers.get_mut(from) else {
            return;
        };
        let is_primary = worker.standing() == Standing::Primary;
        match message {
            ToKeeper::Hello { protocol, version } => self.meet(from, protocol, version),
            ToKeeper::Desired(desired) => self.desire(now, from, desired),
            ToKeeper::Ready => self.ready(now, from),
            ToKeeper::Keep { name } => self.keep(from, name, fds.pop()),
            ToKeeper::Open { request, path } => {
                let (error, fds) = match worker.readable.open(&path) {
                    Ok(file) => (None, vec![Rc::new(file)]),
                    Err(sentence) => (Some(sentence), vec![]),
                };
                self.send(from, &ToWorker::Opened { request, error }, fds);
            }
            ToKeeper::Named { paths, users } => self.name(from, paths, users),
            ToKeeper::Hopeless { message } => self.despair(now, from, &message),
            ToKeeper::Drained => {
                worker.has_drained = true;
                self.tell_idle(now);
                self.end_apps(now);
            }
            ToKeeper::Shared => self.share(from, fds.pop()),
            ToKeeper::Activated | ToKeeper::Released | ToKeeper::Served { .. } => {
                self.drive_from(now, from, |side| progress(side, &message));
            }
            ToKeeper::Acquired => self.acquired(now, from),
            ToKeeper::Reloaded { is_applied } if is_primary => self.reloaded(is_applied),
            ToKeeper::Pong { number } if is_primary => self.hear_pong(number),
            // Whoever is asked now says so too.
            ToKeeper::Reloaded { .. } | ToKeeper::Pong { .. } => {}
            ToKeeper::Upgrade { request, order } => {
                let outcome = match is_primary {
                    true => self.upgrade(now, order),
                    false => Err(NOT_PRIMARY.to_owned()),
                };
                self.answer(from, request, outcome);
            }
            ToKeeper::Standby { request, order } => {
                let outcome = match is_primary {
                    true => self.standby.order(clock::now(), order),
                    false => Err(NOT_PRIMARY.to_owned()),
                };
                self.answer(from, request, outcome);
            }
            ToKeeper::Trial { request, order } => self.hear_of_trial(now, from, request, order),
            ToKeeper::Verdict { subject, failure } => {
                if is_primary {
                    self.standby.judge(subject, failure);
                }
            }
            ToKeeper::Idle { run } => {
                worker.set_idle(run);
                self.tell_idle(now);
            }
            ToKeeper::Wish { request, .. } if !is_primary => {
                self.answer(from, request, Err(NOT_PRIMARY.to_owned()));
            }
            ToKeeper::Probed { .. }
            | ToKeeper::Sampled { .. }
            | ToKeeper::Wish { .. }
            | ToKeeper::Kill { .. } => {
                if is_primary {
                    self.apps.hear(now, message);
                }
            }
        }
    }

    /// A worker has something kept for the next one.
    fn keep(&mut self, from: u32, name: String, file: Option<OwnedFd>) {
        match file {
            Some(file) if self.kept.len() < KEPT_MAX || self.kept.contains_key(&name) => {
                // What the others know is older, or not in force yet.
                if self.workers.primary() == Some(from) {
                    self.upgrades.note_kept(&name);
                    self.kept.insert(name, Rc::new(file));
                }
            }
            Some(_) | None => self.workers.break_link(from, Broken::Nonsense),
        }
    }

    fn answer(&mut self, to: u32, request: u32, outcome: Result<Vec<String>, String>) {
        let (error, plan) = match outcome {
            Ok(plan) => (None, plan),
            Err(why) => (Some(why), vec![]),
        };
        self.send(to, &ToWorker::Heard { request, error, plan }, vec![]);
    }

    /// A worker introduces itself.
    fn meet(&mut self, from: u32, protocol: u16, version: String) {
        if !(PROTOCOL_MIN..=PROTOCOL).contains(&protocol) {
            report(format_args!(
                "the worker (version {version}) speaks protocol {protocol}, not {PROTOCOL_MIN} to \
                 {PROTOCOL}"
            ));
            return self.workers.break_link(from, Broken::Nonsense);
        }
        let Some(worker) = self.workers.get_mut(from) else {
            return;
        };
        worker.version = Some(version);
        if worker.standing() == Standing::Primary {
            self.apps.greet();
            self.share_all(from);
        } else if let Some(observed) = self.apps.told() {
            self.send(from, &ToWorker::Observed(observed), vec![]);
        }
        self.send(from, &ToWorker::Node(self.news()), vec![]);
        if let Some(news) = self.standby.news(clock::now()) {
            self.send(from, &ToWorker::Standby(news), vec![]);
        }
    }

    /// A worker could serve.
    fn ready(&mut self, now: Instant, from: u32) {
        self.workers.set_ready(from, clock::unix_millis());
        if self.workers.primary() != Some(from) {
            return self.drive_from(now, from, |side| match side {
                Side::New => Some(Upgrade::Ready),
                Side::Old => None,
            });
        }
        self.feed(now, Input::Ready);
        self.apps.serve(now);
        self.ask_anew(now);
        self.notify.send(Word::Ready { status: None });
        if !std::mem::replace(&mut self.is_settled, true) {
            // The start is over; where it cannot be given back it is only memory.
            let _ = code::release();
        }
    }

    /// A worker cannot start.
    fn despair(&mut self, now: Instant, from: u32, message: &str) {
        if self.workers.primary() == Some(from) {
            if self.stopping == Stopping::No {
                print(format_args!("{}", message.trim_end()));
            }
            self.feed(now, Input::Hopeless);
        } else {
            let why = message.trim_end();
            self.drive_from(now, from, |side| Some(Upgrade::Lost(side, why.to_owned())));
        }
    }

    /// Tells the upgrade what one of its workers said.
    fn drive_from(&mut self, now: Instant, from: u32, input: impl Fn(Side) -> Option<Upgrade>) {
        if let Some(input) = self.upgrades.side(from).and_then(input) {
            self.drive(now, input);
        }
    }

    /// A worker names files and users.
    fn name(&mut self, from: u32, paths: Vec<String>, users: Vec<String>) {
        let Some(worker) = self.workers.get_mut(from) else {
            return;
        };
        if has_our_rights(worker.pid) {
            worker.readable.name(paths);
            worker.name_users(users.clone());
            if worker.standing() == Standing::Primary {
                self.apps.users().name(users);
            }
        }
        self.send(from, &ToWorker::Noted, vec![]);
    }

    /// A worker that drains says what it has open and has counted.
    fn share(&mut self, from: u32, file: Option<OwnedFd>) {
        let Some(file) = file.map(Rc::new) else {
            return self.workers.break_link(from, Broken::Nonsense);
        };
        let Some(worker) = self.workers.get_mut(from) else {
            return;
        };
        match worker.standing() {
            Standing::Former | Standing::Retired | Standing::Leaving => {
                worker.shared = Some(Rc::clone(&file));
                self.send_to_primary(&ToWorker::Shared { generation: from }, vec![file]);
            }
            // All of that is its own.
            Standing::Candidate | Standing::Primary => {}
        }
    }

    /// Tells a worker what those that drain have said.
    pub(super) fn share_all(&mut self, to: u32) {
        let all = self.workers.iter().filter(|&(generation, _)| generation != to);
        let said = all.filter_map(|(of, worker)| Some((of, Rc::clone(worker.shared.as_ref()?))));
        for (generation, file) in said.collect::<Vec<_>>() {
            self.send(to, &ToWorker::Shared { generation }, vec![file]);
        }
    }

    /// Tells the apps which runs nobody uses any more: everybody who serves has said so.
    pub(super) fn tell_idle(&mut self, now: Instant) {
        for run in self.workers.take_idle() {
            self.apps.hear(now, ToKeeper::Idle { run });
        }
    }

    /// A worker says what should be. Only for the primary one is that done.
    fn desire(&mut self, now: Instant, from: u32, desired: Desired) {
        let listeners = desired.listeners.clone();
        if let Some(worker) = self.workers.get_mut(from) {
            worker.desired = Some(desired);
        }
        let answers = if self.workers.primary() == Some(from) {
            self.make(now, from)
        } else {
            self.sockets.held(&listeners)
        };
        for (Listener { name: listener, address, .. }, (outcome, fds)) in
            listeners.into_iter().zip(answers)
        {
            self.send(from, &ToWorker::Listening { listener, address, outcome }, fds);
        }
        self.act(now);
        self.send(from, &ToWorker::Settled, vec![]);
    }

    /// Makes what a worker wants; returns what became of each listener.
    pub(super) fn make(&mut self, now: Instant, of: u32) -> Vec<(Bind, Vec<Rc<OwnedFd>>)> {
        let worker = self.workers.get(of);
        let Some((pid, desired)) =
            worker.and_then(|worker| Some((worker.pid, worker.desired.clone()?)))
        else {
            return vec![];
        };
        // Once all is to end, a worker that does not know yet must not begin anything.
        if self.stopping != Stopping::No {
            let refused = || (Bind::Failed("the node is stopping".to_owned()), vec![]);
            return desired.listeners.iter().map(|_| refused()).collect();
        }
        // Listeners first, or an app might get the port of one.
        let answers = self.sockets.apply(&desired.listeners);
        let outcomes = answers.iter().map(|(outcome, _)| outcome);
        self.standby.listen(desired.listeners.iter().zip(outcomes));
        let (standby, run_dir) = (desired.standby.clone(), desired.run_dir.clone());
        match user_of_apps(pid) {
            Ok(user) => {
                self.apps.users().set_worker(user);
                self.apps.apply(now, desired);
            }
            // Then it has ended, and the next one says the same.
            Err(error) => report(format_args!("cannot tell who the worker is: {error}")),
        }
        self.apply_standby(standby, run_dir.as_deref());
        answers
    }
}

/// What a worker on this side of an upgrade means by `message`.
fn progress(side: Side, message: &ToKeeper) -> Option<Upgrade> {
    match (side, message) {
        (Side::New, ToKeeper::Activated) => Some(Upgrade::Activated),
        (side, ToKeeper::Released) => Some(Upgrade::Released(side)),
        (side, &ToKeeper::Served { requests, errors }) => {
            Some(Upgrade::Served(side, Served { requests, errors }))
        }
        _ => None,
    }
}

/// Who apps are when we are root: whoever the worker became. It says what to run, so what it runs
/// must not gain rights that it gave away.
pub(super) fn user_of_apps(worker_pid: u32) -> io::Result<Option<User>> {
    if privilege::is_root() { process::user(worker_pid).map(Some) } else { Ok(None) }
}

/// Whether a worker still may what we may: then it has not yet heard anybody from the network. Once
/// it has given its rights away it cannot get them back.
fn has_our_rights(worker_pid: u32) -> bool {
    process::user(worker_pid).is_ok_and(|user| user.uid == privilege::current_uid())
}
