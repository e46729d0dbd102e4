//! The life of the processes that the keeper runs.
//!
//! [`fleet`] is all apps with their instances, which go by a [`policy`]; [`worker`] is the process
//! that serves. Both are told what happened and answer with what to do about it. They share how
//! long to wait before the next start: every unplanned exit counts, also one long after the start,
//! because a program that dies every ten seconds is as broken as one that dies at once.

use core::time::Duration;

pub mod fleet;
pub mod policy;
pub mod worker;

/// `base` doubled `doublings` times, at most `cap`.
fn doubled(base: Duration, doublings: u32, cap: Duration) -> Duration {
    let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
    base.saturating_mul(factor).min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap() {
        let (base, cap) = (Duration::from_millis(250), Duration::from_secs(30));
        let expected = [(0, 250), (1, 500), (6, 16_000), (7, 30_000), (32, 30_000), (99, 30_000)];
        for (doublings, millis) in expected {
            assert_eq!(doubled(base, doublings, cap), Duration::from_millis(millis), "{doublings}");
        }
    }
}
