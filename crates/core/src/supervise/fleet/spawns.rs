//! The limit on starts over all apps, so that many that crash do not melt a small machine.

use core::time::Duration;

use minicbor::{Decode, Encode};

use crate::time::Instant;

/// Starts that a second allows.
pub(super) const PER_SECOND: u32 = 5;
/// Starts that may come at once after a quiet time.
pub(super) const BURST: u32 = 10;
const EVERY: Duration = Duration::from_millis(1_000 / PER_SECOND as u64);

/// A token bucket that holds [`BURST`] starts and gains one [`EVERY`] so often.
#[derive(Clone, Copy, Debug, Decode, Default, Encode)]
pub(super) struct Spawns {
    /// When the bucket is full again.
    #[n(0)]
    full_at: Instant,
}

impl Spawns {
    /// Takes one start out; if there is none, says when there will be.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        // However far ahead it was set: no more than all of the burst can be missing.
        let full_at = self.full_at.max(now).min(now + EVERY * BURST);
        let missing = full_at - now;
        let most = EVERY * (BURST - 1);
        if missing > most {
            return Err(now + (missing - most));
        }
        self.full_at = full_at + EVERY;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_at_once_then_five_a_second() {
        let mut spawns = Spawns::default();
        let mut now = Instant::EPOCH;
        for _ in 0..BURST {
            assert_eq!(spawns.take(now), Ok(()));
        }
        for _ in 0..20 {
            let at = spawns.take(now).expect_err("the bucket is empty");
            assert_eq!(at - now, EVERY);
            now = at;
            assert_eq!(spawns.take(now), Ok(()));
        }
        now = now + Duration::from_secs(60);
        let taken = (0..100).take_while(|_| spawns.take(now).is_ok()).count();
        assert_eq!(taken, 10, "a long rest saves no more than one burst");
    }
}
