//! Standard error that never makes its writer wait.

use std::io::{self, Write};
use std::os::fd::AsFd;

use crate::wait;

/// What a pipe that can be written takes at once (`PIPE_BUF`).
const PIECE_BYTES: usize = 4096;

/// Writes `text` as far as standard error takes it now; whether all of it went out.
///
/// Standard error may be closed, full, or a pipe that nobody reads any more. Whoever supervises or
/// serves must not stand still for that, so the rest of the text is lost instead.
pub fn print(text: &[u8]) -> bool {
    print_to(&mut io::stderr().lock(), text)
}

fn print_to(to: &mut (impl Write + AsFd), text: &[u8]) -> bool {
    // Setting it nonblocking instead would do so to every process that has it from the same parent.
    text.chunks(PIECE_BYTES)
        .all(|piece| wait::writable(&*to, 0).is_ok() && to.write_all(piece).is_ok())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_costs_the_text_and_no_time() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let line = [b'x'; 1000];
        let printed = (0..1000).take_while(|_| print_to(&mut writer, &line)).count();
        assert!((1..1000).contains(&printed), "{printed}");
        assert!(!print_to(&mut writer, &[b'y'; 10_000]));
        reader.read_exact(&mut vec![0; 1000 * printed]).unwrap();
        assert!(print_to(&mut writer, &line), "it goes on when there is room again");
        drop(reader);
        // A child that another test starts just now may hold it for a moment.
        let mut closed = [PollFd::new(&writer, PollFlags::empty())];
        assert_eq!(poll(&mut closed, None).unwrap(), 1, "nobody reads any more");
        assert!(!print_to(&mut writer, &line), "closed");
    }
}
