//! Socket options that rustix does not have.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Sets an option whose value is a number.
pub(crate) fn set_int(fd: impl AsFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    set_plain(fd, level, option, &value.to_ne_bytes())
}

/// Sets an option whose value is plain bytes: one without pointers in it, so not a filter.
#[expect(unsafe_code, reason = "rustix knows the common options only")]
pub(crate) fn set_plain(
    fd: impl AsFd,
    level: c_int,
    option: c_int,
    value: &[u8],
) -> io::Result<()> {
    debug_assert_ne!((level, option), (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER));
    // SAFETY: the descriptor is open as long as it is borrowed; pointer and length are those of a
    // live slice, which the call only reads.
    let outcome = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            option,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Binds a socket to the interface with this index: it neither sends nor receives over any other.
pub(crate) fn bind_to_interface(fd: impl AsFd, interface: u32) -> io::Result<()> {
    /// In Linux since 5.1 (asm-generic/socket.h).
    const SO_BINDTOIFINDEX: c_int = 62;
    let index = c_int::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?;
    // The option takes any number.
    let name = rustix::net::netdevice::index_to_name(&fd, interface)
        .map_err(|_| io::Error::new(io::ErrorKind::NotFound, "no such interface"))
        .map_err(at(format_args!("cannot bind to interface {interface}")))?;
    set_int(fd, libc::SOL_SOCKET, SO_BINDTOIFINDEX, index)
        .map_err(at(format_args!("cannot bind to {name}")))
}

/// Asks for a receive buffer of this size, beyond the system's limit where we may.
pub(crate) fn set_receive_buffer(fd: impl AsFd, bytes: usize) -> io::Result<()> {
    let forced = rustix::net::sockopt::set_socket_recv_buffer_size_force(&fd, bytes);
    Ok(forced.or_else(|_| rustix::net::sockopt::set_socket_recv_buffer_size(&fd, bytes))?)
}

/// Says which step an error is of, keeping its kind.
pub(crate) fn at(step: impl std::fmt::Display) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{step}: {error}"))
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketType, socket};

    use super::*;

    #[test]
    fn an_option_is_set_and_an_unknown_one_is_refused() {
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
        set_int(&socket, libc::SOL_SOCKET, libc::SO_BROADCAST, 1).unwrap();
        assert!(rustix::net::sockopt::socket_broadcast(&socket).unwrap());
        assert!(set_int(&socket, libc::SOL_SOCKET, 0x7fff, 1).is_err());
        assert!(set_plain(&socket, libc::SOL_SOCKET, libc::SO_BROADCAST, &[1]).is_err(), "short");
        set_receive_buffer(&socket, 64 * 1024).unwrap();
        assert!(rustix::net::sockopt::socket_recv_buffer_size(&socket).unwrap() >= 64 * 1024);
    }

    #[test]
    fn an_error_says_what_was_tried() {
        let error = at("cannot join")(io::ErrorKind::PermissionDenied.into());
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(error.to_string(), "cannot join: permission denied");
    }
}
