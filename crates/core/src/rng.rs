//! Chance as the cores see it: a seeded sequence, so that every choice can be replayed.

use minicbor::decode::{self, Decoder};
use minicbor::{Decode, Encode};

/// A small, fast generator (xorshift64*, Vigna 2016). Not for secrets.
#[derive(Clone, Debug, Encode)]
#[cbor(transparent)]
pub struct Rng(#[n(0)] u64);

impl Rng {
    /// A generator that always yields the same sequence for the same seed.
    pub const fn seeded(seed: u64) -> Self {
        // Zero is the one state that xorshift never leaves.
        let mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        Self(if mixed == 0 { 0x9E37_79B9_7F4A_7C15 } else { mixed })
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number in `0..bound`; 0 if `bound` is 0. The bias is below `bound / 2^32`.
    pub const fn below(&mut self, bound: u32) -> u32 {
        (((self.next_u64() >> 32) * bound as u64) >> 32) as u32
    }

    /// A number in `0.0..1.0`.
    pub const fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl<'b, C> Decode<'b, C> for Rng {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        match d.u64()? {
            0 => Err(decode::Error::message("chance got stuck")),
            state => Ok(Self(state)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_below_the_bound_comes_up() {
        let mut rng = Rng::seeded(7);
        let mut seen = [0u32; 5];
        for _ in 0..5_000 {
            seen[rng.below(5) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn a_sequence_goes_on_after_it_was_written_down() {
        let mut rng = Rng::seeded(7);
        rng.next_u64();
        let mut again: Rng = minicbor::decode(&minicbor::to_vec(&rng).unwrap()).unwrap();
        assert_eq!(again.next_u64(), rng.next_u64());
        assert!(minicbor::decode::<Rng>(&[0]).is_err(), "that one never leaves zero");
    }

    #[test]
    fn no_seed_gets_stuck() {
        for seed in [0, 1, u64::MAX, 0u64.wrapping_sub(0x9E37_79B9_7F4A_7C15)] {
            let mut rng = Rng::seeded(seed);
            assert_ne!(rng.next_u64(), rng.next_u64(), "seed {seed:#x}");
        }
    }
}
