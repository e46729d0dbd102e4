//! One instance: a place that one run after another fills.
//!
//! Its berth holds one run at most: starting, ready or hanging. During a deploy there may be a
//! second berth. Beside that there are runs that leave. The next run waits for the process of the
//! last one, but not for what that left behind, nor for what cannot be killed.

use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use super::failures::Charge;
use super::life::{self, Effect, Ill, Life, Terms};
use super::{Event, Exit, Output, Revision, Run, Severity, SpawnFault};
use crate::deploy::Deploy;
use crate::rng::Rng;
use crate::supervise::policy::Policy;
use crate::time::{Instant, Spoken};

mod berth;
mod part;
mod shown;

use berth::{Berth, Loss, Slot};
use part::Part;

/// Exit statuses that say that another start ends alike: EX_CONFIG of sysexits.h, and what s6 uses.
const HOPELESS: [i32; 2] = [78, 125];

/// Where an instance is, and where what it wants done goes.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) app: &'a str,
    pub(super) number: u16,
    pub(super) policy: &'a Policy,
    pub(super) has_gateway: bool,
    pub(super) rng: &'a mut Rng,
    pub(super) outputs: &'a mut VecDeque<Output>,
}

impl Context<'_> {
    fn terms(&self) -> Terms<'_> {
        Terms { policy: self.policy, has_gateway: self.has_gateway }
    }

    fn run(&self, generation: u32) -> Run {
        Run { app: self.app.to_owned(), number: self.number, generation }
    }

    fn tell(&mut self, severity: Severity, kind: &'static str, reason: String) {
        let (app, number) = (self.app.to_owned(), Some(self.number));
        self.outputs.push_back(Output::Tell(Event { severity, kind, app, number, reason }));
    }
}

/// What is wanted of an instance.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub(super) enum Wanted {
    /// That it runs.
    #[n(0)]
    Run,
    /// That it stays without a run until the operator starts it.
    #[n(1)]
    Stopped,
    /// That there is no such instance.
    #[n(2)]
    Gone,
}

/// One of the berths of an instance.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum At {
    /// Its own.
    Home,
    /// The one that it has for a deploy.
    Guest,
}

/// One instance.
#[derive(Debug, Decode, Encode)]
pub(super) struct Instance {
    #[n(0)]
    wanted: Wanted,
    #[n(1)]
    home: Berth,
    #[n(2)]
    part: Option<Part>,
    /// Those that leave, and those that fill a berth.
    #[n(3)]
    runs: Vec<Life>,
    /// Of the last run.
    #[n(4)]
    generation: u32,
    #[n(5)]
    exits: u32,
    #[n(6)]
    last_exit: Option<String>,
    /// It was ready, or did what it was to do, since it was last started on purpose.
    #[n(7)]
    has_come_up: bool,
    /// Its run was replaced because it was ill, and it is not ready again.
    #[n(8)]
    is_mending: bool,
}

impl Instance {
    /// An instance that is to run.
    pub(super) fn new(now: Instant, revision: Revision) -> Self {
        Self {
            wanted: Wanted::Run,
            home: Berth::new(now, revision),
            part: None,
            runs: Vec::new(),
            generation: 0,
            exits: 0,
            last_exit: None,
            has_come_up: false,
            is_mending: false,
        }
    }

    /// Why there can be no such instance, if it was read from somewhere; `deploy` is under way.
    pub(super) fn check(&self, number: u16, deploy: Option<&Deploy>) -> Result<(), &'static str> {
        for (at, life) in self.runs.iter().enumerate() {
            let is_twice = self.position(life.generation) != Some(at);
            if is_twice || life.generation == 0 || life.generation > self.generation {
                return Err("a run has no generation of its own");
            }
            life.check()?;
        }
        for (_, berth) in self.berths() {
            let is_filled = self.position(berth.generation).is_some();
            let is_lost = berth.slot == Slot::Running && !is_filled;
            if is_lost || berth.generation > self.generation {
                return Err("an instance waits for a run that is not there");
            }
        }
        self.part.as_ref().map_or(Ok(()), |part| self.check_part(number, part, deploy))
    }

    /// Takes in what happened to one of its runs; what happened to none of them is late.
    pub(super) fn handle(&mut self, ctx: &mut Context, generation: u32, input: life::Input) {
        let Some(at) = self.position(generation) else {
            return;
        };
        if let Some(effect) = self.runs[at].handle(ctx.now, ctx.terms(), input) {
            self.follow(ctx, at, effect);
        }
    }

    /// Takes in that the process of a run exited.
    pub(super) fn exited(
        &mut self,
        ctx: &mut Context,
        generation: u32,
        exit: Exit,
        how: String,
        has_rest: bool,
    ) {
        let Some(at) = self.position(generation) else {
            return;
        };
        let life = &self.runs[at];
        let loss = Loss {
            charge: match exit {
                Exit::Status(status) if HOPELESS.contains(&status) => Charge::Lasting,
                Exit::Status(_) | Exit::Signal(_) | Exit::OutOfMemory => Charge::Counted,
                Exit::Blameless => Charge::Blameless,
            },
            is_stable: life.is_stable(ctx.now, ctx.policy),
            is_clean: exit == Exit::Status(0),
            how,
        };
        if !life.is_killed() {
            self.last_exit = Some(loss.how.clone());
        }
        self.handle(ctx, generation, life::Input::Exited { has_rest });
        self.lose(ctx, generation, &loss);
    }

    /// Takes in that a process could not be started.
    pub(super) fn spawn_failed(
        &mut self,
        ctx: &mut Context,
        generation: u32,
        fault: SpawnFault,
        how: String,
    ) {
        let Some(at) = self.position(generation) else {
            return;
        };
        self.runs.remove(at);
        self.last_exit = Some(how.clone());
        let charge = match fault {
            SpawnFault::Passing => Charge::Blameless,
            SpawnFault::Lasting => Charge::Lasting,
        };
        self.lose(ctx, generation, &Loss { how, charge, is_stable: false, is_clean: false });
        self.clear(ctx, generation);
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, ctx: &mut Context) {
        let generations: Vec<u32> = self.runs.iter().map(|life| life.generation).collect();
        for generation in generations {
            while let Some(at) = self.position(generation)
                && let Some(effect) = self.runs[at].handle(ctx.now, ctx.terms(), life::Input::Tick)
            {
                self.follow(ctx, at, effect);
            }
        }
        let guest = self.part.as_mut().and_then(|part| part.guest.as_mut());
        for berth in [Some(&mut self.home), guest].into_iter().flatten() {
            if berth.tick(ctx.now) {
                ctx.tell(Severity::Info, "app_started", "one more try".to_owned());
            }
        }
    }

    /// When to tick it next.
    pub(super) fn deadline(&self, terms: Terms) -> Option<Instant> {
        let berths = self.berths().filter_map(|(_, berth)| berth.deadline());
        self.runs.iter().filter_map(|life| life.deadline(terms)).chain(berths).min()
    }

    /// Starts the next run of a berth that waits for it.
    pub(super) fn spawn(&mut self, ctx: &mut Context, at: At) {
        let berth = match (at, &mut self.part) {
            (At::Home, _) => &mut self.home,
            (At::Guest, Some(Part { guest: Some(guest), .. })) => guest,
            (At::Guest, Some(Part { guest: None, .. }) | None) => return,
        };
        debug_assert_eq!(berth.slot, Slot::Waiting, "only what waits is started");
        self.generation = self.generation.saturating_add(1);
        berth.generation = self.generation;
        berth.enter(ctx.now, Slot::Running, None);
        let revision = berth.revision;
        self.runs.push(Life::new(ctx.now, ctx.terms(), self.generation, revision));
        let run = ctx.run(self.generation);
        ctx.outputs.push_back(Output::Spawn { run, revision });
    }

    /// Has it run, with a budget that is whole again; something else than so far if it does not run.
    pub(super) fn start(&mut self, ctx: &mut Context, revision: Option<Revision>) {
        self.wanted = Wanted::Run;
        if let (Slot::Stopped, Some(revision)) = (self.home.slot, revision) {
            self.home.revision = revision;
        }
        self.home.start(ctx.now);
    }

    /// Has it run because the operator says so.
    pub(super) fn start_again(&mut self, ctx: &mut Context, revision: Revision) {
        ctx.tell(Severity::Info, "app_started", "by an operator".to_owned());
        self.start(ctx, Some(revision));
    }

    /// Has it end: its runs are drained and ended, and nothing follows.
    pub(super) fn stop(&mut self, ctx: &mut Context, wanted: Wanted) {
        self.leave(ctx);
        self.wanted = wanted;
        self.has_come_up = false;
        self.is_mending = false;
        let generation = self.home.vacate(ctx.now, Slot::Stopped);
        if let Some(generation) = generation {
            self.handle(ctx, generation, life::Input::End);
        } else {
            self.tell_stopped(ctx);
        }
    }

    /// Replaces its run, drained, because that is ill.
    pub(super) fn mend(&mut self, ctx: &mut Context, ill: Ill) {
        let (kind, reason) = match ill {
            Ill::Hangs { after } => ("app_hung", format!("hangs for {}", Spoken(after))),
            Ill::Swells { rss } => ("app_memory", format!("uses {} MiB", rss >> 20)),
        };
        ctx.tell(Severity::Warn, kind, format!("{reason}; it is drained and replaced"));
        self.is_mending = true;
        if let Some(generation) = self.home.vacate(ctx.now, Slot::Waiting) {
            self.handle(ctx, generation, life::Input::End);
        }
    }

    /// Kills what leaves.
    pub(super) fn hurry(&mut self, ctx: &mut Context) {
        let generations: Vec<u32> = self.runs.iter().map(|life| life.generation).collect();
        for generation in generations {
            self.handle(ctx, generation, life::Input::Hurry);
        }
    }

    /// What is wanted of it.
    pub(super) fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Whether starting it changes something.
    pub(super) fn may_be_started(&self) -> bool {
        match self.home.slot {
            Slot::Waiting | Slot::Running | Slot::Vacant => false,
            Slot::Backoff { .. } | Slot::Fatal { .. } | Slot::Stopped => true,
        }
    }

    /// The berths that wait for a start which nothing of their own keeps from them, and since when.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (Instant, At)> {
        let waits = |berth: &Berth| berth.slot == Slot::Waiting && !self.is_blocked(berth);
        self.berths().filter(move |(_, berth)| waits(berth)).map(|(at, berth)| (berth.since, at))
    }

    /// Says why it still waits.
    pub(super) fn explain(&mut self, reason: String) {
        if self.home.slot == Slot::Waiting {
            self.home.reason = Some(reason);
        }
    }

    /// Whether apps that come after this one need not wait for it.
    pub(super) fn has_come_up(&self) -> bool {
        self.has_come_up
    }

    /// Whether its run may have requests.
    pub(super) fn is_ready(&self) -> bool {
        self.filling().is_some_and(Life::is_ready)
    }

    /// Whether its run was replaced because it was ill, and it is not ready again.
    pub(super) fn is_mending(&self) -> bool {
        self.is_mending
    }

    /// The run that fills it.
    pub(super) fn filling(&self) -> Option<&Life> {
        self.runs.iter().find(|life| self.home.holds(life.generation))
    }

    /// What it is to run.
    pub(super) fn revision(&self) -> Revision {
        self.home.revision
    }

    /// Whether it failed too often or for good.
    pub(super) fn is_fatal(&self) -> bool {
        matches!(self.home.slot, Slot::Fatal { .. })
    }

    /// Whether nothing of it is left that could still end.
    pub(super) fn is_over(&self) -> bool {
        self.home.slot == Slot::Stopped && self.runs.iter().all(Life::is_stuck)
    }

    /// Whether it is no longer wanted and nothing of it is left.
    pub(super) fn is_gone(&self) -> bool {
        self.wanted == Wanted::Gone && self.runs.is_empty()
    }

    /// Revisions that its runs are of, or will be.
    pub(super) fn revisions(&self) -> impl Iterator<Item = Revision> {
        let runs = self.runs.iter().map(|life| life.revision);
        let part = self.part.iter().flat_map(Part::revisions);
        runs.chain(part).chain([self.home.revision])
    }

    fn position(&self, generation: u32) -> Option<usize> {
        self.runs.iter().position(|life| life.generation == generation)
    }

    fn berths(&self) -> impl Iterator<Item = (At, &Berth)> {
        let guest = self.part.as_ref().and_then(|part| part.guest.as_ref());
        [(At::Home, Some(&self.home)), (At::Guest, guest)]
            .into_iter()
            .filter_map(|(at, berth)| Some((at, berth?)))
    }

    /// Whether a run keeps the next one of a berth from starting: its last one, or one that is of
    /// no berth and that no deploy waits for.
    fn is_blocked(&self, berth: &Berth) -> bool {
        self.runs.iter().filter(|life| life.is_in_the_way()).any(|life| {
            let generation = life.generation;
            let is_other = self.berths().any(|(_, other)| other.generation == generation);
            let is_waited_for = self.part.as_ref().is_some_and(|part| part.waits_for(generation));
            berth.generation == generation || !(is_other || is_waited_for)
        })
    }

    /// The berth that a run fills.
    fn berth_of(&self, generation: u32) -> Option<At> {
        self.berths().find(|(_, berth)| berth.holds(generation)).map(|(at, _)| at)
    }

    fn follow(&mut self, ctx: &mut Context, at: usize, effect: Effect) {
        let life = &self.runs[at];
        let generation = life.generation;
        let run = ctx.run(generation);
        match effect {
            Effect::Ready => {
                self.has_come_up = true;
                self.is_mending = false;
                ctx.tell(Severity::Info, "app_ready", "it may have requests".to_owned());
                if let Some(at) = self.berth_of(generation) {
                    self.report_ready(ctx.number, at);
                }
            }
            Effect::Unhealthy => {
                let reason = life.reason().unwrap_or_default().to_owned();
                ctx.tell(Severity::Warn, "app_unhealthy", reason.clone());
                if self.berth_of(generation) == Some(At::Guest) {
                    self.report_failed(ctx.number, At::Guest, format!("is unhealthy: {reason}"));
                }
            }
            Effect::Late => {
                let how = life.reason().unwrap_or_default().to_owned();
                ctx.outputs.push_back(Output::Kill(run));
                self.last_exit = Some(how.clone());
                let charge = Charge::Counted;
                let loss = Loss { how, charge, is_stable: false, is_clean: false };
                self.lose(ctx, generation, &loss);
            }
            Effect::Crashed { has_rest: true } => ctx.outputs.push_back(Output::Kill(run)),
            Effect::Ask => ctx.outputs.push_back(Output::Ask(run)),
            Effect::AskTree => ctx.outputs.push_back(Output::AskTree(run)),
            Effect::Kill => ctx.outputs.push_back(Output::Kill(run)),
            Effect::Stuck => {
                let reason = "processes of it are still there after they were killed".to_owned();
                ctx.tell(Severity::Error, "app_stuck", reason);
                self.clear(ctx, generation);
            }
            Effect::Crashed { has_rest: false } | Effect::Gone => {
                self.runs.remove(at);
                self.clear(ctx, generation);
            }
        }
    }

    /// Decides what follows the unplanned end of a run, if it filled a berth.
    fn lose(&mut self, ctx: &mut Context, generation: u32, loss: &Loss) {
        let Some(at) = self.berth_of(generation) else {
            return;
        };
        self.exits = self.exits.saturating_add(1);
        let sequel = match (at, &mut self.part) {
            (At::Guest, Some(Part { guest: Some(guest), .. })) => {
                let reason = format!("{}; what follows is up to the deploy", loss.how);
                ctx.tell(Severity::Warn, "app_exited", reason);
                guest.lose(ctx, loss)
            }
            (At::Home | At::Guest, _) => {
                let sequel = self.home.lose(ctx, loss);
                self.home.tell(ctx, loss, sequel);
                self.has_come_up |= loss.is_clean && self.home.slot == Slot::Stopped;
                self.is_mending &= !self.is_fatal() && self.home.slot != Slot::Stopped;
                sequel
            }
        };
        self.report_loss(ctx.number, at, loss, sequel);
    }

    /// Nothing is left of a run, or nothing that could be ended.
    fn clear(&mut self, ctx: &mut Context, generation: u32) {
        self.report_gone(ctx.number, generation);
        self.tell_stopped(ctx);
    }

    fn tell_stopped(&self, ctx: &mut Context) {
        let why = match self.wanted {
            Wanted::Run => return,
            Wanted::Stopped => "by an operator",
            Wanted::Gone => "it is no longer wanted",
        };
        if self.is_over() {
            ctx.tell(Severity::Info, "app_stopped", why.to_owned());
        }
    }
}
