//! What is known crosses from one worker to the next.

use evergate_e2e::{Node, Origin, wait_until};
use serde_json::{Value, json};

use crate::processes::kill_worker;
use crate::scene::{Scene, ok};

/// Nobody listens there.
const DEAD: &str = "127.0.0.1:1";

fn server(status: &Value, name: &str) -> Value {
    let servers = status["pools"][0]["servers"].as_array().unwrap();
    servers.iter().find(|server| server["name"] == name).unwrap().clone()
}

fn events(node: &Node, kind: &str) -> usize {
    let (_, events) = node.api("GET", "/api/v1/events", None);
    events.to_string().matches(&format!("\"kind\":\"{kind}\"")).count()
}

#[test]
fn what_is_known_of_servers_survives_the_worker() {
    let origin = Origin::answering(ok("hi"));
    let node = Scene::new()
        .server("good", origin.address())
        .server("dead", DEAD.parse().unwrap())
        .pool("check.tcp = { every = \"4s\", timeout = \"4s\", fall = 1, rise = 1 }")
        .start();
    node.wait_for_state("one", "dead", "down");
    let drain = Some(json!({ "state": "drain" }));
    let (code, answer) = node.api("PATCH", "/api/v1/pools/one/servers/good", drain);
    assert_eq!(code, 200, "{answer}");
    let before = node.status();
    let reason = &server(&before, "dead")["reason"];
    // What people have seen is kept.
    let started = node.metrics()["evergate_start_time_seconds"];

    kill_worker(&node);
    let after = node.status();
    let dead = server(&after, "dead");
    assert_eq!((&dead["state"], &dead["reason"]), (&"down".into(), reason), "{dead}");
    assert_eq!(server(&after, "good")["state"], "draining");
    assert_eq!(node.metrics()["evergate_start_time_seconds"], started);
    assert_eq!(events(&node, "server_down"), 1, "it is no news");
    wait_until("what happened in both workers is told", || events(&node, "ready") == 2);
}
