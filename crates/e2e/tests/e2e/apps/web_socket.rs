//! WebSockets that talk all the time and say how they ended.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use evergate_e2e::Client;

/// A WebSocket says something that often.
const TALK_EVERY: Duration = Duration::from_millis(50);
/// Opcodes (RFC 6455, 5.2).
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

/// Clients that each keep a WebSocket open, and open another when theirs is closed.
#[derive(Debug)]
pub(crate) struct WebSockets {
    over: Arc<AtomicBool>,
    echoes: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<Farewell>>>,
}

/// How one ended.
#[derive(Debug)]
pub(crate) struct Farewell {
    /// Instance and generation, such as `2/1`.
    pub(crate) run: String,
    /// When.
    pub(crate) at: Instant,
    /// Code of the Close (RFC 6455, 7.4).
    pub(crate) code: u16,
}

impl WebSockets {
    /// Opens `count` of them.
    pub(crate) fn open(address: SocketAddr, count: usize) -> Self {
        Self::open_calm(address, count, TALK_EVERY)
    }

    /// Opens `count` that say something that often.
    pub(crate) fn open_calm(address: SocketAddr, count: usize, every: Duration) -> Self {
        let (over, echoes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = || {
            let (over, echoes) = (Arc::clone(&over), Arc::clone(&echoes));
            thread::spawn(move || keep_one_open(address, every, &over, &echoes))
        };
        let clients = (0..count).map(|_| client()).collect();
        Self { over, echoes, clients }
    }

    /// Texts that came back so far.
    pub(crate) fn echoes(&self) -> u64 {
        self.echoes.load(Ordering::Relaxed)
    }

    /// Closes them; says how each ended that ended before.
    ///
    /// # Panics
    /// If one ended without a Close, or a text did not come back.
    pub(crate) fn finish(self) -> Vec<Farewell> {
        self.over.store(true, Ordering::Relaxed);
        let clients = self.clients.into_iter();
        clients.flat_map(|client| client.join().expect("no WebSocket may be cut")).collect()
    }
}

/// How many ended with each code.
pub(crate) fn codes(farewells: &[Farewell]) -> BTreeMap<u16, usize> {
    let mut codes = BTreeMap::new();
    for farewell in farewells {
        *codes.entry(farewell.code).or_default() += 1;
    }
    codes
}

fn keep_one_open(
    address: SocketAddr,
    every: Duration,
    over: &AtomicBool,
    echoes: &AtomicU64,
) -> Vec<Farewell> {
    let mut farewells = Vec::new();
    while !over.load(Ordering::Relaxed) {
        farewells.extend(talk(address, every, over, echoes));
    }
    farewells
}

/// Talks to the end of one; says how it ended, unless we closed it.
fn talk(
    address: SocketAddr,
    every: Duration,
    over: &AtomicBool,
    echoes: &AtomicU64,
) -> Option<Farewell> {
    let mut client = Client::connect(address);
    client.send(
        "GET /talk HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let head = client.read_head();
    assert_eq!(head.status, 101, "{}", head.head);
    let run = head.field("x-run").expect("the app says which run it is").to_owned();
    loop {
        let is_over = over.load(Ordering::Relaxed);
        let kind = if is_over { CLOSE } else { TEXT };
        client.send(masked(kind, b"\x03\xE8, as they say"));
        let (answer, payload) = read_frame(&mut client);
        match answer {
            TEXT => assert_eq!(payload, b"\x03\xE8, as they say"),
            CLOSE if is_over => return None,
            CLOSE => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                // Whoever closed may be gone already.
                let _ = client.try_send(masked(CLOSE, &payload[..2]));
                return Some(Farewell { run, at: Instant::now(), code });
            }
            other => panic!("an opcode that nobody sent: {other:#x}"),
        }
        echoes.fetch_add(1, Ordering::Relaxed);
        thread::park_timeout(every);
    }
}

/// A short frame as a client sends it.
fn masked(kind: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [1, 2, 3, 4];
    let bytes = payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    let start = [kind, 0x80 | payload.len() as u8].into_iter().chain(MASK);
    start.chain(bytes).collect()
}

/// A short frame as a server sends it.
fn read_frame(client: &mut Client) -> (u8, Vec<u8>) {
    let start = client.read_exact_bytes(2);
    assert!(start[1] < 126, "no frame of this test is that long");
    (start[0], client.read_exact_bytes(usize::from(start[1])))
}
