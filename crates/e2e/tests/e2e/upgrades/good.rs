//! Good binaries, one after the other.

use evergate_e2e::upgrade::Order;
use evergate_e2e::{Binaries, wait_until};

use super::stage::{Stage, expect_to_drain};
use crate::apps::stage::count;
use crate::load::Failure;

#[test]
fn other_workers_cost_no_request() {
    let (stage, binaries) = (Stage::start(), Binaries::new());
    let storm = stage.storm();
    let at_first = stage.usage();
    for number in 1..=count(2, 20) {
        let before = stage.worker();
        let binary = binaries.good();
        stage.node.upgrade_well(&Order::to(&binary).worker());
        binaries.remove(&binary);
        assert_ne!(stage.worker(), before, "upgrade {number}");
        storm.wait_for(20);
        expect_to_drain(&stage.node, 1);
    }
    expect_to_drain(&stage.node, 0);
    let at_the_end = stage.usage();
    let aftermath = storm.finish();
    eprintln!("{aftermath}");
    aftermath.expect_no_failure();
    assert_eq!(aftermath.scrapes.gone, [""; 0]);
    let others: Vec<_> = aftermath.farewells.iter().filter(|one| one.code != 1012).collect();
    assert!(others.is_empty(), "WebSockets are told to come back: {others:?}");
    stage.expect_same_processes();
    at_first.expect_no_growth(at_the_end);
}

#[test]
fn other_keepers_cost_no_request() {
    let (stage, binaries) = (Stage::start(), Binaries::new());
    let storm = stage.storm();
    let at_first = stage.usage();
    let worker = stage.worker();
    let upgrades = count(3, 20);
    for number in 1..=upgrades {
        let binary = binaries.good();
        stage.node.upgrade_well(&Order::to(&binary).keeper());
        binaries.remove(&binary);
        assert_eq!(stage.node.upgrades()["keeper_execs"], number);
        storm.wait_for(20);
    }
    assert_eq!(stage.worker(), worker, "it stays");
    let at_the_end = stage.usage();
    let aftermath = storm.finish();
    eprintln!("{aftermath}");
    aftermath.expect_no_failure();
    assert_eq!(aftermath.scrapes.gone, [""; 0]);
    assert!(aftermath.farewells.is_empty(), "no WebSocket was closed: {aftermath}");
    stage.expect_same_processes();
    at_first.expect_no_growth(at_the_end);
}

#[test]
fn worker_and_keeper_become_another_binary_together() {
    let (stage, binaries) = (Stage::start(), Binaries::new());
    let storm = stage.storm();
    let binary = binaries.good();
    let upgrade = stage.node.upgrade_well(&Order::to(&binary));
    let phases: Vec<_> = upgrade["steps"].as_array().expect("a list").iter().collect();
    let phases: Vec<_> = phases.iter().filter_map(|step| step["phase"].as_str()).collect();
    let expected = "check load activate probe release acquire soak rehearse execute";
    assert_eq!(phases.join(" "), expected);
    // Before anybody is killed, who cuts what it has under way.
    let aftermath = storm.finish();
    eprintln!("{aftermath}");
    aftermath.expect_no_failure();
    // Nothing is left to replace: neither is another file than the new one.
    let before = stage.worker();
    let exe = |pid: u32| std::fs::read_link(format!("/proc/{pid}/exe")).expect("it lives");
    assert_eq!((exe(stage.node.pid()), exe(before)), (binary.clone(), binary.clone()));
    // Whoever crashes now comes back as what runs, whatever lies on the disk.
    binaries.exchange(&binary);
    crate::processes::kill_worker(&stage.node);
    let after = exe(stage.worker());
    assert!(after.to_string_lossy().ends_with("(deleted)"), "{after:?}");
    wait_until("it serves", || stage.serves());
    stage.expect_same_processes();
}

#[test]
fn counters_that_were_shown_outlive_a_killed_worker() {
    let stage = Stage::start();
    let traffic = crate::load::Traffic::start(stage.node.web(), "/", 200);
    let scraper = evergate_e2e::Scraper::start(&stage.node);
    for _ in 0..3 {
        traffic.wait_for(100);
        crate::processes::kill_worker(&stage.node);
    }
    traffic.wait_for(100);
    let report = traffic.finish();
    let cut = report.failed(Failure::Cut) + report.failed(Failure::Stale);
    assert_eq!(report.failures(), cut, "who waited is let in to servers that are there: {report}");
    let scrapes = scraper.finish();
    // The worker may have died under a call; whoever asked then asks again.
    assert_eq!(scrapes.went_back, [""; 0]);
    assert_eq!(scrapes.gone, [""; 0]);
    wait_until("it serves", || stage.serves());
    stage.expect_same_processes();
}
