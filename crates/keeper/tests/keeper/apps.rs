//! App instances: crashes, changes, and what the worker hears of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use evergate_control::link::{
    Backoff, Instance, InstanceState, KillScope, Observed, Place, Restart, Severity, StopRule,
    ToKeeper, ToWorker, Verb,
};
use evergate_sys::clock;
use evergate_sys::signal::{self, Signal};

use crate::stage::{Pace, Stage, all_ready, app, apps, lives};

pub(crate) const TESTS: &[crate::Test] = &[
    ("a_crash_is_heard_of_at_once_and_healed", a_crash_is_heard_of_at_once_and_healed),
    ("a_stable_run_is_followed_at_once", a_stable_run_is_followed_at_once),
    ("apps_outlive_workers", apps_outlive_workers),
    ("an_app_is_told_who_it_is", an_app_is_told_who_it_is),
    ("a_failed_start_says_why", a_failed_start_says_why),
    ("every_exit_is_told_exactly", every_exit_is_told_exactly),
    ("a_changed_app_starts_anew_and_others_stay", a_changed_app_starts_anew_and_others_stay),
    ("a_changed_policy_restarts_nothing", a_changed_policy_restarts_nothing),
    ("a_removed_app_dies_with_all_its_kin", a_removed_app_dies_with_all_its_kin),
    ("a_crash_takes_what_was_left_of_it", a_crash_takes_what_was_left_of_it),
    ("an_app_is_asked_to_end_as_it_likes", an_app_is_asked_to_end_as_it_likes),
    ("a_kill_counts_as_a_crash", a_kill_counts_as_a_crash),
    ("wishes_are_done_and_answered", wishes_are_done_and_answered),
    (
        "what_happens_without_a_worker_is_told_to_the_next",
        what_happens_without_a_worker_is_told_to_the_next,
    ),
    ("no_zombie_stays", no_zombie_stays),
];

pub(crate) const SLEEP: &[&str] = &["sleep", "1000"];

/// The process and the port of what is ready.
pub(crate) fn running(instance: &Instance) -> (u32, u16) {
    match (instance.state, instance.pid, &instance.place) {
        (InstanceState::Ready, Some(pid), Some(Place::Port(port))) => (pid, *port),
        _ => panic!("{instance:?}"),
    }
}

/// A wait that is longer than all the patience of a test.
const WAIT_MS: u32 = 600_000;

fn a_crash_is_heard_of_at_once_and_healed() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let before = stage.run(&worker, &[app("shop", SLEEP, 3)]);
    let before: Vec<_> = before.iter().map(running).collect();
    let ports: BTreeSet<u16> = before.iter().map(|&(_, port)| port).collect();
    assert_eq!(ports.len(), 3, "each has a port of its own");

    for (index, &(pid, port)) in before.iter().enumerate() {
        // Nothing else is on its way.
        stage.run(&worker, &[app("shop", SLEEP, 3)]);
        let killed_at = clock::now();
        signal::send(pid, Signal::Kill).unwrap();
        let (heard, _) = stage.hear(&worker);
        println!("heard after {:.1?}", clock::now() - killed_at);
        let ToWorker::Observed(Observed { instances, .. }) = heard else { panic!("{heard:?}") };
        let hit = &instances[index];
        assert!(matches!(hit.state, InstanceState::Backoff { for_ms: 1..=250 }), "{hit:?}");
        assert_eq!((hit.exits, hit.last_exit.as_deref()), (1, Some("signal 9 (KILL)")));
        assert_eq!((hit.pid, &hit.place, hit.budget), (None, &None, (1, 10)));
        let told = stage.await_event_of(&worker, "app_exited");
        assert_eq!((told.severity, told.subject), (Severity::Warn, format!("app.shop/{index}")));
        assert!(told.reason.contains("signal 9 (KILL)"), "{}", told.reason);
        let healed = stage.observe(&worker, all_ready);
        let (new_pid, new_port) = running(&healed[index]);
        assert!(new_pid != pid && new_port != port, "a new process on a new port");
        assert_eq!((healed[index].run.generation, healed[index].exits), (2, 1));
        let others = (0..3).filter(|&other| other != index);
        for other in others {
            assert_eq!(healed[other].run, instances[other].run, "untouched");
        }
    }
}

fn a_stable_run_is_followed_at_once() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let mut shop = app("shop", SLEEP, 1);
    shop.backoff.stable_after_ms = 0;
    // Whoever is not followed at once waits for half of that at least, which no test does.
    (shop.backoff.base_ms, shop.backoff.cap_ms) = (WAIT_MS, WAIT_MS);
    let mut last = stage.run(&worker, &[shop]).remove(0);
    let mut waits: Vec<Duration> = (0..8)
        .map(|_| {
            let killed_at = clock::now();
            signal::send(running(&last).0, Signal::Kill).unwrap();
            // The end is told before the next is even started.
            let is_over = |all: &[Instance]| all[0].run.generation > last.run.generation;
            assert_eq!(stage.observe(&worker, is_over)[0].pid, None);
            let next = stage.observe(&worker, all_ready).remove(0);
            let wait = clock::now() - killed_at;
            last = next;
            wait
        })
        .collect();
    waits.sort_unstable();
    // From the kill to the probe of the next that passed, as the worker sees it.
    println!("replaced after {:.1?} at best, {:.1?} in the middle", waits[0], waits[4]);
}

fn apps_outlive_workers() {
    let stage = Stage::new(Pace::Quick);
    let mut worker = stage.worker();
    let wanted = [app("shop", SLEEP, 2)];
    let before = stage.run(&worker, &wanted);
    worker.say(&ToKeeper::Ready);
    for _ in 0..3 {
        worker.crash();
        worker = stage.worker();
        // It hears of them before it says what it wants.
        let known = stage.observe(&worker, all_ready);
        let same = stage.run(&worker, &wanted);
        for (one, before) in known.iter().chain(&same).zip(before.iter().cycle()) {
            assert_eq!((&one.run, running(one)), (&before.run, running(before)));
        }
        worker.say(&ToKeeper::Ready);
    }
}

fn an_app_is_told_who_it_is() {
    let manager = ("NOTIFY_SOCKET", "/no/such/manager".to_owned());
    let mut stage = Stage::with(Pace::Production, std::env::current_exe().unwrap(), &[manager]);
    let worker = stage.worker();
    let mut shop = app("shop", SLEEP, 2);
    shop.env = vec![("MODE".into(), "production".into()), ("PORT".into(), "1".into())];
    shop.cwd = Some(stage.path(""));
    shop.umask = Some(0o027);
    let instances = stage.run(&worker, &[shop]);
    let (pid, port) = running(&instances[1]);
    let environ = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    let env: BTreeMap<_, _> = environ.split('\0').filter_map(|line| line.split_once('=')).collect();
    let expected = [
        ("PORT", port.to_string()),
        ("HOST", "127.0.0.1".into()),
        ("APP", "shop".into()),
        ("INSTANCE", "1".into()),
        ("GENERATION", "1".into()),
        ("MODE", "production".into()),
    ];
    for (name, value) in expected {
        assert_eq!(env.get(name).copied(), Some(value.as_str()), "{name}");
    }
    for name in ["NOTIFY_SOCKET", "EVERGATE_LINK", "SOCKET", "LISTEN_FDS"] {
        assert!(!env.contains_key(name), "{name}");
    }
    let cwd = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    assert_eq!(cwd, fs::canonicalize(stage.path("")).unwrap());
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Umask:\t0027"), "{status}");
    // As it was called, whatever file that is.
    let called = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(called, "sleep\x001000\x00");
    // Standard input, output and error; while it starts, a library too.
    let fds = format!("/proc/{pid}/fd");
    stage.await_true(|_| (fs::read_dir(&fds).unwrap().count() == 3).then_some(()));
}

fn a_failed_start_says_why() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let mut lost = app("lost", SLEEP, 1);
    lost.cwd = Some("/no/such/place".into());
    let mut crowded = app("crowded", SLEEP, 2);
    let port = free_port();
    crowded.ports = (port, port);
    let wrong = [
        app("absent", &["/no/such/program"], 1),
        crowded,
        app("empty", &[], 1),
        lost,
        app("unknown", &["no-such-program"], 1),
    ];
    let settled = stage.desire(&worker, &apps(&wrong));
    let found: Vec<_> = settled
        .instances
        .iter()
        .map(|one| (matches!(one.state, InstanceState::Fatal { .. }), one.last_exit.as_deref()))
        .collect();
    let taken = format!("no port is free from {port} to {port}");
    let expected = [
        (true, Some("cannot run /no/such/program: no such file; mend app.absent.run")),
        (false, None),
        (false, Some(taken.as_str())),
        (true, Some("cannot run: no program is given; mend app.empty.run")),
        (true, Some("cannot run in /no/such/place: no such file; mend app.lost.cwd")),
        (true, Some("cannot run no-such-program: no such program in PATH; mend app.unknown.run")),
    ];
    assert_eq!(found, expected);
    let told = stage.await_event_of(&worker, "app_fatal");
    assert_eq!((told.severity, told.subject.as_str()), (Severity::Error, "app.absent/0"));
}

/// One that nobody listens on, below those that the kernel gives to whoever asks for any.
fn free_port() -> u16 {
    let first = 20_000 + (std::process::id() % 8_000) as u16;
    let mut ports = first..first + 1_000;
    ports.find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()).expect("one is free")
}

fn every_exit_is_told_exactly() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let cases = [
        ("exit 0", "exit status 0"),
        ("exit 1", "exit status 1"),
        ("exit 78", "exit status 78"),
        ("exit 255", "exit status 255"),
        ("kill -9 $$", "signal 9 (KILL)"),
        ("kill -15 $$", "signal 15 (TERM)"),
        ("ulimit -c 0; kill -11 $$", "signal 11 (SEGV)"),
        ("kill -34 $$", "signal 34"),
    ];
    let wanted: Vec<_> = (0..cases.len())
        .map(|index| {
            let mut one = app(&format!("app-{index}"), &["sh", "-c", cases[index].0], 1);
            one.restart = Restart::Never;
            one
        })
        .collect();
    stage.desire(&worker, &apps(&wanted));
    let all_ended = |all: &[Instance]| all.iter().all(|one| one.last_exit.is_some());
    let ended = stage.observe(&worker, all_ended);
    for (one, (script, how)) in ended.iter().zip(cases) {
        assert_eq!((one.last_exit.as_deref(), one.pid), (Some(how), None), "{script}");
    }
}

fn a_changed_app_starts_anew_and_others_stay() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    worker.say(&ToKeeper::Ready);
    let (shop, mut api) = (app("shop", SLEEP, 1), app("api", SLEEP, 1));
    let before = stage.run(&worker, &[shop.clone(), api.clone()]);
    api.env.push(("MODE".into(), "new".into()));
    stage.desire(&worker, &apps(&[shop.clone(), api.clone()]));
    let after = stage
        .observe(&worker, |all| all.len() == 2 && all_ready(all) && all[0].run.generation == 2);
    assert_eq!((after[0].run.app.as_str(), after[0].revision), ("api", 2));
    assert_eq!((after[0].exits, &after[1].run), (0, &before[1].run), "planned; and untouched");
    // More of the same disturbs nobody.
    let more = stage.run(&worker, &[app("shop", SLEEP, 2), api]);
    assert_eq!((&more[0].run, &more[1].run), (&after[0].run, &after[1].run));
}

fn a_changed_policy_restarts_nothing() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let mut shop = app("shop", SLEEP, 1);
    let before = stage.run(&worker, std::slice::from_ref(&shop));
    shop.ports = (32_000, 32_099);
    shop.backoff = Backoff { failures: 3, base_ms: 1, ..Backoff::default() };
    shop.stop = StopRule { signal: 2, ..StopRule::default() };
    shop.restart = Restart::OnFailure;
    shop.after = vec!["nobody".into()];
    let after = stage.run(&worker, std::slice::from_ref(&shop));
    assert_eq!((&after[0].run, running(&after[0])), (&before[0].run, running(&before[0])));
    assert_eq!((after[0].revision, after[0].budget), (1, (0, 3)));
    // But the next run goes by it.
    signal::send(running(&after[0]).0, Signal::Kill).unwrap();
    let next = stage.observe(&worker, |all| all_ready(all) && all[0].run.generation == 2);
    assert!((32_000..32_100).contains(&running(&next[0]).1));
}

fn a_removed_app_dies_with_all_its_kin() {
    // The first ignores the request to end, as its child does; the second leaves its child behind.
    let stubborn = "trap '' TERM; sleep 1000 & wait; sleep 1000";
    let careless = "(trap '' TERM; sleep 1000; :) & wait";
    for script in [stubborn, careless] {
        let mut stage = Stage::new(Pace::Quick);
        let worker = stage.worker();
        let shop = app("shop", &["sh", "-c", script], 1);
        let pid = running(&stage.run(&worker, &[shop])[0]).0;
        let kin = stage.await_true(|_| only_descendant(pid));
        let settled = stage.desire(&worker, &apps(&[]));
        assert_eq!(settled.instances[0].state, InstanceState::Stopping);
        assert_eq!(settled.instances[0].pid, Some(pid));
        stage.observe(&worker, <[Instance]>::is_empty);
        assert!(!lives(pid));
        stage.await_true(|_| (!lives(kin)).then_some(()));
        let news = worker.news.borrow();
        assert!(!news.iter().any(|news| news.kind == "app_exited"), "planned: {news:?}");
    }
}

fn a_crash_takes_what_was_left_of_it() {
    let mut stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let shop = app("shop", &["sh", "-c", "sleep 1000 & wait"], 1);
    let pid = running(&stage.run(&worker, &[shop])[0]).0;
    let kin = stage.await_true(|_| only_descendant(pid));
    signal::send(pid, Signal::Kill).unwrap();
    stage.observe(&worker, |all| all.iter().any(|one| one.run.generation == 2));
    stage.await_true(|_| (!lives(kin)).then_some(()));
}

fn an_app_is_asked_to_end_as_it_likes() {
    let mut stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let polite = "trap 'exit 7' INT; trap '' TERM; sleep 1000 & while :; do wait; done";
    let mut shop = app("shop", &["sh", "-c", polite], 1);
    shop.stop = StopRule { signal: 2, kill: KillScope::Main, ..StopRule::default() };
    let pid = running(&stage.run(&worker, &[shop])[0]).0;
    let kin = stage.await_true(|_| only_descendant(pid));
    stage.desire(&worker, &apps(&[]));
    stage.observe(&worker, <[Instance]>::is_empty);
    assert!(lives(kin), "only its own process was to end");
    signal::send_if(kin, Signal::Kill, || true).unwrap();
}

/// The `sleep` that a process or its child started, once it runs.
pub(crate) fn only_descendant(pid: u32) -> Option<u32> {
    let child = children(pid).first().copied()?;
    let sleep = children(child).first().copied().unwrap_or(child);
    let name = fs::read_to_string(format!("/proc/{sleep}/comm")).ok()?;
    (name.trim() == "sleep").then_some(sleep)
}

fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let listed = fs::read_to_string(path).unwrap_or_default();
    listed.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn a_kill_counts_as_a_crash() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    stage.run(&worker, &[app("shop", SLEEP, 2)]);
    // Those that are not there are passed over.
    for (app, instance) in [("shop", 7), ("none", 0), ("shop", 1)] {
        worker.say(&ToKeeper::Kill { app: app.into(), instance });
    }
    let healed = stage.observe(&worker, |all| all[1].run.generation == 2);
    assert_eq!((healed[0].exits, healed[1].exits), (0, 1));
    assert_eq!(healed[1].last_exit.as_deref(), Some("signal 9 (KILL)"));
}

fn wishes_are_done_and_answered() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    worker.say(&ToKeeper::Ready);
    let before = stage.run(&worker, &[app("shop", SLEEP, 2)]);
    assert_eq!(
        stage.wish(&worker, ("cafe", None), Verb::Stop),
        Err("there is no app cafe".to_owned())
    );
    assert!(stage.wish(&worker, ("shop", Some(9)), Verb::Stop).is_err());
    let plan = stage.wish(&worker, ("shop", Some(1)), Verb::PlanRestart).unwrap();
    assert!(plan.iter().any(|line| line.contains("shop/1")), "{plan:?}");
    // It stays stopped, whatever else changes, until it is started.
    stage.wish(&worker, ("shop", Some(1)), Verb::Stop).unwrap();
    let stopped = |all: &[Instance]| all[1].state == InstanceState::Stopped;
    let still = stage.observe(&worker, stopped);
    assert_eq!((&still[0].run, still[1].exits), (&before[0].run, 0), "nothing but that");
    assert!(stopped(&stage.desire(&worker, &apps(&[app("shop", SLEEP, 3)])).instances));
    stage.wish(&worker, ("shop", None), Verb::Start).unwrap();
    let started = stage.observe(&worker, |all| all.len() == 3 && all_ready(all));
    assert_eq!(started[1].run.generation, 2);
    // Another run of the same.
    stage.wish(&worker, ("shop", Some(0)), Verb::Restart).unwrap();
    let after = stage
        .observe(&worker, |all| all.len() == 3 && all_ready(all) && all[0].run.generation == 2);
    assert_eq!((after[0].revision, after[0].exits), (1, 0));
    assert_eq!(&after[1].run, &started[1].run);
}

fn what_happens_without_a_worker_is_told_to_the_next() {
    let mut stage = Stage::new(Pace::Quick);
    let worker = stage.worker();
    let pid = running(&stage.run(&worker, &[app("shop", SLEEP, 1)])[0]).0;
    worker.say(&ToKeeper::Ready);
    worker.crash();
    stage.await_reaped(worker.pid);
    signal::send(pid, Signal::Kill).unwrap();
    stage.await_reaped(pid);
    let next = stage.worker();
    let told = stage.await_event_of(&next, "app_exited");
    assert!(told.reason.contains("signal 9 (KILL)"), "{told:?}");
    // Nobody probes yet, so what has started meanwhile is not blamed for not being ready.
    stage.observe(&next, |all| all[0].run.generation == 2 && all_ready(all));
}

fn no_zombie_stays() {
    let mut stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    // Two orphans each, which the keeper inherits; one of them exits at once.
    let messy = ["sh", "-c", "(sleep 0 &); (sleep 1000 &); exec sleep 1000"];
    stage.desire(&worker, &apps(&[app("shop", &messy, 5), app("brief", &["true"], 5)]));
    let keeper = stage.keeper_pid();
    stage.await_true(|_| {
        let children = children(keeper);
        // The worker, five instances, five orphans; whatever else was there has been reaped.
        (children.len() == 11 && children.iter().all(|&pid| lives(pid))).then_some(())
    });
}
