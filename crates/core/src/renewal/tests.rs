use std::collections::VecDeque;
use std::vec::Vec;

use super::*;

mod simulation;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const LIFE: u64 = 90 * DAY;
/// Where the clocks of these tests begin: the monotonic one at an hour, as after a boot.
const UNIX: u64 = 1_790_000_000;

fn at(seconds: u64) -> Now {
    Now { at: Instant::EPOCH + Duration::from_secs(HOUR + seconds), unix: UNIX + seconds }
}

fn term(from: u64, life: u64) -> Term {
    Term { not_before: UNIX + from, not_after: UNIX + from + life }
}

fn begun(past: Past) -> Renewal {
    let mut renewal = Renewal::new(Policy::default(), past, at(0), Rng::seeded(1));
    assert_eq!(renewal.next_output(), None, "nothing before the first tick");
    renewal.handle(at(0), Input::Tick);
    renewal
}

fn holding() -> Renewal {
    begun(Past { held: Some(term(0, LIFE)), ..Past::default() })
}

fn outputs(renewal: &mut Renewal) -> Vec<Output> {
    core::iter::from_fn(|| renewal.next_output()).collect()
}

const REFUSED: Input = Input::Failed { kind: Failure::Refused, retry_after: None };
const LIMITED: Input = Input::Failed { kind: Failure::RateLimited, retry_after: None };

fn failed(retry_after: u64) -> Input {
    let retry_after = Some(Duration::from_secs(retry_after));
    Input::Failed { kind: Failure::Refused, retry_after }
}

#[test]
fn what_is_there_at_the_start_decides_what_is_done_first() {
    let held = Some(term(0, LIFE));
    let old = Some(term(0, 0));
    let lack = |cause, held| Past { held, lack: Some(cause), ..Past::default() };
    let table = [
        (Past::default(), alloc::vec![Output::Order(Cause::Missing)]),
        (Past { held, ..Past::default() }, alloc::vec![Output::Ask]),
        (lack(Cause::OtherNames, held), alloc::vec![Output::Ask, Output::Order(Cause::OtherNames)]),
        (lack(Cause::Damaged, None), alloc::vec![Output::Order(Cause::Damaged)]),
        (
            Past { held: old, ..Past::default() },
            alloc::vec![Output::Ask, Output::Order(Cause::Due)],
        ),
        (
            Past { silent_until: UNIX + 60, ..Past::default() },
            alloc::vec![Output::Postponed(UNIX + 60)],
        ),
        (
            Past { orders: alloc::vec![UNIX; ORDERS_MAX], ..Past::default() },
            alloc::vec![Output::Postponed(UNIX + HOUR)],
        ),
        (
            Past { orders: alloc::vec![UNIX; ORDERS_MAX - 1], ..Past::default() },
            alloc::vec![Output::Order(Cause::Missing)],
        ),
    ];
    for (past, expected) in table {
        assert_eq!(outputs(&mut begun(past.clone())), expected, "{past:?}");
    }
}

#[test]
fn every_state_takes_every_input() {
    let waiting = State::Waiting { until: at(100).at, cause: Cause::OtherNames };
    let due = State::Waiting { until: at(10).at, cause: Cause::OtherNames };
    let ordering = State::Ordering { cause: Cause::OtherNames };
    let issued = Input::Issued(term(0, LIFE));
    let none: &[Output] = &[];
    let table = [
        (State::Resting, Input::Tick, State::Resting, none),
        (State::Resting, issued, State::Resting, none),
        (State::Resting, REFUSED, State::Resting, none),
        (waiting, Input::Tick, waiting, none),
        (waiting, issued, waiting, none),
        (waiting, REFUSED, waiting, none),
        (waiting, Input::NoAdvice, waiting, none),
        (waiting, Input::AskFailed, waiting, none),
        (due, Input::Tick, ordering, &[Output::Order(Cause::OtherNames)]),
        (due, Input::AskFailed, ordering, &[Output::Order(Cause::OtherNames)]),
        (ordering, Input::Tick, ordering, none),
        (ordering, Input::NoAdvice, ordering, none),
        (ordering, Input::AskFailed, ordering, none),
        (ordering, issued, State::Resting, &[Output::Ask]),
    ];
    for (state, input, next, expected) in table {
        let mut renewal = holding();
        outputs(&mut renewal);
        renewal.handle(at(1), Input::NoAdvice);
        outputs(&mut renewal);
        renewal.state = state;
        renewal.handle(at(10), input);
        assert_eq!(renewal.state, next, "{state:?} {input:?}");
        assert_eq!(outputs(&mut renewal), expected, "{state:?} {input:?}");
    }
}

#[test]
fn a_certificate_is_renewed_with_a_third_of_its_life_left() {
    let mut renewal = holding();
    renewal.handle(at(1), Input::NoAdvice);
    let planned = outputs(&mut renewal);
    let [Output::Ask, Output::Planned(planned)] = planned[..] else { panic!("{planned:?}") };
    let lead = LIFE / 3;
    let window = UNIX + LIFE - lead - lead / 10..=UNIX + LIFE - lead;
    assert!(window.contains(&planned), "{planned} is not in {window:?}");
    renewal.handle(at(planned - UNIX - 1), Input::Tick);
    assert_eq!(outputs(&mut renewal), [Output::Ask], "not yet, but a day is long over");
    renewal.handle(at(planned - UNIX), Input::NoAdvice);
    assert_eq!(outputs(&mut renewal), [Output::Order(Cause::Due)]);
}

#[test]
fn half_its_life_is_the_soonest_that_a_certificate_is_renewed() {
    let renew_before = Some(Duration::from_secs(2 * LIFE));
    let past = Past { held: Some(term(0, LIFE)), ..Past::default() };
    let renewal = Renewal::new(Policy { renew_before }, past, at(0), Rng::seeded(3));
    let soonest = UNIX + LIFE / 2 - LIFE / 20;
    assert!(renewal.renew_at().is_some_and(|at| (soonest..=UNIX + LIFE / 2).contains(&at)));
}

#[test]
fn a_moment_of_the_advised_window_is_chosen_and_kept() {
    let mut chosen = Vec::new();
    for seed in 0..64 {
        let past = Past { held: Some(term(0, LIFE)), ..Past::default() };
        let mut renewal = Renewal::new(Policy::default(), past, at(0), Rng::seeded(seed));
        renewal.handle(at(0), Input::Tick);
        let advice = |start, end| Input::Advice {
            start: UNIX + start,
            end: UNIX + end,
            ask_after: Duration::from_secs(6 * HOUR),
        };
        renewal.handle(at(0), advice(40 * DAY, 42 * DAY));
        let first = renewal.renew_at().unwrap();
        assert!((UNIX + 40 * DAY..=UNIX + 42 * DAY).contains(&first));
        renewal.handle(at(6 * HOUR), advice(40 * DAY, 42 * DAY));
        assert_eq!(renewal.renew_at(), Some(first), "the same advice, the same moment");
        assert_eq!(outputs(&mut renewal), [Output::Ask, Output::Planned(first)]);
        renewal.handle(at(12 * HOUR), advice(0, 1));
        let now = [Output::Order(Cause::Advised)];
        assert_eq!(outputs(&mut renewal), now, "a window in the past means now");
        chosen.push(first);
    }
    chosen.sort_unstable();
    chosen.dedup();
    assert!(chosen.len() > 60, "seeds choose differently: {chosen:?}");
    assert!(chosen[chosen.len() - 1] - chosen[0] > DAY, "all over the window");
}

#[test]
fn advice_that_lets_the_certificate_end_is_not_followed() {
    let mut renewal = holding();
    let plain = renewal.renew_at();
    let ask_after = Duration::from_secs(HOUR);
    for (start, end) in [(LIFE, LIFE + DAY), (5 * DAY, 4 * DAY), (LIFE - 1, LIFE)] {
        let advice = Input::Advice { start: UNIX + start, end: UNIX + end, ask_after };
        renewal.handle(at(1), advice);
        assert_eq!(renewal.renew_at(), plain, "{start}..{end}");
    }
    let advice = Input::Advice { start: UNIX + LIFE / 2, end: UNIX + 100 * LIFE, ask_after };
    renewal.handle(at(1), advice);
    assert!(renewal.renew_at().unwrap() <= UNIX + LIFE - LIFE / 20);
}

#[test]
fn the_authority_is_asked_again_when_it_says_but_within_reason() {
    let table =
        [(0, ASK_EVERY_MIN), (6 * HOUR, Duration::from_secs(6 * HOUR)), (30 * DAY, ASK_EVERY_MAX)];
    for (ask_after, expected) in table {
        let mut renewal = holding();
        let ask_after = Duration::from_secs(ask_after);
        let (start, end) = (UNIX + 50 * DAY, UNIX + 51 * DAY);
        renewal.handle(at(0), Input::Advice { start, end, ask_after });
        assert_eq!(renewal.asking, Asking::At(at(0).at + expected));
    }
}

#[test]
fn waits_double_from_a_minute_to_half_a_day() {
    let mut renewal = holding();
    let mut expected = 60;
    for failures in 1..20 {
        renewal.state = State::Ordering { cause: Cause::Due };
        renewal.handle(at(0), REFUSED);
        let State::Waiting { until, .. } = renewal.state else { panic!("it waits") };
        let wait = until.since(at(0).at).as_secs_f64();
        let range = expected as f64 * 0.8..=expected as f64;
        assert!(range.contains(&wait), "{wait} after {failures} failures, not {expected}");
        assert_eq!(renewal.failures(), failures);
        expected = (expected * 2).min(12 * HOUR);
    }
    renewal.state = State::Ordering { cause: Cause::Due };
    renewal.handle(at(0), Input::Issued(term(0, LIFE)));
    assert_eq!(renewal.failures(), 0);
}

#[test]
fn an_authority_that_wants_to_be_left_alone_is() {
    for (input, least) in
        [(failed(5 * HOUR), 5 * HOUR), (LIMITED, HOUR), (failed(DAY * 30), 7 * DAY)]
    {
        let mut renewal = begun(Past::default());
        outputs(&mut renewal);
        renewal.handle(at(0), input);
        renewal.handle(at(least - 1), Input::Tick);
        assert_eq!(outputs(&mut renewal), [], "{input:?}");
        let silent_until = renewal.silent_until(at(least - 1)).unwrap();
        assert_eq!(silent_until, UNIX + least);
        // The process that comes next keeps quiet too.
        let past = Past { silent_until, ..Past::default() };
        let mut next = Renewal::new(Policy::default(), past, at(least - 1), Rng::seeded(2));
        next.handle(at(least - 1), Input::Tick);
        assert_eq!(outputs(&mut next), [Output::Postponed(UNIX + least)]);
        assert_eq!(next.next_order(at(least - 1)), Some(UNIX + least));
        renewal.handle(at(least + 61), Input::Tick);
        assert_eq!(outputs(&mut renewal), [Output::Order(Cause::Missing)]);
    }
}

#[test]
fn a_clock_that_is_set_ends_our_own_waits_only() {
    for (input, is_cut) in [(REFUSED, true), (failed(DAY), false)] {
        let mut renewal = begun(Past::default());
        for _ in 0..9 {
            renewal.state = State::Ordering { cause: Cause::Missing };
            renewal.handle(at(0), input);
        }
        outputs(&mut renewal);
        let set = Now { at: at(5000).at, unix: UNIX + 40 * 365 * DAY };
        renewal.handle(set, Input::Tick);
        let later = Now { at: at(5061).at, unix: set.unix + 61 };
        renewal.handle(later, Input::Tick);
        let is_ordered = outputs(&mut renewal).contains(&Output::Order(Cause::Missing));
        assert_eq!(is_ordered, is_cut, "{input:?}");
    }
}

#[test]
fn how_it_stands_follows_the_certificate_and_the_failures() {
    let mut renewal = holding();
    let lead = LIFE / 3;
    assert_eq!(renewal.standing(UNIX + LIFE - lead / 4), Standing::Good, "no failure yet");
    renewal.state = State::Ordering { cause: Cause::Due };
    renewal.handle(at(0), REFUSED);
    assert_eq!(renewal.standing(UNIX + LIFE - lead), Standing::Good);
    assert_eq!(renewal.standing(UNIX + LIFE - lead / 4), Standing::Late);
    assert_eq!(renewal.standing(UNIX + LIFE + 1), Standing::Nothing);
    assert_eq!(begun(Past::default()).standing(UNIX), Standing::Nothing);
}

#[test]
fn orders_of_earlier_processes_count() {
    let mut orders: VecDeque<u64> = VecDeque::new();
    let mut began = Vec::new();
    // A worker that dies whenever it has ordered, for three hours.
    for second in 0..3 * HOUR {
        let past = Past { orders: orders.iter().copied().collect(), ..Past::default() };
        let mut renewal = Renewal::new(Policy::default(), past, at(second), Rng::seeded(second));
        renewal.handle(at(second), Input::Tick);
        if outputs(&mut renewal).contains(&Output::Order(Cause::Missing)) {
            orders.push_back(UNIX + second);
            began.push(second);
        }
    }
    assert_eq!(began.len(), 3 * ORDERS_MAX, "{began:?}");
}
