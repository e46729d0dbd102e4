//! What an instance goes by: budgets, policies, order, limits, illness.

use super::*;
use crate::supervise::policy::{Alive, MemoryWatch};

const NOTHING: [&str; 0] = [];

fn alive_fails(which: &str) -> Input {
    let failure = Some("no answer within 1 s".to_owned());
    Input::Probed { run: run(which), probe: Probe::Alive, failure }
}

#[test]
fn ten_failures_are_too_many_and_one_more_try_follows_each_cooldown() {
    let mut hand = Hand::new(&[app("shop", policy(1))]);
    for generation in 1..=10 {
        hand.exits(&format!("shop/0.{generation}"), 1);
        if generation < 10 {
            hand.wait(30 * SECOND);
        }
    }
    assert_eq!(hand.view("shop/0.10").state, State::Fatal { left: Some(300 * SECOND) });
    assert_eq!(
        hand.view("shop/0.10").reason.as_deref(),
        Some("10 failures within 10 min, the last one: exit status 1")
    );
    assert_eq!(hand.wait(299 * SECOND), NOTHING);
    assert_eq!(hand.wait(SECOND), ["spawn shop/0.11 of 1"]);
    hand.exits("shop/0.11", 1);
    assert_eq!(hand.wait(300 * SECOND), ["spawn shop/0.12 of 1"]);
    hand.ready("shop/0.12");
    hand.wait(60 * SECOND);
    assert_eq!(hand.exits("shop/0.12", 1), ["spawn shop/0.13 of 1"], "it was stable");
    assert_eq!(hand.view("shop/0.13").failures, 1, "and that cleared the others");
}

#[test]
fn what_follows_an_exit_is_the_policys_to_say() {
    let (always, on_failure, never) = (Restart::Always, Restart::OnFailure, Restart::Never);
    let table = [
        (always, Exit::Status(0), "Backoff"),
        (always, Exit::Signal(9), "Backoff"),
        (always, Exit::Status(78), "Fatal"),
        (always, Exit::Status(125), "Fatal"),
        (on_failure, Exit::Status(0), "Stopped"),
        (on_failure, Exit::Status(1), "Backoff"),
        (on_failure, Exit::OutOfMemory, "Backoff"),
        (never, Exit::Status(0), "Stopped"),
        (never, Exit::Status(1), "Stopped"),
        (never, Exit::Status(78), "Stopped"),
    ];
    for (restart, how, expected) in table {
        let mut hand = Hand::new(&[app("shop", Policy { restart, ..policy(1) })]);
        hand.ready("shop/0.1");
        assert_eq!(hand.say(exit("shop/0.1", how, false)), NOTHING);
        assert_eq!(hand.shown(), format!("shop/0.1 {expected}"), "{restart:?} {how:?}");
    }
}

#[test]
fn what_will_not_get_better_is_tried_again_when_it_is_changed_or_started() {
    let mut hand = Hand::new(&[app("shop", policy(1))]);
    hand.exits("shop/0.1", 125);
    assert_eq!(hand.wait(7200 * SECOND), NOTHING);
    assert_eq!(hand.wish("shop", Verb::Start), Ok(vec!["spawn shop/0.2 of 1".to_string()]));
    let fault = SpawnFault::Lasting;
    hand.say(Input::SpawnFailed { run: run("shop/0.2"), fault, why: "no such program".to_owned() });
    assert_eq!(hand.view("shop/0.2").state, State::Fatal { left: None });
    assert_eq!(hand.say(Input::Desired(vec![app("shop", policy(1))])), NOTHING);
    let mut changed = policy(1);
    changed.backoff.cap = SECOND;
    assert_eq!(hand.say(Input::Desired(vec![app("shop", changed)])), ["spawn shop/0.3 of 1"]);
}

#[test]
fn what_nobody_is_to_blame_for_is_never_too_much() {
    let mut hand = Hand::new(&[app("shop", policy(1))]);
    for generation in 1..=30 {
        let which = format!("shop/0.{generation}");
        match generation % 2 {
            0 => hand.say(exit(&which, Exit::Blameless, false)),
            _ => hand.say(Input::SpawnFailed {
                run: run(&which),
                fault: SpawnFault::Passing,
                why: "no port is free".to_owned(),
            }),
        };
        hand.wait(30 * SECOND);
    }
    let view = hand.view("shop/0.31");
    assert_eq!((view.state, view.failures, view.exits), (State::Starting, 0, 30));
}

#[test]
fn a_run_that_is_not_ready_in_time_is_killed_and_counts() {
    let probed = Ready { by: ReadyBy::Probes { rise: 1 }, within: 30 * SECOND };
    let mut hand = Hand::new(&[app("shop", Policy { ready: probed, ..policy(1) })]);
    let failure = Some("connection refused".to_owned());
    hand.say(Input::Probed { run: run("shop/0.1"), probe: Probe::Ready, failure });
    assert_eq!(hand.view("shop/0.1").reason.as_deref(), Some("connection refused"));
    assert_eq!(hand.wait(30 * SECOND), ["kill shop/0.1"]);
    assert_eq!(hand.shown(), "shop/0.1 Backoff");
    assert_eq!(hand.wait(SECOND), NOTHING, "its process is still there");
    let next = hand.say(exit("shop/0.1", Exit::Signal(9), false));
    assert_eq!(next, ["spawn shop/0.2 of 1"]);
    let view = hand.view("shop/0.2");
    assert_eq!(view.last_exit.as_deref(), Some("not ready within 30 s: connection refused"));
    assert_eq!((view.failures, view.exits), (1, 1), "once, not for the exit as well");
}

#[test]
fn what_a_crash_leaves_behind_is_killed_and_keeps_nobody_waiting() {
    let mut hand = Hand::new(&[app("shop", policy(1))]);
    assert_eq!(hand.say(exit("shop/0.1", Exit::Signal(11), true)), ["kill shop/0.1"]);
    assert_eq!(hand.wait(250 * MS), ["spawn shop/0.2 of 1"]);
    assert_eq!(hand.shown(), "shop/0.1 Stopping, shop/0.2 Starting");
    hand.wait(5 * SECOND);
    assert_eq!(hand.shown(), "shop/0.1 Stuck, shop/0.2 Starting");
    hand.say(Input::Emptied(run("shop/0.1")));
    assert_eq!(hand.shown(), "shop/0.2 Starting");
}

#[test]
fn what_a_planned_exit_leaves_behind_is_asked_first() {
    let mut hand = Hand::new(&[app("shop", policy(1))]);
    assert_eq!(hand.wish("shop", Verb::Stop), Ok(vec!["ask shop/0.1".to_string()]));
    assert_eq!(hand.say(exit("shop/0.1", Exit::Status(0), true)), ["ask all of shop/0.1"]);
    assert_eq!(hand.wait(2 * SECOND), ["kill shop/0.1"]);
    let told = hand.told(Input::Emptied(run("shop/0.1")));
    assert_eq!(told, ["app_stopped shop/0: by an operator"]);
}

#[test]
fn hung_runs_are_replaced_one_at_a_time_while_another_is_ready() {
    let alive = Some(Alive { fall: 1, restart_after: Some(10 * SECOND) });
    let mut hand = Hand::new(&[app("shop", Policy { alive, ..policy(3) })]);
    for number in 0..3 {
        hand.ready(&format!("shop/{number}.1"));
    }
    for number in 0..3 {
        hand.say(alive_fails(&format!("shop/{number}.1")));
    }
    assert_eq!(hand.shown(), "shop/0.1 Unhealthy, shop/1.1 Unhealthy, shop/2.1 Unhealthy");
    hand.wait(60 * SECOND);
    assert_eq!(hand.shown(), "shop/0.1 Unhealthy, shop/1.1 Unhealthy, shop/2.1 Unhealthy");
    hand.say(Input::Probed { run: run("shop/1.1"), probe: Probe::Alive, failure: None });
    assert_eq!(hand.shown(), "shop/0.1 Draining, shop/1.1 Ready, shop/2.1 Unhealthy");
    hand.say(Input::Idle(run("shop/0.1")));
    assert_eq!(hand.exits("shop/0.1", 0), ["spawn shop/0.2 of 1"]);
    assert_eq!(hand.shown(), "shop/0.2 Starting, shop/1.1 Ready, shop/2.1 Unhealthy");
    hand.ready("shop/0.2");
    assert_eq!(hand.shown(), "shop/0.2 Ready, shop/1.1 Ready, shop/2.1 Draining");
    assert_eq!(hand.view("shop/0.2").failures, 0, "that was not its fault");
}

#[test]
fn a_run_that_swells_is_drained_and_replaced() {
    let memory = Some(MemoryWatch { rss: 256 << 20, over: 60 * SECOND });
    let mut hand = Hand::new(&[app("shop", Policy { memory, ..policy(1) })]);
    hand.ready("shop/0.1");
    let measured = |mib: u64| Input::Measured { run: run("shop/0.1"), rss: mib << 20 };
    hand.say(measured(300));
    hand.wait(59 * SECOND);
    assert_eq!(hand.shown(), "shop/0.1 Ready");
    hand.now = hand.now + SECOND;
    let told = hand.told(measured(312));
    assert_eq!(told, ["app_memory shop/0: uses 312 MiB; it is drained and replaced"]);
    assert_eq!(hand.shown(), "shop/0.1 Draining");
}

#[test]
fn apps_wait_until_those_before_them_were_ready_once() {
    let behind = Policy { after: vec!["db".to_owned(), "nobody".to_owned()], ..policy(1) };
    let mut hand = Hand::new(&[app("db", policy(2)), app("web", behind)]);
    hand.ready("db/0.1");
    assert_eq!(hand.exits("db/0.1", 1), NOTHING);
    assert_eq!(hand.ready("db/1.1"), ["spawn web/0.1 of 1"], "every one was ready once");
    hand.ready("web/0.1");
    hand.exits("db/1.1", 1);
    assert!(hand.shown().ends_with("web/0.1 Ready"), "{}", hand.shown());
    hand.exits("web/0.1", 1);
    hand.wait(250 * MS);
    assert!(hand.shown().ends_with("web/0.2 Starting"), "{}", hand.shown());
}

#[test]
fn a_job_that_ends_well_lets_the_next_app_start() {
    let migrate = Policy { restart: Restart::Never, ..policy(1) };
    let behind = Policy { after: vec!["migrate".to_owned()], ..policy(1) };
    let apps = [app("migrate", migrate), app("web", behind)];
    let mut hand = Hand::new(&apps);
    assert_eq!(hand.exits("migrate/0.1", 0), ["spawn web/0.1 of 1"]);
    let mut hand = Hand::new(&apps);
    assert_eq!(hand.exits("migrate/0.1", 1), NOTHING);
    assert_eq!(hand.shown(), "migrate/0.1 Stopped, web/0.0 Waiting");
}

#[test]
fn another_policy_restarts_nothing_and_another_number_touches_no_other() {
    let mut hand = Hand::new(&[app("shop", policy(2))]);
    hand.ready("shop/0.1");
    hand.ready("shop/1.1");
    let mut other = policy(3);
    (other.stop.timeout, other.backoff.base) = (SECOND, SECOND);
    assert_eq!(hand.say(Input::Desired(vec![app("shop", other)])), ["spawn shop/2.1 of 1"]);
    hand.say(Input::Desired(vec![app("shop", policy(1))]));
    assert_eq!(hand.shown(), "shop/0.1 Ready, shop/1.1 Draining, shop/2.1 Stopping");
    hand.say(Input::Desired(vec![app("shop", policy(2))]));
    hand.say(Input::Idle(run("shop/1.1")));
    assert_eq!(hand.exits("shop/1.1", 0), ["spawn shop/1.2 of 1"]);
    hand.exits("shop/2.1", 0);
    assert_eq!(hand.shown(), "shop/0.1 Ready, shop/1.2 Starting");
}

#[test]
fn the_limit_on_starts_is_told_at_most_once_a_minute() {
    let mut hand = Hand { fleet: Fleet::new(Rng::seeded(1)), now: Instant::EPOCH };
    let told = hand.told(Input::Desired(vec![app("shop", policy(14))]));
    let reason = "4 starts wait, for there are at most 5 a second over all apps";
    assert_eq!(told, [format!("spawn_limit shop: {reason}")]);
    assert_eq!(hand.shown().matches("Starting").count(), 10);
    assert_eq!(
        hand.view("shop/13.0").reason.as_deref(),
        Some("waits for the limit on starts: 5 a second over all apps")
    );
    hand.now = hand.now + 200 * MS;
    assert_eq!(hand.told(Input::Tick), NOTHING);
    assert_eq!(hand.wait(600 * MS).len(), 3);
    assert_eq!(hand.fleet.deadline(), Some(Instant::EPOCH + 30 * SECOND), "nothing waits any more");
    assert_eq!(hand.told(Input::Desired(vec![app("shop", policy(40))])), NOTHING);
    assert!(hand.shown().contains("Waiting"), "{}", hand.shown());
    hand.wait(60 * SECOND);
    let told = hand.told(Input::Desired(vec![app("shop", policy(80))]));
    assert_eq!(told.iter().filter(|event| event.starts_with("spawn_limit")).count(), 1);
}

#[test]
fn a_start_by_the_operator_ends_a_wait_with_a_whole_budget() {
    let mut hand = Hand::new(&[app("shop", policy(1))]);
    for generation in 1..=4 {
        hand.exits(&format!("shop/0.{generation}"), 1);
        assert_eq!(hand.view(&format!("shop/0.{generation}")).failures, 1);
        let started = hand.wish("shop/0", Verb::Start);
        assert_eq!(started, Ok(vec![format!("spawn shop/0.{} of 1", generation + 1)]));
    }
    hand.exits("shop/0.5", 1);
    assert_eq!(hand.wish("shop/0", Verb::Stop), Ok(vec![]), "from a wait at once");
    assert_eq!(hand.shown(), "shop/0.5 Stopped");
}

#[test]
fn a_wish_that_does_nothing_says_why() {
    let mut hand = Hand::new(&[app("shop", policy(1))]);
    let table = [
        ("shoe", Verb::Start, "there is no app shoe"),
        ("shop/7", Verb::Stop, "app shop has no instance 7"),
        ("shop", Verb::Start, "app shop is started already"),
        ("shop", Verb::Abort, "no deploy of app shop is under way that could be given up"),
    ];
    for (target, verb, why) in table {
        assert_eq!(hand.wish(target, verb), Err(why.to_owned()));
    }
    let roll = wish("shop", Verb::Roll(Revision(1)));
    assert_eq!(hand.fleet.plan(&roll).expect("it runs").len(), 2, "a step, and what if it fails");
}

#[test]
fn an_instance_that_was_replaced_and_fails_for_good_keeps_no_other_from_it() {
    let alive = Some(Alive { fall: 1, restart_after: Some(10 * SECOND) });
    let mut hand = Hand::new(&[app("shop", Policy { alive, ..policy(3) })]);
    for number in 0..3 {
        hand.ready(&format!("shop/{number}.1"));
    }
    hand.say(alive_fails("shop/0.1"));
    hand.say(alive_fails("shop/1.1"));
    hand.wait(10 * SECOND);
    hand.say(Input::Idle(run("shop/0.1")));
    hand.exits("shop/0.1", 0);
    assert_eq!(hand.shown(), "shop/0.2 Starting, shop/1.1 Unhealthy, shop/2.1 Ready");
    hand.exits("shop/0.2", 78);
    assert_eq!(hand.shown(), "shop/0.2 Fatal, shop/1.1 Draining, shop/2.1 Ready");
}

#[test]
fn an_instance_that_goes_before_it_was_ready_holds_up_nobody() {
    let behind = Policy { after: vec!["db".to_owned()], ..policy(1) };
    let mut hand = Hand::new(&[app("db", policy(2)), app("web", behind.clone())]);
    hand.ready("db/0.1");
    let done = hand.say(Input::Desired(vec![app("db", policy(1)), app("web", behind)]));
    assert_eq!(done, ["ask db/1.1", "spawn web/0.1 of 1"]);
}
