//! Changes beside the file: checked, journaled, put in force, whole or not at all.

use evergate_config::{Changes, Diagnostic, Level, Loaded, Subject, render};
use evergate_control::command::{ChangeFault, ChangeOrder, ChangeRefusal};
use evergate_control::snapshot::{self, ChangeStatus, PlanChange};
use evergate_sys::clock;

use super::ControlPlane;
use super::reload::told;
use crate::embedded;
use crate::worker::answers::REPLACED;
use crate::worker::files::Helped;
use crate::worker::journal::Journal;
use crate::worker::kept_changes::Refused;
use crate::worker::upgrades;

/// What is wanted, understood.
struct Wanted {
    next: Changes,
    /// What each subject comes to, for its event.
    done: Vec<(Subject, &'static str)>,
    /// What is being put, of which there is nothing to drop if it is refused.
    fresh: Option<Subject>,
}

impl ControlPlane {
    /// Changes routes and servers beside the file: the configuration in force with these changes is
    /// checked whole, then the journal is written, then all of it is put in force. With `dry_run` it
    /// only says what would change.
    ///
    /// The files are not read again, so that a change does what it says and nothing else; an edit of
    /// the file is for a reload.
    pub(in crate::worker) async fn change(
        &mut self,
        order: ChangeOrder,
        dry_run: bool,
    ) -> Result<PlanChange, ChangeRefusal> {
        self.may_change()?;
        let Wanted { next, done, fresh } = self.understand(order)?;
        let files = Helped::new(&mut self.link);
        let outcome = self.basis.load(&files, &next, fresh.as_ref());
        let seen = files.into_asked();
        let loaded = outcome.and_then(embedded::accepted).map_err(|errors| invalid(&errors))?;
        if dry_run {
            return self.put_in_force(&loaded, true).await.map_err(unfit);
        }
        let before = self.changes.changes.clone();
        self.write_journal(&next, &before).await?;
        // A file that is bad stays bad, whatever is changed beside it.
        let failure = self.reloads.failure.clone();
        let outcome = self.put_in_force(&loaded, false).await;
        self.reloads.failure = failure;
        let change = match outcome {
            Ok(change) => change,
            Err(why) => {
                let why = match write(&self.changes.journal, &before).await {
                    Ok(()) => why,
                    Err(journal) => format!("{why}\nand the journal keeps the change: {journal}"),
                };
                return Err(unfit(why));
            }
        };
        self.watch.add(seen);
        for (subject, verb) in done {
            let reason = format!("{verb}: {}", told(&change));
            self.event(Level::Info, "change_applied", &subject.to_string(), &reason);
        }
        Ok(change)
    }

    /// Whether this worker may change anything now.
    fn may_change(&self) -> Result<(), ChangeRefusal> {
        if !self.role.is_primary() {
            return Err(conflict(REPLACED, "nothing was changed"));
        }
        if let Some(Refused::Unreadable(why)) = &self.changes.refused {
            return Err(conflict(why, "nothing is written over a journal that cannot be read"));
        }
        // What comes back would not have it.
        if self.configurations.history.trial().is_some() {
            let help = "`evergate confirm` it, or go back with `evergate rollback`, and try again";
            return Err(conflict("a configuration is on trial", help));
        }
        // The other worker would not know of it.
        if upgrades::is_under_way(&self.node) {
            return Err(conflict("an upgrade is under way", "try again when it is over"));
        }
        Ok(())
    }

    fn understand(&self, order: ChangeOrder) -> Result<Wanted, ChangeRefusal> {
        let now = clock::unix_seconds();
        let mut next = self.changes.changes.clone();
        let mut done = Vec::new();
        let mut fresh = None;
        match order {
            ChangeOrder::Put { subject, body } => {
                let subject = parse(&subject)?;
                next.put(&subject, &body, now).map_err(|error| invalid(&[*error]))?;
                fresh = Some(subject.clone());
                done.push((subject, "put"));
            }
            ChangeOrder::Delete { subject } => {
                let subject = parse(&subject)?;
                let verb = self.delete(&subject, &mut next, now)?;
                done.push((subject, verb));
            }
            ChangeOrder::Drop { subjects } => {
                for text in subjects {
                    let subject = parse(&text)?;
                    if !next.forget(&subject) {
                        return Err(self.unknown(&subject));
                    }
                    done.push((subject, "dropped"));
                }
            }
        }
        Ok(Wanted { next, done, fresh })
    }

    /// Takes away what was put, or hides what the file has.
    fn delete(
        &self,
        subject: &Subject,
        next: &mut Changes,
        now: u64,
    ) -> Result<&'static str, ChangeRefusal> {
        match next.find(subject) {
            Some(change) if change.hides() => return Err(self.unknown(subject)),
            Some(_) => {
                next.forget(subject);
                return Ok("deleted");
            }
            None => {}
        }
        let config = self.gateway.config();
        let is_there = match subject {
            Subject::Route(name) => config.routes.contains_key(name),
            Subject::Server { pool, server } => {
                config.pools.get(pool).is_some_and(|pool| pool.servers.contains_key(server))
            }
        };
        if !is_there {
            return Err(self.unknown(subject));
        }
        next.hide(subject, now).map_err(|error| invalid(&[*error]))?;
        Ok("hidden")
    }

    fn unknown(&self, subject: &Subject) -> ChangeRefusal {
        let names: Vec<_> =
            self.changes.changes.iter().map(|(subject, _)| subject.to_string()).collect();
        let help = match names.as_slice() {
            [] => "there are no changes beside the file".to_owned(),
            names => format!("the changes beside the file are: {}", names.join(", ")),
        };
        let message = match self.changes.changes.find(subject) {
            Some(_) => format!("`{subject}` is hidden already"),
            None => format!("there is no `{subject}` to take away"),
        };
        let path = subject.to_string();
        ChangeRefusal { fault: ChangeFault::NotFound, message, path, help }
    }

    /// Writes the journal; if that fails, what was there `before` is there again.
    async fn write_journal(&self, next: &Changes, before: &Changes) -> Result<(), ChangeRefusal> {
        let Err(message) = write(&self.changes.journal, next).await else { return Ok(()) };
        // The disk may be full; then the one before was not replaced either.
        let _ = write(&self.changes.journal, before).await;
        let help = "nothing was changed; a change that cannot be kept would be lost with a restart";
        let fault = ChangeFault::NotKept;
        Err(ChangeRefusal { fault, message, path: String::new(), help: help.to_owned() })
    }

    /// The changes that a reload has to do with. A journal that could not be read may be mended.
    pub(super) fn changes_to_load(&mut self, dry_run: bool) -> Changes {
        if let Some(Refused::Unreadable(_)) = &self.changes.refused {
            match self.changes.journal.read() {
                Ok(changes) if dry_run => return changes,
                Ok(changes) => {
                    let why = "they were not yet put in force";
                    self.changes.refused = Some(Refused::Unfit(why.to_owned()));
                    self.changes.changes = changes;
                }
                Err(why) => self.changes.refused = Some(Refused::Unreadable(why)),
            }
        }
        self.changes.changes.clone()
    }

    /// The journal as `loaded` wants it: with another `node.state_dir` it moves, so that the changes
    /// are there after the next start.
    pub(super) async fn journal_for(&self, loaded: &Loaded) -> Result<Journal, String> {
        let journal = Journal::of(&loaded.config.node.state_dir);
        let is_unreadable = matches!(self.changes.refused, Some(Refused::Unreadable(_)));
        if journal != self.changes.journal && !is_unreadable {
            let outcome = write(&journal, loaded.changes()).await;
            // Who has no changes needs no journal either.
            outcome.or_else(|why| if loaded.changes().is_empty() { Ok(()) } else { Err(why) })?;
        }
        Ok(journal)
    }

    /// Takes note of what is in force now.
    pub(super) fn changes_applied(&mut self, loaded: &Loaded, journal: Journal) {
        self.changes.journal = journal;
        if !matches!(self.changes.refused, Some(Refused::Unreadable(_))) {
            self.changes.changes = loaded.changes().clone();
            self.changes.refused = None;
        }
    }

    /// Tells what became of the changes when this worker started.
    pub(super) fn tell_changes(&mut self) {
        if self.changes.is_stale {
            let outcome = self.changes.journal.write(&self.changes.changes);
            self.changes.is_stale = outcome.is_err();
            let reason = "the journal could not be read; what was in force is kept";
            let reason = outcome.map_or_else(|why| format!("{reason}: {why}"), |()| reason.into());
            self.event(Level::Warn, "changes_restored", "changes", &reason);
        }
        if let Some(refused) = self.changes.refused.clone() {
            self.event(Level::Error, "changes_refused", "changes", refused.why());
        }
    }

    /// The changes that the configuration in force has in it.
    pub(in crate::worker) fn changes_in_force(&self) -> &Changes {
        self.basis.changes()
    }

    /// Every change, for the operator.
    pub(in crate::worker) fn changes(&self) -> snapshot::Changes {
        let changes = &self.changes.changes;
        snapshot::Changes {
            changes: changes
                .iter()
                .map(|(subject, change)| {
                    let file = self.basis.stands_at(subject).map(str::to_owned);
                    ChangeStatus {
                        name: subject.to_string(),
                        does: does(change.hides(), file.is_some()).to_owned(),
                        file,
                        since: change.since,
                        body: change.shown(),
                    }
                })
                .collect(),
            refused: self.changes.refused.as_ref().map(|refused| refused.why().to_owned()),
            journal: self.changes.journal.path().display().to_string(),
        }
    }
}

/// Every change in `loaded`, and what it does to the file.
pub(super) fn effects(loaded: &Loaded) -> Vec<String> {
    let effects = loaded.changes().iter().map(|(subject, change)| {
        let file = loaded.stands_at(subject);
        match (does(change.hides(), file.is_some()), file) {
            (does, Some(file)) => format!("{subject} {does} {file}"),
            (does @ "hides", None) => format!("{subject} {does} nothing that the file has"),
            (does, None) => format!("{subject} {does} to the file"),
        }
    });
    effects.collect()
}

fn does(hides: bool, is_in_file: bool) -> &'static str {
    match (hides, is_in_file) {
        (true, _) => "hides",
        (false, true) => "replaces",
        (false, false) => "adds",
    }
}

/// Writes beside the control plane, for a disk may take its time.
async fn write(journal: &Journal, changes: &Changes) -> Result<(), String> {
    let (journal, changes) = (journal.clone(), changes.clone());
    let written = tokio::task::spawn_blocking(move || journal.write(&changes)).await;
    written.unwrap_or_else(|_| Err("the journal was not written".to_owned()))
}

fn parse(text: &str) -> Result<Subject, ChangeRefusal> {
    text.parse().map_err(|error: evergate_config::NoSubject| ChangeRefusal {
        fault: ChangeFault::NotFound,
        message: format!("`{text}` names no change"),
        path: String::new(),
        help: error.to_string(),
    })
}

fn invalid(errors: &[Diagnostic]) -> ChangeRefusal {
    let first = errors.iter().find(|one| one.severity == evergate_config::Severity::Error);
    ChangeRefusal {
        fault: ChangeFault::Invalid,
        message: render(errors, false),
        path: first.map(|error| error.path.clone()).unwrap_or_default(),
        help: first.and_then(|error| error.help.clone()).unwrap_or_default(),
    }
}

fn unfit(message: String) -> ChangeRefusal {
    let help = "nothing was changed".to_owned();
    ChangeRefusal { fault: ChangeFault::Invalid, message, path: String::new(), help }
}

fn conflict(message: &str, help: &str) -> ChangeRefusal {
    ChangeRefusal {
        fault: ChangeFault::Conflict,
        message: message.to_owned(),
        path: String::new(),
        help: help.to_owned(),
    }
}
