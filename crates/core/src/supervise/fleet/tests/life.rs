//! The life of an instance without deploys.

use super::*;

const NOTHING: [&str; 0] = [];

#[test]
fn what_is_desired_starts_and_is_ready_when_it_says_so() {
    let mut hand = Hand { fleet: Fleet::new(Rng::seeded(1)), now: Instant::EPOCH };
    let started = hand.say(Input::Desired(vec![app("shop", policy(2))]));
    assert_eq!(started, ["spawn shop/0.1 of 1", "spawn shop/1.1 of 1"]);
    hand.ready("shop/1.1");
    assert_eq!(hand.shown(), "shop/0.1 Starting, shop/1.1 Ready");
    assert_eq!(hand.say(Input::Desired(vec![app("shop", policy(2))])), NOTHING);
}

#[test]
fn a_crash_is_out_at_once_and_started_again_after_a_wait() {
    let mut hand = Hand::new(&[app("shop", policy(1))]);
    hand.ready("shop/0.1");
    assert_eq!(hand.exits("shop/0.1", 1), NOTHING);
    assert_eq!(hand.shown(), "shop/0.1 Backoff");
    assert_eq!(hand.wait(250 * MS), ["spawn shop/0.2 of 1"]);
    assert_eq!(hand.exits("shop/0.1", 1), NOTHING, "the first run is history");
    assert_eq!(hand.shown(), "shop/0.2 Starting");
    let view = hand.view("shop/0.2");
    assert_eq!((view.exits, view.failures), (1, 1));
    assert_eq!(view.last_exit.as_deref(), Some("exit status 1"));
}

#[test]
fn a_stable_run_that_crashes_is_followed_at_once() {
    let mut hand = Hand::new(&[app("shop", policy(1))]);
    hand.ready("shop/0.1");
    hand.wait(60 * SECOND);
    assert_eq!(hand.exits("shop/0.1", 1), ["spawn shop/0.2 of 1"]);
}

#[test]
fn a_stop_drains_asks_kills_and_names_what_is_stuck() {
    let mut hand = Hand::new(&[app("shop", policy(1))]);
    hand.ready("shop/0.1");
    assert_eq!(hand.wish("shop", Verb::Stop), Ok(vec![]));
    assert_eq!(hand.shown(), "shop/0.1 Draining");
    assert_eq!(hand.wait(29 * SECOND), NOTHING);
    assert_eq!(hand.wait(SECOND), ["ask shop/0.1"]);
    assert_eq!(hand.wait(10 * SECOND), ["ask all of shop/0.1"]);
    assert_eq!(hand.wait(2 * SECOND), ["kill shop/0.1"]);
    assert_eq!(hand.shown(), "shop/0.1 Stopping");
    assert_eq!(hand.wait(5 * SECOND), NOTHING);
    assert_eq!(hand.shown(), "shop/0.1 Stuck");
    let started = hand.wish("shop/0", Verb::Start);
    assert_eq!(
        started,
        Ok(vec!["spawn shop/0.2 of 1".to_string()]),
        "what is stuck blocks nothing"
    );
    assert_eq!(hand.shown(), "shop/0.1 Stuck, shop/0.2 Starting");
    hand.say(exit("shop/0.1", Exit::Signal(9), false));
    assert_eq!(hand.shown(), "shop/0.2 Starting");
}

#[test]
fn a_stop_lasts_until_a_start() {
    let mut hand = Hand::new(&[app("shop", policy(2))]);
    hand.ready("shop/0.1");
    hand.wish("shop/0", Verb::Stop).expect("it runs");
    assert_eq!(hand.say(Input::Idle(run("shop/0.1"))), ["ask shop/0.1"]);
    assert_eq!(hand.exits("shop/0.1", 0), NOTHING);
    hand.say(Input::Desired(vec![app("shop", policy(3))]));
    hand.wait(3600 * SECOND);
    assert!(hand.shown().starts_with("shop/0.1 Stopped"), "{}", hand.shown());
    assert_eq!(hand.view("shop/0.1").failures, 0, "a planned exit spends nothing");
    assert!(hand.wish("shop/0", Verb::Stop).is_err());
    let started = hand.wish("shop/0", Verb::Start).expect("it is stopped");
    assert_eq!(started, ["spawn shop/0.2 of 1"]);
}

#[test]
fn everything_ends_in_reverse_order() {
    let behind_db = Policy { after: vec!["db".to_owned()], ..policy(1) };
    let mut hand = Hand::new(&[app("db", policy(1)), app("web", behind_db)]);
    assert_eq!(hand.shown(), "db/0.1 Starting, web/0.0 Waiting");
    assert_eq!(hand.view("web/0.0").reason.as_deref(), Some("waits for app db"));
    assert_eq!(hand.ready("db/0.1"), ["spawn web/0.1 of 1"]);
    hand.say(Input::Gateway(false));
    assert_eq!(hand.say(Input::End), ["ask web/0.1"]);
    assert!(!hand.fleet.is_empty());
    assert_eq!(hand.exits("web/0.1", 0), ["ask db/0.1"]);
    assert_eq!(hand.say(Input::Hurry), ["kill db/0.1"]);
    hand.say(exit("db/0.1", Exit::Signal(9), false));
    assert!(hand.fleet.is_empty());
}

#[test]
fn an_exit_tells_how_and_what_follows() {
    let mut hand = Hand::new(&[app("shop", policy(1))]);
    let told = hand.told(exit("shop/0.1", Exit::Status(78), false));
    assert_eq!(
        told,
        [
            "app_exited shop/0: exit status 78; another start would end alike",
            "app_fatal shop/0: exit status 78; not started again until it is changed or an \
             operator starts it"
        ]
    );
    hand.wish("shop", Verb::Start).expect("it is fatal");
    let told = hand.told(exit("shop/0.2", Exit::Status(1), false));
    assert!(
        told[0].starts_with("app_exited shop/0: exit status 1; started again in 1"),
        "{told:?}"
    );
    assert!(told[0].ends_with("ms; 1 of 10 failures"), "{told:?}");
}

#[test]
fn what_has_nothing_left_keeps_nobody_from_ending() {
    let behind = |before: &str| Policy { after: vec![before.to_owned()], ..policy(1) };
    let apps = [app("db", policy(1)), app("api", behind("db")), app("web", behind("api"))];
    let mut hand = Hand::new(&apps);
    hand.wish("db", Verb::Stop).expect("it starts");
    hand.exits("db/0.1", 0);
    assert_eq!(hand.shown(), "api/0.0 Waiting, db/0.1 Stopped, web/0.0 Waiting");
    hand.say(Input::End);
    assert_eq!(hand.shown(), "");
    assert!(hand.fleet.is_empty());
}
