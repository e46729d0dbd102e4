//! Reading the configuration as somebody without rights: what we may not open, the keeper opens.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use evergate_config::{Disk, Files, READ_BYTES_MAX, interpreter};
use evergate_sys::{clock, directory, regular_file};

use super::link::Link;
use super::watch::{Look, look};

/// The disk, with the keeper's help.
#[derive(Debug)]
pub(super) struct Helped<'a> {
    link: RefCell<&'a mut Link>,
    asked: RefCell<BTreeMap<PathBuf, Look>>,
}

impl<'a> Helped<'a> {
    /// Asks over `link` where the disk refuses.
    pub(super) fn new(link: &'a mut Link) -> Self {
        Self { link: RefCell::new(link), asked: RefCell::default() }
    }

    /// Every file and directory that was asked for, found or not, and what it looked like before it
    /// was read: what has to change before another attempt can end differently.
    pub(super) fn into_asked(self) -> BTreeMap<PathBuf, Look> {
        self.asked.into_inner()
    }

    fn note(&self, path: &Path) {
        let seen = look(metadata(&mut self.link.borrow_mut(), path));
        self.asked.borrow_mut().entry(path.to_owned()).or_insert(seen);
    }
}

/// What is known of a file or directory, asked over `link` if it lies where we may not look.
pub(super) fn metadata(link: &mut Link, path: &Path) -> io::Result<Metadata> {
    helped(std::fs::metadata(path), || File::from(link.open(path)?).metadata())
}

/// The first outcome, or the second where the first is a refusal. If the keeper will not either,
/// it has the better reason: it knows what it opens.
fn helped<T>(tried: io::Result<T>, help: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    match tried {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => help(),
        other => other,
    }
}

impl Files for Helped<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.note(path);
        // Whoever turns the node waits for what is read here: nothing that may wait is opened.
        let file = helped(regular_file::open(path), || {
            Ok(File::from(self.link.borrow_mut().open(path)?))
        })?;
        let mut bytes = Vec::new();
        file.take(READ_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.note(directory);
        helped(Disk.list(directory), || {
            let names = directory::names(self.link.borrow_mut().open(directory)?)?;
            Ok(names.into_iter().map(|name| directory.join(name)).collect())
        })
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        let found = metadata(&mut self.link.borrow_mut(), path).ok()?;
        Some(found.permissions().mode() & 0o7777)
    }

    fn is_directory(&self, path: &Path) -> Option<bool> {
        match metadata(&mut self.link.borrow_mut(), path) {
            Ok(found) => Some(found.is_dir()),
            Err(error) => (error.kind() == io::ErrorKind::NotFound).then_some(false),
        }
    }

    fn interpreter(&self, path: &Path) -> Option<String> {
        interpreter(regular_file::open(path).ok()?)
    }

    fn is_user(&self, name: &str) -> Option<bool> {
        Disk.is_user(name)
    }

    fn now(&self) -> Option<u64> {
        Some(clock::unix_seconds())
    }

    fn env(&self, name: &str) -> Option<String> {
        Disk.env(name)
    }
}
