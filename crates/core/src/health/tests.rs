use alloc::string::ToString;
use alloc::{format, vec};

use super::*;
use crate::rng::Rng;

mod carried;
mod simulation;

const SECOND: Duration = Duration::from_secs(1);
const CHECK: CheckPolicy =
    CheckPolicy { every: Duration::from_secs(2), timeout: SECOND, fall: 3, rise: 2 };
const OUTLIER: OutlierPolicy =
    OutlierPolicy { consecutive: 5, eject: Duration::from_secs(30), ejected_percent_max: 50 };

fn policy(checks: usize) -> Policy {
    let checks = vec![CHECK; checks];
    Policy { weight: 3, checks, outlier: OUTLIER, slow_start: Duration::ZERO }
}

fn configured(checks: usize) -> Health {
    Health::new(policy(checks), Arrival::Together, Instant::EPOCH)
}

fn at(secs: u64) -> Instant {
    Instant::EPOCH + Duration::from_secs(secs)
}

fn passed(check: usize) -> Input {
    Input::Checked { check, outcome: Ok(()) }
}

fn failed(check: usize, why: &str) -> Input {
    Input::Checked { check, outcome: Err(why.into()) }
}

const FAILING: Input = Input::FailedInARow { failures: 5, may_eject: true };

fn repeat(times: u32, health: &mut Health, now: Instant, input: &Input) {
    for _ in 0..times {
        health.handle(now, input.clone());
    }
}

/// State, reason and percentage as one line.
fn shown(health: &Health) -> String {
    let Verdict { state, reason, weight, weight_percent } = health.verdict();
    format!("{} {weight}*{weight_percent}% {reason}", state.as_str())
}

#[test]
fn every_transition_of_a_check() {
    let passing = |failures| Check::Passing { failures };
    let failing = |successes, why: &str| Check::Failing { successes, why: why.into() };
    // state, check passed => next state, pace
    let table = [
        (Check::Unchecked, true, passing(0), Pace::Steady),
        (Check::Unchecked, false, failing(0, "new"), Pace::Steady),
        (passing(0), true, passing(0), Pace::Steady),
        (passing(0), false, passing(1), Pace::InTransition),
        (passing(1), true, passing(0), Pace::Steady),
        (passing(1), false, passing(2), Pace::InTransition),
        (passing(2), true, passing(0), Pace::Steady),
        (passing(2), false, failing(0, "new"), Pace::Steady),
        (failing(0, "old"), true, failing(1, "old"), Pace::InTransition),
        (failing(0, "old"), false, failing(0, "new"), Pace::Steady),
        (failing(1, "old"), true, passing(0), Pace::Steady),
        (failing(1, "old"), false, failing(0, "new"), Pace::Steady),
    ];
    for (state, passed, next, pace) in table {
        let mut check = state.clone();
        check.record(&CHECK, if passed { Ok(()) } else { Err("new".into()) });
        assert_eq!((&check, check.pace()), (&next, pace), "{state:?} {passed}");
    }
}

#[test]
fn thresholds_of_one_and_none_act_at_once() {
    for threshold in [0, 1] {
        let policy = CheckPolicy { fall: threshold, rise: threshold, ..CHECK };
        let mut check = Check::Passing { failures: 0 };
        check.record(&policy, Err("x".into()));
        assert_eq!(check.failing(), Some("x"));
        check.record(&policy, Ok(()));
        assert_eq!(check, Check::Passing { failures: 0 });
    }
}

#[test]
fn every_input_to_a_server_that_nothing_is_known_of() {
    let (unchecked, good) = ("up 3*100% not yet checked", "up 3*100% checks pass");
    let table = [
        (passed(0), good),
        (failed(0, "connection refused"), "down 3*0% check failed: connection refused"),
        (FAILING, "down 3*0% ejected for 30 s after 5 failures in a row"),
        (Input::FailedInARow { failures: 4, may_eject: true }, unchecked),
        (Input::FailedInARow { failures: 9, may_eject: false }, unchecked),
        (Input::Drain, "draining 3*0% drained by the operator"),
        (Input::Undrain, unchecked),
        (Input::Weight(3), unchecked),
        (Input::Tick, unchecked),
    ];
    for (input, after) in table {
        let before = configured(1);
        let mut health = before.clone();
        let told = health.handle(at(1), input.clone()).cloned();
        assert_eq!(shown(&health), after, "{input:?}");
        let news = (shown(&before) != after).then(|| health.verdict().clone());
        assert_eq!(told, news, "{input:?}");
    }
}

#[test]
fn opinions_rank_from_the_operators_to_passive() {
    let ranked = [
        (Input::Drain, "draining 3*0% drained by the operator"),
        (Input::Weight(0), "draining 0*0% its weight is 0"),
        (failed(0, "status 500"), "down 3*0% check failed: status 500"),
        (FAILING, "down 3*0% ejected for 30 s after 5 failures in a row"),
        (Input::Tick, "up 3*100% not yet checked"),
    ];
    for first in 0..ranked.len() {
        for chosen in 0..1 << (ranked.len() - first - 1) {
            let mut health = configured(1);
            for lesser in (first..ranked.len()).rev() {
                if lesser == first || chosen >> (lesser - first - 1) & 1 == 1 {
                    health.handle(at(0), ranked[lesser].0.clone());
                }
            }
            let weight = health.verdict().weight;
            let expected = ranked[first].1.replacen("3*", &format!("{weight}*"), 1);
            assert_eq!(shown(&health), expected, "{first} {chosen:b}");
        }
    }
}

#[test]
fn all_checks_must_pass_and_the_reason_counts_them() {
    let mut health = configured(3);
    health.handle(at(1), passed(0));
    health.handle(at(1), passed(1));
    assert_eq!(shown(&health), "up 3*100% not yet checked");
    health.handle(at(1), passed(2));
    assert_eq!(shown(&health), "up 3*100% checks pass");
    for check in [1, 2] {
        repeat(3, &mut health, at(2), &failed(check, "status 503"));
    }
    assert_eq!(shown(&health), "down 3*0% 2 of 3 checks failed: status 503");
    repeat(2, &mut health, at(2), &passed(2));
    assert_eq!(shown(&health), "down 3*0% 1 of 3 checks failed: status 503");
    assert_eq!(shown(&configured(0)), "up 3*100% no checks");
}

#[test]
fn ejections_grow_and_are_forgiven() {
    let mut health = configured(0);
    let mut now = at(100);
    let mut eject = |health: &mut Health, calm_secs: u64| {
        now = now + Duration::from_secs(calm_secs);
        health.handle(now, FAILING);
        assert!(health.is_ejected());
        let until = health.deadline().unwrap();
        let length = until.since(now).as_secs();
        assert!(health.handle(now + Duration::from_secs(length - 1), Input::Tick).is_none());
        now = until;
        assert!(health.handle(now, Input::Tick).is_some() && !health.is_ejected());
        assert_eq!(health.deadline(), None);
        length
    };
    let lengths: Vec<_> = (0..12).map(|_| eject(&mut health, 29)).collect();
    assert_eq!(lengths, [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]);
    assert_eq!(eject(&mut health, 30), 300, "one off, one on");
    assert_eq!(eject(&mut health, 90), 240);
    assert_eq!(eject(&mut health, 100_000), 30);
}

#[test]
fn a_failure_while_ejected_changes_nothing_and_a_late_tick_is_made_up_for() {
    let mut health = configured(0);
    health.handle(at(0), FAILING);
    assert!(health.handle(at(10), FAILING).is_none());
    assert_eq!(health.deadline(), Some(at(30)));
    let told = health.handle(at(40), FAILING).map(|verdict| verdict.reason.to_string());
    assert_eq!(told.as_deref(), Some("ejected for 60 s after 5 failures in a row"));
}

#[test]
fn a_passing_check_takes_an_ejection_back() {
    let mut health = configured(1);
    health.handle(at(0), passed(0));
    health.handle(at(1), FAILING);
    assert!(health.handle(at(2), failed(0, "x")).is_none(), "ejected still");
    health.handle(at(3), passed(0));
    assert_eq!(shown(&health), "up 3*100% checks pass");
}

#[test]
fn ejections_stay_within_the_share_but_one_is_always_allowed() {
    let may = |ejected, total, ejected_percent_max| {
        may_eject(ejected, total, &OutlierPolicy { ejected_percent_max, ..OUTLIER })
    };
    // total, percentage => how many may be out
    for (total, percent, expected) in [
        (0, 50, 0),
        (1, 100, 0),
        (2, 10, 1),
        (2, 50, 1),
        (3, 50, 1),
        (4, 50, 2),
        (10, 0, 1),
        (10, 29, 2),
        (10, 30, 3),
        (10, 100, 10),
    ] {
        let most = (0..=total).find(|&ejected| !may(ejected, total, percent)).unwrap();
        assert_eq!(most, expected, "{percent} % of {total}");
    }
}

#[test]
fn slow_start_follows_down_and_coming_later_but_never_the_start() {
    let slow = || Policy { slow_start: 9 * SECOND, ..policy(1) };
    let mut health = Health::new(slow(), Arrival::Together, at(0));
    health.handle(at(0), passed(0));
    assert_eq!(shown(&health), "up 3*100% checks pass");
    repeat(3, &mut health, at(1), &failed(0, "x"));
    repeat(2, &mut health, at(10), &passed(0));
    let mut percents = vec![health.verdict().weight_percent];
    while let Some(deadline) = health.deadline() {
        assert_eq!(deadline, at(10 + percents.len() as u64));
        health.handle(deadline, Input::Tick);
        percents.push(health.verdict().weight_percent);
    }
    assert_eq!(percents, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);

    let mut health = Health::new(slow(), Arrival::Later, at(4));
    assert_eq!(health.verdict().share(), 3 * 10, "others are warm, it is not");
    health.handle(at(5), Input::Drain);
    assert_eq!(health.verdict().share(), 0);
    health.handle(at(8), Input::Undrain);
    assert_eq!(health.verdict().share(), 3 * 50, "draining does not stop the clock");
}

#[test]
fn undraining_is_no_slow_start_unless_it_was_down_meanwhile() {
    let policy = Policy { slow_start: 9 * SECOND, ..policy(1) };
    let mut health = Health::new(policy, Arrival::Together, at(0));
    health.handle(at(1), Input::Drain);
    health.handle(at(2), Input::Undrain);
    assert_eq!(health.verdict().weight_percent, 100);
    health.handle(at(3), Input::Drain);
    health.handle(at(3), failed(0, "x"));
    repeat(2, &mut health, at(4), &passed(0));
    health.handle(at(4), Input::Undrain);
    assert_eq!(health.verdict().weight_percent, 10);
}

#[test]
fn another_policy_keeps_what_is_known() {
    let faster = |checks| Policy { weight: 7, ..policy(checks) };
    let mut health = configured(1);
    health.follow(at(2), faster(1));
    assert_eq!(health.verdict().weight, 7);
    health.handle(at(3), Input::Weight(3));
    health.follow(at(3), policy(1));
    assert_eq!(health.verdict().weight, 3, "the operator's weight stands");

    let mut health = configured(1);
    health.handle(at(0), failed(0, "refused"));
    health.follow(at(1), faster(1));
    assert_eq!(health.verdict().state, State::Down, "what fails its check still does");
    health.follow(at(2), policy(2));
    assert_eq!(health.verdict().state, State::Up, "other checks know nothing yet");

    health.handle(at(3), Input::Drain);
    health.follow(at(4), policy(0));
    assert_eq!(health.verdict().state, State::Draining);
    health.handle(at(5), Input::Undrain);
    assert_eq!(health.verdict().state, State::Up);
}

#[test]
fn first_checks_are_spread_over_the_interval() {
    let mut rng = Rng::seeded(1);
    let every = 10 * SECOND;
    for _ in 0..100 {
        for index in 0..5 {
            let delay = first_check_delay(every, index, 5, &mut rng);
            let part = 2 * SECOND;
            assert!((part * index as u32..part * (index as u32 + 1)).contains(&delay), "{delay:?}");
        }
    }
}

#[test]
fn checks_keep_their_interval_with_jitter_and_hurry_in_transition() {
    let mut rng = Rng::seeded(2);
    let ms = Duration::from_millis;
    let table = [
        (ms(2_000), Pace::Steady, ms(1_800), ms(2_200)),
        (ms(2_000), Pace::InTransition, ms(450), ms(550)),
        (ms(200), Pace::InTransition, ms(100), ms(100)),
        (ms(10), Pace::Steady, ms(100), ms(100)),
    ];
    for (every, pace, least, most) in table {
        let delays: Vec<_> = (0..1_000).map(|_| next_check_delay(every, pace, &mut rng)).collect();
        let (min, max) = (*delays.iter().min().unwrap(), *delays.iter().max().unwrap());
        assert!(least <= min && max <= most, "{every:?}: {min:?} to {max:?}");
        let slack = (most - least) / 50;
        assert!(min <= least + slack && max >= most - slack, "{every:?}: {min:?} to {max:?}");
    }
}

#[test]
fn reasons_read_well() {
    let ejected = |length, failures| Reason::Ejected { length, failures }.to_string();
    assert_eq!(
        ejected(Duration::from_millis(1500), 1),
        "ejected for 1500 ms after 1 failure in a row"
    );
    assert_eq!(ejected(90 * SECOND, 7), "ejected for 90 s after 7 failures in a row");
}
