//! The time that a starting run has.

use core::time::Duration;

use minicbor::{Decode, Encode};

use crate::time::Instant;

/// Counts the time in which something may happen.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub(super) struct Clock {
    #[n(0)]
    pub(super) spent: Duration,
    #[n(1)]
    pub(super) since: Option<Instant>,
}

impl Clock {
    /// Goes on, or stops, from now on.
    pub(super) fn run(&mut self, now: Instant, runs: bool) {
        match (self.since, runs) {
            (None, true) => self.since = Some(now),
            (Some(since), false) => {
                self.spent = self.spent.saturating_add(now - since);
                self.since = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    /// When it has counted `length`, if it goes on.
    pub(super) fn reaches(self, length: Duration) -> Option<Instant> {
        self.since.map(|since| since + length.saturating_sub(self.spent))
    }
}
