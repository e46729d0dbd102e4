//! What to change so that what is becomes what should be.
//!
//! The worker says what it wants, again and again, without knowing what the keeper has; this finds
//! the difference. Doing the steps and asking again finds nothing left to do.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// What to do about the thing called `key`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step<'a, K, D, A> {
    /// It should be, and is not.
    Open {
        /// Which.
        key: &'a K,
        /// What is wanted.
        desired: &'a D,
    },
    /// It should be, and is: what is wanted may differ from what is.
    Keep {
        /// Which.
        key: &'a K,
        /// What is wanted.
        desired: &'a D,
        /// What there is.
        actual: &'a A,
    },
    /// It is, and should not be.
    Close {
        /// Which.
        key: &'a K,
        /// What there is.
        actual: &'a A,
    },
}

/// The steps from `actual` to `desired`, one for each key of either, sorted by key, but closing
/// last: a listener that moves is never missed in between.
pub fn reconcile<'a, K: Ord, D, A>(
    desired: &'a BTreeMap<K, D>,
    actual: &'a BTreeMap<K, A>,
) -> Vec<Step<'a, K, D, A>> {
    let wanted = desired.iter().map(|(key, desired)| match actual.get(key) {
        Some(actual) => Step::Keep { key, desired, actual },
        None => Step::Open { key, desired },
    });
    let unwanted = actual.iter().filter(|(key, _)| !desired.contains_key(key));
    wanted.chain(unwanted.map(|(key, actual)| Step::Close { key, actual })).collect()
}

/// How many sockets to add to the `held` ones of an address.
///
/// Never fewer than none: to close one of several that share a port resets the connections waiting
/// in its queue, so a surplus is kept until the whole address goes.
pub fn sockets_missing(desired: u16, held: u16) -> u16 {
    desired.saturating_sub(held)
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::rng::Rng;

    fn map(pairs: &[(u8, u16)]) -> BTreeMap<u8, u16> {
        pairs.iter().copied().collect()
    }

    #[test]
    fn each_thing_gets_one_step_and_closing_comes_last() {
        let (desired, actual) = (map(&[(2, 20), (5, 50)]), map(&[(1, 10), (5, 55)]));
        let steps = vec![
            Step::Open { key: &2, desired: &20 },
            Step::Keep { key: &5, desired: &50, actual: &55 },
            Step::Close { key: &1, actual: &10 },
        ];
        assert_eq!(reconcile(&desired, &actual), steps);
    }

    #[test]
    fn doing_the_steps_leaves_nothing_to_do() {
        for seed in 0..256 {
            let mut rng = Rng::seeded(seed);
            let mut draw = || -> BTreeMap<u8, u16> {
                (0..rng.below(6)).map(|_| (rng.below(8) as u8, rng.below(3) as u16)).collect()
            };
            let (desired, mut actual) = (draw(), draw());
            let before = actual.clone();
            for step in reconcile(&desired, &before) {
                match step {
                    Step::Open { key, desired } | Step::Keep { key, desired, .. } => {
                        actual.insert(*key, *desired);
                    }
                    Step::Close { key, .. } => {
                        actual.remove(key);
                    }
                }
            }
            assert_eq!(actual, desired, "seed {seed:#x}");
            let again = reconcile(&desired, &actual);
            let kept = |step: &Step<'_, u8, u16, u16>| match step {
                Step::Keep { desired, actual, .. } => desired == actual,
                Step::Open { .. } | Step::Close { .. } => false,
            };
            assert!(again.iter().all(kept), "seed {seed:#x}");
        }
    }

    #[test]
    fn sockets_are_added_and_never_taken_away() {
        for (desired, held, missing) in [(4, 0, 4), (4, 3, 1), (4, 4, 0), (1, 4, 0), (0, 1, 0)] {
            assert_eq!(sockets_missing(desired, held), missing, "{desired} wanted, {held} held");
        }
    }
}
