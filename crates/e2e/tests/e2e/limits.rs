//! Bounds on clients: sizes, times, numbers.

use std::time::{Duration, Instant};

use evergate_e2e::{Client, Origin, PATIENCE, Signal};

use crate::scene::{Scene, get, ok, post};

#[test]
fn a_body_past_the_limit_is_413() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).limits("body = \"1KiB\"").start();
    assert_eq!(Client::ask(node.web(), post(&"x".repeat(1024), "")).status, 200);
    // By its length: nothing goes to the server.
    let response = Client::ask(node.web(), post(&"x".repeat(1025), ""));
    assert_eq!((response.status, response.field("connection")), (413, Some("close")));
    // By its chunks: the server's connection is cut.
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("200\r\n{}\r\n", "x".repeat(512));
    let whole = format!("{chunked}{chunk}{chunk}0\r\n\r\n");
    assert_eq!(Client::ask(node.web(), whole).status, 200);
    let mut client = Client::connect(node.web());
    client.send(format!("{chunked}{chunk}{chunk}1\r\nx\r\n"));
    let response = client.read_response();
    assert_eq!((response.status, response.field("connection")), (413, Some("close")));
    client.end();
    client.expect_close();
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_head_past_the_limits_is_431_and_a_target_414() {
    let origin = Origin::saying("ok");
    let limits = "header = \"1KiB\"\nheaders = 5\nuri = \"256B\"";
    let node = Scene::to(&origin).limits(limits).start();
    let long = |bytes: usize| {
        let head = get("/", "X: \r\n");
        get("/", &format!("X: {}\r\n", "x".repeat(bytes - head.len())))
    };
    let path = |bytes: usize| format!("/{}", "x".repeat(bytes - 1));
    let table = [
        (long(1024), 200),
        (long(1025), 431),
        (get("/", "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n"), 200),
        (get("/", "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\n"), 431),
        (get(&path(256), ""), 200),
        (get(&path(257), ""), 414),
        (get(&format!("{}?{}", path(128), path(128)), ""), 414),
        // Without an end in sight.
        (format!("GET /{}", "x".repeat(300)), 414),
        (format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(2000)), 431),
    ];
    for (request, status) in table {
        let response = Client::ask(node.web(), &request);
        assert_eq!(response.status, status, "{request}");
        let close = (status != 200).then_some("close");
        assert_eq!(response.field("connection"), close, "{request}");
    }
}

#[test]
fn a_head_that_drips_in_is_408() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).limits("header_timeout = \"200ms\"").start();
    let mut client = Client::connect(node.web());
    let begun = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n");
    let response = client.read_response();
    assert_eq!((response.status, response.field("connection")), (408, Some("close")));
    assert!(begun.elapsed() >= Duration::from_millis(200));
    client.end();
    client.expect_close();
    // Bytes that keep coming do not move the deadline.
    let mut client = Client::connect(node.web());
    let begun = Instant::now();
    client.send("GET / HTTP/1.1\r\n");
    while client.stays_silent_for(Duration::from_millis(20)) {
        client.send("X: y\r\n");
        assert!(begun.elapsed() < PATIENCE, "it may drip for ever");
    }
    assert_eq!(client.read_response().status, 408);
    // One that never speaks gets nothing.
    Client::connect(node.web()).expect_close();
    assert_eq!(origin.connections(), 0);
}

#[test]
fn the_head_after_a_request_has_its_own_time() {
    let origin = Origin::saying("ok");
    let limits = "header_timeout = \"2s\"\nidle_timeout = \"10m\"";
    let node = Scene::to(&origin).limits(limits).start();
    let mut client = Client::connect(node.web());
    client.send(get("/", ""));
    assert_eq!(client.read_response().status, 200);
    assert!(client.stays_silent_for(Duration::from_secs(3)), "silence is not a slow head");
    client.send("GET / HT");
    assert_eq!(client.read_response().status, 408);
    // The start of a head right behind a request.
    let mut client = Client::connect(node.web());
    client.send(get("/", "") + "GET / HT");
    assert_eq!(client.read_response().status, 200);
    assert_eq!(client.read_response().status, 408);
}

#[test]
fn a_kept_connection_that_stays_silent_is_closed() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).limits("idle_timeout = \"2s\"").start();
    let mut client = Client::connect(node.web());
    client.send(get("/", ""));
    assert_eq!(client.read_response().status, 200);
    let begun = Instant::now();
    client.send(get("/", ""));
    assert_eq!(client.read_response().status, 200);
    client.expect_close();
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a_connection_serves_so_many_requests() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).limits("requests = 3").start();
    let mut client = Client::connect(node.web());
    client.send(get("/", "").repeat(4));
    for last in [None, None, Some("close")] {
        assert_eq!(client.read_response().field("connection"), last);
    }
    client.expect_close();
    assert_eq!(origin.requests().len(), 3);
}

#[test]
fn a_body_that_drips_in_is_408_and_no_fault_of_the_server() {
    let origin = Origin::saying("ok");
    let limits = "body_grace = \"1s\"\nbody_rate_min = \"1KiB/s\"";
    let node = Scene::to(&origin).limits(limits).start();
    let mut client = Client::connect(node.web());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc");
    let response = client.read_response();
    assert_eq!((response.status, response.field("connection")), (408, Some("close")));
    assert_eq!(node.server("one", "a")["failures"], 0);
    let line = &node.stdout.wait_for(1, "\"statusCode\":408")[0];
    assert!(line.contains("\"reason\":\"body_timeout\""), "{line}");
}

#[test]
fn a_body_that_stops_after_a_good_start_is_408() {
    let origin = Origin::saying("ok");
    let limits = "body_grace = \"1s\"\nbody_rate_min = \"1KiB/s\"";
    let node = Scene::to(&origin).limits(limits).route("timeout = \"10m\"").start();
    let mut client = Client::connect(node.web());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n");
    // What came fast must not pay for hours of silence.
    // If all of it took longer than the grace, the end came sooner.
    let _ = client.try_send(vec![b'x'; 1_000_000]);
    assert_eq!(client.read_response().status, 408);
}

#[test]
fn a_body_that_stops_until_the_deadline_is_no_fault_of_the_server() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).route("timeout = \"300ms\"").start();
    let mut client = Client::connect(node.web());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
    assert_eq!(client.read_response().status, 408);
    assert_eq!(node.server("one", "a")["failures"], 0);
}

#[test]
fn a_client_that_does_not_read_is_cut() {
    const BYTES: usize = 64 * 1024 * 1024;
    for framing in ["sized", "chunked"] {
        let origin = Origin::scripted(move |served| {
            served.read_request();
            if framing == "sized" {
                served.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"));
                served.write(vec![b'x'; BYTES]);
            } else {
                served.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                served.write(format!("{BYTES:x}\r\n"));
                served.write(vec![b'x'; BYTES]);
            }
        });
        let limits = "body_grace = \"1s\"\nbody_rate_min = \"1KiB/s\"";
        let node = Scene::to(&origin).limits(limits).route("timeout = \"10m\"").start();
        let mut client = Client::connect(node.web());
        client.receive_little();
        client.send(get("/", ""));
        // The server is let go as soon as the client is given up.
        origin.wait_for_ends(1);
        let line = &node.stdout.wait_for(1, "\"statusCode\":200")[0];
        assert!(line.contains("\"reason\":\"body_timeout\""), "{framing}: {line}");
        assert_eq!(node.server("one", "a")["failures"], 0, "{framing}");
    }
}

#[test]
fn a_listener_has_so_many_connections() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).limits("connections = 2").start();
    let mut first = Client::connect(node.web());
    let mut second = Client::connect(node.web());
    for client in [&mut first, &mut second] {
        client.send(get("/", ""));
        assert_eq!(client.read_response().status, 200);
    }
    let mut third = Client::connect(node.web());
    let response = third.read_response();
    assert_eq!((response.status, response.field("connection")), (503, Some("close")));
    assert_eq!(response.field("retry-after"), Some("1"));
    third.expect_close();
    drop(first);
    node.wait_for("a connection is gone", |status| status["listeners"][0]["connections"] == 1);
    assert_eq!(Client::ask(node.web(), get("/", "")).status, 200);
    let rejected = "evergate_listener_rejected_total";
    let metrics = node.metrics();
    let counted: f64 =
        metrics.iter().filter(|(name, _)| name.starts_with(rejected)).map(|(_, count)| count).sum();
    assert_eq!(counted, 1.0, "{metrics:#?}");
}

#[test]
fn an_address_has_so_many_connections() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).limits("connections_per_ip = 1").start();
    let mut first = Client::connect(node.web());
    first.send(get("/", ""));
    assert_eq!(first.read_response().status, 200);
    let response = Client::connect(node.web()).read_response();
    assert_eq!(response.status, 503);
    drop(first);
    node.wait_for("a connection is gone", |status| status["listeners"][0]["connections"] == 0);
    assert_eq!(Client::ask(node.web(), get("/", "")).status, 200);
}

#[test]
fn one_slow_client_holds_nobody_up() {
    let go_on = Signal::new();
    let wait = go_on.clone();
    let origin = Origin::scripted(move |served| {
        while let Some(request) = served.read_request() {
            if request.line.contains("/slow") {
                wait.wait();
            }
            served.write(ok("ok"));
        }
    });
    let node = Scene::to(&origin).start();
    let mut slow = Client::connect(node.web());
    slow.send(get("/slow", ""));
    origin.next_request();
    let mut dripping = Client::connect(node.web());
    dripping.send("GET / HT");
    for _ in 0..20 {
        assert_eq!(Client::ask(node.web(), get("/", "")).text(), "ok");
    }
    go_on.give();
    assert_eq!(slow.read_response().text(), "ok");
}
