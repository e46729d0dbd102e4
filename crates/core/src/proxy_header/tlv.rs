//! What a header of version 2 says besides the addresses: type, length, value (2.2.1 to 2.2.8).

use core::iter::repeat_n;

use super::HeaderError;
use super::checksum::crc32c;

const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;

/// Most bytes of a unique id (2.2.5).
const UNIQUE_ID_BYTES_MAX: usize = 128;
/// Type and length.
const START_BYTES: usize = 3;

/// The TLVs of a header, all whole and none of them contradicting another.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tlvs<'a> {
    bytes: &'a [u8],
}

/// One of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tlv<'a> {
    /// What it is about.
    pub kind: u8,
    /// What it says.
    pub value: &'a [u8],
}

impl<'a> Tlvs<'a> {
    /// Checks the TLVs in `bytes`, which end `header`.
    pub(super) fn checked(bytes: &'a [u8], header: &[u8]) -> Result<Self, HeaderError> {
        let tlvs = Self { bytes };
        let mut at = header.len() - bytes.len();
        let mut seen = 0u8;
        for Tlv { kind, value } in tlvs.iter() {
            let start = at + START_BYTES;
            at = start + value.len();
            if !matches!(kind, AUTHORITY | CRC32C | UNIQUE_ID) {
                continue;
            }
            // Two of a kind that stands once could be read one way by us and another by a server.
            if seen & 1 << kind != 0 || (kind == UNIQUE_ID && value.len() > UNIQUE_ID_BYTES_MAX) {
                return Err(HeaderError::Malformed);
            }
            seen |= 1 << kind;
            if kind == CRC32C {
                check(value, start, header)?;
            }
        }
        if at == header.len() { Ok(tlvs) } else { Err(HeaderError::Malformed) }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Tlv<'a>> + use<'a> {
        let mut rest = self.bytes;
        core::iter::from_fn(move || {
            let (&[kind, high, low], after) = rest.split_first_chunk::<START_BYTES>()?;
            let (value, after) =
                after.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
            rest = after;
            Some(Tlv { kind, value })
        })
    }

    /// The host name that the client asked the sender for, as in TLS' SNI (2.2.2).
    pub fn authority(&self) -> Option<&'a [u8]> {
        self.of(AUTHORITY)
    }

    /// What the sender calls this connection, at most 128 bytes (2.2.5).
    pub fn unique_id(&self) -> Option<&'a [u8]> {
        self.of(UNIQUE_ID)
    }

    fn of(&self, kind: u8) -> Option<&'a [u8]> {
        self.iter().find(|tlv| tlv.kind == kind).map(|tlv| tlv.value)
    }
}

/// Compares `value`, at `start` in `header`, with the checksum of the header, in which it counts as
/// zeros (2.2.3).
fn check(value: &[u8], start: usize, header: &[u8]) -> Result<(), HeaderError> {
    let Ok(told) = <[u8; 4]>::try_from(value) else { return Err(HeaderError::Malformed) };
    let before = header[..start].iter().copied();
    let after = header[start + told.len()..].iter().copied();
    let sum = crc32c(before.chain(repeat_n(0, told.len())).chain(after));
    if sum == u32::from_be_bytes(told) { Ok(()) } else { Err(HeaderError::Checksum) }
}
