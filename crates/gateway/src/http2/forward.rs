//! Heads on their way to and from a server that speaks HTTP/2.
//!
//! What goes on and what stays behind is decided where HTTP/1 does it; here it only takes another
//! form: pseudo-fields in front, names in lower case, no fields about a connection.

use bytes::Bytes;
use evergate_core::head::{Method, Name, ResponseHead};
use evergate_core::http1::{Body, is_named_by_connection};
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Request, response};

use crate::http1::forward::{
    RequestPlan, is_of_connection, reason_phrase, request_keeps, takes_trailers, write_own,
};
use crate::reject::ClientFault;
use crate::upstream::HeadFault;

/// Fields of one response.
const FIELDS_MAX: usize = 200;

/// The head of a request, as `plan` wants it.
pub(super) fn request(plan: &RequestPlan<'_>, scheme: &str) -> Result<Request<()>, ClientFault> {
    let head = plan.facts.head;
    let mut request = Request::new(());
    *request.method_mut() =
        http::Method::from_bytes(head.method_text()).map_err(|_| ClientFault::Path)?;
    *request.version_mut() = http::Version::HTTP_2;
    let fields = request.headers_mut();
    fields.reserve(head.fields.len() + plan.changes.add.len() + 10);
    for field in head.fields.iter() {
        let stays = field.id != Name::Host
            && request_keeps(&field, plan)
            && !(plan.connection_names && is_named_by_connection(&head.fields, field.name))
            && plan.changes.keeps(field.name);
        if stays {
            append(fields, field.name, field.value);
        }
    }
    if takes_trailers(&head.fields) {
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
    let mut own = Vec::with_capacity(512);
    write_own(&mut own, plan);
    for line in lines(&own) {
        append(fields, line.0, line.1);
    }
    for (name, value) in &plan.changes.add {
        if !is_of_connection(Name::parse(name.as_bytes())) {
            append(fields, name.as_bytes(), value);
        }
    }
    // Here it is `:authority` (RFC 9113, 8.3.1), also if a filter names another.
    let named = fields.remove(HOST);
    let authority = named.as_ref().map_or(head.authority(), HeaderValue::as_bytes);
    *request.uri_mut() = uri(scheme, authority, plan.target).ok_or(ClientFault::Path)?;
    Ok(request)
}

fn uri(scheme: &str, authority: &[u8], target: &[u8]) -> Option<Uri> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::try_from(scheme).ok()?);
    parts.authority = Some(Authority::try_from(authority).ok()?);
    parts.path_and_query =
        Some(PathAndQuery::from_maybe_shared(Bytes::copy_from_slice(target)).ok()?);
    Uri::from_parts(parts).ok()
}

/// Reads the head of a response as if it had come as lines.
pub(super) fn read_head(parts: &response::Parts, head: &mut ResponseHead) -> Result<(), HeadFault> {
    if parts.headers.len() > FIELDS_MAX {
        return Err(HeadFault::Malformed);
    }
    head.fields.clear();
    head.status = parts.status.as_u16();
    head.version = evergate_core::head::Version::Http2;
    let phrase = match reason_phrase(head.status) {
        "" => parts.status.canonical_reason().unwrap_or_default(),
        ours => ours,
    };
    head.reason_at = head.fields.append_text(phrase.as_bytes());
    for (name, value) in &parts.headers {
        let name = name.as_str().as_bytes();
        head.fields.append(Name::parse(name), name, value.as_bytes());
    }
    Ok(())
}

/// What follows a response's head. `h2` sees to it that a length that is told is kept.
pub(super) fn body(head: &ResponseHead, method: Method, is_end: bool) -> Body {
    if matches!(head.status, 204 | 304) || method == Method::Head {
        return Body::Empty;
    }
    if is_end {
        return Body::Sized(0);
    }
    let length = head.fields.get(Name::ContentLength);
    let length = length.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    length.map_or(Body::Chunked, Body::Sized)
}

/// Trailers out of lines.
pub(super) fn trailers(text: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines(text) {
        append(&mut map, name, value);
    }
    map
}

/// Writes trailers as lines, without what is about framing (RFC 9110, 6.5.1).
pub(super) fn write_trailers(out: &mut Vec<u8>, trailers: &HeaderMap) {
    for (name, value) in trailers {
        let is_framing = name == CONTENT_LENGTH || name == TRAILER || name == HOST;
        if !is_framing && !is_of_connection(Name::parse(name.as_str().as_bytes())) {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Names and values of whole lines.
fn lines(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|&byte| byte == b'\n').filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

fn append(map: &mut HeaderMap, name: &[u8], value: &[u8]) {
    // The codec let nothing through that these refuse.
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
        map.append(name, value);
    }
}
