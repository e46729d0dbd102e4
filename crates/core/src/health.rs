//! Whether a server may get requests, and why.
//!
//! [`Health`] is the machine of one server. Whatever is known about the server comes in as an
//! [`Input`]; what follows from all of it is one [`Verdict`]. Opinions differ in weight, and
//! [`Health`] ranks them in one place: what the operator wishes, then active checks, then failed
//! requests. A server that nothing is known of yet is up, so that a start loses no request.
//!
//! Performing checks, counting failed requests and rationing ejections ([`may_eject`]) is the
//! shell's part.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use minicbor::{Decode, Encode};

use crate::time::Instant;

mod carried;
mod check;
mod outlier;
mod reason;
mod schedule;

#[cfg(test)]
mod tests;

pub use carried::Carried;
pub use outlier::{EJECTIONS_MAX, may_eject};
pub use reason::Reason;
pub use schedule::{CHECK_DELAY_MIN, Pace, first_check_delay, next_check_delay};

use check::Check;
use outlier::Outlier;

/// The share that slow start begins with, in percent, and adds with each step.
pub const SLOW_START_STEP_PERCENT: u8 = 10;

/// When active checks change a server's state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CheckPolicy {
    /// Time between two checks of one server.
    pub every: Duration,
    /// After this a check counts as failed.
    pub timeout: Duration,
    /// Failures in a row that take the server down.
    pub fall: u32,
    /// Successes in a row that bring it back.
    pub rise: u32,
}

/// When failed requests eject a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OutlierPolicy {
    /// Failures in a row that eject.
    pub consecutive: u32,
    /// How long the first ejection lasts; the n-th in a row lasts n times as long.
    pub eject: Duration,
    /// Share of the pool that may be ejected, in percent; one server always may.
    pub ejected_percent_max: u8,
}

/// What a [`Health`] goes by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Its weight in the configuration.
    pub weight: u32,
    /// Active checks; all must pass.
    pub checks: Vec<CheckPolicy>,
    /// When failed requests eject it.
    pub outlier: OutlierPolicy,
    /// How long a server that comes back takes to get its whole weight; zero for at once.
    pub slow_start: Duration,
}

/// When a server came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arrival {
    /// With the others: none of them has served for long.
    Together,
    /// After others, which have their whole weight.
    Later,
}

/// Something became known about the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// An active check ended.
    Checked {
        /// Its index in [`Policy::checks`].
        check: usize,
        /// Passed, or why not: "connection refused".
        outcome: Result<(), String>,
    },
    /// Requests fail one after the other. Tell it again with each further failure: the first
    /// time may come when no more servers may be ejected.
    FailedInARow {
        /// How many, all threads together.
        failures: u32,
        /// What [`may_eject`] says about the pool.
        may_eject: bool,
    },
    /// The operator wants no new clients on it.
    Drain,
    /// The operator takes that back.
    Undrain,
    /// The operator sets another weight than the configuration's; 0 drains.
    Weight(u32),
    /// [`Health::deadline`] has been reached.
    Tick,
}

/// What a server may get.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum State {
    /// Its share of the requests.
    Up,
    /// Nothing, unless the pool tries all when none is up.
    Down,
    /// Requests of clients that stick to it, and no others.
    Draining,
}

impl State {
    /// The word for status, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Draining => "draining",
        }
    }
}

/// What follows from all that is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// What the server may get.
    pub state: State,
    /// Why, for people.
    pub reason: Reason,
    /// Its weight, as configured or as the operator set it.
    pub weight: u32,
    /// The share of that weight in force, in percent: 0 unless up, below 100 in slow start.
    pub weight_percent: u8,
}

impl Verdict {
    /// The weight in force, in hundredths; 0 unless up.
    pub const fn share(&self) -> u32 {
        self.weight.saturating_mul(self.weight_percent as u32)
    }
}

/// The health of one server.
///
/// Call [`Health::handle`] with [`Input::Tick`] no later than [`Health::deadline`].
#[derive(Clone, Debug)]
pub struct Health {
    policy: Policy,
    wish: Wish,
    checks: Vec<Check>,
    outlier: Outlier,
    slow_start: SlowStart,
    verdict: Verdict,
}

/// What the operator wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Wish {
    drain: bool,
    weight: u32,
}

/// A server that was down does not get all its share at once: its caches are cold, and it may
/// have gone down because of its load. One that comes later than the others is cold too; where all
/// come together, nobody is colder than the others.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
enum SlowStart {
    /// It was never able to serve.
    #[n(0)]
    New,
    /// It has its whole weight.
    #[n(1)]
    Done,
    /// It was able to serve, and now is not.
    #[n(2)]
    Away,
    /// It came back.
    #[n(3)]
    Steps {
        #[n(0)]
        since: Instant,
        #[n(1)]
        next_at: Instant,
    },
}

impl Health {
    /// A server that nothing is known of: it is up.
    pub fn new(policy: Policy, arrival: Arrival, now: Instant) -> Self {
        let verdict = Verdict {
            state: State::Up,
            reason: Reason::NotYetChecked,
            weight: policy.weight,
            weight_percent: 0,
        };
        let mut health = Self {
            wish: Wish { drain: false, weight: policy.weight },
            checks: policy.checks.iter().map(|_| Check::Unchecked).collect(),
            outlier: Outlier::default(),
            slow_start: match arrival {
                Arrival::Together => SlowStart::New,
                Arrival::Later => SlowStart::Away,
            },
            verdict,
            policy,
        };
        health.settle(now);
        health
    }

    /// Takes an input in; the new verdict if that changed anything about it.
    pub fn handle(&mut self, now: Instant, input: Input) -> Option<&Verdict> {
        self.outlier.tick(now);
        match input {
            Input::Checked { check, outcome } => self.checked(now, check, outcome),
            Input::FailedInARow { failures, may_eject: true } => {
                self.outlier.failed(now, &self.policy.outlier, failures);
            }
            Input::FailedInARow { may_eject: false, .. } => {}
            Input::Drain => self.wish.drain = true,
            Input::Undrain => self.wish.drain = false,
            Input::Weight(weight) => self.wish.weight = weight,
            Input::Tick => {}
        }
        self.settle(now).then_some(&self.verdict)
    }

    /// Goes by another policy from now on, and keeps what is known: the operator's wish, the
    /// ejection, and each check's state if there are as many checks as before.
    pub fn follow(&mut self, now: Instant, policy: Policy) -> Option<&Verdict> {
        if self.wish.weight == self.policy.weight {
            self.wish.weight = policy.weight;
        }
        if self.checks.len() != policy.checks.len() {
            // Which is which can no longer be told.
            self.checks = policy.checks.iter().map(|_| Check::Unchecked).collect();
        }
        self.policy = policy;
        self.settle(now).then_some(&self.verdict)
    }

    /// When [`Health::handle`] wants to hear [`Input::Tick`].
    pub fn deadline(&self) -> Option<Instant> {
        let step = match self.slow_start {
            SlowStart::Steps { next_at, .. } => Some(next_at),
            SlowStart::New | SlowStart::Done | SlowStart::Away => None,
        };
        [self.outlier.deadline(), step].into_iter().flatten().min()
    }

    /// What the server may get now.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Whether failed requests have put it out; for [`may_eject`].
    pub fn is_ejected(&self) -> bool {
        self.outlier.is_ejected()
    }

    /// How often the check at that index is due.
    pub fn pace(&self, check: usize) -> Pace {
        self.checks.get(check).map_or(Pace::Steady, Check::pace)
    }

    fn checked(&mut self, now: Instant, index: usize, outcome: Result<(), String>) {
        let Some((check, policy)) = self.checks.get_mut(index).zip(self.policy.checks.get(index))
        else {
            debug_assert!(false, "there is no check {index}");
            return;
        };
        if outcome.is_ok() {
            self.outlier.pardon(now);
        }
        check.record(policy, outcome);
    }

    /// Draws the conclusion from all that is known; whether it is a new one.
    fn settle(&mut self, now: Instant) -> bool {
        let is_able = self.active().or_else(|| self.passive()).is_none();
        let percent = self.advance_slow_start(now, is_able);
        let (state, reason) = self.rank();
        let weight_percent = if state == State::Up { percent } else { 0 };
        let verdict = Verdict { state, reason, weight: self.wish.weight, weight_percent };
        let is_new = verdict != self.verdict;
        self.verdict = verdict;
        is_new
    }

    /// The order of precedence.
    fn rank(&self) -> (State, Reason) {
        self.wish()
            .or_else(|| self.active())
            .or_else(|| self.passive())
            .unwrap_or_else(|| (State::Up, self.reason_to_be_up()))
    }

    fn wish(&self) -> Option<(State, Reason)> {
        match self.wish {
            Wish { drain: true, .. } => Some((State::Draining, Reason::Drained)),
            Wish { weight: 0, .. } => Some((State::Draining, Reason::WeightZero)),
            Wish { .. } => None,
        }
    }

    fn active(&self) -> Option<(State, Reason)> {
        let mut failing = self.checks.iter().filter_map(Check::failing);
        let why = failing.next()?.into();
        let failed = 1 + failing.count();
        Some((State::Down, Reason::ChecksFailed { failed, total: self.checks.len(), why }))
    }

    fn passive(&self) -> Option<(State, Reason)> {
        Some((State::Down, self.outlier.reason()?))
    }

    fn reason_to_be_up(&self) -> Reason {
        if self.checks.is_empty() {
            Reason::NoChecks
        } else if self.checks.contains(&Check::Unchecked) {
            Reason::NotYetChecked
        } else {
            Reason::ChecksPassed
        }
    }

    /// The share of its weight that the server may have by slow start, in percent.
    fn advance_slow_start(&mut self, now: Instant, is_able: bool) -> u8 {
        self.slow_start = match (self.slow_start, is_able) {
            (SlowStart::New, true) => SlowStart::Done,
            (SlowStart::Away, true) => SlowStart::Steps { since: now, next_at: now },
            (SlowStart::Done | SlowStart::Steps { .. }, false) => SlowStart::Away,
            (same @ (SlowStart::New | SlowStart::Away), false) => same,
            (same @ (SlowStart::Done | SlowStart::Steps { .. }), true) => same,
        };
        let SlowStart::Steps { since, .. } = self.slow_start else { return 100 };
        let (percent, next_after) = slow_start_step(self.policy.slow_start, now.since(since));
        self.slow_start = match next_after {
            Some(after) => SlowStart::Steps { since, next_at: since + after },
            None => SlowStart::Done,
        };
        percent
    }
}

/// The share after that time of slow start, and when the next share is due, counted likewise.
/// Steps, because each makes every thread arrange its servers anew.
fn slow_start_step(whole: Duration, elapsed: Duration) -> (u8, Option<Duration>) {
    const STEPS: u32 = (100 / SLOW_START_STEP_PERCENT - 1) as u32;
    if elapsed >= whole {
        return (100, None);
    }
    let done = elapsed.as_nanos() * u128::from(STEPS) / whole.as_nanos();
    // Rounded up, or the step would not be done when its time comes.
    let next_nanos = ((done + 1) * whole.as_nanos()).div_ceil(u128::from(STEPS));
    let next = Duration::from_nanos(u64::try_from(next_nanos).unwrap_or(u64::MAX));
    (SLOW_START_STEP_PERCENT * (1 + done as u8), Some(next))
}
