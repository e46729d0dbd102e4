//! The configurations that were applied lately, so that there is a way back.
//!
//! Each is kept as it was written: the texts of its files, in which `${file:…}` and `${env:…}` stay
//! references. What they stand for is read anew when one comes back, so no resolved secret is ever
//! written down; texts may hold secrets all the same. One of them is in force. Usually it is what the
//! file says; after going back it is held in place of the file until that changes or a reload is
//! asked for ([`Hold`]). While one is on trial it is written down which one comes back ([`OnTrial`]).

use std::fmt;
use std::path::Path;

use evergate_core::balance::hash_bytes;
use evergate_core::trial::Journaled;

use crate::changes::Changes;
use crate::diagnostic::Diagnostic;
use crate::files::{Files, Known, Record};
use crate::load::{Loaded, load_with_changes};

mod codec;

pub use codec::{HISTORY_BYTES_MAX, HistoryError};

/// Configurations that are kept; the oldest goes first.
pub const CONFIGURATIONS_MAX: usize = 5;
/// Bytes of words about one; what is longer is cut.
const WORDS_BYTES_MAX: usize = 1024;

/// The texts of a configuration, as they were read.
#[derive(Clone)]
pub struct Texts {
    record: Record,
}

/// A configuration that was applied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Applied {
    /// Counts them, from 1.
    pub id: u64,
    /// When it was applied first, in seconds of Unix time.
    pub at: u64,
    /// What led to it: `reload`, `the file changed` …
    pub why: String,
    /// What it changed.
    pub what: String,
    /// What it was made of.
    pub texts: Texts,
}

/// That an earlier configuration is in force in place of the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hold {
    /// Since when, in seconds of Unix time.
    pub since: u64,
    /// Why.
    pub why: String,
    /// [`Texts::mark`] of what the file says: as long as it says that, it is set aside.
    pub aside: u64,
}

/// A configuration that goes unless it is confirmed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OnTrial {
    /// The one that comes back.
    pub base: u64,
    /// By when.
    pub clock: Journaled,
}

/// The configurations that were applied lately, in order of their ids.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct History {
    applied: Vec<Applied>,
    last: u64,
    in_force: u64,
    hold: Option<Hold>,
    trial: Option<OnTrial>,
    trials: u64,
}

impl Loaded {
    /// The texts it was made of, and nothing that they refer to.
    pub fn texts(&self) -> Texts {
        let record = &self.record;
        let is_text = |path: &Path| self.sources.iter().any(|source| source.path == path);
        let texts = record.texts.iter().filter(|(path, _)| is_text(path));
        // Of a folder only what was included counts.
        let folders = record.directories.iter().map(|(folder, paths)| {
            (folder.clone(), paths.iter().filter(|path| is_text(path)).cloned().collect())
        });
        Texts {
            record: Record {
                main: record.main.clone(),
                host_name: record.host_name.clone(),
                texts: texts.map(|(path, text)| (path.clone(), text.clone())).collect(),
                directories: folders.collect(),
                ..Record::default()
            },
        }
    }
}

impl Texts {
    /// Loads the configuration from these texts, with `changes` beside them; asks `live` for all
    /// that they refer to.
    ///
    /// # Errors
    /// As [`load_with_changes`].
    pub fn load(&self, live: &dyn Files, changes: &Changes) -> Result<Loaded, Vec<Diagnostic>> {
        let files = Known { record: &self.record, live };
        load_with_changes(&self.record.main, &files, changes, None)
    }

    /// The main file.
    pub fn main(&self) -> &Path {
        &self.record.main
    }

    /// A number that differs when a text does. Not against forgery.
    pub fn mark(&self) -> u64 {
        hash_bytes(&crate::remember::encode(&Record {
            main: self.record.main.clone(),
            texts: self.record.texts.clone(),
            ..Record::default()
        }))
    }
}

impl PartialEq for Texts {
    fn eq(&self, other: &Self) -> bool {
        (&self.record.main, &self.record.texts) == (&other.record.main, &other.record.texts)
    }
}

impl Eq for Texts {}

/// Says how many, never what is in them.
impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Texts({}, {} files)", self.record.main.display(), self.record.texts.len())
    }
}

impl History {
    /// All of them, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Applied> {
        self.applied.iter()
    }

    /// The one with this id.
    pub fn find(&self, id: u64) -> Option<&Applied> {
        self.applied.iter().find(|one| one.id == id)
    }

    /// The one in force; nothing before the first was recorded.
    pub fn in_force(&self) -> Option<&Applied> {
        self.find(self.in_force)
    }

    /// The one before that in force.
    pub fn before(&self) -> Option<&Applied> {
        self.applied.iter().rev().find(|one| one.id < self.in_force)
    }

    /// Why the file is not in force, if it is not.
    pub fn hold(&self) -> Option<&Hold> {
        self.hold.as_ref()
    }

    /// What is on trial.
    pub fn trial(&self) -> Option<&OnTrial> {
        self.trial.as_ref()
    }

    /// How many trials have begun.
    pub fn trials(&self) -> u64 {
        self.trials
    }

    /// What the file says was put in force. One that is there already, in force or the newest, is not
    /// kept twice.
    pub fn record(&mut self, texts: Texts, at: u64, why: &str, what: &str) {
        self.hold = None;
        let newest = self.applied.last().filter(|newest| newest.texts == texts);
        let same = self.in_force().filter(|one| one.texts == texts).or(newest).map(|one| one.id);
        if let Some(id) = same {
            self.in_force = id;
            return;
        }
        self.last += 1;
        self.in_force = self.last;
        let (why, what) = (cut(why), cut(what));
        self.applied.push(Applied { id: self.last, at, why, what, texts });
        while self.applied.len() > CONFIGURATIONS_MAX {
            self.drop_oldest();
        }
    }

    /// An earlier one was put in force; the file is set aside.
    pub fn go_back(&mut self, to: u64, hold: Hold) {
        debug_assert!(self.find(to).is_some(), "only what is kept comes back");
        self.in_force = to;
        self.hold = Some(Hold { why: cut(&hold.why), ..hold });
        self.trial = None;
    }

    /// The number of a trial that begins now, if none is under way.
    pub fn next_trial(&self) -> u64 {
        self.trial.as_ref().map_or(self.trials + 1, |trial| trial.clock.number)
    }

    /// One is on trial from now on.
    pub fn try_out(&mut self, trial: OnTrial) {
        self.trials = self.trials.max(trial.clock.number);
        self.trial = Some(trial);
    }

    /// Nothing is on trial any more.
    pub fn end_trial(&mut self) {
        self.trial = None;
    }

    /// The oldest that nothing depends on goes; whether there was one.
    fn drop_oldest(&mut self) -> bool {
        let base = self.trial.as_ref().map(|trial| trial.base);
        let in_force = self.in_force;
        let is_free = |one: &Applied| one.id != in_force && Some(one.id) != base;
        let oldest = self.applied.iter().position(is_free);
        oldest.map(|oldest| self.applied.remove(oldest)).is_some()
    }
}

fn cut(words: &str) -> String {
    words[..words.floor_char_boundary(WORDS_BYTES_MAX)].to_owned()
}
