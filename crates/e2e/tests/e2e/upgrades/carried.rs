//! What the next process knows of what the one before it learned.

use std::process::Command;
use std::thread;
use std::time::Duration;

use evergate_e2e::place::Refusing;
use evergate_e2e::program::{command, printed};
use evergate_e2e::upgrade::Order;
use evergate_e2e::{Binaries, Client, Node, Origin, wait_until};

use super::stage::{Stage, expect_to_drain};
use crate::scene::{Scene, get};

#[test]
fn a_server_that_was_down_stays_down_all_the_time() {
    let (refusing, origin, binaries) = (Refusing::new(), Origin::saying("hello"), Binaries::new());
    let check = "check.tcp = { every = \"5s\", timeout = \"5s\", fall = 1, rise = 1 }";
    let scene = Scene::to(&origin).server("b", refusing.address()).pool(check);
    let node = scene.start();
    node.wait_for_state("one", "b", "down");
    let since = |node: &Node| node.server("one", "b")["since_seconds"].as_u64().expect("a number");
    wait_until("it has been for a while", || since(&node) >= 2);
    for order in [Order::worker, Order::keeper] {
        let before = since(&node);
        node.upgrade_well(&order(Order::to(&binaries.good())));
        let after = node.server("one", "b");
        assert_eq!(after["state"], "down", "{after:#}");
        // A worker that had to find that out by itself would have known it for less long.
        assert!(since(&node) >= before, "{before}, then {after:#}");
        for _ in 0..10 {
            assert_eq!(Client::ask(node.web(), get("/", "")).text(), "hello");
        }
    }
}

#[test]
fn how_fast_a_server_answers_is_known_before_it_is_asked() {
    let binaries = Binaries::new();
    let origin = Origin::scripted(|served| {
        while served.read_request().is_some() {
            thread::park_timeout(Duration::from_millis(30));
            served.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let node = Scene::to(&origin).start();
    for _ in 0..5 {
        assert_eq!(Client::ask(node.web(), get("/", "")).status, 200);
    }
    let latency = || node.server("one", "a")["latency_seconds"].as_f64().expect("a number");
    let before = latency();
    assert!(before > 0.02, "{before}");
    for order in [Order::worker, Order::keeper] {
        node.upgrade_well(&order(Order::to(&binaries.good())));
        let after = latency();
        // It is forgotten bit by bit, as it always is; a new one would know nothing.
        assert!(after > 0.0 && after <= before, "{before}, then {after}");
    }
}

#[test]
fn connections_count_towards_limits_in_whichever_worker_they_are() {
    let (origin, binaries) = (Origin::saying("hello"), Binaries::new());
    let node = Scene::to(&origin).limits("connections = 4\nheader_timeout = \"10m\"").start();
    let talk = |client: &mut Client| {
        client.send(get("/", ""));
        client.try_read_response().is_ok_and(|answer| answer.status == 200)
    };
    let mut held: Vec<_> = (0..3).map(|_| Client::connect(node.web())).collect();
    assert!(held.iter_mut().all(talk));
    // A request that has begun holds its connection in the worker that has it.
    held.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\n"));
    node.upgrade_well(&Order::to(&binaries.good()).worker());
    let mut fourth = Client::connect(node.web());
    assert!(talk(&mut fourth), "there is room for one");
    let mut fifth = Client::connect(node.web());
    assert!(!talk(&mut fifth), "and no more");
    for client in &mut held {
        client.send("Host: a\r\n\r\n");
        let answer = client.read_response();
        assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    }
    drop((held, fifth));
    wait_until("there is room again", || talk(&mut Client::connect(node.web())));
}

/// A session with OpenSSL; `option` says what becomes of its ticket.
fn session(node: &Node, option: &str) -> Option<String> {
    let mut client: Command = command("openssl")?;
    client.args(["s_client", "-connect", &node.address("tls").to_string(), "-ign_eof"]);
    client.args(["-servername", "localhost", option]).arg(node.path("session"));
    node.write("request", "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    client.stdin(std::fs::File::open(node.path("request")).expect("it was written"));
    Some(printed(&mut client))
}

#[test]
fn tls_sessions_go_on_in_the_next_worker() {
    let (stage, binaries) = (Stage::start(), Binaries::new());
    if session(&stage.node, "-sess_out").is_none() {
        return;
    }
    stage.node.upgrade_well(&Order::to(&binaries.good()));
    expect_to_drain(&stage.node, 1);
    let second = session(&stage.node, "-sess_in").expect("it was there before");
    assert!(second.contains("Reused, TLSv1.3"), "{second}");
}
