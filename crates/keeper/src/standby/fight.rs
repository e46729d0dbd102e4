//! Somebody else removes an address again and again: how often it is put back.

use std::time::Duration;

use evergate_core::time::Instant;

/// So often it is put back at once, without a pause of [`QUIET_AFTER`] between.
const AT_ONCE_MAX: u32 = 5;
/// Wait before the next try after that; it doubles with each.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// Longest wait.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// After so long without a removal all is forgotten.
const QUIET_AFTER: Duration = Duration::from_secs(30);

/// How it stands with the others.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Fight {
    tries: u32,
    last_at: Option<Instant>,
    next_at: Option<Instant>,
    is_missing: bool,
}

impl Fight {
    /// Whether an address that is not there is to be put back now.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        self.is_missing = true;
        self.next_at.is_none_or(|at| at <= now)
    }

    /// It was put back.
    pub(super) fn note(&mut self, now: Instant) {
        if self.last_at.is_none_or(|at| now - at >= QUIET_AFTER) {
            self.tries = 0;
        }
        self.tries = self.tries.saturating_add(1);
        self.last_at = Some(now);
        self.next_at = self.tries.checked_sub(AT_ONCE_MAX).map(|beyond| {
            let wait = WAIT_MIN.saturating_mul(1 << beyond.min(16));
            now + wait.min(WAIT_MAX)
        });
        self.is_missing = false;
    }

    /// All is there.
    pub(super) fn pause(&mut self) {
        self.is_missing = false;
    }

    /// When to look again, if the address is not there.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next_at.filter(|_| self.is_missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_put_back_at_once_a_few_times_and_then_ever_more_slowly() {
        let mut fight = Fight::default();
        let mut now = Instant::from_nanos(1);
        for _ in 0..AT_ONCE_MAX {
            assert!(fight.is_due(now));
            fight.note(now);
        }
        for wait_ms in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            assert!(!fight.is_due(now), "before {wait_ms} ms");
            now = now + Duration::from_millis(wait_ms);
            assert_eq!(fight.deadline(), Some(now));
            assert!(fight.is_due(now));
            fight.note(now);
        }
        fight.pause();
        assert_eq!(fight.deadline(), None);
        now = now + QUIET_AFTER;
        for _ in 0..AT_ONCE_MAX {
            assert!(fight.is_due(now), "all is forgotten");
            fight.note(now);
        }
        assert!(!fight.is_due(now));
    }
}
