//! Upgrades in simulated time: whatever goes wrong at whatever step, somebody serves, one at most
//! holds what is exclusive, and there is an end.

use std::collections::BTreeSet;

use super::*;
use crate::rng::Rng;

mod invariants;
mod world;

use world::{Fault, Luck, World};

/// The seeds of one run; a failure shows what happened.
const SEEDS: core::ops::Range<u64> = 0..400;
const FAULTS: [Fault; 5] = [
    Fault::Crash(Side::Old),
    Fault::Crash(Side::New),
    Fault::Hang(Side::Old),
    Fault::Hang(Side::New),
    Fault::Stop,
];

fn name(world: &World) -> &'static str {
    match world.outcome {
        Some(Outcome::Done) => "done",
        Some(Outcome::Refused(_)) => "refused",
        Some(Outcome::Returned(_)) => "returned",
        Some(Outcome::Partial(_)) => "partial",
        None => "none",
    }
}

#[test]
fn without_a_fault_all_of_it_is_new() {
    for seed in 0..50 {
        for parts in [BOTH, WORKER, KEEPER] {
            let mut world = World::new(seed, parts, Luck::default());
            world.run(&[]);
            assert_eq!(name(&world), "done", "{}", world.trace());
            assert!(!world.is_disturbed);
        }
    }
}

#[test]
fn a_new_worker_that_answers_with_errors_is_taken_back() {
    for seed in 0..50 {
        let mut world = World::new(seed, BOTH, Luck { is_bad: true, ..Luck::default() });
        world.run(&[]);
        assert_eq!(name(&world), "returned", "{}", world.trace());
        assert!(!world.is_disturbed, "nobody is killed for that\n{}", world.trace());
    }
}

#[test]
fn a_fault_after_any_step_leaves_somebody_to_serve() {
    for parts in [BOTH, WORKER, KEEPER] {
        let mut seen = BTreeSet::new();
        for seed in 0..6 {
            let mut world = World::new(seed, parts, Luck::default());
            world.run(&[]);
            for step in 1..=world.steps {
                for fault in FAULTS {
                    let mut world = World::new(seed, parts, Luck::default());
                    world.run(&[(step, fault)]);
                    seen.insert(name(&world));
                }
            }
        }
        let expected: &[&str] = match (parts.worker, parts.keeper) {
            (true, true) => &["done", "partial", "refused", "returned"],
            (true, false) => &["done", "partial", "refused", "returned"],
            (false, _) => &["done", "refused"],
        };
        assert!(seen.iter().eq(expected), "{seen:?}");
    }
}

#[test]
fn a_second_fault_after_the_loss_of_the_old_worker_does_no_harm() {
    let steps = |faults: &[(u32, Fault)]| {
        let mut world = World::new(7, BOTH, Luck::default());
        world.run(faults);
        world.steps
    };
    for first in 1..=steps(&[]) {
        let loss = (first, Fault::Crash(Side::Old));
        for second in first..=steps(&[loss]) {
            for fault in FAULTS {
                steps(&[loss, (second, fault)]);
            }
        }
    }
}

#[test]
fn any_mixture_of_faults_leaves_somebody_to_serve() {
    let mut seen = BTreeSet::new();
    for seed in SEEDS {
        let mut rng = Rng::seeded(seed);
        let parts = [BOTH, BOTH, WORKER, KEEPER][rng.below(4) as usize];
        let luck = Luck { fails: rng.below(8), silence: rng.below(8), is_bad: rng.below(8) == 0 };
        let mut world = World::new(seed, parts, luck);
        for _ in 0..rng.below(4) {
            let fault = FAULTS[rng.below(5) as usize];
            world.inject_after(Duration::from_millis(u64::from(rng.below(70_000))), fault);
        }
        world.run(&[]);
        seen.insert(name(&world));
    }
    assert!(seen.iter().eq(&["done", "partial", "refused", "returned"]), "{seen:?}");
}
