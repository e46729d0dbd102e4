//! Runs that are killed or crash under load.

use std::time::{Duration, Instant};

use evergate_sys::signal::{self, Signal};
use serde_json::Value;

use super::stage::{APP, Stage, count, runs};
use crate::load::Traffic;
use crate::processes::pid;

/// So that each kill is followed by a start at once, and none is one too many.
const AT_ONCE: &str = "backoff = { stable_after = \"1ms\", failures = 1000 }";

pub(crate) fn kill(pid: u64) {
    signal::send(pid as u32, Signal::Kill).unwrap();
}

#[test]
fn a_killed_instance_takes_no_request_along() {
    let shop = Stage::new(4).key(AT_ONCE).key("ready = { http = \"/health\" }").start();
    let traffic = Traffic::start(shop.node.web(), "/", count(400, 2000));
    traffic.wait_for(100);
    let kills = count(8, 100);
    for round in 0..kills {
        let number = round % 4;
        let before = shop.wait_for_state(number, "ready");
        kill(pid(&before["pid"]).into());
        shop.wait_for("it is replaced", |runs| {
            let run = runs.iter().find(|run| run["number"] == number).unwrap();
            run["state"] == "ready" && run["generation"] != before["generation"]
        });
        traffic.wait_for(20);
    }
    let report = traffic.finish();
    eprintln!("{kills} kills: {report}");
    report.expect_no_failure();
    let runs = shop.runs();
    let exits: u64 = runs.iter().map(|run| run["exits"].as_u64().unwrap()).sum();
    assert_eq!(exits, u64::from(kills));
    assert!(runs[0]["last_exit"].as_str().unwrap().contains("signal 9"), "{runs:#?}");
}

#[test]
fn an_app_that_crashes_on_and_on_is_left_alone_for_a_while_and_hurts_nobody() {
    const FAILURES: u64 = 5;
    let shop = Stage::new(2)
        .app(
            "bad",
            &[APP, "exit=3"],
            "backoff = { base = \"20ms\", cap = \"80ms\", failures = 5, cooldown = \"8s\" }",
        )
        .start();
    let traffic = Traffic::start(shop.node.web(), "/", count(400, 2000));
    let bad = |status: &Value| runs(status, "bad")[0].clone();
    let fatal = |status: &Value| bad(status)["state"] == "fatal";
    let status = shop.node.wait_for("it is left alone", fatal);
    let run = bad(&status);
    assert_eq!(
        (&run["exits"], &run["generation"]),
        (&FAILURES.into(), &FAILURES.into()),
        "{run:#}"
    );
    assert!(run["last_exit"].as_str().unwrap().contains("status 3"), "{run:#}");
    assert!(run["next_seconds"].as_f64().is_some_and(|left| left > 0.0), "{run:#}");
    assert!(run["reason"].as_str().is_some_and(|why| !why.is_empty()), "{run:#}");
    shop.node.stderr.wait_for(1, "app_fatal");
    // One more try, and alone again.
    let status = shop.node.wait_for("it was tried once more", |status| {
        fatal(status) && bad(status)["generation"] != FAILURES
    });
    assert!(bad(&status)["generation"].as_u64() > Some(FAILURES));
    let report = traffic.finish();
    eprintln!("beside an app that crashes: {report}");
    report.expect_no_failure();
    assert!(shop.runs().iter().all(|run| run["generation"] == 1 && run["exits"] == 0));
}

#[test]
fn the_limit_on_starts_holds_over_all_apps() {
    let storm = "instances = 8\nbackoff = { base = \"1ms\", cap = \"1ms\", failures = 1000 }";
    let began = Instant::now();
    let shop = Stage::new(1).app("storm", &[APP, "exit=1"], storm).start();
    let starts = |status: &Value| -> u64 {
        runs(status, "storm").iter().map(|run| run["generation"].as_u64().unwrap()).sum()
    };
    let status = shop.node.wait_for("a storm", |status| starts(status) >= 35);
    let (all, took) = (starts(&status), began.elapsed().as_secs_f64());
    // A burst of 10, then 5 a second (supervision.md, 5.2).
    assert!(all as f64 <= 11.0 + 5.0 * took, "{all} starts in {took:.1} s");
    assert_eq!(shop.get("/").status, 200);
}

#[test]
fn twenty_instances_that_crash_on_and_on_are_left_alone_and_cost_little() {
    const INSTANCES: u64 = 20;
    // Two failures each are enough for a look; the whole takes the budget as it is.
    let keys = count("backoff = { failures = 2, base = \"10ms\", cooldown = \"1h\" }", "");
    let began = Instant::now();
    let shop = Stage::new(1)
        .app("storm", &[APP, "exit=1"], &format!("instances = {INSTANCES}\n{keys}"))
        .start();
    let traffic = Traffic::start(shop.node.web(), "/", 200);
    let cpu = || evergate_sys::process::usage(shop.node.pid()).unwrap().cpu;
    let at_first = cpu();
    let minutes = count(Duration::ZERO, Duration::from_secs(600));
    while began.elapsed() < minutes {
        traffic.wait_for(100);
    }
    let all = |status: &Value| runs(status, "storm");
    let status = shop.node.wait_for("all are left alone", |status| {
        all(status).iter().all(|run| run["state"] == "fatal")
    });
    let (took, used) = (began.elapsed().as_secs_f64(), (cpu() - at_first).as_secs_f64());
    let starts: u64 = all(&status).iter().map(|run| run["generation"].as_u64().unwrap()).sum();
    let report = traffic.finish();
    eprintln!(
        "{starts} starts in {took:.1} s, the keeper took {:.2} % of a core; beside it: {report}",
        100.0 * used / took
    );
    assert!(starts >= 2 * INSTANCES, "{starts}");
    assert!(starts as f64 <= 11.0 + 5.0 * took, "{starts} starts in {took:.1} s");
    // Whoever waits by turning round takes all of it; what a start costs is up to the machine.
    assert!(used <= took / 2.0, "{used:.2} s of processor time in {took:.1} s");
    report.expect_no_failure();
    assert!(shop.runs().iter().all(|run| run["generation"] == 1 && run["exits"] == 0));
}
