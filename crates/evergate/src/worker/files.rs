//! Reading the configuration as somebody without rights: what we may not open, the keeper opens.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

use evergate_config::{Disk, Files};

use super::link::Link;

/// The disk, with the keeper's help.
#[derive(Debug)]
pub(super) struct Helped<'a> {
    link: RefCell<&'a mut Link>,
}

impl<'a> Helped<'a> {
    /// Asks over `link` where the disk refuses.
    pub(super) fn new(link: &'a mut Link) -> Self {
        Self { link: RefCell::new(link) }
    }
}

impl Files for Helped<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match Disk.read(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                // If the keeper will not either, the first reason is the one to tell.
                self.link.borrow_mut().read_file(path).map_err(|_| error)
            }
            other => other,
        }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        Disk.list(directory)
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        Disk.mode(path)
    }

    fn env(&self, name: &str) -> Option<String> {
        Disk.env(name)
    }
}
