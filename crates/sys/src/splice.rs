//! Moving bytes between sockets without copying them through user space.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};

/// Size of a pipe unless asked otherwise, in bytes; also the kernel's default.
pub const PIPE_BYTES: usize = 64 * 1024;

/// A pipe between two sockets.
///
/// [`Pipe::fill`] it while it is empty, [`Pipe::drain`] it until it is empty again. (A pipe that
/// holds something may refuse more although bytes are left over, because it counts pages; so
/// `WouldBlock` from a fill would not say which side is to be waited for.)
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    capacity: usize,
    held: usize,
}

impl Pipe {
    /// A pipe of about `bytes`, nonblocking and closed on exec. The kernel rounds up to a power of
    /// two, and gives less to a user who has many pipes.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let capacity = match fcntl_getpipe_size(&write)? {
            size if size == bytes => size,
            // EPERM past the user's allowance: a smaller pipe works as well, only slower.
            size => fcntl_setpipe_size(&write, bytes).unwrap_or(size),
        };
        Ok(Self { read, write, capacity, held: 0 })
    }

    /// How many bytes it holds.
    pub fn held(&self) -> usize {
        self.held
    }

    /// How many bytes it can hold at best.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Takes up to `bytes_max` bytes from a nonblocking socket into the empty pipe.
    ///
    /// 0 means that the socket's other side has finished; `WouldBlock` that nothing has arrived.
    pub fn fill(&mut self, socket: impl AsFd, bytes_max: usize) -> io::Result<usize> {
        debug_assert_eq!(self.held, 0, "drain the pipe before filling it again");
        debug_assert!(bytes_max > 0, "asking for nothing looks like the end");
        let length = bytes_max.min(self.capacity);
        let moved = move_bytes(&socket, &self.write, length)?;
        self.held += moved;
        Ok(moved)
    }

    /// Gives what the pipe holds to a nonblocking socket, as much as it takes.
    ///
    /// `WouldBlock` when the socket takes nothing now. At most [`Pipe::held`] bytes, and not
    /// always all of them; 0 only if it holds none.
    pub fn drain(&mut self, socket: impl AsFd) -> io::Result<usize> {
        if self.held == 0 {
            return Ok(0);
        }
        let moved = move_bytes(&self.read, &socket, self.held)?;
        self.held -= moved;
        Ok(moved)
    }
}

fn move_bytes(from: impl AsFd, into: impl AsFd, length: usize) -> io::Result<usize> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    let moved = rustix::io::retry_on_intr(|| splice(&from, None, &into, None, length, flags))?;
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    fn tcp_pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn bytes_cross_unchanged_and_the_end_is_seen() {
        let (mut client, from) = tcp_pair();
        let (into, mut server) = tcp_pair();
        client.write_all(b"hello splice").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut pipe = Pipe::new(PIPE_BYTES).unwrap();
        // Blocking sockets here, so that each fill waits for what was sent.
        assert_eq!(pipe.fill(&from, 5).unwrap(), 5);
        assert_eq!((pipe.held(), pipe.drain(&into).unwrap(), pipe.held()), (5, 5, 0));
        assert_eq!(pipe.fill(&from, usize::MAX).unwrap(), 7);
        assert_eq!(pipe.drain(&into).unwrap(), 7);
        assert_eq!(pipe.fill(&from, 1).unwrap(), 0, "the end");
        drop(into);
        let mut text = String::new();
        server.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello splice");
    }

    #[test]
    fn neither_side_makes_it_wait() {
        let (client, from) = tcp_pair();
        let (into, server) = tcp_pair();
        from.set_nonblocking(true).unwrap();
        into.set_nonblocking(true).unwrap();
        let mut pipe = Pipe::new(PIPE_BYTES).unwrap();
        assert_eq!(pipe.fill(&from, 100).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(pipe.drain(&into).unwrap(), 0);
        // Nobody reads from `server`, so its buffers must fill up.
        client.set_nonblocking(true).unwrap();
        let chunk = [1; 16 * 1024];
        while pipe.held() == 0 {
            let _ = (&client).write(&chunk);
            match pipe.fill(&from, PIPE_BYTES) {
                Ok(bytes) => assert!(bytes > 0),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            let error = loop {
                match pipe.drain(&into) {
                    Ok(0) => break None,
                    Ok(_) => {}
                    Err(error) => break Some(error.kind()),
                }
            };
            assert!(error.is_none_or(|kind| kind == ErrorKind::WouldBlock));
            assert_eq!(error.is_some(), pipe.held() > 0);
        }
        assert!(pipe.held() <= pipe.capacity());
        drop(server);
    }

    #[test]
    fn a_larger_pipe_is_granted_within_the_limit() {
        assert_eq!(Pipe::new(PIPE_BYTES).unwrap().capacity(), PIPE_BYTES);
        assert_eq!(Pipe::new(200_000).unwrap().capacity(), 256 * 1024);
    }
}
