//! Open files of one data-plane thread.
//!
//! A file that is asked for often is opened, measured and tagged once a second, not once a
//! request. What is answered within that second belongs together: the tag that goes out is that of
//! the bytes that go out, because small files are kept in memory and large ones are measured again
//! before they are sent.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use evergate_config::Root;
use evergate_core::balance::hash_bytes;
use evergate_core::files::{Coding, MediaType, media_type};
use evergate_core::time::Instant;
use evergate_sys::clock;
use evergate_sys::folder::Folder;

use super::Files;
use super::embedded::{self, Embedded, EmbeddedFile};

/// Open files kept by one thread.
const FILES_MAX: usize = 256;
/// Bytes of small files kept by one thread.
const CONTENT_BYTES_MAX: usize = 1024 * 1024;
/// A file up to this size is kept in memory while it is asked for.
const SMALL_BYTES_MAX: u64 = 32 * 1024;
/// How long what was found under a name is believed.
const BELIEVED_FOR: Duration = Duration::from_secs(1);
/// A file that was changed less than this before it was looked at might be changed once more
/// without another time in its record: clocks of file systems tick slowly. Its tag is weak.
const UNSETTLED_NS: i128 = 2_000_000_000;

/// The open files of one thread.
#[derive(Debug, Default)]
pub(crate) struct OpenFiles {
    roots: RefCell<HashMap<u64, OpenRoot>>,
    /// Bytes in memory.
    content_bytes: Rc<Cell<usize>>,
}

#[derive(Debug)]
struct OpenRoot {
    folder: Folder,
    identity: (u64, u64),
    checked_at: Instant,
    files: HashMap<Box<[u8]>, Kept>,
}

#[derive(Debug)]
struct Kept {
    file: Rc<OpenFile>,
    checked_at: Instant,
}

/// What is found under a name.
#[derive(Debug)]
pub(super) enum Opened {
    File(Rc<OpenFile>),
    Folder,
    /// Nothing, or nothing that is served.
    Missing,
    /// It may not be read.
    Denied,
    Failed(io::Error),
}

/// An open file, as it was when it was looked at.
#[derive(Debug)]
pub(super) struct OpenFile {
    /// Below the root.
    pub(super) name: Box<[u8]>,
    pub(super) length: u64,
    /// What its entity tag says between the quotes.
    pub(super) tag: String,
    /// Whether nothing can change it without changing its tag.
    pub(super) is_settled: bool,
    /// When it was changed, in seconds of Unix time.
    pub(super) modified: Option<u64>,
    pub(super) media: MediaType,
    pub(super) cache_control: Option<Arc<str>>,
    held: Held,
    /// All of it, if it is small and was asked for.
    content: OnceCell<Content>,
    /// The same in codings, by [`Coding`].
    siblings: OnceCell<[Option<Rc<Self>>; 3]>,
}

/// Where the bytes of a file are.
#[derive(Debug)]
enum Held {
    /// On a disk; what it was when it was looked at.
    Disk(File, State),
    /// In the binary.
    Binary(&'static [u8]),
}

/// Where the bytes of a body come from.
#[derive(Debug)]
pub(super) enum Source {
    /// From a file.
    File(Rc<OpenFile>),
    /// From this thread's memory.
    Memory(Rc<[u8]>),
    /// From all threads' memory.
    Shared(Arc<[u8]>),
    /// From the binary.
    Binary(&'static [u8]),
}

/// What is different once a file has changed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct State {
    device: u64,
    inode: u64,
    pub(super) length: u64,
    modified_ns: i128,
    changed_ns: i128,
}

/// Bytes in memory, counted.
#[derive(Debug)]
struct Content {
    bytes: Rc<[u8]>,
    counted: Rc<Cell<usize>>,
}

impl Drop for Content {
    fn drop(&mut self) {
        self.counted.set(self.counted.get() - self.bytes.len());
    }
}

impl OpenFiles {
    /// What `name` stands for below the root of `files`.
    pub(super) fn open(&self, files: &Files, name: &[u8], now: Instant) -> Opened {
        let path = match &files.settings.root {
            Root::Folder(path) => path,
            Root::Embedded => return open_embedded(files, name),
        };
        let mut roots = self.roots.borrow_mut();
        let is_believed = |checked_at: Instant| now - checked_at < BELIEVED_FOR;
        match roots.get_mut(&files.id) {
            Some(root) if is_believed(root.checked_at) => {
                if let Some(kept) = root.files.get(name)
                    && is_believed(kept.checked_at)
                {
                    return Opened::File(Rc::clone(&kept.file));
                }
            }
            // A deployment may have put another folder in its place.
            Some(_) | None => match Folder::open(path).and_then(|it| Ok((it.identity()?, it))) {
                Ok((identity, folder)) => {
                    let before = roots.remove(&files.id).filter(|root| root.identity == identity);
                    let kept = before.map(|root| root.files).unwrap_or_default();
                    let root = OpenRoot { folder, identity, checked_at: now, files: kept };
                    roots.insert(files.id, root);
                }
                Err(error) => {
                    roots.remove(&files.id);
                    return of_error(error);
                }
            },
        }
        let Some(root) = roots.get(&files.id) else { return Opened::Missing };
        let file = match open_in(&root.folder, files, name) {
            Opened::File(file) => file,
            other => return other,
        };
        let file = keep(&mut roots, files, file, now);
        Opened::File(file)
    }

    /// Forgets what was found under `name`: it has changed.
    pub(super) fn forget(&self, files: &Files, name: &[u8]) {
        if let Some(root) = self.roots.borrow_mut().get_mut(&files.id) {
            root.files.remove(name);
        }
    }

    /// `file` in other codings, each from a file beside it that is not older.
    pub(super) fn siblings<'f>(
        &self,
        files: &Files,
        file: &'f OpenFile,
    ) -> &'f [Option<Rc<OpenFile>>; 3] {
        file.siblings.get_or_init(|| {
            let roots = self.roots.borrow();
            let root = roots.get(&files.id);
            Coding::ALL.map(|coding| {
                let name = [&file.name, coding.suffix().as_bytes()].concat();
                let opened = match root {
                    Some(root) => open_in(&root.folder, files, &name),
                    None => open_embedded(files, &name),
                };
                match opened {
                    Opened::File(coded) if coded.modified_ns() >= file.modified_ns() => Some(coded),
                    Opened::File(_)
                    | Opened::Folder
                    | Opened::Missing
                    | Opened::Denied
                    | Opened::Failed(_) => None,
                }
            })
        })
    }

    /// Where the bytes of `file` come from.
    ///
    /// # Errors
    /// If it cannot be read, or has changed since it was looked at (`Interrupted`).
    pub(super) fn source(&self, file: &Rc<OpenFile>) -> io::Result<Source> {
        let (on_disk, state) = match &file.held {
            Held::Disk(on_disk, state) => (on_disk, state),
            Held::Binary(bytes) => return Ok(Source::Binary(bytes)),
        };
        if let Some(content) = file.content.get() {
            return Ok(Source::Memory(Rc::clone(&content.bytes)));
        }
        let counted = self.content_bytes.get() + file.length as usize;
        let mut bytes = None;
        if file.length <= SMALL_BYTES_MAX && counted <= CONTENT_BYTES_MAX {
            let bytes = bytes.insert(vec![0; file.length as usize]);
            on_disk.read_exact_at(bytes, 0)?;
        }
        if !state.is_of(&on_disk.metadata()?) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let Some(bytes) = bytes else { return Ok(Source::File(Rc::clone(file))) };
        let bytes: Rc<[u8]> = bytes.into();
        self.content_bytes.set(counted);
        let content = Content { bytes: Rc::clone(&bytes), counted: Rc::clone(&self.content_bytes) };
        // Only this thread could have filled it meanwhile, and it did not.
        let _ = file.content.set(content);
        Ok(Source::Memory(bytes))
    }

    /// Closes what nobody has asked for lately.
    pub(crate) fn sweep(&self, now: Instant) {
        let is_recent = |checked_at: Instant| now - checked_at < 2 * BELIEVED_FOR;
        self.roots.borrow_mut().retain(|_, root| {
            root.files.retain(|_, kept| is_recent(kept.checked_at));
            is_recent(root.checked_at)
        });
    }
}

/// Puts `file` aside for the next request; an unchanged one that was there stays instead, with what
/// is known of it.
fn keep(
    roots: &mut HashMap<u64, OpenRoot>,
    files: &Files,
    file: Rc<OpenFile>,
    now: Instant,
) -> Rc<OpenFile> {
    let count: usize = roots.values().map(|root| root.files.len()).sum();
    let Some(root) = roots.get_mut(&files.id) else { return file };
    if let Some(kept) = root.files.get_mut(&file.name) {
        let is_same = kept.file.state() == file.state() && kept.file.is_settled == file.is_settled;
        if !is_same || kept.file.siblings_may_differ() {
            kept.file = file;
        }
        kept.checked_at = now;
        return Rc::clone(&kept.file);
    }
    if count >= FILES_MAX {
        let oldest = |root: &OpenRoot| root.files.values().map(|kept| kept.checked_at).min();
        let oldest = roots.values().filter_map(oldest).min().unwrap_or(now);
        for root in roots.values_mut() {
            root.files.retain(|_, kept| kept.checked_at > oldest);
        }
    }
    if let Some(root) = roots.get_mut(&files.id) {
        root.files.insert(file.name.clone(), Kept { file: Rc::clone(&file), checked_at: now });
    }
    file
}

fn open_in(folder: &Folder, files: &Files, name: &[u8]) -> Opened {
    let opened = folder.open_file(name, files.links());
    let read = opened.and_then(|file| Ok((file.metadata()?, file)));
    match read {
        Ok((metadata, _)) if metadata.is_dir() => Opened::Folder,
        Ok((metadata, file)) if metadata.is_file() => {
            Opened::File(Rc::new(OpenFile::new(files, name, file, &metadata)))
        }
        // Pipes, sockets and devices have no bytes of their own.
        Ok(_) => Opened::Missing,
        Err(error) => of_error(error),
    }
}

fn open_embedded(files: &Files, name: &[u8]) -> Opened {
    match embedded::find(name) {
        Some(Embedded::File(file)) => Opened::File(Rc::new(OpenFile::of_binary(files, name, file))),
        Some(Embedded::Folder) => Opened::Folder,
        None => Opened::Missing,
    }
}

fn of_error(error: io::Error) -> Opened {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Opened::Missing,
        io::ErrorKind::PermissionDenied => Opened::Denied,
        _ => Opened::Failed(error),
    }
}

impl OpenFile {
    fn new(files: &Files, name: &[u8], file: File, metadata: &Metadata) -> Self {
        let state = State::of(metadata);
        let now_ns = i128::from(clock::unix_millis()) * 1_000_000;
        let seconds = clock::unix_seconds();
        Self {
            name: name.into(),
            length: state.length,
            tag: state.tag(),
            is_settled: now_ns - state.modified_ns.max(state.changed_ns) >= UNSETTLED_NS,
            // RFC 9110, 8.8.2.1: never in the future.
            modified: u64::try_from(metadata.mtime()).ok().map(|modified| modified.min(seconds)),
            media: media_type(name),
            cache_control: files.cache_control(name),
            held: Held::Disk(file, state),
            content: OnceCell::new(),
            siblings: OnceCell::new(),
        }
    }

    fn of_binary(files: &Files, name: &[u8], file: &'static EmbeddedFile) -> Self {
        Self {
            name: name.into(),
            length: file.content.len() as u64,
            tag: file.tag.to_owned(),
            is_settled: true,
            modified: None,
            media: media_type(name),
            cache_control: files.cache_control(name),
            held: Held::Binary(file.content),
            content: OnceCell::new(),
            siblings: OnceCell::new(),
        }
    }

    /// The file itself, if it is one.
    pub(super) fn on_disk(&self) -> Option<&File> {
        match &self.held {
            Held::Disk(file, _) => Some(file),
            Held::Binary(_) => None,
        }
    }

    /// What it was when it was looked at; none if it cannot change.
    pub(super) fn state(&self) -> Option<State> {
        match &self.held {
            Held::Disk(_, state) => Some(*state),
            Held::Binary(_) => None,
        }
    }

    fn modified_ns(&self) -> i128 {
        self.state().map_or(0, |state| state.modified_ns)
    }

    /// Whether files beside it were looked for: they may have come or gone.
    fn siblings_may_differ(&self) -> bool {
        self.siblings.get().is_some()
    }
}

impl State {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let ns = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether an open file still has the content that it had in this state. One that has lost its
    /// name since, to another file as a rule, is that very content to the end; only that it was
    /// renamed counts as a change of it to the kernel.
    pub(super) fn is_of(&self, metadata: &Metadata) -> bool {
        let now = Self::of(metadata);
        let has_no_name = metadata.nlink() == 0;
        now == *self || has_no_name && Self { changed_ns: self.changed_ns, ..now } == *self
    }

    /// Another one for each state of each file. A hash, so that numbers of inodes stay our own.
    fn tag(&self) -> String {
        let mut bytes = [0; 56];
        bytes[..8].copy_from_slice(&self.device.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.inode.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.length.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.modified_ns.to_le_bytes());
        bytes[40..].copy_from_slice(&self.changed_ns.to_le_bytes());
        format!("{:016x}", hash_bytes(&bytes))
    }

    /// Any state; each number stands for another one.
    #[cfg(test)]
    pub(super) fn numbered(number: u64) -> Self {
        Self { device: 0, inode: number, length: 0, modified_ns: 0, changed_ns: 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write as _;
    use std::time::{Duration, SystemTime};

    use super::State;

    #[test]
    fn a_file_is_what_it_was_until_it_is_written_to_whoever_has_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page");
        let written = |text: &str| {
            fs::write(&path, text).unwrap();
            // Long ago, so that what happens now has another time however coarse the clock is.
            let file = File::options().append(true).read(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(60)).unwrap();
            let state = State::of(&file.metadata().unwrap());
            (file, state)
        };
        let renamed = |state: State| State { changed_ns: state.changed_ns - 1, ..state };

        let (file, state) = written("one");
        assert!(state.is_of(&file.metadata().unwrap()));
        assert!(!renamed(state).is_of(&file.metadata().unwrap()), "it has its name yet");
        fs::write(folder.path().join("next"), "two").unwrap();
        fs::rename(folder.path().join("next"), &path).unwrap();
        assert!(renamed(state).is_of(&file.metadata().unwrap()), "it was replaced");

        let (mut file, state) = written("three");
        fs::remove_file(&path).unwrap();
        assert!(state.is_of(&file.metadata().unwrap()), "it was removed");
        file.write_all(b" and more").unwrap();
        assert!(!state.is_of(&file.metadata().unwrap()), "it was written to");
    }
}
