//! One spelling for each path, so that what is routed and checked is what the server gets.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::{error, fmt};

/// Why a path has no safe spelling; the request is answered with 400.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PathError {
    /// It neither starts with `/` nor is `*`.
    NotAbsolute,
    /// `..` leads above the root.
    AboveRoot,
    /// `.` or `..` written with `%2e`, or with a `;` parameter behind: some servers resolve it.
    DisguisedDots,
    /// `%2f`: one segment here, two for some servers.
    EncodedSlash,
    /// `\` or `%5c`: a slash for some servers.
    Backslash,
    /// `%00`: the end of the path for some servers.
    Nul,
    /// `%` without two hexadecimal digits behind it.
    BadEscape,
    /// A byte that no path may hold: a control character, a space, `#` or `?`.
    BadByte,
    /// A byte above 127; it must be percent-encoded.
    NonAscii,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "the path does not start with `/`",
            Self::AboveRoot => "`..` leads above the root of the path",
            Self::DisguisedDots => "the path hides `.` or `..` behind `%2e` or `;`",
            Self::EncodedSlash => "the path holds `%2f`",
            Self::Backslash => "the path holds `\\` or `%5c`",
            Self::Nul => "the path holds `%00`",
            Self::BadEscape => "the path holds a `%` without two hexadecimal digits",
            Self::BadByte => "the path holds a control character, a space, `#` or `?`",
            Self::NonAscii => "the path holds a byte that is not ASCII",
        })
    }
}

impl error::Error for PathError {}

/// The one spelling of `path` (RFC 3986, 6.2.2): no `.` and `..` segments, no empty segments but
/// the last, unreserved characters not encoded, escapes in upper case.
///
/// Empty segments go first, as in nginx: `/a//../b` is `/b`. Borrows if nothing is to be done.
/// Normalising twice is normalising once. `*` (of `OPTIONS *`) stays as it is.
pub fn normalise(path: &[u8]) -> Result<Cow<'_, str>, PathError> {
    match path {
        b"*" => return Ok(Cow::Borrowed("*")),
        [b'/', ..] => {}
        _ => return Err(PathError::NotAbsolute),
    }
    if !is_plain(path) {
        let spelled = spell(path)?;
        if spelled != path {
            let text = String::from_utf8(spelled).expect("every byte was seen to be ASCII");
            return Ok(Cow::Owned(text));
        }
    }
    Ok(Cow::Borrowed(core::str::from_utf8(path).expect("every byte was seen to be ASCII")))
}

/// Whether the path surely is its own one spelling.
fn is_plain(path: &[u8]) -> bool {
    let mut last = 0;
    path.iter().all(|&byte| {
        let after_slash = last == b'/';
        last = byte;
        // A segment that starts with a dot need not be special, but is rare enough.
        PLAIN[byte as usize] && !(after_slash && matches!(byte, b'/' | b'.'))
    })
}

const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x21;
    while byte < 0x7F {
        plain[byte] = !matches!(byte as u8, b'%' | b'\\' | b'#' | b'?');
        byte += 1;
    }
    plain
};

fn spell(path: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut spelled = Vec::with_capacity(path.len());
    let mut segments = path[1..].split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"" | b"." => {}
            b".." => {
                let parent = spelled.iter().rposition(|&byte| byte == b'/');
                spelled.truncate(parent.ok_or(PathError::AboveRoot)?);
            }
            _ => {
                spelled.push(b'/');
                let start = spelled.len();
                spell_segment(segment, &mut spelled)?;
                refuse_dots(&spelled[start..])?;
                continue;
            }
        }
        if is_last {
            spelled.push(b'/');
        }
    }
    Ok(spelled)
}

fn spell_segment(segment: &[u8], spelled: &mut Vec<u8>) -> Result<(), PathError> {
    let mut bytes = segment.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => spell_escape(bytes.next(), bytes.next(), spelled)?,
            b'\\' => return Err(PathError::Backslash),
            0x80.. => return Err(PathError::NonAscii),
            _ if PLAIN[byte as usize] => spelled.push(byte),
            _ => return Err(PathError::BadByte),
        }
    }
    Ok(())
}

fn spell_escape(high: Option<u8>, low: Option<u8>, spelled: &mut Vec<u8>) -> Result<(), PathError> {
    let digit = |text: Option<u8>| char::from(text?).to_digit(16);
    let (Some(high), Some(low)) = (digit(high), digit(low)) else {
        return Err(PathError::BadEscape);
    };
    match (high << 4 | low) as u8 {
        b'/' => return Err(PathError::EncodedSlash),
        b'\\' => return Err(PathError::Backslash),
        0 => return Err(PathError::Nul),
        // RFC 3986, 2.3: unreserved
        byte @ (b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~') => {
            spelled.push(byte);
        }
        byte => {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            spelled.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    Ok(())
}

/// Refuses a decoded segment that some server would take for `.` or `..`; the plain ones were
/// resolved before.
fn refuse_dots(segment: &[u8]) -> Result<(), PathError> {
    let name = segment.split(|&byte| byte == b';').next().unwrap_or(segment);
    if matches!(name, b"." | b"..") { Err(PathError::DisguisedDots) } else { Ok(()) }
}
