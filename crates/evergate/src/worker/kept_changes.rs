//! The changes beside the file that this worker holds, and how it takes them up when it starts.
//!
//! They are read after the worker has given its rights away: a change never reads more than whoever
//! made it could. So the file is right by itself, and what a change names is asked of the disk as
//! `node.user`, or of the keeper.

use evergate_config::{Changes, Loaded, recall, render};

use super::files::Helped;
use super::journal::Journal;
use super::link::Link;
use super::{Start, embedded};

/// The changes, and where they are kept.
#[derive(Debug)]
pub(super) struct KeptChanges {
    pub(super) journal: Journal,
    /// As the journal has them; not in force if [`Self::refused`] says so.
    pub(super) changes: Changes,
    /// Why they are not in force.
    pub(super) refused: Option<Refused>,
    /// Whether the journal is worse than what is held here, so that it is to be written anew.
    pub(super) is_stale: bool,
}

/// Why changes are not in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Refused {
    /// The journal cannot be read, so nothing must be written over it.
    Unreadable(String),
    /// They do not fit the file.
    Unfit(String),
}

impl Refused {
    /// Why, for the operator.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Unreadable(why) | Self::Unfit(why) => why,
        }
    }
}

impl KeptChanges {
    /// None yet.
    pub(super) fn new(journal: Journal) -> Self {
        Self { journal, changes: Changes::default(), refused: None, is_stale: false }
    }

    /// Puts the changes of the journal into `start`. If that cannot be, what an earlier worker had in
    /// force is used (`remembered`), and without that the file alone.
    pub(super) fn take_up(
        &mut self,
        journaled: Result<Changes, String>,
        start: &mut Start,
        remembered: Option<&[u8]>,
        link: &mut Link,
    ) {
        let remembered = || remembered.and_then(|blob| recall(blob).ok());
        match journaled {
            Ok(changes) => self.changes = changes,
            Err(why) => match remembered() {
                Some(before) => {
                    self.changes = before.changes().clone();
                    self.is_stale = true;
                }
                None => {
                    self.refused = Some(Refused::Unreadable(why));
                    return;
                }
            },
        }
        if self.changes == *start.loaded.changes() {
            return;
        }
        let files = Helped::new(link);
        match with_changes(&start.loaded, &files, &self.changes) {
            Ok(loaded) => start.loaded = loaded,
            Err(errors) => {
                // What was in force before a crash goes on, as when the file is bad.
                let before = remembered();
                let was_in_force =
                    before.as_ref().is_some_and(|one| *one.changes() == self.changes);
                if let Some(before) = before {
                    start.loaded = before;
                }
                match was_in_force {
                    true => start.file_errors = Some(errors),
                    false => self.refused = Some(Refused::Unfit(errors)),
                }
            }
        }
        start.seen.extend(files.into_asked());
    }
}

/// `loaded`, with these changes in place of its own; or everything that is wrong with that.
pub(super) fn with_changes(
    loaded: &Loaded,
    files: &Helped<'_>,
    changes: &Changes,
) -> Result<Loaded, String> {
    let outcome = loaded.basis().load(files, changes, None);
    outcome.and_then(embedded::accepted).map_err(|errors| render(&errors, false))
}
