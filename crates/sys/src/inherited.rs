//! What is open when a process starts, known by number only: the link that a parent left open for us,
//! or what this process itself had open before it became another program ([`crate::exec`]).

use std::collections::BTreeSet;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io};

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

/// Every descriptor beside the standard streams that was open when this process started.
///
/// Nothing here owns them yet, and each is given away once at most.
#[derive(Debug, Default)]
pub struct Inherited {
    numbers: BTreeSet<RawFd>,
}

impl Inherited {
    /// Finds them; `AlreadyExists` the second time.
    ///
    /// Call it first thing in `main`, before the process opens anything of its own: that would be
    /// taken for inherited too. It and [`take`] are for different kinds of process.
    pub fn all() -> io::Result<Self> {
        static FOUND: AtomicBool = AtomicBool::new(false);
        if FOUND.swap(true, Ordering::Relaxed) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut numbers: BTreeSet<RawFd> = BTreeSet::new();
        for entry in fs::read_dir("/proc/self/fd")? {
            let name = entry?.file_name();
            let number: Option<RawFd> = name.to_str().and_then(|name| name.parse().ok());
            numbers.extend(number.filter(|&number| number > 2));
        }
        // But for the one that listed them, which is closed by now.
        numbers.retain(|&number| is_open(number));
        Ok(Self { numbers })
    }

    /// Looks at the descriptor with this number; `None` if there was none, or if it was taken.
    #[expect(unsafe_code, reason = "what a process is started with is known by number only")]
    pub fn get(&self, number: RawFd) -> Option<BorrowedFd<'_>> {
        // SAFETY: open when the process started, and nobody has taken it since: that needs `&mut`.
        self.numbers.contains(&number).then(|| unsafe { BorrowedFd::borrow_raw(number) })
    }

    /// Owns the descriptor with this number; `None` if there was none, or if it was taken.
    #[expect(unsafe_code, reason = "what a process is started with is known by number only")]
    pub fn take(&mut self, number: RawFd) -> Option<OwnedFd> {
        // SAFETY: open when the process started, and nobody else owns it: each is taken once.
        self.numbers.remove(&number).then(|| unsafe { OwnedFd::from_raw_fd(number) })
    }
}

#[expect(unsafe_code, reason = "numbers are what this is about")]
fn is_open(number: RawFd) -> bool {
    // SAFETY: takes and returns plain numbers; one that is not open is refused, no more.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
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
