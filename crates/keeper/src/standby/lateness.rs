//! How late timers are. Whoever is late by more than its peers wait is taken for dead, so this is
//! measured and told.

use std::time::Duration;

use evergate_core::time::Instant;

/// Of so many seconds the worst is known.
const SECONDS: u64 = 10;

/// The worst lateness of the last 10 s.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    /// For each second of the clock, by its number modulo their count: which one, and the worst in
    /// it.
    worst: [(u64, Duration); SECONDS as usize],
}

impl Lateness {
    /// Takes in that something was due at `due` and is done at `now`; returns how late that is.
    pub(super) fn note(&mut self, due: Instant, now: Instant) -> Duration {
        let late = now.since(due);
        let second = now.since_epoch().as_secs();
        let slot = &mut self.worst[(second % SECONDS) as usize];
        if slot.0 != second {
            *slot = (second, Duration::ZERO);
        }
        slot.1 = slot.1.max(late);
        late
    }

    /// The worst, in microseconds.
    pub(super) fn worst_us(&self, now: Instant) -> u64 {
        let second = now.since_epoch().as_secs();
        let recent = self.worst.iter().filter(|(at, _)| second - at.min(&second) < SECONDS);
        let worst = recent.map(|&(_, late)| late).max().unwrap_or_default();
        u64::try_from(worst.as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_forgotten_after_ten_seconds() {
        let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
        let mut lateness = Lateness::default();
        assert_eq!(lateness.worst_us(at(50_000)), 0);
        assert_eq!(lateness.note(at(50_000), at(50_007)), Duration::from_millis(7));
        lateness.note(at(50_010), at(50_012));
        lateness.note(at(54_000), at(54_003));
        assert_eq!(lateness.worst_us(at(59_999)), 7_000);
        assert_eq!(lateness.worst_us(at(60_000)), 3_000);
        assert_eq!(lateness.note(at(64_000), at(64_000)), Duration::ZERO);
        assert_eq!(lateness.worst_us(at(64_000)), 0);
    }
}
