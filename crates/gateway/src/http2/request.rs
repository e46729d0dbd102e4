//! From what the client's header block says to a head as every protocol fills it.
//!
//! What `h2` refuses never comes here: fields of a connection, upper case, pseudo-fields that are
//! unknown, repeated or late, and a `Content-Length` that the DATA does not have.

use evergate_core::head::{Method, Name, RequestHead, Version};
use evergate_core::http1::{self, Body, HeadError, RequestError};
use h2::ext::Protocol;
use http::HeaderMap;
use http::header::HeaderValue;
use http::request::Parts;

/// Most fields, whatever the listener's limit says: a small block may hold thousands (HPACK).
const FIELDS_CAP: usize = 128;
/// Bytes of a trailer section, as HTTP/1 counts them.
const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// How a request goes on after its head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Asked {
    pub(super) body: Body,
    pub(super) expect_continue: bool,
    /// Whether it is an extended CONNECT for a WebSocket (RFC 8441).
    pub(super) upgrade: bool,
}

/// Fills `head` with what `parts` say. `ended`: there is no body. `key` makes the
/// `Sec-WebSocket-Key` that an HTTP/1 server wants and HTTP/2 has no use for.
///
/// # Errors
/// What is refused; `head` then holds what was understood before.
pub(super) fn read(
    parts: &Parts,
    ended: bool,
    limits: &http1::Limits,
    head: &mut RequestHead,
    key: impl FnOnce() -> [u8; 24],
) -> Result<Asked, RequestError> {
    let fields = &mut head.fields;
    fields.clear();
    let protocol = parts.extensions.get::<Protocol>();
    let upgrade = protocol.is_some_and(|protocol| protocol.as_str() == "websocket");
    // To HTTP/1, and to routes, an extended CONNECT is the GET of RFC 6455, 4.1.
    let method = if upgrade { "GET" } else { parts.method.as_str() };
    head.version = Version::Http2;
    head.method = Method::parse(method.as_bytes());
    head.method_at = fields.append_text(method.as_bytes());
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > limits.uri_bytes_max {
        return Err(RequestError::TargetTooLong);
    }
    head.target_at = fields.append_text(target.as_bytes());
    head.authority_at = match parts.uri.authority() {
        Some(authority) => fields.append_text(authority.as_str().as_bytes()),
        None => 0..0,
    };
    if protocol.is_some() && !upgrade {
        return Err(RequestError::ProtocolUnknown);
    }
    if matches!(head.method, Method::Connect | Method::Trace) {
        return Err(RequestError::MethodRefused);
    }
    if !is_target(target.as_bytes(), head.method) {
        return Err(RequestError::Target);
    }
    copy_fields(&parts.headers, limits, head)?;
    judge_authority(head)?;
    let body = body(&parts.headers, ended, upgrade)?;
    let is_known = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
    if !head.fields.all(Name::Expect).all(is_known) {
        return Err(RequestError::Expectation);
    }
    let expect_continue = head.fields.has(Name::Expect) && body != Body::Empty;
    if upgrade {
        head.fields.append(Name::Other, b"sec-websocket-key", &key());
    }
    Ok(Asked { body, expect_continue, upgrade })
}

fn is_target(target: &[u8], method: Method) -> bool {
    match target {
        b"*" => method == Method::Options,
        _ => target.starts_with(b"/") && http1::is_target(target),
    }
}

/// Copies the fields in their order, crumbs of a cookie as one (RFC 9113, 8.2.3).
fn copy_fields(
    map: &HeaderMap,
    limits: &http1::Limits,
    head: &mut RequestHead,
) -> Result<(), RequestError> {
    if map.len() > limits.fields_max.min(FIELDS_CAP) {
        return Err(HeadError::FieldsTooMany.into());
    }
    let mut cookie = Vec::new();
    for (name, value) in map {
        let (text, value) = (name.as_str().as_bytes(), value.as_bytes());
        if value.first().is_some_and(is_blank) || value.last().is_some_and(is_blank) {
            // RFC 9113, 8.2.1
            return Err(HeadError::FieldValue.into());
        }
        match Name::parse(text) {
            Name::Cookie => {
                if !cookie.is_empty() {
                    cookie.extend_from_slice(b"; ");
                }
                cookie.extend_from_slice(value);
            }
            Name::Host if head.fields.has(Name::Host) => return Err(RequestError::HostRepeated),
            name => head.fields.append(name, text, value),
        }
    }
    if !cookie.is_empty() {
        head.fields.append(Name::Cookie, b"cookie", &cookie);
    }
    Ok(())
}

const fn is_blank(byte: &u8) -> bool {
    matches!(*byte, b' ' | b'\t')
}

/// `:authority` and `Host` must agree, and one of them must be there (RFC 9113, 8.3.1).
fn judge_authority(head: &mut RequestHead) -> Result<(), RequestError> {
    let Some(host) = head.fields.range(Name::Host) else {
        return match head.authority() {
            [] => Err(RequestError::HostMissing),
            authority if http1::is_authority(authority) => Ok(()),
            _ => Err(RequestError::HostMalformed),
        };
    };
    if !http1::is_authority(head.fields.text(host.clone())) {
        return Err(RequestError::HostMalformed);
    }
    if head.authority().is_empty() {
        head.authority_at = host;
    } else if !head.authority().eq_ignore_ascii_case(head.fields.text(host)) {
        return Err(RequestError::HostDiffers);
    }
    Ok(())
}

fn body(map: &HeaderMap, ended: bool, upgrade: bool) -> Result<Body, RequestError> {
    let mut lengths = map.get_all(http::header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(HeadError::LengthRepeated.into());
    }
    let length = length.map(parse_length).transpose()?;
    Ok(match length {
        // The bytes of a tunnel are no body.
        _ if ended || upgrade => Body::Empty,
        None => Body::Chunked,
        Some(0) => Body::Empty,
        Some(length) => Body::Sized(length),
    })
}

fn parse_length(value: &HeaderValue) -> Result<u64, RequestError> {
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length = digits.and_then(|digits| digits.parse().ok());
    length.ok_or_else(|| HeadError::LengthMalformed.into())
}

/// Writes trailers as lines of HTTP/1, those left out that must not come after a body; none of them
/// if they are too many.
pub(super) fn write_trailers(map: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in map {
        let name = name.as_str().as_bytes();
        if !http1::is_forbidden_trailer(name) {
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes().trim_ascii());
            out.extend_from_slice(b"\r\n");
        }
    }
    if out.len() > TRAILER_BYTES_MAX {
        out.clear();
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn ask(request: &Parts, ended: bool) -> Result<(RequestHead, Asked), RequestError> {
        let mut head = RequestHead::default();
        let limits = http1::Limits::default();
        let asked = read(request, ended, &limits, &mut head, || *b"AAAAAAAAAAAAAAAAAAAAAA==")?;
        Ok((head, asked))
    }

    fn parts(uri: &str, fields: &[(&str, &str)]) -> Parts {
        let mut builder = Request::builder().uri(uri);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn a_head_reads_like_one_of_http1() {
        let parts = parts("http://a.example:80/x?y", &[("x-a", "1"), ("accept", "*/*")]);
        let (head, asked) = ask(&parts, true).expect("well-formed");
        assert_eq!((head.method_text(), head.target()), (&b"GET"[..], &b"/x?y"[..]));
        assert_eq!(head.authority(), b"a.example:80");
        assert_eq!(
            head.fields.iter().map(|field| field.line).collect::<Vec<_>>().concat(),
            b"x-a: 1\r\naccept: */*\r\n"
        );
        assert_eq!(asked, Asked { body: Body::Empty, expect_continue: false, upgrade: false });
    }

    #[test]
    fn crumbs_of_a_cookie_are_joined() {
        let parts = parts("http://a/", &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]);
        let (head, _) = ask(&parts, true).expect("well-formed");
        assert_eq!(head.fields.get(Name::Cookie), Some(&b"a=1; b=2"[..]));
        assert_eq!(head.fields.len(), 2);
    }

    #[test]
    fn the_body_is_what_length_and_end_say() {
        let sized = parts("http://a/", &[("content-length", "7"), ("expect", "100-continue")]);
        let (_, asked) = ask(&sized, false).expect("well-formed");
        assert_eq!((asked.body, asked.expect_continue), (Body::Sized(7), true));
        let open = parts("http://a/", &[]);
        assert_eq!(ask(&open, false).expect("well-formed").1.body, Body::Chunked);
        let none = parts("http://a/", &[("content-length", "0")]);
        assert_eq!(ask(&none, false).expect("well-formed").1.body, Body::Empty);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let table = [
            ("http://a/", &[("host", "b")][..], RequestError::HostDiffers),
            ("http://a/", &[("host", "a"), ("host", "a")], RequestError::HostRepeated),
            ("/", &[], RequestError::HostMissing),
            ("/", &[("host", "u@a")], RequestError::HostMalformed),
            ("http://u@a/", &[], RequestError::HostMalformed),
            ("http://a/", &[("x", " b")], HeadError::FieldValue.into()),
            ("http://a/", &[("x", "b\t")], HeadError::FieldValue.into()),
            ("http://a/", &[("expect", "x")], RequestError::Expectation),
            ("http://a/", &[("content-length", "+1")], HeadError::LengthMalformed.into()),
            ("http://a/", &[("content-length", "")], HeadError::LengthMalformed.into()),
            (
                "http://a/",
                &[("content-length", "1"), ("content-length", "1")],
                HeadError::LengthRepeated.into(),
            ),
        ];
        for (uri, fields, error) in table {
            assert_eq!(ask(&parts(uri, fields), false).err(), Some(error), "{uri} {fields:?}");
        }
        let same = parts("http://A/", &[("host", "a")]);
        assert!(ask(&same, true).is_ok(), "hosts have no case");
    }

    #[test]
    fn bounds_hold() {
        let many: Vec<_> = (0..101).map(|_| ("x", "y")).collect();
        let error = ask(&parts("http://a/", &many), true).err();
        assert_eq!(error, Some(HeadError::FieldsTooMany.into()));
        assert!(ask(&parts("http://a/", &many[1..]), true).is_ok());
        let long = format!("http://a/{}", "x".repeat(8 * 1024));
        assert_eq!(ask(&parts(&long, &[]), true).err(), Some(RequestError::TargetTooLong));
    }

    #[test]
    fn methods_that_a_gateway_does_not_serve_are_refused() {
        for method in ["TRACE", "CONNECT"] {
            let mut parts = parts("http://a/", &[]);
            parts.method = method.parse().expect("a method");
            assert_eq!(ask(&parts, true).err(), Some(RequestError::MethodRefused));
        }
    }

    #[test]
    fn an_extended_connect_is_a_websocket_or_refused() {
        let mut parts = parts("http://a/chat", &[("sec-websocket-version", "13")]);
        parts.method = http::Method::CONNECT;
        parts.extensions.insert(Protocol::from_static("websocket"));
        let (head, asked) = ask(&parts, false).expect("well-formed");
        assert_eq!((head.method, asked.upgrade, asked.body), (Method::Get, true, Body::Empty));
        assert_eq!(head.fields.find(b"sec-websocket-key"), Some(&b"AAAAAAAAAAAAAAAAAAAAAA=="[..]));
        parts.extensions.insert(Protocol::from_static("connect-udp"));
        assert_eq!(ask(&parts, false).err(), Some(RequestError::ProtocolUnknown));
    }

    #[test]
    fn trailers_that_could_change_the_request_stay_behind() {
        let fields =
            [("x-sum", "1"), ("host", "evil"), ("content-length", "9"), ("grpc-status", "0")];
        let mut out = Vec::new();
        write_trailers(&parts("/", &fields).headers, &mut out);
        assert_eq!(out, b"x-sum: 1\r\ngrpc-status: 0\r\n");
    }
}
