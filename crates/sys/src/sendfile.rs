//! Moving bytes from a file to a socket without copying them through user space.

use std::io;
use std::os::fd::AsFd;

/// Sends up to `bytes_max` bytes of `file` from `offset` on; says how many the socket took.
///
/// 0 means that the file ends before `offset`; `WouldBlock` that the socket takes nothing now. A
/// file that is not in memory is read from its disk meanwhile.
pub fn sendfile(
    socket: impl AsFd,
    file: impl AsFd,
    offset: u64,
    bytes_max: usize,
) -> io::Result<usize> {
    debug_assert!(bytes_max > 0, "asking for nothing looks like the end");
    let sent = rustix::io::retry_on_intr(|| {
        // The kernel moves it, although what we know better is what it returns.
        let mut at = offset;
        rustix::fs::sendfile(&socket, &file, Some(&mut at), bytes_max)
    })?;
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn tcp_pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    fn memory() -> File {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        rustix::fs::memfd_create("test", flags).unwrap().into()
    }

    #[test]
    fn a_part_of_a_file_arrives_and_its_end_is_seen() {
        let mut file = memory();
        file.write_all(b"0123456789").unwrap();
        let (near, mut far) = tcp_pair();
        assert_eq!(sendfile(&near, &file, 2, 3).unwrap(), 3);
        assert_eq!(sendfile(&near, &file, 8, 100).unwrap(), 2);
        assert_eq!(sendfile(&near, &file, 10, 100).unwrap(), 0, "the end");
        drop(near);
        let mut text = String::new();
        far.read_to_string(&mut text).unwrap();
        assert_eq!(text, "23489");
    }

    #[test]
    fn a_full_socket_does_not_make_it_wait() {
        let file = memory();
        file.set_len(64 << 20).unwrap();
        let (near, _far) = tcp_pair();
        near.set_nonblocking(true).unwrap();
        let mut at = 0;
        let error = loop {
            match sendfile(&near, &file, at, 1 << 20) {
                Ok(count) => at += count as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(at > 0);
    }
}
