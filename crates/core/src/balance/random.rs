//! A random server, in proportion to weight.

use alloc::vec::Vec;

use super::{Candidate, are_equal};
use crate::rng::Rng;

/// A wheel of fortune whose sectors are the candidates, as wide as their weights.
#[derive(Clone, Debug, Default)]
pub(super) struct Wheel {
    /// Where each sector ends.
    ends: Vec<u64>,
    are_equal: bool,
}

impl Wheel {
    pub(super) fn set(&mut self, candidates: &[Candidate]) {
        self.are_equal = are_equal(candidates);
        self.ends.clear();
        self.ends.extend(candidates.iter().scan(0, |end, candidate| {
            *end += u64::from(candidate.weight);
            Some(*end)
        }));
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// A position that is not among `excluded`, which are ascending and not all.
    pub(super) fn draw(&self, excluded: &[usize], rng: &mut Rng) -> usize {
        let taken: u64 = excluded.iter().map(|&position| self.width(position)).sum();
        let total = self.ends[self.ends.len() - 1] - taken;
        debug_assert!(total > 0, "one may be picked");
        let mut point = ((u128::from(rng.next_u64()) * u128::from(total)) >> 64) as u64;
        // As if the excluded sectors had been cut out: step over those that lie before the point.
        for &position in excluded {
            if point >= self.start(position) {
                point += self.width(position);
            }
        }
        if self.are_equal {
            return (point / self.ends[0]) as usize;
        }
        self.ends.partition_point(|&end| end <= point)
    }

    fn start(&self, position: usize) -> u64 {
        position.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    fn width(&self, position: usize) -> u64 {
        self.ends[position] - self.start(position)
    }
}
