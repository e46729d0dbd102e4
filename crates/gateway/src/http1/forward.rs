//! What of a head goes on to the other side, and what we add.
//!
//! Neighbouring lines that stay are copied in one run. Fields that speak about one connection only
//! (RFC 9110, 7.6.1) stay behind; forwarding fields are always written anew.

use std::io::Write;
use std::net::IpAddr;

use evergate_core::head::{FieldRef, Fields, Name, ResponseHead, Version};
use evergate_core::http1::is_named_by_connection;

use crate::facts::Facts;
use crate::filter::Changes;

/// A request as it goes to a server.
#[derive(Debug)]
pub(crate) struct RequestPlan<'a> {
    /// What is known about it.
    pub(crate) facts: &'a Facts<'a>,
    /// Path and query to ask for.
    pub(crate) target: &'a [u8],
    /// Whether the body goes in chunks.
    pub(crate) chunked: bool,
    /// Whether the client waits for `100 Continue`.
    pub(crate) expect_continue: bool,
    /// Whether the connection shall become a WebSocket.
    pub(crate) upgrade: bool,
    /// Whether `Connection` names fields that must stay behind.
    pub(crate) connection_names: bool,
    /// What filters want changed.
    pub(crate) changes: &'a Changes<'a>,
    /// What we call ourselves in `Via`.
    pub(crate) node: &'a str,
}

/// How long a response's body is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Length {
    /// There is none, and nothing is to be added about it.
    Absent,
    /// This many bytes.
    Sized(u64),
    /// It ends when it ends.
    Unknown,
}

/// A response as it goes to a client.
#[derive(Debug)]
pub(crate) struct ResponsePlan<'a> {
    /// Status.
    pub(crate) status: u16,
    /// The server's head; none if the answer is our own.
    pub(crate) head: Option<&'a ResponseHead>,
    /// Whether the server's `Connection` names fields that must stay behind.
    pub(crate) connection_names: bool,
    /// The body's length.
    pub(crate) length: Length,
    /// Whether the body stays out although it has a length (HEAD).
    pub(crate) bodyless: bool,
    /// Whether the connection becomes a WebSocket.
    pub(crate) upgrade: bool,
    /// Whether the connection must end after this response.
    pub(crate) close: bool,
    /// What filters want changed, or all the fields of our own answer.
    pub(crate) changes: &'a Changes<'a>,
}

/// Writes the head of a request to a server.
pub(crate) fn write_request(out: &mut Vec<u8>, plan: &RequestPlan<'_>) {
    let head = plan.facts.head;
    out.extend_from_slice(head.method_text());
    out.push(b' ');
    out.extend_from_slice(plan.target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if head.fields.get(Name::Host).is_none() {
        line(out, b"Host", head.authority());
    }
    copy_runs(out, &head.fields, |field| {
        request_keeps(field, plan)
            && !(plan.connection_names && is_named_by_connection(&head.fields, field.name))
            && plan.changes.keeps(field.name)
    });
    if plan.chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if plan.upgrade {
        out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    } else if takes_trailers(&head.fields) {
        out.extend_from_slice(b"Connection: TE\r\nTE: trailers\r\n");
    }
    write_own(out, plan);
    for (name, value) in &plan.changes.add {
        line(out, name.as_bytes(), value);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the lines that every server gets from us, but for those that a filter sees to.
pub(crate) fn write_own(out: &mut Vec<u8>, plan: &RequestPlan<'_>) {
    let ours_at = out.len();
    write_forwarding(out, plan.facts);
    out.extend_from_slice(b"X-Request-Id: ");
    out.extend_from_slice(&plan.facts.request_id);
    // RFC 9110, 7.6.3: the version that the request came in.
    let version = if plan.facts.head.version == Version::Http2 { "2.0" } else { "1.1" };
    out.extend_from_slice(b"\r\nVia: ");
    out.extend_from_slice(version.as_bytes());
    out.push(b' ');
    out.extend_from_slice(plan.node.as_bytes());
    out.extend_from_slice(b"\r\n");
    take_back(out, ours_at, plan.changes);
}

/// Writes the head of a response to a client of HTTP/1.
pub(crate) fn write_response(
    out: &mut Vec<u8>,
    plan: &ResponsePlan<'_>,
    client: Version,
    keep_alive: bool,
    date: impl Fn() -> [u8; crate::date::DATE_BYTES],
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    push_number(out, u64::from(plan.status));
    out.push(b' ');
    match plan.head {
        Some(head) => out.extend_from_slice(head.reason()),
        None => out.extend_from_slice(reason_phrase(plan.status).as_bytes()),
    }
    out.extend_from_slice(b"\r\n");
    let mut dated = false;
    let mut sized = false;
    if let Some(head) = plan.head {
        copy_runs(out, &head.fields, |field| {
            dated |= field.id == Name::Date;
            sized |= field.id == Name::ContentLength;
            response_keeps(field, plan)
                && !(plan.connection_names && is_named_by_connection(&head.fields, field.name))
                && plan.changes.keeps(field.name)
        });
    }
    if !dated && plan.changes.keeps(b"date") {
        line(out, b"Date", &date());
    }
    match plan.length {
        Length::Sized(length) if !sized => {
            out.extend_from_slice(b"Content-Length: ");
            push_number(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Length::Unknown if client == Version::Http11 => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        Length::Absent | Length::Sized(_) | Length::Unknown => {}
    }
    if plan.upgrade {
        out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    } else if !keep_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if client == Version::Http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    for (name, value) in &plan.changes.add {
        line(out, name.as_bytes(), value);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes an interim response (1xx) as the server sent it.
pub(crate) fn write_interim(out: &mut Vec<u8>, head: &ResponseHead) {
    out.extend_from_slice(b"HTTP/1.1 ");
    push_number(out, u64::from(head.status));
    out.push(b' ');
    out.extend_from_slice(head.reason());
    out.extend_from_slice(b"\r\n");
    copy_runs(out, &head.fields, |field| {
        !is_of_connection(field.id) && !is_named_by_connection(&head.fields, field.name)
    });
    out.extend_from_slice(b"\r\n");
}

/// Whether a field of the client's request goes on to the server.
pub(crate) fn request_keeps(field: &FieldRef<'_>, plan: &RequestPlan<'_>) -> bool {
    match field.id {
        Name::Expect => plan.expect_continue,
        Name::Forwarded
        | Name::XForwardedFor
        | Name::XForwardedHost
        | Name::XForwardedPort
        | Name::XForwardedPrefix
        | Name::XForwardedProto
        | Name::XRealIp
        | Name::XRequestId => false,
        // A name with an underscore reads like one with a dash to many servers (CGI, WSGI).
        Name::Other => {
            memchr::memchr(b'_', field.name).is_none()
                && (plan.facts.peer_is_trusted || !names_client_certificate(field.name))
                && !(field.name.eq_ignore_ascii_case(b"client-cert")
                    && client_certificate(plan.facts).is_some())
        }
        Name::Trailer => plan.chunked,
        other => !is_of_connection(other),
    }
}

/// Whether a field tells of the client's certificate (RFC 9440, 2): only a trusted proxy may.
fn names_client_certificate(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"client-cert") || name.eq_ignore_ascii_case(b"client-cert-chain")
}

/// What the client showed, verified.
fn client_certificate<'a>(facts: &Facts<'a>) -> Option<&'a [u8]> {
    facts.caller.tls.as_ref()?.client_certificate.as_deref()
}

/// Whether `TE` asks for trailers, the only part of it that goes on (RFC 9110, 10.1.4).
pub(crate) fn takes_trailers(fields: &Fields) -> bool {
    let mut codings = fields.all(Name::Te).flat_map(|value| value.split(|&byte| byte == b','));
    codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Whether a field of a server's response goes on to the client.
pub(crate) fn response_keeps(field: &FieldRef<'_>, plan: &ResponsePlan<'_>) -> bool {
    match field.id {
        Name::ContentLength => plan.length != Length::Unknown,
        Name::Trailer => plan.length == Length::Unknown,
        other => !is_of_connection(other),
    }
}

/// Fields that end with the connection they came over (RFC 9110, 7.6.1).
pub(crate) const fn is_of_connection(name: Name) -> bool {
    matches!(
        name,
        Name::Connection
            | Name::Http2Settings
            | Name::KeepAlive
            | Name::ProxyConnection
            | Name::Te
            | Name::TransferEncoding
            | Name::Upgrade
    )
}

/// Copies the lines that `keeps`, neighbours in one piece.
fn copy_runs(out: &mut Vec<u8>, fields: &Fields, mut keeps: impl FnMut(&FieldRef<'_>) -> bool) {
    let mut run: Option<(u32, u32)> = None;
    for (place, field) in fields.placed() {
        if keeps(&field) {
            run = match run {
                Some((start, end)) if end == place.start => Some((start, place.end)),
                Some((start, end)) => {
                    out.extend_from_slice(fields.text(start..end));
                    Some((place.start, place.end))
                }
                None => Some((place.start, place.end)),
            };
        }
    }
    if let Some((start, end)) = run {
        out.extend_from_slice(fields.text(start..end));
    }
}

/// Tells the server who asked, by `X-Forwarded-*`, `X-Real-IP` and `Forwarded`.
///
/// What a trusted proxy said goes on with our peer added; from anybody else it starts with them.
fn write_forwarding(out: &mut Vec<u8>, facts: &Facts<'_>) {
    let fields = &facts.head.fields;
    let told = |name| fields.get(name).filter(|_| facts.peer_is_trusted);
    let scheme = facts.caller.scheme().as_bytes();
    let peer = facts.caller.peer.ip().to_canonical();
    out.extend_from_slice(b"X-Forwarded-For: ");
    if facts.peer_is_trusted {
        for value in fields.all(Name::XForwardedFor) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }
    let address_at = out.len();
    push_address(out, peer);
    let address = address_at..out.len();
    out.extend_from_slice(b"\r\nX-Forwarded-Proto: ");
    out.extend_from_slice(told(Name::XForwardedProto).unwrap_or(scheme));
    out.extend_from_slice(b"\r\nX-Forwarded-Host: ");
    out.extend_from_slice(told(Name::XForwardedHost).unwrap_or(facts.head.authority()));
    for (name, text) in
        [(Name::XForwardedPort, "X-Forwarded-Port"), (Name::XForwardedPrefix, "X-Forwarded-Prefix")]
    {
        if let Some(value) = told(name) {
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
        }
    }
    out.extend_from_slice(b"\r\nX-Real-IP: ");
    if facts.client == peer {
        out.extend_from_within(address.clone());
    } else {
        push_address(out, facts.client);
    }
    out.extend_from_slice(b"\r\nForwarded: ");
    if facts.peer_is_trusted {
        for value in fields.all(Name::Forwarded) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }
    out.extend_from_slice(b"for=");
    let (open, close): (&[u8], &[u8]) = if peer.is_ipv6() { (b"\"[", b"]\"") } else { (b"", b"") };
    out.extend_from_slice(open);
    out.extend_from_within(address);
    out.extend_from_slice(close);
    out.extend_from_slice(b";proto=");
    out.extend_from_slice(scheme);
    out.extend_from_slice(b";host=\"");
    // The codec let only characters of a host and port through: none needs escaping.
    out.extend_from_slice(facts.head.authority());
    out.extend_from_slice(b"\"\r\n");
    if let Some(certificate) = client_certificate(facts) {
        // A byte sequence of structured fields (RFC 9440, 2.2; RFC 9651, 3.3.5).
        out.extend_from_slice(b"Client-Cert: :");
        push_base64(out, certificate);
        out.extend_from_slice(b":\r\n");
    }
}

/// Takes back those of our own lines, from `start` on, that a filter removes or says itself.
fn take_back(out: &mut Vec<u8>, start: usize, changes: &Changes<'_>) {
    if changes.remove.is_empty() {
        return;
    }
    let lines = out.split_off(start);
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        let name_len = memchr::memchr(b':', line).unwrap_or(line.len());
        if changes.keeps(&line[..name_len]) {
            out.extend_from_slice(line);
        }
    }
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends an address as people write it.
pub(crate) fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                push_number(out, u64::from(octet));
            }
        }
        IpAddr::V6(address) => {
            // Writing to a vector cannot fail.
            let _ = write!(out, "{address}");
        }
    }
}

/// Appends `bytes` in Base64 (RFC 4648, 4).
fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * index) & 0x3f) as usize];
            out.push(if index <= group.len() { digit } else { b'=' });
        }
    }
}

/// Appends `number` in decimal.
pub(crate) fn push_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = number;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// The phrase of a status that Evergate itself answers with (RFC 9110, 15).
pub(crate) const fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        508 => "Loop Detected",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_in_the_rfc() {
        let table =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (plain, encoded) in table {
            let mut out = Vec::new();
            push_base64(&mut out, plain.as_bytes());
            assert_eq!(out, encoded.as_bytes(), "{plain}");
        }
    }
}
