//! Bad binaries: each goes back by itself, and why is told.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use evergate_e2e::upgrade::{Order, is_late};
use evergate_e2e::{Binaries, Node, binary};
use serde_json::Value;

use super::stage::{Stage, expect_to_drain};
use crate::apps::stage::count;
use crate::load::{CONNECTIONS, Failure, Traffic};

/// A binary, and what is to come of it.
struct Case {
    faults: &'static str,
    outcome: &'static str,
    /// The phase in which it ends.
    phase: &'static str,
    /// What the reason has in it.
    why: &'static str,
}

const fn case(
    faults: &'static str,
    outcome: &'static str,
    phase: &'static str,
    why: &'static str,
) -> Case {
    Case { faults, outcome, phase, why }
}

/// Bad workers.
const WORKERS: [Case; 8] = [
    case("preflight-refuses", "refused", "check", "fault"),
    case("worker-exits", "refused", "load", "exit status 1"),
    case("worker-crashes", "refused", "load", "signal"),
    case("pause-at-activate", "refused", "activate", "within 2 s"),
    case("probe-fails", "refused", "probe", ""),
    case("pause-at-acquire", "returned", "acquire", "within 2 s"),
    case("errors", "returned", "soak", ""),
    case("crash-after-commit", "returned", "soak", "signal"),
];
/// Bad workers that take their time.
const SLOW_WORKERS: [Case; 3] = [
    case("pause-at-check", "refused", "check", "within 10 s"),
    case("worker-hangs", "refused", "load", "within 30 s"),
    case("pause-at-probe", "refused", "probe", "within 5 s"),
];
/// Bad keepers.
const KEEPERS: [Case; 3] = [
    case("resume-crashes", "refused", "execute", ""),
    case("resume-panics", "refused", "execute", ""),
    case("resume-hangs", "refused", "execute", ""),
];

/// Whether `upgrade` ended as `case` wants it.
fn expect(case: &Case, upgrade: &Value) {
    let name = case.faults;
    eprintln!("{name}: {} in {}: {}", upgrade["outcome"], last_phase(upgrade), upgrade["reason"]);
    assert_eq!(upgrade["outcome"], case.outcome, "{name}: {upgrade:#}");
    assert_eq!(last_phase(upgrade), case.phase, "{name}: {upgrade:#}");
    let reason = upgrade["reason"].as_str().unwrap_or_default();
    assert!(!reason.is_empty() && reason.contains(case.why), "{name}: {upgrade:#}");
}

fn last_phase(upgrade: &Value) -> &str {
    let last = upgrade["steps"].as_array().and_then(|steps| steps.last());
    last.and_then(|step| step["phase"].as_str()).unwrap_or_default()
}

/// What it costs at most to have had that binary: only one that serves badly costs anything.
fn expect_cost(case: &Case, traffic: Traffic) {
    let report = traffic.finish();
    let (name, failures) = (case.faults, report.failures());
    eprintln!("{name}: {report}");
    // One that ends at once takes with it what it had under way.
    let cut = report.failed(Failure::Cut) + report.failed(Failure::Stale);
    assert!(cut <= u64::from(2 * CONNECTIONS), "{report}");
    let allowed = match case.faults {
        // It answers with errors until there are enough of them to tell, and is not killed for that.
        "errors" => report.failed(Failure::Status),
        "crash-after-commit" | "pause-at-acquire" => cut,
        _ => 0,
    };
    assert_eq!(failures, allowed, "{name}: {report}");
}

/// Orders an upgrade, and again if it ended for want of time before it came to the fault.
fn try_one(node: &Node, case: &Case, order: &Order) -> Value {
    let upgrade = node.upgrade(order);
    if is_late(&upgrade) && last_phase(&upgrade) != case.phase {
        eprintln!("ordered again: {}", upgrade["reason"]);
        return node.upgrade_in_time(order);
    }
    upgrade
}

fn try_workers(cases: &[Case]) {
    let (stage, binaries) = (Stage::start(), Binaries::new());
    for case in cases {
        let before = stage.worker();
        let traffic = Traffic::start(stage.node.web(), "/", 200);
        traffic.wait_for(50);
        let bad = binaries.faulty(case.faults);
        let order = Order::to(&bad).worker().soak(Duration::from_secs(10));
        expect(case, &try_one(&stage.node, case, &order));
        assert_eq!(stage.worker(), before, "the old one serves");
        traffic.wait_for(50);
        expect_cost(case, traffic);
        stage.expect_same_processes();
        binaries.remove(&bad);
    }
    // After all that a good one is as welcome as ever.
    stage.node.upgrade_well(&Order::to(&binaries.good()).worker());
    stage.expect_same_processes();
}

#[test]
fn bad_workers_go_back_by_themselves() {
    try_workers(&WORKERS);
}

#[test]
fn workers_that_hang_go_back_by_themselves() {
    try_workers(count(&SLOW_WORKERS[2..], &SLOW_WORKERS[..]));
}

#[test]
fn bad_keepers_go_back_by_themselves() {
    let (stage, binaries) = (Stage::start(), Binaries::new());
    for case in &KEEPERS {
        let worker = stage.worker();
        let traffic = Traffic::start(stage.node.web(), "/", 200);
        traffic.wait_for(50);
        let bad = binaries.faulty(case.faults);
        expect(case, &try_one(&stage.node, case, &Order::to(&bad).keeper()));
        assert_eq!(stage.node.upgrades()["keeper_execs"], 0, "it is the old one");
        assert_eq!(stage.worker(), worker);
        traffic.wait_for(50);
        expect_cost(case, traffic);
        stage.expect_same_processes();
        binaries.remove(&bad);
    }
    stage.node.upgrade_well(&Order::to(&binaries.good()).keeper());
    stage.expect_same_processes();
}

#[test]
fn a_bad_keeper_with_a_good_worker_is_half_an_upgrade() {
    let (stage, binaries) = (Stage::start(), Binaries::new());
    let before = stage.worker();
    let upgrade = stage.node.upgrade_in_time(&Order::to(&binaries.faulty("resume-crashes")));
    assert_eq!(upgrade["outcome"], "partial", "{upgrade:#}");
    assert_ne!(stage.worker(), before);
    stage.expect_same_processes();
    stage.node.upgrade_well(&Order::to(&binaries.good()));
    stage.expect_same_processes();
}

#[test]
fn every_fifth_bad_binary_changes_nothing_under_load() {
    let (stage, binaries) = (Stage::start(), Binaries::new());
    let storm = stage.storm();
    let bad_ones: Vec<_> = WORKERS[..5].iter().chain(&KEEPERS).collect();
    let mut bad_ones = bad_ones.into_iter().cycle();
    for number in 1..=count(5, 40) {
        let is_bad = number % 5 == 0;
        let part = |order: Order| if number % 2 == 0 { order.keeper() } else { order.worker() };
        if is_bad {
            let case = bad_ones.next().expect("it goes round");
            let bad = binaries.faulty(case.faults);
            let order = Order::to(&bad);
            let is_keeper = case.phase == "execute";
            let order = if is_keeper { order.keeper() } else { order.worker() };
            expect(case, &try_one(&stage.node, case, &order));
            binaries.remove(&bad);
        } else {
            let good = binaries.good();
            stage.node.upgrade_well(&part(Order::to(&good)));
            binaries.remove(&good);
            expect_to_drain(&stage.node, 1);
        }
        storm.wait_for(20);
    }
    let aftermath = storm.finish();
    eprintln!("{aftermath}");
    aftermath.expect_no_failure();
    stage.expect_same_processes();
}

/// Exit code and output of `evergate upgrade`, again if it was given up for want of time.
fn upgrade(node: &Node, binary: &Path, more: &[&str]) -> (Option<i32>, String) {
    let first = upgrade_once(node, binary, more);
    if is_late(&node.last_upgrade()) { upgrade_once(node, binary, more) } else { first }
}

fn upgrade_once(node: &Node, binary: &Path, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(binary::path());
    command.arg("upgrade").arg(binary).args(more);
    let output = command.arg("--socket").arg(node.path("run/admin.sock")).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn the_command_says_what_came_of_it() {
    let (stage, binaries) = (Stage::start(), Binaries::new());
    let (code, text) = upgrade(&stage.node, &binaries.good(), &["--soak", "1s"]);
    assert_eq!(code, Some(0), "{text}");
    for word in ["check", "soak", "execute", "done"] {
        assert!(text.contains(word), "{text}");
    }
    let (code, text) = upgrade(&stage.node, &binaries.faulty("worker-exits"), &["--soak", "1s"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("refused") && text.contains("exit status 1"), "{text}");
    let (code, text) = upgrade(&stage.node, Path::new("/no/such/binary"), &[]);
    assert_ne!(code, Some(0), "{text}");
    assert!(text.contains("/no/such/binary"), "{text}");
    let nonsense = binaries.nonsense();
    let (code, text) = upgrade(&stage.node, &nonsense, &[]);
    assert_ne!(code, Some(0), "{text}");
    assert!(text.contains("not a binary"), "{text}");
    stage.expect_same_processes();
}
