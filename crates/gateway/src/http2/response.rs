//! From a response as it is planned to what `h2` sends.

use bytes::Bytes;
use evergate_core::head::{FieldRef, Name, ResponseHead};
use evergate_core::http1::is_named_by_connection;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use crate::http1::forward::{Length, ResponsePlan, is_of_connection, push_number, response_keeps};

/// The head of the response that `plan` describes.
pub(super) fn build(plan: &ResponsePlan<'_>, date: impl Fn() -> HeaderValue) -> Response<()> {
    let mut response = Response::new(());
    // A tunnel begins with success (RFC 8441, 5).
    let status = if plan.upgrade { 200 } else { plan.status };
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let map = response.headers_mut();
    map.reserve(plan.head.map_or(0, |head| head.fields.len()) + plan.changes.add.len() + 2);
    let mut dated = false;
    let mut sized = false;
    if let Some(head) = plan.head {
        copy(map, head, |field| {
            dated |= field.id == Name::Date;
            sized |= field.id == Name::ContentLength;
            response_keeps(field, plan)
                && !(plan.upgrade && is_of_handshake(field.name))
                && !(plan.connection_names && is_named_by_connection(&head.fields, field.name))
                && plan.changes.keeps(field.name)
        });
    }
    if !dated && plan.changes.keeps(b"date") {
        map.append(http::header::DATE, date());
    }
    if let Length::Sized(length) = plan.length
        && !sized
    {
        map.append(http::header::CONTENT_LENGTH, number(length));
    }
    for (name, value) in &plan.changes.add {
        // A filter may add what HTTP/2 has no place for (RFC 9113, 8.2.2).
        if is_of_connection(Name::parse(name.as_bytes())) {
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    response
}

/// An interim response as the server sent it.
pub(super) fn build_interim(head: &ResponseHead) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::PROCESSING);
    copy(response.headers_mut(), head, |field| {
        !is_of_connection(field.id) && !is_named_by_connection(&head.fields, field.name)
    });
    response
}

/// Trailers from lines of HTTP/1.
pub(super) fn trailers(lines: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in lines.split(|&byte| byte == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let value = line[colon + 1..].trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(value))
        {
            map.append(name, value);
        }
    }
    map
}

/// Appends the fields that `keeps`; their values share one copy of the head.
fn copy(map: &mut HeaderMap, head: &ResponseHead, mut keeps: impl FnMut(&FieldRef<'_>) -> bool) {
    let mut start_and_text: Option<(u32, Bytes)> = None;
    let end = head.fields.placed().map(|(place, _)| place.end).max().unwrap_or(0);
    for (place, field) in head.fields.placed() {
        if !keeps(&field) {
            continue;
        }
        let (start, text) = start_and_text.get_or_insert_with(|| {
            (place.start, Bytes::copy_from_slice(head.fields.text(place.start..end)))
        });
        let from = (place.value_start - *start) as usize;
        let value = text.slice(from..from + place.value_len as usize);
        // The codec let nothing through that these refuse.
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(field.name), HeaderValue::from_maybe_shared(value))
        {
            map.append(name, value);
        }
    }
}

/// Fields of the HTTP/1 handshake that a WebSocket over HTTP/2 does not have (RFC 8441, 5).
fn is_of_handshake(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"sec-websocket-accept")
        || name.eq_ignore_ascii_case(b"content-length")
}

fn number(number: u64) -> HeaderValue {
    let mut digits = Vec::with_capacity(20);
    push_number(&mut digits, number);
    HeaderValue::from_maybe_shared(Bytes::from(digits)).expect("digits are a value")
}

#[cfg(test)]
mod tests {
    use evergate_core::head::Method;
    use evergate_core::http1::{Limits, parse_response};

    use super::*;
    use crate::filter::Changes;

    fn head(text: &str) -> ResponseHead {
        let mut head = ResponseHead::default();
        let parsed = parse_response(text.as_bytes(), &Limits::default(), Method::Get, &mut head);
        parsed.expect("well-formed").expect("whole");
        head
    }

    fn text(map: &HeaderMap) -> String {
        let lines =
            map.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().expect("text")));
        lines.collect()
    }

    fn plan<'a>(head: &'a ResponseHead, changes: &'a Changes<'a>) -> ResponsePlan<'a> {
        ResponsePlan {
            status: head.status,
            head: Some(head),
            connection_names: true,
            length: Length::Unknown,
            bodyless: false,
            upgrade: false,
            close: false,
            changes,
        }
    }

    #[test]
    fn fields_of_the_servers_connection_stay_behind() {
        let head = head(
            "HTTP/1.1 200 OK\r\nServer: s\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n\
             Transfer-Encoding: chunked\r\nKeep-Alive: 5\r\nX-Kept: a\r\nX-Kept: b\r\n\r\n",
        );
        let changes = Changes::default();
        let response = build(&plan(&head, &changes), || HeaderValue::from_static("now"));
        assert_eq!(text(response.headers()), "server: s\nx-kept: a\nx-kept: b\ndate: now\n");
    }

    #[test]
    fn a_filters_word_stands_unless_it_is_about_a_connection() {
        let head = head("HTTP/1.1 204 No Content\r\nDate: then\r\n\r\n");
        let mut changes = Changes::default();
        changes.add.push(("X-New", b"1".to_vec()));
        changes.add.push(("Connection", b"close".to_vec()));
        let plan = ResponsePlan { length: Length::Absent, ..plan(&head, &changes) };
        let response = build(&plan, || HeaderValue::from_static("now"));
        assert_eq!(text(response.headers()), "date: then\nx-new: 1\n");
        assert_eq!(response.status(), 204);
    }

    #[test]
    fn a_tunnel_begins_with_200() {
        let head = head(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
             Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\nDate: then\r\n\r\n",
        );
        let changes = Changes::default();
        let plan = ResponsePlan { upgrade: true, length: Length::Absent, ..plan(&head, &changes) };
        let response = build(&plan, || HeaderValue::from_static("now"));
        assert_eq!(response.status(), 200);
        assert_eq!(text(response.headers()), "sec-websocket-protocol: chat\ndate: then\n");
    }

    #[test]
    fn trailers_are_read_line_by_line() {
        assert_eq!(text(&trailers(b"Grpc-Status: 0\r\nX:  y \r\n")), "grpc-status: 0\nx: y\n");
    }
}
