//! The corpus, replayed and mutated.

use std::panic;

use evergate_fuzz::mutator::Mutator;
use evergate_fuzz::{TARGETS, Target, corpus};

/// Mutants of each target; a second or two in a debug build.
const MUTANTS: usize = 12_000;
/// Change it to see other mutants; `evergate-fuzz` does so for as long as it runs.
const SEED: u64 = 0x6576_6572_6761_7465;

fn replay(target: Target, name: &str, input: &[u8]) {
    let run = panic::catch_unwind(|| (target.run)(input));
    assert!(run.is_ok(), "{} broke a promise on {name}: {}", target.name, input.escape_ascii());
}

#[test]
fn every_input_of_the_corpus_keeps_the_promises() {
    for target in TARGETS {
        let entries = corpus::load(target.name).unwrap();
        assert!(!entries.is_empty(), "{} has a corpus", target.name);
        for entry in entries {
            replay(target, &entry.name, &entry.bytes);
        }
    }
}

#[test]
fn every_mutant_of_the_corpus_keeps_the_promises() {
    for target in TARGETS {
        let entries = corpus::load(target.name).unwrap();
        let seeds = entries.iter().map(|entry| &entry.bytes[..]);
        let mut mutator = Mutator::new(SEED, seeds, target.words);
        for number in 0..MUTANTS {
            replay(target, &format!("mutant {number}"), &mutator.next_input());
        }
    }
}
