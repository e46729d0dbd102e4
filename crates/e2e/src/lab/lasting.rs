//! Clients whose requests last longer than a move: a download, an upload, and a WebSocket.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use super::app::{PACE, PIECE, PIECES, SLOW, SOCKET, UPLOAD};
use super::{Place, pause};

/// Silence of the other side for this long is a failure.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// How often the WebSocket talks.
const TALKS: usize = 60;

/// Asks at an address, tells when it has begun, and says who has served it.
type Client = fn(&str, &Sender<()>) -> io::Result<char>;

/// Each of them, begun.
#[derive(Debug)]
pub struct Lasting {
    clients: Vec<(&'static str, JoinHandle<io::Result<char>>)>,
}

impl Lasting {
    /// Starts each in `place`, and waits until the node has begun with all of them.
    ///
    /// # Panics
    /// If one of them does not begin.
    pub fn begin(place: &Place) -> Self {
        let vip = place.vip();
        let (tell, told) = mpsc::channel();
        let kinds: [(&'static str, Client); 3] =
            [("a download", download), ("an upload", upload), ("a WebSocket", talk)];
        let clients = kinds.map(|(what, client)| {
            let tell = tell.clone();
            (what, place.run(move || client(vip, &tell)))
        });
        drop(tell);
        wait_for(&told, kinds.len());
        Self { clients: clients.into() }
    }

    /// Waits until each is over; what has gone wrong, unless `letter` has served all of it.
    ///
    /// # Panics
    /// If one of them has.
    pub fn end(self, letter: char) -> Vec<String> {
        let ended = self.clients.into_iter().filter_map(|(what, client)| {
            match client.join().expect("a client does not panic") {
                Ok(by) if by == letter => None,
                Ok(by) => Some(format!("{what} was served by {by}")),
                Err(error) => Some(format!("{what} that had begun before was broken: {error}")),
            }
        });
        ended.collect()
    }
}

fn wait_for(told: &Receiver<()>, count: usize) {
    (0..count).for_each(|_| told.recv_timeout(SILENCE_MAX).expect("every client begins"));
}

fn connect(vip: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((vip, 80))?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    Ok(stream)
}

fn download(vip: &str, begun: &Sender<()>) -> io::Result<char> {
    let mut stream = connect(vip)?;
    write!(stream, "GET {SLOW} HTTP/1.1\r\nHost: lab\r\n\r\n")?;
    read_head(&mut stream)?;
    let mut body = vec![0; PIECE * PIECES];
    stream.read_exact(&mut body[..PIECE])?;
    // Nobody waits any more if another one has failed.
    let _ = begun.send(());
    stream.read_exact(&mut body[PIECE..])?;
    served_by(&body)
}

fn upload(vip: &str, begun: &Sender<()>) -> io::Result<char> {
    let mut stream = connect(vip)?;
    let length = PIECE * PIECES;
    write!(stream, "POST {UPLOAD} HTTP/1.1\r\nHost: lab\r\nContent-Length: {length}\r\n\r\n")?;
    for piece in 0..PIECES {
        stream.write_all(&[b'?'; PIECE])?;
        if piece == 1 {
            let _ = begun.send(());
        }
        pause(PACE);
    }
    read_head(&mut stream)?;
    let mut answer = vec![0; format!("A {length}").len()];
    stream.read_exact(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match answer.split_once(' ') {
        Some((letter, counted)) if counted == length.to_string() => served_by(letter.as_bytes()),
        _ => Err(io::Error::other(format!("of {length} bytes the app says {answer:?}"))),
    }
}

/// Has a word sent back, again and again; then says goodbye, and hears it.
fn talk(vip: &str, begun: &Sender<()>) -> io::Result<char> {
    const MASK: [u8; 4] = [1, 2, 3, 4];
    const CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];
    let mut stream = connect(vip)?;
    write!(
        stream,
        "GET {SOCKET} HTTP/1.1\r\nHost: lab\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )?;
    read_head(&mut stream)?;
    for round in 0..TALKS {
        let word = format!("word {round:>3}");
        let masked = word.bytes().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let mut frame = vec![0x81, 0x80 | word.len() as u8];
        frame.extend_from_slice(&MASK);
        frame.extend(masked);
        stream.write_all(&frame)?;
        let mut heard = vec![0; 2 + word.len()];
        stream.read_exact(&mut heard)?;
        if heard[0] != 0x81 || heard[2..] != *word.as_bytes() {
            return Err(io::Error::other(format!("in place of {word:?} came {heard:x?}")));
        }
        if round == 1 {
            let _ = begun.send(());
        }
        pause(PACE);
    }
    stream.write_all(&CLOSE)?;
    let mut goodbye = [0; 4];
    stream.read_exact(&mut goodbye)?;
    match goodbye {
        // What is sent back says nothing of who sent it: only the node from before can.
        [0x88, 2, 0x03, 0xe8] => Ok('A'),
        other => Err(io::Error::other(format!("in place of a Close came {other:x?}"))),
    }
}

/// Reads to the end of the head, and not a byte more.
fn read_head(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    let first = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    match first.split(' ').nth(1) {
        Some("200" | "101") => Ok(()),
        _ => Err(io::Error::other(format!("the answer was {first:?}"))),
    }
}

/// Whose letter every byte is.
fn served_by(body: &[u8]) -> io::Result<char> {
    let letter = body.first().copied().unwrap_or_default();
    match body.iter().all(|byte| *byte == letter) {
        true => Ok(letter.into()),
        false => Err(io::Error::other("two nodes have answered")),
    }
}
