//! Whatever comes of a run ends with it, and uses no more than it may.

use std::fs;

use evergate_control::link::{
    Instance, InstanceState, Limits, MemoryWatch, Observed, Restart, ToKeeper, ToWorker,
};
use evergate_sys::cgroup::Cgroups;
use evergate_sys::signal::{self, Signal};

use crate::apps::running;
use crate::stage::{Pace, Stage, all_ready, app, apps, lives};

pub(crate) const TESTS: &[crate::Test] = &[
    ("kin_that_left_the_session_end_with_it", kin_that_left_the_session_end_with_it),
    ("kin_do_not_outlive_a_crash", kin_do_not_outlive_a_crash),
    ("a_run_without_memory_left_is_named_as_that", a_run_without_memory_left_is_named_as_that),
    ("a_run_that_grows_is_replaced", a_run_that_grows_is_replaced),
    ("nothing_of_the_keeper_is_left", nothing_of_the_keeper_is_left),
];

/// Writes the numbers of three descendants that do what they can to be left alone, and stays.
fn escaping(log: &str) -> String {
    // Who sheds its environment too is found only by a control group.
    let has_groups = Cgroups::detect().support().tree.is_ok();
    let shed = if has_groups { "env -i " } else { "" };
    let deaf = "trap \"\" TERM HUP INT; while :; do sleep 1000; done";
    format!(
        "setsid sh -c 'echo $$ >>{log}; {deaf}' & \
         (setsid sh -c 'echo $$ >>{log}; {deaf}' &) ; \
         ({shed}setsid sh -c 'echo $$ >>{log}; {deaf}' &) ; \
         while :; do sleep 1000; done"
    )
}

fn escaped(stage: &mut Stage, log: &str) -> Vec<u32> {
    stage.await_true(|_| {
        let text = fs::read_to_string(log).unwrap_or_default();
        let pids: Vec<u32> = text.lines().map(|pid| pid.parse().unwrap()).collect();
        (pids.len() == 3).then_some(pids)
    })
}

fn kin_that_left_the_session_end_with_it() {
    let mut stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let log = stage.path("pids");
    let mut shop = app("shop", &["sh", "-c", &escaping(&log)], 1);
    shop.stop.timeout_ms = 100;
    stage.run(&worker, &[shop]);
    let kin = escaped(&mut stage, &log);
    stage.desire(&worker, &apps(&[]));
    stage.observe(&worker, <[Instance]>::is_empty);
    assert!(!kin.iter().any(|&pid| lives(pid)), "told of the end before it was one");
}

fn kin_do_not_outlive_a_crash() {
    let mut stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let log = stage.path("pids");
    let shop = app("shop", &["sh", "-c", &escaping(&log)], 1);
    let before = stage.run(&worker, std::slice::from_ref(&shop)).remove(0);
    let kin = escaped(&mut stage, &log);
    signal::send(running(&before).0, Signal::Kill).unwrap();
    // The first that is heard says that the run is no longer to be used.
    let heard = loop {
        if let (ToWorker::Observed(Observed { instances, .. }), _) = stage.hear(&worker) {
            break instances;
        }
    };
    let used = |one: &Instance| one.run == before.run && one.state == InstanceState::Ready;
    assert!(!heard.iter().any(used), "{heard:?}");
    let is_healed = |all: &[Instance]| all.len() == 1 && all_ready(all);
    let after = stage.observe(&worker, is_healed);
    assert_eq!(after[0].run.generation, 2);
    assert!(!kin.iter().any(|&pid| lives(pid)), "none is left to hold the port");
}

fn a_run_without_memory_left_is_named_as_that() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    // It doubles its memory without end.
    let greedy = "a=0123456789abcdef; while :; do a=$a$a; done";
    let mut shop = app("shop", &["sh", "-c", greedy], 1);
    shop.restart = Restart::Never;
    shop.limits = Limits { memory: Some(32 << 20), files: Some(99), ..Limits::default() };
    stage.desire(&worker, &apps(&[shop]));
    let (hit, limits) = loop {
        if let (ToWorker::Observed(Observed { mut instances, limits, .. }), _) = stage.next(&worker)
            && instances[0].last_exit.is_some()
        {
            break (instances.remove(0), limits);
        }
    };
    assert_eq!((limits[0].app.as_str(), limits[0].kept.len()), ("shop", 2), "{limits:?}");
    if limits[0].kept[0].contains(" by cgroup ") {
        assert_eq!(hit.last_exit.as_deref(), Some("killed: out of memory (limit 32 MiB)"));
    } else {
        println!("skipped: {}", limits[0].kept[0]);
    }
    assert!(limits[0].kept[1].starts_with("files 99 "), "{limits:?}");
}

fn a_run_that_grows_is_replaced() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    worker.say(&ToKeeper::Ready);
    let large = "a=x; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23; do \
                 a=$a$a; done; sleep 1000";
    let mut shop = app("shop", &["sh", "-c", large], 1);
    shop.memory_watch = Some(MemoryWatch { rss: 4 << 20, for_ms: 0 });
    stage.run(&worker, &[shop]);
    let told = stage.await_event_of(&worker, "app_memory");
    assert!(told.reason.contains("MiB"), "{told:?}");
    let after = stage.observe(&worker, |all| all_ready(all) && all[0].run.generation == 2);
    assert_eq!(after[0].exits, 0, "planned");
}

fn nothing_of_the_keeper_is_left() {
    let mut stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    let log = stage.path("pids");
    stage.run(&worker, &[app("shop", &["sh", "-c", &escaping(&log)], 1)]);
    let kin = escaped(&mut stage, &log);
    worker.say(&ToKeeper::Ready);
    let own = format!("/evergate-{}-", stage.keeper_pid());
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", kin[0])).unwrap();
    let directory = groups.lines().find_map(|line| {
        let (at, _) = line.split_once(&own)?;
        let (controllers, path) = at.split_once(':')?.1.split_once(':')?;
        let mount = if controllers.is_empty() { "unified" } else { controllers };
        Some(format!("/sys/fs/cgroup/{mount}{path}"))
    });
    stage.signal(Signal::Terminate);
    while !matches!(stage.next(&worker), (ToWorker::Stop { .. }, _)) {}
    worker.exit(0);
    assert_eq!(stage.await_end().code(), Some(0));
    assert!(!kin.iter().any(|&pid| lives(pid)));
    let Some(directory) = directory else {
        println!("skipped: no control group");
        return;
    };
    let left = fs::read_dir(&directory).into_iter().flatten().flatten();
    let name = own.trim_start_matches('/').to_owned();
    let mut left = left.filter(|entry| entry.file_name().to_string_lossy().starts_with(&name));
    assert!(left.next().is_none(), "a group is left in {directory}");
}
