//! What the codec reads out of good requests, and refuses beyond the policy's vectors.

use std::format;
use std::vec::Vec;

use super::super::*;
use super::{accept, parse, refuse, text};
use crate::head::{Method, Name, RequestHead, Version};

fn get(fields: &str) -> std::string::String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[test]
fn a_head_is_copied_as_it_came() {
    let input = "POST /a?b=c HTTP/1.1\r\nhost:  A.b:80 \r\nX-Y:\r\ncontent-LENGTH: 5\r\n\r\nhello";
    let (head, request) = accept(input);
    assert_eq!(request.consumed, input.len() - 5);
    assert_eq!(request.body, Body::Sized(5));
    assert_eq!((head.method, head.version), (Method::Post, Version::Http11));
    assert_eq!(text(head.method_text()), "POST");
    assert_eq!(text(head.target()), "/a?b=c");
    assert_eq!(text(head.authority()), "A.b:80");
    let fields: Vec<_> = head.fields.iter().map(|f| (f.id, text(f.value), text(f.line))).collect();
    let expected = [
        (Name::Host, "A.b:80".into(), "host:  A.b:80 \r\n".into()),
        (Name::Other, "".into(), "X-Y:\r\n".into()),
        (Name::ContentLength, "5".into(), "content-LENGTH: 5\r\n".into()),
    ];
    assert_eq!(fields, expected);
}

#[test]
fn lines_that_are_appended_lie_next_to_the_last_one() {
    let (mut head, _) = accept("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    head.fields.append(Name::Via, b"Via", b"1.1 b");
    assert_eq!(text(head.fields.text(16..37)), "Host: a\r\nVia: 1.1 b\r\n");
}

#[test]
fn a_head_is_reused_without_a_trace_of_the_last_one() {
    let mut head = RequestHead::default();
    let limits = Limits::default();
    for input in
        [&b"GET http://x/y HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n"[..], b"PUT / HTTP/1.0\r\n\r\n"]
    {
        assert!(parse_request(input, &limits, &mut head).is_ok_and(|request| request.is_some()));
    }
    assert_eq!((head.method, head.version, head.fields.len()), (Method::Put, Version::Http10, 0));
    assert_eq!((head.target(), head.authority()), (&b"/"[..], &b""[..]));
}

#[test]
fn empty_lines_before_a_request_are_skipped_up_to_two() {
    for skipped in 0..=2 {
        let input = format!("{}{}", "\r\n".repeat(skipped), get(""));
        let (head, request) = accept(&input);
        assert_eq!(request.consumed, input.len());
        assert_eq!(text(head.authority()), "a");
    }
    assert_eq!(refuse(&format!("\r\n\r\n\r\n{}", get(""))), RequestError::Method);
    assert_eq!(refuse(&format!("\n{}", get(""))), RequestError::Method);
    assert_eq!(refuse(&format!("\r{}", get(""))), RequestError::Method);
}

#[test]
fn a_start_line_is_taken_or_refused_for_its_reason() {
    use HeadError::{BareCr, VersionMalformed, VersionUnsupported};
    use RequestError::{Head, Method, Target};
    let good = [
        "GET / HTTP/1.1",
        "GET /a/b?c=d&e=%20 HTTP/1.1",
        "GET // HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET /? HTTP/1.1",
        "GET /\"<>[]^{|}\\` HTTP/1.1",
        "M-!#$%&'*+.^_`|~9 / HTTP/1.1",
        "get / HTTP/1.1",
        "GET /:@?/? HTTP/1.9",
        "GET http://a/ HTTP/1.1",
        "GET HTTPS://a HTTP/1.1",
    ];
    for line in good {
        accept(&format!("{line}\r\nHost: a\r\n\r\n"));
    }
    let bad = [
        (" GET / HTTP/1.1", Method),
        ("GE(T / HTTP/1.1", Method),
        ("GET", Method),
        ("\tGET / HTTP/1.1", Method),
        ("GET\t/ HTTP/1.1", Method),
        ("\x16\x03\x01", Method),
        ("GET  / HTTP/1.1", Target),
        ("GET /a\tb HTTP/1.1", Target),
        ("GET /a\x7f HTTP/1.1", Target),
        ("GET /\u{e9} HTTP/1.1", Target),
        ("GET /#a HTTP/1.1", Target),
        ("GET a HTTP/1.1", Target),
        ("GET a.example:80 HTTP/1.1", Target),
        ("GET * HTTP/1.1", Target),
        ("OPTIONS ** HTTP/1.1", Target),
        ("GET ?a HTTP/1.1", Target),
        ("GET ftp://a/ HTTP/1.1", Target),
        ("GET http:/a HTTP/1.1", Target),
        ("GET http:// HTTP/1.1", Target),
        ("GET http:///a HTTP/1.1", Target),
        ("GET http://u@a/ HTTP/1.1", Target),
        ("GET http://a:b/ HTTP/1.1", Target),
        ("GET / ", Head(VersionMalformed)),
        ("GET / http/1.1", Head(VersionMalformed)),
        ("GET / HTTP/1", Head(VersionMalformed)),
        ("GET / HTTP/1.1 ", Head(VersionMalformed)),
        ("GET /  HTTP/1.1", Head(VersionMalformed)),
        ("GET / HTTP/1.10", Head(VersionMalformed)),
        ("GET / HTTP/+1.1", Head(VersionMalformed)),
        ("GET / HTTQ/1.1", Head(VersionMalformed)),
        ("GET /a b HTTP/1.1", Head(VersionMalformed)),
        ("GET / HTTP/1.1\r", Head(BareCr)),
        ("GET / HTTP/0.9", Head(VersionUnsupported)),
        ("GET / HTTP/2.0", Head(VersionUnsupported)),
        ("PRI * HTTP/2.0", Head(VersionUnsupported)),
        ("GET / HTTP/9.9", Head(VersionUnsupported)),
    ];
    for (line, error) in bad {
        assert_eq!(refuse(&format!("{line}\r\nHost: a\r\n\r\n")), error, "{line:?}");
    }
    assert_eq!(Head(VersionUnsupported).status(), 505);
}

#[test]
fn an_absolute_target_gives_authority_path_and_query() {
    let table = [
        ("GET http://a.b:80/c?d HTTP/1.1\r\nHost: A.B:80\r\n\r\n", "a.b:80", "/c?d"),
        ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", "a", "/"),
        ("GET hTTps://[::1] HTTP/1.1\r\nHost: [::1]\r\n\r\n", "[::1]", "/"),
        ("GET http://a?b=/c HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n", "a", "/?b=/c"),
        ("GET http://a/ HTTP/1.0\r\n\r\n", "a", "/"),
        ("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", "a", "*"),
        ("OPTIONS http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "a", "/"),
    ];
    for (input, authority, target) in table {
        let (head, _) = accept(input);
        assert_eq!((&*text(head.authority()), &*text(head.target())), (authority, target));
    }
}

#[test]
fn a_host_must_be_one_host() {
    for host in ["a", "a:80", "[::1]:8080", "1.2.3.4", "a_b"] {
        accept(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }
    for host in ["", " ", "a b", "a, b", "http://a", "a/b", "u@a", "a:x", "\u{e9}", "a:99999"] {
        let input = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(refuse(&input), RequestError::HostMalformed, "{host:?}");
        assert_eq!(refuse(&input.replace("HTTP/1.1", "HTTP/1.0")), RequestError::HostMalformed);
    }
    let differs = "GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(refuse(differs), RequestError::HostDiffers);
    assert_eq!(refuse("GET http://a/ HTTP/1.1\r\n\r\n"), RequestError::HostMissing);
}

#[test]
fn a_length_is_one_decimal_number_of_64_bits() {
    let (_, request) = accept(&get("Content-Length: 18446744073709551615\r\n"));
    assert_eq!(request.body, Body::Sized(u64::MAX));
    assert_eq!(accept(&get("Content-Length: 007\r\n")).1.body, Body::Sized(7));
    assert_eq!(accept(&get("Content-Length: 0\r\n")).1.body, Body::Empty);
    let bad = ["", "18446744073709551616", "99999999999999999999", "1 2", "3,", "a", "1_0", "1.0"];
    for length in bad {
        let error = refuse(&get(&format!("Content-Length: {length}\r\n")));
        assert_eq!(error, RequestError::Head(HeadError::LengthMalformed), "{length:?}");
    }
}

#[test]
fn a_transfer_coding_is_chunked_alone() {
    for coding in ["chunked", "CHUNKED", " chunked\t"] {
        let (_, request) = accept(&get(&format!("Transfer-Encoding: {coding}\r\n")));
        assert_eq!(request.body, Body::Chunked);
    }
    let bad = [
        ("", 400),
        ("chunked,", 400),
        (", chunked", 400),
        ("chunked;q=1", 400),
        ("\"chunked\"", 400),
        ("chunked, gzip", 400),
        ("chun ked", 400),
        ("gzip, chunked", 501),
        ("gzip", 501),
        ("identity", 501),
        ("cow, chunked", 501),
    ];
    for (coding, status) in bad {
        assert_eq!(
            refuse(&get(&format!("Transfer-Encoding: {coding}\r\n"))).status(),
            status,
            "{coding:?}"
        );
    }
    let split = get("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n");
    assert_eq!(refuse(&split).status(), 501);
}

#[test]
fn the_version_and_connection_decide_whether_another_request_may_follow() {
    let table = [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: Keep-Alive, CLOSE\r\n", false),
        ("1.1", "Connection: te\r\nConnection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ];
    for (version, fields, keep_alive) in table {
        let input = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(accept(&input).1.keep_alive, keep_alive, "{input:?}");
    }
}

#[test]
fn connection_may_name_fields_but_not_the_protected_ones() {
    let (head, request) = accept(&get("Connection: x-a,, Upgrade ,TE, close\r\nX-A: b\r\n"));
    assert!(request.connection_names);
    assert!(is_named_by_connection(&head.fields, b"X-A"));
    assert!(!is_named_by_connection(&head.fields, b"X"));
    for options in ["close, keep-alive, te, upgrade", "", ",close,"] {
        assert!(!accept(&get(&format!("Connection: {options}\r\n"))).1.connection_names);
    }
    let protected = [
        "Host",
        "authorization",
        "Cookie",
        "content-length",
        "Transfer-Encoding",
        "Forwarded",
        "X-Forwarded-For",
        "x-forwarded-proto",
        "X-Forwarded-Anything",
        "X-Real-Ip",
    ];
    for name in protected {
        let error = refuse(&get(&format!("Connection: close, {name}\r\n")));
        assert_eq!(error, RequestError::Head(HeadError::ConnectionProtected), "{name}");
    }
    for name in ["X-Forwarded", "X-Host", "hosts"] {
        accept(&get(&format!("Connection: {name}\r\n")));
    }
}

#[test]
fn only_a_wish_for_websocket_alone_is_an_upgrade() {
    let wish = "Connection: Upgrade\r\nUpgrade: WebSocket\r\n";
    assert!(accept(&get(wish)).1.upgrade);
    assert!(accept(&get("Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\n")).1.upgrade);
    let others = [
        get("Upgrade: websocket\r\n"),
        get("Connection: upgrade\r\n"),
        get("Connection: upgrade\r\nUpgrade: h2c\r\n"),
        get("Connection: upgrade\r\nUpgrade: h2c, websocket\r\n"),
        get("Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n"),
        get(&format!("{wish}Content-Length: 1\r\n")),
        get(wish).replace("GET", "POST"),
        get(wish).replace("HTTP/1.1", "HTTP/1.0"),
    ];
    for input in others {
        assert!(!accept(&input).1.upgrade, "{input:?}");
    }
}

#[test]
fn a_100_is_expected_only_with_a_body_and_in_1_1() {
    let table = [
        ("1.1", "Expect: 100-Continue\r\nContent-Length: 1\r\n", true),
        ("1.1", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", true),
        ("1.1", "Expect: 100-continue\r\n", false),
        ("1.1", "Content-Length: 1\r\n", false),
        ("1.0", "Expect: 100-continue\r\nContent-Length: 1\r\n", false),
    ];
    for (version, fields, expected) in table {
        let input = format!("POST / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(accept(&input).1.expect_continue, expected, "{input:?}");
    }
    for value in ["", "foo", "100-continue, foo", "100-continue=1"] {
        assert_eq!(refuse(&get(&format!("Expect: {value}\r\n"))).status(), 417, "{value:?}");
    }
}

#[test]
fn a_field_line_is_taken_or_refused_for_its_reason() {
    for line in ["A:", "A: ", "A:\t b \t", "a_b: c", "A: \u{e9}", "A:: b", "!#$%&'*+-.^_`|~9: x"] {
        accept(&get(&format!("{line}\r\n")));
    }
    use HeadError::{BareCr, FieldName, FieldValue, Folded};
    let bad = [
        (" A: b", Folded),
        ("A: b\r\n c", Folded),
        ("A: b\r\nC : d\r\n e", FieldName),
        (": a", FieldName),
        (": a\r\n b", FieldName),
        ("A", FieldName),
        ("A b: c", FieldName),
        ("A\t: c", FieldName),
        ("A\u{e9}: c", FieldName),
        ("A(: c", FieldName),
        ("A: b\0", FieldValue),
        ("A: b\x7f", FieldValue),
        ("A: b\x0b", FieldValue),
        ("A: b\rc", FieldValue),
        ("\rA: b", BareCr),
    ];
    for (line, error) in bad {
        assert_eq!(refuse(&get(&format!("{line}\r\n"))), RequestError::Head(error), "{line:?}");
    }
    // A folded first line.
    let error = refuse("GET / HTTP/1.1\r\n Host: a\r\n\r\n");
    assert_eq!(error, RequestError::Head(Folded));
}

#[test]
fn limits_hold_to_the_byte_and_before_the_head_is_complete() {
    let head = get("");
    let limits = |head_bytes_max, fields_max, uri_bytes_max| Limits {
        head_bytes_max,
        fields_max,
        uri_bytes_max,
    };
    let parse = |input: &str, limits: Limits| {
        let parsed = parse_request(input.as_bytes(), &limits, &mut RequestHead::default());
        parsed.map(|request| request.is_some()).map_err(RequestError::status)
    };
    assert_eq!(parse(&head, limits(head.len(), 1, 1)), Ok(true));
    assert_eq!(parse(&format!("{head}body"), limits(head.len(), 1, 1)), Ok(true));
    assert_eq!(parse(&head, limits(head.len() - 1, 1, 1)), Err(431));
    assert_eq!(parse(&head, limits(head.len(), 0, 1)), Err(431));
    assert_eq!(parse(&head[..head.len() - 2], limits(head.len(), 0, 1)), Err(431));
    assert_eq!(parse(&head, limits(head.len(), 1, 0)), Err(414));
    assert_eq!(parse("GET /a", limits(100, 1, 1)), Err(414));
    assert_eq!(parse("GET /a", limits(6, 1, 100)), Err(431));
    assert_eq!(parse("GET /a", limits(7, 1, 100)), Ok(false));
    let many = |count| get(&"A: b\r\n".repeat(count - 1));
    for max in [1, 31, 32, 33, 100, FIELDS_CAP] {
        assert_eq!(parse(&many(max), limits(32768, max, 100)), Ok(true), "{max}");
        assert_eq!(parse(&many(max + 1), limits(32768, max, 100)), Err(431), "{max}");
    }
    assert_eq!(parse(&many(FIELDS_CAP + 1), limits(32768, usize::MAX, 100)), Err(431));
    // A name longer than a field can say.
    let long = get(&format!("{}: b\r\n", "a".repeat(65536)));
    assert_eq!(parse(&long, limits(1 << 20, 100, 100)), Err(431));
}

#[test]
fn a_bad_line_far_back_is_found_among_many_fields() {
    for (line, error) in [("A: b\n", HeadError::BareLf), (" x\r\n", HeadError::Folded)] {
        let input = get(&format!("{}{line}C: d\r\n", "A: b\r\n".repeat(60)));
        assert_eq!(refuse(&input), RequestError::Head(error));
        let cut = input.len() - "C: d\r\n\r\n".len();
        assert_eq!(parse(&input[..cut]).1, Err(RequestError::Head(error)), "before the rest");
    }
}
