//! Clients that count what goes wrong.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use crate::keeper::PATIENCE;

thread_local! {
    /// Answers to this thread.
    static ANSWERS: Cell<u64> = const { Cell::new(0) };
}

/// How many requests of this thread have been answered.
pub(crate) fn answers() -> u64 {
    ANSWERS.get()
}

/// A connection.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: String,
    /// Whether the connection ends with it.
    pub(crate) is_last: bool,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    pub(crate) fn send(&mut self, text: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(text.as_bytes())
    }

    pub(crate) fn get(&mut self) -> io::Result<Answer> {
        self.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
        self.answer()
    }

    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        let (mut head, mut line) = (Vec::new(), String::new());
        while line != "\r\n" {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::Error::other(format!("the end, after {head:?}")));
            }
            head.push(line.trim_end().to_ascii_lowercase());
        }
        if !head[0].starts_with("http/1.1 200") {
            return Err(io::Error::other(format!("{head:?}")));
        }
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        self.stream.read_exact(&mut body)?;
        ANSWERS.set(ANSWERS.get() + 1);
        let is_last = head.contains(&"connection: close".to_owned());
        Ok(Answer { body: String::from_utf8(body).unwrap(), is_last })
    }
}

/// The answer to one request on a connection of its own.
pub(crate) fn ask(address: SocketAddr) -> String {
    Connection::open(address).unwrap().get().unwrap().body
}

/// Clients that ask on and on, none of them forgiving.
pub(crate) struct Clients {
    is_over: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// One that connects for every request, and one that stays as long as it may.
    pub(crate) fn start(address: SocketAddr) -> Self {
        let (is_over, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let client = |stays: bool| {
            let (is_over, answers) = (Arc::clone(&is_over), Arc::clone(&answers));
            thread::spawn(move || {
                let mut open = None;
                while !is_over.load(Relaxed) {
                    let connection = match open.take() {
                        Some(connection) => connection,
                        None => Connection::open(address).expect("connects"),
                    };
                    let mut connection: Connection = connection;
                    let answer = connection.get().expect("is answered");
                    answers.fetch_add(1, Relaxed);
                    if stays && !answer.is_last {
                        open = Some(connection);
                    }
                }
            })
        };
        let threads = vec![client(false), client(true), client(true)];
        Self { is_over, answers, threads }
    }

    /// Waits until each has asked a few times more, and none has failed.
    pub(crate) fn go_on(&self) {
        let enough = self.answers.load(Relaxed) + 200;
        while self.answers.load(Relaxed) < enough {
            assert!(self.threads.iter().all(|one| !one.is_finished()), "a request failed");
            thread::yield_now();
        }
    }

    /// Ends them; says how many requests were answered.
    pub(crate) fn stop(self) -> u64 {
        self.is_over.store(true, Relaxed);
        self.threads.into_iter().for_each(|one| one.join().expect("no request failed"));
        self.answers.load(Relaxed)
    }
}
