//! The field lines of a head, and what is common to the heads of requests and responses.

use core::fmt;

use httparse::{EMPTY_HEADER, Header, Status};
use memchr::memchr_iter;

use super::Limits;
use super::grammar::token_len;
use crate::head::{Field, Fields, Name, Version};

/// Most field lines of a head, whatever [`Limits::fields_max`] says.
pub const FIELDS_CAP: usize = 256;

/// Slots for the lines of a usual head; they are cleared for every head, so there are few.
const SLOTS_USUAL: usize = 32;

/// Why the head of a message was refused, be it a request or a response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HeadError {
    /// The start line does not have a version where one belongs.
    VersionMalformed,
    /// A version other than 1.x.
    VersionUnsupported,
    /// A line ends in LF without CR.
    BareLf,
    /// A CR is not followed by LF.
    BareCr,
    /// A line continues the one before it (5.2).
    Folded,
    /// A field name is empty or has a byte that names do not have, such as a space at its end.
    FieldName,
    /// A field value has a control character.
    FieldValue,
    /// More lines than [`Limits::fields_max`].
    FieldsTooMany,
    /// More bytes than [`Limits::head_bytes_max`].
    HeadTooLarge,
    /// `Content-Length` is not one decimal number.
    LengthMalformed,
    /// `Content-Length` was sent twice.
    LengthRepeated,
    /// Both `Content-Length` and `Transfer-Encoding`.
    LengthAndEncoding,
    /// `Transfer-Encoding` is not a list of codings that ends in one `chunked`.
    EncodingMalformed,
    /// A transfer coding other than `chunked`.
    EncodingUnknown,
    /// `Transfer-Encoding` in HTTP/1.0.
    EncodingTooEarly,
    /// `Connection` names a field that only the two ends may take away.
    ConnectionProtected,
}

impl HeadError {
    /// A short name for logs and metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::VersionMalformed => "version_malformed",
            Self::VersionUnsupported => "version_unsupported",
            Self::BareLf => "bare_lf",
            Self::BareCr => "bare_cr",
            Self::Folded => "folded_line",
            Self::FieldName => "field_name",
            Self::FieldValue => "field_value",
            Self::FieldsTooMany => "fields_too_many",
            Self::HeadTooLarge => "head_too_large",
            Self::LengthMalformed => "length_malformed",
            Self::LengthRepeated => "length_repeated",
            Self::LengthAndEncoding => "length_and_encoding",
            Self::EncodingMalformed => "encoding_malformed",
            Self::EncodingUnknown => "encoding_unknown",
            Self::EncodingTooEarly => "encoding_too_early",
            Self::ConnectionProtected => "connection_protected",
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::VersionMalformed => "the start line has no well-formed version",
            Self::VersionUnsupported => "the version is not HTTP/1.x",
            Self::BareLf => "a line ends in a bare LF",
            Self::BareCr => "a CR is not followed by LF",
            Self::Folded => "a field line is folded",
            Self::FieldName => "a field name is malformed",
            Self::FieldValue => "a field value has a control character",
            Self::FieldsTooMany => "the head has too many fields",
            Self::HeadTooLarge => "the head is too large",
            Self::LengthMalformed => "content-length is not a number",
            Self::LengthRepeated => "content-length was sent twice",
            Self::LengthAndEncoding => "both content-length and transfer-encoding were sent",
            Self::EncodingMalformed => "transfer-encoding does not end in a single chunked",
            Self::EncodingUnknown => "a transfer coding other than chunked was sent",
            Self::EncodingTooEarly => "transfer-encoding was sent in http/1.0",
            Self::ConnectionProtected => "connection names a field that must not be removed",
        })
    }
}

impl core::error::Error for HeadError {}

/// Which fields a head has, and which of them more than once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    once: u64,
    again: u64,
}

impl Seen {
    fn add(&mut self, name: Name) {
        self.again |= self.once & (1 << name as u8);
        self.once |= 1 << name as u8;
    }

    pub(super) fn has(self, name: Name) -> bool {
        self.once & (1 << name as u8) != 0
    }

    pub(super) fn repeats(self, name: Name) -> bool {
        self.again & (1 << name as u8) != 0
    }
}

/// The version at the front of `text`, 8 bytes long, or `None` if more bytes must come.
pub(super) fn parse_version(text: &[u8]) -> Result<Option<Version>, HeadError> {
    const SHAPE: &[u8; 8] = b"HTTP/1.1";
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'1' => byte.is_ascii_digit(),
        _ => byte == shape,
    };
    if !text.iter().zip(SHAPE).all(fits) {
        return Err(HeadError::VersionMalformed);
    }
    match text.first_chunk::<8>() {
        None => Ok(None),
        Some(b"HTTP/1.0") => Ok(Some(Version::Http10)),
        // A later minor version is as good as 1.1 (RFC 9110, 2.5).
        Some([_, _, _, _, _, b'1', ..]) => Ok(Some(Version::Http11)),
        Some(_) => Err(HeadError::VersionUnsupported),
    }
}

/// Whether `text` starts with CRLF, or `None` if more bytes must come. `other` is the error for
/// anything but a line end.
pub(super) fn parse_line_end(text: &[u8], other: HeadError) -> Result<Option<()>, HeadError> {
    match text {
        [] | [b'\r'] => Ok(None),
        [b'\r', b'\n', ..] => Ok(Some(())),
        [b'\r', ..] => Err(HeadError::BareCr),
        [b'\n', ..] => Err(HeadError::BareLf),
        _ => Err(other),
    }
}

/// Reads the field lines that start at `start` and copies `head` up to the end of the last one
/// into `fields`. Returns how long the head is, or `None` if more bytes must come.
pub(super) fn parse_fields(
    head: &[u8],
    start: usize,
    limits: &Limits,
    fields: &mut Fields,
) -> Result<Option<(usize, Seen)>, HeadError> {
    let fields_max = limits.fields_max.min(FIELDS_CAP);
    let mut slots = [EMPTY_HEADER; SLOTS_USUAL];
    let slots = &mut slots[..fields_max.min(SLOTS_USUAL)];
    match httparse::parse_headers(&head[start..], slots) {
        Ok(Status::Complete((len, lines))) => copy_lines(head, start + len, lines, fields),
        Ok(Status::Partial) => expect_no_bare_lf(&head[start..]),
        Err(httparse::Error::TooManyHeaders) if fields_max > SLOTS_USUAL => {
            parse_many_fields(head, start, fields_max, fields)
        }
        Err(error) => Err(first_fault(&head[start..], fields_max, error)),
    }
}

#[cold]
fn parse_many_fields(
    head: &[u8],
    start: usize,
    fields_max: usize,
    fields: &mut Fields,
) -> Result<Option<(usize, Seen)>, HeadError> {
    let mut slots = [EMPTY_HEADER; FIELDS_CAP];
    match httparse::parse_headers(&head[start..], &mut slots[..fields_max]) {
        Ok(Status::Complete((len, lines))) => copy_lines(head, start + len, lines, fields),
        Ok(Status::Partial) => expect_no_bare_lf(&head[start..]),
        Err(error) => Err(first_fault(&head[start..], fields_max, error)),
    }
}

fn copy_lines(
    head: &[u8],
    len: usize,
    lines: &[Header<'_>],
    fields: &mut Fields,
) -> Result<Option<(usize, Seen)>, HeadError> {
    let blank = len - 2;
    if head[blank] != b'\r' {
        return Err(HeadError::BareLf);
    }
    let offset = |part: &[u8]| part.as_ptr().addr() - head.as_ptr().addr();
    let mut seen = Seen::default();
    fields.reset(&head[..blank]);
    for (index, line) in lines.iter().enumerate() {
        let end = lines.get(index + 1).map_or(blank, |next| offset(next.name.as_bytes()));
        if head[end - 2] != b'\r' {
            return Err(HeadError::BareLf);
        }
        let name_len = line.name.len().try_into().map_err(|_| HeadError::HeadTooLarge)?;
        let name = Name::parse(line.name.as_bytes());
        seen.add(name);
        fields.push(Field {
            name,
            start: offset(line.name.as_bytes()) as u32,
            name_len,
            value_start: offset(line.value) as u32,
            value_len: line.value.len() as u32,
            end: end as u32,
        });
    }
    Ok(Some((len, seen)))
}

fn expect_no_bare_lf(section: &[u8]) -> Result<Option<(usize, Seen)>, HeadError> {
    if bare_lf(section).is_some() { Err(HeadError::BareLf) } else { Ok(None) }
}

fn bare_lf(section: &[u8]) -> Option<usize> {
    memchr_iter(b'\n', section).find(|at| *at == 0 || section[at - 1] != b'\r')
}

/// What is wrong first in `section`: a bare LF, or what `error` says.
#[cold]
fn first_fault(section: &[u8], fields_max: usize, error: httparse::Error) -> HeadError {
    if let Some(at) = bare_lf(section) {
        let mut slots = [EMPTY_HEADER; FIELDS_CAP];
        if httparse::parse_headers(&section[..=at], &mut slots[..fields_max]).is_ok() {
            return HeadError::BareLf;
        }
    }
    match error {
        httparse::Error::HeaderName if is_folded(section) => HeadError::Folded,
        httparse::Error::HeaderName => HeadError::FieldName,
        httparse::Error::HeaderValue => HeadError::FieldValue,
        httparse::Error::NewLine => HeadError::BareCr,
        httparse::Error::TooManyHeaders => HeadError::FieldsTooMany,
        // Errors of start lines, which are not given to it.
        httparse::Error::Status | httparse::Error::Token | httparse::Error::Version => {
            HeadError::FieldName
        }
    }
}

/// Whether the first line of `section` with a bad name starts with white space.
fn is_folded(section: &[u8]) -> bool {
    let is_bad = |line: &&[u8]| {
        let name_len = token_len(line);
        name_len == 0 || line.get(name_len) != Some(&b':')
    };
    let bad = section.split(|byte| *byte == b'\n').find(is_bad);
    bad.is_some_and(|line| matches!(line, [b' ' | b'\t', ..]))
}
