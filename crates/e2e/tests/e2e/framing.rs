//! Where messages end: lengths, chunks, closing, and several requests on one connection.

use std::time::Duration;

use evergate_e2e::message::chunk;
use evergate_e2e::{Client, Origin, Signal};

use crate::scene::{Scene, answer, get, ok, post};

#[test]
fn ten_requests_in_one_packet_are_answered_in_order() {
    let origin = Origin::scripted(|served| {
        while let Some(request) = served.read_request() {
            served.write(ok(&request.line));
        }
    });
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    let requests: String = (0..10)
        .map(|number| match number % 2 {
            0 => get(&format!("/{number}"), ""),
            _ => post("body", "").replace("POST /", &format!("POST /{number}")),
        })
        .collect();
    client.send(requests);
    for number in 0..10 {
        let method = if number % 2 == 0 { "GET" } else { "POST" };
        let response = client.read_response();
        assert_eq!(response.text(), format!("{method} /{number} HTTP/1.1"));
    }
    assert!(origin.requests().iter().all(|one| one.connection == 0), "one connection does");
}

#[test]
fn a_request_in_single_bytes_is_understood() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    let request = format!(
        "\r\nPOST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         3;x=y\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n{}",
        get("/next", "")
    );
    for byte in request.bytes() {
        client.send([byte]);
    }
    for _ in 0..2 {
        assert_eq!(client.read_response().status, 200);
    }
    let request = origin.next_request();
    assert_eq!((request.body.as_slice(), request.trailers.as_str()), (&b"abc"[..], "X-Sum: 3\r\n"));
    assert_eq!(origin.next_request().line, "GET /next HTTP/1.1");
}

#[test]
fn a_response_in_single_bytes_is_understood() {
    let origin = Origin::scripted(|served| {
        while served.read_request().is_some() {
            let response = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nX-A: 1\r\n\
                Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n";
            for byte in response.bytes() {
                served.write([byte]);
                // Let it arrive alone.
                std::thread::yield_now();
            }
        }
    });
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    for _ in 0..10 {
        client.send(get("/", ""));
        assert_eq!(client.read_response().field("link"), Some("</a>"));
        let response = client.read_response();
        assert_eq!((response.field("x-a"), response.text()), (Some("1"), "abc"));
        assert_eq!(response.trailers, "X-Sum: 3\r\n");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_client_that_has_ended_its_half_still_gets_its_answers() {
    let go_on = Signal::new();
    let wait = go_on.clone();
    let origin = Origin::scripted(move |served| {
        while served.read_request().is_some() {
            wait.wait();
            served.write(ok("late"));
        }
    });
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    client.send([get("/1", ""), get("/2", "")].concat());
    client.end();
    origin.next_request();
    go_on.give();
    assert_eq!(client.read_response().text(), "late");
    go_on.give();
    assert_eq!(client.read_response().text(), "late");
    client.expect_close();
}

#[test]
fn a_sized_body_goes_on_with_its_length() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).start();
    assert_eq!(Client::ask(node.web(), post("hello", "")).status, 200);
    let request = origin.next_request();
    assert_eq!(request.field("content-length"), Some("5"));
    assert_eq!(request.raw_body, b"hello");
    // An empty body has a length too.
    assert_eq!(Client::ask(node.web(), post("", "")).status, 200);
    assert_eq!(origin.next_request().field("content-length"), Some("0"));
}

#[test]
fn chunks_go_both_ways_with_their_trailers() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         5;ext=\"x\"\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 6\r\nContent-Length: 3\r\nX-B:  c \r\n\r\n",
    );
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: X-T\r\n\
        TE: trailers\r\nConnection: TE\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\nHost: evil\r\n\r\n";
    client.send(request);
    let response = client.read_response();
    assert_eq!(response.text(), "hello!");
    assert_eq!(response.field("transfer-encoding"), Some("chunked"));
    assert_eq!(response.field("trailer"), Some("X-Sum"));
    // What frames a message or says who asks cannot come behind it.
    assert_eq!(response.trailers, "X-Sum: 6\r\nX-B:  c \r\n");
    let request = origin.next_request();
    assert_eq!(request.body, b"abcde");
    assert_eq!(request.trailers, "X-T: 1\r\n");
    assert_eq!(request.field("transfer-encoding"), Some("chunked"));
    assert_eq!(request.field("trailer"), Some("X-T"));
    client.send(get("/", ""));
    assert_eq!(client.read_response().text(), "hello!");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_response_until_close_becomes_chunks() {
    let origin = Origin::scripted(|served| {
        while served.read_request().is_some() {
            served.write("HTTP/1.0 200 OK\r\nX-A: 1\r\n\r\nall of it");
            served.end();
        }
    });
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    for _ in 0..2 {
        client.send(get("/", ""));
        let response = client.read_response();
        assert_eq!(response.field("transfer-encoding"), Some("chunked"));
        assert_eq!((response.text(), response.field("content-length")), ("all of it", None));
    }
    assert_eq!(origin.connections(), 2);
}

#[test]
fn an_old_client_gets_no_chunks() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n",
    );
    let node = Scene::to(&origin).start();
    for keep in ["", "Connection: keep-alive\r\n"] {
        let mut client = Client::connect(node.web());
        client.send(format!("GET / HTTP/1.0\r\nHost: a\r\n{keep}\r\n"));
        let response = client.read_response();
        assert_eq!(response.field("transfer-encoding"), None);
        assert_eq!(response.field("connection"), Some("close"));
        assert_eq!(response.text(), "hello");
        client.expect_close();
    }
}

#[test]
fn an_old_client_may_keep_its_connection_when_the_length_is_known() {
    let origin = Origin::saying("hello");
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n");
        let response = client.read_response();
        assert_eq!((response.text(), response.field("connection")), ("hello", Some("keep-alive")));
    }
    client.send("GET / HTTP/1.0\r\n\r\n");
    let response = client.read_response();
    assert_eq!((response.text(), response.field("connection")), ("hello", Some("close")));
    client.expect_close();
}

#[test]
fn close_is_answered_with_close() {
    let origin = Origin::saying("hello");
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    client.send([get("/", "Connection: close\r\n"), get("/never", "")].concat());
    let response = client.read_response();
    assert_eq!(response.field("connection"), Some("close"));
    client.expect_close();
    assert_eq!(origin.requests().len(), 1);
    // The server's connection is not the client's.
    assert_eq!(origin.next_request().field("connection"), None);
}

#[test]
fn responses_without_a_body_end_with_their_head() {
    let table = [
        // Method, what the server answers, and whether its length is passed on.
        ("HEAD", answer(200, "", "").replace("Content-Length: 0", "Content-Length: 5"), Some("5")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), None),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n".to_owned(), None),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n".to_owned(), None),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 9\r\n\r\n".to_owned(),
            Some("9"),
        ),
        ("GET", ok(""), Some("0")),
    ];
    for (method, response, length) in table {
        let origin = Origin::answering(response.clone());
        let node = Scene::to(&origin).start();
        let mut client = Client::connect(node.web());
        for _ in 0..2 {
            client.send(get("/", "").replace("GET", method));
            let head = client.read_head();
            assert_eq!(head.field("content-length"), length, "{method} {response}");
            assert_eq!(head.field("transfer-encoding"), None, "{method} {response}");
        }
        assert!(client.stays_silent_for(Duration::from_millis(20)), "{method} {response}");
        assert_eq!(origin.connections(), 1, "{method} {response}");
    }
}

#[test]
fn a_body_behind_a_refused_request_is_not_taken_for_the_next() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).more("[route.no]\nmatch = \"/no\"\nrespond = {}").start();
    // Here already: it is read past, and the connection goes on.
    let mut client = Client::connect(node.web());
    let smuggled = get("/smuggled", "");
    client.send(post(&smuggled, "").replace("POST /", "POST /no"));
    assert_eq!(client.read_response().status, 200);
    client.send(get("/good", ""));
    assert_eq!(client.read_response().text(), "ok");
    assert_eq!(origin.next_request().line, "GET /good HTTP/1.1");
    // Still to come: nobody waits for it, the connection ends.
    let mut client = Client::connect(node.web());
    client.send("POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    assert_eq!(client.read_response().field("connection"), Some("close"));
    let _ = client.try_send(&smuggled);
    client.expect_close();
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_body_that_breaks_off_never_ends_at_the_server() {
    let origin = Origin::scripted(|served| {
        let Some(head) = served.read_head() else { return };
        served.record(head);
        served.wait_for_end();
    });
    let node = Scene::to(&origin).start();
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (request, more) in [
        (post("0123456789", ""), ""),
        (format!("{chunked}3\r\nabc\r\n"), ""),
        (format!("{chunked}3\r\nabc\r\n"), "zzz\r\n"),
    ] {
        let mut client = Client::connect(node.web());
        client.send(&request[..request.len() - 5]);
        origin.next_request();
        client.send(&request[request.len() - 5..request.len() - 1]);
        client.send(more);
        if more.is_empty() {
            drop(client);
        } else {
            assert_eq!(client.read_response().status, 400);
        }
        origin.wait_for_ends(origin.connections());
        let bytes = String::from_utf8(origin.bytes()).unwrap();
        assert!(!bytes.contains("0\r\n\r\n"), "{bytes}");
    }
}

#[test]
fn a_broken_chunk_while_the_response_is_under_way_reaches_no_server() {
    let go_on = Signal::new();
    let wait = go_on.clone();
    let origin = Origin::scripted(move |served| {
        served.read_head();
        served.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        served.write(chunk(b"early"));
        wait.wait();
        served.write("0\r\n\r\n");
        served.wait_for_end();
    });
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    assert_eq!(client.read_head().status, 200);
    client.read_exact_bytes(chunk(b"early").len());
    // In two packets: whoever forgets the fault takes the second for a chunk.
    client.send("0x1\r\nx");
    assert!(client.stays_silent_for(Duration::from_millis(50)));
    client.send("5\r\nSMUGL\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.stays_silent_for(Duration::from_millis(50)));
    go_on.give();
    let _ = client.read_to_end();
    origin.wait_for_ends(1);
    let bytes = String::from_utf8(origin.bytes()).unwrap();
    assert!(!bytes.contains("SMUGL") && !bytes.contains("smuggled"), "{bytes}");
}
