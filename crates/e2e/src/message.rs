//! HTTP messages as bytes, taken apart without any of the code under test.

use std::fmt;

/// A response, read to its end.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// Status.
    pub status: u16,
    /// The head, byte for byte, with its empty line.
    pub head: String,
    /// Name and value of each field, as they were sent.
    pub fields: Vec<(String, String)>,
    /// The body, without chunk framing.
    pub body: Vec<u8>,
    /// The body, byte for byte, with chunk framing.
    pub raw_body: Vec<u8>,
    /// Trailer lines of a chunked body.
    pub trailers: String,
}

/// A request, read to its end.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Which of the origin's connections it came on, from 0.
    pub connection: usize,
    /// The request line without its CRLF.
    pub line: String,
    /// The head, byte for byte, with its empty line.
    pub head: String,
    /// Name and value of each field, as they were sent.
    pub fields: Vec<(String, String)>,
    /// The body, without chunk framing.
    pub body: Vec<u8>,
    /// The body, byte for byte, with chunk framing.
    pub raw_body: Vec<u8>,
    /// Trailer lines of a chunked body.
    pub trailers: String,
}

/// A message that was not read to its end.
#[derive(Debug)]
pub struct Broken {
    /// Whether the connection was reset, rather than ended in order.
    pub reset: bool,
    /// What had come of the message, byte for byte.
    pub raw: Vec<u8>,
}

impl Response {
    /// The value of the only field called `name`; none if there is none.
    pub fn field(&self, name: &str) -> Option<&str> {
        only(&self.fields, name)
    }

    /// The values of all fields called `name`.
    pub fn all(&self, name: &str) -> Vec<&str> {
        all(&self.fields, name)
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }
}

impl Request {
    /// The value of the only field called `name`; none if there is none.
    pub fn field(&self, name: &str) -> Option<&str> {
        only(&self.fields, name)
    }

    /// The values of all fields called `name`.
    pub fn all(&self, name: &str) -> Vec<&str> {
        all(&self.fields, name)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.reset { "was reset" } else { "ended" };
        write!(f, "the connection {how} after {:?}", String::from_utf8_lossy(&self.raw))
    }
}

fn only<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let values = all(fields, name);
    assert!(values.len() <= 1, "{name} was sent {} times: {values:?}", values.len());
    values.first().copied()
}

fn all<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let named = fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_str()).collect()
}

/// Length of the head at the front of `bytes`, its empty line included.
pub fn head_len(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// The first line of `head` and its fields.
pub fn split_head(head: &str) -> (String, Vec<(String, String)>) {
    let mut lines = head.split("\r\n").take_while(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default().to_owned();
    let fields = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}"));
        (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
    });
    (first, fields.collect())
}

/// How a body that follows a head ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// There is none.
    Empty,
    /// After this many bytes.
    Sized(usize),
    /// With an empty chunk.
    Chunked,
    /// With the connection.
    Close,
}

/// What `fields` say about the end of the body; `otherwise` if nothing.
pub fn ending(fields: &[(String, String)], otherwise: Ending) -> Ending {
    if let Some(codings) = only(fields, "transfer-encoding") {
        assert_eq!(codings, "chunked");
        return Ending::Chunked;
    }
    match only(fields, "content-length") {
        Some(length) => Ending::Sized(length.parse().expect("a length is a number")),
        None => otherwise,
    }
}

/// A body as it arrives.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// Without framing.
    pub data: Vec<u8>,
    /// Trailer lines.
    pub trailers: String,
    /// Bytes of the input that were dealt with.
    pub len: usize,
    /// After the last chunk.
    in_trailers: bool,
}

impl Body {
    /// A body without framing: all of `data`.
    pub fn plain(data: &[u8]) -> Self {
        Self { data: data.to_vec(), len: data.len(), ..Default::default() }
    }

    /// Goes on through a chunked body, of which `bytes` have come so far; says whether it is
    /// whole. Strict, but for extensions.
    pub fn follow_chunks(&mut self, bytes: &[u8]) -> bool {
        while !self.in_trailers {
            let Some(line_len) = find(&bytes[self.len..], b"\r\n") else { return false };
            let start = self.len + line_len + 2;
            let line = std::str::from_utf8(&bytes[self.len..start - 2]).expect("a size is text");
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16);
            let size = size.unwrap_or_else(|_| panic!("no size: {line:?}"));
            if size == 0 {
                self.len = start;
                self.in_trailers = true;
            } else {
                let Some(chunk) = bytes.get(start..start + size + 2) else { return false };
                let (data, end) = chunk.split_at(size);
                assert_eq!(end, b"\r\n", "a chunk is longer than its size");
                self.data.extend_from_slice(data);
                self.len = start + size + 2;
            }
        }
        loop {
            let Some(line_len) = find(&bytes[self.len..], b"\r\n") else { return false };
            let line = &bytes[self.len..self.len + line_len + 2];
            self.len += line.len();
            if line_len == 0 {
                return true;
            }
            self.trailers.push_str(std::str::from_utf8(line).expect("trailers are text"));
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// `data` as one chunk.
pub fn chunk(data: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
    chunk.extend_from_slice(data);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_is_whole_only_with_its_last_line() {
        let whole = b"2\r\nab\r\n10\r\n0123456789abcdef\r\n0\r\nX: y\r\n\r\nrest";
        let mut body = Body::default();
        for end in 0..whole.len() - 4 {
            assert!(!body.follow_chunks(&whole[..end]), "{end}");
        }
        assert!(body.follow_chunks(whole));
        assert_eq!(body.data, b"ab0123456789abcdef");
        assert_eq!((body.trailers.as_str(), body.len), ("X: y\r\n", whole.len() - 4));
    }
}
