//! One subject: what was heard of it, and what it counts as.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use core::time::Duration;

use minicbor::{Decode, Encode};

use super::{FLAP_WINDOW, FLAPS_MAX, FORGET_AFTER, QUIET_LEAST, QUIET_MAX, Rule};
use crate::time::{Instant, Spoken};

/// A rule, and how its subject fares.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub(super) struct Watched {
    #[n(0)]
    pub(super) rule: Rule,
    #[n(1)]
    state: State,
    #[n(2)]
    flaps: Flaps,
}

#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
enum State {
    /// Nothing was heard.
    #[n(0)]
    Unknown,
    /// It counts as well.
    #[n(1)]
    Well {
        /// It is said to fail, why, and when that counts.
        #[n(0)]
        doubt: Option<Doubt>,
    },
    /// It counts as failed.
    #[n(2)]
    Failed {
        /// Why, for people.
        #[n(0)]
        why: String,
        /// It is said to be well, and when that counts.
        #[n(1)]
        well_at: Option<Instant>,
    },
}

#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
struct Doubt {
    #[n(0)]
    counts_at: Instant,
    #[n(1)]
    why: String,
}

/// How a subject has failed lately.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
struct Flaps {
    /// When it failed, the newest last; at most [`FLAPS_MAX`].
    #[n(0)]
    failed_at: VecDeque<Instant>,
    /// How often in a row it was found to flap.
    #[n(1)]
    rounds: u8,
    /// It flaps: how long it must be well.
    #[n(2)]
    quiet_for: Option<Duration>,
    /// It flaps but is well: when it is trusted again.
    #[n(3)]
    trusted_at: Option<Instant>,
}

/// What a subject counts as.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Count {
    Unknown,
    Well,
    /// It is well, but flaps.
    Doubtful(String),
    Failed(String),
}

impl Watched {
    pub(super) fn new(rule: Rule) -> Self {
        Self { rule, state: State::Unknown, flaps: Flaps::default() }
    }

    /// The same subject under another rule.
    pub(super) fn follow(self, rule: Rule) -> Self {
        Self { rule, ..self }
    }

    /// Takes a verdict.
    pub(super) fn hear(&mut self, now: Instant, failure: Option<String>) {
        // What is due is so before what is new.
        self.tick(now);
        let (fall, rise) = (self.rule.fall, self.rule.rise);
        let state = core::mem::replace(&mut self.state, State::Unknown);
        let next = match (state, failure) {
            // There is nothing to doubt in what is heard first.
            (State::Unknown, None) => State::Well { doubt: None },
            (State::Unknown, Some(why)) => State::Failed { why, well_at: None },
            (State::Well { .. }, None) => State::Well { doubt: None },
            (State::Well { doubt }, Some(why)) => {
                let counts_at = doubt.map_or(now + fall, |doubt| doubt.counts_at);
                State::Well { doubt: Some(Doubt { counts_at, why }) }
            }
            (State::Failed { .. }, Some(why)) => State::Failed { why, well_at: None },
            (State::Failed { why, well_at }, None) => {
                State::Failed { why, well_at: Some(well_at.unwrap_or(now + rise)) }
            }
        };
        self.state = next;
        self.tick(now);
    }

    /// Lets what is due count.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.flaps.trusted_at.is_some_and(|at| at <= now) {
            self.flaps.trust();
        }
        match &mut self.state {
            State::Well { doubt } => {
                let Some(doubt) = doubt.take_if(|doubt| doubt.counts_at <= now) else { return };
                self.flaps.failed(now);
                self.state = State::Failed { why: doubt.why, well_at: None };
            }
            State::Failed { well_at, .. } => {
                if well_at.is_some_and(|at| at <= now) {
                    self.flaps.mended(now);
                    self.state = State::Well { doubt: None };
                }
            }
            State::Unknown => {}
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let state = match &self.state {
            State::Unknown => None,
            State::Well { doubt } => doubt.as_ref().map(|doubt| doubt.counts_at),
            State::Failed { well_at, .. } => *well_at,
        };
        state.into_iter().chain(self.flaps.trusted_at).min()
    }

    pub(super) fn count(&self) -> Count {
        match (&self.state, self.flaps.quiet_for) {
            (State::Unknown, _) => Count::Unknown,
            (State::Failed { why, .. }, _) => Count::Failed(why.clone()),
            (State::Well { .. }, None) => Count::Well,
            (State::Well { .. }, Some(quiet_for)) => Count::Doubtful(format!(
                "failed {FLAPS_MAX} times within {}: not trusted until it has been well for {}",
                Spoken(FLAP_WINDOW),
                Spoken(quiet_for)
            )),
        }
    }
}

impl Flaps {
    /// It counts as failed from now on.
    fn failed(&mut self, now: Instant) {
        let was_trusted_at = self.failed_at.back().copied();
        if self.quiet_for.is_none()
            && was_trusted_at.is_some_and(|at| now.since(at) >= FORGET_AFTER)
        {
            self.rounds = 0;
        }
        while self.failed_at.front().is_some_and(|at| now.since(*at) > FLAP_WINDOW)
            || self.failed_at.len() >= FLAPS_MAX
        {
            self.failed_at.pop_front();
        }
        self.failed_at.push_back(now);
        self.trusted_at = None;
        if self.failed_at.len() >= FLAPS_MAX || self.quiet_for.is_some() {
            let doubled = QUIET_LEAST.saturating_mul(1 << self.rounds.min(16));
            self.quiet_for = Some(doubled.min(QUIET_MAX));
            self.rounds = self.rounds.saturating_add(1);
        }
    }

    /// It counts as well from now on.
    fn mended(&mut self, now: Instant) {
        self.trusted_at = self.quiet_for.map(|quiet| now + quiet);
    }

    /// It has been well for long enough.
    fn trust(&mut self) {
        self.quiet_for = None;
        self.trusted_at = None;
        // The next failure is the first of its kind; `rounds` remembers those before.
        let newest = self.failed_at.pop_back();
        self.failed_at.clear();
        self.failed_at.extend(newest);
    }
}
