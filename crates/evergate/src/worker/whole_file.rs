//! A file of our own in `state_dir`, which is replaced whole or not at all: written beside, flushed,
//! renamed, and the directory flushed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use evergate_sys::directory;
use evergate_sys::privilege::{self, User};

/// What writing does, one after the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Create,
    Write,
    Flush,
    Rename,
    FlushDirectory,
}

/// A file in a directory that is its alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct WholeFile {
    directory: PathBuf,
    name: &'static str,
}

/// Makes the directory `name` for `user`, when we are root.
pub(super) fn prepare(state_dir: &Path, name: &str, user: &User) -> io::Result<()> {
    fs::create_dir_all(state_dir)?;
    let parent = directory::open(state_dir)?;
    let own = directory::open_or_make(&parent.directory, name)?;
    if own.is_new {
        directory::give(&own.directory, user.uid, user.gid)?;
        directory::make_private(&own.directory)?;
    }
    Ok(())
}

impl WholeFile {
    pub(super) fn new(state_dir: &Path, directory: &str, name: &'static str) -> Self {
        Self { directory: state_dir.join(directory), name }
    }

    /// Where it is.
    pub(super) fn path(&self) -> PathBuf {
        self.directory.join(self.name)
    }

    /// Whether it may be there. Root can tell that of a directory that the user may not enter, in
    /// which nothing was ever kept.
    pub(super) fn may_be_there(&self) -> bool {
        let found = fs::symlink_metadata(self.path());
        found.err().is_none_or(|error| error.kind() != io::ErrorKind::NotFound)
    }

    /// All of it, or one byte more than `bytes_max` of it; nothing if it is not there.
    pub(super) fn read(&self, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        match File::open(self.path()) {
            Ok(file) => file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(bytes))
    }

    /// Puts `bytes` in its place. Asks `before` ahead of every step, whose refusal is like that of
    /// the disk.
    pub(super) fn replace(
        &self,
        bytes: &[u8],
        before: &mut dyn FnMut(Step) -> io::Result<()>,
    ) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        // A crash may leave it, and it means nothing.
        let beside = self.directory.join(format!("{}.new", self.name));
        let _ = fs::remove_file(&beside);
        let mut write = || {
            before(Step::Create)?;
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&beside)?;
            before(Step::Write)?;
            file.write_all(bytes)?;
            before(Step::Flush)?;
            file.sync_all()?;
            before(Step::Rename)?;
            fs::rename(&beside, self.path())?;
            before(Step::FlushDirectory)?;
            File::open(&self.directory)?.sync_all()
        };
        write().inspect_err(|_| drop(fs::remove_file(&beside)))
    }

    /// Where it is, that we may not, and how to mend that.
    pub(super) fn denied(&self, error: &io::Error) -> String {
        let (path, uid) = (self.directory.display(), privilege::current_uid());
        format!(
            "{path}: {error}; make it with `install -d -m 700 -o {uid} {path}`, or `chown -R {uid} \
             {path}` if it is Evergate's"
        )
    }
}
