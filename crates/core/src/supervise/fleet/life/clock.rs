//! The time that a starting run has.

use core::time::Duration;

use crate::time::Instant;

/// Counts the time in which something may happen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Clock {
    pub(super) spent: Duration,
    pub(super) since: Option<Instant>,
}

impl Clock {
    /// Goes on, or stops, from now on.
    pub(super) fn run(&mut self, now: Instant, runs: bool) {
        match (self.since, runs) {
            (None, true) => self.since = Some(now),
            (Some(since), false) => {
                self.spent += now - since;
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
