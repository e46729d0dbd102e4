//! A keeper that is interrupted at any step, and a worker that says again and again what it wants.

use std::vec::Vec;

use super::*;
use crate::rng::Rng;

/// The seeds of one run; a failure names its seed.
const SEEDS: core::ops::Range<u64> = 0..512;
/// Addresses that there are.
const ADDRESSES: u32 = 6;

/// Address to the number of sockets that share it.
type Sockets = BTreeMap<u8, u16>;

/// One thing to do, kept apart from the maps that it was found in.
#[derive(Clone, Copy, Debug)]
enum Todo {
    Add { address: u8, sockets: u16 },
    Close { address: u8 },
}

/// What the machine has open, whoever opened it.
#[derive(Debug)]
struct World {
    seed: u64,
    rng: Rng,
    /// What the keeper holds, through all its binaries.
    held: Sockets,
    /// What the worker wants; a respawned one, or the next keeper, wants the same at first.
    desired: Sockets,
    /// What somebody else has.
    foreign: Vec<u8>,
    /// What is left to do.
    todo: Vec<Todo>,
    opened: u32,
    wanted_all_along: Sockets,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            rng: Rng::seeded(seed),
            held: Sockets::new(),
            desired: Sockets::new(),
            foreign: Vec::new(),
            todo: Vec::new(),
            opened: 0,
            wanted_all_along: Sockets::new(),
        }
    }

    /// The worker, whichever it is, says what it wants; what was left to do is forgotten.
    fn hear(&mut self) {
        let steps = reconcile(&self.desired, &self.held);
        let todo = steps.into_iter().filter_map(|step| match step {
            Step::Open { key, desired } => Some(Todo::Add { address: *key, sockets: *desired }),
            Step::Keep { key, desired, actual } => match sockets_missing(*desired, *actual) {
                0 => None,
                sockets => Some(Todo::Add { address: *key, sockets }),
            },
            Step::Close { key, .. } => Some(Todo::Close { address: *key }),
        });
        self.todo = todo.collect();
        self.todo.reverse();
    }

    /// Does the next thing to do; says whether there was one.
    fn advance(&mut self) -> bool {
        let Some(todo) = self.todo.pop() else { return false };
        match todo {
            Todo::Add { address, .. } if self.foreign.contains(&address) => {}
            Todo::Add { address, sockets } => {
                *self.held.entry(address).or_default() += sockets;
                self.opened += u32::from(sockets);
                nothing_is_opened_twice(self, address);
            }
            Todo::Close { address } => {
                nothing_wanted_is_closed(self, address);
                assert!(self.held.remove(&address).is_some(), "seed {:#x}", self.seed);
            }
        }
        true
    }

    fn change(&mut self) {
        let address = self.rng.below(ADDRESSES) as u8;
        match self.rng.below(6) {
            0 | 1 => drop(self.desired.insert(address, 1 + self.rng.below(4) as u16)),
            2 => drop(self.desired.remove(&address)),
            3 if !self.held.contains_key(&address) => self.foreign.push(address),
            3 | 4 => self.foreign.clear(),
            // A worker that crashed, or a keeper that became another binary: nothing new is wanted.
            _ => {}
        }
        let desired = &self.desired;
        self.wanted_all_along.retain(|address, _| desired.contains_key(address));
        self.hear();
    }
}

/// An address never has more sockets than the most that were ever wanted of it while it was open.
fn nothing_is_opened_twice(world: &World, address: u8) {
    let (held, desired) = (world.held[&address], world.desired.get(&address));
    assert!(desired.is_some_and(|&desired| held <= desired), "seed {:#x}: {world:?}", world.seed);
}

fn nothing_wanted_is_closed(world: &World, address: u8) {
    let is_wanted = world.desired.contains_key(&address);
    assert!(!is_wanted, "seed {:#x}: {address} of {world:?}", world.seed);
}

/// What was wanted all the time since it was opened was there all the time.
fn nothing_wanted_is_missed(world: &World) {
    let is_held = |address| world.held.contains_key(address);
    assert!(world.wanted_all_along.keys().all(is_held), "seed {:#x}: {world:?}", world.seed);
}

/// Doing it all again, from wherever, ends at the same place and opens nothing.
fn again_is_nothing(world: &mut World) {
    let (held, opened) = (world.held.clone(), world.opened);
    world.hear();
    while world.advance() {}
    assert_eq!((&world.held, world.opened), (&held, opened), "seed {:#x}", world.seed);
}

#[test]
fn whatever_interrupts_it_all_that_is_wanted_is_open_once() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        for _ in 0..60 {
            world.change();
            // Each of the steps may be the last before the next interruption.
            let most = world.rng.below(5);
            for _ in 0..most {
                if !world.advance() {
                    break;
                }
                let World { held, desired, .. } = &world;
                let open = held.iter().filter(|(address, _)| desired.contains_key(address));
                world.wanted_all_along = open.map(|(address, held)| (*address, *held)).collect();
            }
            nothing_wanted_is_missed(&world);
        }
        world.foreign.clear();
        world.hear();
        while world.advance() {}
        assert!(world.held.keys().eq(world.desired.keys()), "seed {seed:#x}: {world:?}");
        let suffices = |(address, &desired): (&u8, &u16)| world.held[address] >= desired;
        assert!(world.desired.iter().all(suffices), "seed {seed:#x}: {world:?}");
        again_is_nothing(&mut world);
    }
}
