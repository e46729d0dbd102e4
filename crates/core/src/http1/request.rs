//! The head of a request.

use core::fmt;
use core::ops::Range;

use super::authority::is_authority;
use super::connection::parse_options;
use super::fields::{Seen, parse_fields, parse_line_end, parse_version};
use super::framing::parse_framing;
use super::grammar::{elements, target_len, token_len};
use super::{Body, HeadError, Limits};
use crate::head::{Method, Name, RequestHead, Version};

/// Empty lines that are skipped before a request (2.2).
const EMPTY_LINES_MAX: usize = 2;

/// How a request goes on after its head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Request {
    /// Bytes of the head, and of empty lines before it.
    pub consumed: usize,
    /// What follows; never [`Body::UntilClose`].
    pub body: Body,
    /// Whether the connection may carry another request.
    pub keep_alive: bool,
    /// Whether the client waits for a 100 before it sends its body.
    pub expect_continue: bool,
    /// Whether it is a well-formed wish to switch to WebSocket: `GET`, HTTP/1.1, no body,
    /// `Connection: upgrade`, and `websocket` as the only `Upgrade`.
    pub upgrade: bool,
    /// Whether `Connection` names fields beyond `close`, `keep-alive`, `upgrade` and `te`; ask
    /// [`super::is_named_by_connection`] which.
    pub connection_names: bool,
}

/// Why a request was refused. The connection must be closed after the answer: where the next
/// request starts is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RequestError {
    /// The method is not a token followed by a space.
    Method,
    /// `CONNECT` or `TRACE`, which a gateway does not do.
    MethodRefused,
    /// The target is not a path, an `http` or `https` URI, or the `*` of `OPTIONS`.
    Target,
    /// The target has more bytes than [`Limits::uri_bytes_max`].
    TargetTooLong,
    /// HTTP/1.1 without `Host`.
    HostMissing,
    /// `Host` was sent twice.
    HostRepeated,
    /// `Host` is not a host with an optional port.
    HostMalformed,
    /// `Host` differs from the authority in the target.
    HostDiffers,
    /// `Expect` wants something other than `100-continue`.
    Expectation,
    /// An extended `CONNECT` for a protocol other than WebSocket (RFC 8441, 4); only HTTP/2.
    ProtocolUnknown,
    /// What requests and responses have in common is wrong.
    Head(HeadError),
}

impl RequestError {
    /// The status to answer with.
    pub const fn status(self) -> u16 {
        match self {
            Self::MethodRefused => 405,
            Self::TargetTooLong => 414,
            Self::Expectation => 417,
            Self::Head(HeadError::FieldsTooMany | HeadError::HeadTooLarge) => 431,
            Self::Head(HeadError::EncodingUnknown) | Self::ProtocolUnknown => 501,
            Self::Head(HeadError::VersionUnsupported) => 505,
            Self::Method
            | Self::Target
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostMalformed
            | Self::HostDiffers
            | Self::Head(
                HeadError::VersionMalformed
                | HeadError::BareLf
                | HeadError::BareCr
                | HeadError::Folded
                | HeadError::FieldName
                | HeadError::FieldValue
                | HeadError::LengthMalformed
                | HeadError::LengthRepeated
                | HeadError::LengthAndEncoding
                | HeadError::EncodingMalformed
                | HeadError::EncodingTooEarly
                | HeadError::ConnectionProtected,
            ) => 400,
        }
    }

    /// A short name for logs and metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Method => "method_malformed",
            Self::MethodRefused => "method_refused",
            Self::Target => "target_malformed",
            Self::TargetTooLong => "target_too_long",
            Self::HostMissing => "host_missing",
            Self::HostRepeated => "host_repeated",
            Self::HostMalformed => "host_malformed",
            Self::HostDiffers => "host_differs",
            Self::Expectation => "expectation_unknown",
            Self::ProtocolUnknown => "protocol_unknown",
            Self::Head(error) => error.reason(),
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "the method is malformed",
            Self::MethodRefused => "a gateway does not serve connect or trace",
            Self::Target => "the request target is malformed",
            Self::TargetTooLong => "the request target is too long",
            Self::HostMissing => "host is missing",
            Self::HostRepeated => "host was sent twice",
            Self::HostMalformed => "host is not a host with an optional port",
            Self::HostDiffers => "host differs from the request target",
            Self::Expectation => "an expectation other than 100-continue was sent",
            Self::ProtocolUnknown => "connect asks for a protocol other than websocket",
            Self::Head(error) => return error.fmt(f),
        })
    }
}

impl core::error::Error for RequestError {}

impl From<HeadError> for RequestError {
    fn from(error: HeadError) -> Self {
        Self::Head(error)
    }
}

/// Reads the head at the front of `input` into `head`, or returns `None` if more bytes must come.
/// It always reads from the start, so pass all that has arrived of the head.
/// Unless a request is returned, what `head` holds means nothing.
pub fn parse_request(
    input: &[u8],
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Option<Request>, RequestError> {
    let window = &input[..input.len().min(limits.head_bytes_max)];
    let skipped = empty_lines_len(window);
    let text = &window[skipped..];
    let parsed = match parse_line(text, limits)? {
        Some(line) => parse_fields(text, line.len, limits, &mut head.fields)?
            .map(|(len, seen)| (line, len, seen)),
        None => None,
    };
    let Some((line, len, seen)) = parsed else {
        // Whatever is still to come would not fit.
        let is_full = window.len() == limits.head_bytes_max;
        return if is_full { Err(HeadError::HeadTooLarge.into()) } else { Ok(None) };
    };
    fill(head, &line, seen)?;
    judge(head, seen, skipped + len).map(Some)
}

fn empty_lines_len(window: &[u8]) -> usize {
    let lines = window.as_chunks::<2>().0;
    2 * lines.iter().take(EMPTY_LINES_MAX).take_while(|line| *line == b"\r\n").count()
}

/// A request line; offsets count from its first byte.
struct Line {
    method: Method,
    method_len: usize,
    target: Range<usize>,
    version: Version,
    len: usize,
}

fn parse_line(text: &[u8], limits: &Limits) -> Result<Option<Line>, RequestError> {
    let method_len = token_len(text);
    match text.get(method_len) {
        None => return Ok(None),
        Some(b' ') if method_len > 0 => {}
        // The first half of an empty line.
        Some(b'\r') if text.len() == 1 => return Ok(None),
        Some(_) => return Err(RequestError::Method),
    }
    let start = method_len + 1;
    let end = start + target_len(&text[start..]);
    if end - start > limits.uri_bytes_max {
        return Err(RequestError::TargetTooLong);
    }
    match text.get(end) {
        None => return Ok(None),
        Some(b' ') if end > start => {}
        // As in HTTP/0.9.
        Some(b'\r' | b'\n') => return Err(HeadError::VersionMalformed.into()),
        Some(_) => return Err(RequestError::Target),
    }
    let Some(version) = parse_version(&text[end + 1..])? else { return Ok(None) };
    let line_end = end + 1 + "HTTP/1.1".len();
    if parse_line_end(&text[line_end..], HeadError::VersionMalformed)?.is_none() {
        return Ok(None);
    }
    let method = Method::parse(&text[..method_len]);
    if matches!(method, Method::Connect | Method::Trace) {
        return Err(RequestError::MethodRefused);
    }
    Ok(Some(Line { method, method_len, target: start..end, version, len: line_end + 2 }))
}

/// Fills in what the request line and `Host` say.
fn fill(head: &mut RequestHead, line: &Line, seen: Seen) -> Result<(), RequestError> {
    head.method = line.method;
    head.version = line.version;
    head.method_at = 0..line.method_len as u32;
    head.target_at = line.target.start as u32..line.target.end as u32;
    head.authority_at = 0..0;
    if seen.repeats(Name::Host) {
        return Err(RequestError::HostRepeated);
    }
    match head.fields.range(Name::Host) {
        Some(host) => head.authority_at = host,
        None if line.version == Version::Http10 => {}
        None => return Err(RequestError::HostMissing),
    }
    if seen.has(Name::Host) && !is_authority(head.authority()) {
        return Err(RequestError::HostMalformed);
    }
    match head.target() {
        [b'/', ..] => Ok(()),
        b"*" if line.method == Method::Options => Ok(()),
        _ => split_absolute(head, seen),
    }
}

/// Takes an absolute target apart (3.2.2).
fn split_absolute(head: &mut RequestHead, seen: Seen) -> Result<(), RequestError> {
    let target = head.target();
    let scheme_len = scheme_len(target).ok_or(RequestError::Target)?;
    let rest = &target[scheme_len..];
    let authority_len =
        rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let authority = &rest[..authority_len];
    if !is_authority(authority) {
        return Err(RequestError::Target);
    }
    if seen.has(Name::Host) && !head.authority().eq_ignore_ascii_case(authority) {
        return Err(RequestError::HostDiffers);
    }
    let start = head.target_at.start + scheme_len as u32;
    let path = start + authority_len as u32..head.target_at.end;
    head.authority_at = start..path.start;
    head.target_at = match head.fields.text(path.clone()) {
        [b'/', ..] => path,
        // 3.2.4
        [] if head.method == Method::Options => head.fields.append_text(b"*"),
        // The last slash of the scheme does.
        [] => start - 1..start,
        query => {
            let target = [b"/", query].concat();
            head.fields.append_text(&target)
        }
    };
    Ok(())
}

fn scheme_len(target: &[u8]) -> Option<usize> {
    const SCHEMES: [&[u8]; 2] = [b"http://", b"https://"];
    let starts_with = |scheme: &&[u8]| {
        target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    SCHEMES.into_iter().find(starts_with).map(<[u8]>::len)
}

/// Decides how the request goes on.
fn judge(head: &RequestHead, seen: Seen, consumed: usize) -> Result<Request, RequestError> {
    let body = parse_framing(&head.fields, seen, head.version)?.unwrap_or(Body::Empty);
    let options = parse_options(&head.fields, seen)?;
    let mut expectations = head.fields.all(Name::Expect);
    if expectations.any(|value| !value.eq_ignore_ascii_case(b"100-continue")) {
        return Err(RequestError::Expectation);
    }
    let is_http11 = head.version == Version::Http11;
    Ok(Request {
        consumed,
        body,
        keep_alive: options.keeps_alive(head.version),
        // RFC 9110, 10.1.1: HTTP/1.0 clients cannot mean it, and without a body there is no need.
        expect_continue: seen.has(Name::Expect) && is_http11 && body != Body::Empty,
        upgrade: options.upgrade
            && is_http11
            && head.method == Method::Get
            && body == Body::Empty
            && wants_websocket(head),
        connection_names: options.names,
    })
}

fn wants_websocket(head: &RequestHead) -> bool {
    let mut protocols = head.fields.all(Name::Upgrade).flat_map(elements);
    protocols.next().is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        && protocols.next().is_none()
}
