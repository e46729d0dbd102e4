//! Looking at what a pipe holds before taking it out.
//!
//! What is still in a pipe outlives its reader, and the next reader finds it. So whoever takes only
//! what is safely stored loses nothing when it is killed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice, tee};

/// Most bytes seen at a look: what a pipe holds by default.
pub const PEEK_BYTES_MAX: usize = 64 * 1024;

/// Looks into pipes, one at a time.
#[derive(Debug)]
pub struct Peeker {
    /// A pipe that is empty between two looks.
    read: OwnedFd,
    write: OwnedFd,
    null: File,
}

impl Peeker {
    /// Needs three descriptors.
    pub fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self { read, write, null: File::options().write(true).open("/dev/null")? })
    }

    /// Puts what `pipe` holds into `buffer`, in place of what was there, and leaves it in the pipe;
    /// up to [`PEEK_BYTES_MAX`] from the front. Nothing in the buffer means that the pipe has
    /// ended.
    ///
    /// # Errors
    /// `WouldBlock` if the pipe is empty and somebody may still write to it.
    pub fn peek(&self, pipe: impl AsFd, buffer: &mut Vec<u8>) -> io::Result<()> {
        let seen = tee(pipe, &self.write, PEEK_BYTES_MAX, SpliceFlags::NONBLOCK)?;
        buffer.resize(seen, 0);
        let mut filled = 0;
        while filled < seen {
            match rustix::io::read(&self.read, &mut buffer[filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => filled += more,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes `bytes` out of `pipe`, which were seen in it, and forgets them.
    ///
    /// # Errors
    /// `WouldBlock` if somebody else took them.
    pub fn take(&self, pipe: impl AsFd, bytes: usize) -> io::Result<()> {
        let mut left = bytes;
        while left > 0 {
            match splice(&pipe, None, &self.null, None, left, SpliceFlags::NONBLOCK) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(moved) => left -= moved,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn what_was_seen_stays_until_it_is_taken() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let peeker = Peeker::new().unwrap();
        let mut seen = vec![9; 3];
        let empty = peeker.peek(&reader, &mut seen).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        writer.write_all(b"one ").unwrap();
        peeker.peek(&reader, &mut seen).unwrap();
        assert_eq!(seen, b"one ");
        writer.write_all(b"two").unwrap();
        peeker.peek(&reader, &mut seen).unwrap();
        assert_eq!(seen, b"one two");
        peeker.take(&reader, 4).unwrap();
        peeker.peek(&reader, &mut seen).unwrap();
        assert_eq!(seen, b"two");
        drop(writer);
        peeker.peek(&reader, &mut seen).unwrap();
        assert_eq!(seen, b"two", "the end comes after what is left");
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "two");
        peeker.peek(&reader, &mut seen).unwrap();
        assert_eq!(seen, b"");
    }

    #[test]
    fn a_full_pipe_is_seen_whole_and_its_writer_goes_on_once_it_is_taken() {
        let (reader, mut writer) = io::pipe().unwrap();
        let bytes: Vec<u8> = (0..PEEK_BYTES_MAX).map(|at| at as u8).collect();
        writer.write_all(&bytes).unwrap();
        let peeker = Peeker::new().unwrap();
        let mut seen = Vec::new();
        for _ in 0..3 {
            peeker.peek(&reader, &mut seen).unwrap();
            assert_eq!(seen, bytes);
        }
        let writing = std::thread::spawn(move || writer.write_all(b"more").unwrap());
        peeker.take(&reader, seen.len()).unwrap();
        writing.join().unwrap();
        peeker.peek(&reader, &mut seen).unwrap();
        assert_eq!(seen, b"more");
        peeker.take(&reader, 4).unwrap();
        // A child that another test is just starting may hold the other end for a moment.
        crate::namespace::lab::await_readable(&reader);
        assert_eq!(peeker.take(&reader, 1).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
