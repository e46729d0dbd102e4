//! Servers that fail: late, absent, broken, confused. And their connections, kept or not.

use std::time::{Duration, Instant};

use evergate_e2e::message::chunk;
use evergate_e2e::place::{Hanging, Refusing};
use evergate_e2e::{Client, Origin, Signal};

use crate::scene::{Scene, answer, get, ok, post};

const ONCE: &str = "retry = { attempts = 1 }";

#[test]
fn a_server_that_says_nothing_is_504() {
    let origin = Origin::scripted(|served| {
        served.read_request();
        served.wait_for_end();
    });
    let node = Scene::to(&origin).route("timeout = \"200ms\"").start();
    let begun = Instant::now();
    let mut client = Client::connect(node.web());
    client.send(get("/", ""));
    let response = client.read_response();
    assert_eq!((response.status, response.field("connection")), (504, None));
    assert!(begun.elapsed() >= Duration::from_millis(200));
    origin.wait_for_ends(1);
    assert_eq!(node.server("one", "a")["failures"], 1);
}

#[test]
fn a_server_that_stops_in_its_head_is_504() {
    let origin = Origin::scripted(|served| {
        served.read_request();
        served.write("HTTP/1.1 200 OK\r\nX: ");
        served.wait_for_end();
    });
    let node = Scene::to(&origin).route("timeout = \"200ms\"").start();
    assert_eq!(Client::ask(node.web(), get("/", "")).status, 504);
}

#[test]
fn a_server_that_stops_in_its_body_is_cut() {
    let origin = Origin::scripted(|served| {
        served.read_request();
        served.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        served.wait_for_end();
    });
    let node = Scene::to(&origin).route("timeout = \"300ms\"").start();
    let mut client = Client::connect(node.web());
    client.send(get("/", ""));
    let broken = client.try_read_response().expect_err("half a body is no response");
    assert!(broken.raw.ends_with(b"\r\n\r\nhalf"), "{broken}");
    origin.wait_for_ends(1);
    let line = &node.stdout.wait_for(1, "\"statusCode\":200")[0];
    assert!(line.contains("\"reason\":\"upstream_timeout\""), "{line}");
}

#[test]
fn a_long_response_that_keeps_coming_has_no_deadline() {
    let origin = Origin::scripted(|served| {
        served.read_request();
        served.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..12 {
            served.write(chunk(b"tick"));
            std::thread::park_timeout(Duration::from_millis(50));
        }
        served.write("0\r\n\r\n");
    });
    let node = Scene::to(&origin).route("timeout = \"200ms\"").start();
    assert_eq!(Client::ask(node.web(), get("/", "")).text(), "tick".repeat(12));
}

#[test]
fn a_server_that_refuses_is_502_and_one_that_hangs_too() {
    let (refusing, hanging) = (Refusing::new(), Hanging::new());
    for address in [refusing.address(), hanging.address()] {
        let pool = format!("{ONCE}\nconnect_timeout = \"200ms\"");
        let node = Scene::new().server("a", address).pool(&pool).start();
        let mut client = Client::connect(node.web());
        for _ in 0..2 {
            client.send(post("hello", ""));
            let response = client.read_response();
            assert_eq!(response.status, 502);
            assert_eq!(response.text(), "502 Bad Gateway: no server could be reached\n");
        }
        let line = &node.stdout.wait_for(1, "\"statusCode\":502")[0];
        assert!(line.contains("\"reason\":\"upstream_connect\""), "{line}");
    }
}

#[test]
fn a_hanging_server_is_504_when_the_deadline_comes_first() {
    let hanging = Hanging::new();
    let scene = Scene::new().server("a", hanging.address()).pool("connect_timeout = \"10s\"");
    let node = scene.route("timeout = \"200ms\"").start();
    assert_eq!(Client::ask(node.web(), get("/", "")).status, 504);
}

#[test]
fn a_truncated_body_is_never_a_clean_end() {
    let table = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "half"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf", "half"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "4\r\nhalf\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf", "4\r\nhalf\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalfX", ""),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nX", ""),
    ];
    for (response, end) in table {
        let origin = Origin::scripted(move |served| {
            served.read_request();
            served.write(response);
        });
        let node = Scene::to(&origin).start();
        let mut client = Client::connect(node.web());
        client.send(get("/", ""));
        let broken = client.try_read_response().expect_err(response);
        let raw = String::from_utf8_lossy(&broken.raw);
        assert!(raw.ends_with(end) && !raw.ends_with("0\r\n\r\n"), "{response}: {raw}");
        let line = &node.stdout.wait_for(1, "\"statusCode\":200")[0];
        assert!(line.contains("\"reason\":\"upstream_truncated\""), "{line}");
    }
}

#[test]
fn an_old_client_sees_a_reset_where_its_body_was_truncated() {
    // Without length or chunks only a reset can tell it.
    let origin = Origin::scripted(|served| {
        served.read_request();
        served.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    });
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let broken = client.try_read_response().expect_err("it looked like a whole response");
    assert!(broken.reset, "{broken}");
}

#[test]
fn a_reset_is_no_end_of_a_body_until_close() {
    let go_on = Signal::new();
    let wait = go_on.clone();
    let origin = Origin::scripted(move |served| {
        served.read_request();
        served.write("HTTP/1.1 200 OK\r\n\r\nhalf");
        wait.wait();
        served.reset();
    });
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    client.send(get("/", ""));
    assert_eq!(client.read_head().status, 200);
    assert_eq!(client.read_exact_bytes(9), b"4\r\nhalf\r\n");
    go_on.give();
    let (rest, _) = client.read_to_end();
    assert_eq!(rest, b"", "the last chunk must not come");
}

#[test]
fn a_response_that_is_no_http_is_502() {
    let responses = [
        "HTTP/2.0 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 099 Low\r\n\r\n",
        "HTTP/1.1 200 OK\nX: y\n\n",
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "hello",
        "",
    ];
    for response in responses {
        let origin = Origin::scripted(move |served| {
            served.read_request();
            served.write(response);
        });
        let node = Scene::to(&origin).pool(ONCE).start();
        let response_to = Client::ask(node.web(), get("/", ""));
        assert_eq!(response_to.status, 502, "{response:?}");
        assert_eq!(response_to.field("x"), None, "{response:?}");
        assert_eq!(node.server("one", "a")["failures"], 1, "{response:?}");
    }
}

#[test]
fn endless_heads_are_502() {
    let origin = Origin::scripted(|served| {
        served.read_request();
        served.write("HTTP/1.1 200 OK\r\n");
        served.write("X: y\r\n".repeat(20_000));
    });
    let node = Scene::to(&origin).pool(ONCE).start();
    assert_eq!(Client::ask(node.web(), get("/", "")).status, 502);
}

#[test]
fn a_connection_is_used_again_unless_the_server_closes_it() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).start();
    for _ in 0..5 {
        assert_eq!(Client::ask(node.web(), get("/", "")).status, 200);
    }
    assert_eq!(origin.connections(), 1);

    let closing = [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        // More than was announced: nobody knows what it belongs to.
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
    ];
    for response in closing {
        let origin = Origin::answering(response);
        let node = Scene::to(&origin).start();
        for _ in 0..3 {
            assert_eq!(Client::ask(node.web(), get("/", "")).text(), "ok", "{response:?}");
        }
        assert_eq!(origin.connections(), 3, "{response:?}");
    }
}

#[test]
fn an_old_server_may_keep_its_connection() {
    let origin = Origin::answering(
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    );
    let node = Scene::to(&origin).start();
    for _ in 0..3 {
        assert_eq!(Client::ask(node.web(), get("/", "")).text(), "ok");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn no_connection_is_kept_where_none_shall_be() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).pool("keepalive = 0").start();
    for _ in 0..3 {
        assert_eq!(Client::ask(node.web(), get("/", "")).text(), "ok");
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn a_kept_connection_that_the_server_closed_is_not_used() {
    let origin = Origin::scripted(|served| {
        served.read_request();
        served.write(ok("ok"));
    });
    let node = Scene::to(&origin).start();
    for number in 1..=3 {
        // POST: a request lost on a dead connection would not be repeated.
        assert_eq!(Client::ask(node.web(), post("hello", "")).text(), "ok");
        origin.wait_for_ends(number);
    }
    assert_eq!(node.server("one", "a")["failures"], 0);
}

#[test]
fn a_client_that_leaves_ends_the_servers_work() {
    let origin = Origin::scripted(|served| {
        served.read_request();
        served.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        served.write(chunk(b"begun"));
        while served.try_write(chunk(&[b'x'; 4096])).is_ok() {}
    });
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    client.send(get("/", ""));
    assert_eq!(client.read_head().status, 200);
    drop(client);
    origin.wait_for_ends(1);
    let line = &node.stdout.wait_for(1, "\"statusCode\":200")[0];
    assert!(line.contains("\"reason\":\"client_gone\""), "{line}");
    assert_eq!(node.server("one", "a")["failures"], 0);
}

#[test]
fn errors_of_servers_pass_through_with_their_bodies() {
    for status in [400, 404, 500, 599] {
        let origin = Origin::answering(answer(status, "X-A: 1\r\n", "the body"));
        let node = Scene::to(&origin).start();
        let response = Client::ask(node.web(), get("/", ""));
        assert_eq!((response.status, response.text()), (status, "the body"));
        assert_eq!(response.field("x-a"), Some("1"));
    }
}
