//! Standard output, which two workers share while one takes the place of the other.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;

use memchr::{memchr, memrchr};

/// Most bytes that a pipe takes in one piece, whoever else writes to it (`PIPE_BUF`, pipe(7)). A
/// larger write may be torn while the reader is slow.
const WHOLE_BYTES_MAX: usize = 4096;

/// Writes whole lines only, as long as each fits into what is written in one piece.
#[derive(Debug)]
pub(super) struct WholeLines<W> {
    to: W,
    bytes_max: usize,
}

/// Standard output, line by line where that is needed for lines to stay whole.
pub(super) fn whole_lines() -> WholeLines<io::Stdout> {
    let to = io::stdout();
    let kind = to.as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    // Writes to files do not mix.
    let is_stream =
        kind.is_ok_and(|data| data.file_type().is_fifo() || data.file_type().is_socket());
    WholeLines { to, bytes_max: if is_stream { WHOLE_BYTES_MAX } else { usize::MAX } }
}

impl<W: Write> Write for WholeLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(&bytes[..piece(bytes, self.bytes_max)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// How many of `bytes` to write at once: lines that fit, or one that does not.
fn piece(bytes: &[u8], bytes_max: usize) -> usize {
    if bytes.len() <= bytes_max {
        return bytes.len();
    }
    let end = memrchr(b'\n', &bytes[..bytes_max]).or_else(|| memchr(b'\n', bytes));
    end.map_or(bytes.len(), |feed| feed + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_with_lines() {
        assert_eq!(piece(b"one\ntwo\n", 8), 8);
        assert_eq!(piece(b"one\ntwo\n", 7), 4);
        assert_eq!(piece(b"one\ntwo\n", 4), 4);
        assert_eq!(piece(b"a long one\ntwo\n", 4), 11);
        assert_eq!(piece(b"without end", 4), 11);
        assert_eq!(piece(b"", 4), 0);
    }

    #[test]
    fn everything_is_written_in_such_pieces() {
        struct Pieces(Vec<Vec<u8>>);
        impl Write for Pieces {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.push(bytes.to_vec());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let text: String = (0..2000).map(|number| format!("line {number}\n")).collect();
        let mut lines = WholeLines { to: Pieces(Vec::new()), bytes_max: WHOLE_BYTES_MAX };
        lines.write_all(text.as_bytes()).unwrap();
        let pieces = lines.to.0;
        assert!(pieces.iter().all(|one| one.len() <= WHOLE_BYTES_MAX && one.ends_with(b"\n")));
        assert_eq!(pieces.concat(), text.as_bytes());
    }
}
