//! As much of HTTP/1.1 as the two ends of a measurement need: where a head and a body end.
//!
//! The peer is a proxy under test, not an attacker: what is not understood is counted as
//! malformed and the connection closed.

use memchr::{memchr, memmem};

/// Bytes up to and with the empty line that ends a head; `None` while it has not come.
pub(crate) fn head_len(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// The status of a response head.
pub(crate) fn status(head: &[u8]) -> Option<u16> {
    let line = head.strip_prefix(b"HTTP/1.")?;
    std::str::from_utf8(line.get(2..5)?).ok()?.parse().ok()
}

/// The target of a request head.
pub(crate) fn target(head: &[u8]) -> Option<&[u8]> {
    let rest = &head[memchr(b' ', head)? + 1..];
    Some(&rest[..memchr(b' ', rest)?])
}

/// What a head says about the body and the connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Framing {
    pub(crate) content_length: Option<u64>,
    pub(crate) chunked: bool,
    /// The sender will not use the connection again.
    pub(crate) close: bool,
}

impl Framing {
    /// Reads the fields of a head; `None` if the length is no number.
    pub(crate) fn read(head: &[u8]) -> Option<Self> {
        let mut framing = Self::default();
        let first = memchr(b'\n', head)? + 1;
        framing.close = memmem::find(&head[..first], b"HTTP/1.0").is_some();
        let mut rest = &head[first..];
        while let Some(end) = memchr(b'\n', rest) {
            let line = rest[..end].trim_ascii();
            rest = &rest[end + 1..];
            // Most fields are none of ours, and their first letter tells.
            if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
                continue;
            }
            if let Some(value) = value_of(line, b"content-length") {
                framing.content_length = Some(std::str::from_utf8(value).ok()?.parse().ok()?);
            } else if let Some(value) = value_of(line, b"connection") {
                framing.close = value.eq_ignore_ascii_case(b"close");
            } else if value_of(line, b"transfer-encoding").is_some() {
                framing.chunked = true;
            }
        }
        Some(framing)
    }
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_its_empty_line() {
        assert_eq!(head_len(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody"), Some(25));
        assert_eq!(head_len(b"HTTP/1.1 200 OK\r\nA: b\r\n"), None);
    }

    #[test]
    fn the_first_line_yields_status_and_target() {
        assert_eq!(status(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), Some(503));
        assert_eq!(status(b"HTTP/1.1 abc\r\n\r\n"), None);
        assert_eq!(status(b"SSH-2.0\r\n\r\n"), None);
        assert_eq!(target(b"GET /1024 HTTP/1.1\r\n\r\n"), Some(&b"/1024"[..]));
    }

    #[test]
    fn fields_are_found_in_any_case() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-LENGTH:  12 \r\nContent-Type: a\r\nconnection: Close\r\n\r\n";
        let framing = Framing { content_length: Some(12), chunked: false, close: true };
        assert_eq!(Framing::read(head), Some(framing));
        let old = b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        let framing = Framing { content_length: None, chunked: true, close: true };
        assert_eq!(Framing::read(old), Some(framing));
        assert_eq!(Framing::read(b"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n"), None);
    }
}
