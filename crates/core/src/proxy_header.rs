//! The PROXY protocol's header, read from bytes that the caller holds and written for servers.
//!
//! A proxy that passes connections on puts one header in front of each, which names the client. It
//! is read strictly and never guessed: where it ends decides where the client's own bytes begin.
//! Whether an input is an error does not depend on how it was cut into reads: a prefix of a bad
//! header is bad for the same reason or too short to tell.
//!
//! Section numbers are those of HAProxy's `proxy-protocol.txt`, of 2020/03/05.

mod checksum;
mod tlv;
mod v1;
mod v2;

use core::fmt;
use core::net::SocketAddr;

pub use tlv::{Tlv, Tlvs};
pub use v2::write;

#[cfg(test)]
mod tests;

/// Most bytes of a header of version 1, CRLF included (2.1).
pub const V1_BYTES_MAX: usize = 107;
/// Most bytes that may follow the fixed part of a header of version 2: addresses and TLVs. The
/// format allows 65,535; nobody fills them, and each connection may hold that much.
pub const V2_REST_BYTES_MAX: usize = 4096;
/// Most bytes of a header of any version.
pub const HEADER_BYTES_MAX: usize = v2::FIXED_BYTES + V2_REST_BYTES_MAX;

/// What stood in front of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header<'a> {
    /// Whose connection is passed on. None if the sender speaks for itself or cannot say (`LOCAL`,
    /// `UNKNOWN`, UNIX sockets): then the connection's own addresses hold.
    pub ends: Option<Ends>,
    /// What else is known; empty in version 1 and where the sender speaks for itself.
    pub tlvs: Tlvs<'a>,
    /// Bytes of the header. What follows is the client's.
    pub consumed: usize,
}

/// The two ends of the connection that is passed on, both of one family.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HeaderError {
    /// It is not as the specification says, or no header at all.
    Malformed,
    /// It is longer than [`V1_BYTES_MAX`], or its rest longer than [`V2_REST_BYTES_MAX`].
    TooLong,
    /// Its CRC32C is wrong (2.2.3).
    Checksum,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "a malformed PROXY header",
            Self::TooLong => "a PROXY header that is too long",
            Self::Checksum => "a PROXY header with a wrong checksum",
        })
    }
}

impl core::error::Error for HeaderError {}

/// Reads a header of version 1 or 2 from the start of `bytes`; `Ok(None)` if it is not whole yet.
///
/// # Errors
/// As soon as it cannot become one.
pub fn parse(bytes: &[u8]) -> Result<Option<Header<'_>>, HeaderError> {
    match bytes.first() {
        None => Ok(None),
        Some(b'P') => v1::parse(bytes),
        Some(_) => v2::parse(bytes),
    }
}

/// Whether `bytes` and `pattern` are the same as far as both go.
fn agree(bytes: &[u8], pattern: &[u8]) -> bool {
    bytes.iter().zip(pattern).all(|(byte, wanted)| byte == wanted)
}
