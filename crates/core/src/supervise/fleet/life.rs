//! The life of one run: from the start of its process to the end of all that came of it.
//!
//! ```text
//! Starting ──> Ready <──> Unhealthy          an exit in one of these is a crash
//!     │          └────┬───────┘
//!     │               v
//!     │           Draining                   finishes requests, gets no new ones
//!     │               v
//!     └────────────> Asked ──> TreeAsked ──> Killed ──> Stuck
//! ```
//!
//! From Draining on it is leaving: that it ends is planned. Every leaving stage has a time after
//! which the next one follows; what is stuck ends when the kernel lets go of it.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::time::Duration;

use minicbor::{Decode, Encode};

use super::{Probe, Revision, State};
use crate::supervise::policy::{Policy, ReadyBy, Stop};
use crate::time::{Instant, Spoken};

mod clock;
mod ill;
mod input;

use clock::Clock;
pub(super) use ill::Ill;
pub(super) use input::{Effect, Input};

/// What a run goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub(super) policy: &'a Policy,
    pub(super) has_gateway: bool,
}

impl Terms<'_> {
    /// Whether the time of a starting run runs: not while nobody probes it who should.
    fn counts_down(self) -> bool {
        match self.policy.ready.by {
            ReadyBy::Probes { .. } => self.has_gateway,
            ReadyBy::Notice | ReadyBy::Uptime(_) => true,
        }
    }
}

/// One run.
#[derive(Clone, Debug, Decode, Encode)]
pub(super) struct Life {
    #[n(0)]
    pub(super) generation: u32,
    #[n(1)]
    pub(super) revision: Revision,
    #[n(2)]
    stage: Stage,
    #[n(3)]
    since: Instant,
    /// Its first process has not exited.
    #[n(4)]
    has_main: bool,
    #[n(5)]
    was_stable: bool,
    /// It uses more memory than it should.
    #[n(6)]
    over_since: Option<Instant>,
    #[n(7)]
    rss: u64,
    #[n(8)]
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
enum Stage {
    #[n(0)]
    Starting {
        #[n(0)]
        passes: u16,
        #[n(1)]
        clock: Clock,
    },
    #[n(1)]
    Ready {
        #[n(0)]
        misses: u16,
    },
    // Not hanging if it says itself that it stops.
    #[n(2)]
    Unhealthy {
        #[n(0)]
        hung_since: Option<Instant>,
    },
    #[n(3)]
    Draining {
        #[n(0)]
        until: Instant,
    },
    #[n(4)]
    Asked {
        #[n(0)]
        until: Instant,
    },
    #[n(5)]
    TreeAsked {
        #[n(0)]
        until: Instant,
    },
    #[n(6)]
    Killed {
        #[n(0)]
        until: Instant,
    },
    #[n(7)]
    Stuck,
}

impl Life {
    /// A run whose process starts now.
    pub(super) fn new(now: Instant, terms: Terms, generation: u32, revision: Revision) -> Self {
        let mut clock = Clock::default();
        clock.run(now, terms.counts_down());
        Self {
            generation,
            revision,
            stage: Stage::Starting { passes: 0, clock },
            since: now,
            has_main: true,
            was_stable: false,
            over_since: None,
            rss: 0,
            reason: None,
        }
    }

    /// Why there can be no such run, if it was read from somewhere.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        match self.stage {
            Stage::TreeAsked { .. } | Stage::Killed { .. } | Stage::Stuck => Ok(()),
            Stage::Starting { .. }
            | Stage::Ready { .. }
            | Stage::Unhealthy { .. }
            | Stage::Draining { .. }
            | Stage::Asked { .. } => match self.has_main {
                true => Ok(()),
                false => Err("a run serves without a process"),
            },
        }
    }

    /// Takes in what happened; returns what follows. After a tick with an effect comes another.
    pub(super) fn handle(&mut self, now: Instant, terms: Terms, input: Input) -> Option<Effect> {
        match self.stage {
            Stage::Starting { passes, clock } => {
                self.handle_starting(now, terms, input, passes, clock)
            }
            Stage::Ready { misses } => self.handle_ready(now, terms, input, misses),
            Stage::Unhealthy { hung_since } => self.handle_unhealthy(now, terms, input, hung_since),
            Stage::Draining { .. }
            | Stage::Asked { .. }
            | Stage::TreeAsked { .. }
            | Stage::Killed { .. }
            | Stage::Stuck => self.handle_leaving(now, terms, input),
        }
    }

    /// When to tick it next.
    pub(super) fn deadline(&self, terms: Terms) -> Option<Instant> {
        match self.stage {
            Stage::Starting { clock, .. } => match terms.policy.ready.by {
                ReadyBy::Uptime(uptime) => Some(self.since + uptime),
                ReadyBy::Probes { .. } | ReadyBy::Notice => {
                    clock.reaches(terms.policy.ready.within)
                }
            },
            Stage::Ready { .. } | Stage::Unhealthy { .. } | Stage::Stuck => None,
            Stage::Draining { until }
            | Stage::Asked { until }
            | Stage::TreeAsked { until }
            | Stage::Killed { until } => Some(until),
        }
    }

    /// Why it should be replaced, as soon as that does no harm.
    pub(super) fn ill(&self, now: Instant, policy: &Policy) -> Option<Ill> {
        let is_over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let [hangs_at, swells_at] = self.ill_at(policy);
        if is_over(hangs_at) {
            let alive = policy.alive.and_then(|alive| alive.restart_after);
            return alive.map(|after| Ill::Hangs { after });
        }
        is_over(swells_at).then_some(Ill::Swells { rss: self.rss })
    }

    /// When it should be replaced because it hangs, and because of the memory it uses.
    pub(super) fn ill_at(&self, policy: &Policy) -> [Option<Instant>; 2] {
        let hung_since = match self.stage {
            Stage::Unhealthy { hung_since } => hung_since,
            Stage::Ready { .. } => None,
            Stage::Starting { .. }
            | Stage::Draining { .. }
            | Stage::Asked { .. }
            | Stage::TreeAsked { .. }
            | Stage::Killed { .. }
            | Stage::Stuck => return [None, None],
        };
        let patience = policy.alive.and_then(|alive| alive.restart_after);
        let hangs_at = hung_since.zip(patience).map(|(since, patience)| since + patience);
        let swells_at =
            self.over_since.zip(policy.memory).map(|(since, memory)| since + memory.over);
        [hangs_at, swells_at]
    }

    /// Whether it may have requests.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready { .. })
    }

    /// Whether its first process keeps the next run from starting: it is there, and not for ever.
    pub(super) fn is_in_the_way(&self) -> bool {
        self.has_main && !self.is_stuck()
    }

    /// Whether it was killed.
    pub(super) fn is_killed(&self) -> bool {
        matches!(self.stage, Stage::Killed { .. } | Stage::Stuck)
    }

    /// Whether it survived being killed.
    pub(super) fn is_stuck(&self) -> bool {
        self.stage == Stage::Stuck
    }

    /// Whether it was ready for long enough that its end is nothing to worry about.
    pub(super) fn is_stable(&self, now: Instant, policy: &Policy) -> bool {
        let lasts = self.is_ready() && now - self.since >= policy.backoff.stable_after;
        self.was_stable || lasts
    }

    /// What it does, for people.
    pub(super) fn state(&self, now: Instant) -> State {
        match self.stage {
            Stage::Starting { .. } => State::Starting,
            Stage::Ready { .. } => State::Ready,
            Stage::Unhealthy { .. } => State::Unhealthy,
            Stage::Draining { until } => State::Draining { left: until - now },
            Stage::Asked { .. } | Stage::TreeAsked { .. } | Stage::Killed { .. } => State::Stopping,
            Stage::Stuck => State::Stuck,
        }
    }

    /// For how long it does what it does.
    pub(super) fn lasts(&self, now: Instant) -> Duration {
        now - self.since
    }

    /// Why it does what it does, if there is more to say.
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    fn handle_starting(
        &mut self,
        now: Instant,
        terms: Terms,
        input: Input,
        passes: u16,
        mut clock: Clock,
    ) -> Option<Effect> {
        let ready = terms.policy.ready;
        match (input, ready.by) {
            (Input::Exited { has_rest }, _) => self.crash(now, has_rest),
            (Input::Noticed { is_ready: true }, ReadyBy::Notice) => self.become_ready(now),
            (Input::Probed { probe: Probe::Ready, failure: None }, ReadyBy::Probes { rise }) => {
                let passes = passes.saturating_add(1);
                if passes >= rise {
                    return self.become_ready(now);
                }
                self.stage = Stage::Starting { passes, clock };
                None
            }
            (Input::Probed { probe: Probe::Ready, failure: Some(why) }, ReadyBy::Probes { .. }) => {
                self.stage = Stage::Starting { passes: 0, clock };
                self.reason = Some(why.to_owned());
                None
            }
            (Input::End, _) => self.ask(now, terms),
            (Input::Tick, ReadyBy::Uptime(uptime)) if now - self.since >= uptime => {
                self.become_ready(now)
            }
            (Input::Tick, _) => {
                clock.run(now, terms.counts_down());
                self.stage = Stage::Starting { passes, clock };
                let is_late = clock.reaches(ready.within).is_some_and(|at| at <= now);
                is_late.then(|| {
                    let why = self.reason.take().map(|why| format!(": {why}")).unwrap_or_default();
                    let reason = format!("not ready within {}{why}", Spoken(ready.within));
                    self.kill(now);
                    self.reason = Some(reason);
                    Effect::Late
                })
            }
            (
                Input::Noticed { .. }
                | Input::Probed { probe: Probe::Ready | Probe::Alive, .. }
                | Input::Measured { .. }
                | Input::Emptied
                | Input::Idle
                | Input::Hurry,
                _,
            ) => None,
        }
    }

    fn handle_ready(
        &mut self,
        now: Instant,
        terms: Terms,
        input: Input,
        misses: u16,
    ) -> Option<Effect> {
        match input {
            Input::Exited { has_rest } => self.crash(now, has_rest),
            Input::Noticed { is_ready: false } => {
                self.fall_ill(now, terms, None, "says that it stops".to_owned())
            }
            Input::Probed { probe: Probe::Alive, failure: Some(why) } => {
                let misses = misses.saturating_add(1);
                if terms.policy.alive.is_none_or(|alive| misses < alive.fall) {
                    self.stage = Stage::Ready { misses };
                    return None;
                }
                self.fall_ill(now, terms, Some(now), why.to_owned())
            }
            Input::Probed { probe: Probe::Alive, failure: None } => {
                self.stage = Stage::Ready { misses: 0 };
                None
            }
            Input::Measured { rss } => self.measure(now, terms, rss),
            Input::End => self.drain(now, terms),
            Input::Noticed { is_ready: true }
            | Input::Probed { probe: Probe::Ready, .. }
            | Input::Emptied
            | Input::Idle
            | Input::Hurry
            | Input::Tick => None,
        }
    }

    fn handle_unhealthy(
        &mut self,
        now: Instant,
        terms: Terms,
        input: Input,
        hung_since: Option<Instant>,
    ) -> Option<Effect> {
        match (input, hung_since) {
            (Input::Exited { has_rest }, _) => self.crash(now, has_rest),
            (Input::Noticed { is_ready: true }, None)
            | (Input::Probed { probe: Probe::Alive, failure: None }, Some(_)) => {
                self.become_ready(now)
            }
            (Input::Measured { rss }, _) => self.measure(now, terms, rss),
            (Input::End, _) => self.drain(now, terms),
            // Nobody probes it, so nobody can say that it still hangs.
            (Input::Tick, Some(_)) if !terms.has_gateway => {
                self.stage = Stage::Unhealthy { hung_since: Some(now) };
                None
            }
            (
                Input::Noticed { .. }
                | Input::Probed { .. }
                | Input::Emptied
                | Input::Idle
                | Input::Hurry
                | Input::Tick,
                _,
            ) => None,
        }
    }

    fn handle_leaving(&mut self, now: Instant, terms: Terms, input: Input) -> Option<Effect> {
        match (input, self.stage) {
            (Input::Exited { has_rest: false }, _) => Some(Effect::Gone),
            (Input::Exited { has_rest: true }, stage) => {
                self.has_main = false;
                let was_asked = matches!(stage, Stage::Draining { .. } | Stage::Asked { .. });
                if was_asked { self.ask_tree(now) } else { None }
            }
            (Input::Emptied, _) => (!self.has_main).then_some(Effect::Gone),
            (Input::Idle, Stage::Draining { .. }) => self.ask(now, terms),
            (Input::Hurry, Stage::Killed { .. } | Stage::Stuck) => None,
            (Input::Hurry, _) => {
                self.kill(now);
                Some(Effect::Kill)
            }
            (Input::Tick, Stage::Draining { until }) if until <= now || !terms.has_gateway => {
                self.ask(now, terms)
            }
            (Input::Tick, Stage::Asked { until }) if until <= now => self.ask_tree(now),
            (Input::Tick, Stage::TreeAsked { until }) if until <= now => {
                self.kill(now);
                Some(Effect::Kill)
            }
            (Input::Tick, Stage::Killed { until }) if until <= now => {
                self.enter(now, Stage::Stuck);
                Some(Effect::Stuck)
            }
            (
                Input::Noticed { .. }
                | Input::Probed { .. }
                | Input::Measured { .. }
                | Input::Idle
                | Input::End
                | Input::Tick,
                _,
            ) => None,
        }
    }

    fn become_ready(&mut self, now: Instant) -> Option<Effect> {
        self.enter(now, Stage::Ready { misses: 0 });
        Some(Effect::Ready)
    }

    fn fall_ill(
        &mut self,
        now: Instant,
        terms: Terms,
        hung_since: Option<Instant>,
        reason: String,
    ) -> Option<Effect> {
        self.was_stable = self.is_stable(now, terms.policy);
        self.enter(now, Stage::Unhealthy { hung_since });
        self.reason = Some(reason);
        Some(Effect::Unhealthy)
    }

    fn measure(&mut self, now: Instant, terms: Terms, rss: u64) -> Option<Effect> {
        self.rss = rss;
        let is_over = terms.policy.memory.is_some_and(|memory| rss > memory.rss);
        self.over_since = is_over.then(|| self.over_since.unwrap_or(now));
        None
    }

    fn crash(&mut self, now: Instant, has_rest: bool) -> Option<Effect> {
        self.has_main = false;
        self.kill(now);
        Some(Effect::Crashed { has_rest })
    }

    fn drain(&mut self, now: Instant, terms: Terms) -> Option<Effect> {
        let patience = terms.policy.stop.drain;
        if patience.is_zero() || !terms.has_gateway {
            return self.ask(now, terms);
        }
        self.enter(now, Stage::Draining { until: now + patience });
        None
    }

    fn ask(&mut self, now: Instant, terms: Terms) -> Option<Effect> {
        self.enter(now, Stage::Asked { until: now + terms.policy.stop.timeout });
        Some(Effect::Ask)
    }

    fn ask_tree(&mut self, now: Instant) -> Option<Effect> {
        self.enter(now, Stage::TreeAsked { until: now + Stop::TREE_GRACE });
        Some(Effect::AskTree)
    }

    fn kill(&mut self, now: Instant) {
        self.enter(now, Stage::Killed { until: now + Stop::STUCK_AFTER });
    }

    fn enter(&mut self, now: Instant, next: Stage) {
        self.stage = next;
        self.since = now;
        self.reason = None;
    }
}

#[cfg(test)]
mod tests;
