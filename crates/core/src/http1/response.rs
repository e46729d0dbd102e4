//! The head of a response.

use core::fmt;
use core::ops::Range;

use super::connection::parse_options;
use super::fields::{parse_fields, parse_line_end, parse_version};
use super::framing::parse_framing;
use super::grammar::is_value;
use super::{Body, HeadError, Limits};
use crate::head::{Method, ResponseHead, Version};

/// How a response goes on after its head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Response {
    /// Bytes of the head.
    pub consumed: usize,
    /// What follows.
    pub body: Body,
    /// Whether the connection may carry another request after the body.
    pub keep_alive: bool,
    /// Whether the connection now speaks another protocol (101).
    pub upgrade: bool,
    /// Whether `Connection` names fields beyond `close`, `keep-alive`, `upgrade` and `te`; ask
    /// [`super::is_named_by_connection`] which.
    pub connection_names: bool,
}

/// Why a response was refused; the connection is of no more use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResponseError {
    /// The status is not a number from 100 to 999.
    Status,
    /// The reason phrase has a control character.
    ReasonPhrase,
    /// What requests and responses have in common is wrong.
    Head(HeadError),
}

impl ResponseError {
    /// A short name for logs and metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Status => "status_malformed",
            Self::ReasonPhrase => "reason_phrase_malformed",
            Self::Head(error) => error.reason(),
        }
    }
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status => "the status is not a number from 100 to 999",
            Self::ReasonPhrase => "the reason phrase has a control character",
            Self::Head(error) => return error.fmt(f),
        })
    }
}

impl core::error::Error for ResponseError {}

impl From<HeadError> for ResponseError {
    fn from(error: HeadError) -> Self {
        Self::Head(error)
    }
}

/// Reads the head at the front of `input` into `head`, or returns `None` if more bytes must come.
/// It always reads from the start, so pass all that has arrived of the head. `method` is the request's. Unless a response is returned, what `head` holds means nothing.
pub fn parse_response(
    input: &[u8],
    limits: &Limits,
    method: Method,
    head: &mut ResponseHead,
) -> Result<Option<Response>, ResponseError> {
    let text = &input[..input.len().min(limits.head_bytes_max)];
    let parsed = match parse_line(text)? {
        Some(line) => parse_fields(text, line.len, limits, &mut head.fields)?
            .map(|(len, seen)| (line, len, seen)),
        None => None,
    };
    let Some((line, consumed, seen)) = parsed else {
        // Whatever is still to come would not fit.
        let is_full = text.len() == limits.head_bytes_max;
        return if is_full { Err(HeadError::HeadTooLarge.into()) } else { Ok(None) };
    };
    head.status = line.status;
    head.version = line.version;
    head.reason_at = line.reason.start as u32..line.reason.end as u32;
    let announced = parse_framing(&head.fields, seen, head.version)?.unwrap_or(Body::UntilClose);
    let options = parse_options(&head.fields, seen)?;
    let body = if has_body(head.status, method) { announced } else { Body::Empty };
    Ok(Some(Response {
        consumed,
        body,
        keep_alive: options.keeps_alive(head.version) && body != Body::UntilClose,
        upgrade: head.status == 101,
        connection_names: options.names,
    }))
}

/// Whether a body follows, whatever the fields announce (6.3, rule 1).
const fn has_body(status: u16, method: Method) -> bool {
    !matches!((status, method), (100..=199 | 204 | 304, _) | (_, Method::Head))
}

/// A status line; offsets count from its first byte.
struct Line {
    version: Version,
    status: u16,
    reason: Range<usize>,
    len: usize,
}

fn parse_line(text: &[u8]) -> Result<Option<Line>, ResponseError> {
    const STATUS_AT: usize = "HTTP/1.1 ".len();
    const STATUS_END: usize = "HTTP/1.1 200".len();
    let Some(version) = parse_version(text)? else { return Ok(None) };
    match text.get(STATUS_AT - 1) {
        None => return Ok(None),
        Some(b' ') => {}
        Some(_) => return Err(HeadError::VersionMalformed.into()),
    }
    let digits = &text[STATUS_AT..text.len().min(STATUS_END)];
    if !digits.iter().all(u8::is_ascii_digit) || digits.first() == Some(&b'0') {
        return Err(ResponseError::Status);
    }
    let &[a, b, c] = digits else { return Ok(None) };
    let status = [a, b, c].iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    let reason = match text.get(STATUS_END) {
        None => return Ok(None),
        Some(b' ') => {
            let start = STATUS_END + 1;
            let rest = &text[start..];
            let len = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
            if !is_value(&rest[..len]) {
                return Err(ResponseError::ReasonPhrase);
            }
            start..start + len
        }
        // The space is often left out with the phrase.
        Some(b'\r' | b'\n') => STATUS_END..STATUS_END,
        Some(_) => return Err(ResponseError::Status),
    };
    let line_end = parse_line_end(&text[reason.end..], HeadError::BareCr)?;
    Ok(line_end.map(|()| Line { version, status, len: reason.end + 2, reason }))
}
