//! Apps that use more memory than they may.

use super::stage::{APP, Stage, runs};
use crate::load::Traffic;

#[test]
fn a_run_that_is_out_of_memory_is_named_so() {
    let keys = "limits = { memory = \"64MiB\" }\nbackoff = { base = \"60s\", cap = \"60s\" }";
    let shop = Stage::new(1).app("glutton", &[APP, "memory=300"], keys).start();
    let limits = shop.node.status()["app_limits"].clone();
    let kept = limits[0]["kept"][0].as_str().unwrap_or_default().to_owned();
    if !kept.contains(" by cgroup ") {
        // What a machine lacks that runs tests is no fault of theirs.
        return eprintln!("skipped: memory is not bounded by a control group here: {limits}");
    }
    let status =
        shop.node.wait_for("it has ended", |status| runs(status, "glutton")[0]["exits"] == 1);
    let run = &runs(&status, "glutton")[0];
    assert!(run["last_exit"].as_str().unwrap().contains("memory"), "{run:#}");
    assert_eq!(shop.get("/").status, 200);
}

#[test]
fn a_run_that_leaks_is_replaced_without_a_failed_request() {
    let shop = Stage::new(2)
        .words("memory=100")
        .key("memory_watch = { rss = \"60MiB\", for = \"1s\" }")
        .start();
    let traffic = Traffic::start(shop.node.web(), "/", 200);
    shop.wait_for("each is replaced", |runs| {
        runs.iter().filter(|run| run["generation"].as_u64() >= Some(2)).count() >= 2
    });
    let report = traffic.finish();
    eprintln!("leaking: {report}");
    report.expect_no_failure();
    assert!(shop.runs().iter().all(|run| run["exits"] == 0), "no failure of its own");
}
