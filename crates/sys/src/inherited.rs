//! The link that a parent process left open for us, known by number only.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;

/// Owns the `SOCK_SEQPACKET` socket that this process was started with under `number`, and keeps
/// our own children from inheriting it.
///
/// Call it first thing in `main`, before the process makes a socket of its own that could get that
/// number. Only the first success counts: after that it is `AlreadyExists`. `EBADF` if it is not
/// open; `InvalidInput` for the standard streams, negative numbers and other kinds of socket.
#[expect(unsafe_code, reason = "what a process is started with is known by number only")]
pub fn take(number: i32) -> io::Result<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if number <= 2 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: not negative, and borrowed only for calls that refuse a number that is not open.
    let open = unsafe { BorrowedFd::borrow_raw(number) };
    if socket_type(open)? != SocketType::SEQPACKET {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fcntl_setfd(open, FdFlags::CLOEXEC)?;
    // SAFETY: open, as the calls above showed. The parent opened it for this process, and nothing
    // else here owns it: it is taken once, before this process made a socket of its own.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::os::fd::{AsRawFd, IntoRawFd};

    use super::*;
    use crate::seqpacket::{pair, send};

    #[test]
    fn an_inherited_link_is_taken_once_and_nothing_else_is() {
        let kind = |number| take(number).unwrap_err().kind();
        let file = std::fs::File::open("/dev/null").unwrap();
        let stream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for number in [-1, 0, 1, 2, stream.as_raw_fd()] {
            assert_eq!(kind(number), ErrorKind::InvalidInput, "{number}");
        }
        assert!(take(file.as_raw_fd()).is_err(), "no socket");
        assert!(take(1_000_000).is_err(), "not open");
        let (near, _far) = pair().unwrap();
        let number = near.into_raw_fd();
        let taken = take(number).unwrap();
        send(&taken, b"x", &[]).unwrap();
        assert_eq!(kind(number), ErrorKind::AlreadyExists);
    }
}
