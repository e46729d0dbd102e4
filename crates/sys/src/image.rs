//! Program files, each opened once: whatever is done with a binary is done with the same one, however
//! often its path has come to mean another since.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// The program of this process, also after its path was deleted or overwritten.
const OWN: &str = "/proc/self/exe";
/// How an ELF file begins (elf(5)).
const ELF: &[u8; 4] = b"\x7fELF";

/// A binary that is open for reading, closed on exec.
#[derive(Debug)]
pub struct Image {
    file: File,
    identity: Identity,
}

/// What tells a binary from every other: another file, or the same one written anew, has another.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Identity {
    /// The device that the file is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was written last, in nanoseconds of Unix time.
    pub written_at: i64,
}

impl Image {
    /// The binary at `path`. `InvalidData` if that is no binary, but a script for example.
    pub fn open(path: &Path) -> io::Result<Self> {
        // A pipe in its place must not block.
        let flags = OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
        Self::of(file)
    }

    /// What this process runs.
    pub fn own() -> io::Result<Self> {
        Self::open(Path::new(OWN))
    }

    /// The binary that is open as `fd`; see [`Image::open`].
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        Self::of(fd.into())
    }

    /// What tells it from others, as it was when it was opened.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    fn of(file: File) -> io::Result<Self> {
        let invalid = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        let found = file.metadata()?;
        if !found.is_file() {
            return invalid("not a regular file");
        }
        let mut start = [0; ELF.len()];
        if file.read_exact_at(&mut start, 0).is_err() || &start != ELF {
            return invalid("not a binary");
        }
        let identity = Identity {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.size(),
            // Beyond the year 2262 it is no time any more, and still tells one file from another.
            written_at: found.mtime().wrapping_mul(1_000_000_000).wrapping_add(found.mtime_nsec()),
        };
        Ok(Self { file, identity })
    }
}

impl From<Image> for OwnedFd {
    fn from(image: Image) -> Self {
        image.file.into()
    }
}

impl AsFd for Image {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_image_is_the_same_by_any_path_and_another_once_it_was_replaced() {
        let folder = std::env::temp_dir().join(format!("evergate-image-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (path, link) = (folder.join("one"), folder.join("link"));
        fs::write(&path, b"\x7fELF one").unwrap();
        fs::hard_link(&path, &link).unwrap();
        let before = Image::open(&path).unwrap();
        assert_eq!(before.identity(), Image::open(&link).unwrap().identity());
        // As a package manager does it.
        fs::write(folder.join("new"), b"\x7fELF one").unwrap();
        fs::rename(folder.join("new"), &path).unwrap();
        assert_ne!(before.identity(), Image::open(&path).unwrap().identity());
        let again = Image::from_fd(before.as_fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(before.identity(), again.identity(), "what is open stays what it was");
        // As a careless copy does it.
        fs::write(&link, b"\x7fELF two!").unwrap();
        assert_ne!(before.identity(), Image::open(&link).unwrap().identity());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_of_a_far_future_is_an_image_too() {
        let path = std::env::temp_dir().join(format!("evergate-future-{}", std::process::id()));
        fs::write(&path, b"\x7fELF").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let year = std::time::Duration::from_secs(366 * 86_400);
        file.set_modified(std::time::UNIX_EPOCH + 400 * year).unwrap();
        Image::open(&path).unwrap();
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn only_binaries_are_images() {
        let own = Image::own().unwrap();
        let path = std::env::current_exe().unwrap();
        assert_eq!(own.identity(), Image::open(&path).unwrap().identity());
        for path in ["/etc/passwd", "/dev/null", "/"] {
            let error = Image::open(Path::new(path)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{path}: {error}");
        }
        assert!(Image::open(Path::new("/no/such/file")).is_err());
    }
}
