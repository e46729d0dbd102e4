//! The world around a fleet: it starts and ends processes as told, and plays gateway and operator.

use std::collections::BTreeMap;

use super::carried;
use super::child::{Child, Heirs, Nature, ms};
use super::*;
use crate::deploy::OnFailure;
use crate::supervise::policy::{Alive, MemoryWatch};

/// The apps of every world; each comes after those to its left, and the last two after each other.
const NAMES: [&str; 4] = ["db", "api", "hen", "egg"];
/// What a measured child uses when it swells.
const SWOLLEN: u64 = 300 << 20;

/// Something that will happen.
#[derive(Clone, Debug)]
enum Event {
    Serves(Run),
    Hangs(Run),
    Exits(Run, Exit),
    RestGoes(Run),
    Finishes(Run),
    /// The gateway probes it, and the keeper measures it.
    Watch(Run),
    Meddle,
    GatewayComes,
}

pub(super) struct World {
    pub(super) fleet: Fleet,
    pub(super) now: Instant,
    pub(super) children: BTreeMap<Run, Child>,
    pub(super) has_gateway: bool,
    pub(super) desired: Vec<App>,
    /// What was shown before the last input.
    pub(super) before: Vec<View>,
    pub(super) shown: Vec<View>,
    /// Apps of which a deploy is under way.
    pub(super) rolling: Vec<String>,
    pub(super) spawned: Vec<Instant>,
    /// Everything that was to be done.
    pub(super) done: Vec<(Instant, Output)>,
    /// Now and then another keeper goes on from what this one wrote down.
    pub(super) successions: Option<Rng>,
    /// Nothing leaves yet when everything is to end, and nobody is in a hurry.
    pub(super) ends_in_order: bool,
    events: BTreeMap<(Instant, u64), Event>,
    queued: u64,
    rng: Rng,
    is_calm: bool,
    is_ending: bool,
    revision: u32,
    ticks: u32,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let mut world = Self {
            fleet: Fleet::new(Rng::seeded(rng.next_u64())),
            now: Instant::EPOCH,
            children: BTreeMap::new(),
            has_gateway: false,
            desired: vec![],
            before: vec![],
            shown: vec![],
            rolling: vec![],
            spawned: vec![],
            done: vec![],
            successions: None,
            ends_in_order: false,
            events: BTreeMap::new(),
            queued: 0,
            rng,
            is_calm: false,
            is_ending: false,
            revision: 1,
            ticks: 0,
        };
        world.desired = NAMES.iter().map(|name| world_app(name, &mut world.rng)).collect();
        world.say(Input::Gateway(true));
        world.say(Input::Desired(world.desired.clone()));
        world.meddle_later();
        world
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Lets time pass until something holds; it must before `time` has passed.
    pub(super) fn run_until(&mut self, what: &str, time: Duration, holds: fn(&Self) -> bool) {
        let end = self.now + time;
        while !holds(self) {
            let deploys = self.fleet.deploys(self.now);
            assert!(self.step(end), "{what} within {time:?}: {}, {deploys:?}", listed(&self.shown));
        }
    }

    /// From now on nobody interferes, and children do what they should.
    pub(super) fn calm_down(&mut self) {
        self.is_calm = true;
        for child in self.children.values_mut() {
            child.is_hung = false;
            child.nature.swells = false;
        }
        let faults = |event: &Event| matches!(event, Event::Exits(..) | Event::Hangs(_));
        let asked = self.asked();
        self.events.retain(|_, event| match event {
            Event::Exits(run, _) => asked.contains(run),
            _ => !faults(event),
        });
        self.set_gateway(true);
        self.start_all();
    }

    /// The operator starts what does not run, now and then again: what went back to its old revision
    /// may have failed for good.
    fn start_all(&mut self) {
        for name in NAMES {
            self.wish(name.to_owned(), None, Verb::Start);
        }
        self.later(30 * SECOND, Event::Meddle);
    }

    /// Everything is to end.
    pub(super) fn end(&mut self) {
        let leaves = |view: &View| {
            matches!(view.state, State::Draining { .. } | State::Stopping | State::Stuck)
        };
        self.ends_in_order = self.is_calm && !self.shown.iter().any(leaves);
        self.is_ending = true;
        self.say(Input::End);
    }

    /// Whether every instance that should be ready is, and no deploy is under way.
    pub(super) fn is_as_desired(&self) -> bool {
        let is_ready = |app: &App, number| {
            self.shown.iter().any(|view| {
                let is_it = view.run.app == app.name && view.run.number == number;
                is_it && (view.state == State::Ready || view.state == State::Stopped)
            })
        };
        let mut apps = self.desired.iter();
        self.rolling.is_empty()
            && apps.all(|app| (0..app.policy.instances).all(|number| is_ready(app, number)))
    }

    /// Does what comes next, if that comes before `end`.
    fn step(&mut self, end: Instant) -> bool {
        let event_at = self.events.keys().next().map(|(at, _)| *at);
        let deadline = self.fleet.deadline();
        let Some(next) = [event_at, deadline].into_iter().flatten().min() else { return false };
        if next > end {
            return false;
        }
        self.ticks = if next > self.now { 0 } else { self.ticks + 1 };
        assert!(self.ticks < 1_000, "time stands still at {:?}: {}", self.now, listed(&self.shown));
        self.now = self.now.max(next);
        if event_at == Some(next) {
            let (_, event) = self.events.pop_first().expect("it was seen");
            self.happen(event);
        } else {
            self.say(Input::Tick);
        }
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Serves(run) => self.serve(&run),
            Event::Hangs(run) => {
                if let Some(child) = self.children.get_mut(&run) {
                    child.is_hung = true;
                }
            }
            Event::Exits(run, exit) => self.exit(&run, exit),
            Event::RestGoes(run) => {
                if self.children.get(&run).is_some_and(|child| child.has_rest) {
                    self.children.remove(&run);
                    self.say(Input::Emptied(run));
                }
            }
            Event::Finishes(run) => {
                if self.has_gateway && self.children.contains_key(&run) {
                    self.say(Input::Idle(run));
                }
            }
            Event::Watch(run) => self.watch(run),
            Event::Meddle => self.meddle(),
            Event::GatewayComes => self.set_gateway(true),
        }
    }

    fn serve(&mut self, run: &Run) {
        let is_notice = self.policy(&run.app).is_some_and(|p| p.ready.by == ReadyBy::Notice);
        let Some(child) = self.children.get_mut(run).filter(|child| child.has_main) else { return };
        child.is_up = true;
        if is_notice {
            child.said_ready = true;
            self.say(Input::Noticed { run: run.clone(), is_ready: true });
        }
    }

    fn exit(&mut self, run: &Run, exit: Exit) {
        let Some(child) = self.children.get_mut(run).filter(|child| child.has_main) else { return };
        child.has_main = false;
        child.is_up = false;
        let (leaves, is_killed) = (child.nature.leaves, child.is_killed);
        child.has_rest = leaves.is_some() && !is_killed;
        let has_rest = child.has_rest;
        if !has_rest {
            self.children.remove(run);
        }
        let how = format!("{exit:?}");
        self.say(Input::Exited { run: run.clone(), exit, how, has_rest });
    }

    fn watch(&mut self, run: Run) {
        let Some(child) = self.children.get_mut(&run).filter(|child| child.has_main) else {
            return;
        };
        let is_ready =
            |view: &View| view.run == run && matches!(view.state, State::Ready | State::Unhealthy);
        let is_ready = self.shown.iter().any(is_ready);
        let rss = if child.nature.swells { SWOLLEN } else { 1 << 20 };
        // One that nobody asked whether it is ready may not serve.
        child.is_up |= self.is_calm && is_ready;
        let failure = match (child.is_up, child.is_hung) {
            (true, false) => None,
            (true, true) => Some("no answer within 1 s".to_owned()),
            (false, _) => Some("connection refused".to_owned()),
        };
        child.said_ready |= failure.is_none() && self.has_gateway;
        let probe = if is_ready { Probe::Alive } else { Probe::Ready };
        if self.has_gateway {
            self.say(Input::Probed { run: run.clone(), probe, failure });
        }
        self.say(Input::Measured { run: run.clone(), rss });
        let again = if is_ready && self.is_calm { 20 * SECOND } else { 2 * SECOND };
        self.later(again, Event::Watch(run));
    }

    fn meddle(&mut self) {
        match (self.is_ending, self.is_calm) {
            (true, _) => return,
            (false, true) => return self.start_all(),
            (false, false) => self.meddle_later(),
        }
        let app = NAMES[self.rng.below(4) as usize].to_owned();
        let number = (self.rng.below(2) == 0).then(|| self.rng.below(3) as u16);
        match self.rng.below(16) {
            0 | 1 => self.wish(app, number, Verb::Start),
            2 => self.wish(app, number, Verb::Stop),
            3 => self.wish(app, number, Verb::Roll(Revision(self.revision))),
            4 => {
                self.revision += 1;
                self.wish(app, None, Verb::Roll(Revision(self.revision)));
            }
            5 => self.wish(app, None, Verb::Abort),
            6 | 7 => {
                self.set_gateway(false);
                let back = ms(&mut self.rng, 20_000);
                self.later(back, Event::GatewayComes);
            }
            8 => {
                let name = NAMES[self.rng.below(4) as usize];
                let fresh =
                    App { revision: Revision(self.revision), ..world_app(name, &mut self.rng) };
                self.desire(name, Some(fresh));
            }
            9 => self.desire(&app, None),
            10 | 11 => {
                self.revision += 1;
                let revision = Revision(self.revision);
                if let Some(app) = self.desired.iter().find(|desired| desired.name == app) {
                    let changed = App { revision, ..app.clone() };
                    self.desire(&changed.name.clone(), Some(changed));
                }
            }
            12 => self.say(Input::Hurry),
            _ => {
                let index = self.rng.below(self.children.len() as u32) as usize;
                if let Some(run) = self.children.keys().nth(index).cloned() {
                    self.exit(&run, Exit::Signal(9));
                }
            }
        }
    }

    fn wish(&mut self, app: String, number: Option<u16>, verb: Verb) {
        let wish = Wish { app, number, verb };
        let planned = self.fleet.plan(&wish);
        let done = self.fleet.wish(self.now, &wish);
        assert_eq!(planned, done, "a plan says what will be done");
        self.perform();
    }

    fn desire(&mut self, name: &str, app: Option<App>) {
        self.desired.retain(|other| other.name != name);
        self.desired.extend(app);
        self.say(Input::Desired(self.desired.clone()));
    }

    fn set_gateway(&mut self, has_gateway: bool) {
        self.has_gateway = has_gateway;
        for child in self.children.values_mut() {
            child.is_finishing &= has_gateway;
        }
        self.say(Input::Gateway(has_gateway));
    }

    fn say(&mut self, input: Input) {
        let exited = match &input {
            Input::Exited { run, .. } => Some((run.clone(), self.rolling.contains(&run.app))),
            _ => None,
        };
        self.fleet.handle(self.now, input);
        if let Some((run, was_rolling)) = exited {
            invariants::a_planned_exit_spends_nothing(self, &run, was_rolling);
        }
        self.perform();
    }

    /// Does what the fleet wants, then looks whether all is as it must be.
    fn perform(&mut self) {
        self.before = core::mem::take(&mut self.shown);
        self.shown = self.fleet.views(self.now);
        while let Some(output) = self.fleet.next_output() {
            invariants::what_is_to_be_done_makes_sense(self, &output);
            self.done.push((self.now, output.clone()));
            match output {
                Output::Spawn { run, .. } => self.spawn(run),
                Output::Ask(run) => self.ask(&run),
                Output::AskTree(run) => {
                    self.ask(&run);
                    let child = &self.children[&run];
                    if child.has_rest && child.nature.leaves == Some(Heirs::Obedient) {
                        let wait = ms(&mut self.rng, 2_500);
                        self.later(wait, Event::RestGoes(run));
                    }
                }
                Output::Kill(run) => self.kill(run),
                Output::Tell(event) => assert!(!event.reason.is_empty(), "{event:?}"),
            }
        }
        self.shown = self.fleet.views(self.now);
        let deploys = self.fleet.deploys(self.now).into_iter();
        let is_over = |deploy: &DeployView| matches!(deploy.phase, Phase::Done | Phase::Failed);
        self.rolling = deploys.filter(|deploy| !is_over(deploy)).map(|deploy| deploy.app).collect();
        self.finish();
        invariants::all(self);
        if self.successions.as_mut().is_some_and(|rng| rng.below(8) == 0) {
            self.fleet = carried::again(&self.fleet);
        }
    }

    fn spawn(&mut self, run: Run) {
        self.spawned.push(self.now);
        if !self.is_calm && self.rng.below(15) == 0 {
            let fault =
                if self.rng.below(5) == 0 { SpawnFault::Lasting } else { SpawnFault::Passing };
            self.fleet.handle(self.now, Input::SpawnFailed { run, fault, why: "no".to_owned() });
            return;
        }
        let nature = match self.is_calm {
            true => Nature::good(&mut self.rng),
            false => Nature::random(&mut self.rng),
        };
        if let Some(after) = nature.serves_after {
            self.later(after, Event::Serves(run.clone()));
        }
        if let Some((after, exit)) = nature.exits_after {
            self.later(after, Event::Exits(run.clone(), exit));
        }
        if let Some(after) = nature.hangs_after {
            self.later(after, Event::Hangs(run.clone()));
        }
        self.later(100 * MS, Event::Watch(run.clone()));
        self.children.insert(run, Child::new(self.now, nature));
    }

    fn ask(&mut self, run: &Run) {
        let child = &self.children[run];
        if let Some(after) = child.nature.obeys_after.filter(|_| child.has_main) {
            self.later(after, Event::Exits(run.clone(), Exit::Status(0)));
        }
    }

    fn kill(&mut self, run: Run) {
        let child = self.children.get_mut(&run).expect("it is there");
        child.is_killed = true;
        let after = child.nature.dies_after;
        match child.has_main {
            true => self.later(after, Event::Exits(run, Exit::Signal(9))),
            false => self.later(after, Event::RestGoes(run)),
        }
    }

    /// Has the requests of draining runs finish.
    fn finish(&mut self) {
        let is_draining = |view: &&View| matches!(view.state, State::Draining { .. });
        let draining: Vec<Run> =
            self.shown.iter().filter(is_draining).map(|view| view.run.clone()).collect();
        for run in draining {
            let Some(child) = self.children.get_mut(&run) else { continue };
            if !core::mem::replace(&mut child.is_finishing, true)
                && let Some(after) = child.nature.finishes_after
            {
                self.later(after, Event::Finishes(run));
            }
        }
    }

    fn meddle_later(&mut self) {
        let wait = ms(&mut self.rng, 6_000);
        self.later(wait, Event::Meddle);
    }

    fn later(&mut self, wait: Duration, event: Event) {
        self.queued += 1;
        self.events.insert((self.now + wait, self.queued), event);
    }

    /// Runs that are to end.
    fn asked(&self) -> Vec<Run> {
        let leaves = |view: &&View| {
            matches!(view.state, State::Draining { .. } | State::Stopping | State::Stuck)
        };
        let leaving = self.shown.iter().filter(leaves).map(|view| view.run.clone());
        let killed = self.children.iter().filter(|(_, child)| child.is_killed);
        leaving.chain(killed.map(|(run, _)| run.clone())).collect()
    }

    pub(super) fn policy(&self, app: &str) -> Option<&Policy> {
        self.desired.iter().find(|desired| desired.name == app).map(|app| &app.policy)
    }
}

/// An app with random rules.
fn world_app(name: &str, rng: &mut Rng) -> App {
    let after = match name {
        "db" => vec![],
        "api" => vec!["db"],
        "hen" => vec!["egg", "api"],
        _ => vec!["hen", "nobody"],
    };
    let on_failure = [OnFailure::Abort, OnFailure::Rollback, OnFailure::Continue];
    let policy = Policy {
        after: after.into_iter().map(str::to_owned).collect(),
        ready: Ready {
            by: match rng.below(4) {
                0 => ReadyBy::Notice,
                1 => ReadyBy::Uptime(SECOND),
                _ => ReadyBy::Probes { rise: 1 + rng.below(2) as u16 },
            },
            within: 15 * SECOND,
        },
        alive: (rng.below(2) == 0).then(|| Alive {
            fall: 1 + rng.below(3) as u16,
            restart_after: (rng.below(2) == 0).then_some(10 * SECOND),
        }),
        restart: match rng.below(8) {
            0 => Restart::OnFailure,
            1 => Restart::Never,
            _ => Restart::Always,
        },
        memory: (rng.below(2) == 0).then_some(MemoryWatch { rss: 256 << 20, over: 15 * SECOND }),
        stop: Stop { drain: ms(rng, 40_000), timeout: 10 * SECOND },
        backoff: Backoff { stable_after: 20 * SECOND, ..policy(1).backoff },
        deploy: deploy::Policy {
            surge: rng.below(3) as u16,
            unavailable: rng.below(2) as u16,
            canary_for: if rng.below(2) == 0 { Duration::ZERO } else { 10 * SECOND },
            on_failure: on_failure[rng.below(3) as usize],
        },
        ..policy(1 + rng.below(3) as u16)
    };
    app(name, policy)
}
