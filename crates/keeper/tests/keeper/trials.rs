//! A configuration that goes back by itself unless it is confirmed.

use std::time::Duration;

use evergate_control::link::{ToKeeper, ToWorker, TrialOrder};
use evergate_core::trial::{CRASHES_MAX, State, Why};
use evergate_sys::signal::{self, Signal};

use crate::stage::{Pace, Stage, Worker};

pub(crate) const TESTS: &[crate::Test] = &[
    ("who_is_not_confirmed_is_asked_to_go_back", who_is_not_confirmed_is_asked_to_go_back),
    ("who_is_confirmed_stays", who_is_confirmed_stays),
    ("a_trial_outlives_workers_and_their_crashes_end_it", a_trial_outlives_workers),
    ("who_knows_nothing_of_trials_is_not_asked", who_knows_nothing_of_trials_is_not_asked),
];

/// What the keeper answers.
fn order(stage: &Stage, worker: &Worker, order: TrialOrder) -> Result<(), String> {
    worker.say(&ToKeeper::Trial { request: 3, order });
    loop {
        if let (ToWorker::Tried { request: 3, error }, _) = stage.hear(worker) {
            return error.map_or(Ok(()), Err);
        }
    }
}

fn begin(number: u64, within: Duration) -> TrialOrder {
    TrialOrder::Begin { number, within_ms: within.as_millis() as u64 }
}

/// A worker that serves and knows of trials.
fn ready(stage: &Stage, number: u64) -> Worker {
    let worker = stage.worker();
    order(stage, &worker, TrialOrder::Told { number, left_ms: None }).unwrap();
    worker.say(&ToKeeper::Ready);
    worker
}

fn asked_to_go_back(stage: &Stage, worker: &Worker) -> Why {
    loop {
        if let (ToWorker::GoBack { why }, _) = stage.hear(worker) {
            return why;
        }
    }
}

fn await_state(stage: &Stage, worker: &Worker, is_right: impl Fn(&State) -> bool) {
    stage.await_node(worker, |node| node.trial.as_ref().is_some_and(|one| is_right(&one.state)));
}

fn who_is_not_confirmed_is_asked_to_go_back() {
    let stage = Stage::new(Pace::Quick);
    let worker = ready(&stage, 0);
    let refused = order(&stage, &worker, begin(1, Duration::ZERO)).unwrap_err();
    assert!(refused.contains("between 1 s and 24 h"), "{refused}");
    order(&stage, &worker, begin(1, Duration::from_secs(1))).unwrap();
    await_state(&stage, &worker, |state| matches!(state, State::Open { .. }));
    assert_eq!(asked_to_go_back(&stage, &worker), Why::TimeOver);
    let late = order(&stage, &worker, TrialOrder::Confirm).unwrap_err();
    assert!(late.contains("too late"), "{late}");
    order(&stage, &worker, TrialOrder::Returned).unwrap();
    await_state(&stage, &worker, |state| *state == State::Settled);
}

fn who_is_confirmed_stays() {
    let stage = Stage::new(Pace::Quick);
    let worker = ready(&stage, 0);
    let nothing = order(&stage, &worker, TrialOrder::Confirm).unwrap_err();
    assert_eq!(nothing, "there is nothing to confirm");
    order(&stage, &worker, begin(1, Duration::from_secs(60))).unwrap();
    order(&stage, &worker, TrialOrder::Confirm).unwrap();
    await_state(&stage, &worker, |state| *state == State::Settled);
}

fn a_trial_outlives_workers() {
    let stage = Stage::new(Pace::Quick);
    let mut worker = ready(&stage, 0);
    order(&stage, &worker, begin(1, Duration::from_secs(3600))).unwrap();
    for crash in 1..=CRASHES_MAX {
        signal::send(worker.pid, Signal::Kill).unwrap();
        worker = ready(&stage, 1);
        if crash < CRASHES_MAX {
            await_state(
                &stage,
                &worker,
                |state| matches!(state, State::Open { crashes, .. } if *crashes == crash),
            );
        }
    }
    assert_eq!(asked_to_go_back(&stage, &worker), Why::Crashes);
    order(&stage, &worker, TrialOrder::Failed { why: "the port is taken".into() }).unwrap();
    await_state(
        &stage,
        &worker,
        |state| matches!(state, State::Returning { failure: Some(why), .. } if why == "the port is taken"),
    );
    order(&stage, &worker, TrialOrder::Confirm).unwrap();
    await_state(&stage, &worker, |state| *state == State::Settled);
}

fn who_knows_nothing_of_trials_is_not_asked() {
    let stage = Stage::new(Pace::Quick);
    let worker = ready(&stage, 0);
    order(&stage, &worker, begin(1, Duration::from_secs(1))).unwrap();
    signal::send(worker.pid, Signal::Kill).unwrap();
    // One of an older version.
    let old = stage.worker();
    old.say(&ToKeeper::Ready);
    await_state(&stage, &old, |state| matches!(state, State::Returning { .. }));
    // A message that it does not know would cost it its link.
    old.say(&ToKeeper::Open { request: 1, path: "/nowhere".into() });
    loop {
        match stage.hear(&old) {
            (ToWorker::Opened { .. }, _) => break,
            (other, _) => assert!(!matches!(other, ToWorker::GoBack { .. })),
        }
    }
    signal::send(old.pid, Signal::Kill).unwrap();
    let new = ready(&stage, 1);
    assert_eq!(asked_to_go_back(&stage, &new), Why::TimeOver);
}
