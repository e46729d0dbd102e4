//! Configurations that come back: because an operator wants it, or because nobody confirmed the new
//! one. Whatever crashes meanwhile.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::TcpListener;
use std::process::Command;

use evergate_e2e::{Client, Node, Setup, binary, free_address, wait_until};
use evergate_sys::signal::{self, Signal};
use serde_json::{Value, json};

use crate::processes::{kill_worker, pid};

/// Longer than any test.
const LONG: u64 = 3600;

/// A node that reads its file only when it is asked to, and answers `body`.
fn config(body: &str) -> String {
    format!("reload = \"on-request\"\n{}", watched(body))
}

/// The same, but it follows its file.
fn watched(body: &str) -> String {
    format!(
        "[listener.web]\nbind = [\"127.0.0.1:0\"]\n[route.all]\nmatch = \"/*\"\nrespond = {{ body = \
         \"{body}\" }}\n"
    )
}

fn body(node: &Node) -> String {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    Client::ask(node.web(), request).text().to_owned()
}

fn ok(node: &Node, path: &str, body: Value) -> Value {
    let (status, answer) = node.api("POST", path, Some(body));
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// Puts the file on trial.
fn try_out(node: &Node, seconds: u64) -> Value {
    ok(node, "/api/v1/reload", json!({ "confirm_seconds": seconds }))
}

/// Waits until an earlier configuration is in force, and nothing is on trial any more.
fn await_return(node: &Node) -> Value {
    node.wait_for("the configuration before is back", |status| {
        status["config"]["held"].is_string() && status["config"]["trial"].is_null()
    })
}

/// Ends everything at once, and starts anew.
fn crash(node: &mut Node) {
    let worker = pid(&node.status()["worker_pid"]);
    signal::send(node.pid(), Signal::Kill).unwrap();
    signal::send(worker, Signal::Kill).unwrap();
    node.start_again();
}

/// Kinds of all events.
fn events(node: &Node) -> Vec<String> {
    let (_, events) = node.api("GET", "/api/v1/events", None);
    let events = events["events"].as_array().unwrap().iter();
    events.map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

/// Runs `evergate LINE` against the node: exit code, what it shows, what it says.
fn command(node: &Node, line: &str) -> (i32, String, String) {
    let socket = node.path("run/admin.sock");
    let mut command = Command::new(binary::path());
    let output = command.args(line.split_whitespace()).arg("--socket").arg(socket).output();
    let output = output.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn what_nobody_confirms_goes_and_does_not_come_back_by_itself() {
    let mut node = Setup::new().start(&config("one"));
    node.rewrite(&config("two"));
    let (code, shown, told) = command(&node, "reload --confirm 2s");
    assert!(code == 0 && shown.contains("#1 comes back in 2 s"), "{shown}{told}");
    let status = await_return(&node);
    assert_eq!(body(&node), "one");
    assert_eq!(status["health"], "degraded");
    let held = status["config"]["held"].as_str().unwrap();
    assert!(held.contains("not confirmed in time") && held.contains("the file differs"), "{held}");
    let (_, ready) = node.admin("GET", "/readyz?verbose", None);
    assert!(ready.contains("the file differs"), "{ready}");
    assert_eq!(node.metrics()["evergate_config_held"], 1.0);
    for kind in ["config_unconfirmed", "config_reverted"] {
        wait_until(kind, || events(&node).iter().any(|one| one == kind));
    }
    let (status, answer) = node.api("POST", "/api/v1/confirm", None);
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("conflict")), "{answer}");

    kill_worker(&node);
    assert_eq!(body(&node), "one", "a crash of the worker does not read the file");
    crash(&mut node);
    assert_eq!(body(&node), "one", "nor does a restart");
    assert_eq!(node.status()["config"]["id"], 1);

    let (code, shown, _) = command(&node, "reload");
    assert!(code == 0 && shown.contains("~ route.all"), "{shown}");
    assert_eq!(body(&node), "two", "who asks for the file gets it");
    assert_eq!(node.status()["config"]["held"], Value::Null);
}

#[test]
fn what_is_confirmed_stays() {
    let mut node = Setup::new().start(&config("one"));
    node.rewrite(&config("two"));
    try_out(&node, LONG);
    assert_eq!(body(&node), "two");
    let trial = node.status()["config"]["trial"].clone();
    assert_eq!(trial["back_to"], 1);
    assert!((LONG - 60..=LONG).contains(&trial["seconds_left"].as_u64().unwrap()), "{trial}");
    assert_eq!(node.metrics()["evergate_config_unconfirmed"], 1.0);
    let route = json!({ "match": "/new", "respond": { "body": "put" } });
    let (status, answer) = node.api("PUT", "/api/v1/routes/new", Some(route));
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("conflict")), "{answer}");
    let (code, shown, told) = command(&node, "confirm");
    assert!(code == 0 && shown.contains("#2 stays"), "{shown}{told}");
    assert_eq!(node.status()["config"]["trial"], Value::Null);
    let (code, _, told) = command(&node, "confirm");
    assert!(code == 1 && told.contains("nothing to confirm"), "{told}");
    crash(&mut node);
    assert_eq!(body(&node), "two");
    assert_eq!(node.status()["config"]["trial"], Value::Null);
}

#[test]
fn a_trial_goes_on_over_crashes_and_upgrades() {
    let mut node = Setup::new().start(&config("one"));
    node.rewrite(&config("two"));
    try_out(&node, LONG);
    let is_on_trial = |node: &Node| {
        let left = node.status()["config"]["trial"]["seconds_left"].as_u64();
        left.is_some_and(|left| left > 0) && body(node) == "two"
    };
    kill_worker(&node);
    assert!(is_on_trial(&node), "over a crash of the worker");
    crash(&mut node);
    assert!(is_on_trial(&node), "over one of the node");
    for part in ["--worker --soak 1s", "--keeper"] {
        let (code, shown, told) = command(&node, &format!("upgrade {part}"));
        assert_eq!(code, 0, "{shown}{told}");
        wait_until("the trial is known again", || is_on_trial(&node));
    }
    // Under the same trial, so that it comes to the same end.
    node.rewrite(&config("three"));
    let answer = try_out(&node, 2);
    assert!(answer["change"]["unconfirmed"].as_str().unwrap().contains("#1"), "{answer}");
    await_return(&node);
    assert_eq!(body(&node), "one");
}

#[test]
fn a_node_that_is_started_again_and_again_does_not_stay_with_what_nobody_confirmed() {
    let mut node = Setup::new().start(&config("one"));
    node.rewrite(&config("two"));
    try_out(&node, LONG);
    for _ in 0..3 {
        node.stop();
        node.start_again();
        assert_eq!(body(&node), "two");
    }
    crash(&mut node);
    await_return(&node);
    assert_eq!(body(&node), "one");
}

#[test]
fn an_operator_goes_back_and_the_file_is_set_aside_until_it_changes() {
    let node = Setup::new().start(&watched("one"));
    for body in ["two", "three"] {
        assert_eq!(node.reload(&watched(body)).0, 200);
    }
    let (_, shown, _) = command(&node, "rollback --dry-run");
    assert!(shown.contains("~ route.all") && shown.contains("not applied"), "{shown}");
    assert_eq!(body(&node), "three");
    let answer = ok(&node, "/api/v1/rollback", json!({}));
    assert_eq!(answer["change"]["changed"], json!(["route.all"]));
    assert_eq!(body(&node), "two");
    assert_eq!(command(&node, "rollback").0, 0);
    assert_eq!(body(&node), "one", "one more");
    let (code, _, told) = command(&node, "rollback");
    assert!(code == 1 && told.contains("no configuration before"), "{told}");
    let (status, _) = node.api("POST", "/api/v1/rollback", Some(json!({ "to": 99 })));
    assert_eq!(status, 404);
    let (_, shown, _) = command(&node, "rollback --list");
    assert!(shown.contains("in force   1") && shown.contains("kept in"), "{shown}");

    // Whoever only touches the file does not want another configuration.
    node.rewrite(&watched("three"));
    kill_worker(&node);
    assert_eq!(body(&node), "one");
    node.rewrite(&watched("four"));
    wait_until("the file is followed again", || body(&node) == "four");
    assert_eq!(node.status()["config"]["held"], Value::Null);
    assert_eq!(command(&node, "rollback 2").0, 0);
    assert_eq!(body(&node), "two");
}

#[test]
fn a_file_that_was_followed_before_anybody_asked_is_tried_all_the_same() {
    let node = Setup::new().start(&watched("one"));
    let (status, answer) =
        node.api("POST", "/api/v1/reload", Some(json!({ "confirm_seconds": 9 })));
    assert_eq!(status, 422, "{answer}");
    node.rewrite(&watched("two"));
    wait_until("the file is followed", || body(&node) == "two");
    try_out(&node, 2);
    await_return(&node);
    assert_eq!(body(&node), "one");
}

#[test]
fn what_cannot_be_tried_is_refused_and_nothing_is_changed() {
    let node = Setup::new().start(&config("one"));
    node.rewrite(&format!("user = \"daemon\"\n{}", config("two")));
    for (seconds, why) in [(0, "between 1 s and 24 h"), (60, "node.user cannot be tried")] {
        let body = json!({ "confirm_seconds": seconds });
        let (status, answer) = node.api("POST", "/api/v1/reload", Some(body));
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(status == 422 && message.contains(why), "{message}");
        // Whoever asks for too little time has no bad file.
        assert_eq!(node.status()["config"]["failed_reload"].is_null(), seconds == 0);
    }
    assert_eq!((body(&node).as_str(), &node.status()["config"]["trial"]), ("one", &Value::Null));
}

#[test]
fn a_way_back_that_is_blocked_is_told_and_tried_again() {
    let address = free_address();
    let more = format!("[listener.more]\nbind = [\"{address}\"]\n");
    let node = Setup::new().start(&format!("{}{more}", config("one")));
    node.rewrite(&config("two"));
    try_out(&node, 8);
    // Another program takes the port that the configuration before needs.
    let theirs = TcpListener::bind(address).unwrap();
    let status = node.wait_for("the way back is blocked", |status| {
        status["config"]["trial"]["failure"].is_string()
    });
    assert_eq!((body(&node).as_str(), &status["health"]), ("two", &json!("degraded")));
    wait_until("it is told", || events(&node).contains(&"config_revert_failed".to_owned()));
    drop(theirs);
    await_return(&node);
    assert_eq!(body(&node), "one");
}

#[test]
fn a_history_that_is_damaged_is_told_and_left_alone() {
    let mut node = Setup::new().start(&config("one"));
    assert_eq!(node.reload(&config("two")).0, 200);
    node.stop();
    let path = node.path("state/history/configurations");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    node.start_again();
    assert_eq!(body(&node), "two");
    // Whatever was held in place of the file is not any more.
    assert!(events(&node).contains(&"history_unkept".to_owned()));
    let (_, shown, _) = command(&node, "rollback --list");
    for part in ["in memory only", "it is damaged", ".bad && evergate reload"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(node.reload(&config("three")).0, 200);
    let (code, shown, told) = command(&node, "rollback");
    let is_told = format!("{shown}{told}").contains("a restart of the node would put the file in");
    assert!(code == 0 && is_told, "{shown}{told}");
    assert_eq!(body(&node), "two", "what was applied since is kept in memory");
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "it is left for whoever wants to look");
    std::fs::rename(&path, node.path("state/history/bad")).unwrap();
    assert_eq!(command(&node, "reload").0, 0);
    assert!(path.exists());
    crash(&mut node);
    assert_eq!(body(&node), "three");
    assert_eq!(command(&node, "rollback").0, 0);
    assert_eq!(body(&node), "two");
}
