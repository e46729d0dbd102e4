//! Descriptors that a parent process left open for us, known by number only.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::fd::BorrowedFd;
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Owns the descriptor with that number, and keeps our own children from inheriting it.
///
/// Call it once for a number, before anything else could own it. `BadFd` if it is not open;
/// `InvalidInput` for the standard streams and negative numbers.
pub fn take(number: i32) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the number is not negative, and the descriptor is only asked for its flags; if it is
    // not open that fails with EBADF.
    #[expect(unsafe_code, reason = "a number from the environment is all there is")]
    let open = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_getfd(open)?;
    fcntl_setfd(open, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and by the contract of this function nothing else owns it.
    #[expect(unsafe_code, reason = "ownership comes with the number")]
    let owned = unsafe { OwnedFd::from_raw_fd(number) };
    Ok(owned)
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn an_open_descriptor_is_taken_and_a_closed_one_refused() {
        let (near, far) = crate::seqpacket::pair().unwrap();
        let taken = take(near.into_raw_fd()).unwrap();
        crate::seqpacket::send(&taken, b"x", &[]).unwrap();
        drop(far);
        assert!(take(1).is_err(), "the standard streams are not ours to own");
        assert!(take(-1).is_err());
        assert!(take(9_999).is_err());
    }
}
