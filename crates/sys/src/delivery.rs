//! How much of what was sent has arrived.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Bytes that a TCP socket has taken and its peer has not acknowledged: what still waits in the
/// kernel, and what is on its way.
///
/// # Errors
/// If it is no TCP socket, or the system cannot tell (`Unsupported` off Linux).
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "rustix does not have this ioctl")]
pub fn undelivered(socket: impl AsFd) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open as long as it is borrowed, and SIOCOUTQ (which has the number
    // of TIOCOUTQ) writes one integer to where it is pointed, which lives until after the call.
    let outcome = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Bytes that a TCP socket has taken and its peer has not acknowledged.
///
/// # Errors
/// Always: this system cannot tell.
#[cfg(not(target_os = "linux"))]
pub fn undelivered(_: impl AsFd) -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_nobody_reads_is_not_delivered() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        assert_eq!(undelivered(&near).unwrap(), 0);

        near.set_nonblocking(true).unwrap();
        let mut sent = 0;
        let error = loop {
            match near.write(&[0; 64 * 1024]) {
                Ok(count) => sent += count as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let waiting = undelivered(&near).unwrap();
        assert!(waiting > 0 && waiting < sent, "{waiting} of {sent}");

        near.shutdown(std::net::Shutdown::Write).unwrap();
        let mut all = Vec::new();
        assert_eq!(far.read_to_end(&mut all).unwrap() as u64, sent);
        assert!(undelivered(&near).unwrap() < waiting, "it went down as it was read");
    }

    #[test]
    fn a_file_delivers_nothing() {
        assert!(undelivered(std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
