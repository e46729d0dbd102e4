//! Where texts and values come from: the disk and the environment, or a stand-in for them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::changes::Changes;

/// Bytes that loading asks for of any file; of a longer one it needs to see only that it is.
pub const READ_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What loading a configuration asks of the machine.
///
/// A worker that may not read the files has its keeper open them; tests hold them in memory.
pub trait Files {
    /// The whole file, or more than [`READ_BYTES_MAX`] of it.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The files in a directory, in any order; each path begins with `directory`.
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;

    /// A variable of the environment.
    fn env(&self, name: &str) -> Option<String>;

    /// Permissions of a file, as for chmod; `None` if they cannot be told.
    fn mode(&self, _path: &Path) -> Option<u32> {
        None
    }

    /// Whether a directory is there; `None` if that cannot be told.
    fn is_directory(&self, _path: &Path) -> Option<bool> {
        None
    }

    /// Of a script, what its first line says to run it by (behind `#!`); `None` for others, and if
    /// that cannot be told.
    fn interpreter(&self, _path: &Path) -> Option<String> {
        None
    }

    /// Whether the machine has a user of that name; `None` if that cannot be told.
    fn is_user(&self, _name: &str) -> Option<bool> {
        None
    }

    /// Seconds of Unix time, for the lives of certificates; `None` says nothing of them.
    fn now(&self) -> Option<u64> {
        None
    }

    /// The machine's name, for `node.name`.
    fn host_name(&self) -> String {
        std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map(|name| name.trim().to_owned())
            .ok()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "localhost".to_owned())
    }
}

/// The disk and the environment of this process. It knows no time: that is [`DiskAt`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path)?;
        file.take(READ_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        std::fs::read_dir(here)?.map(|entry| Ok(directory.join(entry?.file_name()))).collect()
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o7777).ok()
    }

    fn is_directory(&self, path: &Path) -> Option<bool> {
        match std::fs::metadata(path) {
            Ok(metadata) => Some(metadata.is_dir()),
            Err(error) => (error.kind() == io::ErrorKind::NotFound).then_some(false),
        }
    }

    fn interpreter(&self, path: &Path) -> Option<String> {
        interpreter(std::fs::File::open(path).ok()?)
    }

    /// Looks into `/etc/passwd` alone, as everything in Evergate does; a number is a user too.
    fn is_user(&self, name: &str) -> Option<bool> {
        if name.parse::<u32>().is_ok() {
            return Some(true);
        }
        let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
        Some(passwd.lines().any(|line| line.split(':').next() == Some(name)))
    }
}

/// What the first line of a script says to run it by, as [`Files::interpreter`]; `file` is at its start.
pub fn interpreter(file: impl Read) -> Option<String> {
    /// As much as Linux reads.
    const LINE_BYTES_MAX: u64 = 256;
    let mut bytes = Vec::new();
    file.take(LINE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    Some(String::from_utf8_lossy(line).into_owned())
}

/// The disk and the environment of this process, at a time in seconds of Unix time.
#[derive(Clone, Copy, Debug)]
pub struct DiskAt(pub u64);

impl Files for DiskAt {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Disk.read(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        Disk.list(directory)
    }

    fn env(&self, name: &str) -> Option<String> {
        Disk.env(name)
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        Disk.mode(path)
    }

    fn is_directory(&self, path: &Path) -> Option<bool> {
        Disk.is_directory(path)
    }

    fn interpreter(&self, path: &Path) -> Option<String> {
        Disk.interpreter(path)
    }

    fn is_user(&self, name: &str) -> Option<bool> {
        Disk.is_user(name)
    }

    fn now(&self) -> Option<u64> {
        Some(self.0)
    }
}

/// Every answer that [`Files`] gave while a configuration was loaded; gives the same again.
#[derive(Clone, Default, Eq, PartialEq)]
pub(crate) struct Record {
    /// The main file.
    pub(crate) main: PathBuf,
    /// Answer of [`Files::host_name`].
    pub(crate) host_name: String,
    /// Answers of [`Files::read`].
    pub(crate) texts: BTreeMap<PathBuf, Vec<u8>>,
    /// Answers of [`Files::list`].
    pub(crate) directories: BTreeMap<PathBuf, Vec<PathBuf>>,
    /// Answers of [`Files::env`].
    pub(crate) variables: BTreeMap<String, String>,
    /// Answers of [`Files::mode`].
    pub(crate) modes: BTreeMap<PathBuf, u32>,
    /// Answers of [`Files::is_directory`].
    pub(crate) folders: BTreeMap<PathBuf, bool>,
    /// Answers of [`Files::interpreter`].
    pub(crate) interpreters: BTreeMap<PathBuf, String>,
    /// Answers of [`Files::is_user`].
    pub(crate) users: BTreeMap<String, bool>,
    /// Answer of [`Files::now`].
    pub(crate) now: Option<u64>,
    /// What was changed beside the files.
    pub(crate) changes: Changes,
}

impl Files for Record {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.texts.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.directories.get(directory).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn env(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        self.modes.get(path).copied()
    }

    fn is_directory(&self, path: &Path) -> Option<bool> {
        self.folders.get(path).copied()
    }

    fn interpreter(&self, path: &Path) -> Option<String> {
        self.interpreters.get(path).cloned()
    }

    fn is_user(&self, name: &str) -> Option<bool> {
        self.users.get(name).copied()
    }

    fn now(&self) -> Option<u64> {
        self.now
    }

    fn host_name(&self) -> String {
        self.host_name.clone()
    }
}

/// Gives the same answers as before, and asks `live` what was not asked before.
pub(crate) struct Known<'a> {
    pub(crate) record: &'a Record,
    pub(crate) live: &'a dyn Files,
}

impl Files for Known<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.record.read(path).or_else(|_| self.live.read(path))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.record.list(directory).or_else(|_| self.live.list(directory))
    }

    fn env(&self, name: &str) -> Option<String> {
        self.record.env(name).or_else(|| self.live.env(name))
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        self.record.mode(path).or_else(|| self.live.mode(path))
    }

    fn is_directory(&self, path: &Path) -> Option<bool> {
        self.record.is_directory(path).or_else(|| self.live.is_directory(path))
    }

    fn interpreter(&self, path: &Path) -> Option<String> {
        self.record.interpreter(path).or_else(|| self.live.interpreter(path))
    }

    fn is_user(&self, name: &str) -> Option<bool> {
        self.record.is_user(name).or_else(|| self.live.is_user(name))
    }

    /// Time goes on.
    fn now(&self) -> Option<u64> {
        self.live.now().or(self.record.now)
    }

    fn host_name(&self) -> String {
        self.record.host_name()
    }
}

/// Passes questions on and writes the answers down.
pub(crate) struct Recorder<'a> {
    files: &'a dyn Files,
    record: RefCell<Record>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(main: &Path, files: &'a dyn Files) -> Self {
        let record = Record { main: main.to_owned(), ..Record::default() };
        Self { files, record: RefCell::new(record) }
    }

    pub(crate) fn into_record(self) -> Record {
        self.record.into_inner()
    }
}

impl Files for Recorder<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // A file asked for twice must not change in between.
        if let Some(known) = self.record.borrow().texts.get(path) {
            return Ok(known.clone());
        }
        let bytes = self.files.read(path)?;
        self.record.borrow_mut().texts.insert(path.to_owned(), bytes.clone());
        Ok(bytes)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = self.files.list(directory)?;
        paths.sort();
        self.record.borrow_mut().directories.insert(directory.to_owned(), paths.clone());
        Ok(paths)
    }

    fn env(&self, name: &str) -> Option<String> {
        let value = self.files.env(name)?;
        self.record.borrow_mut().variables.insert(name.to_owned(), value.clone());
        Some(value)
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        let mode = self.files.mode(path)?;
        self.record.borrow_mut().modes.insert(path.to_owned(), mode);
        Some(mode)
    }

    fn is_directory(&self, path: &Path) -> Option<bool> {
        let is_directory = self.files.is_directory(path)?;
        self.record.borrow_mut().folders.insert(path.to_owned(), is_directory);
        Some(is_directory)
    }

    fn interpreter(&self, path: &Path) -> Option<String> {
        let line = self.files.interpreter(path)?;
        self.record.borrow_mut().interpreters.insert(path.to_owned(), line.clone());
        Some(line)
    }

    fn is_user(&self, name: &str) -> Option<bool> {
        let is_user = self.files.is_user(name)?;
        self.record.borrow_mut().users.insert(name.to_owned(), is_user);
        Some(is_user)
    }

    fn now(&self) -> Option<u64> {
        // One time for the whole configuration, however long it takes to read.
        let known = self.record.borrow().now;
        let now = known.or_else(|| self.files.now())?;
        self.record.borrow_mut().now = Some(now);
        Some(now)
    }

    fn host_name(&self) -> String {
        let name = self.files.host_name();
        self.record.borrow_mut().host_name.clone_from(&name);
        name
    }
}
