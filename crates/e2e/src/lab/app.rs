//! The app behind a node: a letter for everybody, and for some what takes its time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::pause;

/// Where a response comes in [`PIECES`], [`PACE`] apart.
pub const SLOW: &str = "/slow";
/// Where a body is counted.
pub const UPLOAD: &str = "/upload";
/// Where frames of a WebSocket are sent back.
pub const SOCKET: &str = "/socket";
/// How much of a slow response comes at once.
pub const PIECE: usize = 16 * 1024;
/// In how many pieces it comes.
pub const PIECES: usize = 60;
/// Between two of them: all of it takes three seconds.
pub const PACE: Duration = Duration::from_millis(50);

/// Serves everybody who connects, for ever.
pub fn serve(listener: &TcpListener, letter: char) {
    for stream in listener.incoming().map_while(Result::ok) {
        std::thread::spawn(move || serve_one(stream, letter));
    }
}

fn serve_one(mut stream: TcpStream, letter: char) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some((path, length)) = read_head(&mut reader)? {
        match path.as_str() {
            SLOW => {
                let length = PIECE * PIECES;
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
                for _ in 0..PIECES {
                    stream.write_all(&vec![letter as u8; PIECE])?;
                    pause(PACE);
                }
            }
            UPLOAD => {
                let counted = io::copy(&mut (&mut reader).take(length), &mut io::sink())?;
                let answer = format!("{letter} {counted}");
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}",
                    answer.len()
                )?;
            }
            SOCKET => {
                let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                            Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";
                stream.write_all(head.as_bytes())?;
                return send_back(&mut reader, &mut stream);
            }
            _ => write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{letter}")?,
        }
    }
    Ok(())
}

/// The path of a request and the length of its body; none at the end.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<(String, u64)>> {
    let (mut path, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some((path, length)));
        }
        if path.is_empty() {
            path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        }
        let field = line.to_ascii_lowercase();
        if let Some(value) = field.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
}

/// Every frame of a client, unmasked, up to its Close.
fn send_back(reader: &mut impl Read, stream: &mut TcpStream) -> io::Result<()> {
    const CLOSE: u8 = 8;
    loop {
        let mut head = [0; 6];
        reader.read_exact(&mut head)?;
        let [kind, length, mask @ ..] = head;
        let mut data = vec![0; usize::from(length & 0x7f)];
        reader.read_exact(&mut data)?;
        data.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        let mut frame = vec![kind, data.len() as u8];
        frame.extend_from_slice(&data);
        stream.write_all(&frame)?;
        if kind & 0xf == CLOSE {
            return Ok(());
        }
    }
}
