//! The admin API of a node, as whoever has its socket calls it.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::PATIENCE;

/// Where the admin API is.
#[derive(Clone, Debug)]
pub struct Admin {
    socket: PathBuf,
}

impl Admin {
    /// Listening at `socket`, sooner or later.
    pub fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Status and text of a call.
    pub fn call(&self, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let broken = || io::Error::new(ErrorKind::UnexpectedEof, format!("{path}: {answer:?}"));
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if is_chunked {
            let mut whole = crate::message::Body::default();
            if !whole.follow_chunks(body.as_bytes()) {
                return Err(broken());
            }
            String::from_utf8(whole.data).map_err(|_| broken())?
        } else {
            body.to_owned()
        };
        Ok((status.ok_or_else(broken)?, body))
    }
}
