//! The latency of a server: a moving average that jumps to each peak and decays from there.

use core::time::Duration;

use crate::time::Instant;

/// After this time an observation counts for 1/e.
pub const DECAY: Duration = Duration::from_secs(10);

/// What a server counts as before its first response. Not 0, or a new server would look free.
pub const SEED: Duration = Duration::from_millis(30);

/// A peak EWMA.
///
/// Threads share it as two atomic words, by [`ewma_observe`] and [`ewma_now`]. A pair torn by two
/// writers is one of their values with the other's time: as good an estimate as either.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ewma {
    state: (u64, u64),
}

impl Ewma {
    /// [`SEED`], as of `now`.
    pub const fn new(now: Instant) -> Self {
        Self { state: ewma_seed(now) }
    }

    /// Takes a response in that came after `rtt`. Failures should count as slow, or a server that
    /// fails fast attracts all requests.
    pub fn observe(&mut self, now: Instant, rtt: Duration) {
        self.state = ewma_observe(self.state, now, rtt);
    }

    /// The latency to expect.
    pub fn value(&self, now: Instant) -> Duration {
        Duration::from_nanos(ewma_now(self.state, now))
    }
}

/// The state `(value_nanos, at_nanos)` of a server nothing is known of.
pub const fn ewma_seed(now: Instant) -> (u64, u64) {
    (SEED.as_nanos() as u64, now.as_nanos())
}

/// The state after a response that came after `rtt`.
pub fn ewma_observe((value, at): (u64, u64), now: Instant, rtt: Duration) -> (u64, u64) {
    let rtt = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX);
    if rtt > value {
        return (rtt, now.as_nanos());
    }
    let weight = weight(now.as_nanos().saturating_sub(at));
    let mixed = value as f64 * weight + rtt as f64 * (1.0 - weight);
    (mixed as u64, now.as_nanos())
}

/// The latency to expect, in nanoseconds. It decays to 0 while nothing is observed, so that a
/// server that was slow once is tried again.
pub fn ewma_now((value, at): (u64, u64), now: Instant) -> u64 {
    (value as f64 * weight(now.as_nanos().saturating_sub(at))) as u64
}

/// What an observation of that age still counts: `e^(-age / DECAY)`.
fn weight(age_nanos: u64) -> f64 {
    exp_minus(age_nanos as f64 / DECAY.as_nanos() as f64)
}

/// `e^-x` for `x >= 0`, off by less than one part in 10^9; 0 beyond `x = 700`.
fn exp_minus(x: f64) -> f64 {
    use core::f64::consts::{LN_2, LOG2_E};
    if x > 700.0 {
        return 0.0;
    }
    // e^-x = 2^-halvings * e^-rest
    let halvings = (x * LOG2_E) as u64;
    let rest = x - halvings as f64 * LN_2;
    // The Taylor series up to rest^11 / 11!; `rest` is below 0.7.
    let series = (1..=11).rev().fold(1.0, |sum, n| 1.0 - sum * rest / f64::from(n));
    series * f64::from_bits((1023 - halvings) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Instant {
        Instant::from_nanos(secs * 1_000_000_000)
    }

    #[test]
    fn the_exponential_is_that_of_std() {
        for step in 0..700_000 {
            let x = f64::from(step) / 1000.0;
            let (ours, exact) = (exp_minus(x), (-x).exp());
            assert!((ours / exact - 1.0).abs() < 1e-9, "e^-{x} is {exact}, not {ours}");
        }
        assert_eq!((exp_minus(0.0), exp_minus(701.0), exp_minus(1e300)), (1.0, 0.0, 0.0));
    }

    #[test]
    fn it_jumps_up_and_decays_down() {
        let ms = Duration::from_millis;
        let mut ewma = Ewma::new(at(0));
        assert_eq!(ewma.value(at(0)), SEED);
        ewma.observe(at(1), ms(100));
        assert_eq!(ewma.value(at(1)), ms(100), "a peak counts whole");
        ewma.observe(at(11), ms(10));
        let expected = 100e6 * (-1f64).exp() + 10e6 * (1.0 - (-1f64).exp());
        assert!((ewma.value(at(11)).as_nanos() as f64 - expected).abs() < 10.0);
        let after_ten = ewma.value(at(21)).as_nanos() as f64;
        assert!((after_ten - expected * (-1f64).exp()).abs() < 10.0, "idle decay");
        assert_eq!(ewma.value(at(100_000)), Duration::ZERO);
        assert_eq!(ewma.value(at(5)), ewma.value(at(11)), "a clock behind does no harm");
    }

    #[test]
    fn it_lies_between_what_was_observed() {
        let mut rng = crate::rng::Rng::seeded(3);
        let mut state = ewma_seed(at(0));
        let mut now = Instant::EPOCH;
        for _ in 0..10_000 {
            now = now + Duration::from_millis(u64::from(rng.below(5_000)));
            let rtt = u64::from(rng.below(200_000_000));
            let next = ewma_observe(state, now, Duration::from_nanos(rtt));
            // Rounding may lose one nanosecond.
            assert!((rtt.min(state.0).saturating_sub(1)..=rtt.max(state.0)).contains(&next.0));
            state = next;
        }
    }
}
