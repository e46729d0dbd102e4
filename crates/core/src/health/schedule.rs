//! When active checks are due.

use core::time::Duration;

use crate::rng::Rng;

/// Even in transition, and however short the interval with its jitter, checks are no closer.
pub const CHECK_DELAY_MIN: Duration = Duration::from_millis(100);

/// Checks in transition come this many times as often.
const TRANSITION_SPEED: u32 = 4;

/// How often a check is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pace {
    /// At its interval.
    Steady,
    /// More often: its last outcomes speak against the server's state, so soon one is wrong.
    InTransition,
}

/// How long after the start the check at `index` of `total` is due for the first time: each at a
/// random time of its own part of the interval, so that checks neither come all at once nor all
/// nodes check a server at the same time.
pub fn first_check_delay(every: Duration, index: usize, total: usize, rng: &mut Rng) -> Duration {
    debug_assert!(index < total, "{index} is one of {total}");
    let part = every.as_nanos() / total.max(1) as u128;
    let nanos = part * index as u128 + up_to(part, rng);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// How long after a check began the next one is due: the interval, or a quarter of it in
/// transition, give or take a tenth; at least [`CHECK_DELAY_MIN`].
pub fn next_check_delay(every: Duration, pace: Pace, rng: &mut Rng) -> Duration {
    let base = match pace {
        Pace::Steady => every,
        Pace::InTransition => every / TRANSITION_SPEED,
    };
    let tenth = base.as_nanos() / 10;
    let nanos = base.as_nanos() - tenth + up_to(2 * tenth, rng);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).max(CHECK_DELAY_MIN)
}

fn up_to(nanos: u128, rng: &mut Rng) -> u128 {
    let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
    (u128::from(rng.next_u64()) * u128::from(nanos)) >> 64
}
