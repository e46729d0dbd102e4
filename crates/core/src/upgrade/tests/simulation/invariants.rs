//! What has to hold at every moment of every upgrade.

use super::world::{MESSAGE, NOTICE, PATIENCE, World};
use crate::upgrade::*;

/// Checks everything that holds at every moment.
pub(super) fn check(world: &mut World) {
    never_two_holders(world);
    somebody_holds_soon(world);
    somebody_accepts(world);
    it_ends_in_time(world);
}

/// Checks everything that holds once nothing happens any more.
pub(super) fn check_end(world: &World) {
    there_is_an_outcome(world);
    who_serves_fits_the_outcome(world);
}

/// Checks what has to be true when the machine says so.
pub(super) fn check_output(world: &World, output: &Output) {
    match output {
        Output::Execute => the_keeper_is_replaced_only_when_proved(world),
        Output::Release => the_new_worker_has_answered(world),
        Output::Retire => the_new_worker_holds(world),
        Output::Kill | Output::Dismiss => the_only_worker_is_left_alone(world),
        Output::Recall => the_new_worker_holds(world),
        Output::Check
        | Output::Spawn
        | Output::Activate
        | Output::Probe
        | Output::Acquire(_)
        | Output::Finish
        | Output::Rehearse
        | Output::End(_) => {}
    }
}

/// Two would both check servers and read what apps print.
fn never_two_holders(world: &World) {
    let holders = u8::from(world.old.holds) + u8::from(world.new.holds);
    assert!(holders <= 1, "{:?} {:?}\n{}", world.old, world.new, world.trace());
}

/// Exclusive things may be nobody's while they change hands or whoever had them has died, but not
/// for long. Where nobody is left, the ordinary respawn begins.
fn somebody_holds_soon(world: &mut World) {
    let could = [world.old, world.new].iter().any(|worker| worker.is_alive && !worker.hangs);
    let is_held = world.old.holds || world.new.holds;
    let is_over = world.outcome.is_some() && world.old.holds | world.new.holds;
    if is_held || !could || is_over {
        world.none_holds = None;
        return;
    }
    let since = *world.none_holds.get_or_insert(world.now);
    let policy = &world.policy;
    let most = policy.release_within + policy.acquire_within + NOTICE + 3 * MESSAGE;
    assert!(world.now - since <= most, "nobody holds\n{}", world.trace());
}

/// As long as nobody dies or hangs, somebody accepts at every moment, but for that of a message when
/// a new worker is taken back: to wait is better than its errors. Else somebody does soon after.
/// Where nobody is left, the ordinary respawn begins.
fn somebody_accepts(world: &mut World) {
    let could = [world.old, world.new].iter().any(|worker| worker.is_alive && !worker.hangs);
    if world.old.serves() || world.new.serves() || !could {
        world.none_accepts = None;
        return;
    }
    let since = *world.none_accepts.get_or_insert(world.now);
    let is_taken_back = matches!(world.outcome, Some(Outcome::Returned(_)));
    let most = match (world.is_disturbed, is_taken_back) {
        // Until the loss is known, and a candidate that does not take over is given up.
        (true, _) => PATIENCE + NOTICE + world.policy.load_within + 3 * MESSAGE,
        (false, true) => MESSAGE,
        (false, false) => panic!("nobody accepts\n{}", world.trace()),
    };
    assert!(world.now - since <= most, "nobody accepts\n{}", world.trace());
}

fn it_ends_in_time(world: &World) {
    let policy = &world.policy;
    let phases = [
        policy.check_within,
        policy.load_within,
        policy.activate_within,
        policy.probe_within,
        policy.release_within,
        policy.acquire_within,
        policy.soak,
        policy.release_within,
        policy.rehearse_within,
        EXECUTE_WITHIN,
    ];
    let most = phases.iter().sum::<Duration>();
    let (began, _) = world.did.first().expect("it begins with a check");
    let is_over = world.outcome.is_some();
    assert!(is_over || world.now - *began <= most, "it goes on\n{}", world.trace());
}

fn there_is_an_outcome(world: &World) {
    assert!(world.outcome.is_some(), "no outcome\n{}", world.trace());
    assert_eq!(world.outcome.as_ref(), world.upgrade.outcome());
}

fn who_serves_fits_the_outcome(world: &World) {
    let World { old, new, parts, .. } = world;
    let trace = world.trace();
    let is_primary = |worker: &super::world::Worker| worker.accepts && worker.holds;
    match world.outcome.as_ref().expect("it was just seen") {
        Outcome::Refused(_) | Outcome::Returned(_) => {
            assert!(!new.is_alive, "the new worker is still there\n{trace}");
            let is_fine = !old.is_alive || old.hangs || is_primary(old);
            assert!(is_fine, "the old worker does not serve\n{trace}");
        }
        Outcome::Done | Outcome::Partial(_) if parts.worker => {
            assert!(!old.is_alive || old.hangs, "the old worker is still there\n{trace}");
            let is_fine = !new.is_alive || new.hangs || is_primary(new);
            assert!(is_fine, "the new worker does not serve\n{trace}");
        }
        Outcome::Done | Outcome::Partial(_) => {
            let is_fine = !old.is_alive || old.hangs || is_primary(old);
            assert!(is_fine, "the worker was to stay\n{trace}");
        }
    }
}

fn the_keeper_is_replaced_only_when_proved(world: &World) {
    assert!(world.is_proved, "no rehearsal came off\n{}", world.trace());
    let at =
        |wanted: &Output| world.did.iter().find(|(_, output)| output == wanted).map(|(at, _)| *at);
    assert!(at(&Output::Rehearse).is_some(), "no rehearsal\n{}", world.trace());
    if world.parts.worker {
        let acquired = at(&Output::Acquire(Side::New)).expect("the new worker took over");
        let finished = at(&Output::Finish).expect("the old worker is to finish");
        assert!(finished - acquired >= world.policy.soak, "a short soak\n{}", world.trace());
    }
}

fn the_new_worker_has_answered(world: &World) {
    let is_probed = world.did.iter().any(|(_, output)| *output == Output::Probe);
    assert!(is_probed && world.old.holds | !world.old.is_alive, "{}", world.trace());
}

/// Nobody else would accept.
fn the_only_worker_is_left_alone(world: &World) {
    // One that is silent may have to go all the same.
    let must_stay = world.is_alone && world.new.serves() && world.luck.silence == 0;
    assert!(!must_stay, "the only worker is killed\n{}", world.trace());
}

fn the_new_worker_holds(world: &World) {
    // It may have died a moment ago.
    assert!(world.new.holds || !world.new.is_alive, "{}", world.trace());
}
