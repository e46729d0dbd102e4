//! Replacing the runs of an app in turn, joined to draining.
//!
//! The first new run is the canary: it serves beside the old ones for a while, and the deploy goes
//! on only if it does not fare worse. What a new run that fails leads to is [`OnFailure`]'s to say.
//!
//! Each instance is a place: which of the two revisions it is to have in the end, and
//! what is known of a run of each. What to do next follows from that alone, so going forth and
//! going back are one rule, and nothing is lost when the direction changes half-way.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::time::Instant;

pub mod canary;
mod input;
mod order;
mod output;
mod place;
mod words;

#[cfg(test)]
mod tests;

pub use canary::Sample;
use canary::Verdict;
pub use input::Input;
use order::Mode;
pub use order::{OnFailure, Order, Policy, Purpose};
pub use output::{Outcome, Output};
use place::{Move, Place, Progress, RunState};
pub use words::plan;

/// One of the two revisions between which an instance moves. In a restart both are the same
/// revision, and the sides are the run that was there and the one that replaces it.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Side {
    /// What ran before.
    #[n(0)]
    Old,
    /// What is rolled out.
    #[n(1)]
    New,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }
}

/// How far a deploy is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Instances are being replaced.
    Rolling,
    /// The canary serves and is compared.
    Soaking,
    /// There is no gateway.
    Paused,
    /// Instances get their old revision back.
    Reverting,
    /// Every instance was replaced.
    Done,
    /// It failed.
    Failed,
}

#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
enum Stage {
    /// The first instance is being replaced, alone.
    #[n(0)]
    Canary,
    /// Its new run serves and is compared.
    #[n(1)]
    Soaking {
        #[n(0)]
        number: u16,
        #[n(1)]
        until: Instant,
        #[n(2)]
        last: Option<(Sample, Sample)>,
    },
    /// The others are being replaced.
    #[n(2)]
    Rolling,
    /// Instances get their old revision back.
    #[n(3)]
    Reverting,
    #[n(4)]
    Over(#[n(0)] Outcome),
}

/// One rolling deploy of one app.
///
/// Drain [`Deploy::next_output`] to `None` after [`Deploy::new`] and after every
/// [`Deploy::handle`], and tick it when [`Deploy::deadline`] passes. At most the width of its
/// policy is being replaced at a time: so many runs are there beyond the number of instances, or so
/// many are missing, because of the deploy.
#[derive(Clone, Debug, Decode, Encode)]
pub struct Deploy {
    #[n(0)]
    order: Order,
    #[n(1)]
    mode: Mode,
    #[n(2)]
    places: Vec<Place>,
    #[n(3)]
    stage: Stage,
    #[n(4)]
    has_gateway: bool,
    /// What failed first.
    #[n(5)]
    trouble: Option<String>,
    /// What failed after it.
    #[n(6)]
    more_failures: u16,
    /// Since when [`Deploy::phase`] is what it is.
    #[n(7)]
    since: Instant,
    #[n(8)]
    outputs: VecDeque<Output>,
}

impl Deploy {
    /// Begins.
    pub fn new(order: Order, now: Instant) -> Self {
        let mut deploy = Self {
            mode: Mode::of(&order.policy),
            places: order.numbers.iter().map(|&number| Place::new(number)).collect(),
            order,
            stage: Stage::Canary,
            has_gateway: true,
            trouble: None,
            more_failures: 0,
            since: now,
            outputs: VecDeque::new(),
        };
        deploy.turn(now);
        deploy
    }

    /// Why there can be no such deploy, if it was read from somewhere.
    ///
    /// # Errors
    /// Says what cannot be.
    pub fn check(&self) -> Result<(), &'static str> {
        let moving = self.places.iter().filter(|place| place.progress == Progress::Moving).count();
        if self.mode.width() == 0 || moving > self.mode.width() {
            return Err("a deploy moves more instances than it may");
        }
        let is_first = |(at, place): (usize, &Place)| {
            self.places.iter().position(|other| other.number == place.number) == Some(at)
        };
        let is_fine = self.places.iter().enumerate().all(is_first);
        if is_fine { Ok(()) } else { Err("a deploy has an instance twice") }
    }

    /// Whether there is or is to be a run of this side of an instance, as far as it knows.
    pub fn counts_on(&self, number: u16, side: Side) -> bool {
        let place = self.places.iter().find(|place| place.number == number);
        place.is_some_and(|place| match place.run(side) {
            RunState::Starting | RunState::Serving | RunState::Failed => true,
            RunState::Absent | RunState::Ending => false,
        })
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let before = self.phase();
        if !matches!(self.stage, Stage::Over(_)) {
            self.take(input);
            self.turn(now);
        }
        if self.phase() != before {
            self.since = now;
        }
    }

    /// The next thing to do.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to tick it next. How long a run may take to be ready or to end is not counted here.
    pub fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Soaking { until, .. } => Some(until),
            Stage::Canary | Stage::Rolling | Stage::Reverting | Stage::Over(_) => None,
        }
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        match (&self.stage, self.has_gateway) {
            (Stage::Over(Outcome::Done), _) => Phase::Done,
            (Stage::Over(Outcome::Failed(_)), _) => Phase::Failed,
            (_, false) => Phase::Paused,
            (Stage::Canary | Stage::Rolling, true) => Phase::Rolling,
            (Stage::Soaking { .. }, true) => Phase::Soaking,
            (Stage::Reverting, true) => Phase::Reverting,
        }
    }

    /// Since when it is in that phase.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Instances that have their new run and nothing else.
    pub fn done(&self) -> u16 {
        let done = self.places.iter().filter(|place| place.has_settled_on(Side::New));
        u16::try_from(done.count()).unwrap_or(u16::MAX)
    }

    /// Instances in all.
    pub fn of(&self) -> u16 {
        u16::try_from(self.places.len()).unwrap_or(u16::MAX)
    }

    /// The instance whose new run is being compared with the old ones.
    pub fn canary(&self) -> Option<u16> {
        match self.stage {
            Stage::Soaking { number, .. } => Some(number),
            Stage::Canary | Stage::Rolling | Stage::Reverting | Stage::Over(_) => None,
        }
    }

    /// Whether the instance is between [`Output::Start`] or [`Output::End`] and
    /// [`Output::Settle`].
    pub fn is_moving(&self, number: u16) -> bool {
        let place = self.places.iter().find(|place| place.number == number);
        place.is_some_and(|place| place.progress == Progress::Moving)
    }

    /// Notes what an input says; [`Self::turn`] acts on it.
    fn take(&mut self, input: Input) {
        match input {
            Input::Ready { number, side } => {
                if let Some(place) = self.place(number) {
                    place.ready(side);
                }
            }
            Input::Gone { number, side } => {
                if let Some(place) = self.place(number) {
                    place.gone(side);
                }
            }
            Input::Failed { number, side, why } => self.take_failure(number, side, &why),
            Input::Dropped { number } => {
                self.places.retain(|place| place.number != number);
                if self.canary() == Some(number) {
                    self.stage = Stage::Canary;
                }
            }
            Input::Sampled { canary, others } => {
                if let Stage::Soaking { last, .. } = &mut self.stage {
                    *last = Some((canary, others));
                }
            }
            Input::Gateway(has_gateway) => {
                self.has_gateway = has_gateway;
                if let (Stage::Soaking { .. }, false) = (&self.stage, has_gateway) {
                    self.stage = Stage::Canary;
                }
            }
            Input::Abort { why } => match self.stage {
                Stage::Canary | Stage::Soaking { .. } | Stage::Rolling => self.turn_back(why),
                Stage::Reverting | Stage::Over(_) => {}
            },
            Input::Tick => {}
        }
    }

    fn take_failure(&mut self, number: u16, side: Side, why: &str) {
        let mode = self.mode;
        let on_failure = self.order.policy.on_failure;
        let Some(place) = self.place(number) else { return };
        let counts = match side {
            Side::New => place.fail_new(on_failure),
            Side::Old => place.fail_old(mode),
        };
        if counts {
            self.fail(number, format!("{}/{number} {why}", self.order.app));
        }
    }

    /// What a failure of instance `number` leads to.
    fn fail(&mut self, number: u16, why: String) {
        match (&self.stage, self.order.policy.on_failure) {
            (Stage::Reverting, _) | (_, OnFailure::Continue) => {
                self.note(why);
                // With the watch over it, the next one is the canary.
                if self.canary() == Some(number) {
                    self.stage = Stage::Canary;
                }
            }
            (_, OnFailure::Abort | OnFailure::Rollback) => self.turn_back(why),
        }
    }

    /// Gives instances their old revision back.
    fn turn_back(&mut self, why: String) {
        self.note(why);
        self.stage = Stage::Reverting;
        for place in &mut self.places {
            match self.order.policy.on_failure {
                OnFailure::Rollback => place.roll_back(),
                OnFailure::Abort | OnFailure::Continue => place.abort(self.mode),
            }
        }
    }

    fn note(&mut self, why: String) {
        match self.trouble {
            None => self.trouble = Some(why),
            Some(_) => self.more_failures = self.more_failures.saturating_add(1),
        }
    }

    /// Does whatever can be done now.
    fn turn(&mut self, now: Instant) {
        if !self.has_gateway {
            return;
        }
        self.watch(now);
        loop {
            while self.advance_places() {}
            if !self.advance_stage(now) {
                break;
            }
        }
        let moving = self.places.iter().filter(|place| place.progress == Progress::Moving);
        debug_assert!(moving.count() <= self.mode.width(), "{self:?}");
        debug_assert!(self.deadline().is_none_or(|at| at > now), "{self:?}");
    }

    /// Judges the canary, if there is one.
    fn watch(&mut self, now: Instant) {
        let Stage::Soaking { number, until, last } = &self.stage else { return };
        let (number, is_over) = (*number, *until <= now);
        let (canary, others) = last.unwrap_or_default();
        let verdict = match is_over {
            true => Some(canary::judge(&canary, &others)),
            false => canary::judge_early(&canary, &others),
        };
        let Some(verdict) = verdict else { return };
        let name = format!("{}/{number}", self.order.app);
        self.stage = Stage::Rolling;
        match (verdict, self.order.policy.on_failure) {
            (Verdict::Worse(how), OnFailure::Abort | OnFailure::Rollback) => {
                self.outputs.push_back(Output::Judged(format!("{name} fares worse: {how}")));
                self.turn_back(format!("{name} fares worse than the old runs: {how}"));
            }
            (Verdict::Worse(how), OnFailure::Continue) => {
                let said = format!("{name} fares worse: {how}; the deploy goes on all the same");
                self.outputs.push_back(Output::Judged(said));
            }
            (Verdict::Fine(how) | Verdict::TooFew(how), _) => {
                self.outputs.push_back(Output::Judged(format!("{name}: {how}")));
            }
        }
    }

    /// Takes the first step that an instance can take; says whether there was one.
    fn advance_places(&mut self) -> bool {
        let moving = self.places.iter().filter(|place| place.progress == Progress::Moving);
        let has_room = moving.count() < self.mode.width();
        let candidate = self.candidate();
        for index in 0..self.places.len() {
            let may_pass = candidate.is_none_or(|candidate| index != candidate);
            let may_begin = has_room && candidate.is_none_or(|candidate| index == candidate);
            let place = &mut self.places[index];
            if !place.is_under_way(may_begin) {
                continue;
            }
            let next = place.next(self.mode);
            if !may_pass && place.is_proving(next) {
                continue;
            }
            let number = place.number;
            match next {
                Move::Wait => continue,
                Move::Start(side) => self.outputs.push_back(Output::Start { number, side }),
                Move::End(side) => self.outputs.push_back(Output::End { number, side }),
                Move::Settle(side) => self.outputs.push_back(Output::Settle { number, side }),
            }
            place.took(next);
            return true;
        }
        false
    }

    /// The instance that has to prove itself before any other is begun, while one has to.
    fn candidate(&self) -> Option<usize> {
        match self.stage {
            Stage::Canary | Stage::Soaking { .. } => {
                self.places.iter().position(|place| place.goal == Side::New)
            }
            Stage::Rolling | Stage::Reverting | Stage::Over(_) => None,
        }
    }

    /// Enters the next stage if it is time; says whether it did.
    fn advance_stage(&mut self, now: Instant) -> bool {
        if self.places.iter().all(Place::is_at_rest) {
            return self.finish();
        }
        let Stage::Canary = self.stage else { return false };
        let Some(place) = self.candidate().map(|index| &self.places[index]) else { return false };
        if !place.is_proving(place.next(self.mode)) {
            return false;
        }
        let is_watched =
            self.order.purpose == Purpose::Deploy && !self.order.policy.canary_for.is_zero();
        self.stage = match is_watched {
            true => {
                let until = now + self.order.policy.canary_for;
                Stage::Soaking { number: place.number, until, last: None }
            }
            false => Stage::Rolling,
        };
        !is_watched
    }

    fn finish(&mut self) -> bool {
        if let Stage::Over(_) = self.stage {
            return false;
        }
        let outcome = match self.reason() {
            None => Outcome::Done,
            Some(why) => Outcome::Failed(format!("{why}; {}", self.what_runs())),
        };
        self.stage = Stage::Over(outcome.clone());
        self.outputs.push_back(Output::Over(outcome));
        false
    }

    fn place(&mut self, number: u16) -> Option<&mut Place> {
        self.places.iter_mut().find(|place| place.number == number)
    }
}
