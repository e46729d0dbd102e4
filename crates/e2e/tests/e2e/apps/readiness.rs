//! When a run may have requests, and how it learns where to listen.

use std::time::{Duration, Instant};

use super::stage::{APP, Stage, runs};
use crate::load::Traffic;

#[test]
fn an_app_that_says_when_it_is_ready_has_no_request_before() {
    let began = Instant::now();
    let shop = Stage::new(2).words("notify-after=3000").key("ready = { by = \"notify\" }").launch();
    // It listens already.
    shop.wait_for("both start", |runs| runs.iter().all(|run| run["state"] == "starting"));
    assert_eq!(shop.get("/").status, 503, "nobody is ready yet");
    shop.wait_for("both are ready", |runs| runs.iter().all(|run| run["state"] == "ready"));
    assert!(began.elapsed() > Duration::from_secs(3));
    assert_eq!(shop.get("/").status, 200);
}

#[test]
fn a_slow_start_is_waited_for_and_one_too_slow_is_ended() {
    let shop = Stage::new(1)
        .words("start-after=700")
        .key("ready = { http = \"/health\", within = \"60s\" }")
        .app(
            "late",
            &[APP, "start-after=60000"],
            "ready = { within = \"500ms\" }\nbackoff = { base = \"60s\", cap = \"60s\" }",
        )
        .start();
    assert_eq!(shop.get("/").status, 200);
    let status = shop
        .node
        .wait_for("the late one is ended", |status| runs(status, "late")[0]["state"] == "backoff");
    let late = &runs(&status, "late")[0];
    assert_eq!(late["exits"], 1, "{late:#}");
    let said = format!("{} {}", late["reason"], late["last_exit"]);
    assert!(said.contains("not ready within"), "{late:#}");
}

#[test]
fn a_socket_can_be_handed_over_or_have_a_path() {
    for socket in ["inherit", "unix"] {
        let shop = Stage::new(2)
            .key(&format!("socket = \"{socket}\""))
            .key("ready = { http = \"/health\" }")
            .key("deploy = { canary_for = \"100ms\" }")
            .start();
        let traffic = Traffic::start(shop.node.web(), "/", 200);
        traffic.wait_for(50);
        shop.release("");
        let deploy = shop.roll_out(Duration::from_secs(120), |_| {});
        assert_eq!(deploy["phase"], "done", "{deploy:#}");
        assert!(shop.portrait()["words"].as_str().unwrap().contains("release=1"));
        let report = traffic.finish();
        eprintln!("socket = {socket:?}: {report}");
        report.expect_no_failure();
        let address = shop.runs()[0]["address"].as_str().unwrap().to_owned();
        assert_eq!(address.starts_with("unix:"), socket == "unix", "{address}");
    }
}

#[test]
fn a_run_knows_who_it_is() {
    let shop = Stage::new(1).start();
    let portrait = shop.portrait();
    let run = &shop.runs()[0];
    assert_eq!(portrait["app"], "shop");
    assert_eq!((&portrait["instance"], &portrait["generation"]), (&"0".into(), &"1".into()));
    assert_eq!(portrait["pid"], run["pid"]);
}
