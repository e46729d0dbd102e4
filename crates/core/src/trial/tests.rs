//! Every transition, the clock of the journal, and a node that crashes at every step.

use alloc::string::ToString;
use std::vec::Vec;

use super::*;

mod world;

const MINUTE: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn settled() -> Trial {
    let mut trial = Trial::default();
    trial.handle(at(0), Input::Told { number: 0, left: None }).unwrap();
    trial
}

fn open() -> Trial {
    let mut trial = settled();
    trial.handle(at(100), Input::Begin { number: 1, within: MINUTE }).unwrap();
    trial
}

fn returning() -> Trial {
    let mut trial = open();
    trial.handle(at(160), Input::Tick).unwrap();
    trial
}

fn failed() -> Trial {
    let mut trial = returning();
    assert_eq!(trial.ask(at(160)), Some(Why::TimeOver));
    trial.handle(at(161), Input::Failed("no".to_string())).unwrap();
    trial
}

/// The name of a state.
fn word(trial: &Trial) -> &'static str {
    match trial.state() {
        State::Untold => "untold",
        State::Settled => "settled",
        State::Open { .. } => "open",
        State::Returning { failure: None, .. } => "returning",
        State::Returning { failure: Some(_), .. } => "failed",
    }
}

#[test]
fn each_state_takes_each_input_as_it_should() {
    let begin = Input::Begin { number: 2, within: MINUTE };
    let told = |number, left| Input::Told { number, left };
    let inputs: Vec<(Input, [Result<&str, Refusal>; 5])> = {
        use Refusal::{Nothing, TooLate};
        std::vec![
            (Input::Tick, [Ok("untold"), Ok("settled"), Ok("open"), Ok("returning"), Ok("failed")]),
            (
                told(9, Some(MINUTE)),
                [Ok("open"), Ok("open"), Ok("open"), Ok("returning"), Ok("failed")],
            ),
            (
                told(0, None),
                [Ok("settled"), Ok("settled"), Ok("open"), Ok("returning"), Ok("failed")],
            ),
            (begin, [Ok("open"), Ok("open"), Ok("open"), Err(TooLate), Err(TooLate)]),
            (
                Input::Confirm,
                [Err(Nothing), Err(Nothing), Ok("settled"), Err(TooLate), Ok("settled")],
            ),
            (
                Input::Abandon,
                [Ok("untold"), Ok("settled"), Ok("settled"), Ok("returning"), Ok("failed")],
            ),
            (
                Input::Returned,
                [Ok("untold"), Ok("settled"), Ok("settled"), Ok("settled"), Ok("settled")],
            ),
            (
                Input::Failed("no".to_string()),
                [Ok("untold"), Ok("settled"), Ok("open"), Ok("failed"), Ok("failed")],
            ),
            (
                Input::Crashed,
                [Ok("untold"), Ok("settled"), Ok("open"), Ok("returning"), Ok("failed")],
            ),
        ]
    };
    let states = || [Trial::default(), settled(), open(), returning(), failed()];
    for (input, expected) in inputs {
        for (mut trial, expected) in states().into_iter().zip(expected) {
            let (before, was) = (trial.clone(), word(&trial));
            let outcome = trial.handle(at(140), input.clone());
            assert_eq!(outcome.map(|()| word(&trial)), expected, "{was}: {input:?}");
            if outcome.is_err() {
                assert_eq!(trial, before, "what is refused changes nothing: {was}: {input:?}");
            }
        }
    }
}

#[test]
fn time_runs_out_to_the_nanosecond_and_not_before() {
    let mut trial = open();
    assert_eq!(trial.deadline(), Some(at(160)));
    trial.handle(Instant::from_nanos(at(160).as_nanos() - 1), Input::Tick).unwrap();
    assert_eq!((word(&trial), trial.ask(at(159))), ("open", None));
    trial.handle(at(160), Input::Tick).unwrap();
    assert_eq!((word(&trial), trial.deadline()), ("returning", None));
    assert_eq!(trial.ask(at(160)), Some(Why::TimeOver));
    assert_eq!(trial.ask(at(160)), None, "it is asked once");
}

#[test]
fn who_does_not_answer_is_asked_again_and_who_fails_later() {
    let mut trial = returning();
    assert!(trial.ask(at(160)).is_some());
    assert_eq!(trial.deadline(), Some(at(160) + RETURN_WITHIN));
    trial.handle(at(189), Input::Tick).unwrap();
    assert_eq!(trial.ask(at(189)), None);
    trial.handle(at(190), Input::Tick).unwrap();
    assert!(trial.ask(at(190)).is_some());
    trial.handle(at(191), Input::Failed("no".to_string())).unwrap();
    assert_eq!(trial.deadline(), Some(at(191) + RETRY_AFTER));
    assert_eq!(trial.ask(at(200)), None);
    trial.handle(at(201), Input::Tick).unwrap();
    assert!(trial.ask(at(201)).is_some());
    trial.handle(at(202), Input::Crashed).unwrap();
    assert!(trial.ask(at(202)).is_some(), "the next worker is asked at once");
}

#[test]
fn who_is_going_back_is_not_confirmed_even_after_an_earlier_failure() {
    let mut trial = failed();
    trial.handle(at(171), Input::Tick).unwrap();
    assert!(trial.ask(at(171)).is_some());
    assert_eq!(trial.handle(at(172), Input::Confirm), Err(Refusal::TooLate));
}

#[test]
fn a_worker_that_crashes_again_and_again_ends_the_trial_early() {
    let mut trial = open();
    for crash in 1..CRASHES_MAX {
        trial.handle(at(101), Input::Crashed).unwrap();
        assert_eq!(word(&trial), "open", "crash {crash}");
    }
    // Another configuration under the same trial does not make the crashes undone.
    trial.handle(at(102), Input::Begin { number: 1, within: MINUTE }).unwrap();
    trial.handle(at(103), Input::Crashed).unwrap();
    assert_eq!(trial.ask(at(103)), Some(Why::Crashes));
}

#[test]
fn a_trial_that_was_written_down_and_not_told_is_taken_up_and_one_that_ended_is_not() {
    let mut trial = open();
    trial.handle(at(101), Input::Confirm).unwrap();
    let told = |number| Input::Told { number, left: Some(MINUTE) };
    trial.handle(at(102), told(1)).unwrap();
    assert_eq!(word(&trial), "settled", "it was confirmed");
    trial.handle(at(103), told(2)).unwrap();
    assert_eq!((word(&trial), trial.number()), ("open", 2));
}

#[test]
fn only_times_that_make_sense_are_taken() {
    for (within, expected) in [
        (Duration::ZERO, Err(Refusal::BadTime)),
        (WITHIN_MIN, Ok(())),
        (WITHIN_MAX, Ok(())),
        (WITHIN_MAX + Duration::from_nanos(1), Err(Refusal::BadTime)),
    ] {
        let outcome = settled().handle(at(1), Input::Begin { number: 1, within });
        assert_eq!(outcome, expected, "{within:?}");
    }
    // Nor is more believed of a worker that read it somewhere.
    let mut trial = Trial::default();
    trial.handle(at(1), Input::Told { number: 1, left: Some(Duration::MAX) }).unwrap();
    assert_eq!(trial.deadline(), Some(at(1) + WITHIN_MAX));
    assert_eq!(Refusal::BadTime.to_string(), "the time to confirm must be between 1 s and 24 h");
}

#[test]
fn what_is_left_after_a_restart_is_told_by_the_clock_of_the_boot_and_else_by_the_shorter_one() {
    let clocks = |seconds, boot, unix| Clocks { now: at(seconds), boot, unix };
    let journaled = Journaled::new(1, MINUTE, clocks(1_000, "one", 5_000));
    let left = |seconds| Ok(Duration::from_secs(seconds));
    let over = Err(Why::TimeOver);
    let table = [
        ("the same moment", clocks(1_000, "one", 5_000), left(60)),
        ("later", clocks(1_045, "one", 5_045), left(15)),
        ("the wall clock stepped far ahead", clocks(1_045, "one", 99_000), left(15)),
        ("to the second", clocks(1_060, "one", 5_060), over),
        ("long after", clocks(9_000, "one", 13_000), over),
        ("a clock that ran backwards", clocks(10, "one", 5_000), left(60)),
        ("another boot, soon", clocks(20, "two", 5_030), left(30)),
        ("another boot, slowly", clocks(50, "two", 5_020), left(10)),
        ("another boot, off for long", clocks(20, "two", 9_000), over),
        ("another boot, no clock on the wall", clocks(20, "two", 0), left(40)),
        ("another boot, too slowly", clocks(60, "two", 0), over),
        ("no boot is known", clocks(20, "", 5_030), left(30)),
    ];
    for (what, clocks, expected) in table {
        assert_eq!(journaled.resume(clocks), expected, "{what}");
    }
    // Two boots that cannot be told are not the same one.
    let unknown = Journaled::new(1, MINUTE, clocks(1_000, "", 5_000));
    assert_eq!(unknown.resume(clocks(20, "", 5_030)), left(30));
    let started = Journaled { starts: STARTS_MAX, ..journaled.clone() };
    assert_eq!(started.resume(clocks(1_000, "one", 5_000)), Err(Why::Starts));
    let started = Journaled { starts: STARTS_MAX - 1, ..journaled };
    assert_eq!(started.resume(clocks(1_000, "one", 5_000)), left(60));
}

#[test]
fn a_machine_goes_on_in_the_next_image_of_the_keeper() {
    for trial in [Trial::default(), settled(), open(), returning(), failed()] {
        let bytes = minicbor::to_vec(&trial).unwrap();
        assert_eq!(minicbor::decode::<Trial>(&bytes).unwrap(), trial);
    }
}
