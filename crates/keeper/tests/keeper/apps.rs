//! App instances: crashes, changes, and what the worker hears of them.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use evergate_control::link::{Instance, InstanceState, Observed, Place, ToKeeper, ToWorker};
use evergate_sys::clock;
use evergate_sys::signal::{self, Signal};

use crate::stage::{Pace, Stage, app, apps, lives};

pub(crate) const TESTS: &[crate::Test] = &[
    ("a_crash_is_heard_of_at_once_and_healed", a_crash_is_heard_of_at_once_and_healed),
    ("apps_outlive_workers", apps_outlive_workers),
    ("an_app_is_told_who_it_is", an_app_is_told_who_it_is),
    ("a_failed_start_says_why", a_failed_start_says_why),
    ("a_changed_app_starts_anew_and_others_stay", a_changed_app_starts_anew_and_others_stay),
    ("a_removed_app_dies_with_all_its_kin", a_removed_app_dies_with_all_its_kin),
    ("a_crash_takes_what_was_left_of_it", a_crash_takes_what_was_left_of_it),
    ("a_kill_counts_as_a_crash", a_kill_counts_as_a_crash),
    ("no_zombie_stays", no_zombie_stays),
];

const SLEEP: &[&str] = &["sleep", "1000"];

fn running(instance: &Instance) -> (u32, u16) {
    match (instance.state, instance.pid, &instance.place) {
        (InstanceState::Ready, Some(pid), Some(Place::Port(port))) => (pid, *port),
        _ => panic!("{instance:?}"),
    }
}

fn all_run(instances: &[Instance]) -> bool {
    instances.iter().all(|instance| instance.state == InstanceState::Ready)
}

fn a_crash_is_heard_of_at_once_and_healed() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let settled = stage.desire(&worker, &apps(&[app("shop", SLEEP, 3)]));
    let before: Vec<_> = settled.instances.iter().map(running).collect();
    assert_eq!(before.len(), 3);
    let ports: std::collections::BTreeSet<u16> = before.iter().map(|&(_, port)| port).collect();
    assert_eq!(ports.len(), 3, "each has a port of its own");

    let mut fastest = Duration::MAX;
    for (index, &(pid, port)) in before.iter().enumerate() {
        let killed_at = clock::now();
        signal::send(pid, Signal::Kill).unwrap();
        let (heard, _) = stage.hear(&worker);
        fastest = fastest.min(clock::now() - killed_at);
        let ToWorker::Observed(Observed { instances, .. }) = heard else { panic!("{heard:?}") };
        let hit = &instances[index];
        assert!(matches!(hit.state, InstanceState::Backoff { for_ms: 1..=250 }), "{hit:?}");
        assert_eq!((hit.exits, hit.last_exit.as_deref()), (1, Some("signal 9 (KILL)")));
        let healed = stage.observe(&worker, all_run);
        let (new_pid, new_port) = running(&healed[index]);
        assert!(new_pid != pid && new_port != port, "a new process on a new port");
        assert_eq!((healed[index].run.generation, healed[index].exits), (2, 1));
        let others = (0..3).filter(|&other| other != index);
        assert!(others.into_iter().all(|other| healed[other] == instances[other]), "untouched");
    }
    // The fastest, because a busy machine may hold up any one.
    assert!(fastest < Duration::from_millis(50), "heard after {fastest:?}");
    assert!(stage.stderr().contains("shop/1 (process"), "{}", stage.stderr());
}

fn apps_outlive_workers() {
    let stage = Stage::new(Pace::Quick);
    let mut worker = stage.worker();
    let desired = apps(&[app("shop", SLEEP, 2)]);
    let before = stage.desire(&worker, &desired).instances;
    worker.say(&ToKeeper::Ready);
    for _ in 0..3 {
        worker.crash();
        worker = stage.worker();
        assert_eq!(stage.desire(&worker, &desired).instances, before);
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
    let settled = stage.desire(&worker, &apps(&[shop]));
    let (pid, port) = running(&settled.instances[1]);
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
    assert!(!env.contains_key("NOTIFY_SOCKET") && !env.contains_key("EVERGATE_LINK"));
    let cwd = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    assert_eq!(cwd, fs::canonicalize(stage.path("")).unwrap());
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
    crowded.ports = (30_900, 30_900);
    let wrong = [app("absent", &["/no/such/program"], 1), crowded, app("empty", &[], 1), lost];
    let settled = stage.desire(&worker, &apps(&wrong));
    let why: Vec<_> = settled.instances.iter().map(|i| i.last_exit.as_deref()).collect();
    let expected = [
        Some("cannot run /no/such/program: no such file"),
        None,
        Some("no port is free from 30900 to 30900"),
        Some("cannot run: no program is given"),
        Some("cannot run in /no/such/place: no such file"),
    ];
    assert_eq!(why, expected);
    // The exit of a program that does run reads differently.
    let settled = stage.desire(&worker, &apps(&[app("brief", &["false"], 1)]));
    assert_eq!(settled.instances.iter().filter(|i| i.run.app == "brief").count(), 1);
    let ended = |instances: &[Instance]| {
        instances.iter().any(|i| i.last_exit.as_deref() == Some("exit status 1"))
    };
    stage.observe(&worker, ended);
}

fn a_changed_app_starts_anew_and_others_stay() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let (shop, mut api) = (app("shop", SLEEP, 1), app("api", SLEEP, 1));
    let before = stage.desire(&worker, &apps(&[shop.clone(), api.clone()])).instances;
    api.env.push(("MODE".into(), "new".into()));
    stage.desire(&worker, &apps(&[shop.clone(), api.clone()]));
    let after =
        stage.observe(&worker, |instances| all_run(instances) && instances[0].run.generation == 2);
    assert_eq!(after[0].run.app, "api");
    assert_eq!((after[0].exits, &after[1]), (0, &before[1]), "planned, and the other untouched");
    // More of the same disturbs nobody.
    let two = app("shop", SLEEP, 2);
    let more = stage.desire(&worker, &apps(&[two, api])).instances;
    assert_eq!((&more[..2], more.len()), (&after[..], 3));
}

fn a_removed_app_dies_with_all_its_kin() {
    // The first ignores the request to end, as its child does; the second leaves its child behind.
    let stubborn = "trap '' TERM; sleep 1000 & wait; sleep 1000";
    let careless = "(trap '' TERM; sleep 1000; :) & wait";
    for script in [stubborn, careless] {
        let mut stage = Stage::new(Pace::Quick);
        let worker = stage.worker();
        let shop = app("shop", &["sh", "-c", script], 1);
        let pid = running(&stage.desire(&worker, &apps(&[shop])).instances[0]).0;
        let kin = stage.await_true(|_| only_descendant(pid));
        let settled = stage.desire(&worker, &apps(&[]));
        assert_eq!(settled.instances[0].state, InstanceState::Stopping);
        assert_eq!(settled.instances[0].pid, Some(pid));
        stage.observe(&worker, <[Instance]>::is_empty);
        assert!(!lives(pid));
        stage.await_true(|_| (!lives(kin)).then_some(()));
        assert!(!stage.stderr().contains("ended"), "no news if planned: {}", stage.stderr());
    }
}

fn a_crash_takes_what_was_left_of_it() {
    let mut stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let shop = app("shop", &["sh", "-c", "sleep 1000 & wait"], 1);
    let pid = running(&stage.desire(&worker, &apps(&[shop])).instances[0]).0;
    let kin = stage.await_true(|_| only_descendant(pid));
    signal::send(pid, Signal::Kill).unwrap();
    stage.observe(&worker, |instances| instances[0].run.generation == 2);
    stage.await_true(|_| (!lives(kin)).then_some(()));
}

/// The `sleep` that a process or its child started, once it runs.
fn only_descendant(pid: u32) -> Option<u32> {
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
    stage.desire(&worker, &apps(&[app("shop", SLEEP, 2)]));
    // Those that are not there are passed over.
    for (app, instance) in [("shop", 7), ("none", 0), ("shop", 1)] {
        worker.say(&ToKeeper::Kill { app: app.into(), instance });
    }
    let healed = stage.observe(&worker, |instances| instances[1].run.generation == 2);
    assert_eq!((healed[0].exits, healed[1].exits), (0, 1));
    assert_eq!(healed[1].last_exit.as_deref(), Some("signal 9 (KILL)"));
}

fn no_zombie_stays() {
    let mut stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    // Two orphans each, which the keeper inherits; one of them exits at once.
    let messy = ["sh", "-c", "(sleep 0 &); (sleep 1000 &); exec sleep 1000"];
    stage.desire(&worker, &apps(&[app("shop", &messy, 8), app("brief", &["true"], 8)]));
    let keeper = stage.keeper_pid();
    stage.await_true(|_| {
        let children = children(keeper);
        // The worker, eight instances, eight orphans; whatever else was there has been reaped.
        (children.len() == 17 && children.iter().all(|&pid| lives(pid))).then_some(())
    });
}
