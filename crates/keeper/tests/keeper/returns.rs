//! Workers that are not wanted any more, and those that come back in their place.

use evergate_control::link::{
    Desired, KEPT_STATE, Role, ToKeeper, ToWorker, UpgradeOutcome, UpgradePhase, WorkerState,
};
use evergate_sys::memfd;
use evergate_sys::signal::{self, Signal};

use crate::handover::{
    LONG, Step, advance, answer, begin, ended, hear_order, hear_probe, order, reason, serving,
    states, web,
};
use crate::stage::{Pace, Stage, Worker};

pub(crate) const TESTS: &[crate::Test] = &[
    (
        "a_candidate_that_answers_wrongly_finishes_what_it_began",
        a_candidate_that_answers_wrongly_finishes_what_it_began,
    ),
    (
        "the_old_worker_comes_back_from_its_retirement",
        the_old_worker_comes_back_from_its_retirement,
    ),
    (
        "the_old_worker_comes_back_at_once_if_the_new_one_does_not_let_go",
        the_old_worker_comes_back_at_once_if_the_new_one_does_not_let_go,
    ),
    ("an_end_in_the_middle_kills_nobody_with_clients", an_end_in_the_middle_kills_nobody),
];

fn a_candidate_that_answers_wrongly_finishes_what_it_began() {
    let stage = Stage::new(Pace::Production);
    let (old, _) = serving(&stage, &web());
    let new = begin(&stage, &old, &order(LONG));
    advance(&stage, &old, &new, &web(), Step::Activating);
    new.say(&ToKeeper::Activated);
    answer(hear_probe(&stage, &new).1, "me");
    assert!(reason(&ended(&stage, &old)).contains("answered by somebody else"));
    hear_order(&stage, &new, &ToWorker::Finish);
    stage.await_node(&old, |node| states(node) == [WorkerState::Primary, WorkerState::Draining]);
    new.exit(0);
    stage.await_node(&old, |node| states(node) == [WorkerState::Primary]);
}

/// A new worker that is watched and turns out to answer with errors; it is to let go by then.
fn taken_back(stage: &Stage) -> (Worker, Worker) {
    let desired = web();
    let (old, _) = serving(stage, &desired);
    let new = begin(stage, &old, &order(LONG));
    advance(stage, &old, &new, &desired, Step::Releasing);
    old.say(&ToKeeper::Served { requests: 1000, errors: 0 });
    old.say(&ToKeeper::Released);
    hear_order(stage, &new, &ToWorker::Acquire);
    new.say(&ToKeeper::Acquired);
    hear_order(stage, &old, &ToWorker::Retire);
    stage.await_node(&new, |node| states(node) == [WorkerState::Draining, WorkerState::Primary]);
    new.say(&ToKeeper::Served { requests: 0, errors: 0 });
    new.say(&ToKeeper::Served { requests: 1000, errors: 200 });
    hear_order(stage, &new, &ToWorker::Release);
    (old, new)
}

fn the_old_worker_comes_back_from_its_retirement() {
    let stage = Stage::new(Pace::Production);
    let (old, new) = taken_back(&stage);
    let state = memfd::seal("state", b"newer").unwrap();
    new.say_with(&ToKeeper::Keep { name: KEPT_STATE.into() }, &[&state]);
    new.say(&ToKeeper::Released);
    let state = hear_order(&stage, &old, &ToWorker::Acquire).unwrap();
    assert_eq!(memfd::read(state, 100).unwrap(), b"newer", "what the new one knew last");
    old.say(&ToKeeper::Acquired);
    let upgrade = ended(&stage, &old);
    assert!(matches!(upgrade.outcome, Some(UpgradeOutcome::Returned(_))), "{upgrade:?}");
    assert_eq!(upgrade.steps.last().unwrap().phase, UpgradePhase::Soaking);
    // Whoever came to the new one is served to the end.
    hear_order(&stage, &new, &ToWorker::Finish);
    stage.await_node(&old, |node| states(node) == [WorkerState::Primary, WorkerState::Draining]);
    let file = memfd::seal("shared", b"two connections").unwrap();
    new.say_with(&ToKeeper::Shared, &[&file]);
    hear_order(&stage, &old, &ToWorker::Shared { generation: new.generation });
    new.exit(0);
    hear_order(&stage, &old, &ToWorker::Gone { generation: new.generation });
    stage.await_node(&old, |node| states(node) == [WorkerState::Primary]);
    // It is obeyed again, and after a crash of it one of its binary follows.
    stage.desire(&old, &Desired::default());
    old.crash();
    let next = stage.worker();
    assert_eq!((next.role, next.generation), (Role::Primary, 3));
    assert!(stage.stderr().contains("the upgrade was taken back"), "{}", stage.stderr());
}

fn the_old_worker_comes_back_at_once_if_the_new_one_does_not_let_go() {
    type Fail = fn(&Worker);
    let hangs: Fail = |_| {};
    let dies: Fail = |new| {
        new.crash();
    };
    for (pace, fail) in [(Pace::Impatient, hangs), (Pace::Production, dies)] {
        let stage = Stage::new(pace);
        let (old, new) = taken_back(&stage);
        fail(&new);
        hear_order(&stage, &old, &ToWorker::Acquire);
        assert!(reason(&ended(&stage, &old)).starts_with("200 of 1000 responses"));
        stage.await_node(&old, |node| states(node) == [WorkerState::Primary]);
    }
}

fn an_end_in_the_middle_kills_nobody() {
    let stop = ToWorker::Stop { grace_ms: 30_000 };
    for step in Step::ALL {
        let stage = Stage::new(Pace::Production);
        let (old, _) = serving(&stage, &web());
        let new = begin(&stage, &old, &order(LONG));
        let _request = advance(&stage, &old, &new, &web(), step);
        stage.signal(Signal::Terminate);
        match step {
            Step::Loading => {}
            Step::Activating | Step::Probing => {
                hear_order(&stage, &new, &ToWorker::Finish);
                hear_order(&stage, &new, &stop);
            }
            Step::Releasing => {
                hear_order(&stage, &old, &ToWorker::Acquire);
                hear_order(&stage, &new, &ToWorker::Finish);
                hear_order(&stage, &new, &stop);
            }
            Step::Acquiring => hear_order(&stage, &new, &stop).map_or((), drop),
            Step::Soaking => {
                hear_order(&stage, &old, &ToWorker::Finish);
                hear_order(&stage, &new, &stop);
            }
        }
        hear_order(&stage, &old, &stop);
        assert!(stage.upgrade(&old, &order(0)).is_err());
        // Each has the time that it needs, in whichever order.
        let has_let_in = step > Step::Loading;
        if has_let_in && step < Step::Soaking {
            new.exit(0);
        }
        old.exit(0);
        if step == Step::Soaking {
            new.exit(0);
        }
        let (status, stderr) = stage.end();
        assert_eq!((status.code(), stderr.as_str()), (Some(0), ""), "{step:?}");
        assert!(signal::send(new.pid, Signal::Kill).is_err(), "nobody is left");
    }
}
