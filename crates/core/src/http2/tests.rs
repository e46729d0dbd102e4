//! Clients in simulated time: those that flood and those that only work hard.

use std::string::String;
use std::vec::Vec;

use core::time::Duration;

use super::frames::{self, Part, Scanner};
use super::{Flood, Guard, PREFACE, WINDOW};
use crate::rng::Rng;
use crate::time::Instant;

const T0: Instant = Instant::from_nanos(1 << 40);
const MS: Duration = Duration::from_millis(1);
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x2;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn request(stream: u32) -> Vec<u8> {
    frame(frames::HEADERS, END_STREAM | END_HEADERS, stream, b"\x82\x84")
}

fn response(stream: u32) -> Vec<u8> {
    let mut bytes = frame(frames::HEADERS, END_HEADERS, stream, b"\x88");
    bytes.extend(frame(frames::DATA, END_STREAM, stream, &[7; 100]));
    bytes
}

/// A connection in simulated time.
struct Line {
    guard: Guard,
    now: Instant,
    stream: u32,
}

impl Line {
    fn new() -> Self {
        let mut guard = Guard::new(T0);
        guard.hear(T0, PREFACE).expect("a preface is no flood");
        Self { guard, now: T0, stream: 1 }
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), Flood> {
        self.guard.hear(self.now, bytes)
    }

    fn say(&mut self, bytes: &[u8]) -> Result<(), Flood> {
        self.guard.say(self.now, bytes)
    }

    fn open(&mut self) -> Result<u32, Flood> {
        let stream = self.stream;
        self.stream += 2;
        self.hear(&request(stream)).map(|()| stream)
    }

    fn serve(&mut self) -> Result<(), Flood> {
        let stream = self.open()?;
        self.say(&response(stream))
    }

    /// How many of `bytes` pass, and what they are called then.
    fn flood(&mut self, bytes: &[u8]) -> (u32, Flood) {
        for passed in 0..10_000 {
            if let Err(flood) = self.hear(bytes) {
                return (passed, flood);
            }
        }
        panic!("ten thousand frames are no flood?");
    }
}

#[test]
fn each_useless_frame_has_its_bound() {
    let table = [
        (frame(frames::PING, 0, 0, &[0; 8]), 100, Flood::Ping),
        (frame(frames::SETTINGS, 0, 0, &[]), 50, Flood::Settings),
        (frame(frames::DATA, 0, 1, &[]), 100, Flood::EmptyData),
        (frame(frames::DATA, PADDED, 1, &[3, 0, 0, 0]), 100, Flood::EmptyData),
        (frame(frames::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), 100, Flood::WindowUpdate),
        (frame(frames::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), 100, Flood::WindowUpdate),
        (frame(PRIORITY, 0, 1, &[0; 5]), 200, Flood::Priority),
        (frame(0x10, 0, 0, b"u=1"), 200, Flood::Priority),
        (frame(0xbe, 0, 0, &[]), 200, Flood::Priority),
        (frame(frames::RST_STREAM, 0, 1, &CANCEL), 100, Flood::Reset),
    ];
    for (bytes, passed, flood) in table {
        assert_eq!(Line::new().flood(&bytes), (passed, flood), "{bytes:?}");
    }
}

#[test]
fn a_trickle_is_no_flood() {
    let mut line = Line::new();
    for _ in 0..1000 {
        for _ in 0..50 {
            line.hear(&frame(frames::PING, 0, 0, &[0; 8])).expect("within the bound");
            line.hear(&frame(frames::RST_STREAM, 0, 1, &CANCEL)).expect("within the bound");
        }
        line.now = line.now + WINDOW;
    }
}

#[test]
fn data_with_data_or_an_end_is_never_empty() {
    let mut line = Line::new();
    for _ in 0..1000 {
        line.hear(&frame(frames::DATA, 0, 1, &[1])).expect("it has data");
        line.hear(&frame(frames::DATA, PADDED, 1, &[2, 1, 0, 0])).expect("one byte and padding");
        line.hear(&frame(frames::DATA, END_STREAM, 1, &[])).expect("it ends the stream");
    }
}

#[test]
fn continuations_are_counted_by_header_block() {
    let open = frame(frames::HEADERS, END_STREAM, 1, b"\x82");
    let more = frame(frames::CONTINUATION, 0, 1, b"\x84");
    let last = frame(frames::CONTINUATION, END_HEADERS, 1, b"\x84");
    let mut line = Line::new();
    for _ in 0..100 {
        line.hear(&open).expect("a block");
        for _ in 0..4 {
            line.hear(&more).expect("few enough");
        }
        line.hear(&last).expect("few enough");
    }
    line.hear(&open).expect("a block");
    assert_eq!(line.flood(&more), (5, Flood::Continuation));
}

#[test]
fn a_block_is_open_from_its_first_frame_to_the_last_byte() {
    let mut line = Line::new();
    assert_eq!(line.guard.block_since(), None);
    line.hear(&frame(frames::HEADERS, END_STREAM, 1, b"\x82")).expect("a block");
    line.now = T0 + 5 * MS;
    let last = frame(frames::CONTINUATION, END_HEADERS, 1, b"\x84\x86");
    line.hear(&last[..last.len() - 1]).expect("most of the rest");
    assert_eq!(line.guard.block_since(), Some(T0));
    line.hear(&last[last.len() - 1..]).expect("the rest");
    assert_eq!(line.guard.block_since(), None);
    let whole = request(3);
    line.hear(&whole[..9]).expect("a header");
    assert_eq!(line.guard.block_since(), Some(T0 + 5 * MS));
    line.hear(&whole[9..]).expect("its payload");
    assert_eq!(line.guard.block_since(), None);
}

#[test]
fn rapid_resets_are_a_flood_and_slow_ones_are_not() {
    let run = |life: Duration| {
        let mut line = Line::new();
        for round in 0..5_000 {
            let served = line.serve().and_then(|()| line.open());
            let stream = served.expect("opening is no flood");
            line.now = line.now + life;
            let reset = frame(frames::RST_STREAM, 0, stream, &CANCEL);
            if let Err(flood) = line.hear(&reset) {
                return Some((round, flood));
            }
            // Slow enough for the bound on resets alone.
            line.now = line.now + 100 * MS;
        }
        None
    };
    assert_eq!(run(10 * MS), Some((249, Flood::RapidReset)));
    assert_eq!(run(Duration::from_secs(1)), None);
}

#[test]
fn errors_that_make_us_reset_are_counted_too() {
    let mut line = Line::new();
    let mut glitches = 0;
    let flood = loop {
        let stream = line.open().expect("opening is no flood");
        if let Err(flood) = line.say(&frame(frames::RST_STREAM, 0, stream, &PROTOCOL_ERROR)) {
            break flood;
        }
        glitches += 1;
    };
    assert_eq!((glitches, flood), (100, Flood::Glitch));

    let mut line = Line::new();
    for _ in 0..10_000 {
        let stream = line.open().expect("opening is no flood");
        line.say(&frame(frames::RST_STREAM, 0, stream, &CANCEL)).expect("our own doing");
    }
}

#[test]
fn a_slow_flood_of_provoked_resets_is_a_rapid_reset() {
    let mut line = Line::new();
    let flood = (0..10_000).find_map(|_| {
        let stream = line.open().expect("opening is no flood");
        line.now = line.now + 200 * MS;
        line.say(&frame(frames::RST_STREAM, 0, stream, &PROTOCOL_ERROR)).err()
    });
    assert_eq!(flood, Some(Flood::RapidReset));
}

#[test]
fn clients_that_work_hard_never_trip() {
    for seed in 0..8 {
        let mut rng = Rng::seeded(seed);
        let mut line = Line::new();
        let busy = |line: &mut Line, rng: &mut Rng| -> Result<(), Flood> {
            let stream = line.open()?;
            line.hear(&frame(0x10, 0, 0, b"u=1"))?;
            line.say(&frame(frames::HEADERS, END_HEADERS, stream, b"\x88"))?;
            for _ in 0..rng.below(100) {
                line.say(&frame(frames::DATA, 0, stream, &[0; 64]))?;
                line.hear(&frame(frames::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 64]))?;
                line.hear(&frame(frames::WINDOW_UPDATE, 0, stream, &[0, 0, 0, 64]))?;
                line.hear(&frame(frames::PING, 0, 0, &[0; 8]))?;
            }
            line.now = line.now + Duration::from_micros(rng.below(20_000).into());
            // One in eight is cancelled, as when a page is left.
            match rng.below(8) {
                0 => line.hear(&frame(frames::RST_STREAM, 0, stream, &CANCEL)),
                _ => line.say(&frame(frames::DATA, END_STREAM, stream, &[])),
            }
        };
        for _ in 0..300 {
            if let Err(flood) = busy(&mut line, &mut rng) {
                panic!("seed {seed}: {flood:?}");
            }
        }
    }
}

#[test]
fn where_bytes_are_cut_makes_no_difference() {
    for seed in 0..64 {
        let mut rng = Rng::seeded(seed);
        let mut bytes = PREFACE.to_vec();
        for _ in 0..400 {
            let kind = rng.below(12) as u8;
            let flags = rng.below(16) as u8;
            let payload: Vec<u8> = (0..rng.below(30)).map(|_| rng.below(4) as u8).collect();
            bytes.extend(frame(kind, flags, rng.below(9), &payload));
        }
        let whole = parts(&bytes, |_| usize::MAX);
        let pieces = parts(&bytes, |rng| 1 + rng.below(40) as usize);
        let single = parts(&bytes, |_| 1);
        assert_eq!(whole, pieces, "seed {seed}");
        assert_eq!(whole, single, "seed {seed}");

        let judge = |step: usize| {
            let mut guard = Guard::new(T0);
            let verdict = bytes.chunks(step).find_map(|piece| guard.hear(T0, piece).err());
            let state = verdict.is_none().then(|| std::format!("{guard:?}"));
            (verdict, state.unwrap_or_else(String::new))
        };
        assert_eq!(judge(bytes.len()), judge(1), "seed {seed}");
        assert_eq!(judge(bytes.len()), judge(7), "seed {seed}");
    }
}

fn parts(bytes: &[u8], step: impl Fn(&mut Rng) -> usize) -> Vec<Part> {
    let mut rng = Rng::seeded(7);
    let mut scanner = Scanner::new(PREFACE.len());
    let mut parts = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(step(&mut rng).min(rest.len()));
        let scanned: Result<(), ()> = scanner.scan(now, |part| {
            parts.push(part);
            Ok(())
        });
        scanned.expect("nothing refuses");
        rest = later;
    }
    parts
}
