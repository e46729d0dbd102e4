//! Random fleets in a random world: children that crash, hang, exit early, ignore what they are
//! asked, leave others behind, swell, or cannot be started; operators who interfere; gateways that
//! go and come; configurations that change. What must hold at every step is in [`invariants`].
//!
//! A world is in chaos for a while, then calm: nobody interferes and every child is well-behaved.
//! In the end everything is to end. A failure prints its seed and the command that replays it.

use super::*;

mod child;
mod invariants;
mod world;

use super::carried;
use world::World;

/// The seeds of one run, unless `EVERGATE_SEEDS` says how many, or `EVERGATE_SEED` which one.
const SEEDS: u64 = 256;
/// How long the chaos lasts.
const CHAOS: Duration = Duration::from_secs(150);
/// What it takes at most until everything is ready: deploys one after another, each with runs that
/// are never ready, drained for the longest time and killed.
const CALM: Duration = Duration::from_secs(1_200);
/// What it takes at most until everything has ended: three apps in turn, each drained, asked, asked
/// again and killed.
const END: Duration = Duration::from_secs(3 * (40 + 10 + 2 + 5));

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("EVERGATE_SEEDS and EVERGATE_SEED are numbers"))
}

fn seeds() -> core::ops::Range<u64> {
    match number("EVERGATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("EVERGATE_SEEDS").unwrap_or(SEEDS),
    }
}

#[test]
fn whatever_happens_the_rules_hold_and_all_comes_up_and_ends() {
    for seed in seeds() {
        let replay = Replay(seed);
        let mut world = World::new(seed);
        world.run(CHAOS);
        if seed % 8 != 7 {
            world.calm_down();
            world.run_until("everything is ready", CALM, World::is_as_desired);
        }
        world.end();
        world.run_until("everything has ended", END, |world| world.fleet.is_empty());
        core::mem::forget(replay);
    }
}

#[test]
fn a_fleet_in_the_hands_of_many_keepers_does_what_it_does_in_those_of_one() {
    for seed in seeds().filter(|seed| seed % 4 == 0) {
        let replay = Replay(seed);
        let live = |successions| {
            let mut world = World::new(seed);
            world.successions = successions;
            world.run(CHAOS);
            world.end();
            world.run_until("everything has ended", END, |world| world.fleet.is_empty());
            world.done
        };
        assert_eq!(live(Some(Rng::seeded(!seed))), live(None));
        core::mem::forget(replay);
    }
}

#[test]
fn twenty_instances_in_a_crash_loop_stay_inside_the_budget() {
    let mut hand = Hand::new(&[app("loop", policy(20))]);
    let mut spawned: Vec<(Instant, u16)> = (0..10).map(|number| (Instant::EPOCH, number)).collect();
    let mut open: Vec<String> = (0..10).map(|number| format!("loop/{number}.1")).collect();
    let end = Instant::EPOCH + 600 * SECOND;
    while hand.now < end {
        let done: Vec<String> = match open.pop() {
            Some(which) => hand.exits(&which, 1),
            None => {
                let next = hand.fleet.deadline().expect("something is to be tried again");
                let time = next - hand.now;
                hand.wait(time)
            }
        };
        for line in done {
            let which = line.strip_prefix("spawn ").and_then(|rest| rest.strip_suffix(" of 1"));
            let which = which.expect("nothing is left to be ended");
            spawned.push((hand.now, run(which).number));
            open.push(which.to_owned());
        }
        let is_fatal = |view: &View| matches!(view.state, State::Fatal { .. });
        let all_fatal = hand.fleet.views(hand.now).iter().all(is_fatal);
        // Too often within 92 s of waiting at most; the next try comes 300 s later at the earliest.
        let seconds = hand.now.since_epoch().as_secs();
        assert!(all_fatal || !(100..340).contains(&seconds), "{}", hand.shown());
    }
    invariants::spawns_are_limited(&spawned.iter().map(|(at, _)| *at).collect::<Vec<_>>());
    for number in 0..20 {
        let own = spawned.iter().filter(|(_, other)| *other == number).count();
        assert!((10..=12).contains(&own), "loop/{number}: ten tries, and one more each cool-down");
    }
}

/// Says how to run the seed again when a test unwinds.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        let test = "whatever_happens_the_rules_hold";
        std::eprintln!(
            "seed {}: EVERGATE_SEED={} cargo test -p evergate-core {test}",
            self.0,
            self.0
        );
    }
}
