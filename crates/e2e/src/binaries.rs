//! Binaries to upgrade to: copies of the one under test that are told apart by how they end.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::binary;

/// A folder of binaries; they go with it.
#[derive(Debug)]
pub struct Binaries {
    folder: tempfile::TempDir,
    made: AtomicU32,
}

impl Binaries {
    /// Without any yet.
    pub fn new() -> Self {
        let permissions = Permissions::from_mode(0o755);
        let mut builder = tempfile::Builder::new();
        let folder = builder.prefix("evergate-").permissions(permissions).tempdir();
        let folder = folder.expect("there is room for a directory");
        Self { folder, made: AtomicU32::new(0) }
    }

    /// Another one that is good.
    pub fn good(&self) -> PathBuf {
        self.with("")
    }

    /// Another one with these faults; see `fault.rs` of the binary.
    pub fn faulty(&self, faults: &str) -> PathBuf {
        self.with(&format!("\nEVGFAULT:{faults}\n"))
    }

    /// A file that is no binary.
    pub fn nonsense(&self) -> PathBuf {
        let path = self.next();
        write(&path, b"#!/bin/false\n");
        path
    }

    /// Replaces the binary at `path` as a package manager would: by another file of that name.
    pub fn exchange(&self, path: &Path) {
        fs::rename(self.good(), path).expect("both lie in our folder");
    }

    /// Removes a binary, so that many of them do not fill the disk.
    pub fn remove(&self, path: &Path) {
        fs::remove_file(path).expect("it is ours");
    }

    fn with(&self, ending: &str) -> PathBuf {
        let path = self.next();
        fs::copy(binary::path(), &path).expect("there is room for a binary");
        let mut file = OpenOptions::new().append(true).open(&path).expect("it is ours");
        let number = self.made.load(Ordering::Relaxed);
        write!(file, "\ncopy {number}\n{ending}").expect("there is room for a line");
        path
    }

    fn next(&self) -> PathBuf {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        self.folder.path().join(format!("evergate-{number}"))
    }
}

impl Default for Binaries {
    fn default() -> Self {
        Self::new()
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("there is room for a file");
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("it is ours");
}
