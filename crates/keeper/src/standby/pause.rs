//! When the keeper may be away for a moment, to become another binary, and for how long.

use std::time::Duration;

use evergate_core::time::Instant;
use evergate_core::vrrp::INTERVALS_DOWN;

use super::{Running, Standby};

/// Least time that an image gets to go on: starting it takes some milliseconds by itself.
const GUARD_MIN: Duration = Duration::from_millis(30);
/// Most, as without virtual addresses.
const GUARD_MAX: Duration = Duration::from_secs(5);

impl Standby {
    /// When a pause would disturb least: `now`, or later, and then it is to be asked again. Nothing
    /// while roles are not settled.
    pub(crate) fn may_pause_at(&self, now: Instant) -> Option<Instant> {
        match &self.running {
            Some(running) => running.machine.may_pause_at(now),
            None => Some(now),
        }
    }

    /// How long another image may take to go on; nothing where it does not matter to anybody else.
    ///
    /// Half of the time after which other nodes count a master as dead, so that the old image is back
    /// before they do.
    pub(crate) fn guard(&self) -> Option<Duration> {
        self.running.as_ref().and_then(|running| running.guard())
    }
}

impl Running {
    fn guard(&self) -> Option<Duration> {
        let shortest = self.vips.values().map(|vip| vip.interval()).min()?;
        Some(guard(shortest))
    }
}

fn guard(interval: Duration) -> Duration {
    (interval * INTERVALS_DOWN / 2).clamp(GUARD_MIN, GUARD_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_hangs_is_replaced_before_others_count_us_as_dead() {
        let found = [10, 20, 30, 100, 1000, 40_000].map(|ms| guard(Duration::from_millis(ms)));
        assert_eq!(found, [30, 30, 45, 150, 1500, 5000].map(Duration::from_millis));
    }
}
