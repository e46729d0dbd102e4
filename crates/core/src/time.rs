//! The clock as the cores see it: a number somebody else supplies.

use core::ops::{Add, Sub};
use core::time::Duration;

use minicbor::{Decode, Encode};

mod calendar;
mod spoken;

pub use calendar::Calendar;
pub use spoken::Spoken;

/// A point on a monotonic clock, counted in nanoseconds from an epoch the caller chose.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[cbor(transparent)]
pub struct Instant(#[n(0)] u64);

impl Instant {
    /// The epoch itself.
    pub const EPOCH: Self = Self(0);

    /// The point `nanos` nanoseconds after the epoch; the clock ends after 584 years.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds elapsed since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time elapsed since the epoch.
    pub const fn since_epoch(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// Time elapsed since `earlier`; zero if that lies in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, rhs: Self) -> Duration {
        self.since(rhs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_saturates_at_both_ends() {
        let now = Instant::from_nanos(5);
        assert_eq!(now - Instant::from_nanos(9), Duration::ZERO);
        assert_eq!((now + Duration::MAX).as_nanos(), u64::MAX);
        assert_eq!((now + Duration::from_secs(1)) - now, Duration::from_secs(1));
    }
}
