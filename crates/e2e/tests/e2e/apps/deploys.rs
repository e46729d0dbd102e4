//! Deploys: under load, of what is broken, and while the worker dies.

use std::time::{Duration, Instant};

use evergate_bench::background::Background;
use evergate_bench::load::Load;
use evergate_e2e::wait_until;
use serde_json::Value;

use super::stage::{Shop, Stage, count, is_over};
use super::web_socket::{WebSockets, codes};
use crate::load::Traffic;
use crate::processes::kill_worker;

/// Longest time for one deploy.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longest that a draining run waits for what is in flight: far longer than a slow response takes.
const DRAIN: Duration = Duration::from_secs(5);

fn ready(runs: &[Value]) -> usize {
    runs.iter().filter(|run| run["state"] == "ready").count()
}

/// Asserts that every instance has one run, of release `number`.
fn expect_release(shop: &Shop, number: u32) {
    let runs = shop.runs();
    assert!(runs.iter().all(|run| run["state"] == "ready"), "{runs:#?}");
    for _ in 0..2 * runs.len() {
        let words = shop.portrait()["words"].as_str().unwrap().to_owned();
        let release = format!("release={number}");
        assert!(words.split(' ').any(|word| word == release), "{words}, not of {number}");
    }
}

#[test]
fn a_rolling_deploy_under_load_fails_no_request() {
    let stage = Stage::new(4).words(count("linger=100", "linger=500"));
    let shop = stage
        .key("ready = { http = \"/health\", every = \"20ms\" }")
        .key("deploy = { surge = 1, canary_for = \"500ms\" }")
        .start();
    let web = shop.node.web();
    let slow = format!("/slow?ms={}", count(400, 2000));
    let traffic = Traffic::start(web, "/", count(400, 2000));
    let slow = Background::start(Load { timeout: PATIENCE, ..Load::get(web, &slow, 8) });
    traffic.wait_for(200);
    for round in 1..=count(2, 20) {
        shop.release("");
        let mut fewest = usize::MAX;
        let deploy = shop.roll_out(PATIENCE, |runs| {
            fewest = fewest.min(ready(runs));
            assert!(runs.len() <= 5, "one more than four at most: {runs:#?}");
        });
        assert_eq!(deploy["phase"], "done", "{deploy:#}");
        assert_eq!((&deploy["done"], &deploy["of"]), (&4.into(), &4.into()));
        assert!(fewest >= 4, "only {fewest} were ready at times");
        expect_release(&shop, round);
    }
    let report = traffic.finish();
    eprintln!("rolling deploys: {report}");
    report.expect_no_failure();
    let slow = slow.finish().unwrap();
    assert_eq!(slow.failures(), 0, "{:?}", slow.notes);
    assert!(slow.completed > 0);
    let exits: u64 = shop.runs().iter().map(|run| run["exits"].as_u64().unwrap()).sum();
    assert_eq!(exits, 0, "an end that we asked for is no failure");
}

#[test]
fn open_web_sockets_and_slow_responses_are_drained_by_rule() {
    let drain = format!("stop = {{ drain = \"{}ms\" }}", DRAIN.as_millis());
    let deploy = "deploy = { surge = 2, canary_for = \"200ms\" }";
    let shop = Stage::new(4).key(&drain).key(deploy).start();
    let web = shop.node.web();
    let sockets = WebSockets::open(web, 50);
    // Each takes less than the time to drain.
    let slow = Load { timeout: PATIENCE, ..Load::get(web, "/slow?ms=1000", 8) };
    let slow = Background::start(slow);
    wait_until("every WebSocket talks", || sockets.echoes() > 100);
    shop.release("");
    let began = Instant::now();
    let deploy = shop.roll_out(PATIENCE, |_| {});
    assert_eq!(deploy["phase"], "done", "{deploy:#}");
    let before = sockets.echoes();
    wait_until("they talk to the new runs", || sockets.echoes() > before + 100);
    let farewells = sockets.finish();
    eprintln!("{} WebSockets were closed: {:?}", farewells.len(), codes(&farewells));
    assert!(farewells.len() >= 50, "each was open on an old run at first");
    for farewell in &farewells {
        assert!(farewell.run.ends_with("/1"), "a new run closed it: {farewell:?}");
        // The last part of the time to drain is when they are closed; see `farewell.rs`.
        let lasted = farewell.at - began;
        assert!(lasted > DRAIN / 2, "{lasted:?} after the order, {farewell:?}");
        // RFC 6455, 7.4.1 and the registry: going away, or service restart.
        assert!([1001, 1012].contains(&farewell.code), "{farewell:?}");
    }
    let slow = slow.finish().unwrap();
    assert_eq!(slow.failures(), 0, "{:?}", slow.notes);
}

#[test]
fn a_broken_release_is_given_up_and_the_old_one_serves_on() {
    let shop = Stage::new(2)
        .key("ready = { http = \"/health\", within = \"5s\", every = \"20ms\" }")
        .key("deploy = { canary_for = \"1s\" }")
        .start();
    let traffic = Traffic::start(shop.node.web(), "/", 200);
    traffic.wait_for(50);
    for (words, why) in
        [("exit=3", "status 3"), ("signal=11", "signal 11"), ("unready", "not ready within")]
    {
        shop.release(words);
        let deploy = shop.roll_out(PATIENCE, |runs| assert!(ready(runs) >= 2, "{runs:#?}"));
        assert_eq!(deploy["phase"], "failed", "{deploy:#}");
        let message = deploy["message"].as_str().unwrap();
        assert!(message.contains(why) && message.contains("old revision"), "{message}");
        expect_release(&shop, 0);
    }
    let report = traffic.finish();
    eprintln!("broken releases: {report}");
    report.expect_no_failure();
    // The old revision is also what is started again.
    let pid = shop.runs()[0]["pid"].as_u64().unwrap();
    crate::apps::crashes::kill(pid);
    shop.wait_for("it is replaced", |runs| ready(runs) == 2 && runs[0]["pid"] != pid);
    expect_release(&shop, 0);
}

#[test]
fn a_canary_that_answers_errors_is_taken_back_before_its_time() {
    let shop = Stage::new(2)
        .pool("retry = { attempts = 2, on = [\"connect\", \"503\"] }")
        .key("deploy = { canary_for = \"1h\" }")
        .start();
    let traffic = Traffic::start(shop.node.web(), "/", 300);
    traffic.wait_for(100);
    shop.release("status=503");
    let deploy = shop.roll_out(PATIENCE, |runs| assert!(ready(runs) >= 2, "{runs:#?}"));
    assert_eq!(deploy["phase"], "failed", "{deploy:#}");
    assert!(deploy["message"].as_str().unwrap().contains("of its requests failed"), "{deploy}");
    expect_release(&shop, 0);
    let report = traffic.finish();
    eprintln!("a bad canary: {report}");
    // What it answered was asked again elsewhere.
    report.expect_no_failure();
}

#[test]
fn a_deploy_goes_on_when_the_worker_dies_half_way() {
    let shop = Stage::new(3).key("deploy = { canary_for = \"5s\" }").start();
    shop.release("");
    shop.wish("deploy");
    shop.node
        .wait_for("the canary is watched", |status| status["deploys"][0]["phase"] == "soaking");
    kill_worker(&shop.node);
    let status = shop.node.wait_for("it is over", |status| is_over(&status["deploys"][0]));
    assert_eq!(status["deploys"][0]["phase"], "done", "{:#}", status["deploys"]);
    expect_release(&shop, 1);
    assert!(shop.runs().iter().all(|run| run["generation"] == 2 && run["exits"] == 0));
}

#[test]
fn in_place_never_more_run_than_instances() {
    let shop = Stage::new(3)
        .key("deploy = { surge = 0, unavailable = 1, canary_for = \"200ms\" }")
        .start();
    let traffic = Traffic::start(shop.node.web(), "/", 200);
    traffic.wait_for(50);
    shop.release("");
    let deploy = shop.roll_out(PATIENCE, |runs| {
        assert!(runs.len() == 3 && ready(runs) >= 2, "{runs:#?}");
    });
    assert_eq!(deploy["phase"], "done", "{deploy:#}");
    expect_release(&shop, 1);
    let report = traffic.finish();
    eprintln!("in place: {report}");
    report.expect_no_failure();
}

#[test]
fn a_restart_and_a_changed_configuration_replace_in_turn_as_well() {
    let shop = Stage::new(2).words("print=1").key("deploy = { canary_for = \"100ms\" }").start();
    let traffic = Traffic::start(shop.node.web(), "/", 200);
    let plan = shop.wish("restart");
    assert!(plan[0].starts_with("1. shop/0: start a fresh run beside the old one"), "{plan:?}");
    let all_are = |generation: u64| {
        shop.wait_for("both are new", |runs| {
            ready(runs) == 2
                && runs.len() == 2
                && runs.iter().all(|r| r["generation"] == generation)
        })
    };
    all_are(2);
    // What only says how to look after an app replaces nothing.
    shop.change("canary_for = \"100ms\"", "canary_for = \"200ms\"");
    shop.change("\"print=1\"", "\"print=2\"");
    let runs = all_are(3);
    assert!(runs.iter().all(|run| run["exits"] == 0), "{runs:#?}");
    assert!(shop.portrait()["words"].as_str().unwrap().contains("print=2"));
    let deploy = shop.deploy();
    assert_eq!((&deploy["number"], &deploy["phase"]), (&2.into(), &"done".into()), "{deploy:#}");
    let report = traffic.finish();
    eprintln!("a restart and a change: {report}");
    report.expect_no_failure();
}

#[test]
fn with_rollback_every_instance_gets_its_old_revision_back() {
    let shop = Stage::new(3)
        .key("ready = { http = \"/health\", within = \"6s\" }")
        .key("deploy = { canary_for = \"0s\", on_failure = \"rollback\" }")
        .start();
    let traffic = Traffic::start(shop.node.web(), "/", 200);
    shop.release("unready-from=2");
    let deploy = shop.roll_out(PATIENCE, |runs| assert!(ready(runs) >= 3, "{runs:#?}"));
    assert_eq!(deploy["phase"], "failed", "{deploy:#}");
    assert!(deploy["message"].as_str().unwrap().contains("shop/2"), "{deploy:#}");
    expect_release(&shop, 0);
    let report = traffic.finish();
    eprintln!("a rollback: {report}");
    report.expect_no_failure();
}

#[test]
fn the_operator_can_give_a_deploy_up() {
    let shop = Stage::new(2).key("deploy = { canary_for = \"60s\" }").start();
    shop.release("");
    shop.wish("deploy");
    shop.node
        .wait_for("the canary is watched", |status| status["deploys"][0]["phase"] == "soaking");
    shop.wish("abort");
    let status = shop.node.wait_for("it is over", |status| is_over(&status["deploys"][0]));
    assert_eq!(status["deploys"][0]["phase"], "failed", "{:#}", status["deploys"]);
    expect_release(&shop, 0);
}
