//! The journal of changes beside the file: `state_dir/changes/journal`.
//!
//! The worker makes the directory while it is still root, for the user that it becomes; the journal
//! itself it reads and writes as that user alone. One that cannot be read is left as it is, for the
//! operator to look at.

use std::io;
use std::path::{Path, PathBuf};

use evergate_config::{CHANGES_BYTES_MAX, Changes};
use evergate_sys::privilege::User;

use super::whole_file::{self, Step, WholeFile};

const DIRECTORY: &str = "changes";
const NAME: &str = "journal";

/// Where changes are kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Journal {
    file: WholeFile,
}

/// Makes the directory for `user`, when we are root. What fails here is told when something is to
/// be written: who changes nothing needs no directory.
pub(super) fn prepare(state_dir: &Path, user: &User) -> io::Result<()> {
    whole_file::prepare(state_dir, DIRECTORY, user)
}

impl Journal {
    /// The one of a node.
    pub(super) fn of(state_dir: &Path) -> Self {
        Self { file: WholeFile::new(state_dir, DIRECTORY, NAME) }
    }

    /// Where it is.
    pub(super) fn path(&self) -> PathBuf {
        self.file.path()
    }

    /// As [`WholeFile::may_be_there`].
    pub(super) fn may_be_there(&self) -> bool {
        self.file.may_be_there()
    }

    /// What it says; nothing if it is not there.
    ///
    /// # Errors
    /// Says what is wrong with it and how to go on.
    pub(super) fn read(&self) -> Result<Changes, String> {
        let bytes = match self.file.read(CHANGES_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(self.denied(&error));
            }
            Err(error) => return Err(format!("{} cannot be read: {error}", self.path().display())),
            Ok(None) => return Ok(Changes::default()),
            Ok(Some(bytes)) => bytes,
        };
        Changes::from_journal(&bytes).map_err(|error| {
            let path = self.path();
            format!(
                "the journal {0} cannot be used: {error}; the file alone is in force\nto go on \
                 without what is in it: `mv {0} {0}.bad && evergate reload`",
                path.display()
            )
        })
    }

    /// Puts `changes` in its place.
    ///
    /// # Errors
    /// Says why it cannot. The journal may be either of the two then, whole; whoever writes the one
    /// before again makes sure.
    pub(super) fn write(&self, changes: &Changes) -> Result<(), String> {
        self.write_by(changes, &mut |_| Ok(()))
    }

    /// Asks `before` ahead of every step, whose refusal is like that of the disk.
    fn write_by(
        &self,
        changes: &Changes,
        before: &mut dyn FnMut(Step) -> io::Result<()>,
    ) -> Result<(), String> {
        let bytes = changes.to_journal().map_err(|error| format!("the journal: {error}"))?;
        self.file.replace(&bytes, before).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => self.denied(&error),
            _ => format!("{} cannot be written: {error}", self.path().display()),
        })
    }

    fn denied(&self, error: &io::Error) -> String {
        format!("changes cannot be kept in {}", self.file.denied(error))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use evergate_config::Subject;
    use evergate_sys::privilege;

    use super::*;

    const STEPS: [Step; 5] =
        [Step::Create, Step::Write, Step::Flush, Step::Rename, Step::FlushDirectory];

    fn changes(names: &[&str]) -> Changes {
        let mut changes = Changes::default();
        for name in names {
            changes.hide(&Subject::Route((*name).to_owned()), 7).unwrap();
        }
        changes
    }

    #[test]
    fn what_is_written_is_read_and_nothing_is_left_beside_it() {
        let temporary = tempfile::tempdir().unwrap();
        let journal = Journal::of(temporary.path());
        assert_eq!(journal.read(), Ok(Changes::default()), "it is not there yet");
        for names in [&["a"][..], &["a", "b"], &[]] {
            journal.write(&changes(names)).unwrap();
            assert_eq!(journal.read(), Ok(changes(names)));
            assert_eq!(fs::read_dir(temporary.path().join("changes")).unwrap().count(), 1);
        }
        let mode = fs::metadata(journal.path()).unwrap().mode() & 0o777;
        let above = fs::metadata(temporary.path().join("changes")).unwrap().mode() & 0o777;
        assert_eq!((mode, above), (0o600, 0o700), "bodies may hold secrets");
    }

    #[test]
    fn a_step_that_fails_leaves_one_whole_journal_and_the_one_before_can_be_written_again() {
        let (old, new) = (changes(&["old"]), changes(&["new", "more"]));
        for failing in STEPS {
            let temporary = tempfile::tempdir().unwrap();
            let journal = Journal::of(temporary.path());
            journal.write(&old).unwrap();
            let full = || io::Error::from(io::ErrorKind::StorageFull);
            let mut fail = |step| if step == failing { Err(full()) } else { Ok(()) };
            let refused = journal.write_by(&new, &mut fail).unwrap_err();
            assert!(refused.contains("cannot be written: no storage space"), "{refused}");
            let is_renamed = failing == Step::FlushDirectory;
            let expected = if is_renamed { &new } else { &old };
            assert_eq!(journal.read().as_ref(), Ok(expected), "{failing:?}");
            journal.write(&old).unwrap();
            assert_eq!(journal.read().as_ref(), Ok(&old), "{failing:?}");
        }
    }

    #[test]
    fn a_crash_at_any_step_leaves_one_whole_journal() {
        let (old, new) = (changes(&["old"]), changes(&["new"]));
        for crashing in STEPS {
            let temporary = tempfile::tempdir().unwrap();
            let journal = Journal::of(temporary.path());
            journal.write(&old).unwrap();
            let writer = journal.clone();
            let written = new.clone();
            let crashed = std::thread::spawn(move || {
                let mut crash =
                    |step| if step == crashing { panic!("the power is cut") } else { Ok(()) };
                writer.write_by(&written, &mut crash)
            });
            assert!(crashed.join().is_err(), "it came to {crashing:?}");
            let read = journal.read().unwrap();
            assert!(
                read == if crashing == Step::FlushDirectory { new.clone() } else { old.clone() }
            );
            // What was left beside it is in nobody's way.
            journal.write(&changes(&["next"])).unwrap();
            assert_eq!(journal.read(), Ok(changes(&["next"])), "{crashing:?}");
        }
    }

    #[test]
    fn a_journal_that_cannot_be_used_is_told_with_the_way_out_and_left_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let journal = Journal::of(temporary.path());
        journal.write(&changes(&["a"])).unwrap();
        let mut bytes = fs::read(journal.path()).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(journal.path(), &bytes).unwrap();
        let refused = journal.read().unwrap_err();
        assert!(refused.contains("it is damaged") && refused.contains(".bad && evergate reload"));
        assert_eq!(fs::read(journal.path()).unwrap(), bytes);
        fs::remove_file(journal.path()).unwrap();
        fs::create_dir(journal.path()).unwrap();
        assert!(journal.read().unwrap_err().contains("cannot be read: "));
    }

    #[test]
    fn what_leads_elsewhere_is_not_written_through() {
        let temporary = tempfile::tempdir().unwrap();
        let journal = Journal::of(temporary.path());
        journal.write(&changes(&["a"])).unwrap();
        let elsewhere = temporary.path().join("elsewhere");
        fs::write(&elsewhere, "theirs").unwrap();
        symlink(&elsewhere, temporary.path().join("changes/journal.new")).unwrap();
        journal.write(&changes(&["b"])).unwrap();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "theirs");
        assert_eq!(journal.read(), Ok(changes(&["b"])));
    }

    #[test]
    fn the_directory_is_made_for_the_user_once() {
        if !privilege::is_root() {
            eprintln!("skipped: only root gives directories away");
            return;
        }
        let temporary = tempfile::tempdir().unwrap();
        let state = temporary.path().join("lib/evergate");
        let nobody = User { uid: 65534, gid: 65534, groups: vec![65534] };
        for _ in 0..2 {
            prepare(&state, &nobody).unwrap();
        }
        let metadata = fs::metadata(state.join("changes")).unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (65534, 0o700));
        assert_eq!(fs::metadata(&state).unwrap().uid(), 0, "the rest is not given away");
    }

    #[test]
    fn a_disk_that_is_full_is_no_disk_that_is_changed() {
        use std::process::Command;
        let temporary = tempfile::tempdir().unwrap();
        let mount = |arguments: &[&str]| {
            let done = Command::new("mount").args(arguments).arg(temporary.path()).output();
            done.is_ok_and(|done| done.status.success())
        };
        if !mount(&["-t", "tmpfs", "-o", "size=64k", "none"]) {
            eprintln!("skipped: only root mounts a small disk");
            return;
        }
        let journal = Journal::of(temporary.path());
        journal.write(&changes(&["a"])).unwrap();
        let mut much = Changes::default();
        let body = serde_json::json!({ "match": "/", "respond": { "body": "x".repeat(60_000) } });
        for name in ["one", "two"] {
            much.put(&Subject::Route(name.into()), &body.to_string(), 1).unwrap();
        }
        let refused = journal.write(&much).unwrap_err();
        assert!(refused.contains("o space left"), "{refused}");
        assert_eq!(journal.read(), Ok(changes(&["a"])));
        journal.write(&changes(&["b"])).unwrap();
        drop(Command::new("umount").arg(temporary.path()).status());
    }
}
