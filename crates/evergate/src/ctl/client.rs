//! A small blocking HTTP/1.1 client for the admin socket: one request, one connection.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Longest silence before an answer is given up; the node itself answers within 30 s.
const SILENCE_MAX: Duration = Duration::from_secs(40);
/// Most bytes of a response head.
const HEAD_BYTES_MAX: u64 = 64 * 1024;
/// Most bytes of an answer.
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Asks one node.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody is at the socket.
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The connection ended in the middle.
    Cut(io::Error),
    /// What came is no answer of Evergate.
    Garbled(String),
    /// The node said no.
    Refused {
        /// What is wrong.
        message: String,
        /// How to mend it; may be empty.
        help: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { socket, error } => {
                let help = match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        "run this as root, or as the user that Evergate runs as"
                    }
                    _ => {
                        "is evergate running? start it with `evergate run -c FILE`, or name the \
                         socket with --socket"
                    }
                };
                write!(f, "no answer at {}: {error}\n  help: {help}", socket.display())
            }
            Self::Cut(error) => write!(
                f,
                "the node stopped answering: {error}\n  help: try again; if it was just replaced, \
                 another worker answers"
            ),
            Self::Garbled(what) => write!(
                f,
                "this is no answer of Evergate: {what}\n  help: is --socket the admin socket?"
            ),
            Self::Refused { message, help, .. } if help.is_empty() => f.write_str(message),
            Self::Refused { message, help } => write!(f, "{}\n  help: {help}", message.trim_end()),
        }
    }
}

impl std::error::Error for Failure {}

impl Client {
    pub(crate) fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The answer to a GET.
    pub(crate) fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, Failure> {
        parse(&self.exchange("GET", target, "")?)
    }

    /// The answer to a request with a JSON body.
    pub(crate) fn send<T: DeserializeOwned>(
        &self,
        method: &str,
        target: &str,
        body: &Value,
    ) -> Result<T, Failure> {
        parse(&self.exchange(method, target, &body.to_string())?)
    }

    /// The body of a GET as it comes, such as an event stream.
    pub(crate) fn open(&self, target: &str, fields: &str) -> Result<impl BufRead, Failure> {
        let (status, mut body) = self.request("GET", target, fields, "")?;
        if status == 200 {
            return Ok(BufReader::new(body));
        }
        Err(refusal(status, &body.whole()?))
    }

    fn exchange(&self, method: &str, target: &str, body: &str) -> Result<Vec<u8>, Failure> {
        let (status, mut answer) = self.request(method, target, "", body)?;
        let answer = answer.whole()?;
        if (200..300).contains(&status) { Ok(answer) } else { Err(refusal(status, &answer)) }
    }

    fn request(
        &self,
        method: &str,
        target: &str,
        fields: &str,
        body: &str,
    ) -> Result<(u16, Body), Failure> {
        let unreachable = |error| Failure::Unreachable { socket: self.socket.clone(), error };
        let mut stream = UnixStream::connect(&self.socket).map_err(unreachable)?;
        stream.set_read_timeout(Some(SILENCE_MAX)).map_err(Failure::Cut)?;
        stream.set_write_timeout(Some(SILENCE_MAX)).map_err(Failure::Cut)?;
        let length = body.len();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: evergate\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n{fields}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).map_err(Failure::Cut)?;
        let mut reader = BufReader::new(stream);
        let head = read_head(&mut reader)?;
        Ok((head.status, Body { reader, framing: head.framing }))
    }
}

/// `text` for use inside a path segment or a query value (RFC 3986, 2.1).
pub(crate) fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(byte.into());
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::Garbled(error.to_string()))
}

fn refusal(status: u16, body: &[u8]) -> Failure {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Failure::Garbled(format!("status {status} without a reason"));
    };
    let text = |name: &str| value["error"][name].as_str().unwrap_or_default().to_owned();
    Failure::Refused { message: text("message"), help: text("help") }
}

struct Head {
    status: u16,
    framing: Framing,
}

/// How the end of a body is known (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Framing {
    Length(u64),
    /// Bytes left of the current chunk; `None` after the last one.
    Chunked(Option<u64>),
    Close,
}

fn read_head(reader: &mut impl BufRead) -> Result<Head, Failure> {
    let mut reader = reader.take(HEAD_BYTES_MAX);
    let first = read_line(&mut reader)?;
    let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let Some(status) = status else {
        return Err(Failure::Garbled(format!("it begins with {first:?}")));
    };
    let mut framing = Framing::Close;
    loop {
        let line = read_line(&mut reader)?;
        if line.is_empty() {
            return Ok(Head { status, framing });
        }
        let Some((name, value)) = line.split_once(':') else {
            return Err(Failure::Garbled(format!("not a header field: {line:?}")));
        };
        let value = value.trim();
        if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked") {
            framing = Framing::Chunked(Some(0));
        } else if name.eq_ignore_ascii_case("content-length") {
            let length = value.parse();
            let length = length.map_err(|_| Failure::Garbled(format!("content-length {value}")))?;
            framing = Framing::Length(length);
        }
    }
}

/// One line without its end; an end of input before that is an error.
fn read_line(reader: &mut impl BufRead) -> Result<String, Failure> {
    let mut line = String::new();
    reader.read_line(&mut line).map_err(Failure::Cut)?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.trim_end_matches('\r').to_owned()),
        None => Err(Failure::Cut(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// A body, without its framing.
struct Body<R = BufReader<UnixStream>> {
    reader: R,
    framing: Framing,
}

impl<R: BufRead> Body<R> {
    fn whole(&mut self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        self.by_ref().take(BODY_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(Failure::Cut)?;
        if bytes.len() as u64 > BODY_BYTES_MAX {
            return Err(Failure::Garbled(format!("over {BODY_BYTES_MAX} bytes")));
        }
        Ok(bytes)
    }

    /// Reads at most `left` bytes and takes them off.
    fn read_some(&mut self, buffer: &mut [u8], left: &mut u64) -> io::Result<usize> {
        let most = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.reader.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= count as u64;
        Ok(count)
    }

    /// The size of the next chunk; `None` after the last one (RFC 9112, 7.1).
    fn next_chunk(&mut self) -> io::Result<Option<u64>> {
        let mut line = String::new();
        (&mut self.reader).take(HEAD_BYTES_MAX).read_line(&mut line)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, "not a chunk size");
        match u64::from_str_radix(size, 16).map_err(invalid)? {
            0 => Ok(None),
            size => Ok(Some(size)),
        }
    }
}

impl<R: BufRead> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.framing {
            Framing::Close => self.reader.read(buffer),
            Framing::Length(mut left) => {
                let count = self.read_some(buffer, &mut left)?;
                self.framing = Framing::Length(left);
                Ok(count)
            }
            Framing::Chunked(None) => Ok(0),
            Framing::Chunked(Some(mut left)) => {
                if left == 0 {
                    let Some(size) = self.next_chunk()? else {
                        self.framing = Framing::Chunked(None);
                        return Ok(0);
                    };
                    left = size;
                }
                let count = self.read_some(buffer, &mut left)?;
                if left == 0 {
                    self.reader.read_exact(&mut [0; 2])?;
                }
                self.framing = Framing::Chunked(Some(left));
                Ok(count)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Result<(u16, String), Failure> {
        let mut reader = text.as_bytes();
        let head = read_head(&mut reader)?;
        let body = Body { reader, framing: head.framing }.whole()?;
        Ok((head.status, String::from_utf8(body).unwrap()))
    }

    #[test]
    fn every_framing_is_taken_off() {
        let table = [
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcd", (200, "abc")),
            ("HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n", (404, "")),
            ("HTTP/1.1 200 OK\r\n\r\nabc", (200, "abc")),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n\
                 0\r\n\r\n",
                (200, "abc0123456789"),
            ),
        ];
        for (text, expected) in table {
            let (status, body) = answer(text).unwrap();
            assert_eq!((status, body.as_str()), expected);
        }
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        for text in [
            "",
            "HTTP/1.1 200 OK\r\ncontent-le",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ] {
            assert!(matches!(answer(text), Err(Failure::Cut(_))), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_http_is_named() {
        for text in ["SSH-2.0-x\r\n", "HTTP/1.1 2\r\n", "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"] {
            assert!(matches!(answer(text), Err(Failure::Garbled(_))), "{text:?}");
        }
    }

    #[test]
    fn a_missing_node_is_explained() {
        let failure = Client::new("/nowhere/admin.sock").get::<Value>("/").unwrap_err();
        assert_eq!(
            failure.to_string(),
            "no answer at /nowhere/admin.sock: No such file or directory (os error 2)\n  help: is \
             evergate running? start it with `evergate run -c FILE`, or name the socket with --socket"
        );
    }

    #[test]
    fn percent_keeps_only_what_is_safe() {
        assert_eq!(percent("a-Z_0.~/ ?ü"), "a-Z_0.~%2F%20%3F%C3%BC");
    }
}
