//! WebSockets that talk all the time, and the server that says the same back.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A WebSocket says something that often.
const TALK_EVERY: Duration = Duration::from_millis(500);
/// An echo that takes longer counts as cut.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Opcodes (RFC 6455, 5.2).
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const TEXT_SAID: &[u8; 8] = b"\x03\xE8 says.";

/// Clients that each keep one open, and open another when theirs is closed or cut.
#[derive(Debug)]
pub(super) struct WebSockets {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    cut: AtomicU64,
    closed: AtomicU64,
}

impl WebSockets {
    /// Opens `count`.
    pub(super) fn open(address: SocketAddr, count: u32) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut clients = Vec::new();
        for _ in 0..count {
            let mut stream = shake(address)?;
            let shared = Arc::clone(&shared);
            clients.push(thread::spawn(move || {
                while !shared.over.load(Ordering::Relaxed) {
                    let counter = match talk(&mut stream, &shared.over) {
                        Ok(true) => return,
                        Ok(false) => &shared.closed,
                        Err(error) => {
                            eprintln!("a WebSocket was cut: {error}");
                            &shared.cut
                        }
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                    match shake(address) {
                        Ok(another) => stream = another,
                        Err(error) => {
                            eprintln!("a WebSocket cannot be opened: {error}");
                            shared.cut.fetch_add(1, Ordering::Relaxed);
                            return;
                        }
                    }
                }
            }));
        }
        Ok(Self { shared, clients })
    }

    /// Closes all; says how many were cut, and how many the other side closed.
    pub(super) fn finish(self) -> (u64, u64) {
        self.shared.over.store(true, Ordering::Relaxed);
        for client in self.clients {
            drop(client.join());
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.shared.cut), count(&self.shared.closed))
    }
}

fn shake(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    stream.write_all(
        b"GET /talk HTTP/1.1\r\nHost: bench.example\r\nConnection: Upgrade\r\n\
          Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )?;
    let head = read_head(&mut stream)?;
    if !head.starts_with("HTTP/1.1 101 ") {
        return Err(io::Error::new(ErrorKind::InvalidData, head));
    }
    Ok(stream)
}

/// Talks to the end; whether it was we who closed.
fn talk(stream: &mut TcpStream, over: &AtomicBool) -> io::Result<bool> {
    const MASK: [u8; 4] = [1, 2, 3, 4];
    loop {
        let is_over = over.load(Ordering::Relaxed);
        let kind = if is_over { CLOSE } else { TEXT };
        let masked = TEXT_SAID.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let start = [kind, 0x80 | TEXT_SAID.len() as u8].into_iter().chain(MASK);
        stream.write_all(&start.chain(masked).collect::<Vec<u8>>())?;
        let mut start = [0; 2];
        stream.read_exact(&mut start)?;
        if start[0] == CLOSE {
            return Ok(is_over);
        }
        stream.read_exact(&mut [0; TEXT_SAID.len()])?;
        thread::park_timeout(TALK_EVERY);
    }
}

/// Says the same back on every connection, to the Close.
pub(super) fn serve(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        // A client that goes away is its own business.
        thread::spawn(move || drop(echo(stream)));
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    read_head(&mut stream)?;
    stream.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    )?;
    loop {
        let mut start = [0; 6];
        stream.read_exact(&mut start)?;
        let length = start[1] & 0x7F;
        let mut payload = vec![0; usize::from(length)];
        stream.read_exact(&mut payload)?;
        let said = payload.iter().zip(start[2..].iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let frame: Vec<u8> = [start[0], length].into_iter().chain(said).collect();
        stream.write_all(&frame)?;
        if start[0] == CLOSE {
            return Ok(());
        }
    }
}

/// A head, a byte at a time: nothing behind it may be taken.
fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_talks_to_the_server_is_not_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are ports left");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || serve(&listener));
        let web_sockets = WebSockets::open(address, 3).expect("it serves");
        assert_eq!(web_sockets.finish(), (0, 0));
    }

    #[test]
    fn a_connection_that_just_ends_is_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are ports left");
        let address = listener.local_addr().expect("it is bound");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody connects");
            read_head(&mut stream).expect("it asks");
            stream.write_all(b"HTTP/1.1 101 Said\r\n\r\n").expect("it listens");
        });
        let web_sockets = WebSockets::open(address, 1).expect("it serves");
        server.join().expect("it ends");
        while web_sockets.shared.cut.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        assert!(web_sockets.finish().0 > 0);
    }
}
