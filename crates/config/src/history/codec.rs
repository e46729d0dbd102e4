//! The history as bytes: for the disk and for the worker that comes after this one.
//!
//! One section of [`evergate_core::state`], whose sum guards the whole: it is read as it was written
//! or not at all. Its body is a list of byte strings, each with its length before it as 32 bits, all
//! numbers little-endian: five of the head, then six for each configuration.

use std::fmt;
use std::time::Duration;

use evergate_core::state::{self, Refusal, Section, Writer};
use evergate_core::time::Instant;
use evergate_core::trial::Journaled;

use super::{Applied, CONFIGURATIONS_MAX, History, Hold, OnTrial, Texts};
use crate::remember;

/// Most bytes of a history; configurations that are too long for it are left out, the oldest first.
pub const HISTORY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Kind of the only section.
const KIND: u16 = 2;
const VERSION: u16 = 1;

/// Why a history cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HistoryError {
    /// It is damaged, or something else.
    State(Refusal),
    /// A newer Evergate wrote it.
    Newer(u16),
    /// Its sum is right, but what it says is not.
    Content,
    /// Even those that are needed are longer than [`HISTORY_BYTES_MAX`].
    TooLong,
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(Refusal::Damaged) => f.write_str("it is damaged"),
            Self::State(Refusal::Foreign) => f.write_str("it is no history of Evergate"),
            Self::State(refusal) => refusal.fmt(f),
            Self::Newer(version) => {
                write!(f, "a newer Evergate wrote it (version {version}, this one reads {VERSION})")
            }
            Self::Content => f.write_str("what is in it makes no sense"),
            Self::TooLong => write!(f, "it is longer than {HISTORY_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for HistoryError {}

impl History {
    /// All of it as bytes, which may hold secrets. Forgets the oldest configurations if they are too
    /// long together.
    ///
    /// # Errors
    /// If what is in force, and what comes back after a trial, is too long by itself.
    pub fn to_bytes(&mut self) -> Result<Vec<u8>, HistoryError> {
        loop {
            let mut writer = Writer::new();
            let body = self.body();
            writer.section(Section {
                kind: KIND,
                version: VERSION,
                is_required: true,
                body: &body,
            });
            let blob = writer.finish().filter(|blob| blob.len() <= HISTORY_BYTES_MAX);
            match blob {
                Some(blob) => return Ok(blob),
                None if self.drop_oldest() => {}
                None => return Err(HistoryError::TooLong),
            }
        }
    }

    /// What [`Self::to_bytes`] wrote: all of it, or nothing.
    ///
    /// # Errors
    /// If any part of it cannot be trusted.
    pub fn from_bytes(blob: &[u8]) -> Result<Self, HistoryError> {
        if blob.len() > HISTORY_BYTES_MAX {
            return Err(HistoryError::TooLong);
        }
        let sections = state::read(blob).map_err(HistoryError::State)?;
        let [section] = sections.as_slice() else { return Err(HistoryError::Content) };
        match (section.kind, section.version) {
            (KIND, VERSION) => decode(section.body).ok_or(HistoryError::Content),
            (KIND, version) => Err(HistoryError::Newer(version)),
            _ => Err(HistoryError::Content),
        }
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for number in [self.last, self.in_force, self.trials] {
            put(&mut body, &number.to_le_bytes());
        }
        let hold = self.hold.as_ref().map(encode_hold);
        put(&mut body, &hold.unwrap_or_default());
        let trial = self.trial.as_ref().map(encode_trial);
        put(&mut body, &trial.unwrap_or_default());
        for one in &self.applied {
            put(&mut body, &one.id.to_le_bytes());
            put(&mut body, &one.at.to_le_bytes());
            put(&mut body, one.why.as_bytes());
            put(&mut body, one.what.as_bytes());
            put(&mut body, &remember::encode(&one.texts.record));
        }
        body
    }
}

fn encode_hold(hold: &Hold) -> Vec<u8> {
    let numbers = [hold.since.to_le_bytes(), hold.aside.to_le_bytes()];
    [numbers.as_flattened(), hold.why.as_bytes()].concat()
}

fn decode_hold(bytes: &[u8]) -> Option<Hold> {
    let mut rest = bytes;
    let (since, aside) = (number(&mut rest)?, number(&mut rest)?);
    Some(Hold { since, aside, why: text(rest)? })
}

fn encode_trial(trial: &OnTrial) -> Vec<u8> {
    let OnTrial { base, clock: Journaled { number, within, until, boot, until_unix, starts } } =
        trial;
    let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
    let numbers = [*base, *number, within, until.as_nanos(), *until_unix, u64::from(*starts)];
    let numbers = numbers.map(u64::to_le_bytes);
    [numbers.as_flattened(), boot.as_bytes()].concat()
}

fn decode_trial(bytes: &[u8]) -> Option<OnTrial> {
    let mut rest = bytes;
    let mut next = || number(&mut rest);
    let base = next()?;
    let (number, within, until, until_unix) = (next()?, next()?, next()?, next()?);
    let starts = u32::try_from(next()?).ok()?;
    let clock = Journaled {
        number,
        within: Duration::from_millis(within),
        until: Instant::from_nanos(until),
        boot: text(rest)?,
        until_unix,
        starts,
    };
    Some(OnTrial { base, clock })
}

fn decode(mut rest: &[u8]) -> Option<History> {
    let mut next = || take(&mut rest);
    let mut history = History {
        last: whole(next()?)?,
        in_force: whole(next()?)?,
        trials: whole(next()?)?,
        ..History::default()
    };
    let (hold, trial) = (next()?, next()?);
    if !hold.is_empty() {
        history.hold = Some(decode_hold(hold)?);
    }
    if !trial.is_empty() {
        history.trial = Some(decode_trial(trial)?);
    }
    while !rest.is_empty() {
        let mut next = || take(&mut rest);
        history.applied.push(Applied {
            id: whole(next()?)?,
            at: whole(next()?)?,
            why: text(next()?)?,
            what: text(next()?)?,
            texts: Texts { record: remember::decode(next()?)? },
        });
    }
    makes_sense(&history).then_some(history)
}

/// Whether whoever wrote it could have had it.
fn makes_sense(history: &History) -> bool {
    let History { applied, last, in_force, hold, trial, trials } = history;
    let are_ordered = applied.is_sorted_by(|one, next| one.id < next.id);
    let is_known = |id: u64| applied.iter().any(|one| one.id == id);
    applied.len() <= CONFIGURATIONS_MAX
        && are_ordered
        && applied.last().is_none_or(|one| one.id <= *last)
        && (is_known(*in_force) || applied.is_empty() && *in_force == 0 && hold.is_none())
        && trial.as_ref().is_none_or(|one| is_known(one.base) && one.clock.number <= *trials)
}

fn put(body: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).expect("configurations are bounded below 4 GiB");
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(part);
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (part, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(part)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (number, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    Some(u64::from_le_bytes(*number))
}

fn whole(part: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(part.try_into().ok()?))
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Record;

    fn applied(id: u64) -> Applied {
        let texts = Texts { record: Record::default() };
        Applied { id, at: 1, why: "reload".into(), what: String::new(), texts }
    }

    fn history() -> History {
        let clock = Journaled {
            number: 2,
            within: Duration::from_secs(60),
            until: Instant::from_nanos(1),
            boot: String::new(),
            until_unix: 1,
            starts: 0,
        };
        History {
            applied: vec![applied(3), applied(5)],
            last: 5,
            in_force: 5,
            hold: None,
            trial: Some(OnTrial { base: 3, clock }),
            trials: 2,
        }
    }

    #[test]
    fn a_history_that_nobody_could_have_had_is_refused() {
        let read = |mut history: History| History::from_bytes(&history.to_bytes().expect("short"));
        assert_eq!(read(history()), Ok(history()));
        type Spoil = fn(&mut History);
        let table: [(&str, Spoil); 7] = [
            ("one of the future", |one| one.last = 4),
            ("none of them is in force", |one| one.in_force = 4),
            ("the order is wrong", |one| one.applied.swap(0, 1)),
            ("one that is not kept would come back", |one| one.applied[0].id = 2),
            ("a trial of the future", |one| one.trials = 1),
            ("too many", |one| {
                one.applied.extend([6, 7, 8, 9].map(applied));
                one.last = 9;
            }),
            ("nothing is held", |one| {
                let hold = Hold { since: 1, why: String::new(), aside: 1 };
                *one = History { hold: Some(hold), ..History::default() };
            }),
        ];
        for (what, spoil) in table {
            let mut spoilt = history();
            spoil(&mut spoilt);
            assert_eq!(read(spoilt), Err(HistoryError::Content), "{what}");
        }
    }
}
