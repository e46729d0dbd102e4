//! Directories that were opened by somebody else, and those that nobody else may enter.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    Access, AtFlags, CWD, Dir, Gid, Mode, OFlags, Uid, accessat, fchmod, fchown, fstat, mkdirat,
    openat,
};
use rustix::io::Errno;

/// An open directory, and whose it is.
#[derive(Debug)]
pub struct Opened {
    /// The directory.
    pub directory: OwnedFd,
    /// The user it belongs to.
    pub uid: u32,
    /// The group it belongs to.
    pub gid: u32,
    /// Its permission bits.
    pub mode: u32,
    /// Whether it was made just now.
    pub is_new: bool,
}

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

/// Opens the directory at `path`, which may be reached over symbolic links.
pub fn open(path: &Path) -> io::Result<Opened> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    opened(openat(CWD, path, flags, Mode::empty())?, false)
}

/// Opens the directory `name` in `parent`; makes it if it is not there, for our user alone. `name`
/// itself is no symbolic link, or this fails.
pub fn open_or_make(parent: &OwnedFd, name: &str) -> io::Result<Opened> {
    let is_new = match mkdirat(parent, name, Mode::RWXU) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    opened(openat(parent, name, flags, Mode::empty())?, is_new)
}

/// Makes `directory` that of the user and group; needs root.
pub fn give(directory: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
    Ok(fchown(directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}

/// Gives `directory` these permissions, as for chmod.
pub fn set_mode(directory: impl AsFd, mode: u32) -> io::Result<()> {
    Ok(fchmod(directory, Mode::from_raw_mode(mode))?)
}

/// Whether we may make files in `directory`.
pub fn is_writable(directory: impl AsFd) -> bool {
    accessat(directory, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

/// Lets nobody but its owner enter `directory`.
pub fn make_private(directory: impl AsFd) -> io::Result<()> {
    Ok(fchmod(directory, Mode::RWXU)?)
}

fn opened(directory: OwnedFd, is_new: bool) -> io::Result<Opened> {
    let stat = fstat(&directory)?;
    let (uid, gid) = (stat.st_uid, stat.st_gid);
    Ok(Opened { directory, uid, gid, mode: stat.st_mode & 0o7777, is_new })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_once_for_one_user_and_never_through_a_link() {
        let path = std::env::temp_dir().join(format!("evergate-made-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let parent = open(&path).unwrap();
        assert!(!parent.is_new);
        let made = open_or_make(&parent.directory, "own").unwrap();
        assert!(made.is_new && made.mode == 0o700, "{made:?}");
        assert_eq!(made.uid, rustix::process::geteuid().as_raw());
        assert!(!open_or_make(&parent.directory, "own").unwrap().is_new);
        fchmod(&made.directory, Mode::from_raw_mode(0o755)).unwrap();
        make_private(&made.directory).unwrap();
        assert_eq!(open(&path.join("own")).unwrap().mode, 0o700);
        assert!(is_writable(&made.directory));
        set_mode(&made.directory, 0o550).unwrap();
        let is_root = rustix::process::geteuid().is_root();
        assert_eq!(is_writable(&made.directory), is_root, "root may do everything");
        assert_eq!(open(&path.join("own")).unwrap().mode, 0o550);
        std::os::unix::fs::symlink("own", path.join("link")).unwrap();
        assert!(open_or_make(&parent.directory, "link").is_err());
        assert!(open(&path.join("link")).is_ok());
        if rustix::process::geteuid().is_root() {
            give(&made.directory, 65534, 65534).unwrap();
            assert_eq!(open(&path.join("own")).unwrap().uid, 65534);
        }
        std::fs::remove_dir_all(path).unwrap();
    }

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
