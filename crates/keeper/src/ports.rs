//! Ports for app instances: one for each start, so that whatever is left of the last one is never
//! in the way of the next.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use evergate_core::rng::Rng;
use evergate_core::time::Instant;

/// How long a port rests after its use: its old connections linger, and clients may still try it.
const REST: Duration = Duration::from_secs(60);
/// Most resting ports that are remembered; the oldest is forgotten first.
const RESTING_MAX: usize = 1024;
/// Most ports that are tried for one start.
const TRIES_MAX: usize = 1024;

/// The ports in use and at rest.
#[derive(Debug)]
pub(crate) struct Ports {
    rng: Rng,
    used: BTreeSet<u16>,
    resting: VecDeque<(u16, Instant)>,
}

impl Ports {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { rng, used: BTreeSet::new(), resting: VecDeque::new() }
    }

    /// Those at rest, each with the time since when.
    pub(crate) fn carry(&self) -> Vec<(u16, u64)> {
        self.resting.iter().map(|&(port, since)| (port, since.as_nanos())).collect()
    }

    /// These in use, and those at rest that were carried.
    pub(crate) fn resume(rng: Rng, used: Vec<u16>, resting: Vec<(u16, u64)>) -> Self {
        let resting = resting.into_iter().take(RESTING_MAX);
        let resting = resting.map(|(port, since)| (port, Instant::from_nanos(since))).collect();
        Self { rng, used: used.into_iter().collect(), resting }
    }

    /// Takes a port from `first` to `last` that `is_free` says nobody else has. One that rests is
    /// taken only if there is no other.
    pub(crate) fn take(
        &mut self,
        (first, last): (u16, u16),
        now: Instant,
        is_free: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        self.resting.retain(|&(_, since)| now - since < REST);
        let count = u32::from(last.checked_sub(first)?) + 1;
        let start = self.rng.below(count);
        let in_turn = (0..count).map(|i| first + ((start + i) % count) as u16);
        let unused: Vec<u16> =
            in_turn.filter(|port| !self.used.contains(port)).take(TRIES_MAX).collect();
        let rests = |port: &u16| self.resting.iter().any(|(resting, _)| resting == port);
        let (resting, rested): (Vec<u16>, Vec<u16>) = unused.into_iter().partition(rests);
        let port = rested.into_iter().chain(resting).find(|&port| is_free(port))?;
        self.used.insert(port);
        Some(port)
    }

    /// Gives a port back.
    pub(crate) fn release(&mut self, port: u16, now: Instant) {
        self.used.remove(&port);
        if self.resting.len() == RESTING_MAX {
            self.resting.pop_front();
        }
        self.resting.push_back((port, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn each_port_is_given_once() {
        let mut ports = Ports::new(Rng::seeded(1));
        let taken: BTreeSet<u16> =
            (0..10).map(|_| ports.take((100, 109), at(0), |_| true).unwrap()).collect();
        assert_eq!(taken, (100..=109).collect());
        assert_eq!(ports.take((100, 109), at(0), |_| true), None);
        assert_eq!(ports.take((109, 100), at(0), |_| true), None, "an empty range");
        let top = ports.take((u16::MAX, u16::MAX), at(0), |_| true);
        assert_eq!(top, Some(u16::MAX));
    }

    #[test]
    fn a_port_rests_after_its_use_while_there_are_others() {
        for seed in 0..64 {
            let mut ports = Ports::new(Rng::seeded(seed));
            let first = ports.take((100, 101), at(0), |_| true).unwrap();
            ports.release(first, at(0));
            let other = ports.take((100, 101), at(1), |_| true).unwrap();
            assert_ne!(other, first, "seed {seed:#x}");
            assert_eq!(ports.take((100, 101), at(2), |_| true), Some(first), "the only one left");
        }
    }

    #[test]
    fn a_port_that_somebody_else_has_is_passed_over() {
        for seed in 0..64 {
            let mut ports = Ports::new(Rng::seeded(seed));
            assert_eq!(ports.take((100, 109), at(0), |port| port == 107), Some(107));
            assert_eq!(ports.take((100, 109), at(0), |_| false), None);
        }
    }
}
