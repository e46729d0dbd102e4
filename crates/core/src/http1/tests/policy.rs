//! The policy of the front end, one row for each vector that real proxies answer differently.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::{Verdict, read_request};
use crate::head::{RequestHead, Version};

/// What becomes of a vector: refused with a status and a reason, broken in its body, or forwarded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ours {
    Refuse(u16, &'static str),
    Break(&'static str),
    Forward,
}
use Ours::{Break, Forward, Refuse};

fn with_field(line: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n0\r\n\r\nX")
}

fn with_chunks(chunks: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")
}

/// Every vector by its name; what repeats a name is a variation.
pub(super) fn vectors() -> Vec<(&'static str, String, Ours)> {
    let chunked = "Transfer-Encoding: chunked";
    let mut vectors = line_vectors();
    vectors.extend([
        (
            "CL+TE",
            with_field(&format!("Content-Length: 6\r\n{chunked}")),
            Refuse(400, "length_and_encoding"),
        ),
        (
            "TE+CL(order)",
            with_field(&format!("{chunked}\r\nContent-Length: 5")),
            Refuse(400, "length_and_encoding"),
        ),
        (
            "dup-CL-diff",
            with_field("Content-Length: 2\r\nContent-Length: 3"),
            Refuse(400, "length_repeated"),
        ),
        (
            "dup-CL-same",
            with_field("Content-Length: 3\r\nContent-Length: 3"),
            Refuse(400, "length_repeated"),
        ),
        ("CL-list-same", with_field("Content-Length: 3, 3"), Refuse(400, "length_malformed")),
        ("CL-plus", with_field("Content-Length: +3"), Refuse(400, "length_malformed")),
        ("CL-neg", with_field("Content-Length: -1"), Refuse(400, "length_malformed")),
        ("CL-hex", with_field("Content-Length: 0x3"), Refuse(400, "length_malformed")),
        ("TE-xchunked", with_field("Transfer-Encoding: xchunked"), Refuse(501, "encoding_unknown")),
        (
            "TE-chunked-identity",
            with_field("Transfer-Encoding: chunked, identity"),
            Refuse(400, "encoding_malformed"),
        ),
        (
            "TE-chunked-identity",
            with_field("Transfer-Encoding: identity, chunked"),
            Refuse(400, "encoding_malformed"),
        ),
        (
            "TE-dup-chunked",
            with_field(&format!("{chunked}\r\n{chunked}")),
            Refuse(400, "encoding_malformed"),
        ),
        (
            "TE-dup-chunked",
            with_field("Transfer-Encoding: chunked, chunked"),
            Refuse(400, "encoding_malformed"),
        ),
        ("TE-vtab", with_field("Transfer-Encoding: \x0bchunked"), Refuse(400, "field_value")),
        (
            "TE-on-1.0",
            with_field(chunked).replace("HTTP/1.1", "HTTP/1.0"),
            Refuse(400, "encoding_too_early"),
        ),
    ]);
    vectors.extend(body_vectors());
    vectors
}

fn body_vectors() -> [(&'static str, String, Ours); 8] {
    [
        ("chunk-bareLF-ext", with_chunks("1;\nx\r\n0\r\n\r\n"), Break("bare_lf")),
        ("chunk-size-bareLF", with_chunks("1\nx\r\n0\r\n\r\n"), Break("bare_lf")),
        ("chunk-size-0x", with_chunks("0x1\r\nx\r\n0\r\n\r\n"), Break("chunk_size")),
        (
            "chunk-size-17hex",
            with_chunks("10000000000000001\r\nx\r\n0\r\n\r\n"),
            Break("chunk_size"),
        ),
        ("chunk-trail-junk", with_chunks("1\r\nxZZ0\r\n\r\n"), Break("chunk_end")),
        ("expect-unknown", with_field("Expect: foo"), Refuse(417, "expectation_unknown")),
        (
            "hdr-64KiB",
            with_field(&format!("X: {}", "x".repeat(65536))),
            Refuse(431, "head_too_large"),
        ),
        ("hdr-count-300", with_field(&"X: y\r\n".repeat(300)), Refuse(431, "fields_too_many")),
    ]
}

fn line_vectors() -> Vec<(&'static str, String, Ours)> {
    let own = String::from;
    let get = |line: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
    Vec::from([
        ("bareLF-line", own("GET / HTTP/1.1\nHost: a\r\n\r\n"), Refuse(400, "bare_lf")),
        ("bareLF-all", own("GET / HTTP/1.1\nHost: a\n\n"), Refuse(400, "bare_lf")),
        ("bareLF-all", own("GET / HTTP/1.1\r\nHost: a\n"), Refuse(400, "bare_lf")),
        ("bareLF-all", own("GET / HTTP/1.1\r\nHost: a\n\r\n"), Refuse(400, "bare_lf")),
        ("bareLF-all", own("GET / HTTP/1.1\r\nHost: a\r\n\n"), Refuse(400, "bare_lf")),
        ("bareLF-all", own("GET / HTTP/1.0\r\n\n"), Refuse(400, "bare_lf")),
        ("bareCR-in-value", get("X: a\rb"), Refuse(400, "field_value")),
        ("NUL-in-value", get("X: a\0b"), Refuse(400, "field_value")),
        ("obs-fold", get("X: a\r\n b"), Refuse(400, "folded_line")),
        ("obs-fold", get("X: a\r\n\tb"), Refuse(400, "folded_line")),
        ("space-before-colon", get("X : a"), Refuse(400, "field_name")),
        ("no-host", own("GET / HTTP/1.1\r\n\r\n"), Refuse(400, "host_missing")),
        ("two-hosts", get("Host: b"), Refuse(400, "host_repeated")),
        ("two-hosts", get("Host: a"), Refuse(400, "host_repeated")),
        ("abs-uri-vs-host", get("").replace("GET /", "GET http://x/"), Refuse(400, "host_differs")),
        ("abs-uri-vs-host", own("GET http://A/ HTTP/1.1\r\nHost: a\r\n\r\n"), Forward),
        ("HTTP/1.2", own("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), Forward),
        ("HTTP/0.9", own("GET /\r\n"), Refuse(400, "version_malformed")),
        ("CONNECT", own("CONNECT x:80 HTTP/1.1\r\nHost: a\r\n\r\n"), Refuse(405, "method_refused")),
        ("TRACE", own("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"), Refuse(405, "method_refused")),
        (
            "QUERY-method",
            own("QUERY / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
            Forward,
        ),
    ])
}

#[test]
fn every_vector_is_answered_as_the_policy_says() {
    for (name, input, ours) in vectors() {
        let verdict = read_request(input.as_bytes(), &mut RequestHead::default());
        match (ours, &verdict) {
            (Refuse(status, reason), Verdict::Refused(error)) => {
                assert_eq!((error.status(), error.reason()), (status, reason), "{name}");
            }
            (Break(reason), Verdict::Broken(error)) => assert_eq!(error.reason(), reason, "{name}"),
            (Forward, Verdict::Taken { rest, .. }) => assert!(rest.is_empty(), "{name}"),
            (Refuse(..) | Break(_) | Forward, _) => panic!("{name}: {verdict:?}, not {ours:?}"),
        }
    }
}

#[test]
fn a_later_minor_version_is_1_1() {
    let mut head = RequestHead::default();
    read_request(b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", &mut head);
    assert_eq!(head.version, Version::Http11);
}
