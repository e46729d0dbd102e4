//! The power of two choices: of two random servers the cheaper one.
//!
//! Almost as good as asking all, and threads that decide at the same moment on the same figures
//! do not all run to the same server.

use alloc::vec::Vec;

use super::random::Wheel;
use super::{Candidate, Load};
use crate::rng::Rng;

/// Faster than this is as good as this: a server whose figure decayed while it was idle must not
/// look free, or it would get everything until its first response.
pub const LATENCY_NANOS_MIN: u64 = 100_000;

/// Draws two distinct ones by weight, and takes the one whose latency times load is less for its
/// weight. `excluded` gains the first draw.
pub(super) fn pick(
    wheel: &Wheel,
    candidates: &[Candidate],
    excluded: &mut Vec<usize>,
    load: impl Fn(usize) -> Load,
    rng: &mut Rng,
) -> usize {
    let first = wheel.draw(excluded, rng);
    if excluded.len() + 1 == wheel.len() {
        return first;
    }
    let slot = excluded.partition_point(|&position| position < first);
    excluded.insert(slot, first);
    let second = wheel.draw(excluded, rng);
    debug_assert_ne!(first, second, "the two are distinct");
    // Cost over weight, compared by cross-multiplication.
    let weight = |position: usize| u128::from(candidates[position].weight);
    let first_cost = cost(load(first)) * weight(second);
    let second_cost = cost(load(second)) * weight(first);
    if second_cost < first_cost { second } else { first }
}

fn cost(load: Load) -> u128 {
    let latency = u128::from(load.latency_nanos.max(LATENCY_NANOS_MIN));
    latency * (u128::from(load.in_flight) + 1)
}
