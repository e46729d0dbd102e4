//! One worker after the other, step by step, with puppets in the place of both.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use evergate_control::link::{
    Desired, Instance, InstanceState, KEPT_STATE, NodeNews, Role, Run, ToKeeper, ToWorker,
    UpgradeNews, UpgradeOrder, UpgradeOutcome, UpgradeParts, UpgradePhase, WorkerState,
};
use evergate_sys::memfd;
use evergate_sys::signal::Signal;

use crate::stage::{Pace, Settled, Stage, Worker, all_ready, app, listener};

pub(crate) const TESTS: &[crate::Test] = &[
    ("a_worker_is_replaced_while_it_serves", a_worker_is_replaced_while_it_serves),
    ("a_candidate_that_is_lost_changes_nothing", a_candidate_that_is_lost_changes_nothing),
    ("a_candidate_that_hangs_is_given_up", a_candidate_that_hangs_is_given_up),
    ("a_worker_that_is_lost_is_followed_at_once", a_worker_that_is_lost_is_followed_at_once),
    ("a_wish_of_a_candidate_waits_until_it_takes_over", a_wish_of_a_candidate_waits),
    ("nothing_that_apps_print_is_lost_on_the_way", nothing_that_apps_print_is_lost_on_the_way),
    ("a_run_is_idle_when_every_worker_says_so", a_run_is_idle_when_every_worker_says_so),
    ("what_drains_is_known_to_whoever_serves", what_drains_is_known_to_whoever_serves),
    ("all_workers_finish_when_all_ends", all_workers_finish_when_all_ends),
];

/// How far a candidate is brought.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Step {
    Loading,
    Activating,
    Probing,
    Releasing,
    Acquiring,
    Soaking,
}

impl Step {
    pub(crate) const ALL: [Self; 6] = [
        Self::Loading,
        Self::Activating,
        Self::Probing,
        Self::Releasing,
        Self::Acquiring,
        Self::Soaking,
    ];
}

pub(crate) fn order(soak_ms: u32) -> UpgradeOrder {
    UpgradeOrder { binary: None, parts: UpgradeParts::Worker, soak_ms: Some(soak_ms), force: false }
}

/// Long enough for any test.
pub(crate) const LONG: u32 = 3_600_000;

pub(crate) fn web() -> Desired {
    Desired { listeners: vec![listener("web", "127.0.0.1:0", 2)], ..Desired::default() }
}

/// The first worker, which serves what it desires.
pub(crate) fn serving(stage: &Stage, desired: &Desired) -> (Worker, Settled) {
    let worker = stage.worker();
    let settled = stage.desire(&worker, desired);
    worker.say(&ToKeeper::Ready);
    stage.await_node(&worker, |node| states(node) == [WorkerState::Primary]);
    (worker, settled)
}

pub(crate) fn states(node: &NodeNews) -> Vec<WorkerState> {
    node.workers.iter().map(|worker| worker.state).collect()
}

/// Has the keeper begin an upgrade; returns the new worker, which has just said Hello.
pub(crate) fn begin(stage: &Stage, old: &Worker, order: &UpgradeOrder) -> Worker {
    stage.upgrade(old, order).unwrap();
    let new = stage.worker();
    assert_eq!(new.role, Role::Candidate);
    new
}

/// Brings a candidate up to `step`, which has then begun; returns a request that is to be answered.
pub(crate) fn advance(
    stage: &Stage,
    old: &Worker,
    new: &Worker,
    desired: &Desired,
    step: Step,
) -> Option<UnixStream> {
    if step == Step::Loading {
        return None;
    }
    stage.desire(new, desired);
    new.say(&ToKeeper::Ready);
    hear_order(stage, new, &ToWorker::Activate);
    if step == Step::Activating {
        return None;
    }
    new.say(&ToKeeper::Activated);
    let (token, stream) = hear_probe(stage, new);
    if step == Step::Probing {
        return Some(stream);
    }
    answer(stream, &token);
    hear_order(stage, old, &ToWorker::Release);
    if step == Step::Releasing {
        return None;
    }
    let state = memfd::seal("state", b"known").unwrap();
    old.say_with(&ToKeeper::Keep { name: KEPT_STATE.into() }, &[&state]);
    old.say(&ToKeeper::Released);
    let state = hear_order(stage, new, &ToWorker::Acquire).expect("the state is beside it");
    assert_eq!(memfd::read(state, 100).unwrap(), b"known");
    if step == Step::Acquiring {
        return None;
    }
    new.say(&ToKeeper::Acquired);
    hear_order(stage, old, &ToWorker::Retire);
    None
}

/// Waits for an order; what else is said before it may be put aside.
pub(crate) fn hear_order(
    stage: &Stage,
    worker: &Worker,
    expected: &ToWorker,
) -> Option<std::os::fd::OwnedFd> {
    loop {
        match stage.next(worker) {
            (heard, mut fds) if heard == *expected => return fds.pop(),
            (ToWorker::Observed(_), _) => {}
            (other, _) => panic!("{other:?} instead of {expected:?}"),
        }
    }
}

pub(crate) fn hear_probe(stage: &Stage, worker: &Worker) -> (String, UnixStream) {
    match stage.next(worker) {
        (ToWorker::Probe { token }, mut fds) => (token, UnixStream::from(fds.pop().unwrap())),
        (other, _) => panic!("{other:?}"),
    }
}

pub(crate) fn answer(mut stream: UnixStream, body: &str) {
    let mut request = [0; 512];
    let length = stream.read(&mut request).unwrap();
    assert!(request[..length].starts_with(b"GET / HTTP/1.1\r\n"));
    let length = body.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
}

/// The upgrade, once it has ended.
pub(crate) fn ended(stage: &Stage, worker: &Worker) -> UpgradeNews {
    let node = stage.await_node(worker, |node| {
        node.upgrade.as_ref().is_some_and(|upgrade| upgrade.outcome.is_some())
    });
    node.upgrade.unwrap()
}

pub(crate) fn reason(upgrade: &UpgradeNews) -> &str {
    match upgrade.outcome.as_ref().unwrap() {
        UpgradeOutcome::Done => panic!("{upgrade:?}"),
        UpgradeOutcome::Refused(why)
        | UpgradeOutcome::Returned(why)
        | UpgradeOutcome::Partial(why) => why,
    }
}

fn a_worker_is_replaced_while_it_serves() {
    let stage = Stage::new(Pace::Production);
    let desired = web();
    let (old, first) = serving(&stage, &desired);
    let plan = stage.upgrade(&old, &order(0)).unwrap();
    assert!(plan[0].starts_with("check /") && plan.len() == 4, "{plan:?}");
    let new = stage.worker();
    let again = stage.desire(&new, &desired);
    assert_eq!(again.listening, first.listening, "the very same sockets");
    new.say(&ToKeeper::Ready);
    hear_order(&stage, &new, &ToWorker::Activate);
    stage.await_node(&old, |node| states(node) == [WorkerState::Primary, WorkerState::Standby]);
    new.say(&ToKeeper::Activated);
    let (token, stream) = hear_probe(&stage, &new);
    answer(stream, &token);
    hear_order(&stage, &old, &ToWorker::Release);
    old.say(&ToKeeper::Released);
    assert!(hear_order(&stage, &new, &ToWorker::Acquire).is_none(), "nothing was kept");
    stage.await_node(&new, |node| states(node) == [WorkerState::Standby, WorkerState::Primary]);
    new.say(&ToKeeper::Acquired);
    hear_order(&stage, &old, &ToWorker::Retire);
    hear_order(&stage, &old, &ToWorker::Finish);
    let upgrade = ended(&stage, &new);
    assert_eq!(upgrade.outcome, Some(UpgradeOutcome::Done));
    assert_eq!((upgrade.number, upgrade.version.as_deref()), (1, Some("2.0.0")));
    let steps: Vec<_> = upgrade.steps.iter().map(|step| step.phase).collect();
    assert!(steps.is_sorted() && steps[0] == UpgradePhase::Checking && steps.len() == 7);
    assert!(upgrade.steps.iter().all(|step| step.took_ms.is_some()));
    stage.await_node(&new, |node| states(node) == [WorkerState::Draining, WorkerState::Primary]);
    old.say(&ToKeeper::Drained);
    old.exit(0);
    hear_order(&stage, &new, &ToWorker::Gone { generation: old.generation });
    stage.await_node(&new, |node| states(node) == [WorkerState::Primary]);
    assert_eq!(stage.stderr(), "", "nothing to worry about");
}

fn a_candidate_that_is_lost_changes_nothing() {
    type Lose = fn(&Worker);
    let ways: [Lose; 3] = [
        |new| {
            new.crash();
        },
        |new| new.babble(b"\xff\xff"),
        |new| new.babble(&[crate::puppet::LET_GO]),
    ];
    for lose in ways {
        for step in Step::ALL {
            let stage = Stage::new(Pace::Production);
            let desired = web();
            let (old, first) = serving(&stage, &desired);
            let new = begin(&stage, &old, &order(LONG));
            let _request = advance(&stage, &old, &new, &desired, step);
            lose(&new);
            let upgrade = ended(&stage, &old);
            let is_refused = matches!(upgrade.outcome, Some(UpgradeOutcome::Refused(_)));
            assert_eq!(is_refused, step < Step::Releasing, "{step:?} {upgrade:?}");
            assert!(reason(&upgrade).starts_with("the new worker: "), "{upgrade:?}");
            stage.await_node(&old, |node| states(node) == [WorkerState::Primary]);
            if step >= Step::Releasing {
                hear_order(&stage, &old, &ToWorker::Acquire);
            }
            let again = stage.desire(&old, &desired);
            assert_eq!(again.listening, first.listening, "{step:?}");
            assert!(stage.upgrade(&old, &order(0)).is_ok(), "another may begin");
        }
    }
}

fn a_candidate_that_hangs_is_given_up() {
    for (step, why) in [
        (Step::Loading, "was not ready within"),
        (Step::Activating, "did not begin to accept within"),
        (Step::Probing, "did not answer a request within"),
        (Step::Releasing, "the old worker did not let go"),
        (Step::Acquiring, "did not take over within"),
    ] {
        let stage = Stage::new(Pace::Impatient);
        let (old, _) = serving(&stage, &web());
        let new = begin(&stage, &old, &order(LONG));
        let _request = advance(&stage, &old, &new, &web(), step);
        let upgrade = ended(&stage, &old);
        assert!(reason(&upgrade).contains(why), "{step:?} {upgrade:?}");
        if step == Step::Releasing {
            // That is no fault of the new one, which may have clients.
            hear_order(&stage, &new, &ToWorker::Finish);
            new.exit(0);
        }
        stage.await_node(&old, |node| states(node) == [WorkerState::Primary]);
    }
}

fn a_worker_that_is_lost_is_followed_at_once() {
    for step in Step::ALL {
        let mut stage = Stage::new(Pace::Production);
        let desired = web();
        let (old, first) = serving(&stage, &desired);
        let new = begin(&stage, &old, &order(0));
        // With no time to watch it, that phase is over as soon as it begins.
        let _request = advance(&stage, &old, &new, &desired, step.min(Step::Acquiring));
        old.crash();
        let next = match step {
            // Nobody else is there yet: the running binary is started again.
            Step::Loading => {
                let next = stage.worker();
                assert_eq!((next.role, next.generation), (Role::Primary, 3));
                let upgrade = ended(&stage, &next);
                assert!(reason(&upgrade).starts_with("the old worker: "), "{upgrade:?}");
                next
            }
            Step::Activating | Step::Probing | Step::Releasing => {
                hear_order(&stage, &new, &ToWorker::Acquire);
                new.say(&ToKeeper::Acquired);
                assert_eq!(ended(&stage, &new).outcome, Some(UpgradeOutcome::Done), "{step:?}");
                new
            }
            Step::Acquiring | Step::Soaking => {
                stage.await_node(&new, |node| node.workers.len() == 1);
                new.say(&ToKeeper::Acquired);
                assert_eq!(ended(&stage, &new).outcome, Some(UpgradeOutcome::Done), "{step:?}");
                new
            }
        };
        let again = stage.desire(&next, &desired);
        assert_eq!(again.listening, first.listening, "{step:?}");
        // The end of its link is heard before its exit is, on some machines.
        let ends = |stage: &mut Stage| stage.stderr().matches("the worker (process").count();
        let count = stage.await_true(|stage| Some(ends(stage)).filter(|&count| count > 0));
        assert_eq!(count, 1, "the one we killed, and no other");
    }
}

fn a_wish_of_a_candidate_waits() {
    let stage = Stage::new(Pace::Production);
    let shop = || app("shop", &["sleep", "1000"], 1);
    let before = Desired { apps: vec![shop()], ..web() };
    let (old, first) = serving(&stage, &before);
    let shops = stage.observe(&old, all_ready);
    let new = begin(&stage, &old, &order(LONG));
    let other = listener("other", "127.0.0.1:0", 1);
    let changed = Desired {
        listeners: vec![before.listeners[0].clone(), other],
        apps: vec![shop(), app("more", &["sleep", "1000"], 1)],
        run_dir: None,
        ..Desired::default()
    };
    new.say(&ToKeeper::Kill { app: "shop".into(), instance: 0 });
    let answered = stage.desire(&new, &changed);
    assert_eq!(answered.listening[0], first.listening[0]);
    assert!(answered.listening[1].1.is_empty(), "not opened for a candidate");
    let ids = |all: &[Instance]| all.iter().map(|one| (one.run.clone(), one.pid)).collect();
    let before: BTreeMap<Run, _> = ids(&stage.desire(&old, &before).instances);
    assert_eq!(before, ids(&shops), "neither killed nor joined by another");
    advance(&stage, &old, &new, &changed, Step::Soaking);
    let after = stage.observe(&new, |all| all.len() == 2 && all_ready(all));
    assert!(after.iter().any(|one| one.pid == shops[0].pid), "untouched");
    // Once it is the primary one, what it says is done.
    assert!(!stage.desire(&new, &changed).listening[1].1.is_empty());
}

fn nothing_that_apps_print_is_lost_on_the_way() {
    let stage = Stage::new(Pace::Production);
    let script = "echo one; read line < fifo; echo two";
    rustix::fs::mkfifoat(rustix::fs::CWD, stage.path("fifo"), 0o600.into()).unwrap();
    let mut shop = app("shop", &["/bin/sh", "-c", script], 1);
    shop.cwd = Some(stage.path(""));
    shop.keeps_output = true;
    let desired = Desired { apps: vec![shop], ..Desired::default() };
    let (old, _) = serving(&stage, &desired);
    let run = stage.observe(&old, all_ready)[0].run.clone();
    let read = |worker: &Worker| {
        let end = &worker.outputs.borrow()[&run];
        let mut waiting = [rustix::event::PollFd::new(end, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut waiting, None).unwrap();
        let mut text = [0; 64];
        let length = rustix::io::read(end, &mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    while old.outputs.borrow().is_empty() {
        stage.desire(&old, &desired);
    }
    assert_eq!(read(&old), "one\n");
    let new = begin(&stage, &old, &order(LONG));
    advance(&stage, &old, &new, &desired, Step::Releasing);
    assert!(new.outputs.borrow().is_empty(), "there is one reader at a time");
    // It ends when nobody reads any more, and nobody does so yet.
    std::fs::write(stage.path("fifo"), "\n").unwrap();
    stage.observe(&old, |all| all[0].run != run || all[0].pid.is_none());
    old.say(&ToKeeper::Released);
    hear_order(&stage, &new, &ToWorker::Acquire);
    new.say(&ToKeeper::Acquired);
    hear_order(&stage, &old, &ToWorker::Retire);
    while !new.outputs.borrow().contains_key(&run) {
        stage.desire(&new, &desired);
    }
    assert_eq!(read(&new), "two\n");
}

fn a_run_is_idle_when_every_worker_says_so() {
    let is_draining = |all: &[Instance]| {
        all.iter().any(|one| matches!(one.state, InstanceState::Draining { .. }))
    };
    for old_is_first in [true, false] {
        let stage = Stage::new(Pace::Production);
        let mut shop = app("shop", &["sleep", "1000"], 1);
        shop.stop.drain_ms = LONG;
        let desired = Desired { apps: vec![shop], ..web() };
        let (old, _) = serving(&stage, &desired);
        stage.observe(&old, all_ready);
        let mut new = begin(&stage, &old, &order(LONG));
        advance(&stage, &old, &new, &desired, Step::Soaking);
        new.probes = false;
        let told = stage.desire(&new, &Desired::default());
        assert!(is_draining(&told.instances), "{told:?}");
        let idle = ToKeeper::Idle { run: told.instances[0].run.clone() };
        let (first, second) = if old_is_first { (&old, &new) } else { (&new, &old) };
        first.say(&idle);
        stage.desire(first, &Desired::default());
        let told = stage.desire(&new, &Desired::default());
        assert!(is_draining(&told.instances), "the other one has said nothing: {told:?}");
        second.say(&idle);
        stage.observe(&new, <[Instance]>::is_empty);
    }
}

fn what_drains_is_known_to_whoever_serves() {
    let stage = Stage::new(Pace::Quick);
    let (old, _) = serving(&stage, &web());
    let new = begin(&stage, &old, &order(0));
    advance(&stage, &old, &new, &web(), Step::Soaking);
    hear_order(&stage, &old, &ToWorker::Finish);
    let file = memfd::seal("shared", b"two connections").unwrap();
    old.say_with(&ToKeeper::Shared, &[&file]);
    let shared = ToWorker::Shared { generation: old.generation };
    let heard = hear_order(&stage, &new, &shared).unwrap();
    assert_eq!(memfd::read(heard, 100).unwrap(), b"two connections");
    // It lets go of its link and goes on, and whoever serves may die before it does.
    old.babble(&[crate::puppet::LET_GO]);
    new.crash();
    let next = stage.worker();
    let heard = hear_order(&stage, &next, &shared).unwrap();
    assert_eq!(memfd::read(heard, 100).unwrap(), b"two connections");
    assert_eq!(memfd::read(&next.kept[KEPT_STATE], 100).unwrap(), b"known");
    assert!(crate::stage::lives(old.pid));
    old.exit(0);
    hear_order(&stage, &next, &ToWorker::Gone { generation: old.generation });
}

fn all_workers_finish_when_all_ends() {
    let stage = Stage::new(Pace::Production);
    let desired = Desired { apps: vec![app("shop", &["sleep", "1000"], 1)], ..web() };
    let (old, _) = serving(&stage, &desired);
    let shop = stage.observe(&old, all_ready)[0].pid.unwrap();
    let new = begin(&stage, &old, &order(0));
    advance(&stage, &old, &new, &desired, Step::Soaking);
    hear_order(&stage, &old, &ToWorker::Finish);
    stage.signal(Signal::Terminate);
    for worker in [&old, &new] {
        hear_order(&stage, worker, &ToWorker::Stop { grace_ms: 30_000 });
    }
    new.say(&ToKeeper::Drained);
    stage.desire(&new, &desired);
    assert!(crate::stage::lives(shop), "the old worker may still need it");
    old.exit(0);
    hear_order(&stage, &new, &ToWorker::Gone { generation: old.generation });
    stage.observe(&new, <[Instance]>::is_empty);
    new.exit(0);
    assert_eq!(stage.end().0.code(), Some(0));
}
