//! How much work a client may make us do for nothing.
//!
//! Frames that cost more to handle than to send are counted in windows of [`WINDOW`]. What a client
//! may send of each kind is a fixed part plus a part that grows with the use it makes of the
//! connection, in this window and the one before: a download of a gigabyte needs thousands of
//! WINDOW_UPDATEs, ten thousand requests a second bring some cancelled ones. An attack makes no such
//! use, so it runs into the fixed part.

use alloc::collections::VecDeque;
use core::time::Duration;

use super::frames::{self, Frame, Part, Scanner};
use crate::time::Instant;

/// Frames are counted over this time.
pub const WINDOW: Duration = Duration::from_secs(10);

const RESETS_MAX: u32 = 100;
const PINGS_MAX: u32 = 100;
const SETTINGS_MAX: u32 = 50;
const EMPTY_DATA_MAX: u32 = 100;
const WINDOW_UPDATES_MAX: u32 = 100;
const OTHERS_MAX: u32 = 200;
const GLITCHES_MAX: u32 = 100;
/// CONTINUATIONs of one header block: 80 KiB, and no header list may have half of that.
const CONTINUATIONS_MAX: u32 = 5;

/// Closed streams that are judged together.
const STREAMS_JUDGED: u32 = 500;
/// A stream that is reset sooner than this was opened for nothing.
const PREMATURE: Duration = Duration::from_secs(1);
/// Streams remembered while they are open; we grant fewer.
const STREAMS_KEPT_MAX: usize = 256;

/// What a client does too much of.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Flood {
    /// RST_STREAM: more than 100 and half of the responses that it let us finish.
    Reset,
    /// Of 500 closed streams half were reset within a second of their opening (CVE-2023-44487), by
    /// the client or by us for its errors (CVE-2025-8671).
    RapidReset,
    /// PING (CVE-2019-9512): more than 100 and one for each DATA frame that it was sent.
    Ping,
    /// SETTINGS (CVE-2019-9515): more than 50.
    Settings,
    /// DATA without data (CVE-2019-9518): more than 100.
    EmptyData,
    /// WINDOW_UPDATE: more than 100, two for each DATA frame that it was sent and two for each
    /// stream.
    WindowUpdate,
    /// PRIORITY and frames of unknown types (CVE-2019-9513): more than 200 and four for each stream.
    Priority,
    /// More than 5 CONTINUATIONs in a header block (CVE-2024-27316).
    Continuation,
    /// More than 100 streams that we had to reset for an error of the client.
    Glitch,
}

/// What was counted in one window.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    resets: u32,
    pings: u32,
    settings: u32,
    empty_data: u32,
    window_updates: u32,
    others: u32,
    glitches: u32,
    use_made: Use,
}

/// The use a client makes of its connection.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    streams_opened: u32,
    responses_ended: u32,
    data_sent: u32,
}

/// Reads along on a connection with a client. Where the bytes are cut makes no difference.
///
/// After the first [`Flood`] the connection must be ended; what is said later means nothing.
#[derive(Clone, Debug)]
pub struct Guard {
    incoming: Scanner,
    outgoing: Scanner,
    window_at: Instant,
    counts: Counts,
    use_before: Use,
    continuations: u32,
    /// A header block is open since then, and whether its last frame has begun.
    block: Option<(Instant, bool)>,
    open: VecDeque<(u32, Instant)>,
    stream_last: u32,
    closed: u32,
    premature: u32,
}

impl Flood {
    /// A short stable token for metrics and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reset => "rst_stream",
            Self::RapidReset => "rapid_reset",
            Self::Ping => "ping",
            Self::Settings => "settings",
            Self::EmptyData => "empty_data",
            Self::WindowUpdate => "window_update",
            Self::Priority => "priority",
            Self::Continuation => "continuation",
            Self::Glitch => "glitch",
        }
    }
}

impl Guard {
    /// A connection that begins `now`, with the client's preface.
    pub fn new(now: Instant) -> Self {
        Self {
            incoming: Scanner::new(super::PREFACE.len()),
            outgoing: Scanner::new(0),
            window_at: now,
            counts: Counts::default(),
            use_before: Use::default(),
            continuations: 0,
            block: None,
            open: VecDeque::new(),
            stream_last: 0,
            closed: 0,
            premature: 0,
        }
    }

    /// Takes note of bytes that came from the client.
    ///
    /// # Errors
    /// Says what the client does too much of.
    pub fn hear(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Flood> {
        self.turn(now);
        let mut incoming = core::mem::replace(&mut self.incoming, Scanner::new(0));
        let judged = incoming.scan(bytes, |part| match part {
            Part::Begun(frame) => self.hear_frame(now, frame),
            Part::Ended => {
                self.block = self.block.filter(|(_, is_last)| !is_last);
                Ok(())
            }
        });
        self.incoming = incoming;
        judged
    }

    /// Takes note of bytes that go to the client.
    ///
    /// # Errors
    /// Says what the client provokes too much of.
    pub fn say(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Flood> {
        self.turn(now);
        let mut outgoing = core::mem::replace(&mut self.outgoing, Scanner::new(0));
        let judged = outgoing.scan(bytes, |part| match part {
            Part::Begun(frame) => self.say_frame(now, frame),
            Part::Ended => Ok(()),
        });
        self.outgoing = outgoing;
        judged
    }

    /// Since when a header block is incomplete; none if there is none.
    pub fn block_since(&self) -> Option<Instant> {
        self.block.map(|(since, _)| since)
    }

    /// Begins a new window if the last one is over.
    fn turn(&mut self, now: Instant) {
        if now - self.window_at >= WINDOW {
            self.use_before = self.counts.use_made;
            self.counts = Counts::default();
            self.window_at = now;
        }
    }

    fn hear_frame(&mut self, now: Instant, frame: Frame) -> Result<(), Flood> {
        let used = self.counts.use_made.plus(self.use_before);
        let counts = &mut self.counts;
        match frame.kind {
            frames::DATA if frame.is_idle_data() => {
                count(&mut counts.empty_data, EMPTY_DATA_MAX, Flood::EmptyData)
            }
            frames::DATA | frames::GOAWAY | frames::PUSH_PROMISE => Ok(()),
            frames::HEADERS => {
                self.open(now, frame);
                Ok(())
            }
            frames::CONTINUATION => {
                self.block = self.block.map(|(since, _)| (since, frame.ends_headers()));
                count(&mut self.continuations, CONTINUATIONS_MAX, Flood::Continuation)
            }
            frames::RST_STREAM => {
                let most = RESETS_MAX + used.responses_ended / 2;
                count(&mut counts.resets, most, Flood::Reset)?;
                self.close(now, frame.stream, true)
            }
            frames::PING => count(&mut counts.pings, PINGS_MAX + used.data_sent, Flood::Ping),
            frames::SETTINGS => count(&mut counts.settings, SETTINGS_MAX, Flood::Settings),
            frames::WINDOW_UPDATE => {
                let most = WINDOW_UPDATES_MAX + 2 * used.data_sent + 2 * used.streams_opened;
                count(&mut counts.window_updates, most, Flood::WindowUpdate)
            }
            // PRIORITY, PRIORITY_UPDATE (RFC 9218) and whatever clients make up (5.5).
            _ => {
                let most = OTHERS_MAX + 4 * used.streams_opened;
                count(&mut counts.others, most, Flood::Priority)
            }
        }
    }

    fn say_frame(&mut self, now: Instant, frame: Frame) -> Result<(), Flood> {
        match frame.kind {
            frames::RST_STREAM => {
                let is_glitch = is_fault_of_client(frame.error_code());
                if is_glitch {
                    count(&mut self.counts.glitches, GLITCHES_MAX, Flood::Glitch)?;
                }
                return self.close(now, frame.stream, is_glitch);
            }
            frames::DATA => self.counts.use_made.data_sent += 1,
            _ => {}
        }
        if frame.ends_stream() {
            self.counts.use_made.responses_ended += 1;
            return self.close(now, frame.stream, false);
        }
        Ok(())
    }

    /// Takes note of a header block, and of the stream unless it is the trailers of one.
    fn open(&mut self, now: Instant, frame: Frame) {
        self.block = Some((now, frame.ends_headers()));
        self.continuations = 0;
        if frame.stream > self.stream_last {
            self.stream_last = frame.stream;
            self.counts.use_made.streams_opened += 1;
            if self.open.len() == STREAMS_KEPT_MAX {
                self.open.pop_front();
            }
            self.open.push_back((frame.stream, now));
        }
    }

    fn close(&mut self, now: Instant, stream: u32, is_reset: bool) -> Result<(), Flood> {
        let Some(at) = self.open.iter().position(|(open, _)| *open == stream) else {
            return Ok(());
        };
        let Some((_, opened_at)) = self.open.remove(at) else { return Ok(()) };
        self.closed += 1;
        if is_reset && now - opened_at < PREMATURE {
            self.premature += 1;
        }
        if self.closed < STREAMS_JUDGED {
            return Ok(());
        }
        let is_flood = self.premature >= STREAMS_JUDGED / 2;
        (self.closed, self.premature) = (0, 0);
        if is_flood { Err(Flood::RapidReset) } else { Ok(()) }
    }
}

impl Use {
    fn plus(self, other: Self) -> Self {
        Self {
            streams_opened: self.streams_opened + other.streams_opened,
            responses_ended: self.responses_ended + other.responses_ended,
            data_sent: self.data_sent + other.data_sent,
        }
    }
}

fn count(counter: &mut u32, most: u32, flood: Flood) -> Result<(), Flood> {
    *counter += 1;
    if *counter > most { Err(flood) } else { Ok(()) }
}

/// Whether a stream was reset for what the client did (7): the other codes say that we are done,
/// busy or broken.
const fn is_fault_of_client(code: u32) -> bool {
    const PROTOCOL_ERROR: u32 = 0x1;
    const FLOW_CONTROL_ERROR: u32 = 0x3;
    const STREAM_CLOSED: u32 = 0x5;
    const FRAME_SIZE_ERROR: u32 = 0x6;
    matches!(code, PROTOCOL_ERROR | FLOW_CONTROL_ERROR | STREAM_CLOSED | FRAME_SIZE_ERROR)
}
