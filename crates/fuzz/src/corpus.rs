//! The inputs that are kept: one folder for each target, one file for each input.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// An input and the name of its file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Says what it is about.
    pub name: String,
    /// The input.
    pub bytes: Vec<u8>,
}

/// The inputs for `target`, crashes that were found before included, sorted by name.
pub fn load(target: &str) -> io::Result<Vec<Entry>> {
    let mut entries = read_files(&folder(target))?;
    match read_files(&crashes(target)) {
        Ok(crashes) => entries.extend(crashes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(entries)
}

/// Keeps an input that broke a promise, and says where.
pub fn save_crash(target: &str, name: &str, input: &[u8]) -> io::Result<PathBuf> {
    fs::create_dir_all(crashes(target))?;
    let path = crashes(target).join(name);
    fs::write(&path, input)?;
    Ok(path)
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

fn crashes(target: &str) -> PathBuf {
    folder(target).join("crashes")
}

fn read_files(folder: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            entries.push(Entry { name, bytes: fs::read(&path)? });
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}
