use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use std::collections::BTreeMap;

use super::*;
use crate::rng::Rng;
use crate::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn pool() -> Subject {
    Subject::Pool("api".to_owned())
}

fn gateway() -> Subject {
    Subject::Gateway([10, 0, 0, 1].into())
}

fn rule(subject: Subject, effect: Effect) -> Rule {
    Rule { subject, effect, fall: Duration::ZERO, rise: SECOND }
}

fn say(tracker: &mut Tracker, ms: u64, subject: &Subject, failure: Option<&str>) {
    tracker.handle(at(ms), Input::Verdict { subject, failure });
}

/// Priority, or `fault`, and why.
fn shown(tracker: &Tracker) -> String {
    match tracker.standing() {
        Standing::Able { priority, reason: None } => format!("{priority}"),
        Standing::Able { priority, reason: Some(why) } => format!("{priority} {why}"),
        Standing::Faulty(why) => format!("fault {why}"),
    }
}

#[test]
fn before_anything_is_heard_a_node_is_able_but_not_ready() {
    let mut tracker = Tracker::new(200, vec![rule(pool(), Effect::Fault)]);
    assert_eq!(shown(&tracker), "200");
    assert_eq!(tracker.waits_for().as_deref(), Some("waits to hear of pool.api"));
    assert_eq!(tracker.deadline(), None);
    say(&mut tracker, 0, &pool(), None);
    assert_eq!((shown(&tracker).as_str(), tracker.waits_for()), ("200", None));
    assert_eq!(Tracker::new(200, Vec::new()).waits_for(), None);
}

#[test]
fn what_is_heard_first_counts_at_once() {
    let slow = Rule { fall: SECOND, ..rule(pool(), Effect::Fault) };
    let mut tracker = Tracker::new(200, vec![slow]);
    say(&mut tracker, 0, &pool(), Some("no server is up"));
    assert_eq!(shown(&tracker), "fault pool.api: no server is up");
}

#[test]
fn a_failure_counts_after_fall_and_a_recovery_after_rise() {
    let slow = Rule { fall: Duration::from_millis(200), ..rule(pool(), Effect::Fault) };
    let mut tracker = Tracker::new(200, vec![slow]);
    say(&mut tracker, 0, &pool(), None);
    say(&mut tracker, 1000, &pool(), Some("one"));
    assert_eq!((shown(&tracker).as_str(), tracker.deadline()), ("200", Some(at(1200))));
    // Another reason is the same failure.
    say(&mut tracker, 1100, &pool(), Some("two"));
    tracker.handle(at(1199), Input::Tick);
    assert_eq!(shown(&tracker), "200");
    tracker.handle(at(1200), Input::Tick);
    assert_eq!((shown(&tracker).as_str(), tracker.deadline()), ("fault pool.api: two", None));
    say(&mut tracker, 1300, &pool(), None);
    assert_eq!(
        (shown(&tracker).as_str(), tracker.deadline()),
        ("fault pool.api: two", Some(at(2300)))
    );
    say(&mut tracker, 1400, &pool(), Some("three"));
    assert_eq!((shown(&tracker).as_str(), tracker.deadline()), ("fault pool.api: three", None));
    say(&mut tracker, 1500, &pool(), None);
    tracker.handle(at(2500), Input::Tick);
    assert_eq!((shown(&tracker).as_str(), tracker.deadline()), ("200", None));
}

#[test]
fn a_failure_that_is_over_before_fall_never_was() {
    let slow = Rule { fall: SECOND, ..rule(pool(), Effect::Fault) };
    let mut tracker = Tracker::new(200, vec![slow]);
    say(&mut tracker, 0, &pool(), None);
    for round in 1..20 {
        say(&mut tracker, round * 1000, &pool(), Some("no"));
        say(&mut tracker, round * 1000 + 900, &pool(), None);
        assert_eq!(shown(&tracker), "200");
    }
}

#[test]
fn weights_are_summed_and_stay_between_the_ends() {
    let app = Subject::App("shop".to_owned());
    let table = [
        // own, weights of pool and app, both failed, pool failed, none failed
        (200, (-50, -100), "50", "150", "200"),
        (100, (-80, -80), "1", "20", "100"),
        (200, (30, 40), "200", "240", "254"),
        (200, (-50, 20), "150", "170", "220"),
        (255, (-50, -50), "255", "255", "255"),
    ];
    for (own, (one, other), both, first, none) in table {
        let rules =
            vec![rule(pool(), Effect::Weight(one)), rule(app.clone(), Effect::Weight(other))];
        let mut tracker = Tracker::new(own, rules);
        let first_word = |tracker: &Tracker| {
            shown(tracker).split(' ').next().map(ToOwned::to_owned).unwrap_or_default()
        };
        assert_eq!(first_word(&tracker), format!("{own}"), "nothing was heard");
        say(&mut tracker, 0, &pool(), Some("no"));
        say(&mut tracker, 0, &app, Some("no"));
        assert_eq!(first_word(&tracker), both);
        say(&mut tracker, 1, &app, None);
        tracker.handle(at(2000), Input::Tick);
        assert_eq!(first_word(&tracker), first);
        say(&mut tracker, 2001, &pool(), None);
        tracker.handle(at(4000), Input::Tick);
        assert_eq!((shown(&tracker).as_str(), tracker.failures()), (none, Vec::new()));
    }
}

#[test]
fn every_fault_is_named_and_a_weight_is_explained() {
    let link = Subject::Link("eth0".to_owned());
    let rules = vec![
        rule(pool(), Effect::Fault),
        rule(link.clone(), Effect::Fault),
        rule(gateway(), Effect::Weight(-50)),
    ];
    let mut tracker = Tracker::new(200, rules);
    for subject in [&pool(), &link, &gateway()] {
        say(&mut tracker, 0, subject, None);
    }
    say(&mut tracker, 10, &gateway(), Some("no answer"));
    assert_eq!(shown(&tracker), "150 gateway 10.0.0.1: no answer");
    say(&mut tracker, 10, &pool(), Some("no server is up"));
    say(&mut tracker, 10, &link, Some("no carrier"));
    assert_eq!(shown(&tracker), "fault pool.api: no server is up; link.eth0: no carrier");
    assert_eq!(tracker.failures().len(), 3);
    assert_eq!(tracker.tracked()[1], (link, Some("no carrier".to_owned())));
    say(&mut tracker, 20, &Subject::Listener("web".to_owned()), Some("not tracked"));
    assert_eq!(tracker.failures().len(), 3);
}

/// Fails, and is well again after a second (and the `rise` of another).
fn flap(tracker: &mut Tracker, ms: u64) {
    say(tracker, ms, &pool(), Some("no"));
    assert_eq!(shown(tracker), "fault pool.api: no");
    say(tracker, ms + 1000, &pool(), None);
    tracker.handle(at(ms + 2000), Input::Tick);
}

#[test]
fn what_flaps_is_the_last_resort_until_it_has_been_well_for_a_growing_time() {
    let mut tracker = Tracker::new(200, vec![rule(pool(), Effect::Fault)]);
    say(&mut tracker, 0, &pool(), None);
    flap(&mut tracker, 10_000);
    flap(&mut tracker, 20_000);
    assert_eq!(shown(&tracker), "200", "twice is no flapping");
    flap(&mut tracker, 30_000);
    let expected =
        "1 pool.api: failed 3 times within 1 min: not trusted until it has been well for 10 s";
    assert_eq!(shown(&tracker), expected);
    assert_eq!(tracker.deadline(), Some(at(42_000)));
    // It is a fault while it really fails, and then must be well for longer.
    flap(&mut tracker, 40_000);
    assert_eq!(tracker.deadline(), Some(at(62_000)));
    tracker.handle(at(62_000), Input::Tick);
    assert_eq!((shown(&tracker).as_str(), tracker.deadline()), ("200", None));
    // One failure more is one failure; two more are flapping, and not for the first time.
    flap(&mut tracker, 63_000);
    assert_eq!(shown(&tracker), "200");
    flap(&mut tracker, 66_000);
    assert_eq!(tracker.deadline(), Some(at(68_000 + 40_000)));
    let mut now = 110_000;
    for _ in 0..8 {
        (0..3).for_each(|n| flap(&mut tracker, now + n * 3000));
        now += 1_000_000;
        assert!(
            tracker
                .deadline()
                .is_some_and(|at| at.since(self::at(now - 1_000_000 + 8000)) <= QUIET_MAX)
        );
        tracker.handle(at(now - 1), Input::Tick);
    }
    // It was trusted for long enough to begin anew.
    let second = now + 3000;
    flap(&mut tracker, now);
    flap(&mut tracker, second);
    flap(&mut tracker, second + 3000);
    assert_eq!(tracker.deadline(), Some(at(second + 5000) + QUIET_LEAST));
}

#[test]
fn what_flapped_is_remembered_until_it_has_not_failed_for_long() {
    let quiet_after = |pause: Duration| {
        let mut tracker = Tracker::new(200, vec![rule(pool(), Effect::Fault)]);
        say(&mut tracker, 0, &pool(), None);
        [1_000, 4_000, 7_000].into_iter().for_each(|ms| flap(&mut tracker, ms));
        tracker.handle(at(9_000) + QUIET_LEAST, Input::Tick);
        let again = 7_000 + u64::try_from(pause.as_millis()).expect("it is short");
        [0, 3_000, 6_000].into_iter().for_each(|ms| flap(&mut tracker, again + ms));
        tracker.deadline().map(|deadline| deadline.since(at(again + 8_000)))
    };
    assert_eq!(quiet_after(FORGET_AFTER - SECOND), Some(2 * QUIET_LEAST));
    assert_eq!(quiet_after(FORGET_AFTER), Some(QUIET_LEAST));
}

#[test]
fn being_told_again_changes_nothing() {
    let slow = Rule { fall: SECOND, ..rule(pool(), Effect::Fault) };
    let mut tracker = Tracker::new(200, vec![slow]);
    say(&mut tracker, 0, &pool(), None);
    say(&mut tracker, 1000, &pool(), Some("no"));
    say(&mut tracker, 1500, &pool(), Some("no"));
    assert_eq!(tracker.deadline(), Some(at(2000)));
    tracker.handle(at(2000), Input::Tick);
    say(&mut tracker, 3000, &pool(), None);
    say(&mut tracker, 3500, &pool(), None);
    assert_eq!(tracker.deadline(), Some(at(4000)));
}

#[test]
fn failures_far_apart_are_not_flapping() {
    let mut tracker = Tracker::new(200, vec![rule(pool(), Effect::Fault)]);
    say(&mut tracker, 0, &pool(), None);
    for minute in 1..50 {
        flap(&mut tracker, minute * 31_000);
        assert_eq!(shown(&tracker), "200");
    }
}

#[test]
fn a_weight_that_flaps_counts_as_failed() {
    let mut tracker = Tracker::new(200, vec![rule(pool(), Effect::Weight(-50))]);
    say(&mut tracker, 0, &pool(), None);
    for ms in [1000, 4000, 7000] {
        say(&mut tracker, ms, &pool(), Some("no"));
        say(&mut tracker, ms + 500, &pool(), None);
        tracker.handle(at(ms + 1500), Input::Tick);
    }
    assert!(shown(&tracker).starts_with("150 pool.api: failed 3 times"), "{}", shown(&tracker));
    tracker.handle(at(8500) + QUIET_LEAST, Input::Tick);
    assert_eq!(shown(&tracker), "200");
}

#[test]
fn a_reload_keeps_what_is_known_of_what_stays() {
    let mut tracker =
        Tracker::new(200, vec![rule(pool(), Effect::Fault), rule(gateway(), Effect::Fault)]);
    say(&mut tracker, 0, &pool(), Some("no"));
    say(&mut tracker, 0, &gateway(), None);
    let link = Subject::Link("eth0".to_owned());
    let rules = vec![rule(link, Effect::Fault), rule(pool(), Effect::Weight(-20))];
    tracker.apply(at(10), 100, rules);
    assert_eq!(shown(&tracker), "80 pool.api: no");
    assert_eq!(tracker.waits_for().as_deref(), Some("waits to hear of link.eth0"));
    tracker.apply(at(20), 100, Vec::new());
    assert_eq!((shown(&tracker).as_str(), tracker.waits_for()), ("100", None));
}

fn random_rule(rng: &mut Rng, subject: Subject) -> Rule {
    let effect = match rng.below(3) {
        0 => Effect::Weight(-(1 + rng.below(253) as i16)),
        1 => Effect::Weight(1 + rng.below(253) as i16),
        _ => Effect::Fault,
    };
    let fall = Duration::from_millis(u64::from(rng.below(3)) * 250);
    Rule { subject, effect, fall, rise: Duration::from_millis(u64::from(rng.below(3)) * 700) }
}

/// One that is called at its deadlines alone, and is carried from process to process, is at every
/// moment as one that is called all the time.
#[test]
fn nothing_is_due_but_at_the_deadline_and_nothing_is_lost_on_the_way() {
    for seed in 0..60 {
        let mut rng = Rng::seeded(seed);
        let subjects = [pool(), gateway(), Subject::Link("eth0".to_owned())];
        let rules: Vec<_> = subjects.iter().map(|one| random_rule(&mut rng, one.clone())).collect();
        let own = 1 + rng.below(254) as u8;
        let mut busy = Tracker::new(own, rules.clone());
        let mut lazy = busy.clone();
        for ms in 0..4000u64 {
            let now = at(ms * 50);
            if lazy.deadline().is_some_and(|at| at <= now) {
                lazy.handle(now, Input::Tick);
                let bytes = minicbor::to_vec(&lazy).expect("a vector takes all");
                lazy = minicbor::decode(&bytes).expect("it was just written");
            }
            busy.handle(now, Input::Tick);
            if rng.below(20) == 0 {
                let subject = &subjects[rng.below(3) as usize];
                let failure = (rng.below(2) == 0).then_some("no");
                say(&mut busy, ms * 50, subject, failure);
                say(&mut lazy, ms * 50, subject, failure);
            }
            assert_eq!(busy, lazy, "seed {seed} at {ms}");
            match busy.standing() {
                Standing::Able { priority, .. } => {
                    assert!((1..=254).contains(&priority), "seed {seed}")
                }
                Standing::Faulty(why) => assert!(!why.is_empty(), "seed {seed}"),
            }
        }
    }
}

/// However a subject flaps, its node is no good home again more than [`FLAPS_MAX`] times in a window;
/// and when it ends, its last word holds.
#[test]
fn whatever_flaps_moves_an_address_seldom_and_its_last_word_holds() {
    for seed in 0..200 {
        let mut rng = Rng::seeded(seed);
        let rule = Rule { effect: Effect::Fault, ..random_rule(&mut rng, pool()) };
        let mut tracker = Tracker::new(200, vec![rule]);
        let (mut now, mut was_good, mut losses) = (Instant::EPOCH, false, Vec::new());
        let mut last = None;
        let pause = 1 + rng.below(5_000);
        for _ in 0..400 {
            now = now + Duration::from_millis(u64::from(rng.below(pause)));
            last = (rng.below(2) == 0).then_some("no");
            tracker.handle(now, Input::Tick);
            tracker.handle(now, Input::Verdict { subject: &pool(), failure: last });
            let is_good = shown(&tracker) == "200";
            if was_good && !is_good {
                losses.push(now);
            }
            was_good = is_good;
        }
        for window in losses.windows(FLAPS_MAX + 1) {
            let took = window[FLAPS_MAX].since(window[0]);
            assert!(took >= QUIET_LEAST, "seed {seed}: lost {} times in {took:?}", FLAPS_MAX + 1);
        }
        tracker.handle(now + QUIET_MAX + 2 * SECOND, Input::Tick);
        tracker.handle(now + 2 * (QUIET_MAX + 2 * SECOND), Input::Tick);
        let expected = if last.is_some() { "fault pool.api: no" } else { "200" };
        assert_eq!(shown(&tracker), expected, "seed {seed}");
    }
}

#[test]
fn subjects_are_named_as_in_the_configuration() {
    let names: BTreeMap<_, _> = [
        (Subject::Listener("web".to_owned()), "listener.web"),
        (pool(), "pool.api"),
        (Subject::App("shop".to_owned()), "app.shop"),
        (Subject::Link("eth0".to_owned()), "link.eth0"),
        (gateway(), "gateway 10.0.0.1"),
    ]
    .into();
    for (subject, name) in names {
        assert_eq!(format!("{subject}"), name);
    }
}
