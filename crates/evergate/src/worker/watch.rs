//! Noticing that a configuration file changed.
//!
//! The files are looked at once a second. That works on every file system, through renames and
//! symbolic links, which notifications do not.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the files are looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a file looked like: inode, size, and time of the last change in nanoseconds.
pub(super) type Look = Option<(u64, u64, i128)>;

/// Files and directories, and what they looked like.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: BTreeMap<PathBuf, Look>,
    /// A change is acted on when the files have stood still for one look.
    pending: bool,
}

impl Watch {
    /// Watches these from now on, for changes since they looked like that.
    pub(super) fn set(&mut self, seen: BTreeMap<PathBuf, Look>) {
        self.seen = seen;
        self.pending = false;
    }

    /// Watches these too.
    pub(super) fn add(&mut self, seen: BTreeMap<PathBuf, Look>) {
        for (path, look) in seen {
            self.seen.entry(path).or_insert(look);
        }
    }

    /// Looks once, at each by `metadata`. Says whether something changed before the last look and
    /// nothing since.
    pub(super) fn has_changed(
        &mut self,
        mut metadata: impl FnMut(&Path) -> io::Result<Metadata>,
    ) -> bool {
        let mut moved = false;
        for (file, seen) in &mut self.seen {
            let now = look(metadata(file));
            moved |= now != *seen;
            *seen = now;
        }
        if moved {
            self.pending = true;
            return false;
        }
        std::mem::take(&mut self.pending)
    }
}

/// What there is to see in `found`.
pub(super) fn look(found: io::Result<Metadata>) -> Look {
    let facts = |data: Metadata| {
        // Permissions change this time too, and some files are refused for theirs.
        let changed = i128::from(data.ctime()) * 1_000_000_000 + i128::from(data.ctime_nsec());
        (data.ino(), data.len(), changed)
    };
    found.ok().map(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_when_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("evergate.toml");
        std::fs::write(&file, "a").unwrap();
        let mut watch = Watch::default();
        let metadata = |path: &Path| std::fs::metadata(path);
        let seen = [file.clone(), folder.path().to_owned()];
        watch.set(seen.map(|path| (path.clone(), look(metadata(&path)))).into());
        let mut has_changed = || watch.has_changed(metadata);
        assert!(!has_changed());
        std::fs::write(&file, "ab").unwrap();
        assert!(!has_changed(), "it may still be being written");
        std::fs::write(&file, "abc").unwrap();
        assert!(!has_changed());
        assert!(has_changed());
        assert!(!has_changed());
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, permissions).unwrap();
        assert!(!has_changed());
        assert!(has_changed(), "whoever may read it now matters too");
        std::fs::remove_file(&file).unwrap();
        assert!(!has_changed());
        assert!(has_changed(), "a file that is gone is a change too");
        std::fs::write(folder.path().join("other.toml"), "").unwrap();
        assert!(!has_changed());
        assert!(has_changed(), "a directory that has another file changed");
    }
}
