//! The policy of the front end, as `docs/http1.md` promises it: what is refused, how, and that
//! nothing of it reaches a server.

use evergate_e2e::{Client, Origin};

use crate::scene::{Scene, get};

/// What becomes of a vector.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ours {
    /// An answer of ours with this status; the connection ends.
    Refused(u16),
    /// It reaches the server, and the connection goes on.
    Forwarded,
}
use Ours::{Forwarded, Refused};

fn with_field(line: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n0\r\n\r\nX").into()
}

fn with_chunks(chunks: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}").into()
}

/// Every vector by its name in the document.
fn vectors() -> Vec<(&'static str, Vec<u8>, Ours)> {
    let whole = |text: &str| text.as_bytes().to_vec();
    let line = |line: &str| get("/", &format!("{line}\r\n")).into_bytes();
    let chunked = "Transfer-Encoding: chunked";
    vec![
        ("bareLF-line", whole("GET / HTTP/1.1\nHost: a\r\n\r\n"), Refused(400)),
        ("bareLF-all", whole("GET / HTTP/1.1\nHost: a\n\n"), Refused(400)),
        ("bareCR-in-value", line("X: a\rb"), Refused(400)),
        ("NUL-in-value", line("X: a\0b"), Refused(400)),
        ("obs-fold", line("X: a\r\n b"), Refused(400)),
        ("space-before-colon", line("X : a"), Refused(400)),
        ("no-host", whole("GET / HTTP/1.1\r\n\r\n"), Refused(400)),
        ("two-hosts", line("Host: b"), Refused(400)),
        ("abs-uri-vs-host", whole("GET http://x/ HTTP/1.1\r\nHost: a\r\n\r\n"), Refused(400)),
        ("CL+TE", with_field(&format!("Content-Length: 6\r\n{chunked}")), Refused(400)),
        ("TE+CL(order)", with_field(&format!("{chunked}\r\nContent-Length: 5")), Refused(400)),
        ("dup-CL-diff", with_field("Content-Length: 2\r\nContent-Length: 3"), Refused(400)),
        ("dup-CL-same", with_field("Content-Length: 3\r\nContent-Length: 3"), Refused(400)),
        ("CL-list-same", with_field("Content-Length: 3, 3"), Refused(400)),
        ("CL-plus", with_field("Content-Length: +3"), Refused(400)),
        ("CL-neg", with_field("Content-Length: -1"), Refused(400)),
        ("CL-hex", with_field("Content-Length: 0x3"), Refused(400)),
        ("TE-xchunked", with_field("Transfer-Encoding: xchunked"), Refused(501)),
        ("TE-chunked-identity", with_field(&format!("{chunked}, identity")), Refused(400)),
        ("TE-dup-chunked", with_field(&format!("{chunked}\r\n{chunked}")), Refused(400)),
        ("TE-vtab", with_field("Transfer-Encoding: \x0bchunked"), Refused(400)),
        (
            "TE-on-1.0",
            whole("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            Refused(400),
        ),
        ("chunk-bareLF-ext", with_chunks("1;\nx\r\n0\r\n\r\n"), Refused(400)),
        ("chunk-size-bareLF", with_chunks("1\nx\r\n0\r\n\r\n"), Refused(400)),
        ("chunk-size-0x", with_chunks("0x1\r\nx\r\n0\r\n\r\n"), Refused(400)),
        ("chunk-size-17hex", with_chunks("10000000000000001\r\nx\r\n0\r\n\r\n"), Refused(400)),
        ("chunk-trail-junk", with_chunks("1\r\nxZZ0\r\n\r\n"), Refused(400)),
        ("HTTP/1.2", whole("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), Forwarded),
        ("HTTP/0.9", whole("GET /\r\n"), Refused(400)),
        ("CONNECT", whole("CONNECT x:80 HTTP/1.1\r\nHost: a\r\n\r\n"), Refused(405)),
        ("TRACE", whole("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"), Refused(405)),
        (
            "QUERY-method",
            whole("QUERY / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
            Forwarded,
        ),
        ("expect-unknown", line("Expect: foo"), Refused(417)),
        ("hdr-64KiB", line(&format!("X: {}", "x".repeat(65536))), Refused(431)),
        ("hdr-count-300", line(&"X: y\r\n".repeat(300)), Refused(431)),
    ]
}

#[test]
fn every_vector_is_answered_as_the_document_says() {
    let origin = Origin::saying("ok");
    // Without connections kept, what a vector leaves behind cannot hide in a later request.
    let node = Scene::to(&origin).pool("keepalive = 0").start();
    let web = node.web();
    let mut reached = 0;
    let mut faults = Vec::new();
    for (name, bytes, ours) in vectors() {
        let mut fault = |what: String| faults.push(format!("{name}: {what}"));
        let mut client = Client::connect(web);
        // A refusal may come, and the connection end, before the last byte is taken.
        let _ = client.try_send(&bytes);
        match client.try_read_response() {
            Err(broken) => fault(format!("no answer: {broken}")),
            Ok(response) => match ours {
                Refused(status) => {
                    if response.status != status {
                        fault(format!("answered {} in place of {status}", response.status));
                    }
                    if response.field("connection") != Some("close") {
                        fault("does not say that the connection ends".into());
                    }
                    client.end();
                    client.expect_close();
                }
                Forwarded => {
                    if response.status != 200 {
                        fault(format!("answered {}", response.status));
                    }
                    client.send(get("/again", ""));
                    if client.read_response().status != 200 {
                        fault("the connection did not go on".into());
                    }
                }
            },
        }
        // A good request behind it: whatever was sent before has reached the server by then.
        assert_eq!(Client::ask(web, get("/fence", "")).status, 200, "{name}");
        let reaches = match ours {
            Refused(_) => 1,
            Forwarded => 3,
        };
        let before = std::mem::replace(&mut reached, origin.bytes().len());
        let requests = origin.requests();
        let (requests, fence) = (&requests[requests.len() - reaches..], requests.last().unwrap());
        let told: usize = requests.iter().map(|one| one.head.len() + one.raw_body.len()).sum();
        if reached - before != told || fence.line != "GET /fence HTTP/1.1" {
            let bytes = reached - before;
            fault(format!("{bytes} bytes reached the server, {told} of them as requests"));
        }
    }
    assert!(faults.is_empty(), "{:#?}", faults);
}

#[test]
fn the_document_lists_the_vectors_that_are_tested() {
    let document = include_str!("../../../../docs/http1.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.map(|row| {
        let mut cells = row.split(" | ");
        let name = cells.next().expect("a name").trim_end_matches('`');
        let ours = cells.last().expect("what we do").trim_end_matches(" |");
        (name.to_owned(), ours.to_owned())
    });
    let tested = vectors().into_iter().map(|(name, _, ours)| {
        let ours = match ours {
            Refused(status) => format!("{status}, closed"),
            Forwarded => "forwarded".to_owned(),
        };
        (name.to_owned(), ours)
    });
    assert_eq!(rows.collect::<Vec<_>>(), tested.collect::<Vec<_>>());
}
