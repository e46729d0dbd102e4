//! What may be upgraded to, and when.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use evergate_control::link::{
    Desired, KEPT_CONFIG, Role, ToKeeper, ToWorker, UpgradeNews, UpgradeOrder, UpgradeOutcome,
    UpgradeParts, WorkerState,
};
use evergate_sys::memfd;
use evergate_sys::privilege;
use evergate_sys::signal::Signal;

use crate::aside::ANSWER;
use crate::handover::{LONG, Step, advance, begin, ended, hear_order, order, serving, states, web};
use crate::stage::{Pace, Stage, Worker, lives};

pub(crate) const TESTS: &[crate::Test] = &[
    ("a_binary_that_refuses_is_not_started", a_binary_that_refuses_is_not_started),
    ("a_binary_is_asked_about_what_is_in_force", a_binary_is_asked_about_what_is_in_force),
    ("a_binary_that_others_could_change_is_refused", a_binary_that_others_could_change),
    ("there_is_one_upgrade_at_a_time", there_is_one_upgrade_at_a_time),
    ("too_many_workers_that_drain_are_in_the_way", too_many_workers_that_drain),
    ("a_signal_begins_an_upgrade", a_signal_begins_an_upgrade),
    ("a_crash_is_healed_by_the_binary_that_ran", a_crash_is_healed_by_the_binary_that_ran),
];

/// A copy of this binary, which is another file then.
fn copy(stage: &Stage, name: &str) -> String {
    let path = stage.path(name);
    fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

fn to(binary: &str) -> UpgradeOrder {
    UpgradeOrder { binary: Some(binary.to_owned()), ..order(0) }
}

fn reason(upgrade: UpgradeNews) -> String {
    match upgrade.outcome {
        Some(UpgradeOutcome::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn a_binary_that_refuses_is_not_started() {
    for (answer, expected) in [
        ("refuse", "the new binary refuses: the route is new to me"),
        ("newer", "upgrade by way of a version between them"),
        ("garbage", "does not say whether it could go on from here (exit status 0)"),
        ("flood", "says more than"),
        ("crash", "does not say whether it could go on from here (signal 6 (ABRT)"),
        ("hang", "did not say whether it could go on from here within"),
    ] {
        let pace = if answer == "hang" { Pace::Impatient } else { Pace::Production };
        let stage = Stage::new(pace);
        let (old, _) = serving(&stage, &web());
        fs::write(stage.path(ANSWER), answer).unwrap();
        stage.upgrade(&old, &order(0)).unwrap();
        let upgrade = ended(&stage, &old);
        assert_eq!(upgrade.steps.len(), 1, "{upgrade:?}");
        let why = reason(upgrade);
        assert!(why.contains(expected), "{answer}: {why}");
        let node = stage.await_node(&old, |_| true);
        assert_eq!((states(&node), node.ended.refused), (vec![WorkerState::Primary], 1));
        assert!(stage.stderr().contains("the upgrade was refused: "), "{}", stage.stderr());
        // It stands in nobody's way.
        fs::write(stage.path(ANSWER), "").unwrap();
        begin(&stage, &old, &order(0));
    }
}

fn a_binary_is_asked_about_what_is_in_force() {
    let env = [("NOTIFY_SOCKET", "@nobody".to_owned()), ("WATCHDOG_USEC", "9000000".to_owned())];
    for (answer, parts, expected) in [
        ("config", UpgradeParts::Worker, "in force"),
        ("state", UpgradeParts::Worker, "closed"),
        ("variables", UpgradeParts::Worker, ""),
    ] {
        let stage = Stage::with(Pace::Production, std::env::current_exe().unwrap(), &env);
        let old = stage.worker();
        let config = memfd::seal("config", b"in force").unwrap();
        old.say_with(&ToKeeper::Keep { name: KEPT_CONFIG.into() }, &[&config]);
        old.say(&ToKeeper::Ready);
        stage.desire(&old, &Desired::default());
        fs::write(stage.path(ANSWER), answer).unwrap();
        let new = begin(&stage, &old, &UpgradeOrder { parts, ..order(LONG) });
        assert_eq!(memfd::read(&new.kept[KEPT_CONFIG], 100).unwrap(), b"in force");
        let node = stage.await_node(&new, |node| node.upgrade.is_some());
        assert_eq!(node.upgrade.unwrap().version.as_deref(), Some(expected), "{answer}");
    }
}

fn a_binary_that_others_could_change() {
    let stage = Stage::new(Pace::Production);
    let (old, _) = serving(&stage, &web());
    let refused = |binary: &str| stage.upgrade(&old, &to(binary)).unwrap_err();
    let path = copy(&stage, "new");
    let set = |path: &str, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    set(&path, 0o775);
    assert!(refused(&path).contains(&format!("`chmod go-w {path}`")), "{}", refused(&path));
    set(&path, 0o644);
    assert!(refused(&path).contains(&format!("`chmod a+x {path}`")), "{}", refused(&path));
    set(&path, 0o755);
    let folder = stage.path("folder");
    fs::create_dir(&folder).unwrap();
    let inside = copy(&stage, "folder/new");
    set(&folder, 0o777);
    assert!(refused(&inside).contains(&format!("`chmod go-w {folder}`")), "{}", refused(&inside));
    let link = stage.path("link");
    std::os::unix::fs::symlink(&inside, &link).unwrap();
    assert!(refused(&link).contains("chmod go-w"), "wherever it leads");
    if privilege::is_root() {
        chown(&path, Some(65_534), None).unwrap();
        assert!(refused(&path).contains("belongs to another user"), "{}", refused(&path));
        chown(&path, Some(0), None).unwrap();
    }
    assert!(refused("bin/new").contains("not absolute"));
    assert!(refused(&stage.path("none")).contains("No such file"));
    assert!(refused(&stage.path("")).contains("not a regular file"));
    let script = stage.path("script");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    set(&script, 0o755);
    assert!(refused(&script).contains("not a binary"), "{}", refused(&script));
    let node = stage.await_node(&old, |_| true);
    assert_eq!((node.upgrade, states(&node_now(&stage, &old)).len()), (None, 1), "none began");
    assert_eq!(stage.upgrade(&old, &to(&path)).unwrap()[0], format!("check {path}"));
}

fn node_now(stage: &Stage, worker: &Worker) -> evergate_control::link::NodeNews {
    stage.await_node(worker, |_| true)
}

fn there_is_one_upgrade_at_a_time() {
    let stage = Stage::new(Pace::Production);
    let (old, _) = serving(&stage, &web());
    let new = begin(&stage, &old, &order(LONG));
    let refused = stage.upgrade(&old, &order(0)).unwrap_err();
    assert!(refused.ends_with("is under way: the new worker loads"), "{refused}");
    let refused = stage.upgrade(&new, &order(0)).unwrap_err();
    assert!(refused.contains("ask again"), "a candidate has no say: {refused}");
    advance(&stage, &old, &new, &web(), Step::Soaking);
    let refused = stage.upgrade(&new, &order(0)).unwrap_err();
    assert!(refused.ends_with("the new worker is being watched"), "{refused}");
    let order = UpgradeOrder { soak_ms: Some(u32::MAX), ..order(0) };
    new.crash();
    ended(&stage, &old);
    assert!(stage.upgrade(&old, &order).unwrap_err().contains("watched for"));
}

fn too_many_workers_that_drain() {
    let stage = Stage::new(Pace::Quick);
    let (mut serves, _) = serving(&stage, &web());
    let mut leaving = Vec::new();
    for number in 1..=2 {
        let new = begin(&stage, &serves, &order(0));
        advance(&stage, &serves, &new, &web(), Step::Soaking);
        hear_order(&stage, &serves, &ToWorker::Finish);
        stage.await_node(&new, |node| node.ended.done == number);
        leaving.push(std::mem::replace(&mut serves, new));
    }
    let refused = stage.upgrade(&serves, &order(0)).unwrap_err();
    assert!(refused.starts_with("2 workers of earlier upgrades"), "{refused}");
    let force = UpgradeOrder { force: true, ..order(0) };
    stage.upgrade(&serves, &force).unwrap();
    hear_order(&stage, &leaving[0], &ToWorker::Stop { grace_ms: 0 });
    // It does not follow, and is killed; the other one may go on.
    let gone = ToWorker::Gone { generation: leaving[0].generation };
    hear_order(&stage, &serves, &gone);
    assert!(!lives(leaving[0].pid) && lives(leaving[1].pid));
}

fn a_signal_begins_an_upgrade() {
    let mut stage = Stage::new(Pace::Production);
    let (old, _) = serving(&stage, &web());
    stage.signal(Signal::User2);
    let new = stage.worker();
    assert_eq!(new.role, Role::Candidate);
    stage.signal(Signal::User2);
    let why = "no upgrade begins: an upgrade to ";
    stage.await_true(|stage| stage.stderr().contains(why).then_some(()));
    new.crash();
    assert!(matches!(ended(&stage, &old).outcome, Some(UpgradeOutcome::Refused(_))));
}

fn a_crash_is_healed_by_the_binary_that_ran() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("worker");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let stage = Stage::with(Pace::Quick, program.clone(), &[]);
    let (first, _) = serving(&stage, &web());
    let runs = |worker: &Worker| {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(format!("/proc/{}/exe", worker.pid)).unwrap().ino()
    };
    let inode = runs(&first);
    // As a package manager does it, with what could not run at all.
    let replace = |text: &[u8]| {
        fs::write(folder.path().join("next"), text).unwrap();
        fs::rename(folder.path().join("next"), &program).unwrap();
    };
    replace(b"not even a binary");
    first.crash();
    let second = stage.worker();
    assert_eq!((runs(&second), second.role), (inode, Role::Primary));
    second.say(&ToKeeper::Ready);
    stage.desire(&second, &web());
    // Only an upgrade has another one run, and from its end on that is what heals.
    let new = copy(&stage, "new");
    let candidate = begin(&stage, &second, &to(&new));
    fs::remove_file(Path::new(&new)).unwrap();
    let other = runs(&candidate);
    assert_ne!(other, inode);
    advance(&stage, &second, &candidate, &web(), Step::Soaking);
    assert_eq!(ended(&stage, &candidate).outcome, Some(UpgradeOutcome::Done));
    candidate.crash();
    assert_eq!(runs(&stage.worker()), other);
}
