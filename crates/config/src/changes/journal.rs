//! All changes as bytes: for the journal on the disk and for the worker that comes after this one.
//!
//! One section of `core::state`, whose sum guards the whole: a journal is read as it was written or
//! not at all. Its body is a list of entries, each three byte strings with their lengths before them
//! as 32 bits, little-endian: the subject, when (64 bits), and the section of TOML behind a tag byte.

use std::fmt;

use evergate_core::state::{self, Refusal, Section, Writer};

use super::{CHANGES_MAX, Change, Changes};

/// Most bytes of a journal.
pub const CHANGES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Kind of the only section.
const KIND: u16 = 1;
const VERSION: u16 = 1;
const PUT: u8 = b'+';
const HIDE: u8 = b'-';

/// Why a journal cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum JournalError {
    /// It is damaged, or something else.
    State(Refusal),
    /// A newer Evergate wrote it.
    Newer(u16),
    /// Its sum is right, but what it says is not.
    Content,
    /// It is longer than [`CHANGES_BYTES_MAX`].
    TooLong,
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(Refusal::Damaged) => f.write_str("it is damaged"),
            Self::State(Refusal::Foreign) => f.write_str("it is no journal of Evergate"),
            Self::State(Refusal::TooLong) => Refusal::TooLong.fmt(f),
            Self::State(Refusal::Newer { wants: version }) | Self::Newer(version) => {
                write!(f, "a newer Evergate wrote it (version {version}, this one reads {VERSION})")
            }
            Self::Content => f.write_str("what is in it makes no sense"),
            Self::TooLong => write!(f, "it is longer than {CHANGES_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for JournalError {}

impl Changes {
    /// All of them as bytes, which may hold secrets.
    ///
    /// # Errors
    /// If they are more than [`CHANGES_BYTES_MAX`].
    pub fn to_journal(&self) -> Result<Vec<u8>, JournalError> {
        let mut body = Vec::new();
        for (subject, change) in &self.entries {
            let tag = if change.hides() { HIDE } else { PUT };
            let section = change.section.as_deref().unwrap_or_default();
            put(&mut body, &[subject.to_string().as_bytes()]);
            put(&mut body, &[&change.since.to_le_bytes()]);
            put(&mut body, &[&[tag], section.as_bytes()]);
        }
        let mut writer = Writer::new();
        writer.section(Section { kind: KIND, version: VERSION, is_required: true, body: &body });
        let blob = writer.finish().filter(|blob| blob.len() <= CHANGES_BYTES_MAX);
        blob.ok_or(JournalError::TooLong)
    }

    /// Those that [`Self::to_journal`] wrote: all of them, or none.
    ///
    /// # Errors
    /// If any part of it cannot be trusted.
    pub fn from_journal(blob: &[u8]) -> Result<Self, JournalError> {
        if blob.len() > CHANGES_BYTES_MAX {
            return Err(JournalError::TooLong);
        }
        let sections = state::read(blob).map_err(JournalError::State)?;
        let [section] = sections.as_slice() else { return Err(JournalError::Content) };
        match (section.kind, section.version) {
            (KIND, VERSION) => decode(section.body).ok_or(JournalError::Content),
            (_, version) => Err(JournalError::Newer(version)),
        }
    }
}

fn decode(mut rest: &[u8]) -> Option<Changes> {
    let mut changes = Changes::default();
    while !rest.is_empty() {
        let subject = std::str::from_utf8(take(&mut rest)?).ok()?.parse().ok()?;
        let since = u64::from_le_bytes(take(&mut rest)?.try_into().ok()?);
        let section = match take(&mut rest)?.split_first()? {
            (&PUT, section) => Some(String::from_utf8(section.to_vec()).ok()?),
            (&HIDE, []) => None,
            _ => return None,
        };
        if changes.entries.insert(subject, Change { since, section }).is_some() {
            return None;
        }
    }
    (changes.len() <= CHANGES_MAX).then_some(changes)
}

fn put(body: &mut Vec<u8>, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let length = u32::try_from(length).expect("sections are bounded far below 4 GiB");
    body.extend_from_slice(&length.to_le_bytes());
    parts.iter().for_each(|part| body.extend_from_slice(part));
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (part, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::super::Subject;
    use super::*;

    fn changes() -> Changes {
        let mut changes = Changes::default();
        let server = Subject::Server { pool: "api".into(), server: "b".into() };
        changes.put(&Subject::Route("api".into()), r#"{"match": "/ü"}"#, 7).expect("an object");
        changes.put(&server, r#"{"url": "http://10.0.0.8:80"}"#, u64::MAX).expect("an object");
        changes.hide(&Subject::Route("old".into()), 0).expect("there is room");
        changes
    }

    #[test]
    fn what_is_written_is_read() {
        for changes in [Changes::default(), changes()] {
            let journal = changes.to_journal().expect("it is short");
            assert_eq!(Changes::from_journal(&journal), Ok(changes));
        }
    }

    #[test]
    fn a_torn_journal_is_refused_wherever_it_is_torn() {
        let journal = changes().to_journal().expect("it is short");
        for end in 0..journal.len() {
            assert!(Changes::from_journal(&journal[..end]).is_err(), "{end}");
        }
        assert!(Changes::from_journal(&[&journal[..], b"x"].concat()).is_err());
    }

    #[test]
    fn a_journal_in_which_any_bit_is_wrong_is_refused() {
        let journal = changes().to_journal().expect("it is short");
        // The smallest reader that is wanted is no promise about the body.
        for at in (0..journal.len()).filter(|at| ![4, 5, 6, 7].contains(at)) {
            for bit in 0..8 {
                let mut damaged = journal.clone();
                damaged[at] ^= 1 << bit;
                assert!(Changes::from_journal(&damaged).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_newer_journal_and_one_without_sense_are_refused() {
        let blob = |kind, version, body: &[u8]| {
            let mut writer = Writer::new();
            writer.section(Section { kind, version, is_required: true, body });
            writer.finish().expect("it is short")
        };
        let newer = Changes::from_journal(&blob(KIND, 2, b""));
        assert_eq!(newer, Err(JournalError::Newer(2)));
        let newer_form = JournalError::State(Refusal::Newer { wants: 3 });
        for newer in [newer.unwrap_err(), newer_form] {
            assert!(newer.to_string().starts_with("a newer Evergate wrote it"), "{newer}");
        }
        for body in [&b"\x01"[..], b"\x01\0\0\0x", b"\xff\xff\xff\xff"] {
            let refused = Changes::from_journal(&blob(KIND, VERSION, body));
            assert_eq!(refused, Err(JournalError::Content));
        }
        let hides = |name: &str| {
            let mut entry = Vec::new();
            put(&mut entry, &[format!("route.{name}").as_bytes()]);
            put(&mut entry, &[&1u64.to_le_bytes()]);
            put(&mut entry, &[&[HIDE]]);
            entry
        };
        let many = |count: usize| -> Vec<u8> {
            (0..count).flat_map(|number| hides(&number.to_string())).collect()
        };
        assert!(Changes::from_journal(&blob(KIND, VERSION, &many(CHANGES_MAX))).is_ok());
        for body in [many(CHANGES_MAX + 1), hides("twice").repeat(2)] {
            let refused = Changes::from_journal(&blob(KIND, VERSION, &body));
            assert_eq!(refused, Err(JournalError::Content));
        }
        let empty = Writer::new().finish().expect("it is short");
        assert_eq!(Changes::from_journal(&empty), Err(JournalError::Content));
    }
}
