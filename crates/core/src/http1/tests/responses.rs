//! What the codec reads out of responses.

use std::format;

use super::super::*;
use super::{accept_answer, parse_answer, refuse_answer, text};
use crate::head::{Method, Name, Version};

#[test]
fn a_response_head_is_read_whole() {
    let input = "HTTP/1.1 200 All right\r\nServer: a\r\nContent-Length: 3\r\n\r\nabc";
    let (head, response) = accept_answer(Method::Get, input);
    assert_eq!((head.status, head.version), (200, Version::Http11));
    assert_eq!(text(head.reason()), "All right");
    assert_eq!(head.fields.get(Name::Server), Some(&b"a"[..]));
    let expected = Response {
        consumed: input.len() - 3,
        body: Body::Sized(3),
        keep_alive: true,
        upgrade: false,
        connection_names: false,
    };
    assert_eq!(response, expected);
}

#[test]
fn a_status_line_is_taken_or_refused_for_its_reason() {
    let good = [
        ("HTTP/1.1 200 OK", 200, "OK"),
        ("HTTP/1.0 404 ", 404, ""),
        ("HTTP/1.1 999", 999, ""),
        ("HTTP/1.3 100 a\tb \u{e9}", 100, "a\tb \u{e9}"),
    ];
    for (line, status, reason) in good {
        let (head, _) = accept_answer(Method::Get, &format!("{line}\r\n\r\n"));
        assert_eq!((head.status, &*text(head.reason())), (status, reason));
    }
    use HeadError::{BareCr, BareLf, VersionMalformed, VersionUnsupported};
    use ResponseError::{Head, ReasonPhrase, Status};
    let bad = [
        ("HTTP/1.1 099 a", Status),
        ("HTTP/1.1 20 a", Status),
        ("HTTP/1.1 2000", Status),
        ("HTTP/1.1  200", Status),
        ("HTTP/1.1 +20", Status),
        ("HTTP/1.1 200\tOK", Status),
        ("HTTP/1.1 200 a\0", ReasonPhrase),
        ("HTTP/1.1 200 a\rb", Head(BareCr)),
        ("HTTP/1.1 200 a\nb", Head(BareLf)),
        ("HTTP/1.1 200\n", Head(BareLf)),
        ("HTTP/1.1\t200", Head(VersionMalformed)),
        ("HTTP/1.1\r\n", Head(VersionMalformed)),
        ("\r\nHTTP/1.1 200", Head(VersionMalformed)),
        ("HTP/1.1 200", Head(VersionMalformed)),
        ("HTTP/2.0 200", Head(VersionUnsupported)),
    ];
    for (line, error) in bad {
        assert_eq!(refuse_answer(&format!("{line}\r\n\r\n")), error, "{line:?}");
    }
}

#[test]
fn the_fields_the_status_and_the_method_decide_about_the_body() {
    use Body::{Chunked, Empty, Sized, UntilClose};
    let (length, chunked) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    let table = [
        (Method::Get, "1.1 200", length, Sized(5), true),
        (Method::Get, "1.1 200", chunked, Chunked, true),
        (Method::Get, "1.1 200", "Content-Length: 0\r\n", Empty, true),
        (Method::Get, "1.1 200", "", UntilClose, false),
        (Method::Get, "1.1 304", length, Empty, true),
        (Method::Get, "1.1 204", "", Empty, true),
        (Method::Get, "1.1 103", "", Empty, true),
        (Method::Head, "1.1 200", length, Empty, true),
        (Method::Head, "1.1 200", chunked, Empty, true),
        (Method::Head, "1.1 200", "", Empty, true),
        (Method::Get, "1.1 200", "Connection: close\r\nContent-Length: 5\r\n", Sized(5), false),
        (Method::Get, "1.0 200", length, Sized(5), false),
        (Method::Get, "1.0 200", "Connection: keep-alive\r\nContent-Length: 5\r\n", Sized(5), true),
        (Method::Get, "1.0 200", "Connection: keep-alive\r\n", UntilClose, false),
    ];
    for (method, line, fields, body, keep_alive) in table {
        let input = format!("HTTP/{line} x\r\n{fields}\r\n");
        let (_, response) = accept_answer(method, &input);
        assert_eq!(
            (response.body, response.keep_alive),
            (body, keep_alive),
            "{method:?} {input:?}"
        );
    }
}

#[test]
fn a_101_is_an_upgrade() {
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let (_, response) = accept_answer(Method::Get, &format!("HTTP/1.1 101 x\r\n{fields}"));
    assert!(response.upgrade);
    assert_eq!(response.body, Body::Empty);
    assert!(!accept_answer(Method::Get, &format!("HTTP/1.1 200 x\r\n{fields}")).1.upgrade);
}

#[test]
fn responses_are_read_as_strictly_as_requests() {
    let table = [
        ("A: b\n", HeadError::BareLf),
        ("A: b\r\n c\r\n", HeadError::Folded),
        ("A : b\r\n", HeadError::FieldName),
        ("A: b\0\r\n", HeadError::FieldValue),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", HeadError::LengthAndEncoding),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", HeadError::LengthRepeated),
        ("Content-Length: 5, 5\r\n", HeadError::LengthMalformed),
        ("Transfer-Encoding: gzip, chunked\r\n", HeadError::EncodingUnknown),
        ("Transfer-Encoding: chunked, chunked\r\n", HeadError::EncodingMalformed),
        ("Connection: content-length\r\nContent-Length: 5\r\n", HeadError::ConnectionProtected),
    ];
    for (fields, error) in table {
        let input = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        assert_eq!(refuse_answer(&input), ResponseError::Head(error), "{fields:?}");
    }
    let early = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refuse_answer(early), ResponseError::Head(HeadError::EncodingTooEarly));
    let large = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(40_000));
    assert_eq!(refuse_answer(&large), ResponseError::Head(HeadError::HeadTooLarge));
    let many = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(101));
    assert_eq!(refuse_answer(&many), ResponseError::Head(HeadError::FieldsTooMany));
    assert_eq!(parse_answer(Method::Get, "HTTP/1.1 200 OK\r\nA: b\r\n").1, Ok(None));
}
