//! What a node that tracks something does with the verdicts.

use std::borrow::ToOwned;
use std::vec;

use super::*;
use crate::track::{Effect, FLAPS_MAX, QUIET_LEAST};

fn pool() -> Subject {
    Subject::Pool("api".to_owned())
}

fn rule(effect: Effect) -> Rule {
    Rule { subject: pool(), effect, fall: Duration::ZERO, rise: Duration::from_secs(1) }
}

fn tracking(effect: Effect) -> Plan {
    let mut plan = plan();
    plan.routers[0].track = vec![rule(effect)];
    plan
}

fn say(standby: &mut Standby, now: Instant, failure: Option<&str>) {
    let failure = failure.map(ToOwned::to_owned);
    standby.handle(now, Input::Verdict { subject: pool(), failure });
}

/// Does what is due until `until`.
fn run(standby: &mut Standby, until: Instant) {
    while let Some(at) = standby.deadline().filter(|at| *at <= until) {
        standby.handle(at, Input::Tick);
        drain(standby);
    }
}

fn role(standby: &Standby) -> Role {
    standby.views()[0].role
}

#[test]
fn a_node_that_has_not_heard_of_what_it_tracks_claims_nothing() {
    let mut standby = node(tracking(Effect::Fault));
    ready(&mut standby, at(0));
    run(&mut standby, at(10_000));
    assert_eq!(role(&standby), Role::Init);
    say(&mut standby, at(10_000), None);
    run(&mut standby, at(11_000));
    assert_eq!(role(&standby), Role::Master);
}

#[test]
fn a_master_keeps_its_addresses_while_something_new_is_not_judged_yet() {
    let mut standby = node(plan());
    ready(&mut standby, at(0));
    run(&mut standby, at(1_000));
    assert_eq!(role(&standby), Role::Master);
    standby.apply(at(1_000), tracking(Effect::Fault));
    run(&mut standby, at(2_000));
    assert_eq!(role(&standby), Role::Master);
    let shown = standby.tracked(KEY);
    assert_eq!(shown, [(pool(), Some("nothing is known of it yet".to_owned()))]);
    say(&mut standby, at(2_000), Some("no server is up"));
    assert_eq!(role(&standby), Role::Fault);
    assert_eq!(standby.views()[0].failures, ["pool.api: no server is up"]);
    // Given up, and not to be claimed again before it was well for `rise`.
    run(&mut standby, at(3_000));
    say(&mut standby, at(3_000), None);
    run(&mut standby, at(3_900));
    assert_eq!(role(&standby), Role::Fault);
    run(&mut standby, at(5_000));
    assert_eq!(role(&standby), Role::Master);
}

#[test]
fn what_others_track_already_is_known_at_once() {
    let mut standby = node(tracking(Effect::Fault));
    say(&mut standby, at(0), None);
    let mut plan = tracking(Effect::Fault);
    let other = RouterKey(52);
    plan.routers.push(Setup { track: vec![rule(Effect::Fault)], ..setup(other, "other") });
    standby.apply(at(0), plan);
    assert_eq!(standby.tracked(other), [(pool(), None)]);
}

#[test]
fn a_node_on_which_something_flaps_is_the_last_resort() {
    let mut standby = node(tracking(Effect::Fault));
    ready(&mut standby, at(0));
    say(&mut standby, at(0), None);
    run(&mut standby, at(1_000));
    assert_eq!(standby.views()[0].priority, 254);
    let mut now = at(1_000);
    for _ in 0..FLAPS_MAX {
        say(&mut standby, now, Some("no server is up"));
        assert_eq!(role(&standby), Role::Fault);
        say(&mut standby, now + Duration::from_millis(500), None);
        now = now + Duration::from_secs(3);
        run(&mut standby, now);
    }
    assert_eq!((role(&standby), standby.views()[0].priority), (Role::Master, 1));
    run(&mut standby, now + QUIET_LEAST);
    assert_eq!((role(&standby), standby.views()[0].priority), (Role::Master, 254));
}
