//! A router that is nothing but a recording: it says, byte for byte, what another product once said,
//! and writes down what it is told.

use std::io::{self, BufRead, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use evergate_sys::family::Family;
use evergate_sys::vrrp_socket::{MESSAGE_BYTES_MAX, VrrpSocket};

use super::VRID;
use super::network::Place;
use crate::Lines;

/// The program that contains it: the lab's own, called with this word.
pub const WORD: &str = "replay";
/// Between two adverts that are said.
const EVERY: Duration = Duration::from_millis(100);
/// How often it is looked whether something was heard.
const HEAR_EVERY: Duration = Duration::from_millis(10);
/// What follows an advert that is said once, as the last one.
const LAST: &str = " last";

/// It at work; it ends with this value.
#[derive(Debug)]
pub struct Replay {
    child: Child,
    stdin: Option<ChildStdin>,
    heard: Lines,
}

impl Replay {
    /// Starts `program` as one at `place`, whose address is `from`; it says nothing yet.
    pub fn start(program: &Path, place: &Place, from: &str) -> Self {
        let program = program.canonicalize().expect("the lab is its own program");
        let mut command = place.real_time(program.to_str().expect("a path in UTF-8"));
        command.args([WORD, from]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("`ip` is there");
        let stdin = child.stdin.take();
        let heard = Lines::of(child.stdout.take().expect("it is piped"));
        Self { child, stdin, heard }
    }

    /// Says this advert from now on, again and again.
    pub fn say(&mut self, hex: &str) {
        self.order(hex);
    }

    /// Says this advert once, and then nothing any more.
    pub fn say_last(&mut self, hex: &str) {
        self.order(&format!("{hex}{LAST}"));
    }

    /// Every advert that it was told so far, in hexadecimal digits.
    pub fn heard(&self) -> &Lines {
        &self.heard
    }

    fn order(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("only dropping takes it");
        writeln!(stdin, "{line}").expect("it reads as long as it lives");
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

/// The process itself: does what standard input says until that ends.
pub fn run(from: Ipv4Addr) -> io::Result<()> {
    let index = std::fs::read_to_string("/sys/class/net/eth0/ifindex")?;
    let index = index.trim().parse().map_err(io::Error::other)?;
    let socket = VrrpSocket::open(index, Family::V4)?;
    socket.listen_to(&[VRID])?;
    let (orders, to_do) = mpsc::channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if orders.send(line).is_err() {
                return;
            }
        }
    });
    let (mut advert, mut waited) = (Vec::new(), Duration::ZERO);
    let say = |advert: &[u8]| socket.send(IpAddr::V4(from), socket.group(), advert);
    loop {
        match to_do.recv_timeout(HEAR_EVERY) {
            Ok(line) => {
                let hex = line.strip_suffix(LAST);
                advert = bytes(hex.unwrap_or(&line))?;
                say(&advert)?;
                if hex.is_some() {
                    advert.clear();
                }
                waited = Duration::ZERO;
            }
            Err(RecvTimeoutError::Timeout) => {
                waited += HEAR_EVERY;
                if waited >= EVERY && !advert.is_empty() {
                    say(&advert)?;
                    waited = Duration::ZERO;
                }
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        while let Some(heard) = socket.receive(&mut buffer)? {
            let hex: String = heard.message.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(io::stdout(), "{hex}")?;
        }
    }
}

fn bytes(hex: &str) -> io::Result<Vec<u8>> {
    let (pairs, _) = hex.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| {
        let text = std::str::from_utf8(pair).map_err(io::Error::other)?;
        u8::from_str_radix(text, 16).map_err(io::Error::other)
    };
    pairs.iter().map(byte).collect()
}
