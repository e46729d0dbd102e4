//! The failures of one instance, and when another start follows them.
//!
//! Every unplanned end counts, also one long after the start, because a program that dies every
//! ten seconds is as broken as one that dies at once.

use alloc::collections::VecDeque;
use core::time::Duration;

use minicbor::{Decode, Encode};

use crate::rng::Rng;
use crate::supervise::doubled;
use crate::supervise::policy::Backoff;
use crate::time::Instant;

/// What an unplanned end is worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Charge {
    /// It counts.
    Counted,
    /// It was not the app's fault: the waits grow, but there are never too many of these.
    Blameless,
    /// Another start would end alike.
    Lasting,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// Another start after this time.
    Start(Duration),
    /// There were too many: one more try after this time, if there is one.
    Try(Option<Duration>),
}

/// The failures of one instance that count.
#[derive(Clone, Debug, Decode, Default, Encode)]
pub(super) struct Failures {
    /// At most as many as are too many; the oldest first.
    #[n(0)]
    charged: VecDeque<Instant>,
    /// Since a run was stable.
    #[n(1)]
    in_a_row: u32,
    /// Whether the run is the one try after too many failures.
    #[n(2)]
    is_trial: bool,
}

impl Failures {
    /// Takes in a failure. `stable` says whether the run was ready for long enough before it.
    pub(super) fn fail(
        &mut self,
        now: Instant,
        policy: &Backoff,
        charge: Charge,
        stable: bool,
        rng: &mut Rng,
    ) -> Next {
        let was_trial = self.is_trial && !stable;
        if stable {
            self.in_a_row = 0;
            if self.is_trial {
                *self = Self::default();
            }
        } else {
            self.in_a_row = self.in_a_row.saturating_add(1);
        }
        match charge {
            Charge::Lasting => return Next::Try(None),
            Charge::Blameless => {}
            Charge::Counted => {
                self.charged.push_back(now);
                while self.charged.len() > usize::from(policy.failures) {
                    self.charged.pop_front();
                }
                if was_trial || self.counted(now, policy) >= policy.failures {
                    return Next::Try(Some(policy.cooldown).filter(|wait| !wait.is_zero()));
                }
            }
        }
        if stable {
            return Next::Start(Duration::ZERO);
        }
        let whole = doubled(policy.base, self.in_a_row - 1, policy.cap);
        Next::Start(jittered(whole, rng))
    }

    /// How many count at the moment.
    pub(super) fn counted(&self, now: Instant, policy: &Backoff) -> u16 {
        let counting = self.charged.iter().filter(|&&at| now - at < policy.within);
        u16::try_from(counting.count()).unwrap_or(u16::MAX)
    }

    /// The next start is the one try after too many failures.
    pub(super) fn begin_trial(&mut self) {
        self.is_trial = true;
    }
}

/// Between half of `whole` and all of it, so that instances that died together come back apart.
fn jittered(whole: Duration, rng: &mut Rng) -> Duration {
    // In two halves, so that the longest wait there is can be had too.
    whole / 2 + (whole / 2).mul_f64(rng.unit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Backoff = Backoff {
        base: Duration::from_millis(250),
        cap: Duration::from_secs(30),
        failures: 10,
        within: Duration::from_secs(600),
        cooldown: Duration::from_secs(300),
        stable_after: Duration::from_secs(60),
    };

    fn at(seconds: u64) -> Instant {
        Instant::EPOCH + Duration::from_secs(seconds)
    }

    fn counted(failures: &mut Failures, now: Instant, stable: bool) -> Next {
        failures.fail(now, &POLICY, Charge::Counted, stable, &mut Rng::seeded(1))
    }

    #[test]
    fn waits_double_up_to_the_cap_and_are_jittered_downwards() {
        let generous = Backoff { failures: u16::MAX, ..POLICY };
        let mut rng = Rng::seeded(7);
        let mut failures = Failures::default();
        for whole_ms in [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            let next = failures.fail(at(0), &generous, Charge::Counted, false, &mut rng);
            let whole = Duration::from_millis(whole_ms);
            assert!(matches!(next, Next::Start(wait) if wait >= whole / 2 && wait <= whole));
        }
    }

    #[test]
    fn a_stable_run_is_followed_at_once_and_resets_the_doubling() {
        let mut failures = Failures::default();
        for _ in 0..5 {
            counted(&mut failures, at(0), false);
        }
        assert_eq!(counted(&mut failures, at(70), true), Next::Start(Duration::ZERO));
        let base = Duration::from_millis(250);
        assert!(matches!(counted(&mut failures, at(71), false), Next::Start(wait) if wait <= base));
    }

    #[test]
    fn the_window_slides() {
        let mut failures = Failures::default();
        for i in 0..20 {
            let next = counted(&mut failures, at(70 * i), false);
            assert!(matches!(next, Next::Start(_)), "at most 9 within 600 s");
        }
        assert_eq!(failures.counted(at(70 * 19), &POLICY), 9);
        assert_eq!(counted(&mut failures, at(70 * 19), false), Next::Try(Some(POLICY.cooldown)));
        assert_eq!(failures.counted(at(5_000), &POLICY), 0);
    }

    #[test]
    fn a_trial_that_fails_is_the_only_one_until_the_next_cooldown() {
        let mut failures = Failures::default();
        for _ in 0..10 {
            counted(&mut failures, at(0), false);
        }
        failures.begin_trial();
        assert_eq!(counted(&mut failures, at(9_000), false), Next::Try(Some(POLICY.cooldown)));
        failures.begin_trial();
        assert_eq!(counted(&mut failures, at(9_900), true), Next::Start(Duration::ZERO));
        assert_eq!(failures.counted(at(9_900), &POLICY), 1, "a trial that was stable clears all");
    }

    #[test]
    fn blameless_failures_only_wait_longer() {
        let (mut failures, mut rng) = (Failures::default(), Rng::seeded(3));
        for _ in 0..100 {
            let next = failures.fail(at(0), &POLICY, Charge::Blameless, false, &mut rng);
            assert!(matches!(next, Next::Start(wait) if !wait.is_zero() && wait <= POLICY.cap));
        }
        assert_eq!(failures.counted(at(0), &POLICY), 0);
    }

    #[test]
    fn lasting_failures_are_not_tried_again() {
        let next =
            Failures::default().fail(at(0), &POLICY, Charge::Lasting, false, &mut Rng::seeded(1));
        assert_eq!(next, Next::Try(None));
        let for_ever = Backoff { cooldown: Duration::ZERO, failures: 1, ..POLICY };
        let next =
            Failures::default().fail(at(0), &for_ever, Charge::Counted, false, &mut Rng::seeded(1));
        assert_eq!(next, Next::Try(None));
    }
}
