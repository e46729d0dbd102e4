//! Smooth weighted round robin, as nginx does it.
//!
//! On each pick every eligible server gains its effective weight, the one that has gained most is
//! taken, and pays what all of them gained. So {5,1,1} gives `a a b a c a a`, not `a a a a a b c`.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{Among, Candidate, Pool, are_equal};

/// Gains are settled when they reach this, far from overflow; in tests often enough to be seen.
const RAISED_MAX: i64 = if cfg!(test) { 1 << 8 } else { 1 << 56 };

/// The algorithm as it is written down, in linear time.
#[derive(Clone, Debug, Default)]
pub(super) struct Plain {
    servers: Vec<Server>,
}

#[derive(Clone, Copy, Debug)]
struct Server {
    /// What it has gained and not yet paid.
    current: i64,
    /// Its weight, or less for a while after a failure.
    effective: i64,
    weight: i64,
}

impl Plain {
    pub(super) fn set(&mut self, candidates: &[Candidate], last: &Pool) {
        // A server that left took along what it had gained or owed. That shifts the others by no
        // more than one round, since it must have been the best of them to owe anything.
        let kept = |candidate: &Candidate| Some(self.servers[last.position(candidate.endpoint)?]);
        let servers = candidates.iter().map(|candidate| {
            let weight = i64::from(candidate.weight);
            let Some(server) = kept(candidate) else {
                return Server { current: 0, effective: weight, weight };
            };
            let whole = server.effective == server.weight;
            let effective = if whole { weight } else { server.effective.min(weight) };
            Server { current: server.current, effective, weight }
        });
        self.servers = servers.collect();
    }

    /// Picks among `positions`, of which there is at least one.
    pub(super) fn pick(&mut self, positions: impl Iterator<Item = usize>) -> usize {
        let mut best: Option<usize> = None;
        let mut total = 0;
        for position in positions {
            let server = &mut self.servers[position];
            server.current += server.effective;
            total += server.effective;
            server.effective = (server.effective + 1).min(server.weight);
            let current = server.current;
            if best.is_none_or(|best| current > self.servers[best].current) {
                best = Some(position);
            }
        }
        let best = best.expect("one may be picked");
        self.servers[best].current -= total;
        best
    }

    /// Takes the whole effective weight, as nginx does with its default `max_fails` of 1.
    pub(super) fn failed(&mut self, position: usize) {
        self.servers[position].effective = 0;
    }

    fn are_whole(&self) -> bool {
        self.servers.iter().all(|server| server.effective == server.weight)
    }
}

/// The same sequence as [`Plain`], in constant time while all weights are equal.
///
/// Then all that are eligible gain the same, so their order does not change but for the one that
/// paid: it goes to the end of a queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Smooth {
    plain: Plain,
    are_equal: bool,
    queue: Option<Queue>,
}

/// Positions, the one with the greatest `current` first; of equals the first position.
#[derive(Clone, Debug)]
struct Queue {
    order: VecDeque<usize>,
    /// What every `current` is short of, since all gained it.
    raised: i64,
    weight: i64,
}

impl Smooth {
    pub(super) fn set(&mut self, candidates: &[Candidate], last: &Pool) {
        self.leave_queue();
        self.plain.set(candidates, last);
        self.are_equal = are_equal(candidates);
        self.enter_queue();
    }

    pub(super) fn pick(&mut self, among: Among<'_>) -> usize {
        let Some(queue) = &mut self.queue else {
            let best = self.plain.pick(among.positions());
            self.enter_queue();
            return best;
        };
        let best = queue.pick(&mut self.plain.servers, among.excluded);
        if queue.raised > RAISED_MAX {
            self.leave_queue();
            self.enter_queue();
        }
        best
    }

    pub(super) fn failed(&mut self, position: usize) {
        self.leave_queue();
        self.plain.failed(position);
    }

    #[cfg(test)]
    pub(super) fn is_short(&self) -> bool {
        self.queue.is_some()
    }

    fn enter_queue(&mut self) {
        let servers = &self.plain.servers;
        let Some(first) = servers.first() else { return };
        if !self.are_equal || !self.plain.are_whole() {
            return;
        }
        let mut order: Vec<_> = (0..servers.len()).collect();
        order.sort_by_key(|&position| (-servers[position].current, position));
        self.queue = Some(Queue { order: order.into(), raised: 0, weight: first.weight });
    }

    fn leave_queue(&mut self) {
        let Some(queue) = self.queue.take() else { return };
        for server in &mut self.plain.servers {
            server.current += queue.raised;
        }
    }
}

impl Queue {
    fn pick(&mut self, servers: &mut [Server], excluded: &[usize]) -> usize {
        let eligible = self.order.len() - excluded.len();
        let best = if excluded.is_empty() {
            self.order.pop_front()
        } else {
            let first = self.order.iter().position(|position| !excluded.contains(position));
            first.and_then(|index| self.order.remove(index))
        };
        let best = best.expect("one may be picked");
        self.raised += self.weight;
        servers[best].current -= self.weight * eligible as i64;
        self.place(servers, best);
        for &position in excluded {
            self.order.retain(|&other| other != position);
            servers[position].current -= self.weight;
            self.place(servers, position);
        }
        best
    }

    /// Puts `position` where it belongs, which mostly is the end.
    fn place(&mut self, servers: &[Server], position: usize) {
        let rank = |position: usize| (-servers[position].current, position);
        let behind = self.order.iter().rev().take_while(|&&other| rank(other) > rank(position));
        let index = self.order.len() - behind.count();
        self.order.insert(index, position);
    }
}
