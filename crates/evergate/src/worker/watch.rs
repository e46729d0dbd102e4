//! Noticing that a configuration file changed.
//!
//! The files are looked at once a second. That works on every file system, through renames and
//! symbolic links, which notifications do not.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

/// How often the files are looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a file looked like: inode, size, and time of the last change in nanoseconds.
type Look = Option<(u64, u64, i128)>;

/// Files, and what they looked like.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: BTreeMap<PathBuf, Look>,
    /// A change is acted on when the files have stood still for one look.
    pending: bool,
}

impl Watch {
    /// Watches `files` and the directories they are in from now on.
    pub(super) fn set(&mut self, files: &[PathBuf]) {
        self.seen = files.iter().map(|file| (file.clone(), look(file))).collect();
        self.pending = false;
    }

    /// Looks once. Says whether something changed before the last look and nothing since.
    pub(super) fn has_changed(&mut self) -> bool {
        let mut moved = false;
        for (file, seen) in &mut self.seen {
            let now = look(file);
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

fn look(file: &PathBuf) -> Look {
    let facts = |data: Metadata| {
        let changed = i128::from(data.mtime()) * 1_000_000_000 + i128::from(data.mtime_nsec());
        (data.ino(), data.len(), changed)
    };
    std::fs::metadata(file).ok().map(facts)
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
        watch.set(std::slice::from_ref(&file));
        assert!(!watch.has_changed());
        std::fs::write(&file, "ab").unwrap();
        assert!(!watch.has_changed(), "it may still be being written");
        std::fs::write(&file, "abc").unwrap();
        assert!(!watch.has_changed());
        assert!(watch.has_changed());
        assert!(!watch.has_changed());
        std::fs::remove_file(&file).unwrap();
        assert!(!watch.has_changed());
        assert!(watch.has_changed(), "a file that is gone is a change too");
    }
}
