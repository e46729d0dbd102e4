//! The form in which a process hands what it knows to the one that comes after it.
//!
//! A blob is a head and sections:
//!
//! ```text
//! "EVGS" | schema u16 | min reader u16 | bytes of all sections u32
//! kind u16 | version u16 | flags u16 | 0 u16 | bytes of the body u32 | CRC-32C u32 | body    ...
//! ```
//!
//! All numbers are little-endian; the sum is of the section's head up to it and of its body. What a
//! body means belongs to whoever writes the section. A reader passes over a section that it does not
//! know, unless that is marked as required; then it refuses the whole blob, as it does one that is
//! damaged anywhere: half of what was known is worse than nothing.
//!
//! A blob never leaves the memory of one machine, so the sums guard against faults, not against
//! forgery.

use alloc::vec::Vec;
use core::fmt;

/// Version of the form.
pub const SCHEMA: u16 = 1;
/// Oldest reader that understands what [`Writer`] writes.
const MIN_READER: u16 = 1;
/// Longest blob, in bytes.
pub const BYTES_MAX: usize = 16 * 1024 * 1024;

const MAGIC: &[u8; 4] = b"EVGS";
const HEAD_BYTES: usize = 12;
const SECTION_HEAD_BYTES: usize = 16;
/// Of a section's head, what its sum is of.
const SUMMED_HEAD_BYTES: usize = 12;
const REQUIRED: u16 = 1;

/// One section.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Section<'a> {
    /// What it is about.
    pub kind: u16,
    /// Version of its body.
    pub version: u16,
    /// Whether a reader that does not know it must refuse the blob.
    pub is_required: bool,
    /// What is said.
    pub body: &'a [u8],
}

/// Why a blob is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// It is something else.
    Foreign,
    /// It ends early or late, or some sum is wrong.
    Damaged,
    /// It is longer than [`BYTES_MAX`].
    TooLong,
    /// It wants a newer reader.
    Newer {
        /// The schema that it wants, at least.
        wants: u16,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => write!(f, "not a state of Evergate"),
            Self::Damaged => write!(f, "the state is damaged"),
            Self::TooLong => write!(f, "the state is longer than {BYTES_MAX} bytes"),
            Self::Newer { wants } => {
                write!(f, "the state wants a reader of schema {wants}; this one is of {SCHEMA}")
            }
        }
    }
}

impl core::error::Error for Refusal {}

/// Writes a blob.
#[derive(Debug, Default)]
pub struct Writer {
    sections: Vec<u8>,
}

impl Writer {
    /// No section yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a section.
    ///
    /// # Panics
    /// If the body is longer than 4 GiB.
    pub fn section(&mut self, section: Section<'_>) {
        let start = self.sections.len();
        let flags = if section.is_required { REQUIRED } else { 0 };
        let length = u32::try_from(section.body.len()).expect("a body is below 4 GiB");
        for number in [section.kind, section.version, flags, 0] {
            self.sections.extend_from_slice(&number.to_le_bytes());
        }
        self.sections.extend_from_slice(&length.to_le_bytes());
        let sum = crc32c(crc32c(0, &self.sections[start..]), section.body);
        self.sections.extend_from_slice(&sum.to_le_bytes());
        self.sections.extend_from_slice(section.body);
    }

    /// The blob; nothing if it would be longer than [`BYTES_MAX`].
    pub fn finish(self) -> Option<Vec<u8>> {
        if HEAD_BYTES + self.sections.len() > BYTES_MAX {
            return None;
        }
        let mut blob = Vec::with_capacity(HEAD_BYTES + self.sections.len());
        blob.extend_from_slice(MAGIC);
        blob.extend_from_slice(&SCHEMA.to_le_bytes());
        blob.extend_from_slice(&MIN_READER.to_le_bytes());
        blob.extend_from_slice(&(self.sections.len() as u32).to_le_bytes());
        blob.extend_from_slice(&self.sections);
        Some(blob)
    }
}

/// Every section of `blob`, in order.
///
/// # Errors
/// If any part of it cannot be trusted. Whether a required section is known is for the caller to
/// see.
pub fn read(blob: &[u8]) -> Result<Vec<Section<'_>>, Refusal> {
    if blob.len() > BYTES_MAX {
        return Err(Refusal::TooLong);
    }
    let Some((head, mut rest)) = blob.split_at_checked(HEAD_BYTES) else {
        return Err(if blob.starts_with(MAGIC) { Refusal::Damaged } else { Refusal::Foreign });
    };
    if !head.starts_with(MAGIC) {
        return Err(Refusal::Foreign);
    }
    let wants = u16_at(head, 6);
    if wants > SCHEMA {
        return Err(Refusal::Newer { wants });
    }
    // There is no schema 0, so nobody wants a reader of it.
    if wants == 0 || u32_at(head, 8) as usize != rest.len() {
        return Err(Refusal::Damaged);
    }
    let mut sections = Vec::new();
    while !rest.is_empty() {
        let (head, after) = rest.split_at_checked(SECTION_HEAD_BYTES).ok_or(Refusal::Damaged)?;
        let (body, after) =
            after.split_at_checked(u32_at(head, 8) as usize).ok_or(Refusal::Damaged)?;
        if crc32c(crc32c(0, &head[..SUMMED_HEAD_BYTES]), body) != u32_at(head, 12) {
            return Err(Refusal::Damaged);
        }
        sections.push(Section {
            kind: u16_at(head, 0),
            version: u16_at(head, 2),
            is_required: u16_at(head, 4) & REQUIRED != 0,
            body,
        });
        rest = after;
    }
    Ok(sections)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The sum of RFC 3720, appendix B.4, of what came before (`sum`, 0 at the start) and `bytes`.
fn crc32c(sum: u32, bytes: &[u8]) -> u32 {
    let mut crc = !sum;
    for &byte in bytes {
        crc = (crc >> 8) ^ TABLE[usize::from((crc as u8) ^ byte)];
    }
    !crc
}

const TABLE: [u32; 256] = {
    /// The Castagnoli polynomial, lowest bit first.
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let (mut crc, mut bit) = (index as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn two() -> Vec<u8> {
        let mut writer = Writer::new();
        writer.section(Section { kind: 1, version: 2, is_required: true, body: b"health" });
        writer.section(Section { kind: 7, version: 1, is_required: false, body: b"" });
        writer.finish().unwrap()
    }

    #[test]
    fn the_sum_is_that_of_the_rfc() {
        assert_eq!(crc32c(0, b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(0, &[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(crc32c(0, b"1234"), b"56789"), 0xE306_9283, "in parts");
    }

    #[test]
    fn sections_are_read_back_in_order() {
        let blob = two();
        let sections = read(&blob).unwrap();
        let first = Section { kind: 1, version: 2, is_required: true, body: b"health" };
        let second = Section { kind: 7, version: 1, is_required: false, body: b"" };
        assert_eq!(sections, [first, second]);
        assert_eq!(read(&Writer::new().finish().unwrap()), Ok(Vec::new()));
    }

    #[test]
    fn every_bit_counts() {
        let blob = two();
        // The schema that it was written in is for people.
        for at in (0..blob.len()).filter(|at| !(4..6).contains(at)) {
            for bit in 0..8 {
                let mut damaged = blob.clone();
                damaged[at] ^= 1 << bit;
                assert!(read(&damaged).is_err(), "bit {bit} of byte {at}");
            }
        }
        for length in 0..blob.len() {
            assert!(read(&blob[..length]).is_err(), "{length} bytes of it");
        }
        assert!(read(&[&blob[..], b"x"].concat()).is_err());
    }

    #[test]
    fn what_is_refused_is_refused_for_a_reason() {
        assert_eq!(read(b""), Err(Refusal::Foreign));
        assert_eq!(read(b"something else"), Err(Refusal::Foreign));
        assert_eq!(read(b"EVGS\x01\0"), Err(Refusal::Damaged));
        let mut newer = two();
        newer[6] = SCHEMA as u8 + 1;
        assert_eq!(read(&newer), Err(Refusal::Newer { wants: SCHEMA + 1 }));
    }

    #[test]
    fn a_blob_may_have_so_many_bytes_and_no_more() {
        let body = std::vec![7; BYTES_MAX - HEAD_BYTES - SECTION_HEAD_BYTES + 1];
        let blob_of = |body| {
            let mut writer = Writer::new();
            writer.section(Section { kind: 1, version: 1, is_required: true, body });
            writer.finish()
        };
        assert_eq!(blob_of(&body), None);
        let mut blob = blob_of(&body[1..]).unwrap();
        assert_eq!(blob.len(), BYTES_MAX);
        assert_eq!(read(&blob).unwrap()[0].body.len(), body.len() - 1);
        blob.push(0);
        assert_eq!(read(&blob), Err(Refusal::TooLong));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        for seed in 0..500 {
            let mut rng = Rng::seeded(seed);
            let mut blob = two();
            for _ in 0..=rng.below(6) {
                let at = rng.below(blob.len() as u32) as usize;
                blob[at] = rng.next_u64() as u8;
            }
            drop(read(&blob));
        }
    }
}
