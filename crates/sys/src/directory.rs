//! Directories that were opened by somebody else.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::Dir;

/// The names in an open directory, in any order, without `.` and `..`.
///
/// Needs no right to the directory beyond the descriptor.
pub fn names(directory: OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::new(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_named_once() {
        let path = std::env::temp_dir().join(format!("evergate-names-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        for name in ["b.toml", "a.toml", ".hidden"] {
            std::fs::write(path.join(name), "").unwrap();
        }
        let directory = std::fs::File::open(&path).unwrap();
        let mut found = names(directory.into()).unwrap();
        found.sort();
        assert_eq!(found, [".hidden", "a.toml", "b.toml"]);
        let file = std::fs::File::open(path.join("a.toml")).unwrap();
        assert!(names(file.into()).is_err());
        std::fs::remove_dir_all(path).unwrap();
    }
}
