//! How runs are ended: with everything that came of them, in order, and the ones after them last.

use std::fs;

use evergate_e2e::wait_until;
use evergate_sys::signal::Signal;

use super::stage::{APP, Stage, runs};
use crate::processes::pid;

/// The processes whose command line has `mark` in it.
fn marked(mark: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_marked = |pid: &u32| {
        // One that ends meanwhile has none.
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(mark)
    };
    pids.filter(is_marked).collect()
}

fn mark(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

#[test]
fn nothing_that_came_of_a_run_survives_its_end_or_blocks_the_next() {
    let mark = mark("offspring");
    let words = format!(
        "deaf mark={mark} offspring=plain offspring=setsid offspring=deaf offspring=setsid+deaf \
         offspring=port+deaf offspring=double+setsid+deaf+port"
    );
    let shop = Stage::new(1).words(&words).key("stop = { timeout = \"300ms\" }").start();
    // The run itself, and one for each word; the one that forks twice is gone at once.
    wait_until("its offspring is there", || marked(&mark).len() == 7);
    let port = shop.runs()[0]["address"].clone();
    shop.wish("stop");
    shop.wait_for_state(0, "stopped");
    assert_eq!(marked(&mark), [0; 0], "it is over only when all are gone");
    shop.wish("start");
    let run = shop.wait_for_state(0, "ready");
    assert_ne!(run["address"], port);
    assert_eq!(shop.get("/").status, 200);
    assert_eq!(run["exits"], 0);
}

#[test]
fn what_a_crashed_run_left_behind_is_cleared_away() {
    let mark = mark("orphan");
    let words = format!("mark={mark} offspring=setsid+deaf+port offspring=double+setsid+deaf");
    let shop = Stage::new(1).words(&words).start();
    wait_until("its offspring is there", || marked(&mark).len() == 3);
    let before = marked(&mark);
    crate::apps::crashes::kill(pid(&shop.runs()[0]["pid"]).into());
    shop.wait_for("the next serves", |runs| {
        runs.iter().any(|run| run["state"] == "ready" && run["generation"] == 2)
    });
    wait_until("the old ones are gone", || before.iter().all(|pid| !marked(&mark).contains(pid)));
    assert_eq!(shop.get("/").status, 200);
}

#[test]
fn nothing_survives_the_end_of_the_node() {
    let mark = mark("end");
    let words = format!("mark={mark} offspring=setsid+deaf+port offspring=double+setsid+deaf");
    let mut shop = Stage::new(2).words(&words).key("stop = { timeout = \"300ms\" }").start();
    wait_until("its offspring is there", || marked(&mark).len() == 6);
    shop.node.signal(Signal::Terminate);
    assert_eq!(shop.node.wait_for_exit().code(), Some(0));
    assert_eq!(marked(&mark), [0; 0]);
}

#[test]
fn apps_start_after_those_they_need_and_end_before_them() {
    let mark = mark("order");
    let db = format!("mark={mark}-db");
    let mut shop = Stage::new(1)
        .words(&format!("mark={mark}-shop linger=400"))
        .key("after = [\"db\"]")
        .app("db", &[APP, "start-after=3000", &db], "")
        .launch();
    let waiting = shop.wait_for_state(0, "waiting");
    assert!(waiting["reason"].as_str().unwrap().contains("db"), "{waiting:#}");
    shop.wait_for_state(0, "ready");
    let status = shop.node.status();
    let since = |app: &str| runs(&status, app)[0]["since_seconds"].as_f64().unwrap();
    assert!(since("db") > since("shop"), "{status:#}");

    shop.node.signal(Signal::Terminate);
    let (shop_mark, db_mark) = (format!("{mark}-shop"), format!("{mark}-db"));
    wait_until("the shop is gone", || {
        // Seen in this order: had the db been gone first, it would be missed here.
        let db_runs = !marked(&db_mark).is_empty();
        let shop_runs = !marked(&shop_mark).is_empty();
        assert!(db_runs || !shop_runs, "the db ended before the shop");
        !shop_runs
    });
    assert_eq!(shop.node.wait_for_exit().code(), Some(0));
}
