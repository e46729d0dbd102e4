//! Long requests and idle connections across upgrades.

use std::thread;
use std::time::Duration;

use evergate_e2e::upgrade::Order;
use evergate_e2e::{Binaries, Client, Origin, Setup, Signal, wait_until};

use super::stage::{Stage, expect_to_drain};
use crate::apps::stage::count;
use crate::apps::web_socket::WebSockets;
use crate::scene::{Scene, get};

const PIECE: usize = 16 * 1024;
/// A second or two in each direction; in full, 10 MB at 100 kB/s.
const PIECES: (usize, usize) = (60, 610);
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(160));

#[test]
fn slow_bodies_in_both_directions_survive_upgrades() {
    let binaries = Binaries::new();
    let (pieces, pause) = (count(PIECES.0, PIECES.1), count(PAUSE.0, PAUSE.1));
    // Neither direction ends before its upgrade has.
    let (may_send, may_answer) = (Signal::new(), Signal::new());
    let (sends, answers) = (may_send.clone(), may_answer.clone());
    let origin = Origin::scripted(move |served| {
        while let Some(request) = served.read_request() {
            // What came goes back slowly.
            let length = request.body.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            served.write(head);
            let (all, last) = request.body.split_at(length - PIECE);
            for piece in all.chunks(PIECE) {
                served.write(piece);
                thread::park_timeout(pause);
            }
            answers.wait();
            served.write(last);
        }
    });
    let config =
        Scene::to(&origin).route("timeout = \"5m\"").limits("body_rate_min = \"0B/s\"").config();
    let node = Setup::new().threads(2).start(&config);
    let web = node.web();
    let client = thread::spawn(move || {
        let mut client = Client::connect(web);
        let length = PIECE * pieces;
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
        for _ in 1..pieces {
            client.send([b'x'; PIECE]);
            thread::park_timeout(pause);
        }
        sends.wait();
        client.send([b'x'; PIECE]);
        client.read_response()
    });
    // One while it is sent, one while it is answered.
    node.upgrade_well(&Order::to(&binaries.good()).worker());
    may_send.give();
    origin.next_request();
    node.upgrade_well(&Order::to(&binaries.good()).worker());
    assert!(!client.is_finished(), "it is still being answered");
    may_answer.give();
    let answer = client.join().expect("nobody cuts it");
    assert_eq!((answer.status, answer.body.len()), (200, PIECE * pieces));
    expect_to_drain(&node, 0);
}

#[test]
fn an_idle_connection_is_answered_once_more_and_then_closed() {
    let (origin, binaries) = (Origin::saying("hello"), Binaries::new());
    let node = Scene::to(&origin).start();
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(node.web())).collect();
    for client in &mut clients {
        client.send(get("/", ""));
        assert_eq!(client.read_response().field("connection"), None);
    }
    node.upgrade_well(&Order::to(&binaries.good()).worker());
    let (asking, idle) = clients.split_at_mut(10);
    let mut answered = 0;
    for client in asking {
        // On a machine that stands still for five seconds the end comes before the question.
        let Ok(()) = client.try_send(get("/", "")) else { continue };
        let Ok(answer) = client.try_read_response() else { continue };
        assert_eq!((answer.text(), answer.field("connection")), ("hello", Some("close")));
        client.expect_close();
        answered += 1;
    }
    eprintln!("{answered} of 10 were answered once more");
    for client in idle {
        let (rest, in_order) = client.read_to_end();
        assert!(rest.is_empty() && in_order, "closed, not reset");
    }
    expect_to_drain(&node, 0);
}

#[test]
fn web_sockets_stay_where_they_are_and_a_third_upgrade_has_to_wait_for_them() {
    let (stage, binaries) = (Stage::start(), Binaries::new());
    let config = stage.config.replace("drain_timeout = \"3s\"", "drain_timeout = \"5m\"");
    assert_eq!(stage.node.reload(&config).0, 200);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(WebSockets::open(stage.node.web(), 2));
        let echoes = || held.iter().map(WebSockets::echoes).min().unwrap_or_default();
        wait_until("they talk", || echoes() > 2);
        if held.len() < 3 {
            stage.node.upgrade_well(&Order::to(&binaries.good()).worker());
        }
    }
    expect_to_drain(&stage.node, 2);
    let order = Order::to(&binaries.good()).worker();
    let (code, answer) = stage.node.order(&order);
    assert_ne!(code, 200, "{answer:#}");
    eprintln!("a third: {answer}");
    for sockets in held.drain(1..) {
        assert!(sockets.finish().is_empty(), "nobody closed them");
    }
    // The oldest is in the way alone; whoever is in a hurry cuts it.
    let oldest = held.pop().expect("one is left");
    wait_until("the others have ended", || {
        stage.node.workers().as_array().is_some_and(|workers| workers.len() == 2)
    });
    stage.node.upgrade_well(&order);
    assert!(oldest.finish().is_empty(), "nobody closed it");
}

#[test]
fn a_response_that_waits_is_given_by_the_worker_that_has_it() {
    let (go, binaries) = (Signal::new(), Binaries::new());
    let wait = go.clone();
    let origin = Origin::scripted(move |served| {
        while served.read_request().is_some() {
            wait.wait();
            served.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        }
    });
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    client.send(get("/", ""));
    origin.next_request();
    node.upgrade_well(&Order::to(&binaries.good()));
    expect_to_drain(&node, 1);
    go.give();
    let answer = client.read_response();
    assert_eq!((answer.text(), answer.field("connection")), ("done", Some("close")));
    expect_to_drain(&node, 0);
}
