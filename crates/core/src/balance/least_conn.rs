//! Least connections, as nginx does it: fewest requests in flight for its weight.

use alloc::vec::Vec;

use super::smooth::Plain;
use super::{Among, Candidate, Load, Pool};

#[derive(Clone, Debug, Default)]
pub(super) struct LeastConn {
    /// Takes turns among those that are equally busy, and only among those.
    turns: Plain,
    /// Kept for its memory.
    tied: Vec<usize>,
}

impl LeastConn {
    pub(super) fn set(&mut self, candidates: &[Candidate], last: &Pool) {
        self.turns.set(candidates, last);
    }

    pub(super) fn failed(&mut self, position: usize) {
        self.turns.failed(position);
    }

    pub(super) fn pick(&mut self, among: Among<'_>, load: impl Fn(usize) -> Load) -> usize {
        let mut least = (u64::MAX, 1);
        self.tied.clear();
        for position in among.positions() {
            let busy = u64::from(load(position).in_flight);
            let weight = u64::from(among.pool.list[position].weight);
            // busy / weight against least.0 / least.1
            let (ours, theirs) = (busy * least.1, least.0.saturating_mul(weight));
            if ours < theirs {
                least = (busy, weight);
                self.tied.clear();
            }
            if ours <= theirs {
                self.tied.push(position);
            }
        }
        match *self.tied {
            [only] => only,
            _ => self.turns.pick(self.tied.iter().copied()),
        }
    }
}
