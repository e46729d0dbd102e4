//! The fields after the last chunk (7.1.2).

use alloc::vec::Vec;

use super::BodyError;
use super::grammar::{is_value, token_len};
use crate::head::Name;

/// Most bytes of a trailer section, line ends included.
const BYTES_MAX: usize = 8 * 1024;
/// Most lines of a trailer section.
const LINES_MAX: usize = 32;

/// A trailer section as it arrives.
#[derive(Clone, Debug)]
pub(super) struct Trailers {
    /// The lines that are kept, then the one that is arriving.
    text: Vec<u8>,
    kept: usize,
    bytes: usize,
    lines: usize,
}

/// Whether more lines may come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Section {
    Open,
    Ended,
}

impl Trailers {
    pub(super) const fn new() -> Self {
        Self { text: Vec::new(), kept: 0, bytes: 0, lines: 0 }
    }

    /// The lines that are kept so far.
    pub(super) fn lines(&self) -> &[u8] {
        &self.text[..self.kept]
    }

    /// Takes one byte. An error changes nothing.
    pub(super) fn push(&mut self, byte: u8) -> Result<Section, BodyError> {
        if self.bytes == BYTES_MAX {
            return Err(BodyError::TrailersTooLarge);
        }
        let section = if byte == b'\n' { self.end_line()? } else { Section::Open };
        if byte != b'\n' {
            self.text.push(byte);
        }
        self.bytes += 1;
        Ok(section)
    }

    fn end_line(&mut self) -> Result<Section, BodyError> {
        let [line @ .., b'\r'] = &self.text[self.kept..] else { return Err(BodyError::BareLf) };
        if line.is_empty() {
            return Ok(Section::Ended);
        }
        if self.lines == LINES_MAX {
            return Err(BodyError::TrailersTooLarge);
        }
        let (name, rest) = line.split_at(token_len(line));
        let [b':', value @ ..] = rest else { return Err(BodyError::Trailer) };
        if name.is_empty() || !is_value(value) {
            return Err(BodyError::Trailer);
        }
        if is_forbidden_trailer(name) {
            self.text.truncate(self.kept);
        } else {
            self.text.push(b'\n');
            self.kept = self.text.len();
        }
        self.lines += 1;
        Ok(Section::Open)
    }
}

/// Whether a field must not come after the body (RFC 9110, 6.5.1): all that Evergate acts on, what
/// others need before the body, and names with an underscore, which some servers cannot tell from
/// those with a hyphen.
pub fn is_forbidden_trailer(name: &[u8]) -> bool {
    const NAMES: [&str; 20] = [
        "age",
        "cache-control",
        "content-encoding",
        "content-location",
        "content-range",
        "expires",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "location",
        "max-forwards",
        "pragma",
        "range",
        "status",
        "vary",
        "warning",
        "www-authenticate",
        "x-method-override",
    ];
    Name::parse(name) != Name::Other
        || name.contains(&b'_')
        || name.len() >= 12 && name[..12].eq_ignore_ascii_case(b"x-forwarded-")
        || NAMES.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden.as_bytes()))
}
