//! One instance: a place that one run after another fills.
//!
//! At any time one run at most fills it: starting, ready or hanging. Beside that there are runs
//! that leave. The next run waits for the process of the last one, but not for what that left
//! behind, nor for what cannot be killed.

use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::failures::{Charge, Failures, Next};
use super::life::{self, Effect, Ill, Life, Terms};
use super::{Event, Exit, Output, Revision, Run, Severity, SpawnFault, State, View};
use crate::rng::Rng;
use crate::supervise::policy::{Policy, Restart};
use crate::time::{Instant, Spoken};

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
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wanted {
    /// That it runs.
    Run,
    /// That it stays without a run until the operator starts it.
    Stopped,
    /// That there is no such instance.
    Gone,
}

/// One instance.
#[derive(Debug)]
pub(super) struct Instance {
    /// What its next run will be of.
    pub(super) revision: Revision,
    wanted: Wanted,
    slot: Slot,
    since: Instant,
    reason: Option<String>,
    /// Those that leave, and the one that fills the slot.
    runs: Vec<Life>,
    failures: Failures,
    generation: u32,
    exits: u32,
    last_exit: Option<String>,
    /// It was ready, or did what it was to do, since it was last started on purpose.
    has_come_up: bool,
    /// Its run was replaced because it was ill, and it is not ready again.
    is_mending: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Slot {
    /// A run is to start as soon as nothing keeps it.
    Waiting,
    /// That of this generation fills it.
    Running(u32),
    Backoff {
        until: Instant,
    },
    Fatal {
        until: Option<Instant>,
    },
    Stopped,
}

/// How a run ended unplanned.
#[derive(Debug)]
struct Loss {
    how: String,
    charge: Charge,
    is_stable: bool,
    /// It succeeded.
    is_clean: bool,
}

impl Instance {
    /// An instance that is to run.
    pub(super) fn new(now: Instant, revision: Revision) -> Self {
        Self {
            revision,
            wanted: Wanted::Run,
            slot: Slot::Waiting,
            since: now,
            reason: None,
            runs: Vec::new(),
            failures: Failures::default(),
            generation: 0,
            exits: 0,
            last_exit: None,
            has_come_up: false,
            is_mending: false,
        }
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
        if self.slot == Slot::Running(generation) {
            self.lose(ctx, loss);
        }
    }

    /// Takes in that a process could not be started.
    pub(super) fn spawn_failed(
        &mut self,
        ctx: &mut Context,
        generation: u32,
        fault: SpawnFault,
        how: String,
    ) {
        self.runs.retain(|life| life.generation != generation);
        self.last_exit = Some(how.clone());
        if self.slot == Slot::Running(generation) {
            let charge = match fault {
                SpawnFault::Passing => Charge::Blameless,
                SpawnFault::Lasting => Charge::Lasting,
            };
            self.lose(ctx, Loss { how, charge, is_stable: false, is_clean: false });
        }
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
        match self.slot {
            Slot::Backoff { until } if until <= ctx.now => self.enter(ctx.now, Slot::Waiting, None),
            Slot::Fatal { until: Some(until) } if until <= ctx.now => {
                self.failures.begin_trial();
                ctx.tell(Severity::Info, "app_started", "one more try".to_owned());
                self.enter(ctx.now, Slot::Waiting, None);
            }
            Slot::Waiting
            | Slot::Running(_)
            | Slot::Backoff { .. }
            | Slot::Fatal { .. }
            | Slot::Stopped => {}
        }
    }

    /// When to tick it next.
    pub(super) fn deadline(&self, terms: Terms) -> Option<Instant> {
        let slot = match self.slot {
            Slot::Backoff { until } => Some(until),
            Slot::Fatal { until } => until,
            Slot::Waiting | Slot::Running(_) | Slot::Stopped => None,
        };
        self.runs.iter().filter_map(|life| life.deadline(terms)).chain(slot).min()
    }

    /// Starts the next run.
    pub(super) fn spawn(&mut self, ctx: &mut Context) {
        debug_assert!(self.waits_since().is_some(), "only what waits is started");
        self.generation = self.generation.saturating_add(1);
        self.runs.push(Life::new(ctx.now, ctx.terms(), self.generation, self.revision));
        self.enter(ctx.now, Slot::Running(self.generation), None);
        let run = ctx.run(self.generation);
        ctx.outputs.push_back(Output::Spawn { run, revision: self.revision });
    }

    /// Has it run, with a budget that is whole again.
    pub(super) fn start(&mut self, ctx: &mut Context) {
        self.wanted = Wanted::Run;
        match self.slot {
            Slot::Waiting | Slot::Running(_) => {}
            Slot::Backoff { .. } | Slot::Fatal { .. } | Slot::Stopped => {
                self.failures = Failures::default();
                self.enter(ctx.now, Slot::Waiting, None);
            }
        }
    }

    /// Has it run because the operator says so.
    pub(super) fn start_again(&mut self, ctx: &mut Context) {
        ctx.tell(Severity::Info, "app_started", "by an operator".to_owned());
        self.start(ctx);
    }

    /// Whether starting it changes something.
    pub(super) fn may_be_started(&self) -> bool {
        match self.slot {
            Slot::Waiting | Slot::Running(_) => false,
            Slot::Backoff { .. } | Slot::Fatal { .. } | Slot::Stopped => true,
        }
    }

    /// Has it end: its run is drained and ended, and nothing follows.
    pub(super) fn stop(&mut self, ctx: &mut Context, wanted: Wanted) {
        self.wanted = wanted;
        self.has_come_up = false;
        self.is_mending = false;
        let generation = self.vacate(ctx.now, Slot::Stopped);
        if let Some(generation) = generation {
            self.handle(ctx, generation, life::Input::End);
        } else {
            self.tell_stopped(ctx);
        }
    }

    /// Ends its run, drained, and starts another.
    pub(super) fn replace(&mut self, ctx: &mut Context) {
        if let Some(generation) = self.vacate(ctx.now, Slot::Waiting) {
            self.handle(ctx, generation, life::Input::End);
        }
    }

    /// Replaces its run because that is ill.
    pub(super) fn mend(&mut self, ctx: &mut Context, ill: Ill) {
        let (kind, reason) = match ill {
            Ill::Hangs { after } => ("app_hung", format!("hangs for {}", Spoken(after))),
            Ill::Swells { rss } => ("app_memory", format!("uses {} MiB", rss >> 20)),
        };
        ctx.tell(Severity::Warn, kind, format!("{reason}; it is drained and replaced"));
        self.is_mending = true;
        self.replace(ctx);
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

    /// Since when it waits for a start that its own runs do not keep from it.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        let is_free = !self.runs.iter().any(Life::is_in_the_way);
        (self.slot == Slot::Waiting && is_free).then_some(self.since)
    }

    /// Says why it still waits.
    pub(super) fn explain(&mut self, reason: String) {
        self.reason = Some(reason);
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
        let Slot::Running(generation) = self.slot else {
            return None;
        };
        self.runs.iter().find(|life| life.generation == generation)
    }

    /// Whether it failed too often or for good.
    pub(super) fn is_fatal(&self) -> bool {
        matches!(self.slot, Slot::Fatal { .. })
    }

    /// Whether nothing of it is left that could still end.
    pub(super) fn is_over(&self) -> bool {
        self.slot == Slot::Stopped && self.runs.iter().all(Life::is_stuck)
    }

    /// Whether it is no longer wanted and nothing of it is left.
    pub(super) fn is_gone(&self) -> bool {
        self.wanted == Wanted::Gone && self.runs.is_empty()
    }

    /// Revisions that its runs are of, or will be.
    pub(super) fn revisions(&self) -> impl Iterator<Item = Revision> {
        self.runs.iter().map(|life| life.revision).chain([self.revision])
    }

    /// Its runs, and itself if none fills it, each generation once.
    pub(super) fn views(&self, ctx: (&str, u16, &Policy), now: Instant) -> Vec<View> {
        let (app, number, policy) = ctx;
        let view = |generation, revision, state, since, reason: Option<&str>| View {
            run: Run { app: app.to_owned(), number, generation },
            state,
            since,
            revision,
            exits: self.exits,
            failures: self.failures.counted(now, &policy.backoff),
            last_exit: self.last_exit.clone(),
            reason: reason.map(ToOwned::to_owned),
        };
        let is_blocked = self.runs.iter().any(Life::is_in_the_way);
        let state = match self.slot {
            Slot::Running(_) => None,
            Slot::Waiting => (!is_blocked).then_some(State::Waiting),
            Slot::Stopped => self.runs.is_empty().then_some(State::Stopped),
            Slot::Backoff { until } => Some(State::Backoff { left: until - now }),
            Slot::Fatal { until } => Some(State::Fatal { left: until.map(|until| until - now) }),
        };
        let is_hidden = |life: &&Life| state.is_some() && life.generation == self.generation;
        let runs = self.runs.iter().filter(|life| !is_hidden(life)).map(|life| {
            let state = life.state(now);
            view(life.generation, life.revision, state, life.lasts(now), life.reason())
        });
        let own = state.map(|state| {
            let since = now - self.since;
            view(self.generation, self.revision, state, since, self.reason.as_deref())
        });
        runs.chain(own).collect()
    }

    fn position(&self, generation: u32) -> Option<usize> {
        self.runs.iter().position(|life| life.generation == generation)
    }

    fn follow(&mut self, ctx: &mut Context, at: usize, effect: Effect) {
        let life = &self.runs[at];
        let run = ctx.run(life.generation);
        match effect {
            Effect::Ready => {
                self.has_come_up = true;
                self.is_mending = false;
                ctx.tell(Severity::Info, "app_ready", "it may have requests".to_owned());
            }
            Effect::Unhealthy => {
                let reason = life.reason().unwrap_or_default().to_owned();
                ctx.tell(Severity::Warn, "app_unhealthy", reason);
            }
            Effect::Late => {
                let how = life.reason().unwrap_or_default().to_owned();
                ctx.outputs.push_back(Output::Kill(run));
                self.last_exit = Some(how.clone());
                let charge = Charge::Counted;
                self.lose(ctx, Loss { how, charge, is_stable: false, is_clean: false });
            }
            Effect::Crashed { has_rest: true } => ctx.outputs.push_back(Output::Kill(run)),
            Effect::Crashed { has_rest: false } => drop(self.runs.remove(at)),
            Effect::Ask => ctx.outputs.push_back(Output::Ask(run)),
            Effect::AskTree => ctx.outputs.push_back(Output::AskTree(run)),
            Effect::Kill => ctx.outputs.push_back(Output::Kill(run)),
            Effect::Stuck => {
                let reason = "processes of it are still there after they were killed".to_owned();
                ctx.tell(Severity::Error, "app_stuck", reason);
                self.tell_stopped(ctx);
            }
            Effect::Gone => {
                self.runs.remove(at);
                self.tell_stopped(ctx);
            }
        }
    }

    /// Decides what follows the unplanned end of the run that filled it.
    fn lose(&mut self, ctx: &mut Context, loss: Loss) {
        self.exits = self.exits.saturating_add(1);
        let Loss { how, charge, is_stable, is_clean } = loss;
        let is_last = match ctx.policy.restart {
            Restart::Always => false,
            Restart::OnFailure => is_clean,
            Restart::Never => true,
        };
        if is_last {
            self.has_come_up |= is_clean;
            let severity = if is_clean { Severity::Info } else { Severity::Warn };
            ctx.tell(severity, "app_exited", format!("{how}; it is not started again"));
            return self.enter(ctx.now, Slot::Stopped, Some("it ended by itself".to_owned()));
        }
        let backoff = &ctx.policy.backoff;
        let next = self.failures.fail(ctx.now, backoff, charge, is_stable, ctx.rng);
        let counted = self.failures.counted(ctx.now, backoff);
        let budget = match charge {
            Charge::Counted => format!("{counted} of {} failures", backoff.failures),
            Charge::Blameless => "not counted".to_owned(),
            Charge::Lasting => "another start would end alike".to_owned(),
        };
        match next {
            Next::Start(wait) => {
                let again = match wait.as_nanos() {
                    0 => "at once".to_owned(),
                    _ => format!("in {}", Spoken(wait)),
                };
                let reason = format!("{how}; started again {again}; {budget}");
                ctx.tell(Severity::Warn, "app_exited", reason);
                let slot = match wait.as_nanos() {
                    0 => Slot::Waiting,
                    _ => Slot::Backoff { until: ctx.now + wait },
                };
                self.enter(ctx.now, slot, Some(how));
            }
            Next::Try(wait) => {
                ctx.tell(Severity::Warn, "app_exited", format!("{how}; {budget}"));
                self.despair(ctx, how, charge, wait.map(|wait| ctx.now + wait));
            }
        }
    }

    fn despair(&mut self, ctx: &mut Context, how: String, charge: Charge, until: Option<Instant>) {
        self.is_mending = false;
        let again = match until {
            Some(until) => format!("tried once more in {}", Spoken(until - ctx.now)),
            None => "not started again until it is changed or an operator starts it".to_string(),
        };
        let backoff = &ctx.policy.backoff;
        let counted = self.failures.counted(ctx.now, backoff);
        let why = match charge {
            Charge::Counted if counted >= backoff.failures => {
                let within = Spoken(backoff.within);
                format!("{counted} failures within {within}, the last one: {how}")
            }
            Charge::Counted | Charge::Blameless => format!("one more try failed: {how}"),
            Charge::Lasting => how,
        };
        ctx.tell(Severity::Error, "app_fatal", format!("{why}; {again}"));
        self.enter(ctx.now, Slot::Fatal { until }, Some(why));
    }

    /// Takes the run that fills it out of its place.
    fn vacate(&mut self, now: Instant, next: Slot) -> Option<u32> {
        let was = self.slot;
        self.enter(now, next, None);
        match was {
            Slot::Running(generation) => Some(generation),
            Slot::Waiting | Slot::Backoff { .. } | Slot::Fatal { .. } | Slot::Stopped => None,
        }
    }

    fn tell_stopped(&self, ctx: &mut Context) {
        if self.is_over() && self.wanted != Wanted::Run {
            let why = match self.wanted {
                Wanted::Run | Wanted::Stopped => "by an operator",
                Wanted::Gone => "it is no longer wanted",
            };
            ctx.tell(Severity::Info, "app_stopped", why.to_owned());
        }
    }

    fn enter(&mut self, now: Instant, next: Slot, reason: Option<String>) {
        self.slot = next;
        self.since = now;
        self.reason = reason;
    }
}
