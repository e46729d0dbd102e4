//! A binary that workers are started from, opened once.
//!
//! Whatever its path leads to later, a worker that is replaced after a crash is of the same file as
//! the one before it, and what was looked at before an upgrade is what runs after it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use evergate_sys::image::Image;

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

    /// Where it was found. Another may be there by now.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether both are one file.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.image.identity() == other.image.identity()
    }
}

impl AsFd for Binary {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.image.as_fd()
    }
}
