//! How slow a client may be while a body moves.
//!
//! Only the time spent waiting for the client counts, so a slow server is never blamed on it.

use std::time::Duration;

use evergate_config::Limits;

/// How often a moving body is looked at.
pub(crate) const TICK: Duration = Duration::from_secs(1);

/// The pace of one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    grace: Duration,
    rate_min: u64,
    waited: Duration,
}

impl Pace {
    /// A body that has not waited yet.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            grace: limits.body_grace,
            rate_min: u64::from(limits.body_rate_min),
            waited: Duration::ZERO,
        }
    }

    /// Counts one [`TICK`] that ended with us waiting for the client, who has moved `bytes` so far.
    /// Says whether that is too slow.
    pub(crate) fn is_too_slow(&mut self, bytes: u64) -> bool {
        self.waited += TICK;
        self.waited > self.grace && bytes < self.rate_min * self.waited.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_below_the_rate_is_cut_after_the_grace() {
        let mut pace =
            Pace { grace: Duration::from_secs(5), rate_min: 1024, waited: Duration::ZERO };
        for _ in 0..5 {
            assert!(!pace.is_too_slow(0));
        }
        assert!(pace.is_too_slow(6 * 1024 - 1));
        assert!(!pace.is_too_slow(7 * 1024));
    }
}
