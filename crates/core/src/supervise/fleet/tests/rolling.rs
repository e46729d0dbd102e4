//! Deploys, as the fleet carries them out.

use super::*;
use crate::deploy::OnFailure;

const NOTHING: [&str; 0] = [];

fn rolled(name: &str, policy: Policy, revision: u32) -> Input {
    Input::Desired(vec![App { revision: Revision(revision), ..app(name, policy) }])
}

/// Two instances of "shop" that are ready.
fn shop(policy: Policy) -> Hand {
    let mut hand = Hand::new(&[app("shop", policy)]);
    hand.ready("shop/0.1");
    hand.ready("shop/1.1");
    hand
}

fn phase(hand: &Hand) -> Phase {
    hand.fleet.deploys(hand.now)[0].phase
}

#[test]
fn a_new_revision_is_rolled_out_beside_the_old_one() {
    let mut hand = shop(policy(2));
    assert_eq!(hand.say(rolled("shop", policy(2), 2)), ["spawn shop/0.2 of 2"]);
    assert_eq!(hand.shown(), "shop/0.1 Ready, shop/0.2 Starting, shop/1.1 Ready");
    hand.ready("shop/0.2");
    assert_eq!(hand.shown(), "shop/0.1 Draining, shop/0.2 Ready, shop/1.1 Ready");
    hand.say(Input::Idle(run("shop/0.1")));
    assert_eq!(hand.exits("shop/0.1", 0), ["spawn shop/1.2 of 2"]);
    hand.ready("shop/1.2");
    hand.say(Input::Idle(run("shop/1.1")));
    assert_eq!(phase(&hand), Phase::Rolling);
    assert_eq!(hand.exits("shop/1.1", 0), NOTHING);
    assert_eq!(
        (phase(&hand), hand.shown().as_str()),
        (Phase::Done, "shop/0.2 Ready, shop/1.2 Ready")
    );
    assert_eq!(hand.say(rolled("shop", policy(2), 2)), NOTHING);
    assert_eq!(hand.fleet.revisions_in_use("shop"), [Revision(2)]);
}

#[test]
fn in_place_the_old_one_goes_first() {
    let mut in_place = policy(2);
    (in_place.deploy.surge, in_place.deploy.unavailable) = (0, 1);
    let mut hand = shop(in_place.clone());
    assert_eq!(hand.say(rolled("shop", in_place, 2)), NOTHING);
    assert_eq!(hand.say(Input::Idle(run("shop/0.1"))), ["ask shop/0.1"]);
    assert_eq!(hand.exits("shop/0.1", 0), ["spawn shop/0.2 of 2"]);
    assert_eq!(hand.exits("shop/0.2", 1), ["spawn shop/0.3 of 1"], "the old one comes back");
    assert_eq!(phase(&hand), Phase::Reverting);
    hand.ready("shop/0.3");
    assert_eq!(
        (phase(&hand), hand.shown().as_str()),
        (Phase::Failed, "shop/0.3 Ready, shop/1.1 Ready")
    );
}

#[test]
fn a_new_run_that_fails_leaves_the_old_ones_alone() {
    let mut hand = shop(policy(2));
    hand.say(rolled("shop", policy(2), 2));
    let told = hand.told(exit("shop/0.2", Exit::Status(1), false));
    assert_eq!(told[0], "app_exited shop/0: exit status 1; what follows is up to the deploy");
    assert!(told[1].starts_with("deploy_failed shop: the configuration changed 1: "), "{told:?}");
    assert_eq!(hand.shown(), "shop/0.1 Ready, shop/1.1 Ready");
    assert_eq!(hand.view("shop/0.1").failures, 0, "what failed was not it");
    assert_eq!(hand.wait(3600 * SECOND), NOTHING);
    assert_eq!(hand.say(rolled("shop", policy(2), 2)), NOTHING, "it was tried");
    assert_eq!(
        hand.wish("shop", Verb::Roll(Revision(3))),
        Ok(vec!["spawn shop/0.3 of 3".to_string()])
    );
}

#[test]
fn an_old_run_that_crashes_meanwhile_comes_back_as_it_was() {
    let mut hand = shop(policy(2));
    hand.say(rolled("shop", policy(2), 2));
    hand.exits("shop/1.1", 1);
    hand.exits("shop/0.1", 1);
    assert_eq!(phase(&hand), Phase::Rolling);
    let mut again = hand.wait(250 * MS);
    again.sort();
    assert_eq!(again, ["spawn shop/0.3 of 1", "spawn shop/1.2 of 1"]);
}

#[test]
fn a_settled_run_that_crashes_is_told_to_the_deploy() {
    let mut policy = policy(2);
    policy.deploy.on_failure = OnFailure::Rollback;
    let mut hand = shop(policy.clone());
    hand.say(rolled("shop", policy, 2));
    hand.ready("shop/0.2");
    hand.say(Input::Idle(run("shop/0.1")));
    hand.exits("shop/0.1", 0);
    hand.exits("shop/0.2", 1);
    assert_eq!(phase(&hand), Phase::Reverting);
}

#[test]
fn without_a_gateway_a_deploy_waits() {
    let mut hand = shop(policy(2));
    hand.say(Input::Gateway(false));
    assert_eq!(hand.say(rolled("shop", policy(2), 2)), NOTHING);
    assert_eq!(hand.say(Input::Gateway(true)), ["spawn shop/0.2 of 2"]);
    hand.say(Input::Gateway(false));
    assert_eq!(phase(&hand), Phase::Paused);
    hand.ready("shop/0.2");
    assert_eq!(hand.shown(), "shop/0.1 Ready, shop/0.2 Ready, shop/1.1 Ready");
    hand.say(Input::Gateway(true));
    assert_eq!(hand.shown(), "shop/0.1 Draining, shop/0.2 Ready, shop/1.1 Ready");
}

#[test]
fn what_is_asked_for_during_a_deploy_waits_for_its_end() {
    let mut hand = shop(policy(2));
    hand.say(rolled("shop", policy(2), 2));
    assert_eq!(hand.say(rolled("shop", policy(2), 3)), NOTHING);
    assert!(hand.wish("shop", Verb::Roll(Revision(4))).is_err(), "a deploy is under way");
    assert_eq!(hand.wish("shop", Verb::Abort), Ok(vec!["ask shop/0.2".to_string()]));
    assert_eq!(hand.exits("shop/0.2", 0), ["spawn shop/0.3 of 3"]);
    assert_eq!(hand.fleet.revisions_in_use("shop"), [Revision(1), Revision(3)]);
}

#[test]
fn a_restart_of_one_instance_touches_no_other() {
    let mut hand = shop(policy(2));
    let started = hand.wish("shop/1", Verb::Roll(Revision(1)));
    assert_eq!(started, Ok(vec!["spawn shop/1.2 of 1".to_string()]));
    hand.ready("shop/1.2");
    hand.say(Input::Idle(run("shop/1.1")));
    hand.exits("shop/1.1", 0);
    assert_eq!(
        (phase(&hand), hand.shown().as_str()),
        (Phase::Done, "shop/0.1 Ready, shop/1.2 Ready")
    );
    assert_eq!(hand.fleet.deploys(hand.now)[0].cause, "restart");
}

#[test]
fn a_stopped_instance_is_none_of_a_deploys_business_and_gets_the_new_revision_later() {
    let mut hand = shop(policy(2));
    hand.say(rolled("shop", policy(2), 2));
    hand.wish("shop/0", Verb::Stop).expect("it runs");
    assert_eq!(
        hand.shown(),
        "shop/0.1 Draining, shop/0.2 Stopping, shop/1.1 Ready, shop/1.2 Starting"
    );
    hand.ready("shop/1.2");
    for (which, status) in [("shop/0.1", 0), ("shop/0.2", 0), ("shop/1.1", 0)] {
        hand.say(Input::Idle(run(which)));
        hand.exits(which, status);
    }
    assert_eq!(
        (phase(&hand), hand.shown().as_str()),
        (Phase::Done, "shop/0.2 Stopped, shop/1.2 Ready")
    );
    assert_eq!(hand.wish("shop/0", Verb::Start), Ok(vec!["spawn shop/0.3 of 2".to_string()]));
}

#[test]
fn instances_that_came_during_a_deploy_are_rolled_after_it() {
    let mut hand = Hand::new(&[app("shop", policy(1))]);
    hand.ready("shop/0.1");
    hand.say(rolled("shop", policy(1), 2));
    assert_eq!(hand.say(rolled("shop", policy(2), 2)), ["spawn shop/1.1 of 1"]);
    hand.ready("shop/0.2");
    hand.say(Input::Idle(run("shop/0.1")));
    assert_eq!(hand.exits("shop/0.1", 0), ["spawn shop/1.2 of 2"]);
}

#[test]
fn an_app_that_goes_takes_its_deploy_with_it() {
    let mut hand = shop(policy(2));
    hand.say(rolled("shop", policy(2), 2));
    hand.say(Input::Desired(vec![]));
    assert_eq!(hand.shown(), "shop/0.1 Draining, shop/0.2 Stopping, shop/1.1 Draining");
    hand.say(Input::Hurry);
    for which in ["shop/0.1", "shop/0.2", "shop/1.1"] {
        hand.say(exit(which, Exit::Signal(9), false));
    }
    assert_eq!((hand.shown().as_str(), hand.fleet.deadline()), ("", None));
}

#[test]
fn a_deploy_of_a_stopped_app_counts_at_its_next_start() {
    let mut hand = Hand::new(&[app("shop", policy(1))]);
    hand.wish("shop", Verb::Stop).expect("it starts");
    hand.exits("shop/0.1", 0);
    assert!(hand.wish("shop", Verb::Roll(Revision(1))).is_err(), "there is nothing to restart");
    assert_eq!(hand.wish("shop", Verb::Roll(Revision(2))), Ok(vec![]));
    assert_eq!(hand.wish("shop", Verb::Start), Ok(vec!["spawn shop/0.2 of 2".to_string()]));
}

#[test]
fn a_new_run_that_is_killed_is_awaited_before_the_deploy_goes_on() {
    let mut hand = shop(policy(2));
    hand.say(rolled("shop", policy(2), 2));
    assert_eq!(hand.wait(30 * SECOND), ["kill shop/0.2"]);
    assert_eq!(phase(&hand), Phase::Reverting);
    hand.say(exit("shop/0.2", Exit::Signal(9), false));
    assert_eq!(phase(&hand), Phase::Failed);
}

#[test]
fn a_start_after_a_stop_in_a_deploy_waits_for_both_runs() {
    let mut hand = shop(policy(2));
    hand.say(rolled("shop", policy(2), 2));
    hand.exits("shop/0.1", 1);
    hand.wish("shop/0", Verb::Stop).expect("it runs");
    assert_eq!(hand.wish("shop/0", Verb::Start), Ok(vec![]), "the new run is still there");
    assert_eq!(hand.exits("shop/0.2", 0), ["spawn shop/0.3 of 1"]);
}

#[test]
fn a_configuration_that_says_what_an_operator_deployed_rolls_nothing() {
    let mut hand = Hand::new(&[app("shop", policy(1))]);
    hand.ready("shop/0.1");
    hand.wish("shop", Verb::Roll(Revision(2))).expect("it runs");
    assert_eq!(hand.exits("shop/0.2", 1), NOTHING);
    assert_eq!(hand.say(rolled("shop", policy(1), 2)), NOTHING, "it was tried");
    assert_eq!(hand.say(rolled("shop", policy(1), 3)), ["spawn shop/0.3 of 3"]);
}

#[test]
fn an_app_that_comes_back_while_it_ends_starts_as_it_is_wanted_now() {
    let mut hand = Hand::new(&[app("shop", policy(1))]);
    hand.ready("shop/0.1");
    hand.say(Input::Desired(vec![]));
    assert_eq!(hand.say(rolled("shop", policy(1), 2)), NOTHING);
    hand.say(Input::Idle(run("shop/0.1")));
    assert_eq!(hand.exits("shop/0.1", 0), ["spawn shop/0.2 of 2"]);
    assert_eq!(hand.fleet.deploys(hand.now), [], "there is nothing to roll");
}
