//! What a worker knows, on its way to the worker that comes after it.
//!
//! It is a blob of [`evergate_core::state`]: one section for each kind of thing, each with a version
//! of its own. Bodies are CBOR with numbered fields, so a release may add fields without a new
//! version; a section gets one when an older reader would misunderstand it. A reader takes the
//! version that it writes and the one before, and passes over kinds that it does not know. Whatever
//! is damaged, newer, or more than could have been written is refused as a whole: the worker then
//! starts as if nothing had been known, and says so in an event.
//!
//! Moments are those of the monotonic clock. They are good in every process, for a blob lives in
//! the memory of the machine and so never outlives its boot.
//!
//! Kinds that are yet to come (buckets of rate limits, breakers, tables of sticky clients) take the
//! numbers from [`KIND_NEXT`] on. Keys of TLS session tickets are no part of this: they are secrets,
//! and kept under a name of their own.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use evergate_core::health;
use evergate_core::state::{self as blob, Section, Writer};
use evergate_core::time::Instant;
use minicbor::decode::Decoder;
use minicbor::{Decode, Encode};

use crate::link::Run;
use crate::snapshot::Event;

mod counters;
mod shown;
#[cfg(test)]
mod tests;

pub use counters::*;

/// What a section is about, and the versions of it that are understood; the last one is written.
#[derive(Clone, Debug)]
struct Kind {
    number: u16,
    versions: RangeInclusive<u16>,
    /// For people.
    name: &'static str,
}

const SERVERS: Kind = Kind { number: 1, versions: 1..=1, name: "servers" };
const WISHES: Kind = Kind { number: 2, versions: 1..=1, name: "wishes" };
const TOTALS: Kind = Kind { number: 3, versions: 1..=1, name: "totals" };
const CONNECTIONS: Kind = Kind { number: 4, versions: 1..=1, name: "connections" };
const HISTORY: Kind = Kind { number: 5, versions: 1..=1, name: "history" };
const COUNTED: Kind = Kind { number: 6, versions: 1..=1, name: "counted" };
const LINES: Kind = Kind { number: 7, versions: 1..=1, name: "lines" };
/// The first number that no kind of section has had.
pub const KIND_NEXT: u16 = 8;

/// Most servers that are carried.
pub const SERVERS_MAX: usize = 8 * 1024;
/// Most wishes that are carried.
pub const WISHES_MAX: usize = 8 * 1024;
/// Most listeners whose connections are carried.
pub const LISTENERS_MAX: usize = 1024;
/// Most addresses of clients that are carried for one listener: those with most connections.
pub const ADDRESSES_MAX: usize = 1024;
/// Most events that are carried: the latest.
pub const EVENTS_MAX: usize = 512;
/// Most bytes of an event's reason that are carried.
pub const REASON_BYTES_MAX: usize = 1024;
/// Most lines that are carried.
pub const LINES_MAX: usize = 1024;
/// Most bytes of a line that are carried.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// Most workers whose reports are carried.
pub const REPORTS_MAX: usize = 8;

/// What a worker knows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct State {
    /// What is known of each server.
    pub servers: Vec<Server>,
    /// What the operator wants of servers, also of those that are not there.
    pub wishes: Vec<Wish>,
    /// What was counted.
    pub totals: Totals,
    /// What is open to the worker that says so.
    pub open: Open,
    /// What happened.
    pub history: History,
    /// Lines that runs of apps have begun to print.
    pub lines: Vec<Line>,
}

/// What is known of a server.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Server {
    /// Name of its pool.
    #[n(0)]
    pub pool: String,
    /// Name in the pool; `APP/N` for an instance.
    #[n(1)]
    pub name: String,
    /// Which run of an app it is, if it is one.
    #[n(2)]
    pub run: Option<Run>,
    /// `host:port` as configured, or `unix:PATH`.
    #[n(3)]
    pub authority: String,
    /// What checks, failures and the operator have said.
    #[n(4)]
    pub health: health::Carried,
    /// Since when its state is what it is.
    #[n(5)]
    pub since: Instant,
    /// When each of its checks is due next.
    #[n(6)]
    pub checks_at: Vec<Instant>,
    /// Attempts that failed since the last that did not.
    #[n(7)]
    pub failures_in_a_row: u32,
    /// Peak EWMA of the time to the response head in nanoseconds, and when it was seen last;
    /// nothing before the first.
    #[n(8)]
    pub latency: Option<(u64, Instant)>,
}

/// What the operator wants of a server.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Wish {
    /// Name of its pool.
    #[n(0)]
    pub pool: String,
    /// Name in the pool.
    #[n(1)]
    pub server: String,
    /// No new requests.
    #[n(2)]
    pub drain: bool,
    /// Another weight than the configuration's.
    #[n(3)]
    pub weight: Option<u16>,
}

/// What all workers have counted.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct Totals {
    /// When the first worker that counted started, in seconds of Unix time.
    #[n(0)]
    pub since: u64,
    /// Everything except what is in the reports.
    #[n(1)]
    pub counters: Counters,
    /// What each worker that drains has counted since it let go, as it said last, by generation.
    #[n(2)]
    pub reports: BTreeMap<u32, Counters>,
}

/// What is open to one worker.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct Open {
    /// Which worker.
    #[n(0)]
    pub generation: u32,
    /// For each listener.
    #[n(1)]
    pub listeners: Vec<Connections>,
}

/// Connections that are open to a listener.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Connections {
    /// Name of the listener.
    #[n(0)]
    pub listener: String,
    /// How many.
    #[n(1)]
    pub open: u64,
    /// Of these, those of the clients that have most.
    #[n(2)]
    pub by_address: Vec<(IpAddr, u32)>,
}

/// What happened.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct History {
    /// The number of the last event.
    #[n(0)]
    pub sequence: u64,
    /// The latest events, oldest first.
    #[n(1)]
    pub latest: Vec<Event>,
}

/// The beginning of a line that has left the pipe of its run, and has no end yet.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Line {
    /// Whose.
    #[n(0)]
    pub run: Run,
    /// What came so far and was not passed on.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub text: Vec<u8>,
    /// Whether something before it was passed on as a line of its own.
    #[n(2)]
    pub is_amid: bool,
}

/// What a worker that drains tells the primary one, with [`crate::link::ToKeeper::Shared`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shared {
    /// What is open to it.
    pub open: Open,
    /// What it has counted since it let go.
    pub counted: Counters,
}

/// Why what is carried is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The blob as such is no good.
    Blob(blob::Refusal),
    /// A section that is not known is required.
    Required {
        /// Its number.
        kind: u16,
    },
    /// A section has a version that is not understood.
    Version {
        /// What it is about.
        kind: &'static str,
        /// Its version.
        version: u16,
        /// The newest one that is understood.
        newest: u16,
    },
    /// A section is there twice, or its body is not what it should be.
    Body {
        /// What it is about.
        kind: &'static str,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(refusal) => refusal.fmt(f),
            Self::Required { kind } => {
                write!(f, "the state has a section that must be understood and is not: {kind}")
            }
            Self::Version { kind, version, newest } => write!(
                f,
                "the section `{kind}` of the state has version {version}; this reader's is {newest}"
            ),
            Self::Body { kind } => write!(f, "the section `{kind}` of the state is malformed"),
        }
    }
}

impl std::error::Error for Refusal {}

impl State {
    /// The blob; nothing if it would be longer than [`blob::BYTES_MAX`]. What is more than a
    /// reader takes is left out.
    pub fn encode(mut self) -> Option<Vec<u8>> {
        self.servers.truncate(SERVERS_MAX);
        self.wishes.truncate(WISHES_MAX);
        self.open = self.open.bounded();
        self.history.bound();
        self.lines.retain(|line| line.text.len() <= LINE_BYTES_MAX);
        self.lines.truncate(LINES_MAX);
        let mut writer = Writer::new();
        write(&mut writer, &SERVERS, &self.servers);
        write(&mut writer, &WISHES, &self.wishes);
        write(&mut writer, &TOTALS, &self.totals);
        write(&mut writer, &CONNECTIONS, &self.open);
        write(&mut writer, &HISTORY, &self.history);
        write(&mut writer, &LINES, &self.lines);
        writer.finish()
    }

    /// What the blob says; what it says nothing about is as by default.
    ///
    /// # Errors
    /// If any part of it cannot be trusted.
    pub fn decode(blob: &[u8]) -> Result<Self, Refusal> {
        let known = [SERVERS, WISHES, TOTALS, CONNECTIONS, HISTORY, LINES];
        let sections = sections(blob, &known)?;
        let state = Self {
            servers: body(&sections, &SERVERS)?,
            wishes: body(&sections, &WISHES)?,
            totals: body(&sections, &TOTALS)?,
            open: body(&sections, &CONNECTIONS)?,
            history: body(&sections, &HISTORY)?,
            lines: body(&sections, &LINES)?,
        };
        let within = [
            (state.servers.len() <= SERVERS_MAX, SERVERS),
            (state.wishes.len() <= WISHES_MAX, WISHES),
            (state.totals.reports.len() <= REPORTS_MAX, TOTALS),
            (state.open.is_bounded(), CONNECTIONS),
            (state.history.is_bounded(), HISTORY),
            (state.lines.len() <= LINES_MAX, LINES),
            (state.lines.iter().all(|line| line.text.len() <= LINE_BYTES_MAX), LINES),
        ];
        match within.into_iter().find(|(is_within, _)| !is_within) {
            Some((_, kind)) => Err(Refusal::Body { kind: kind.name }),
            None => Ok(state),
        }
    }
}

impl Shared {
    /// The blob; nothing if it would be longer than [`blob::BYTES_MAX`].
    pub fn encode(mut self) -> Option<Vec<u8>> {
        self.open = self.open.bounded();
        let mut writer = Writer::new();
        write(&mut writer, &CONNECTIONS, &self.open);
        write(&mut writer, &COUNTED, &self.counted);
        writer.finish()
    }

    /// What the blob says.
    ///
    /// # Errors
    /// If any part of it cannot be trusted.
    pub fn decode(blob: &[u8]) -> Result<Self, Refusal> {
        let sections = sections(blob, &[CONNECTIONS, COUNTED])?;
        let shared =
            Self { open: body(&sections, &CONNECTIONS)?, counted: body(&sections, &COUNTED)? };
        match shared.open.is_bounded() {
            true => Ok(shared),
            false => Err(Refusal::Body { kind: CONNECTIONS.name }),
        }
    }
}

impl Open {
    /// Connections to all listeners.
    pub fn total(&self) -> u64 {
        self.listeners.iter().fold(0, |sum, one| sum.saturating_add(one.open))
    }

    /// No more than is carried: of each listener the clients that have most.
    pub fn bounded(mut self) -> Self {
        self.listeners.truncate(LISTENERS_MAX);
        for listener in &mut self.listeners {
            listener.by_address.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
            listener.by_address.truncate(ADDRESSES_MAX);
        }
        self
    }

    fn is_bounded(&self) -> bool {
        self.listeners.len() <= LISTENERS_MAX
            && self.listeners.iter().all(|one| one.by_address.len() <= ADDRESSES_MAX)
    }
}

impl History {
    fn bound(&mut self) {
        self.latest.drain(..self.latest.len().saturating_sub(EVENTS_MAX));
        for event in &mut self.latest {
            event.reason.truncate(event.reason.floor_char_boundary(REASON_BYTES_MAX));
        }
    }

    fn is_bounded(&self) -> bool {
        self.latest.len() <= EVENTS_MAX
    }
}

fn write<T: Encode<()>>(writer: &mut Writer, kind: &Kind, body: &T) {
    let body = minicbor::to_vec(body).expect("a vector takes every byte");
    let (kind, version) = (kind.number, *kind.versions.end());
    // Nothing here is worth refusing the rest for.
    writer.section(Section { kind, version, is_required: false, body: &body });
}

/// The sections of `blob` that are `known`, each once and of a version that is understood.
fn sections<'a>(blob: &'a [u8], known: &[Kind]) -> Result<Vec<Section<'a>>, Refusal> {
    let mut sections: Vec<Section<'a>> = Vec::new();
    for section in blob::read(blob).map_err(Refusal::Blob)? {
        let Some(kind) = known.iter().find(|kind| kind.number == section.kind) else {
            if section.is_required {
                return Err(Refusal::Required { kind: section.kind });
            }
            continue;
        };
        if !kind.versions.contains(&section.version) {
            let (version, newest) = (section.version, *kind.versions.end());
            return Err(Refusal::Version { kind: kind.name, version, newest });
        }
        if sections.iter().any(|other| other.kind == section.kind) {
            return Err(Refusal::Body { kind: kind.name });
        }
        sections.push(section);
    }
    Ok(sections)
}

/// What the section of that kind says, or the default if there is none.
fn body<'a, T: Decode<'a, ()> + Default>(
    sections: &[Section<'a>],
    kind: &Kind,
) -> Result<T, Refusal> {
    let Some(section) = sections.iter().find(|section| section.kind == kind.number) else {
        return Ok(T::default());
    };
    let mut decoder = Decoder::new(section.body);
    match decoder.decode() {
        Ok(body) if decoder.position() == section.body.len() => Ok(body),
        Ok(_) | Err(_) => Err(Refusal::Body { kind: kind.name }),
    }
}
