//! What comes before a response: `100 Continue`, `103 Early Hints`, and the switch to WebSocket.

use std::time::{Duration, Instant};

use evergate_e2e::{Client, Origin, Signal};

use crate::scene::{Scene, answer, get, ok};

const EXPECTING: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[test]
fn the_servers_continue_asks_the_client_for_its_body() {
    let origin = Origin::scripted(|served| {
        while let Some(mut head) = served.read_head() {
            // Not a byte of the body may be here yet.
            served.write("HTTP/1.1 100 Go Ahead\r\nX-Odd: 1\r\n\r\n");
            head.body = served.read_exact_bytes(5).expect("a body");
            served.record(head);
            served.write(ok("thanks"));
        }
    });
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    for _ in 0..2 {
        client.send(EXPECTING);
        assert_eq!(client.read_exact_bytes(CONTINUE.len()), CONTINUE);
        client.send("hello");
        assert_eq!(client.read_response().text(), "thanks");
        let request = origin.next_request();
        assert_eq!(request.field("expect"), Some("100-continue"));
        assert_eq!(request.body, b"hello");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_server_that_ignores_the_expectation_is_waited_for_a_second() {
    let origin = Origin::saying("thanks");
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    let sent = Instant::now();
    client.send(EXPECTING);
    assert_eq!(client.read_exact_bytes(CONTINUE.len()), CONTINUE);
    let waited = sent.elapsed();
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    client.send("hello");
    assert_eq!(client.read_response().text(), "thanks");
    assert_eq!(origin.next_request().body, b"hello");
}

#[test]
fn a_server_that_rejects_spares_the_client_its_body() {
    let origin = Origin::scripted(|served| {
        served.read_head();
        served.write(answer(401, "", "who are you"));
        served.wait_for_end();
    });
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    client.send(EXPECTING);
    let mut response = client.read_response();
    if response.status == 100 {
        eprintln!("the machine stood still for the second for which the server is waited for");
        response = client.read_response();
    }
    assert_eq!((response.status, response.text()), (401, "who are you"));
    // Whether the body still comes is not known: nothing else can follow.
    assert_eq!(response.field("connection"), Some("close"));
    client.end();
    client.expect_close();
    origin.wait_for_ends(1);
    assert!(!String::from_utf8(origin.bytes()).unwrap().contains("hello"));
}

#[test]
fn an_expectation_without_a_body_or_from_an_old_client_is_dropped() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).start();
    let requests = [
        get("/", "Expect: 100-continue\r\n"),
        "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi".into(),
    ];
    for request in requests {
        let response = Client::ask(node.web(), request);
        assert_eq!((response.status, response.text()), (200, "ok"));
        assert_eq!(origin.next_request().field("expect"), None);
    }
}

#[test]
fn a_refusal_of_ours_comes_without_continue() {
    let origin = Origin::saying("never");
    let node = Scene::to(&origin).limits("body = \"4B\"").start();
    let response = Client::ask(node.web(), EXPECTING);
    assert_eq!((response.status, response.field("connection")), (413, Some("close")));
    let response = Client::ask(node.web(), EXPECTING.replace("100-continue", "200-ok"));
    assert_eq!((response.status, response.field("connection")), (417, Some("close")));
    assert_eq!(origin.connections(), 0);
}

#[test]
fn early_hints_are_passed_on_at_once() {
    let go_on = Signal::new();
    let wait = go_on.clone();
    let origin = Origin::scripted(move |served| {
        while served.read_request().is_some() {
            served.write(
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nX: hop\r\n\r\n\
                 HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n",
            );
            wait.wait();
            served.write("HTTP/1.1 199 Odd\r\n\r\n");
            served.write(ok("done"));
        }
    });
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    client.send(get("/", ""));
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
        HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n";
    assert_eq!(String::from_utf8(client.read_exact_bytes(hints.len())).unwrap(), hints);
    go_on.give();
    assert_eq!(client.read_response().status, 199);
    assert_eq!(client.read_response().text(), "done");
    // An old client knows no interim responses.
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    go_on.give();
    assert_eq!(client.read_response().text(), "done");
}

#[test]
fn endless_hints_are_a_malformed_response() {
    let origin = Origin::scripted(|served| {
        served.read_request();
        served.write("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000));
        served.wait_for_end();
    });
    let node = Scene::to(&origin).pool("retry = { attempts = 1 }").start();
    let mut client = Client::connect(node.web());
    client.send(get("/", ""));
    let last = loop {
        let response = client.read_response();
        if response.status != 103 {
            break response;
        }
    };
    assert_eq!(last.status, 502);
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\
    Sec-WebSocket-Version: 13\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s\r\n\r\n";

#[test]
fn a_websocket_is_a_tunnel_with_two_halves() {
    let origin = Origin::scripted(|served| {
        let head = served.read_head().expect("a request");
        served.record(head);
        // The first bytes come with the head.
        served.write([SWITCHING.as_bytes(), b"early-down"].concat());
        assert_eq!(served.read_exact_bytes(8).as_deref(), Some(&b"early-up"[..]));
        assert_eq!(served.read_exact_bytes(4).as_deref(), Some(&b"ping"[..]));
        served.write("pong");
        // The client's half ends first; ours goes on.
        assert_eq!(served.read_some(), None);
        served.write("after the end");
    });
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    client.send([get("/chat?room=1", UPGRADE).as_bytes(), b"early-up"].concat());
    let response = client.read_head();
    assert_eq!(response.status, 101);
    assert_eq!(response.field("upgrade"), Some("websocket"));
    assert_eq!(response.field("connection"), Some("Upgrade"));
    assert_eq!(response.field("sec-websocket-accept"), Some("s"));
    assert_eq!(response.field("content-length"), None);
    assert_eq!(client.read_exact_bytes(10), b"early-down");
    client.send("ping");
    assert_eq!(client.read_exact_bytes(4), b"pong");
    client.end();
    assert_eq!(client.read_exact_bytes(13), b"after the end");
    client.expect_close();
    let request = origin.next_request();
    assert_eq!(request.line, "GET /chat?room=1 HTTP/1.1");
    assert_eq!(request.field("upgrade"), Some("websocket"));
    assert_eq!(request.field("connection"), Some("Upgrade"));
    assert_eq!(request.field("sec-websocket-key"), Some("k"));
    let line = &node.stdout.wait_for(1, "\"statusCode\":101")[0];
    assert!(line.contains("\"bytes\":27,"), "{line}");
}

#[test]
fn the_servers_half_of_a_tunnel_may_end_first() {
    let origin = Origin::scripted(|served| {
        served.read_head();
        served.write(SWITCHING);
        served.end();
        let bytes = served.read_exact_bytes(5).expect("the other half goes on");
        served.record(evergate_e2e::message::Request { body: bytes, ..Default::default() });
        assert_eq!(served.read_some(), None);
    });
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    client.send(get("/", UPGRADE));
    assert_eq!(client.read_head().status, 101);
    client.expect_close();
    client.send("later");
    client.end();
    assert_eq!(origin.next_request().body, b"later");
    origin.wait_for_ends(1);
}

#[test]
fn a_tunnel_carries_megabytes_both_ways_at_once() {
    const BYTES: usize = 4 * 1024 * 1024;
    let origin = Origin::scripted(|served| {
        served.read_head();
        served.write(SWITCHING);
        // An echo that never holds more than one read.
        while let Some(bytes) = served.read_some() {
            served.write(bytes);
        }
    });
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    client.send(get("/", UPGRADE));
    assert_eq!(client.read_head().status, 101);
    let mut sender = client.sender();
    let sent: Vec<u8> = (0..BYTES).map(|index| (index / 7) as u8).collect();
    let expected = sent.clone();
    let sending = std::thread::spawn(move || {
        sender.send(sent);
        sender.end();
    });
    assert!(client.read_exact_bytes(BYTES) == expected, "the echo differs");
    client.expect_close();
    sending.join().unwrap();
}

#[test]
fn a_refused_upgrade_is_a_response_like_any_other() {
    let origin = Origin::answering(answer(403, "Upgrade: websocket\r\n", "no"));
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    for _ in 0..2 {
        client.send(get("/", UPGRADE));
        let response = client.read_response();
        assert_eq!((response.status, response.text()), (403, "no"));
        assert_eq!(response.field("upgrade"), None);
    }
}

#[test]
fn a_switch_that_nobody_asked_for_is_malformed() {
    let origin = Origin::answering(SWITCHING);
    let node = Scene::to(&origin).pool("retry = { attempts = 1 }").start();
    assert_eq!(Client::ask(node.web(), get("/", "")).status, 502);
    // A body, another protocol, another method: no upgrade.
    let not_asked = [
        get("/", "Connection: Upgrade\r\nUpgrade: h2c\r\n"),
        get("/", "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"),
        get("/", "Upgrade: websocket\r\n"),
        get("/", &format!("{UPGRADE}Content-Length: 1\r\n")) + "x",
        get("/", UPGRADE).replace("GET", "POST"),
    ];
    for request in not_asked {
        assert_eq!(Client::ask(node.web(), &request).status, 502, "{request}");
        assert_eq!(origin.requests().last().unwrap().field("upgrade"), None, "{request}");
    }
}

#[test]
fn a_silent_tunnel_is_cut_after_the_idle_timeout() {
    let origin = Origin::scripted(|served| {
        served.read_head();
        served.write(SWITCHING);
        served.wait_for_end();
    });
    let node = Scene::to(&origin).limits("idle_timeout = \"300ms\"").start();
    let mut client = Client::connect(node.web());
    client.send(get("/", UPGRADE));
    assert_eq!(client.read_head().status, 101);
    client.expect_close();
    origin.wait_for_ends(1);
}
