//! Files in memory that nobody can change any more: state handed from one process to the next.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags};

const SEALS: SealFlags =
    SealFlags::WRITE.union(SealFlags::GROW).union(SealFlags::SHRINK).union(SealFlags::SEAL);

/// A sealed file that holds `bytes`, closed on exec. `name` shows in `/proc/PID/fd` only.
pub fn seal(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(rustix::fs::memfd_create(name, flags)?);
    file.write_all_at(bytes, 0)?;
    rustix::fs::fcntl_add_seals(&file, SEALS)?;
    Ok(file.into())
}

/// Whether `file` is one that nobody can change any more.
pub fn is_sealed(file: impl AsFd) -> bool {
    rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SEALS))
}

/// What a sealed file holds.
///
/// `InvalidData` if it is not sealed, so that whoever made it could change it while it is read, or
/// if it holds more than `bytes_max`.
pub fn read(file: impl AsFd, bytes_max: usize) -> io::Result<Vec<u8>> {
    let invalid = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    let file = File::from(file.as_fd().try_clone_to_owned()?);
    if !is_sealed(&file) {
        return invalid("not a sealed memory file");
    }
    let Ok(length) = usize::try_from(file.metadata()?.len()) else {
        return invalid("the memory file is too large");
    };
    if length > bytes_max {
        return invalid("the memory file is too large");
    }
    let mut bytes = vec![0; length];
    // At a place of its own: the file's position is shared with every other holder.
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_read_back_any_number_of_times() {
        let file = seal("test", b"state").unwrap();
        for _ in 0..2 {
            assert_eq!(read(&file, 5).unwrap(), b"state");
        }
        assert_eq!(read(seal("test", b"").unwrap(), 0).unwrap(), b"");
    }

    #[test]
    fn a_sealed_file_cannot_be_changed() {
        let file = File::from(seal("test", b"state").unwrap());
        assert!(file.write_at(b"other", 0).is_err());
        assert!(file.set_len(2).is_err());
        assert!(file.set_len(9).is_err());
    }

    #[test]
    fn large_and_unsealed_files_are_refused() {
        let invalid = |result: io::Result<Vec<u8>>| {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidData);
        };
        invalid(read(seal("test", b"state").unwrap(), 4));
        invalid(read(File::open("/proc/self/status").unwrap(), 4096));
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        invalid(read(rustix::fs::memfd_create("test", flags).unwrap(), 4096));
    }
}
