//! SIGKILL to either worker in every phase: what is left serves.

use std::time::Duration;

use evergate_e2e::upgrade::Order;
use evergate_e2e::{Binaries, Setup, wait_until};
use evergate_sys::signal::{self, Signal};
use serde_json::Value;

use super::stage::Stage;
use crate::load::{Failure, Traffic};

/// A soak long enough to kill somebody in it.
const SOAK: Duration = Duration::from_secs(10);

/// Who is killed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Victim {
    Old,
    New,
}

/// The process that stands still in `phase`, by its own word, after so many others.
fn paused(stage: &Stage, phase: &str) -> u32 {
    let text = format!("stands still in {phase}");
    let line = stage.node.stderr.wait_for(1, &text).pop().expect("one was waited for");
    let words: Vec<_> = line.split(' ').collect();
    words[2].parse().unwrap_or_else(|_| panic!("no process: {line}"))
}

/// Orders an upgrade to `faults`, and kills when somebody stands still in `phase`; says what came
/// of the upgrade.
fn kill_in(stage: &Stage, binaries: &Binaries, faults: &str, phase: &str, whom: Victim) -> Value {
    let old = stage.worker();
    let number = stage.node.last_upgrade()["number"].as_u64().unwrap_or_default() + 1;
    let order = Order::to(&binaries.faulty(faults)).worker().soak(SOAK);
    let (code, answer) = stage.node.order(&order);
    assert_eq!(code, 200, "{answer:#}");
    let still = paused(stage, phase);
    let victim = if whom == Victim::Old { old } else { still };
    // The keeper may have lost patience with it before, on a slow machine.
    let _ = signal::send(victim, Signal::Kill);
    stage.node.wait_for_upgrade(number)
}

/// What must hold whatever happened.
fn expect_to_go_on(stage: &Stage, binaries: &Binaries) {
    wait_until("it serves", || stage.serves());
    stage.expect_same_processes();
    stage.node.upgrade_well(&Order::to(&binaries.good()).worker());
    wait_until("it serves", || stage.serves());
    stage.expect_same_processes();
}

#[test]
fn a_new_worker_that_is_killed_changes_nothing() {
    let (stage, binaries) = (Stage::start(), Binaries::new());
    let phases = [
        ("check", "Checking", "refused"),
        ("load", "Loading", "refused"),
        ("activate", "Activating", "refused"),
        ("probe", "Probing", "refused"),
        ("acquire", "Acquiring", "returned"),
    ];
    for (word, phase, outcome) in phases {
        let before = stage.worker();
        let faults = format!("pause-at-{word}");
        let upgrade = kill_in(&stage, &binaries, &faults, phase, Victim::New);
        eprintln!("the new one is killed in {phase}: {}", upgrade["reason"]);
        assert_eq!(upgrade["outcome"], outcome, "{upgrade:#}");
        wait_until("it serves", || stage.serves());
        assert_eq!(stage.worker(), before, "the old one serves");
        stage.expect_same_processes();
    }
    expect_to_go_on(&stage, &binaries);
}

#[test]
fn a_new_worker_that_is_killed_in_its_soak_leaves_the_old_one() {
    let (stage, binaries) = (Stage::start(), Binaries::new());
    let traffic = Traffic::start(stage.node.web(), "/", 200);
    let old = stage.worker();
    let (code, answer) = stage.node.order(&Order::to(&binaries.good()).worker().soak(SOAK));
    assert_eq!(code, 200, "{answer:#}");
    wait_until("the new one is primary", || stage.worker() != old);
    wait_until("it is watched", || stage.is_in("soak"));
    signal::send(stage.worker(), Signal::Kill).expect("it lives");
    let upgrade = stage.node.wait_for_upgrade(1);
    assert_eq!(upgrade["outcome"], "returned", "{upgrade:#}");
    assert_eq!(stage.worker(), old);
    traffic.wait_for(100);
    let report = traffic.finish();
    let cut = report.failed(Failure::Cut) + report.failed(Failure::Stale);
    assert_eq!(report.failures(), cut, "nobody is refused or kept waiting: {report}");
    expect_to_go_on(&stage, &binaries);
}

#[test]
fn an_old_worker_that_is_killed_early_is_started_again() {
    let (stage, binaries) = (Stage::start(), Binaries::new());
    for (word, phase) in [("check", "Checking"), ("load", "Loading")] {
        let before = stage.worker();
        let faults = format!("pause-at-{word}");
        let upgrade = kill_in(&stage, &binaries, &faults, phase, Victim::Old);
        eprintln!("the old one is killed in {phase}: {}", upgrade["reason"]);
        assert_eq!(upgrade["outcome"], "refused", "{upgrade:#}");
        wait_until("it serves", || stage.serves());
        assert_ne!(stage.worker(), before);
        stage.expect_same_processes();
    }
    expect_to_go_on(&stage, &binaries);
}

#[test]
fn an_old_worker_that_is_killed_while_it_lets_go_is_followed_by_the_new_one() {
    let binaries = Binaries::new();
    // It is the old one that stands still.
    let stage = Stage::start_as(Setup::new().program(&binaries.faulty("pause-at-release")));
    let upgrade = kill_in(&stage, &binaries, "", "Releasing", Victim::Old);
    assert_eq!(upgrade["outcome"], "done", "{upgrade:#}");
    expect_to_go_on(&stage, &binaries);
}

#[test]
fn an_old_worker_that_is_killed_in_the_soak_leaves_the_new_one() {
    let (stage, binaries) = (Stage::start(), Binaries::new());
    let old = stage.worker();
    let (code, answer) = stage.node.order(&Order::to(&binaries.good()).worker().soak(SOAK));
    assert_eq!(code, 200, "{answer:#}");
    wait_until("the new one is primary", || stage.worker() != old);
    signal::send(old, Signal::Kill).expect("it lives");
    let upgrade = stage.node.wait_for_upgrade(1);
    assert_eq!(upgrade["outcome"], "done", "{upgrade:#}");
    expect_to_go_on(&stage, &binaries);
}

#[test]
fn a_rehearsal_that_is_killed_leaves_the_keeper_what_it_was() {
    let (stage, binaries) = (Stage::start(), Binaries::new());
    let (code, answer) =
        stage.node.order(&Order::to(&binaries.faulty("pause-at-rehearse")).keeper());
    assert_eq!(code, 200, "{answer:#}");
    signal::send(paused(&stage, "Rehearsing"), Signal::Kill).expect("it lives");
    let upgrade = stage.node.wait_for_upgrade(1);
    assert_eq!(upgrade["outcome"], "refused", "{upgrade:#}");
    assert_eq!(stage.node.upgrades()["keeper_execs"], 0);
    expect_to_go_on(&stage, &binaries);
}
