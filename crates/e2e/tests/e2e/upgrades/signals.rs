//! Signals to the keeper, and what it tells its service manager.

use std::collections::VecDeque;

use evergate_e2e::upgrade::Order;
use evergate_e2e::{Binaries, Client, Node, Origin, Setup, Signal as Hint, wait_until};
use evergate_sys::signal::Signal;

use super::stage::Stage;
use crate::scene::{Scene, get};

/// Waits until the manager was told a message with a line that begins with each of `lines`, in
/// this order; every message may be one of them.
fn wait_to_be_told(node: &Node, lines: &[&str]) -> Vec<String> {
    let mut wanted: VecDeque<_> = lines.iter().collect();
    let mut all = Vec::new();
    wait_until(&format!("the manager is told {lines:?}"), || {
        for notice in node.take_notices() {
            while wanted
                .front()
                .is_some_and(|line| notice.lines().any(|told| told.starts_with(**line)))
            {
                wanted.pop_front();
            }
            all.push(notice);
        }
        wanted.is_empty()
    });
    all
}

#[test]
fn a_reload_is_told_to_the_manager_in_one_message_with_its_time() {
    let origin = Origin::saying("hello");
    let node = Scene::to(&origin).start();
    node.take_notices();
    node.rewrite(&Scene::to(&origin).route("timeout = \"9s\"").config());
    node.signal(Signal::Hangup);
    let notices = wait_to_be_told(&node, &["RELOADING=1", "READY=1"]);
    let reloading = notices.iter().find(|one| one.contains("RELOADING=1")).expect("it was told");
    let time = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    let time: u64 = time.and_then(|time| time.parse().ok()).expect("the time is with it");
    let now = evergate_sys::clock::now().as_nanos() / 1000;
    assert!(time <= now && time + 60_000_000 > now, "{time} at {now}");
    assert_eq!(node.status()["config"]["generation"], 2);
}

#[test]
fn a_second_user_signal_is_an_upgrade_to_what_lies_where_the_binary_lay() {
    let binaries = Binaries::new();
    let path = binaries.good();
    let stage = Stage::start_as(Setup::new().program(&path));
    let before = stage.worker();
    binaries.exchange(&path);
    stage.node.signal(Signal::User2);
    // It is watched for as long as nobody said otherwise.
    wait_until("the new one serves", || stage.is_in("soak"));
    assert_ne!(stage.worker(), before);
    assert!(stage.serves());
    stage.expect_same_processes();
}

#[test]
fn the_watchdog_is_fed_across_upgrades() {
    let binaries = Binaries::new();
    let setup = Setup::new().env("WATCHDOG_USEC", "400000");
    let origin = Origin::saying("hello");
    let node = setup.start(&Scene::to(&origin).config());
    wait_to_be_told(&node, &["WATCHDOG=1", "WATCHDOG=1"]);
    node.upgrade_well(&Order::to(&binaries.good()));
    node.take_notices();
    let notices = wait_to_be_told(&node, &["WATCHDOG=1", "WATCHDOG=1"]);
    assert!(notices.iter().all(|one| !one.contains("MAINPID")), "{notices:?}");
}

#[test]
fn an_end_is_told_to_the_manager_and_takes_longer_while_requests_do() {
    let go = Hint::new();
    let wait = go.clone();
    let origin = Origin::scripted(move |served| {
        while served.read_request().is_some() {
            wait.wait();
            served.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        }
    });
    let mut node = Scene::to(&origin).start();
    let mut busy = Client::connect(node.web());
    busy.send(get("/", ""));
    origin.next_request();
    node.take_notices();
    node.signal(Signal::Terminate);
    wait_to_be_told(&node, &["STOPPING=1", "EXTEND_TIMEOUT_USEC="]);
    go.give();
    assert_eq!(busy.read_response().text(), "done");
    assert_eq!(node.wait_for_exit().code(), Some(0));
}

#[test]
fn an_end_in_the_middle_of_an_upgrade_ends_everything() {
    let binaries = Binaries::new();
    for faults in ["pause-at-load", "pause-at-probe"] {
        let mut stage = Stage::start();
        let (code, answer) = stage.node.order(&Order::to(&binaries.faulty(faults)).worker());
        assert_eq!(code, 200, "{answer:#}");
        let line = stage.node.stderr.wait_for(1, "stands still").pop().expect("it was waited for");
        let still: u32 = line.split(' ').nth(2).and_then(|pid| pid.parse().ok()).expect("a pid");
        let old = stage.worker();
        stage.node.signal(Signal::Terminate);
        if faults == "pause-at-probe" {
            // It has let clients in, so it has as long as any; nobody who is in a hurry waits for it.
            stage.node.stderr.wait_for(1, "\"kind\":\"stopping\"");
            stage.node.signal(Signal::Terminate);
        }
        assert_eq!(stage.node.wait_for_exit().code(), Some(0));
        for pid in [still, old] {
            assert!(evergate_sys::process::usage(pid).is_err(), "{pid} outlived its keeper");
        }
    }
}
