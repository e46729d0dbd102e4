//! What came back so far, and whether that is an answer.

/// Longest answer.
const BYTES_MAX: usize = 4096;

/// Bytes of an answer as they come in.
#[derive(Debug, Default)]
pub(super) struct Answer {
    bytes: Vec<u8>,
}

/// What the bytes come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reading {
    /// There must be more.
    Partial,
    /// The node with this letter answered; whether the connection goes on.
    Whole(char, bool),
    /// It is no answer from a node.
    Wrong,
}

impl Answer {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// All that came, for people.
    pub(super) fn shown(&self) -> String {
        self.bytes.escape_ascii().to_string()
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Reading {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > BYTES_MAX {
            return Reading::Wrong;
        }
        let Some(head) = self.bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Reading::Partial;
        };
        let body = &self.bytes[head + 4..];
        let head = String::from_utf8_lossy(&self.bytes[..head]).to_ascii_lowercase();
        if head.split(' ').nth(1) != Some("200") {
            return Reading::Wrong;
        }
        let field =
            |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let length: usize = field("content-length").and_then(|text| text.parse().ok()).unwrap_or(1);
        if body.len() < length {
            return Reading::Partial;
        }
        match body.first() {
            Some(&letter) if letter.is_ascii_alphabetic() => {
                Reading::Whole(letter.into(), field("connection") != Some("close"))
            }
            _ => Reading::Wrong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        let mut answer = Answer::default();
        assert_eq!(answer.push(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"), Reading::Partial);
        assert_eq!(answer.push(b"A"), Reading::Whole('A', true));
    }

    #[test]
    fn an_error_is_no_answer_from_a_node() {
        let mut answer = Answer::default();
        assert_eq!(answer.push(b"HTTP/1.1 502 Bad Gateway\r\n\r\nA"), Reading::Wrong);
    }

    #[test]
    fn a_server_may_end_the_connection_with_its_answer() {
        let mut answer = Answer::default();
        let text = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nB";
        assert_eq!(answer.push(text), Reading::Whole('B', false));
    }
}
