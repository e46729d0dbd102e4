//! A binary that workers are started from, opened once.
//!
//! Whatever its path leads to later, a worker that is replaced after a crash is of the same file as
//! the one before it, and what was looked at before an upgrade is what runs after it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use evergate_sys::image::{Identity, Image};
use evergate_sys::privilege;

use crate::files;

/// Bits of permissions: that group or others may write, and that anybody may execute.
const WRITTEN_BY_OTHERS: u32 = 0o022;
const EXECUTED: u32 = 0o111;

/// A binary, and where it was found.
#[derive(Debug)]
pub(crate) struct Binary {
    path: PathBuf,
    image: Image,
}

impl Binary {
    /// That at `path`, whoever may change it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), image: Image::open(path)? })
    }

    /// The one that was found at `path` and is open already.
    pub(crate) fn resume(path: PathBuf, image: Image) -> Self {
        Self { path, image }
    }

    /// That at `path`, if nobody but root and we can change it or put another in its place: it will
    /// be what we are. An error says how to mend it.
    pub(crate) fn open_trusted(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let refused = |why: String| format!("{shown} cannot be upgraded to: {why}");
        let text = path.to_str().filter(|_| path.is_absolute());
        let text = text.ok_or_else(|| refused("its path is not absolute".to_owned()))?;
        let found = files::trusted(text).map_err(refused)?;
        let binary = Self { path: path.to_owned(), image: open_image(&found).map_err(refused)? };
        binary.refuse_changeable().map_err(refused)?;
        Ok(binary)
    }

    fn refuse_changeable(&self) -> Result<(), String> {
        let shown = self.path.display();
        let found = rustix::fs::fstat(&self.image).map_err(|error| error.to_string())?;
        if ![0, privilege::current_uid()].contains(&found.st_uid) {
            return Err(format!("it belongs to another user than root; `chown root {shown}`"));
        }
        if found.st_mode & WRITTEN_BY_OTHERS != 0 {
            return Err(format!("others than root can write to it; `chmod go-w {shown}`"));
        }
        if found.st_mode & EXECUTED == 0 {
            return Err(format!("it is not executable; `chmod a+x {shown}`"));
        }
        Ok(())
    }

    /// The file.
    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// Where it was found. Another may be there by now.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What tells it from others.
    pub(crate) fn identity(&self) -> Identity {
        self.image.identity()
    }
}

impl AsFd for Binary {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.image.as_fd()
    }
}

fn open_image(path: &Path) -> Result<Image, String> {
    Image::open(path).map_err(|error| error.to_string())
}
