//! Two workers and a keeper that does what the machine says, in simulated time.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::invariants;
use crate::rng::Rng;
use crate::time::Instant;
use crate::upgrade::*;

/// Longest time that a message takes.
pub(super) const MESSAGE: Duration = Duration::from_millis(200);
/// Until the exit of a worker is known.
pub(super) const NOTICE: Duration = Duration::from_millis(500);
/// Until a worker that hangs is known to, and killed.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    Crash(Side),
    Hang(Side),
    /// The node is to end.
    Stop,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Worker {
    pub(super) is_alive: bool,
    pub(super) hangs: bool,
    pub(super) accepts: bool,
    /// Everything exclusive is its own.
    pub(super) holds: bool,
    pub(super) requests: u64,
    pub(super) errors: u64,
    /// When the last message to it arrives: they keep their order.
    last_at: Instant,
}

impl Worker {
    pub(super) fn serves(&self) -> bool {
        self.is_alive && !self.hangs && self.accepts
    }

    fn die(&mut self) {
        (self.is_alive, self.accepts, self.holds) = (false, false, false);
    }
}

/// How things go if nothing is injected: chances in a hundred.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Luck {
    /// A step does not come off.
    pub(super) fails: u32,
    /// Somebody does not answer.
    pub(super) silence: u32,
    /// The new worker answers most requests with errors.
    pub(super) is_bad: bool,
}

#[derive(Clone, Debug)]
enum Event {
    /// The machine hears something.
    Hear(Input),
    /// A worker gets a message.
    Message(Side, Output),
    /// A worker that exits is seen to have.
    Exit(Side),
    /// Somebody asks the workers how requests went.
    Count,
    Fault(Fault),
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) parts: Parts,
    pub(super) policy: Policy,
    pub(super) upgrade: Upgrade,
    pub(super) old: Worker,
    pub(super) new: Worker,
    pub(super) outcome: Option<Outcome>,
    /// Every output so far, with its time.
    pub(super) did: Vec<(Instant, Output)>,
    /// The last answer to a check.
    pub(super) is_proved: bool,
    /// Since when nobody accepts or holds, though a worker could.
    pub(super) none_accepts: Option<Instant>,
    pub(super) none_holds: Option<Instant>,
    /// Something was injected or a worker was killed.
    pub(super) is_disturbed: bool,
    /// The machine knows that there is no old worker any more.
    pub(super) is_alone: bool,
    /// Steps so far, for injecting a fault after each of them.
    pub(super) steps: u32,
    pub(super) luck: Luck,
    rng: Rng,
    events: BTreeMap<(Instant, u32), Event>,
    events_total: u32,
    trace: String,
}

impl World {
    pub(super) fn new(seed: u64, parts: Parts, luck: Luck) -> Self {
        let now = Instant::EPOCH + Duration::from_secs(1_000);
        let policy = Policy::default();
        let serving = Worker { is_alive: true, accepts: true, holds: true, ..Worker::default() };
        let mut world = Self {
            now,
            parts,
            policy,
            upgrade: Upgrade::new(policy, parts, now),
            old: serving,
            new: Worker::default(),
            outcome: None,
            did: Vec::new(),
            is_proved: false,
            none_accepts: None,
            none_holds: None,
            is_disturbed: false,
            is_alone: false,
            steps: 0,
            luck,
            rng: Rng::seeded(seed),
            events: BTreeMap::new(),
            events_total: 0,
            trace: String::new(),
        };
        world.later(Duration::from_millis(10), Event::Count);
        world.perform();
        world
    }

    /// Has something go wrong after that time.
    pub(super) fn inject_after(&mut self, wait: Duration, fault: Fault) {
        self.later(wait, Event::Fault(fault));
    }

    /// Goes on until nothing is left to happen; injects faults, each after its step.
    pub(super) fn run(&mut self, faults: &[(u32, Fault)]) {
        while self.step() {
            self.steps += 1;
            let steps = self.steps;
            for (_, fault) in faults.iter().filter(|(step, _)| *step == steps) {
                self.suffer(*fault);
            }
            invariants::check(self);
        }
        invariants::check_end(self);
    }

    /// What happened so far, for people.
    pub(super) fn trace(&self) -> &str {
        &self.trace
    }

    /// Whether anything happened.
    fn step(&mut self) -> bool {
        let next = self.events.first_key_value().map(|((at, _), _)| *at);
        let deadline = self.upgrade.deadline();
        match (next, deadline) {
            (None, None) => return false,
            (Some(at), _) if deadline.is_none_or(|deadline| at < deadline) => {
                self.now = at;
                let (_, event) = self.events.pop_first().expect("it was just seen");
                self.note(&event);
                self.happen(event);
            }
            (_, Some(deadline)) => {
                self.now = self.now.max(deadline);
                self.hear(Input::Tick);
                let trace = &self.trace;
                assert_ne!(self.upgrade.deadline(), Some(deadline), "it stands still\n{trace}");
            }
            (Some(_), None) => unreachable!("covered above"),
        }
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Hear(input) => {
                if let Input::Checked(result) = &input {
                    self.is_proved = result.is_ok();
                }
                self.hear(input);
            }
            Event::Message(side, output) => self.receive(side, &output),
            Event::Exit(side) => {
                self.is_alone |= side == Side::Old;
                self.hear(Input::Lost(side, "signal 9".into()));
            }
            Event::Count => self.count(),
            Event::Fault(fault) => self.suffer(fault),
        }
    }

    fn hear(&mut self, input: Input) {
        self.upgrade.handle(self.now, input);
        self.perform();
        if self.rng.below(4) == 0 {
            // Whoever goes on from what was written down does the same.
            let bytes = minicbor::to_vec(&self.upgrade).unwrap();
            self.upgrade = minicbor::decode(&bytes).unwrap();
        }
    }

    fn perform(&mut self) {
        while let Some(output) = self.upgrade.next_output() {
            let line = format!("{:?} {output:?}\n", self.now.since_epoch());
            self.trace.push_str(&line);
            assert!(self.outcome.is_none(), "an output after the end\n{}", self.trace);
            invariants::check_output(self, &output);
            self.did.push((self.now, output.clone()));
            self.do_one(output);
        }
    }

    fn do_one(&mut self, output: Output) {
        match output {
            Output::Check | Output::Rehearse => self.answer(5_000, |failure| {
                Input::Checked(failure.map_or(Ok(()), |()| Err("too old".into())))
            }),
            Output::Spawn => {
                if self.is_unlucky() {
                    self.hear_later(Input::Lost(Side::New, "no memory".into()));
                } else {
                    self.new.is_alive = true;
                    self.answer(8_000, |_| Input::Ready);
                }
            }
            Output::Activate => self.tell(Side::New, output),
            Output::Probe => {
                let answers = self.new.serves();
                self.answer(1_000, |failure| match (failure, answers) {
                    (None, true) => Input::Probed(Ok(())),
                    (Some(()), _) | (None, false) => Input::Probed(Err("status 404".into())),
                });
            }
            Output::Release | Output::Retire | Output::Finish => self.tell(Side::Old, output),
            Output::Acquire(side) => self.tell(side, output),
            Output::Recall | Output::Dismiss => self.tell(Side::New, output),
            Output::Kill => {
                self.is_disturbed = true;
                if self.new.is_alive {
                    self.new.die();
                    self.later(NOTICE, Event::Exit(Side::New));
                }
            }
            Output::Execute => self.answer(300, |failure| match failure {
                None => Input::Executed,
                Some(()) => Input::Stayed("it crashed".into()),
            }),
            Output::End(outcome) => self.outcome = Some(outcome),
        }
    }

    /// A worker does what it is told.
    fn receive(&mut self, side: Side, output: &Output) {
        let worker = self.worker(side);
        if !worker.is_alive || worker.hangs {
            return;
        }
        match output {
            Output::Activate => {
                worker.accepts = true;
                self.answer(300, |_| Input::Activated);
            }
            Output::Release | Output::Recall => {
                worker.holds = false;
                self.answer(3_000, |_| Input::Released(side));
            }
            Output::Acquire(_) => {
                (worker.accepts, worker.holds) = (true, true);
                if side == Side::New {
                    self.answer(300, |_| Input::Acquired);
                }
            }
            Output::Retire => worker.accepts = false,
            Output::Finish | Output::Dismiss => {
                worker.die();
                self.later(NOTICE, Event::Exit(side));
            }
            Output::Check
            | Output::Spawn
            | Output::Probe
            | Output::Kill
            | Output::Rehearse
            | Output::Execute
            | Output::End(_) => unreachable!("no message to a worker"),
        }
    }

    fn suffer(&mut self, fault: Fault) {
        let line = format!("{:?} {fault:?}\n", self.now.since_epoch());
        self.trace.push_str(&line);
        self.is_disturbed = true;
        match fault {
            Fault::Stop => self.hear(Input::Stop("the end".into())),
            Fault::Crash(side) => {
                if self.worker(side).is_alive {
                    self.worker(side).die();
                    self.later(NOTICE, Event::Exit(side));
                }
            }
            Fault::Hang(side) => {
                if self.worker(side).is_alive {
                    self.worker(side).hangs = true;
                    self.later(PATIENCE, Event::Fault(Fault::Crash(side)));
                }
            }
        }
    }

    fn count(&mut self) {
        let share = self.rng.below(40);
        for side in [Side::Old, Side::New] {
            let is_bad = side == Side::New && self.luck.is_bad;
            let worker = self.worker(side);
            if worker.serves() {
                worker.requests += u64::from(share);
                worker.errors += if is_bad { u64::from(share) / 2 } else { 0 };
            }
            let served = Served { requests: worker.requests, errors: worker.errors };
            if worker.is_alive && !worker.hangs {
                self.hear(Input::Served(side, served));
            }
        }
        if self.upgrade.outcome().is_none() {
            self.later(Duration::from_secs(1), Event::Count);
        }
    }

    /// Sends a message to a worker, after those before it.
    fn tell(&mut self, side: Side, output: Output) {
        let at = self.now + self.delay(MESSAGE);
        let worker = self.worker(side);
        let at = at.max(worker.last_at);
        worker.last_at = at;
        self.later(at - self.now, Event::Message(side, output));
    }

    /// The machine hears an answer after up to so many milliseconds, or never.
    fn answer(&mut self, millis: u32, input: impl FnOnce(Option<()>) -> Input) {
        let failure = self.is_unlucky().then_some(());
        if self.rng.below(100) >= self.luck.silence {
            let wait = self.delay(Duration::from_millis(u64::from(millis)));
            self.later(wait, Event::Hear(input(failure)));
        }
    }

    fn hear_later(&mut self, input: Input) {
        let wait = self.delay(MESSAGE);
        self.later(wait, Event::Hear(input));
    }

    fn is_unlucky(&mut self) -> bool {
        self.rng.below(100) < self.luck.fails
    }

    fn delay(&mut self, most: Duration) -> Duration {
        let millis = u32::try_from(most.as_millis()).unwrap();
        Duration::from_millis(u64::from(self.rng.below(millis)))
    }

    fn worker(&mut self, side: Side) -> &mut Worker {
        match side {
            Side::Old => &mut self.old,
            Side::New => &mut self.new,
        }
    }

    fn later(&mut self, wait: Duration, event: Event) {
        self.events_total += 1;
        self.events.insert((self.now + wait, self.events_total), event);
    }

    fn note(&mut self, event: &Event) {
        let line = format!("{:?} {event:?}\n", self.now.since_epoch());
        self.trace.push_str(&line);
    }
}
