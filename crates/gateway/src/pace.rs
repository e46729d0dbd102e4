//! How slow a client may be while a body moves.
//!
//! Only the time spent waiting for the client counts, so a slow server is never blamed on it. It is
//! counted in windows as long as the grace: megabytes that moved at first must not pay for an hour of
//! silence. What a client has moved is what has reached it, not what the kernel took for it.

use std::time::Duration;

use evergate_config::Limits;

/// How often a moving body is looked at.
pub(crate) const TICK: Duration = Duration::from_secs(1);

/// The pace of one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    grace: Duration,
    rate_min: u64,
    /// In this window.
    waited: Duration,
    /// Before this window.
    bytes_before: u64,
}

impl Pace {
    /// A body that has not waited yet.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            grace: limits.body_grace,
            rate_min: u64::from(limits.body_rate_min),
            waited: Duration::ZERO,
            bytes_before: 0,
        }
    }

    /// A body that may come as slowly as it likes: a call that waits for something to say.
    pub(crate) const fn patient() -> Self {
        Self { grace: Duration::ZERO, rate_min: 0, waited: Duration::ZERO, bytes_before: 0 }
    }

    /// Counts one [`TICK`] that ended with us waiting for the client, who has moved `bytes` so far.
    /// Says whether that is too slow.
    pub(crate) fn is_too_slow(&mut self, bytes: u64) -> bool {
        self.waited += TICK;
        if self.waited <= self.grace {
            return false;
        }
        let is_too_slow =
            bytes.saturating_sub(self.bytes_before) < self.rate_min * self.waited.as_secs();
        if !is_too_slow {
            (self.waited, self.bytes_before) = (Duration::ZERO, bytes);
        }
        is_too_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(grace: u64) -> Pace {
        Pace {
            grace: Duration::from_secs(grace),
            rate_min: 1024,
            waited: Duration::ZERO,
            bytes_before: 0,
        }
    }

    #[test]
    fn a_client_below_the_rate_is_cut_after_the_grace() {
        let mut pace = pace(5);
        for _ in 0..5 {
            assert!(!pace.is_too_slow(0));
        }
        assert!(pace.is_too_slow(6 * 1024 - 1));
        assert!(!pace.is_too_slow(7 * 1024));
    }

    #[test]
    fn a_good_start_does_not_pay_for_silence() {
        let mut pace = pace(2);
        for _ in 0..3 {
            assert!(!pace.is_too_slow(1_000_000));
        }
        assert!(!pace.is_too_slow(1_000_000) && !pace.is_too_slow(1_000_000));
        assert!(pace.is_too_slow(1_000_000));
    }

    #[test]
    fn no_rate_is_no_bound() {
        let mut pace = Pace { rate_min: 0, ..pace(0) };
        assert!((0..100).all(|_| !pace.is_too_slow(0)));
    }
}
