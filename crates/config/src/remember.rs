//! One blob with everything a configuration was made of, so that a later process can load exactly
//! the same although the files have changed or cannot be read.
//!
//! `EGC1`, then entries: a tag byte, and two byte strings, each with its length before it as 32
//! bits, little-endian. With changes beside the files it is `EGC2`, which has one entry more: who
//! does not know of changes must refuse it rather than serve without them. The blob holds secrets.

use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::changes::Changes;
use crate::diagnostic::Diagnostic;
use crate::files::Record;
use crate::load::{Basis, Loaded, load_with_changes};

const MAGIC: &[u8] = b"EGC1";
const MAGIC_WITH_CHANGES: &[u8] = b"EGC2";

/// Why a blob cannot be used.
#[derive(Debug)]
pub enum RecallError {
    /// It is not a blob of [`remember`], or a damaged one.
    Damaged,
    /// This version of Evergate refuses the configuration in it.
    Refused(Vec<Diagnostic>),
}

impl fmt::Display for RecallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("the remembered configuration is damaged"),
            Self::Refused(diagnostics) => {
                write!(f, "the remembered configuration is refused: {diagnostics:?}")
            }
        }
    }
}

impl std::error::Error for RecallError {}

#[derive(Clone, Copy)]
enum Tag {
    Main = 1,
    HostName = 2,
    Text = 3,
    Directory = 4,
    Variable = 5,
    Mode = 6,
    Folder = 7,
    Now = 8,
    User = 9,
    Interpreter = 10,
    Changes = 11,
}

/// Everything the configuration was made of. The blob holds secrets.
pub fn remember(loaded: &Loaded) -> Vec<u8> {
    encode(&loaded.record)
}

/// All of `record`.
pub(crate) fn encode(record: &Record) -> Vec<u8> {
    let journal = (!record.changes.is_empty()).then(|| record.changes.to_journal().ok()).flatten();
    let magic = if journal.is_some() { MAGIC_WITH_CHANGES } else { MAGIC };
    let mut blob = magic.to_vec();
    put(&mut blob, Tag::Main, path_bytes(&record.main), b"");
    put(&mut blob, Tag::HostName, record.host_name.as_bytes(), b"");
    for (path, text) in &record.texts {
        put(&mut blob, Tag::Text, path_bytes(path), text);
    }
    for (directory, paths) in &record.directories {
        // No path holds a NUL.
        let joined = paths.iter().map(|path| path_bytes(path)).collect::<Vec<_>>().join(&0);
        put(&mut blob, Tag::Directory, path_bytes(directory), &joined);
    }
    for (name, value) in &record.variables {
        put(&mut blob, Tag::Variable, name.as_bytes(), value.as_bytes());
    }
    for (path, mode) in &record.modes {
        put(&mut blob, Tag::Mode, path_bytes(path), &mode.to_le_bytes());
    }
    for (path, is_directory) in &record.folders {
        put(&mut blob, Tag::Folder, path_bytes(path), &[u8::from(*is_directory)]);
    }
    for (path, line) in &record.interpreters {
        put(&mut blob, Tag::Interpreter, path_bytes(path), line.as_bytes());
    }
    for (name, is_user) in &record.users {
        put(&mut blob, Tag::User, name.as_bytes(), &[u8::from(*is_user)]);
    }
    if let Some(journal) = journal {
        put(&mut blob, Tag::Changes, b"", &journal);
    }
    if let Some(now) = record.now {
        put(&mut blob, Tag::Now, b"", &now.to_le_bytes());
    }
    blob
}

impl Basis {
    /// As [`remember`].
    pub fn remember(&self) -> Vec<u8> {
        encode(&self.record)
    }
}

/// Loads what [`remember`] kept, without the disk and the environment.
pub fn recall(blob: &[u8]) -> Result<Loaded, RecallError> {
    let record = decode(blob).ok_or(RecallError::Damaged)?;
    let changes = record.changes.clone();
    load_with_changes(&record.main, &record, &changes, None).map_err(RecallError::Refused)
}

fn put(blob: &mut Vec<u8>, tag: Tag, name: &[u8], value: &[u8]) {
    blob.push(tag as u8);
    for part in [name, value] {
        let length = u32::try_from(part.len()).expect("files are bounded far below 4 GiB");
        blob.extend_from_slice(&length.to_le_bytes());
        blob.extend_from_slice(part);
    }
}

/// What [`encode`] wrote.
pub(crate) fn decode(blob: &[u8]) -> Option<Record> {
    let with_changes = blob.strip_prefix(MAGIC_WITH_CHANGES);
    let mut rest = with_changes.or_else(|| blob.strip_prefix(MAGIC))?;
    let mut record = Record::default();
    while let Some((&tag, after)) = rest.split_first() {
        rest = after;
        let name = take(&mut rest)?;
        let value = take(&mut rest)?;
        match tag {
            _ if tag == Tag::Main as u8 => record.main = path_of(name),
            _ if tag == Tag::HostName as u8 => record.host_name = text_of(name)?,
            _ if tag == Tag::Text as u8 => {
                record.texts.insert(path_of(name), value.to_vec());
            }
            _ if tag == Tag::Directory as u8 => {
                let paths = value.split(|&byte| byte == 0).filter(|path| !path.is_empty());
                record.directories.insert(path_of(name), paths.map(path_of).collect());
            }
            _ if tag == Tag::Variable as u8 => {
                record.variables.insert(text_of(name)?, text_of(value)?);
            }
            _ if tag == Tag::Mode as u8 => {
                record.modes.insert(path_of(name), u32::from_le_bytes(value.try_into().ok()?));
            }
            _ if tag == Tag::Folder as u8 => {
                record.folders.insert(path_of(name), value == [1]);
            }
            _ if tag == Tag::Interpreter as u8 => {
                record.interpreters.insert(path_of(name), text_of(value)?);
            }
            _ if tag == Tag::User as u8 => {
                record.users.insert(text_of(name)?, value == [1]);
            }
            _ if tag == Tag::Changes as u8 && with_changes.is_some() => {
                record.changes = Changes::from_journal(value).ok()?;
            }
            _ if tag == Tag::Now as u8 => {
                record.now = Some(u64::from_le_bytes(value.try_into().ok()?));
            }
            _ => return None,
        }
    }
    Some(record)
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (part, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(part)
}

fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn path_of(bytes: &[u8]) -> PathBuf {
    std::ffi::OsString::from_vec(bytes.to_vec()).into()
}

fn text_of(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}
