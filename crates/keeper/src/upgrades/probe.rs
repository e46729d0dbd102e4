//! One request through a new worker, before anything depends on it.
//!
//! The keeper has no network of its own: worker and keeper are the two ends of a pair of sockets, and
//! the request takes the same way through the worker as one that was accepted.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use evergate_core::head::{Method, ResponseHead};
use evergate_core::http1::{BodyReader, Limits, parse_response};
use evergate_sys::random;

/// What is asked.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: evergate\r\nConnection: close\r\n\r\n";
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Bytes read at a time.
const READ_BYTES: usize = 4096;

/// A request that is under way.
#[derive(Debug)]
pub(crate) struct Probe {
    token: String,
    stream: UnixStream,
    answer: Vec<u8>,
}

impl Probe {
    /// Asks; the other end is for the worker.
    pub(crate) fn start() -> io::Result<(Self, OwnedFd)> {
        let (mut stream, other) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        other.set_nonblocking(true)?;
        stream.write_all(REQUEST)?;
        let token = format!("{:016x}{:016x}", random::seed(), random::seed());
        Ok((Self { token, stream, answer: Vec::new() }, other.into()))
    }

    /// What the worker is to answer.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Takes in what has arrived; whether the answer was right, once it is there.
    pub(crate) fn read(&mut self) -> Option<Result<(), String>> {
        let mut buffer = [0; READ_BYTES];
        loop {
            let is_over = match self.stream.read(&mut buffer) {
                Ok(0) => true,
                Ok(count) => {
                    self.answer.extend_from_slice(&buffer[..count]);
                    false
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => true,
            };
            let judged = judge(&self.answer, is_over, &self.token);
            if judged.is_some() {
                return judged;
            }
        }
    }
}

impl AsFd for Probe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Whether `answer` is right; nothing while more may come.
fn judge(answer: &[u8], is_over: bool, token: &str) -> Option<Result<(), String>> {
    let wrong = |what: &str| Some(Err(format!("a request through the new worker {what}")));
    if answer.len() > ANSWER_BYTES_MAX {
        return wrong("was answered with too much");
    }
    let mut head = ResponseHead::default();
    let response = match parse_response(answer, &Limits::default(), Method::Get, &mut head) {
        Ok(Some(response)) => response,
        Ok(None) if is_over => return wrong("was not answered"),
        Ok(None) => return None,
        Err(error) => return wrong(&format!("was answered with what is no HTTP: {error}")),
    };
    if head.status != 200 {
        return wrong(&format!("was answered with status {}", head.status));
    }
    let mut reader = BodyReader::new(response.body);
    let (mut rest, mut body) = (&answer[response.consumed..], Vec::new());
    let mut is_done = reader.is_done();
    while !is_done && !rest.is_empty() {
        let piece = match reader.read(rest) {
            Ok(piece) => piece,
            Err(error) => return wrong(&format!("was answered with a broken body: {error}")),
        };
        body.extend_from_slice(&rest[piece.data]);
        rest = &rest[piece.consumed..];
        is_done = piece.done;
        if piece.consumed == 0 {
            break;
        }
    }
    match (is_done || is_over && reader.finish().is_ok(), body == token.as_bytes()) {
        (true, true) => Some(Ok(())),
        (true, false) => wrong("was answered by somebody else"),
        (false, _) if is_over => wrong("was answered in part"),
        (false, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntoken";

    #[test]
    fn an_answer_is_right_however_its_end_is_found_and_wherever_it_is_cut() {
        let table = [
            (SIZED, false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ntoken\r\n0\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ntoken", true),
        ];
        for (answer, needs_end) in table {
            for length in 0..answer.len() {
                assert_eq!(judge(&answer.as_bytes()[..length], false, "token"), None, "{length}");
            }
            let whole = judge(answer.as_bytes(), needs_end, "token");
            assert_eq!(whole, Some(Ok(())), "{answer}");
        }
    }

    #[test]
    fn a_wrong_answer_says_what_is_wrong_with_it() {
        let table: [(&str, &str); 6] = [
            ("", "was not answered"),
            ("HTTP/1.1 200 OK\r\n", "was not answered"),
            ("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "status 503"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother", "somebody else"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntok", "in part"),
            ("SSH-2.0-evergate\r\n\r\n", "no HTTP"),
        ];
        for (answer, expected) in table {
            let why = judge(answer.as_bytes(), true, "token").unwrap().unwrap_err();
            assert!(why.contains(expected), "{answer:?}: {why}");
        }
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(ANSWER_BYTES_MAX));
        assert!(judge(long.as_bytes(), false, "token").unwrap().unwrap_err().contains("too much"));
    }

    #[test]
    fn a_worker_that_answers_is_heard_and_one_that_lets_go_is_not_waited_for() {
        let (mut probe, other) = Probe::start().unwrap();
        assert_eq!(probe.read(), None);
        let mut other = UnixStream::from(other);
        let mut request = [0; 256];
        assert_eq!(other.read(&mut request).unwrap(), REQUEST.len());
        let length = probe.token().len();
        write!(other, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").unwrap();
        assert_eq!(probe.read(), None);
        write!(other, "{}", probe.token()).unwrap();
        assert_eq!(probe.read(), Some(Ok(())));
        let (mut probe, other) = Probe::start().unwrap();
        drop(other);
        assert!(matches!(probe.read(), Some(Err(_))));
        let (one, two) = (Probe::start().unwrap().0, Probe::start().unwrap().0);
        assert_ne!(one.token(), two.token());
    }
}
