//! When workers are told how virtual addresses are.

use std::time::Duration;

use evergate_core::time::Instant;

/// So often they are told anyway, so that counts are never older.
const EVERY: Duration = Duration::from_secs(1);
/// Changes in a row are told together, so far apart.
const APART: Duration = Duration::from_millis(50);

/// When they were told, and whether there is more.
#[derive(Debug, Default)]
pub(super) struct Telling {
    told_at: Option<Instant>,
    is_due: bool,
}

impl Telling {
    /// Something has changed.
    pub(super) fn mark(&mut self) {
        self.is_due = true;
    }

    /// Whether to tell now. A `true` must be followed.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.deadline().is_some_and(|at| now < at) {
            return false;
        }
        *self = Self { told_at: Some(now), is_due: false };
        true
    }

    /// When to tell next; nothing if that is now.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.told_at.map(|at| at + if self.is_due { APART } else { EVERY })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_soon_but_not_each_by_itself_and_counts_every_second() {
        let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
        let mut telling = Telling::default();
        assert!(telling.take(at(0)) && !telling.take(at(999)));
        assert!(telling.take(at(1000)));
        telling.mark();
        assert!(!telling.take(at(1049)));
        assert_eq!(telling.deadline(), Some(at(1050)));
        telling.mark();
        assert!(telling.take(at(1050)) && !telling.take(at(2049)));
        telling.mark();
        assert!(telling.take(at(2049)), "a change after a pause at once");
    }
}
