//! Rendezvous hashing: each server gets a score from the request's key and its own, and the best
//! score wins.
//!
//! No ring to build, and exact: a server that comes or goes moves only the keys it gains or had.
//! Linear in the servers, which is right for pools of up to some hundreds.

use alloc::vec::Vec;

use super::{Among, Candidate, Load, are_equal};

/// The share of the mean load that a server may have before keys go to their next best one, in
/// percent.
const LOAD_PERCENT_MAX: u64 = 125;

/// The hash of `bytes`: FNV-1a with 64 bits, the same on every platform and in every version, so
/// that nodes and reloads agree on who serves a key. Not for secrets, nor against attackers.
pub const fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325;
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0000_0100_0000_01B3);
        index += 1;
    }
    hash
}

#[derive(Clone, Debug, Default)]
pub(super) struct Rendezvous {
    are_equal: bool,
    /// By position, of one pick; kept for its memory.
    in_flight: Vec<u64>,
}

impl Rendezvous {
    pub(super) fn set(&mut self, candidates: &[Candidate]) {
        self.are_equal = are_equal(candidates);
    }

    pub(super) fn pick(&self, key: u64, among: Among<'_>) -> usize {
        self.best(key, among, |_| true).expect("one may be picked")
    }

    /// The best one that has at most [`LOAD_PERCENT_MAX`] of its share of the load, and one
    /// request more.
    pub(super) fn pick_bounded(
        &mut self,
        key: u64,
        among: Among<'_>,
        load: impl Fn(usize) -> Load,
    ) -> usize {
        // The figures change while other threads work: they are read once, so that they add up.
        self.in_flight.clear();
        self.in_flight.resize(among.pool.list.len(), 0);
        let (mut in_flight_all, mut weight_all) = (0, 0);
        for position in among.positions() {
            let in_flight = u64::from(load(position).in_flight);
            self.in_flight[position] = in_flight;
            in_flight_all += in_flight;
            weight_all += u64::from(among.pool.list[position].weight);
        }
        let has_room = |position: usize| {
            let weight = u128::from(among.pool.list[position].weight);
            let above_one = u128::from(self.in_flight[position].saturating_sub(1));
            let share = u128::from(LOAD_PERCENT_MAX) * u128::from(in_flight_all) * weight;
            above_one * u128::from(weight_all) * 100 <= share
        };
        self.best(key, among, has_room).expect("not all have more than the mean")
    }

    fn best(&self, key: u64, among: Among<'_>, may: impl Fn(usize) -> bool) -> Option<usize> {
        let list = &among.pool.list;
        let score = |position: usize| mix(key ^ list[position].key);
        let eligible = among.positions().filter(|&position| may(position));
        if self.are_equal {
            return eligible.max_by_key(|&position| (score(position), list[position].key));
        }
        // The key goes to the server whose weight / -log(score) is greatest: then each gets keys
        // in proportion to its weight (Schindelhauer and Schomaker, 2005).
        let scores = eligible.map(|position| (position, depth(score(position))));
        let best = scores.reduce(|best, other| {
            let ours = u128::from(best.1) * u128::from(list[other.0].weight);
            let theirs = u128::from(other.1) * u128::from(list[best.0].weight);
            if theirs < ours { other } else { best }
        });
        best.map(|(position, _)| position)
    }
}

/// Spreads every bit over all others: the finaliser of MurmurHash3.
const fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    word = (word ^ (word >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    word ^ (word >> 33)
}

/// Bits behind the point of a [`depth`].
const DEPTH_BITS: u32 = 48;

/// How far `score` lies below 2^64, as a logarithm to base 2: `64 - log2(score)` in fixed point.
///
/// Never 0, never rises with `score`; off by less than 0.2 % of itself, as linear interpolation
/// between 256 points of the logarithm is.
const fn depth(score: u64) -> u64 {
    if score == 0 {
        return 65 << DEPTH_BITS;
    }
    let zeros = score.leading_zeros();
    // The digits after the leading one, at the top of the word.
    let digits = ((score << zeros) << 1) as u128;
    let index = (digits >> 56) as usize;
    let between = (digits & ((1 << 56) - 1)) as u64;
    let (low, high) = (LOG2[index], LOG2[index + 1]);
    let log = low + (((high - low) as u128 * between as u128) >> 56) as u64;
    // Rounded away from 0, which no server may have.
    (((zeros + 1) as u64) << DEPTH_BITS) - log
}

/// `log2(1 + i / 256)` in fixed point.
const LOG2: [u64; 257] = {
    let mut table = [0; 257];
    let mut index = 0;
    while index < 256 {
        // Squaring doubles the logarithm: each time it passes 1, the next binary digit is 1.
        let mut number: u128 = (256 + index as u128) << 54;
        let mut bit = DEPTH_BITS;
        while bit > 0 {
            bit -= 1;
            number = (number * number) >> 62;
            if number >= 2 << 62 {
                number >>= 1;
                table[index] |= 1 << bit;
            }
        }
        index += 1;
    }
    table[256] = 1 << DEPTH_BITS;
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn hashes_are_those_of_the_published_vectors() {
        // draft-eastlake-fnv, appendix C
        assert_eq!(hash_bytes(b""), 0xCBF2_9CE4_8422_2325);
        assert_eq!(hash_bytes(b"a"), 0xAF63_DC4C_8601_EC8C);
        assert_eq!(hash_bytes(b"foobar"), 0x8594_4171_F739_67E8);
    }

    #[test]
    fn depth_is_the_logarithm() {
        let mut rng = Rng::seeded(1);
        let mut scores: std::vec::Vec<u64> = (0..64)
            .flat_map(|shift| [u64::MAX << shift, u64::MAX >> shift, 1 << shift])
            .chain((0..100_000).map(|_| rng.next_u64() >> rng.below(64)))
            .collect();
        scores.sort_unstable();
        for pair in scores.windows(2) {
            assert!(depth(pair[0]) >= depth(pair[1]), "{pair:?}");
            assert!(depth(pair[1]) > 0, "{pair:?}");
        }
        for score in scores.into_iter().filter(|&score| score > 0) {
            let exact = -((score as f64) / 2f64.powi(64)).log2();
            // A float cannot tell the last few scores apart.
            if exact < 1e-9 {
                continue;
            }
            let ours = depth(score) as f64 / 2f64.powi(DEPTH_BITS as i32);
            assert!((ours / exact - 1.0).abs() < 0.002, "{score:#x}: {ours} for {exact}");
        }
    }
}
