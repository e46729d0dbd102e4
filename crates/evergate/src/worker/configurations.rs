//! The configurations that were applied lately, as this worker keeps them: with the keeper, for the
//! worker that comes after it, and in `state_dir/history/configurations`, for the next start.
//!
//! What the disk does not take is kept with the keeper alone, and that is said. A file that cannot be
//! read is left as it is, for the operator to look at, and nothing is written over it.

use std::io;
use std::path::{Path, PathBuf};

use evergate_config::{Changes, HISTORY_BYTES_MAX, History, Hold, Loaded, OnTrial, recall, render};
use evergate_control::link::{TrialNews, TrialOrder};
use evergate_core::balance::hash_bytes;
use evergate_core::trial::{Clocks, Journaled, State, Why};
use evergate_sys::clock;
use evergate_sys::privilege::User;

use super::files::Helped;
use super::link::Link;
use super::whole_file::{self, WholeFile};
use super::{Start, embedded};

const DIRECTORY: &str = "history";
const NAME: &str = "configurations";

/// What is kept, and where.
#[derive(Debug)]
pub(super) struct Configurations {
    pub(super) history: History,
    /// While one is on trial, what comes back with all that it refers to, as it was then.
    pub(super) base: Option<Vec<u8>>,
    /// Why the disk does not have what is held here.
    pub(super) unkept: Option<String>,
    /// What was last told of that.
    pub(super) unkept_told: Option<String>,
    /// Why the one before the one on trial cannot come back.
    pub(super) return_failure: Option<String>,
    file: WholeFile,
    /// Whether the file on the disk cannot be read, so that nothing must be written over it.
    is_unreadable: bool,
    /// What the start came to, to be told once there is somebody to tell.
    pub(super) started: Started,
}

/// What a start with earlier configurations came to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Started {
    /// What the keeper is to be told.
    pub(super) order: Option<TrialOrder>,
    /// Whether the keeper wants to hear that the one before is in force.
    pub(super) has_returned: Option<Why>,
    /// Why an earlier one is not in force although it should be.
    pub(super) failure: Option<String>,
}

/// Makes the directory for `user`, when we are root. What fails here is told when something is to be
/// written.
pub(super) fn prepare(state_dir: &Path, user: &User) -> io::Result<()> {
    whole_file::prepare(state_dir, DIRECTORY, user)
}

/// What tells apart files that cannot be used, in place of [`evergate_config::Texts::mark`].
pub(super) fn mark_of_errors(errors: &str) -> u64 {
    hash_bytes(errors.as_bytes())
}

/// What the clocks say, for a trial.
pub(super) fn clocks(boot: &str) -> Clocks<'_> {
    Clocks { now: clock::now(), boot, unix: clock::unix_seconds() }
}

/// Which boot this is; empty if it cannot be told.
pub(super) fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

impl Configurations {
    /// None yet; they will be in `state_dir`.
    pub(super) fn new(state_dir: &Path) -> Self {
        Self {
            history: History::default(),
            base: None,
            unkept: None,
            unkept_told: None,
            return_failure: None,
            file: WholeFile::new(state_dir, DIRECTORY, NAME),
            is_unreadable: false,
            started: Started::default(),
        }
    }

    /// As [`WholeFile::may_be_there`].
    pub(super) fn may_be_there(&self) -> bool {
        self.file.may_be_there()
    }

    /// Moves to another `state_dir`.
    pub(super) fn follow(&mut self, state_dir: &Path) {
        let file = WholeFile::new(state_dir, DIRECTORY, NAME);
        if file != self.file {
            self.file = file;
            self.is_unreadable = false;
        }
    }

    /// Takes up what the keeper has, which is never older than the disk; without that, what is on the
    /// disk, if `may_be_there`.
    pub(super) fn take_up(&mut self, kept: Option<&[u8]>, may_be_there: bool) {
        let kept = kept.and_then(|bytes| History::from_bytes(bytes).ok());
        match kept {
            Some(history) => self.history = history,
            None if may_be_there => self.read(),
            None => {}
        }
    }

    /// Takes up what is on the disk, if it can be read.
    pub(super) fn read(&mut self) {
        let path = self.file.path();
        let why = match self.file.read(HISTORY_BYTES_MAX) {
            Ok(None) => return,
            Ok(Some(bytes)) => match History::from_bytes(&bytes) {
                Ok(history) => {
                    self.history = history;
                    return;
                }
                Err(error) => format!(
                    "the history {0} cannot be used: {error}; there is no way back to what is in \
                     it\nto go on without: `mv {0} {0}.bad && evergate reload`",
                    path.display()
                ),
            },
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                format!("the history cannot be kept in {}", self.file.denied(&error))
            }
            Err(error) => format!("{} cannot be read: {error}", path.display()),
        };
        self.is_unreadable = true;
        self.unkept = Some(why);
    }

    /// Decides which configuration a primary worker starts with, now that the file was read: that of
    /// the file (in `start`), the one that is held in its place, or the one before a trial that is
    /// over. Says in [`Self::started`] what there is to tell.
    pub(super) fn choose(
        &mut self,
        start: &mut Start,
        keeper: Option<&TrialNews>,
        link: &mut Link,
    ) {
        // An older keeper knows of no trial: nobody would go back.
        let Some(keeper) = keeper else {
            self.history.end_trial();
            return self.hold_on(start, link);
        };
        let trial = self.history.trial().cloned();
        let is_ours = |trial: &OnTrial| {
            let base = self.history.find(trial.base);
            base.is_some_and(|base| base.texts.main() == start.file)
        };
        // That of a node with another file is none of our business.
        let trial = trial.filter(is_ours);
        let number = self.history.trials();
        let is_untold = match keeper.state {
            State::Untold => true,
            State::Settled => trial.as_ref().is_some_and(|one| one.clock.number > keeper.number),
            State::Open { .. } | State::Returning { .. } => false,
        };
        self.started.order = Some(TrialOrder::Told { number, left_ms: None });
        if let State::Returning { why, .. } = keeper.state {
            return self.return_at_start(start, why, link);
        }
        match trial {
            Some(trial) if is_untold => match trial.clock.resume(clocks(&boot())) {
                Ok(left) => {
                    let left_ms = Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
                    self.started.order = Some(TrialOrder::Told { number, left_ms });
                    let starts = trial.clock.starts.saturating_add(1);
                    let clock = Journaled { starts, ..trial.clock };
                    self.history.try_out(OnTrial { clock, ..trial });
                }
                Err(why) => self.return_at_start(start, why, link),
            },
            // It crashed between telling the keeper and writing that down, or it goes on.
            Some(_) | None if matches!(keeper.state, State::Open { .. }) => {}
            Some(_) | None => {
                self.history.end_trial();
                self.hold_on(start, link);
            }
        }
    }

    /// Starts with what is held in place of the file, if the file still says what it did.
    fn hold_on(&mut self, start: &mut Start, link: &mut Link) {
        let Some(hold) = self.history.hold() else { return };
        if start.mark != hold.aside {
            // Whoever changed it wants it; it is recorded when it is in force.
            return;
        }
        let Some(held) = self.history.in_force().cloned() else { return };
        let changes = start.loaded.changes().clone();
        match load(&held.texts, &changes, link) {
            Ok(loaded) => {
                start.loaded = loaded;
                start.file_errors = None;
                start.is_held = true;
            }
            Err(why) => {
                self.started.failure =
                    Some(format!("configuration #{} cannot come back: {why}", held.id));
            }
        }
    }

    /// Starts with what was before the trial.
    fn return_at_start(&mut self, start: &mut Start, why: Why, link: &mut Link) {
        match self.before_trial(start.loaded.changes(), link) {
            Ok((id, loaded)) => {
                start.loaded = loaded;
                start.file_errors = None;
                start.is_held = true;
                self.started.has_returned = Some(why);
                let since = clock::unix_seconds();
                self.history.go_back(id, Hold { since, why: why.to_string(), aside: start.mark });
            }
            Err(failure) => {
                // The keeper asks again and again; so it must know.
                let number = self.history.trials();
                self.started.order = Some(TrialOrder::Told { number, left_ms: Some(0) });
                self.started.failure = Some(failure);
            }
        }
    }

    /// What comes back if the one on trial is not confirmed: which one, and as it was then; or, after
    /// a restart of the node, as it was written with what that refers to now.
    pub(super) fn before_trial(
        &self,
        changes: &Changes,
        link: &mut Link,
    ) -> Result<(u64, Loaded), String> {
        let trial = self.history.trial().map(|trial| trial.base);
        // A worker that had no time to write the trial down had not put it in force either.
        let id = trial.or_else(|| self.history.in_force().map(|one| one.id));
        let base = id.and_then(|id| self.history.find(id));
        let base = base.ok_or("it is not known any more what was before")?;
        let exact = self.base.as_deref().and_then(|blob| recall(blob).ok());
        let exact = exact.filter(|one| embedded::refusals(&one.config).is_empty());
        match exact {
            Some(loaded) => Ok((base.id, loaded)),
            None => Ok((base.id, load(&base.texts, changes, link)?)),
        }
    }

    /// Where it is, or would be, on the disk.
    pub(super) fn path(&self) -> PathBuf {
        self.file.path()
    }

    /// The file to be written, unless what is there cannot be read.
    pub(super) fn writable(&mut self) -> Option<WholeFile> {
        if self.is_unreadable && !matches!(self.file.read(0), Ok(None)) {
            return None;
        }
        self.is_unreadable = false;
        Some(self.file.clone())
    }

    /// Takes in what came of writing it.
    pub(super) fn written(&mut self, outcome: io::Result<()>) {
        self.unkept = outcome.err().map(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => {
                format!("the history cannot be kept in {}", self.file.denied(&error))
            }
            _ => format!("{} cannot be written: {error}", self.file.path().display()),
        });
    }

    /// Writes it, while nobody waits yet.
    pub(super) fn write_now(&mut self) {
        match self.history.to_bytes() {
            Ok(bytes) => {
                if let Some(file) = self.writable() {
                    self.written(file.replace(&bytes, &mut |_| Ok(())));
                }
            }
            Err(error) => self.unkept = Some(format!("the history: {error}")),
        }
    }
}

/// The configuration of these texts, with `changes`; or everything that is wrong with that.
pub(super) fn load(
    texts: &evergate_config::Texts,
    changes: &Changes,
    link: &mut Link,
) -> Result<Loaded, String> {
    let files = Helped::new(link);
    let outcome = texts.load(&files, changes).and_then(embedded::accepted);
    outcome.map_err(|errors| render(&errors, false))
}
