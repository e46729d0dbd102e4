//! Bodies: where their data lies between the framing.

use core::fmt;
use core::ops::Range;

use super::Body;
use super::trailers::{Section, Trailers};

/// Most hexadecimal digits of a chunk's size.
const SIZE_DIGITS_MAX: u8 = 16;
/// Most bytes of chunk extensions in one body; they carry nothing and are dropped.
const EXTENSION_BYTES_MAX: u16 = 16 * 1024;

/// Follows one body through its bytes.
///
/// Call [`BodyReader::read`] with what has arrived until all of it is consumed or the body is
/// done, and [`BodyReader::finish`] if the connection ends. After an error nothing more may be
/// read: where the next message starts is not known.
#[derive(Clone, Debug)]
pub struct BodyReader {
    state: State,
    extension_bytes: u16,
    trailers: Trailers,
}

/// What [`BodyReader::read`] found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Piece {
    /// Bytes of the input that are dealt with, data included.
    pub consumed: usize,
    /// Where the data lies in the input; may be empty while framing was consumed.
    pub data: Range<usize>,
    /// Whether the body ended; the bytes that are left belong to the next message.
    pub done: bool,
}

/// Why a body was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyError {
    /// A chunk's size is not 1 to 16 hexadecimal digits.
    ChunkSize,
    /// A chunk extension has a control character.
    ChunkExtension,
    /// Chunk extensions have more than 16 KiB in total.
    ChunkExtensionsTooLarge,
    /// A chunk's data is not followed by CRLF.
    ChunkEnd,
    /// A line ends in LF without CR.
    BareLf,
    /// A CR is not followed by LF.
    BareCr,
    /// A trailer line is not a field.
    Trailer,
    /// Trailers have more than 8 KiB or 32 lines.
    TrailersTooLarge,
    /// The connection ended before the body did.
    Truncated,
}

impl BodyError {
    /// A short name for logs and metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ChunkSize => "chunk_size",
            Self::ChunkExtension => "chunk_extension",
            Self::ChunkExtensionsTooLarge => "chunk_extensions_too_large",
            Self::ChunkEnd => "chunk_end",
            Self::BareLf => "bare_lf",
            Self::BareCr => "bare_cr",
            Self::Trailer => "trailer_malformed",
            Self::TrailersTooLarge => "trailers_too_large",
            Self::Truncated => "truncated",
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChunkSize => "a chunk size is not 1 to 16 hexadecimal digits",
            Self::ChunkExtension => "a chunk extension has a control character",
            Self::ChunkExtensionsTooLarge => "the chunk extensions are too large",
            Self::ChunkEnd => "a chunk is longer than its size",
            Self::BareLf => "a line of the body ends in a bare LF",
            Self::BareCr => "a CR in the body's framing is not followed by LF",
            Self::Trailer => "a trailer is malformed",
            Self::TrailersTooLarge => "the trailers are too large",
            Self::Truncated => "the connection ended before the body did",
        })
    }
}

impl core::error::Error for BodyError {}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Sized {
        left: u64,
    },
    UntilClose,
    /// In a chunk's size, or before it.
    ChunkSize {
        size: u64,
        digits: u8,
    },
    /// In white space after a size; only an extension may follow.
    ChunkSpace {
        size: u64,
    },
    ChunkExtension {
        size: u64,
    },
    ChunkSizeLf {
        size: u64,
    },
    ChunkData {
        left: u64,
    },
    ChunkDataCr,
    ChunkDataLf,
    Trailers,
    Done,
}

impl State {
    const NEXT_CHUNK: Self = Self::ChunkSize { size: 0, digits: 0 };
}

impl BodyReader {
    /// A reader at the start of `body`.
    pub const fn new(body: Body) -> Self {
        let state = match body {
            Body::Empty | Body::Sized(0) => State::Done,
            Body::Sized(left) => State::Sized { left },
            Body::Chunked => State::NEXT_CHUNK,
            Body::UntilClose => State::UntilClose,
        };
        Self { state, extension_bytes: 0, trailers: Trailers::new() }
    }

    /// Consumes framing and at most one run of data from the front of `input`. What comes before a
    /// fault is handed out first.
    pub fn read(&mut self, input: &[u8]) -> Result<Piece, BodyError> {
        match self.state {
            State::Done => Ok(Piece { consumed: 0, data: 0..0, done: true }),
            State::UntilClose => {
                Ok(Piece { consumed: input.len(), data: 0..input.len(), done: false })
            }
            State::Sized { left } => {
                let len = bounded(input.len(), left);
                let left = left - len as u64;
                self.state = if left == 0 { State::Done } else { State::Sized { left } };
                Ok(Piece { consumed: len, data: 0..len, done: left == 0 })
            }
            State::ChunkSize { .. }
            | State::ChunkSpace { .. }
            | State::ChunkExtension { .. }
            | State::ChunkSizeLf { .. }
            | State::ChunkData { .. }
            | State::ChunkDataCr
            | State::ChunkDataLf
            | State::Trailers => self.read_chunks(input),
        }
    }

    /// Whether the body may end here, where the connection did.
    pub fn finish(&self) -> Result<(), BodyError> {
        if matches!(self.state, State::Done | State::UntilClose) {
            Ok(())
        } else {
            Err(BodyError::Truncated)
        }
    }

    /// Whether the body ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How much of a sized body is still to come.
    pub fn remaining(&self) -> Option<u64> {
        if let State::Sized { left } = self.state { Some(left) } else { None }
    }

    /// Counts `bytes` of a sized body that were moved without being read here; at most what
    /// [`BodyReader::remaining`] says.
    pub fn skip(&mut self, bytes: u64) {
        if let State::Sized { left } = self.state {
            debug_assert!(bytes <= left, "no body has more than its length");
            let left = left.saturating_sub(bytes);
            self.state = if left == 0 { State::Done } else { State::Sized { left } };
        }
    }

    /// The trailer lines of a chunked body, each with its CRLF; complete once the body is done.
    /// Fields that must not come after a body are left out (RFC 9110, 6.5.1).
    pub fn trailers(&self) -> &[u8] {
        self.trailers.lines()
    }

    fn read_chunks(&mut self, input: &[u8]) -> Result<Piece, BodyError> {
        let mut consumed = 0;
        let mut data = 0..0;
        while consumed < input.len() && self.state != State::Done {
            if let State::ChunkData { left } = self.state {
                if !data.is_empty() {
                    break;
                }
                let len = bounded(input.len() - consumed, left);
                let left = left - len as u64;
                self.state = if left == 0 { State::ChunkDataCr } else { State::ChunkData { left } };
                data = consumed..consumed + len;
                consumed += len;
                continue;
            }
            match self.step(input[consumed]) {
                Ok(next) => self.state = next,
                // What came before the fault is good; the next call meets the same byte.
                Err(_) if consumed > 0 => break,
                Err(error) => return Err(error),
            }
            consumed += 1;
        }
        Ok(Piece { consumed, data, done: self.state == State::Done })
    }

    /// Takes one byte of framing.
    fn step(&mut self, byte: u8) -> Result<State, BodyError> {
        match self.state {
            State::ChunkSize { size, digits } => match (hex_digit(byte), byte) {
                (Some(_), _) if digits == SIZE_DIGITS_MAX => Err(BodyError::ChunkSize),
                (Some(digit), _) => {
                    Ok(State::ChunkSize { size: size << 4 | digit, digits: digits + 1 })
                }
                (None, _) if digits == 0 => Err(BodyError::ChunkSize),
                (None, b' ' | b'\t') => self.extend(State::ChunkSpace { size }),
                (None, b';' | b'\r' | b'\n') => self.step_extension(size, byte),
                (None, _) => Err(BodyError::ChunkSize),
            },
            State::ChunkSpace { size } => match byte {
                b' ' | b'\t' => self.extend(State::ChunkSpace { size }),
                b';' => self.step_extension(size, byte),
                _ => Err(BodyError::ChunkSize),
            },
            State::ChunkExtension { size } => self.step_extension(size, byte),
            State::ChunkSizeLf { .. } | State::ChunkDataLf if byte != b'\n' => {
                Err(BodyError::BareCr)
            }
            State::ChunkSizeLf { size: 0 } => Ok(State::Trailers),
            State::ChunkSizeLf { size } => Ok(State::ChunkData { left: size }),
            State::ChunkDataCr => match byte {
                b'\r' => Ok(State::ChunkDataLf),
                b'\n' => Err(BodyError::BareLf),
                _ => Err(BodyError::ChunkEnd),
            },
            State::ChunkDataLf => Ok(State::NEXT_CHUNK),
            State::Trailers => Ok(match self.trailers.push(byte)? {
                Section::Open => State::Trailers,
                Section::Ended => State::Done,
            }),
            State::Sized { .. } | State::UntilClose | State::ChunkData { .. } | State::Done => {
                unreachable!("{:?} has no framing", self.state)
            }
        }
    }

    fn step_extension(&mut self, size: u64, byte: u8) -> Result<State, BodyError> {
        match byte {
            b'\r' => Ok(State::ChunkSizeLf { size }),
            b'\n' => Err(BodyError::BareLf),
            b'\t' | b' '..=b'~' | 0x80.. => self.extend(State::ChunkExtension { size }),
            _ => Err(BodyError::ChunkExtension),
        }
    }

    fn extend(&mut self, next: State) -> Result<State, BodyError> {
        if self.extension_bytes == EXTENSION_BYTES_MAX {
            return Err(BodyError::ChunkExtensionsTooLarge);
        }
        self.extension_bytes += 1;
        Ok(next)
    }
}

/// Writes the line before a chunk of `len` bytes, more than 0, and returns how long it is. The
/// data and a CRLF follow.
pub fn chunk_header(len: usize, out: &mut [u8; 18]) -> usize {
    debug_assert!(len > 0, "a chunk of 0 ends the body");
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1) as usize;
    for (index, place) in out[..digits].iter_mut().enumerate() {
        let digit = len >> (4 * (digits - 1 - index)) & 0xf;
        *place = b"0123456789abcdef"[digit];
    }
    out[digits..digits + 2].copy_from_slice(b"\r\n");
    digits + 2
}

const fn hex_digit(byte: u8) -> Option<u64> {
    match byte {
        b'0'..=b'9' => Some((byte - b'0') as u64),
        b'a'..=b'f' => Some((byte - b'a' + 10) as u64),
        b'A'..=b'F' => Some((byte - b'A' + 10) as u64),
        _ => None,
    }
}

fn bounded(len: usize, max: u64) -> usize {
    usize::try_from(max).map_or(len, |max| len.min(max))
}
