//! Ejection of a server whose requests fail although it may pass its checks.

use core::time::Duration;

use minicbor::{Decode, Encode};

use super::{OutlierPolicy, Reason};
use crate::time::Instant;

/// An ejection lasts at most this many times as long as the first.
pub const EJECTIONS_MAX: u32 = 10;

/// Whether one more server of a pool may be ejected when `ejected` of `total` are.
///
/// One always may, unless it is the only one: with nobody to take its requests, ejecting it would
/// turn some failures into nothing but failures.
pub fn may_eject(ejected: usize, total: usize, policy: &OutlierPolicy) -> bool {
    let within = (ejected + 1) * 100 <= total * usize::from(policy.ejected_percent_max);
    total > 1 && (ejected == 0 || within)
}

#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub(super) struct Outlier {
    /// Ejections in a row: a time without one takes them off again.
    #[n(0)]
    ejections: u32,
    #[n(1)]
    state: State,
}

#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
enum State {
    #[n(0)]
    InUse {
        #[n(0)]
        since: Instant,
    },
    #[n(1)]
    Ejected {
        #[n(0)]
        until: Instant,
        #[n(1)]
        length: Duration,
        #[n(2)]
        failures: u32,
    },
}

impl Default for Outlier {
    fn default() -> Self {
        Self { ejections: 0, state: State::InUse { since: Instant::EPOCH } }
    }
}

impl Outlier {
    /// Ejects the server if that many failures in a row are enough; the pool has room.
    pub(super) fn failed(&mut self, now: Instant, policy: &OutlierPolicy, failures: u32) {
        match self.state {
            State::InUse { since } if failures >= policy.consecutive.max(1) => {
                // Each time that an ejection lasts at first, spent well, takes one off.
                let calm = now.since(since).as_nanos() / policy.eject.as_nanos().max(1);
                let before = self.ejections.saturating_sub(u32::try_from(calm).unwrap_or(u32::MAX));
                self.ejections = (before + 1).min(EJECTIONS_MAX);
                let length = policy.eject.saturating_mul(self.ejections);
                self.state = State::Ejected { until: now + length, length, failures };
            }
            State::InUse { .. } | State::Ejected { .. } => {}
        }
    }

    /// What another process knew: nothing of it may last longer than this policy allows.
    pub(super) fn resume(self, now: Instant, policy: &OutlierPolicy) -> Self {
        let longest = policy.eject.saturating_mul(EJECTIONS_MAX);
        let state = match self.state {
            State::InUse { since } => State::InUse { since: since.min(now) },
            State::Ejected { until, length, failures } => {
                let length = length.min(longest);
                State::Ejected { until: until.min(now + length), length, failures }
            }
        };
        let mut resumed = Self { ejections: self.ejections.min(EJECTIONS_MAX), state };
        resumed.tick(now);
        resumed
    }

    /// An active check has passed.
    pub(super) fn pardon(&mut self, now: Instant) {
        if self.is_ejected() {
            self.state = State::InUse { since: now };
        }
    }

    pub(super) fn tick(&mut self, now: Instant) {
        match self.state {
            State::Ejected { until, .. } if until <= now => {
                self.state = State::InUse { since: until };
            }
            State::InUse { .. } | State::Ejected { .. } => {}
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::InUse { .. } => None,
            State::Ejected { until, .. } => Some(until),
        }
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.deadline().is_some()
    }

    pub(super) fn reason(&self) -> Option<Reason> {
        match self.state {
            State::InUse { .. } => None,
            State::Ejected { length, failures, .. } => Some(Reason::Ejected { length, failures }),
        }
    }
}
