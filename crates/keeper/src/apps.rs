//! The app instances: processes, their ports, and what is told about them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use evergate_control::link::{self, App, Observed};
use evergate_core::reconcile::{Step, reconcile};
use evergate_core::rng::Rng;
use evergate_core::supervise::instance::{Input, Instance, Output, Policy, State};
use evergate_core::time::Instant;
use evergate_sys::child::{self, Spec};
use evergate_sys::exit::Exit;
use evergate_sys::listen;
use evergate_sys::privilege::User;
use evergate_sys::signal::{self, Signal};

use crate::ports::Ports;
use crate::{LINK_VARIABLE, notify, report};

/// Most instances in all; more are refused, so that what is said about all of them fits in one
/// message.
pub(crate) const INSTANCES_MAX: usize = 256;
/// Longest name of an app, in bytes; one with a longer name is refused for the same reason.
pub(crate) const NAME_BYTES_MAX: usize = 128;
/// Longest text about an exit, in bytes.
const EXIT_TEXT_MAX: usize = 200;

/// Every instance of every app.
#[derive(Debug)]
pub(crate) struct Apps {
    policy: Policy,
    instances: BTreeMap<Id, Slot>,
    ports: Ports,
    rng: Rng,
    files_max: u64,
    /// Who instances are; whoever the keeper is if none.
    user: Option<User>,
    changed: bool,
}

/// App and number.
type Id = (String, u16);

#[derive(Debug)]
struct Slot {
    machine: Instance,
    app: Rc<App>,
    process: Option<Process>,
    last_exit: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Process {
    pid: u32,
    port: u16,
}

impl Apps {
    /// No app yet. Children get `files_max` as their limit on open files.
    pub(crate) fn new(policy: Policy, mut rng: Rng, files_max: u64) -> Self {
        let ports = Ports::new(Rng::seeded(rng.next_u64()));
        Self {
            policy,
            instances: BTreeMap::new(),
            ports,
            rng,
            files_max,
            user: None,
            changed: false,
        }
    }

    /// Runs what is desired and nothing else. Instances whose app did not change stay untouched;
    /// the others are ended and started anew, all at once.
    pub(crate) fn apply(&mut self, now: Instant, desired: &[App]) {
        let mut wanted: BTreeMap<Id, Rc<App>> = BTreeMap::new();
        for app in desired {
            if app.name.len() > NAME_BYTES_MAX {
                report(format_args!("an app's name is longer than {NAME_BYTES_MAX} bytes"));
                continue;
            }
            let shared = Rc::new(app.clone());
            wanted.extend((0..app.instances).map(|i| ((app.name.clone(), i), Rc::clone(&shared))));
        }
        if wanted.len() > INSTANCES_MAX {
            report(format_args!("{} instances are too many; {INSTANCES_MAX} run", wanted.len()));
            wanted = wanted.into_iter().take(INSTANCES_MAX).collect();
        }
        let mut inputs: Vec<(Id, Option<Rc<App>>, Input)> = Vec::new();
        for step in reconcile(&wanted, &self.instances) {
            inputs.push(match step {
                Step::Open { key, desired } => {
                    (key.clone(), Some(Rc::clone(desired)), Input::Start)
                }
                Step::Keep { key, desired, actual } => {
                    let same = runs_alike(desired, &actual.app);
                    let input = if same { Input::Start } else { Input::Restart };
                    (key.clone(), Some(Rc::clone(desired)), input)
                }
                Step::Close { key, actual: _ } => (key.clone(), None, Input::Stop),
            });
        }
        for (id, app, input) in inputs {
            if let Some(app) = app {
                let rng = Rng::seeded(self.rng.next_u64());
                let slot = self.instances.entry(id.clone()).or_insert_with(|| Slot {
                    machine: Instance::new(self.policy, rng),
                    app: Rc::clone(&app),
                    process: None,
                    last_exit: None,
                });
                slot.app = app;
            }
            self.feed(now, &id, input);
        }
        // Whoever said this wants to know, changed or not.
        self.changed = true;
    }

    /// Has instances started from now on be `user`.
    pub(crate) fn set_user(&mut self, user: Option<User>) {
        self.user = user;
    }

    /// Takes in that a child exited; whether it was one of these. What is left of its group dies.
    pub(crate) fn exited(&mut self, now: Instant, pid: u32, exit: Exit) -> bool {
        let Some((id, process)) = self.find(pid) else {
            return false;
        };
        // The child is not reaped yet, so the group is still its own.
        let _ = signal::send_group(pid, Signal::Kill);
        self.ports.release(process.port, now);
        let slot = self.instances.get_mut(&id).expect("found above");
        slot.process = None;
        slot.last_exit = Some(exit.to_string());
        match slot.machine.state() {
            State::Stopping { .. } => {}
            State::Running { .. } | State::Backoff { .. } | State::Stopped => {
                let (app, number) = &id;
                report(format_args!("{app}/{number} (process {pid}) ended: {exit}"));
            }
        }
        self.feed(now, &id, Input::Exited);
        true
    }

    /// Kills an instance, which then counts as crashed.
    pub(crate) fn kill(&self, app: &str, number: u16) {
        let slot = self.instances.get(&(app.to_owned(), number));
        if let Some(Process { pid, .. }) = slot.and_then(|slot| slot.process) {
            let _ = signal::send_group(pid, Signal::Kill);
        }
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Instant) {
        let due = |slot: &Slot| slot.machine.deadline().is_some_and(|at| at <= now);
        let ids: Vec<Id> =
            self.instances.iter().filter(|(_, slot)| due(slot)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.feed(now, &id, Input::Tick);
        }
    }

    /// When to tick next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.instances.values().filter_map(|slot| slot.machine.deadline()).min()
    }

    /// Asks every instance to end.
    pub(crate) fn stop_all(&mut self, now: Instant) {
        self.feed_all(now, Input::Stop);
    }

    /// Ends at once whatever is to end.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.feed_all(now, Input::Hurry);
    }

    /// Whether no instance is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    /// What all instances do, if that changed since the last call.
    pub(crate) fn take_observed(&mut self, now: Instant) -> Option<Observed> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let instances = self.instances.iter().filter_map(|(id, slot)| describe(now, id, slot));
        Some(Observed { instances: instances.collect(), ..Observed::default() })
    }

    fn find(&self, pid: u32) -> Option<(Id, Process)> {
        self.instances.iter().find_map(|(id, slot)| {
            slot.process.filter(|process| process.pid == pid).map(|process| (id.clone(), process))
        })
    }

    fn feed_all(&mut self, now: Instant, input: Input) {
        let ids: Vec<Id> = self.instances.keys().cloned().collect();
        for id in ids {
            self.feed(now, &id, input);
        }
    }

    /// Tells one instance what happened and does what follows.
    fn feed(&mut self, now: Instant, id: &Id, input: Input) {
        let Some(slot) = self.instances.get_mut(id) else {
            return;
        };
        let before = slot.machine.state();
        let mut output = slot.machine.handle(now, input);
        while let Some(todo) = output.take() {
            match (todo, slot.process) {
                (Output::Spawn, _) => {
                    match spawn(now, id, slot, &mut self.ports, self.files_max, self.user.as_ref())
                    {
                        Ok(process) => slot.process = Some(process),
                        Err(sentence) => {
                            report(format_args!("{}/{}: {sentence}", id.0, id.1));
                            slot.last_exit = Some(sentence);
                            output = slot.machine.handle(now, Input::Exited);
                        }
                    }
                }
                // Gone already is as good.
                (Output::Terminate, Some(Process { pid, .. })) => {
                    let _ = signal::send_group(pid, Signal::Terminate);
                }
                (Output::Kill, Some(Process { pid, .. })) => {
                    let _ = signal::send_group(pid, Signal::Kill);
                }
                (Output::Terminate | Output::Kill, None) => {
                    debug_assert!(false, "only an instance with a process is ended");
                }
            }
        }
        let after = slot.machine.state();
        self.changed |= before != after;
        if after == State::Stopped {
            self.instances.remove(id);
        }
    }
}

/// Whether a process of the one app does for the other: how many there are, and which ports they
/// may have next, is no reason to start anew.
fn runs_alike(one: &App, other: &App) -> bool {
    (&one.run, &one.env, &one.cwd) == (&other.run, &other.env, &other.cwd)
}

fn spawn(
    now: Instant,
    (name, number): &Id,
    slot: &Slot,
    ports: &mut Ports,
    files_max: u64,
    user: Option<&User>,
) -> Result<Process, String> {
    let app = &slot.app;
    let Some((program, args)) = app.run.split_first() else {
        return Err("cannot run: no program is given".to_owned());
    };
    let is_free = |port| listen::probe(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok();
    let Some(port) = ports.take(app.ports, now, is_free) else {
        return Err(format!("no port is free from {} to {}", app.ports.0, app.ports.1));
    };
    let own = [
        ("PORT", port.to_string()),
        ("HOST", Ipv4Addr::LOCALHOST.to_string()),
        ("APP", name.clone()),
        ("INSTANCE", number.to_string()),
        ("GENERATION", slot.machine.generation().to_string()),
    ];
    let given = app.env.iter().map(|(name, value)| (name.into(), Some(value.into())));
    let own = own.into_iter().map(|(name, value)| (name.into(), Some(value.into())));
    let withheld = [LINK_VARIABLE, notify::VARIABLE].map(|name| (name.into(), None));
    let spec = Spec {
        program: program.into(),
        args: args.iter().map(Into::into).collect(),
        env: given.chain(own).chain(withheld).collect(),
        cwd: app.cwd.as_ref().map(Into::into),
        files_max: Some(files_max),
        user: user.cloned(),
        no_new_privileges: true,
        ..Spec::default()
    };
    match child::spawn(&spec) {
        Ok(pid) => Ok(Process { pid, port }),
        Err(error) => {
            ports.release(port, now);
            Err(error.to_string())
        }
    }
}

fn describe(now: Instant, (app, number): &Id, slot: &Slot) -> Option<link::Instance> {
    let state = match (slot.machine.state(), slot.process) {
        (State::Running { .. }, Some(_)) => link::InstanceState::Ready,
        (State::Stopping { .. }, Some(_)) => link::InstanceState::Stopping,
        (State::Backoff { until }, _) => {
            let millis = (until - now).as_millis();
            link::InstanceState::Backoff { for_ms: u32::try_from(millis).unwrap_or(u32::MAX) }
        }
        (State::Running { .. } | State::Stopping { .. }, None) | (State::Stopped, _) => {
            return None;
        }
    };
    let mut last_exit = slot.last_exit.clone();
    if let Some(text) = &mut last_exit {
        text.truncate(text.floor_char_boundary(EXIT_TEXT_MAX));
    }
    Some(link::Instance {
        run: link::Run { app: app.clone(), number: *number, generation: slot.machine.generation() },
        state,
        since_ms: 0,
        pid: slot.process.map(|process| process.pid),
        place: slot.process.map(|process| link::Place::Port(process.port)),
        revision: 1,
        budget: (0, 0),
        reason: None,
        exits: slot.machine.exits(),
        last_exit,
    })
}
