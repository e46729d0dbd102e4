//! What makes messages between nodes true and new: each datagram says which start of which node it
//! is from, to which start of the other it is said, and its number, all under an HMAC.
//!
//! Clocks of nodes may differ, and a node that has just started remembers nothing, so neither a time
//! nor a number alone can prove that a datagram was not recorded long ago. Naming the receiver's
//! start does: it was drawn by chance and was unknown before. Two nodes learn each other's by
//! knocking: a first datagram is believed in nothing but that the sender may have started anew, and
//! is answered so that the sender can say it again to the right start. A peer that is believed
//! already goes on being believed meanwhile, so knocks that were recorded disturb nobody.
//!
//! Without a secret there is no HMAC. Then a start, which is a random number of 64 bits, is all that
//! whoever sees none of the traffic would have to guess.
//!
//! A datagram is: 3 letters, a kind, four numbers of 8 bytes (own start; the receiver's that is
//! believed, that was heard last, each 0 if there is none; number), a [`Message`] in CBOR or
//! nothing, and the first 16 bytes of an HMAC-SHA-256 over all that (RFC 2104 section 5 allows to
//! cut to half) if a secret is configured.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use minicbor::{Decode, Encode};

use super::{Message, PEERS_MAX};
use crate::vrrp::packet::are_equal;
use crate::vrrp::packet::seal::{MAC_BYTES, Mac};

/// Longest datagram, so that it is not cut on any link.
pub const DATAGRAM_BYTES_MAX: usize = 1_400;
/// Longest message, in CBOR.
pub const MESSAGE_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - HEADER_BYTES - MAC_BYTES;
/// How far datagrams may overtake each other: more than one burst over all paths.
pub const WINDOW: usize = 1_024;
/// Starts of a peer that are over and not believed again; of more, the oldest are forgotten.
pub const RETIRED_MAX: usize = 64;

const LETTERS: &[u8; 3] = b"EVG";
/// Kinds of datagrams: a version, twice.
const OPEN: u8 = 1;
const SEALED: u8 = 2;
const HEADER_BYTES: usize = 4 + 4 * 8;

/// What this node and each of its peers have said to each other so far. Carried over the keeper's
/// exec as it is.
#[derive(Clone, Debug, Decode, Encode)]
pub struct Sessions {
    /// This node's start.
    #[n(0)]
    start: u64,
    /// Of the last datagram, to whomever it was.
    #[n(1)]
    number: u64,
    #[n(2)]
    sessions: Vec<Session>,
}

/// What is known of one peer.
#[derive(Clone, Debug, Decode, Encode)]
struct Session {
    #[n(0)]
    name: String,
    /// The start that is believed, and which of its datagrams were taken.
    #[n(1)]
    believed: Option<(u64, Window)>,
    /// The start that was heard last, believed or not.
    #[n(2)]
    heard: u64,
    /// Oldest first.
    #[n(3)]
    retired: VecDeque<u64>,
}

/// Which of the last numbers were seen.
#[derive(Clone, Debug, Decode, Encode)]
struct Window {
    #[n(0)]
    newest: u64,
    /// A bit for each number that is in the window, by its remainder.
    #[n(1)]
    seen: [u64; WINDOW / 64],
}

/// What a datagram that was taken comes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Taken {
    /// What it says; nothing if it is not to be believed yet, or says nothing.
    pub message: Option<Message>,
    /// Send the peer an empty datagram, so that it learns of this start.
    pub wants_answer: bool,
}

/// Why a datagram is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// It is none of ours: too long, too short, or other letters.
    Foreign,
    /// It has no HMAC, though a secret is configured here.
    Open,
    /// It has an HMAC, though no secret is configured here.
    Sealed,
    /// Its HMAC is by another secret, or it was changed on its way.
    Mac,
    /// It was taken before, or is of a start that is over.
    Repeated,
    /// This node has sent it.
    Own,
    /// It says something that this version does not understand.
    Malformed,
}

/// A message is longer than [`MESSAGE_BYTES_MAX`]: its bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooLong(pub usize);

impl Sessions {
    /// Nobody is known. `start` was drawn by chance just now.
    pub const fn new(start: u64) -> Self {
        // 0 says that nobody is meant.
        let start = if start == 0 { 1 } else { start };
        Self { start, number: 0, sessions: Vec::new() }
    }

    /// Changes who the peers are: their names, in the order of their positions from now on. Those
    /// that were known before remain so.
    pub fn apply<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let mut known = core::mem::take(&mut self.sessions);
        for name in names.take(PEERS_MAX) {
            let at = known.iter().position(|session| session.name == name);
            self.sessions.push(match at {
                Some(at) => known.swap_remove(at),
                None => Session::new(String::from(name)),
            });
        }
    }

    /// Puts a message, or none, for the peer at this position into `datagram`, in place of what was
    /// there. The `mac` has the secret, if there is one.
    pub fn write(
        &mut self,
        peer: usize,
        message: Option<&Message>,
        mac: Option<Mac<'_>>,
        datagram: &mut Vec<u8>,
    ) -> Result<(), TooLong> {
        datagram.clear();
        datagram.extend(LETTERS);
        datagram.push(if mac.is_some() { SEALED } else { OPEN });
        let (believed, heard) = self.sessions.get(peer).map_or((0, 0), Session::starts);
        self.number += 1;
        for number in [self.start, believed, heard, self.number] {
            datagram.extend(number.to_be_bytes());
        }
        if let Some(message) = message {
            minicbor::encode(message, &mut *datagram).expect("a vector takes every byte");
        }
        let bytes = datagram.len() - HEADER_BYTES;
        if bytes > MESSAGE_BYTES_MAX {
            datagram.clear();
            return Err(TooLong(bytes));
        }
        if let Some(mac) = mac {
            let mac = mac(&[datagram]);
            datagram.extend(mac);
        }
        Ok(())
    }

    /// Takes in a datagram that came from an address of the peer at this position.
    pub fn read(
        &mut self,
        peer: usize,
        datagram: &[u8],
        mac: Option<Mac<'_>>,
    ) -> Result<Taken, Refusal> {
        let session = self.sessions.get_mut(peer).ok_or(Refusal::Foreign)?;
        let (numbers, message) = open(datagram, mac)?;
        let [from, believed, heard, number] = numbers;
        if from == self.start {
            return Err(Refusal::Own);
        }
        if from == 0 || number == 0 {
            return Err(Refusal::Malformed);
        }
        if session.retired.contains(&from) {
            return Err(Refusal::Repeated);
        }
        if believed != self.start && heard != self.start {
            let is_news = session.heard != from;
            session.hear(from);
            return Ok(Taken { message: None, wants_answer: is_news });
        }
        let message = parse(message)?;
        let wants_answer = session.believe(from, number)?;
        Ok(Taken { message, wants_answer })
    }
}

impl Session {
    const fn new(name: String) -> Self {
        Self { name, believed: None, heard: 0, retired: VecDeque::new() }
    }

    /// The peer's starts that a datagram is said to.
    fn starts(&self) -> (u64, u64) {
        (self.believed.as_ref().map_or(0, |(start, _)| *start), self.heard)
    }

    /// Something that may be as old as the world says that it is from this start.
    fn hear(&mut self, from: u64) {
        self.heard = from;
    }

    /// Something that is surely said to us is from this start. Whether that is news.
    fn believe(&mut self, from: u64, number: u64) -> Result<bool, Refusal> {
        if let Some((start, window)) = &mut self.believed
            && *start == from
        {
            return if window.admit(number) { Ok(false) } else { Err(Refusal::Repeated) };
        }
        if let Some((over, _)) = self.believed.replace((from, Window::from(number))) {
            if self.retired.len() >= RETIRED_MAX {
                self.retired.pop_front();
            }
            self.retired.push_back(over);
        }
        self.heard = from;
        Ok(true)
    }
}

impl Window {
    /// Whether a number was not seen before; it is now.
    fn admit(&mut self, number: u64) -> bool {
        let size = WINDOW as u64;
        if let Some(ahead) = number.checked_sub(self.newest).filter(|ahead| *ahead > 0) {
            if ahead >= size {
                self.seen = [0; WINDOW / 64];
            } else {
                (1..=ahead).for_each(|step| self.clear(self.newest + step));
            }
            self.newest = number;
        } else if self.newest - number >= size || self.has(number) {
            return false;
        }
        let (word, bit) = Self::place(number);
        self.seen[word] |= bit;
        true
    }

    fn has(&self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        self.seen[word] & bit != 0
    }

    fn clear(&mut self, number: u64) {
        let (word, bit) = Self::place(number);
        self.seen[word] &= !bit;
    }

    const fn place(number: u64) -> (usize, u64) {
        let place = (number % WINDOW as u64) as usize;
        (place / 64, 1 << (place % 64))
    }
}

impl From<u64> for Window {
    /// What is in front of the first number that was seen may still come.
    fn from(first: u64) -> Self {
        let mut window = Self { newest: first, seen: [0; WINDOW / 64] };
        let (word, bit) = Self::place(first);
        window.seen[word] |= bit;
        window
    }
}

/// The numbers and the message of a datagram, if its HMAC is right.
fn open<'a>(datagram: &'a [u8], mac: Option<Mac<'_>>) -> Result<([u64; 4], &'a [u8]), Refusal> {
    if datagram.len() > DATAGRAM_BYTES_MAX {
        return Err(Refusal::Foreign);
    }
    let Some((&[a, b, c, kind], _)) = datagram.split_first_chunk::<4>() else {
        return Err(Refusal::Foreign);
    };
    let signed = match (kind, mac) {
        _ if [a, b, c] != *LETTERS => return Err(Refusal::Foreign),
        (OPEN, None) => datagram,
        (SEALED, Some(mac)) => {
            let Some((signed, theirs)) = datagram.split_last_chunk::<MAC_BYTES>() else {
                return Err(Refusal::Foreign);
            };
            if !are_equal(&mac(&[signed]), theirs) {
                return Err(Refusal::Mac);
            }
            signed
        }
        (OPEN, Some(_)) => return Err(Refusal::Open),
        (SEALED, None) => return Err(Refusal::Sealed),
        (_, Some(_) | None) => return Err(Refusal::Malformed),
    };
    let Some((header, message)) = signed.split_first_chunk::<HEADER_BYTES>() else {
        return Err(Refusal::Foreign);
    };
    let (numbers, _) = header[4..].as_chunks::<8>();
    let mut read = [0; 4];
    for (number, bytes) in read.iter_mut().zip(numbers) {
        *number = u64::from_be_bytes(*bytes);
    }
    Ok((read, message))
}

fn parse(bytes: &[u8]) -> Result<Option<Message>, Refusal> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut decoder = minicbor::Decoder::new(bytes);
    let message = decoder.decode().map_err(|_| Refusal::Malformed)?;
    if decoder.position() != bytes.len() {
        return Err(Refusal::Malformed);
    }
    Ok(Some(message))
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "it is no heartbeat",
            Self::Open => "it has no HMAC, but a secret is configured here",
            Self::Sealed => "it has an HMAC, but no secret is configured here",
            Self::Mac => "its HMAC is wrong",
            Self::Repeated => "it, or what came after it, was heard before",
            Self::Own => "this node has sent it",
            Self::Malformed => "it says something that is not understood",
        })
    }
}

impl Error for Refusal {}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a message has at most {MESSAGE_BYTES_MAX} bytes: {}", self.0)
    }
}

impl Error for TooLong {}
