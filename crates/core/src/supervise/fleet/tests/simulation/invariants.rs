//! What must hold at every step.

use super::world::World;
use super::*;

pub(super) fn all(world: &World) {
    each_generation_is_shown_once_and_in_order(world);
    one_run_fills_an_instance_or_two_in_a_deploy(world);
    what_is_ready_said_so_and_is_there(world);
    what_ended_is_forgotten(world);
    everything_there_is_known(world);
    what_is_due_was_done(world);
    an_app_ends_after_those_behind_it(world);
    spawns_are_limited(&world.spawned);
}

fn each_generation_is_shown_once_and_in_order(world: &World) {
    let runs: Vec<&Run> = world.shown.iter().map(|view| &view.run).collect();
    assert!(runs.is_sorted_by(|a, b| a < b), "{runs:?}");
}

fn is_filling(view: &View) -> bool {
    matches!(view.state, State::Starting | State::Ready | State::Unhealthy)
}

fn one_run_fills_an_instance_or_two_in_a_deploy(world: &World) {
    for view in world.shown.iter().filter(|view| is_filling(view)) {
        let is_same =
            |other: &&View| (&other.run.app, other.run.number) == (&view.run.app, view.run.number);
        let filling = world.shown.iter().filter(is_same).filter(|other| is_filling(other)).count();
        let most = 1 + usize::from(world.rolling.contains(&view.run.app));
        assert!(filling <= most, "{filling} runs: {}", listed(&world.shown));
        let is_main = |run: &&Run| world.children.get(run).is_some_and(|child| child.has_main);
        let is_stuck = |view: &View| view.state == State::Stuck;
        let same = world.shown.iter().filter(is_same).filter(|other| !is_stuck(other));
        let mains = same.map(|other| &other.run).filter(is_main).count();
        assert!(mains <= 2, "{mains} processes: {}", listed(&world.shown));
    }
}

fn what_is_ready_said_so_and_is_there(world: &World) {
    for view in world.shown.iter().filter(|view| view.state == State::Ready) {
        let child = &world.children[&view.run];
        assert!(child.has_main, "{view:?} has exited");
        let lasts = world.now - child.started_at;
        assert!(child.said_ready || lasts >= SECOND, "{view:?} never said so");
    }
}

fn what_ended_is_forgotten(world: &World) {
    for view in &world.shown {
        let is_there = match view.state {
            State::Starting
            | State::Ready
            | State::Unhealthy
            | State::Draining { .. }
            | State::Stopping
            | State::Stuck => true,
            State::Waiting | State::Backoff { .. } | State::Fatal { .. } | State::Stopped => false,
        };
        let child = world.children.get(&view.run);
        assert!(!is_there || child.is_some(), "{view:?} has ended");
    }
}

fn everything_there_is_known(world: &World) {
    for (run, child) in &world.children {
        let is_shown = world.shown.iter().any(|view| view.run == *run);
        assert!(is_shown || child.is_killed, "nobody knows of {run:?}, {child:?}");
    }
}

fn what_is_due_was_done(world: &World) {
    let deadline = world.fleet.deadline();
    assert!(deadline.is_none_or(|at| at >= world.now), "{deadline:?} is past");
}

fn an_app_ends_after_those_behind_it(world: &World) {
    if !world.ends_in_order {
        return;
    }
    let leaves = |view: &&View| matches!(view.state, State::Draining { .. } | State::Stopping);
    for view in world.shown.iter().filter(leaves) {
        let behind: &[&str] = match view.run.app.as_str() {
            "db" => &["api", "hen"],
            "api" => &["hen"],
            _ => &[],
        };
        let is_behind = |other: &&View| behind.contains(&other.run.app.as_str());
        let is_desired = |name: &str| world.policy(name).is_some();
        let mut others = world.shown.iter().filter(is_behind);
        let is_chained = is_desired("api") || view.run.app == "api";
        let is_over = |state| matches!(state, State::Stopped | State::Stuck);
        assert!(
            others.all(|other| is_over(other.state) || (other.run.app == "hen" && !is_chained)),
            "{}",
            listed(&world.shown)
        );
    }
}

/// At most a burst of 10 and 5 a second, in any stretch of time.
pub(super) fn spawns_are_limited(spawned: &[Instant]) {
    let Some(&last) = spawned.last() else { return };
    for (index, &first) in spawned.iter().enumerate().rev().take(100) {
        let count = spawned.len() - index;
        let allowed = 10.0 + 5.0 * (last - first).as_secs_f64();
        assert!(count as f64 <= allowed + 1e-6, "{count} starts in {:?}", last - first);
    }
}

/// The end of a run that was to end leaves the count of failures as it was. (In a deploy it may
/// bring the other berth forward, which has a count of its own.)
pub(super) fn a_planned_exit_spends_nothing(world: &World, run: &Run, was_rolling: bool) {
    let is_leaving = |view: &&View| {
        view.run == *run
            && matches!(view.state, State::Draining { .. } | State::Stopping | State::Stuck)
    };
    let Some(before) = world.shown.iter().find(is_leaving) else { return };
    let is_same = |view: &&View| (&view.run.app, view.run.number) == (&run.app, run.number);
    if let Some(after) = world.fleet.views(world.now).iter().find(is_same) {
        assert!(was_rolling || after.failures <= before.failures, "{before:?} became {after:?}");
        assert_eq!(after.exits, before.exits, "{before:?} became {after:?}");
    }
}

/// Only what is there is asked or killed, what serves is drained first, and what starts is new.
pub(super) fn what_is_to_be_done_makes_sense(world: &World, output: &Output) {
    match output {
        Output::Spawn { run, .. } => {
            let later = |other: &&Run| {
                (&other.app, other.number) == (&run.app, run.number)
                    && other.generation >= run.generation
            };
            assert_eq!(world.children.keys().find(later), None, "{run:?} is not new");
        }
        Output::Ask(run) => {
            assert!(world.children[run].has_main, "{run:?} has exited");
            let before = world.before.iter().find(|view| view.run == *run);
            let served = before.is_some_and(|view| view.state == State::Ready);
            assert!(!served || !world.has_gateway, "{run:?} was not drained");
        }
        Output::AskTree(run) | Output::Kill(run) => {
            assert!(world.children.contains_key(run), "{run:?} is gone");
        }
        Output::Tell(_) => {}
    }
}
