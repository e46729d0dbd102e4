//! How runs are ended: with everything that came of them, in order, and the ones after them last.

use std::fs;

use evergate_e2e::wait_until;
use evergate_sys::signal::Signal;

use super::stage::{APP, Stage, runs};

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
fn apps_start_after_those_they_need_and_end_before_them() {
    let mark = mark("order");
    let db = format!("mark={mark}-db");
    let mut shop = Stage::new(1)
        .words(&format!("mark={mark}-shop linger=400"))
        .key("after = [\"db\"]")
        .app("db", &[APP, "start-after=700", &db], "")
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
