//! Large bodies, in both directions, at once, and only part of the way.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use evergate_e2e::message::chunk;
use evergate_e2e::{Client, Origin, Signal};

use crate::scene::{Scene, get, ok};

const MIB: usize = 1024 * 1024;

/// Bytes that tell where they belong.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index ^ (index >> 8) ^ (index >> 16)) as u8).collect()
}

/// `data` in chunks of many sizes, without the last.
fn chunked(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = data;
    let mut size = 1;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        out.extend_from_slice(&chunk(piece));
        rest = after;
        size = size * 3 % 99_991 + 1;
    }
    out
}

#[test]
fn ten_megabytes_of_known_length_come_whole() {
    let body = pattern(10 * MIB);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let origin = {
        let body = body.clone();
        Origin::scripted(move |served| {
            while served.read_request().is_some() {
                served.write(&head);
                served.write(&body);
            }
        })
    };
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    for _ in 0..2 {
        client.send(get("/", ""));
        assert!(client.read_response().body == body, "the body differs");
    }
    assert_eq!(origin.connections(), 1, "a spliced body leaves the connection usable");
}

#[test]
fn what_a_server_sends_behind_a_large_body_goes_nowhere() {
    let body = pattern(MIB);
    let whole =
        [format!("HTTP/1.1 200 OK\r\nContent-Length: {MIB}\r\n\r\n").as_bytes(), &body].concat();
    let origin = Origin::answering([&whole, "HTTP/1.1 200 OK\r\n\r\nsmuggled".as_bytes()].concat());
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    for _ in 0..3 {
        client.send(get("/", ""));
        assert!(client.read_response().body == body, "the body differs");
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn ten_megabytes_of_known_length_go_up() {
    let origin = Origin::saying("ok");
    let node = Scene::to(&origin).start();
    let body = pattern(10 * MIB);
    let mut client = Client::connect(node.web());
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
    client.send(&body);
    assert_eq!(client.read_response().text(), "ok");
    assert!(origin.next_request().body == body, "the body differs");
    client.send(get("/", ""));
    assert_eq!(client.read_response().text(), "ok");
}

#[test]
fn five_megabytes_in_chunks_go_both_ways() {
    let body = pattern(5_000_000);
    let chunks = chunked(&body);
    let origin = {
        let chunks = chunks.clone();
        Origin::scripted(move |served| {
            while served.read_request().is_some() {
                served.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                served.write(&chunks);
                served.write("0\r\n\r\n");
            }
        })
    };
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(&chunks);
    client.send("0\r\n\r\n");
    assert!(client.read_response().body == body, "what came down differs");
    assert!(origin.next_request().body == body, "what went up differs");
}

#[test]
fn an_echo_is_passed_on_while_it_is_sent() {
    let origin = Origin::scripted(|served| {
        served.read_head();
        served.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        // The chunks of the request are those of the response.
        while let Some(bytes) = served.read_some() {
            served.write(&bytes);
            if bytes.ends_with(b"\r\n0\r\n\r\n") {
                return;
            }
        }
    });
    let node = Scene::to(&origin).start();
    let body = pattern(5_000_000);
    let mut client = Client::connect(node.web());
    let mut sender = client.sender();
    let chunks = chunked(&body);
    let sending = std::thread::spawn(move || {
        sender.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        sender.send(chunks);
        sender.send("0\r\n\r\n");
    });
    assert!(client.read_response().body == body, "the echo differs");
    sending.join().unwrap();
}

/// How many bytes two sockets of this machine hold that nobody reads.
fn socket_bytes() -> usize {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let _receiver = listener.accept().unwrap();
    sender.set_nonblocking(true).unwrap();
    let mut sent = 0;
    loop {
        match sender.write(&[0; 64 * 1024]) {
            Ok(count) => sent += count,
            Err(_) => return sent,
        }
    }
}

#[test]
fn the_last_bytes_of_an_upload_follow_an_early_response() {
    // The server answers first and reads when told to. In between all of the body has left the
    // client, and for some of these sizes its last bytes wait in the gateway.
    let go_on = Signal::new();
    let wait = go_on.clone();
    let origin = Origin::scripted(move |served| {
        while let Some(mut request) = served.read_head() {
            let length = request.field("content-length").expect("a length").parse().unwrap();
            served.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            served.write(chunk(b"begun"));
            wait.wait();
            request.body = served.read_exact_bytes(length).expect("all of the body");
            served.record(request);
            served.write(chunk(b"done"));
            served.write("0\r\n\r\n");
        }
    });
    let node = Scene::to(&origin).pool("keepalive = 0").start();
    let web = node.web();
    let held = socket_bytes();
    for step in 0..12 {
        let body = pattern(held - 128 * 1024 + step * 32 * 1024);
        let mut client = Client::connect(web);
        let length = body.len();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
        assert_eq!(client.read_head().status, 200);
        assert_eq!(client.read_exact_bytes(10), b"5\r\nbegun\r\n");
        client.send(&body);
        assert!(client.stays_silent_for(Duration::from_millis(50)));
        go_on.give();
        let end = client.read_exact_bytes(14);
        assert_eq!(end, b"4\r\ndone\r\n0\r\n\r\n", "{length} bytes");
        assert!(origin.next_request().body == body, "{length} bytes differ");
    }
}

#[test]
fn an_early_answer_ends_an_upload() {
    let origin = Origin::scripted(|served| {
        served.read_head();
        served.write("HTTP/1.1 403 No\r\nContent-Length: 7\r\nConnection: close\r\n\r\nenough\n");
        served.end();
        served.wait_for_end();
    });
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    let mut sender = client.sender();
    let sending = std::thread::spawn(move || {
        sender.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n");
        // The rest may meet a connection that has ended.
        let _ = sender.try_send(vec![b'x'; 9_000_000]);
    });
    let response = client.read_response();
    assert_eq!((response.status, response.text()), (403, "enough\n"));
    assert_eq!(response.field("connection"), Some("close"));
    sending.join().unwrap();
}

#[test]
fn bodies_of_every_size_around_the_buffers_come_whole() {
    let sizes: Vec<usize> = [0usize, 1, 15, 16, 17, 32, 64, 65, 128]
        .into_iter()
        .flat_map(|kib| [(kib * 1024).saturating_sub(1), kib * 1024, kib * 1024 + 1])
        .collect();
    let origin = Origin::scripted(|served| {
        while let Some(request) = served.read_request() {
            let body = String::from_utf8(request.body).expect("text");
            served.write(ok(&body));
        }
    });
    let node = Scene::to(&origin).start();
    let mut client = Client::connect(node.web());
    for size in sizes {
        let body = "x".repeat(size);
        client.send(crate::scene::post(&body, ""));
        assert!(client.read_response().text() == body, "{size} bytes");
    }
    assert_eq!(origin.connections(), 1);
}
