use std::vec::Vec;

use super::*;
use crate::rng::Rng;

const POLICY: Policy = Policy {
    ready_within: Duration::from_secs(30),
    base: Duration::from_millis(100),
    cap: Duration::from_secs(5),
    stable_after: Duration::from_secs(10),
    grace: Duration::from_secs(30),
    margin: Duration::from_secs(1),
};
const CRASH: Input = Input::Exited(Fate::Crashed);
const NO_HOPE: Input = Input::Exited(Fate::Hopeless);

fn at(millis: u64) -> Instant {
    Instant::EPOCH + Duration::from_millis(millis)
}

#[test]
fn every_transition() {
    let now = at(100_000);
    let (past, future) = (at(99_999), at(100_001));
    let starting = State::Starting { until: at(130_000) };
    let tired = State::Starting { until: now };
    let ready = State::Ready { since: past };
    let waiting = State::Backoff { until: future };
    let due = State::Backoff { until: now };
    let draining = State::Stopping { kill_at: Some(at(131_000)) };
    let late = State::Stopping { kill_at: Some(now) };
    let killed = State::Stopping { kill_at: None };
    let failing = |kill, fate| State::Failing { kill, fate };
    let soon = |reason| Some((at(101_000), reason));
    let deaf = failing(soon(Reason::Deaf), Fate::Crashed);
    let hopeless = failing(soon(Reason::Hopeless), Fate::Hopeless);
    let doomed = failing(None, Fate::Crashed);
    let kill = |reason| Some(Output::Kill(reason));
    let spawn = Some(Output::Spawn);
    let end = |end| Some(Output::End(end));
    check(&[
        (State::Down, Input::Start, starting, spawn),
        (State::Down, Input::Stop, State::Ended, end(End::Stopped)),
        (waiting, Input::Hurry, State::Ended, end(End::Stopped)),
        (waiting, Input::Stop, State::Ended, end(End::Stopped)),
        (waiting, Input::Tick, waiting, None),
        (due, Input::Tick, starting, spawn),
        (due, CRASH, due, None),
        (starting, Input::Ready, State::Ready { since: now }, None),
        (starting, Input::Tick, starting, None),
        (tired, Input::Tick, doomed, kill(Reason::NotReady)),
        (starting, NO_HOPE, State::Ended, end(End::Hopeless)),
        (ready, Input::Ready, ready, None),
        (
            failing(Some((now, Reason::Deaf)), Fate::Crashed),
            Input::Tick,
            doomed,
            kill(Reason::Deaf),
        ),
        (deaf, Input::Tick, deaf, None),
        (deaf, Input::Hopeless, failing(soon(Reason::Deaf), Fate::Hopeless), None),
        (deaf, Input::Stop, killed, kill(Reason::Hurry)),
        (deaf, CRASH, starting, spawn),
        (doomed, Input::Ready, doomed, None),
        (doomed, Input::Tick, doomed, None),
        (doomed, CRASH, starting, spawn),
        (hopeless, CRASH, State::Ended, end(End::Hopeless)),
        (doomed, NO_HOPE, State::Ended, end(End::Hopeless)),
        (draining, Input::Deaf, draining, None),
        (draining, Input::Hung, draining, None),
        (draining, Input::Stop, draining, None),
        (draining, Input::Tick, draining, None),
        (draining, Input::Hurry, killed, kill(Reason::Hurry)),
        (killed, Input::Hurry, killed, None),
        (draining, CRASH, State::Ended, end(End::Stopped)),
        (killed, NO_HOPE, State::Ended, end(End::Stopped)),
        (late, Input::Tick, killed, kill(Reason::Slow)),
    ]);
    for input in [Input::Start, Input::Ready, CRASH, Input::Stop, Input::Hurry, Input::Tick] {
        check(&[(State::Ended, input, State::Ended, None)]);
    }
}

#[test]
fn a_live_worker_is_lost_in_the_same_ways_ready_or_not() {
    let soon = |reason| Some((at(101_000), reason));
    let failing = |kill, fate| State::Failing { kill, fate };
    let draining = State::Stopping { kill_at: Some(at(131_000)) };
    let killed = State::Stopping { kill_at: None };
    let respawned = State::Starting { until: at(130_000) };
    for alive in [respawned, State::Ready { since: at(99_999) }] {
        check(&[
            (alive, Input::Hopeless, failing(soon(Reason::Hopeless), Fate::Hopeless), None),
            (alive, Input::Deaf, failing(soon(Reason::Deaf), Fate::Crashed), None),
            (alive, Input::Hung, failing(None, Fate::Crashed), Some(Output::Kill(Reason::Hung))),
            (alive, CRASH, respawned, Some(Output::Spawn)),
            (alive, Input::Stop, draining, Some(Output::AskToStop)),
            (alive, Input::Hurry, killed, Some(Output::Kill(Reason::Hurry))),
        ]);
    }
}

/// Each row: in this state, at 100 s, this input leads to that state and that output.
fn check(table: &[(State, Input, State, Option<Output>)]) {
    for &(state, input, next, output) in table {
        let mut worker = Worker { state, ..Worker::new(POLICY) };
        assert_eq!(worker.handle(at(100_000), input), output, "{state:?} {input:?}");
        assert_eq!(worker.state, next, "{state:?} {input:?}");
    }
}

#[test]
fn the_first_replacement_comes_at_once_and_later_ones_wait_longer() {
    let mut worker = Worker::new(POLICY);
    let mut now = at(0);
    worker.handle(now, Input::Start);
    assert_eq!(worker.handle(now, CRASH), Some(Output::Spawn));
    for wait_ms in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
        assert_eq!(worker.handle(now, CRASH), None);
        let until = worker.deadline().unwrap();
        assert_eq!(until - now, Duration::from_millis(wait_ms));
        assert_eq!(worker.handle(until, Input::Tick), Some(Output::Spawn));
        now = until;
    }
    worker.handle(now, Input::Ready);
    now = now + POLICY.stable_after;
    assert_eq!(worker.handle(now, CRASH), Some(Output::Spawn), "ready for long: forgiven");
}

#[test]
fn once_a_worker_was_ready_a_hopeless_one_is_tried_again_slowly() {
    let mut worker = Worker::new(POLICY);
    worker.handle(at(0), Input::Start);
    worker.handle(at(0), Input::Ready);
    worker.handle(at(0), CRASH);
    for round in 1..5 {
        let now = at(round * 5_000);
        worker.handle(now, Input::Hopeless);
        assert_eq!(worker.handle(now, NO_HOPE), None, "round {round}");
        assert_eq!(worker.deadline(), Some(now + POLICY.cap));
        assert_eq!(worker.handle(now + POLICY.cap, Input::Tick), Some(Output::Spawn));
    }
}

#[test]
fn whatever_happens_there_is_one_worker_and_stopping_ends() {
    const INPUTS: [Input; 8] = [
        Input::Ready,
        Input::Ready,
        Input::Hopeless,
        Input::Deaf,
        Input::Hung,
        CRASH,
        NO_HOPE,
        Input::Tick,
    ];
    for seed in 0..256 {
        let mut rng = Rng::seeded(seed);
        let mut worker = Worker::new(POLICY);
        let mut now = at(0);
        let (mut alive, mut ended) = (worker.handle(now, Input::Start).is_some(), false);
        let mut spawned = Vec::from([now]);
        for _ in 0..500 {
            now = now + Duration::from_millis(rng.below(1_000).into());
            let input = INPUTS[rng.below(8) as usize];
            if !alive && input != Input::Tick {
                continue;
            }
            alive &= !matches!(input, Input::Exited(_));
            match worker.handle(now, input) {
                Some(Output::Spawn) => {
                    assert!(!alive, "seed {seed:#x}: a second worker");
                    alive = true;
                    spawned.push(now);
                }
                Some(Output::End(End::Hopeless)) => ended = true,
                Some(output @ (Output::AskToStop | Output::End(End::Stopped))) => {
                    panic!("seed {seed:#x}: {output:?} unasked")
                }
                Some(Output::Kill(_)) | None => {}
            }
            assert!(!ended || !worker.was_ready, "seed {seed:#x}: gave up after one was ready");
        }
        // Forgiven once in ten seconds at most, each time for eight quick starts.
        for (i, &start) in spawned.iter().enumerate() {
            let window = Duration::from_secs(10);
            let within = spawned[i..].iter().take_while(|&&spawn| spawn - start < window).count();
            assert!(within <= 2 * 8 + 2, "seed {seed:#x}: {within} starts in ten seconds");
        }
        worker.handle(now, Input::Stop);
        worker.handle(now, Input::Hurry);
        worker.handle(now, CRASH);
        assert_eq!((worker.deadline(), worker.state), (None, State::Ended), "seed {seed:#x}");
    }
}

#[test]
fn the_next_keeper_goes_on_where_the_last_one_was() {
    const INPUTS: [Input; 9] = [
        Input::Start,
        Input::Ready,
        Input::Hopeless,
        Input::Deaf,
        Input::Hung,
        Input::Exited(Fate::Crashed),
        Input::Exited(Fate::Hopeless),
        Input::Stop,
        Input::Tick,
    ];
    for seed in 0..200 {
        let mut rng = Rng::seeded(seed);
        let mut one = Worker::new(Policy::default());
        let mut many = one.clone();
        let mut now = Instant::EPOCH;
        for _ in 0..60 {
            now = now + Duration::from_millis(u64::from(rng.below(8_000)));
            // All ends soon enough without more wishes that it does.
            let input = match INPUTS[rng.below(9) as usize] {
                Input::Stop if rng.below(8) > 0 => Input::Tick,
                input => input,
            };
            assert_eq!(one.handle(now, input), many.handle(now, input), "seed {seed}");
            many = minicbor::decode(&minicbor::to_vec(&many).unwrap()).unwrap();
            assert_eq!(std::format!("{one:?}"), std::format!("{many:?}"), "seed {seed}");
        }
    }
}

/// A worker that was ready at 1 s.
fn ready_once() -> Worker {
    let mut worker = Worker::new(POLICY);
    worker.handle(at(0), Input::Start);
    worker.handle(at(1_000), Input::Ready);
    worker
}

#[test]
fn a_worker_that_is_back_soon_was_never_past_hope() {
    let mut worker = Worker::new(POLICY);
    worker.handle(at(0), Input::Start);
    assert_eq!((worker.helpless(at(60_000)), worker.helpless_at(at(0))), (None, None));
    worker.handle(at(200), Input::Ready);
    assert_eq!((worker.helpless(at(60_000)), worker.helpless_at(at(60_000))), (None, None));
    worker.handle(at(60_000), CRASH);
    assert_eq!(worker.helpless(at(61_999)), None);
    assert_eq!(worker.helpless_at(at(61_999)), Some(at(62_000)));
    worker.handle(at(60_100), Input::Ready);
    assert_eq!((worker.helpless(at(90_000)), worker.helpless_at(at(90_000))), (None, None));
}

#[test]
fn a_worker_that_does_not_come_back_is_past_hope_until_it_does() {
    let mut worker = ready_once();
    worker.handle(at(2_000), Input::Hung);
    assert_eq!(worker.helpless(at(6_999)), None);
    assert_eq!(worker.helpless(at(7_000)), Some(Helpless::Gone(HELPLESS_AFTER_MAX)));
    assert_eq!(worker.helpless_at(at(7_000)), None, "it was asked");
    worker.handle(at(7_001), CRASH);
    let gone = Some(Helpless::Gone(HELPLESS_AFTER_MAX));
    assert_eq!(worker.helpless(at(7_001)), gone, "since it was ready last");
    worker.handle(at(8_000), Input::Ready);
    assert_eq!(worker.helpless(at(20_000)), None);

    let mut worker = ready_once();
    worker.handle(at(2_000), CRASH);
    worker.handle(at(2_001), NO_HOPE);
    assert_eq!(worker.helpless(at(2_001)), Some(Helpless::Hopeless));
}

/// What a start usually takes says how soon one hangs.
#[test]
fn a_start_that_takes_much_longer_than_any_before_is_past_hope() {
    let table = [(0, 1_000), (40, 1_000), (100, 1_000), (150, 1_500), (499, 4_990), (900, 5_000)];
    for (usual, patience) in table {
        let mut worker = Worker::new(POLICY);
        worker.handle(at(0), Input::Start);
        worker.handle(at(usual), Input::Ready);
        // One that was quicker says nothing new.
        worker.handle(at(10_000), CRASH);
        worker.handle(at(10_000 + usual / 2), Input::Ready);
        worker.handle(at(30_000), CRASH);
        assert_eq!(worker.helpless_at(at(30_000)), Some(at(30_000 + patience)), "{usual} ms");
        assert_eq!(worker.helpless(at(30_000 + patience - 1)), None, "{usual} ms");
        let gone = Some(Helpless::Gone(Duration::from_millis(patience)));
        assert_eq!(worker.helpless(at(30_000 + patience)), gone, "{usual} ms");
        worker.handle(at(30_000 + patience + 1), Input::Ready);
        assert_eq!(worker.helpless(at(40_000)), None, "slow, and well after all");
        let slower = (patience + 1) * u64::from(HELPLESS_FACTOR);
        worker.handle(at(60_000), CRASH);
        assert_eq!(worker.helpless_at(at(60_000)), Some(at(60_000 + slower.min(5_000))));
    }
}

#[test]
fn two_starts_in_a_row_that_come_to_nothing_are_past_hope_at_once() {
    let mut worker = ready_once();
    worker.handle(at(2_000), CRASH);
    assert_eq!(worker.helpless(at(2_010)), None, "the first start is under way");
    worker.handle(at(2_010), CRASH);
    assert_eq!(worker.helpless(at(2_010)), None, "bad luck, maybe");
    let next = worker.deadline().unwrap();
    assert_eq!(worker.handle(next, Input::Tick), Some(Output::Spawn));
    assert_eq!(worker.helpless(next), None, "the second start is under way");
    worker.handle(next, CRASH);
    assert_eq!(worker.helpless(next), Some(Helpless::Unstarted));
    let next = worker.deadline().unwrap();
    worker.handle(next, Input::Tick);
    assert_eq!(worker.helpless(next), Some(Helpless::Unstarted), "it is tried on");
    worker.handle(next, Input::Ready);
    assert_eq!(worker.helpless(next), None);
    // What was ready in between begins anew.
    worker.handle(at(60_000), CRASH);
    worker.handle(at(60_001), CRASH);
    assert_eq!(worker.helpless(at(60_001)), None);
}

#[test]
fn a_worker_that_fails_again_and_again_is_past_hope_also_if_it_is_ready_in_between() {
    let mut worker = ready_once();
    let mut now = 2_000;
    for failures in 1..=FAILURES_HELPLESS + 1 {
        worker.handle(at(now), CRASH);
        let is_helpless = failures >= FAILURES_HELPLESS;
        let expected = is_helpless.then_some(Helpless::Failing);
        assert_eq!(worker.helpless(at(now)), expected, "{failures} failures");
        while let Some(next) = worker.deadline().filter(|_| worker.failures > 1) {
            worker.handle(next, Input::Tick);
            if matches!(worker.state, State::Starting { .. }) {
                break;
            }
        }
        now += 5_000;
        worker.handle(at(now), Input::Ready);
        assert_eq!(worker.helpless(at(now)), None, "ready");
    }
    worker.handle(at(now + 1), Input::Stop);
    worker.handle(at(now + 2), CRASH);
    assert_eq!(worker.helpless(at(now + 60_000)), None, "all is over");
}
