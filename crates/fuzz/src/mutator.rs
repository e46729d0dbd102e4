//! New inputs from old ones, the same for the same seed.

use evergate_core::rng::Rng;

/// Most changes to one input.
const CHANGES_MAX: usize = 6;
/// Most bytes that one change copies, moves or removes.
const RUN_BYTES_MAX: usize = 32;
/// Largest input; longer ones are cut.
const INPUT_BYTES_MAX: usize = 64 * 1024;

/// Makes inputs out of seeds and words.
#[derive(Clone, Debug)]
pub struct Mutator<'a> {
    rng: Rng,
    seeds: Vec<&'a [u8]>,
    words: &'a [&'a str],
}

impl<'a> Mutator<'a> {
    /// A mutator of at least one of `seeds`.
    pub fn new(seed: u64, seeds: impl IntoIterator<Item = &'a [u8]>, words: &'a [&'a str]) -> Self {
        let seeds: Vec<_> = seeds.into_iter().collect();
        assert!(!seeds.is_empty(), "there is something to mutate");
        Self { rng: Rng::seeded(seed), seeds, words }
    }

    /// The next input.
    pub fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.seed().to_vec();
        for _ in 0..=self.pick(CHANGES_MAX) {
            self.change(&mut input);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.pick(input.len() + 1);
        let end = (at + 1 + self.pick(RUN_BYTES_MAX)).min(input.len());
        match self.pick(8) {
            0 if at < input.len() => input[at] ^= 1 << self.pick(8),
            1 if at < input.len() => input[at] = self.byte(),
            2 => input.insert(at, self.byte()),
            3 => drop(input.drain(at..end)),
            4 => {
                let run = input[at..end].to_vec();
                let to = self.pick(input.len() + 1);
                input.splice(to..to, run);
            }
            5 => {
                // Another seed from somewhere on.
                let other = self.seed();
                input.truncate(at);
                input.extend_from_slice(&other[self.pick(other.len() + 1)..]);
            }
            6 if !self.words.is_empty() => {
                let word = self.pick(self.words.len());
                input.splice(at..at, self.words[word].bytes());
            }
            _ => input.truncate(at),
        }
    }

    /// A byte that bounds something, or any.
    fn byte(&mut self) -> u8 {
        const TELLING: &[u8] = b"\r\n\t \0\x0b\x1f\x7f\x80\xff:;,/?#%*09afAF";
        match self.pick(4) {
            0 => self.pick(256) as u8,
            _ => TELLING[self.pick(TELLING.len())],
        }
    }

    fn seed(&mut self) -> &'a [u8] {
        let at = self.pick(self.seeds.len());
        self.seeds[at]
    }

    fn pick(&mut self, len: usize) -> usize {
        self.rng.below(len as u32) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_makes_the_same_inputs() {
        let inputs = |seed| {
            let mut mutator = Mutator::new(seed, [&b"GET / HTTP/1.1"[..], b""], &["Host: "]);
            (0..100).map(|_| mutator.next_input()).collect::<Vec<_>>()
        };
        assert_eq!(inputs(7), inputs(7));
        assert_ne!(inputs(7), inputs(8));
    }
}
