//! Pipes that apps print into, and what to do when nobody reads.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

/// Largest pipe that is asked for, in bytes: what the kernel gives to anybody
/// (`fs.pipe-max-size`).
pub const PIPE_BYTES_MAX: usize = 1024 * 1024;

/// A pipe.
#[derive(Debug)]
pub struct Pipe {
    /// The end to read from, nonblocking.
    pub reader: OwnedFd,
    /// The end to write to, blocking: programs do not expect anything else of their output.
    pub writer: OwnedFd,
}

/// A pipe with room for `bytes`, at most [`PIPE_BYTES_MAX`]; both ends are closed on exec.
///
/// A user who has many large pipes already gets the usual size instead.
pub fn pipe(bytes: usize) -> io::Result<Pipe> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    // Of this end only: each has an open file description of its own.
    rustix::io::ioctl_fionbio(&reader, true)?;
    // A smaller one works as well.
    let _ = fcntl_setpipe_size(&writer, bytes.min(PIPE_BYTES_MAX));
    Ok(Pipe { reader, writer })
}

/// How full a pipe is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fill {
    /// Bytes that wait to be read.
    pub waiting: u64,
    /// Bytes that fit at best.
    pub capacity: u64,
}

impl Fill {
    /// Whether a writer may be waiting for room. A page that is written in part may count as full,
    /// so half of the capacity can be all.
    pub fn may_block(&self) -> bool {
        self.waiting >= self.capacity / 2
    }
}

/// How full the pipe behind either of its ends is.
pub fn fill(end: impl AsFd) -> io::Result<Fill> {
    let waiting = rustix::io::ioctl_fionread(&end)?;
    Ok(Fill { waiting, capacity: fcntl_getpipe_size(&end)? as u64 })
}

/// Reads up to `bytes` from a nonblocking pipe and forgets them; how many there were. Never waits.
pub fn drop_oldest(reader: impl AsFd, bytes: u64) -> io::Result<u64> {
    let mut scratch = [0u8; 16 * 1024];
    let mut dropped = 0;
    while dropped < bytes {
        let room = usize::try_from(bytes - dropped).unwrap_or(usize::MAX).min(scratch.len());
        match rustix::io::retry_on_intr(|| rustix::io::read(&reader, &mut scratch[..room])) {
            Ok(0) | Err(rustix::io::Errno::AGAIN) => break,
            Ok(count) => dropped += count as u64,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::io::FdFlags;

    use super::*;

    #[test]
    fn a_pipe_has_the_size_asked_for_within_its_bound() {
        for (asked, given) in [(64 * 1024, 64 * 1024), (1, 4096), (usize::MAX, PIPE_BYTES_MAX)] {
            let Pipe { reader, writer } = pipe(asked).unwrap();
            assert_eq!(fill(&reader).unwrap(), Fill { waiting: 0, capacity: given as u64 });
            for end in [&reader, &writer] {
                assert!(rustix::io::fcntl_getfd(end).unwrap().contains(FdFlags::CLOEXEC));
            }
        }
    }

    #[test]
    fn a_full_pipe_is_noticed_and_the_oldest_goes_first() {
        let Pipe { reader, writer } = pipe(64 * 1024).unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let mut writer = std::fs::File::from(writer);
        assert_eq!(drop_oldest(&reader, 10).unwrap(), 0, "does not wait");
        assert!(!fill(&reader).unwrap().may_block());
        // A line that fits into a page only once: the worst case.
        let line = [b'x'; 2049];
        let mut written = 0u64;
        while let Ok(count) = writer.write(&line) {
            written += count as u64;
        }
        let before = fill(&reader).unwrap();
        assert_eq!(before.waiting, written);
        assert!(before.may_block(), "{before:?}");
        assert_eq!(drop_oldest(&reader, 4098).unwrap(), 4098);
        assert_eq!(writer.write(b"new").unwrap(), 3, "there is room again");
        assert_eq!(drop_oldest(&reader, u64::MAX).unwrap(), written - 4098 + 3);
        drop(writer);
        assert_eq!(drop_oldest(&reader, 1).unwrap(), 0, "the end of it is no error");
    }
}
