//! The join of supervisor and balancer: what becomes of requests when a run dies, drains or ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use evergate_e2e::{Client, Node, Setup, wait_until};
use evergate_sys::signal::{self, Signal};
use serde_json::json;

use crate::load::Traffic;
use crate::processes::pid;

/// A node with so many instances of the app for tests, all of them up. `words` are for the app,
/// `lines` for its section.
fn node(instances: usize, words: &str, lines: &str) -> Node {
    let words: Vec<_> = words.split_whitespace().collect();
    let run = [&[env!("CARGO_BIN_EXE_e2e-app")], &words[..]].concat();
    let config = format!(
        r#"
[log]
access = "off"
[listener.web]
bind = ["127.0.0.1:0"]
[route.all]
match = "/*"
pool = "shop"
timeout = "10m"
[pool.shop]
servers = {{ shop = {{ app = "shop" }} }}
[app.shop]
run = {run:?}
instances = {instances}
ready = {{ http = "/health" }}
{lines}
"#
    );
    let node = Setup::new().threads(2).start(&config);
    for number in 0..instances {
        node.wait_for_state("shop", &format!("shop/{number}"), "up");
    }
    node
}

fn kill(node: &Node, number: usize) {
    signal::send(pid(&node.status()["apps"][number]["pid"]), Signal::Kill).unwrap();
}

/// Waits until that many requests are in flight to an instance.
fn wait_in_flight(node: &Node, number: usize, count: u64) {
    node.wait_for("the request is under way", |status| {
        status["apps"][number]["in_flight"].as_u64() == Some(count)
    });
}

/// A request that instance 0 leaves to a child.
fn leave_to_child(method: &str) -> String {
    let body = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
    format!("{method} /leave-to-child?instance=0 HTTP/1.1\r\nHost: a\r\n{body}\r\n")
}

#[test]
fn a_killed_run_costs_no_request_although_its_child_holds_on_to_the_port() {
    let node = node(3, "offspring=port,setsid", "");
    let traffic = Traffic::start(node.web(), "/", 400);
    traffic.wait_for(100);
    for number in 0..3 {
        kill(&node, number);
        node.wait_for("it is replaced", |status| {
            let mut runs = status["apps"].as_array().unwrap().iter();
            runs.any(|run| {
                run["number"] == number && run["generation"] == 2 && run["state"] == "ready"
            })
        });
        traffic.wait_for(50);
    }
    let report = traffic.finish();
    eprintln!("3 kills of a run whose child holds on to its port: {report}");
    report.expect_no_failure();
}

#[test]
fn what_is_in_flight_to_a_killed_run_is_asked_again_or_refused_at_once() {
    let node = node(2, "", "");
    let ask = |method: &str, in_flight: u64| loop {
        let mut client = Client::connect(node.web());
        client.send(leave_to_child(method));
        // The other instance answers.
        while client.stays_silent_for(Duration::from_millis(20)) {
            if node.status()["apps"][0]["in_flight"].as_u64() == Some(in_flight) {
                return client;
            }
        }
    };
    let (mut get, mut post) = (ask("GET", 1), ask("POST", 2));
    wait_in_flight(&node, 0, 2);
    let begun = Instant::now();
    kill(&node, 0);
    let answer = get.read_response();
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains(r#""instance":"1""#), "{}", answer.text());
    assert_eq!(post.read_response().status, 502);
    // Nobody waited for the deadline of the route: it is further away than these clients wait.
    eprintln!("answered {:?} after the kill", begun.elapsed());
}

#[test]
fn a_stop_waits_for_a_slow_response_and_for_nothing_else() {
    let node = node(1, "", r#"stop = { drain = "10m" }"#);
    let mut client = Client::connect(node.web());
    client.send("GET /slow?ms=5000 HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_in_flight(&node, 0, 1);
    let (code, answer) = node.api("POST", "/api/v1/apps/shop/stop", Some(json!({})));
    assert_eq!(code, 200, "{answer}");
    node.wait_for("it drains", |status| status["apps"][0]["state"] == "draining");
    let refused = Client::ask(node.web(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(refused.status, 503, "it gets nothing new");
    assert_eq!(client.read_response().status, 200);
    // Once it is idle: the time to drain is longer than this waits.
    node.wait_for("it is stopped", |status| status["apps"][0]["state"] == "stopped");
}

#[test]
fn a_websocket_is_told_that_its_service_restarts() {
    let node = node(1, "", r#"stop = { drain = "2s" }"#);
    let mut client = Client::connect(node.web());
    client.send(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    assert_eq!(client.read_head().status, 101);
    // The app sends back what comes, here a text under a mask of zeros.
    client.send([0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
    assert_eq!(client.read_exact_bytes(4), [0x81, 0x02, b'h', b'i']);
    wait_in_flight(&node, 0, 1);
    assert_eq!(node.server("shop", "shop/0")["tunnels"], 1);
    let begun = Instant::now();
    let (code, answer) = node.api("POST", "/api/v1/apps/shop/stop", Some(json!({})));
    assert_eq!(code, 200, "{answer}");
    assert_eq!(client.read_exact_bytes(19), b"\x88\x11\x03\xf4service restart");
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(1_500), "first it is left alone: {took:?}");
    client.send([0x88, 0x80, 0, 0, 0, 0]);
    client.expect_close();
    wait_until("the app is stopped", || node.status()["apps"][0]["state"] == "stopped");
}

#[test]
fn apps_on_unix_sockets_serve_like_others() {
    let node = node(2, "", r#"socket = "unix""#);
    let server = node.server("shop", "shop/0");
    assert!(server["address"].as_str().unwrap().starts_with("unix:/"), "{server}");
    let traffic = Traffic::start(node.web(), "/", 200);
    traffic.wait_for(100);
    kill(&node, 0);
    traffic.wait_for(100);
    traffic.finish().expect_no_failure();
}
