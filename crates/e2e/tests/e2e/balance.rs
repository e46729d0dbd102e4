//! Which server gets a request: sequences, weights, drain, checks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use evergate_e2e::place::Refusing;
use evergate_e2e::{Client, Node, Origin, wait_until};
use serde_json::json;

use crate::scene::{Scene, answer, get, ok};

/// Servers that say their names.
fn servers(names: &[&'static str]) -> BTreeMap<&'static str, Origin> {
    names.iter().map(|name| (*name, Origin::saying(name))).collect()
}

fn scene(servers: &BTreeMap<&'static str, Origin>, weights: &[u16]) -> Scene {
    let weights = weights.iter().copied().chain(std::iter::repeat(1));
    servers.iter().zip(weights).fold(Scene::new(), |scene, ((name, origin), weight)| {
        scene.server_with(name, origin.address(), &format!("weight = {weight}"))
    })
}

/// Who answers `count` requests, one after the other.
fn sequence(node: &Node, count: usize) -> String {
    let mut client = Client::connect(node.web());
    let answers = (0..count).map(|_| {
        client.send(get("/", ""));
        let response = client.read_response();
        if response.status == 200 {
            response.text().to_owned()
        } else {
            response.status.to_string()
        }
    });
    answers.collect::<Vec<_>>().join(" ")
}

#[test]
fn weights_give_the_smooth_sequence() {
    let servers = servers(&["a", "b", "c"]);
    let node = scene(&servers, &[5, 1, 1]).start();
    assert_eq!(sequence(&node, 14), "a a b a c a a a a b a c a a");
    let node = scene(&servers, &[1, 1, 1]).start();
    assert_eq!(sequence(&node, 6), "a b c a b c");
    let node = scene(&servers, &[1, 0, 1]).start();
    assert_eq!(sequence(&node, 4), "a c a c");
}

#[test]
fn the_same_key_goes_to_the_same_server() {
    let servers = servers(&["a", "b", "c"]);
    let pool = "balance = \"hash\"\nhash_key = \"{header:x-user}\"";
    let node = scene(&servers, &[]).pool(pool).start();
    let mut seen = BTreeMap::new();
    for round in 0..3 {
        for user in 0..20 {
            let lines = format!("X-User: {user}\r\n");
            let server = Client::ask(node.web(), get("/", &lines)).text().to_owned();
            assert_eq!(*seen.entry(user).or_insert(server.clone()), server, "{user} {round}");
        }
    }
    let used: std::collections::BTreeSet<_> = seen.values().collect();
    assert_eq!(used.len(), 3, "20 keys meet all of 3 servers");
}

#[test]
fn the_least_busy_server_is_chosen() {
    let hold = evergate_e2e::Signal::new();
    let wait = hold.clone();
    let busy = Origin::scripted(move |served| {
        while served.read_request().is_some() {
            wait.wait();
            served.write(ok("busy"));
        }
    });
    let free = Origin::saying("free");
    let scene = Scene::to(&busy).server("b", free.address()).pool("balance = \"least-conn\"");
    let node = scene.start();
    let mut first = Client::connect(node.web());
    first.send(get("/", ""));
    busy.next_request();
    assert_eq!(sequence(&node, 5), "free free free free free");
    hold.give();
    assert_eq!(first.read_response().text(), "busy");
}

#[test]
fn a_drained_server_gets_no_new_requests() {
    let servers = servers(&["a", "b"]);
    let node = scene(&servers, &[]).start();
    let patch = |body| node.api("PATCH", "/api/v1/pools/one/servers/a", Some(body)).0;
    assert_eq!(patch(json!({ "state": "drain" })), 200);
    assert_eq!(sequence(&node, 3), "b b b");
    assert_eq!(node.server("one", "a")["state"], "draining");
    assert_eq!(patch(json!({ "state": "ready" })), 200);
    assert_eq!(patch(json!({ "weight": 3 })), 200);
    let sequence = sequence(&node, 8);
    assert_eq!(sequence.matches('a').count(), 6, "{sequence}");
}

#[test]
fn without_a_server_that_is_up_it_is_503_or_all_are_tried() {
    let refusing = Refusing::new();
    let check = "check.tcp = { every = \"50ms\", timeout = \"50ms\", fall = 1, rise = 1 }";
    let scene = Scene::new().server("a", refusing.address()).pool(check);
    let node = scene.start();
    node.wait_for_state("one", "a", "down");
    let response = Client::ask(node.web(), get("/", ""));
    assert_eq!((response.status, response.field("retry-after")), (503, Some("1")));
    let line = &node.stdout.wait_for(1, "\"statusCode\":503")[0];
    assert!(line.contains("\"reason\":\"no_server\""), "{line}");

    // Down for the checks, but it answers.
    let origin = Origin::scripted(|served| {
        while let Some(request) = served.read_request() {
            let status = if request.line.contains("/check") { 500 } else { 200 };
            served.write(answer(status, "", "tried"));
        }
    });
    let check = "check.http = { path = \"/check\", every = \"50ms\", fall = 1, rise = 1 }";
    let node = Scene::to(&origin).pool(&format!("all_down = \"try-all\"\n{check}")).start();
    node.wait_for_state("one", "a", "down");
    assert_eq!(Client::ask(node.web(), get("/", "")).text(), "tried");
}

#[test]
fn checks_take_a_server_out_and_bring_it_back() {
    let is_well = Arc::new(AtomicBool::new(true));
    let well = Arc::clone(&is_well);
    let a = Origin::scripted(move |served| {
        while let Some(request) = served.read_request() {
            let fails = request.line.contains("/check") && !well.load(SeqCst);
            served.write(if fails { answer(503, "", "ill") } else { ok("a") });
        }
    });
    let b = Origin::saying("b");
    let check = "check.http = { path = \"/check?x\", host = \"inner\", every = \"50ms\", \
        fall = 2, rise = 2 }";
    let node = Scene::to(&a).server("b", b.address()).pool(check).start();
    let probe = a.next_request();
    assert_eq!(probe.line, "GET /check?x HTTP/1.1");
    assert_eq!(probe.field("host"), Some("inner"));
    is_well.store(false, SeqCst);
    node.wait_for_state("one", "a", "down");
    assert_eq!(sequence(&node, 4).matches('a').count(), 0);
    is_well.store(true, SeqCst);
    // A machine that stands still fails a check of so little patience now and then.
    wait_until("they share the requests", || sequence(&node, 4).matches('a').count() == 2);
}

#[test]
fn a_server_whose_requests_fail_is_left_out() {
    let bad = Origin::answering(answer(500, "", "bad"));
    let good = Origin::saying("good");
    let pool = "outlier = { consecutive = 3, eject = \"30s\" }";
    let node = Scene::to(&bad).server("b", good.address()).pool(pool).start();
    let mut client = Client::connect(node.web());
    // The balancer itself asks a server that fails less often.
    while bad.requests().len() < 3 {
        assert!(good.requests().len() < 100, "the bad server is not asked any more");
        client.send(get("/", ""));
        client.read_response();
    }
    node.wait_for_state("one", "a", "down");
    assert_eq!(bad.requests().len(), 3);
    assert_eq!(sequence(&node, 4), "good good good good");
}
