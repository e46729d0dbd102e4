//! Where the frames of a WebSocket begin and end (RFC 6455, 5.2), and the frame that ends one.
//!
//! Evergate is no end of a WebSocket: it passes bytes on. All it has to know is when it may say a
//! word of its own, and that is between two frames, also within a message of several (5.4). So
//! [`Frames`] reads headers and counts payloads off, without looking into them.

use alloc::vec::Vec;

#[cfg(test)]
mod tests;

/// Most bytes of a frame's header: two, eight of length, four of the mask.
const HEADER_BYTES_MAX: usize = 14;
/// The operation that closes.
const CLOSE: u8 = 0x8;
/// The bit of the first byte that says that a message ends with this frame.
const FIN: u8 = 0x80;
/// The bit of the second byte that says that the payload is masked.
const MASKED: u8 = 0x80;

/// Why a WebSocket is closed (RFC 6455, 7.4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Code {
    /// 1001: the end that speaks goes away.
    GoingAway,
    /// 1012: the service restarts, and whoever connects again will be served.
    ServiceRestart,
}

impl Code {
    /// Its number.
    pub const fn number(self) -> u16 {
        match self {
            Self::GoingAway => 1001,
            Self::ServiceRestart => 1012,
        }
    }

    /// What is said with it, at most 123 bytes.
    const fn reason(self) -> &'static str {
        match self {
            Self::GoingAway => "going away",
            Self::ServiceRestart => "service restart",
        }
    }
}

/// The frames of one direction, followed byte by byte.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Frames {
    header: Header,
    /// Bytes of the payload that are still to come.
    payload: u64,
    has_closed: bool,
}

/// As much of a header as has come.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Header {
    bytes: [u8; HEADER_BYTES_MAX],
    length: usize,
}

impl Frames {
    /// Whether the next byte begins a frame.
    pub const fn is_at_boundary(&self) -> bool {
        self.header.length == 0 && self.payload == 0
    }

    /// Whether a Close frame has gone through.
    pub const fn has_closed(&self) -> bool {
        self.has_closed
    }

    /// Follows all of `bytes`.
    pub fn follow(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.step(rest);
            rest = &rest[taken..];
        }
    }

    /// Follows `bytes` to the end of the frame that has begun, and no further; says how many bytes
    /// belong to it. All of them if the frame goes on; none between two frames.
    pub fn finish(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() && !self.is_at_boundary() {
            taken += self.step(&bytes[taken..]);
        }
        taken
    }

    /// Takes some bytes, at least one and none of a second frame.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.payload > 0 {
            let taken = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
            self.payload -= taken as u64;
            return taken;
        }
        let Header { bytes: header, length } = &mut self.header;
        header[*length] = bytes[0];
        *length += 1;
        if *length >= 2 && *length == header_bytes(header[1]) {
            self.payload = payload_bytes(header);
            self.has_closed |= header[0] & 0x0f == CLOSE;
            *length = 0;
        }
        1
    }
}

/// How long a header with this second byte is.
const fn header_bytes(second: u8) -> usize {
    let length = match second & !MASKED {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & MASKED == 0 { 0 } else { 4 };
    2 + length + mask
}

/// How long the payload after this header is.
fn payload_bytes(header: &[u8; HEADER_BYTES_MAX]) -> u64 {
    match header[1] & !MASKED {
        126 => u64::from(u16::from_be_bytes([header[2], header[3]])),
        127 => {
            let mut length = [0; 8];
            length.copy_from_slice(&header[2..10]);
            u64::from_be_bytes(length)
        }
        length => u64::from(length),
    }
}

/// Appends a Close frame as a server sends it.
pub fn push_close(out: &mut Vec<u8>, code: Code) {
    out.push(FIN | CLOSE);
    out.push((2 + code.reason().len()) as u8);
    out.extend_from_slice(&code.number().to_be_bytes());
    out.extend_from_slice(code.reason().as_bytes());
}

/// Appends a Close frame as a client sends it, masked by `mask` (RFC 6455, 5.3).
pub fn push_masked_close(out: &mut Vec<u8>, code: Code, mask: [u8; 4]) {
    out.push(FIN | CLOSE);
    out.push(MASKED | (2 + code.reason().len()) as u8);
    out.extend_from_slice(&mask);
    let number = code.number().to_be_bytes();
    let payload = number.iter().chain(code.reason().as_bytes());
    out.extend(payload.zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}
