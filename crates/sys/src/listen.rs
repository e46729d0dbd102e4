//! Sockets to accept from.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

/// Connections that may wait to be accepted, unless asked otherwise; the kernel may allow fewer
/// (`net.core.somaxconn`).
pub const BACKLOG: i32 = 4096;

/// Whether other sockets may listen on the same address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sharing {
    /// None may. Two programs started by mistake on one port collide.
    Alone,
    /// Those of the same user that ask for it too; the kernel spreads connections over all.
    Shared,
}

/// Listens on a TCP address, nonblocking and closed on exec. An IPv6 address takes IPv6 only.
///
/// With [`Sharing::Shared`] a foreign program of the same user goes unnoticed; [`probe`] first.
pub fn tcp(address: SocketAddr, sharing: Sharing, backlog: i32) -> io::Result<TcpListener> {
    let socket = bind(address, sharing)?;
    rustix::net::listen(&socket, backlog)?;
    Ok(socket.into())
}

/// Whether nobody listens on a TCP address yet, and we may: binds to it and lets go again.
pub fn probe(address: SocketAddr) -> io::Result<()> {
    bind(address, Sharing::Alone).map(drop)
}

fn bind(address: SocketAddr, sharing: Sharing) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // Else connections of the last run that still linger would be in the way.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    match sharing {
        Sharing::Alone => {}
        Sharing::Shared => sockopt::set_socket_reuseport(&socket, true)?,
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// Listens on a Unix socket with the given permissions, nonblocking and closed on exec; makes the
/// directory if need be.
///
/// A socket that nobody listens on any more is replaced. One that is alive, or a file that is no
/// socket, is `AddrInUse`.
pub fn unix(path: &Path, mode: u32, backlog: i32) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    match bind_unix(path, mode, backlog) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
            fs::remove_file(path)?;
            bind_unix(path, mode, backlog)
        }
        outcome => outcome,
    }
}

fn bind_unix(path: &Path, mode: u32, backlog: i32) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    let mode = Mode::from_raw_mode(mode & 0o777);
    // Before it has a name, so that it is never more open than it should be, whatever the umask.
    rustix::fs::fchmod(&socket, mode)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    // And after, because the umask may have taken too much.
    rustix::fs::chmod(path, mode)?;
    rustix::net::listen(&socket, backlog)?;
    Ok(socket.into())
}

/// Whether it is a socket that nobody listens on. Does not wait: somebody who listens and does not
/// accept would have us wait for ever.
fn is_stale(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let connect = || {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
    };
    is_socket && connect() == Err(Errno::CONNREFUSED)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpStream;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::namespace::lab::await_true;

    fn any(host: &str) -> SocketAddr {
        format!("{host}:0").parse().unwrap()
    }

    #[test]
    fn several_sockets_share_one_port_and_each_gets_connections() {
        let first = tcp(any("127.0.0.1"), Sharing::Shared, 64).unwrap();
        let address = first.local_addr().unwrap();
        let second = tcp(address, Sharing::Shared, 64).unwrap();
        let clients: Vec<_> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
        let accepted =
            |listener: &TcpListener| std::iter::from_fn(|| listener.accept().ok()).count();
        let (mut one, mut other) = (0, 0);
        // The last word of a handshake may arrive after its client believes it to be over.
        await_true(|| {
            (one, other) = (one + accepted(&first), other + accepted(&second));
            one + other == clients.len()
        });
        assert!(one > 0 && other > 0, "{one} and {other}");
    }

    #[test]
    fn a_port_that_is_taken_is_noticed_even_when_it_is_shared() {
        for sharing in [Sharing::Alone, Sharing::Shared] {
            let holder = tcp(any("127.0.0.1"), sharing, 1).unwrap();
            let address = holder.local_addr().unwrap();
            assert_eq!(probe(address).unwrap_err().kind(), ErrorKind::AddrInUse);
            let alone = tcp(address, Sharing::Alone, 1);
            assert_eq!(alone.unwrap_err().kind(), ErrorKind::AddrInUse);
            drop(holder);
            await_true(|| probe(address).is_ok());
        }
        let elsewhere = tcp("192.0.2.1:1".parse().unwrap(), Sharing::Shared, 1);
        assert_eq!(elsewhere.unwrap_err().kind(), ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn both_families_may_have_the_same_port() {
        // Somebody else may have a port that is free for one family only.
        await_true(|| {
            let Ok(six) = tcp(any("[::]"), Sharing::Alone, 1) else {
                return true; // A machine without IPv6.
            };
            let port = six.local_addr().unwrap().port();
            tcp(SocketAddr::from(([0, 0, 0, 0], port)), Sharing::Alone, 1).is_ok()
        });
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        let directory = std::env::temp_dir().join(format!("evergate-sys-{}", std::process::id()));
        let path = directory.join("deeper").join("admin.sock");
        let first = unix(&path, 0o620, 8).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o620, "the umask has no say");
        assert_eq!(unix(&path, 0o600, 8).unwrap_err().kind(), ErrorKind::AddrInUse);
        UnixStream::connect(&path).unwrap();
        drop(first);
        let mut second = unix(&path, 0o600, 8);
        await_true(|| {
            if second.is_err() {
                second = unix(&path, 0o600, 8);
            }
            second.is_ok()
        });
        let second = second.unwrap();
        assert_eq!(mode(&path), 0o600);
        UnixStream::connect(&path).unwrap();
        drop(second);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert_eq!(unix(&path, 0o600, 8).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn one_who_listens_and_does_not_accept_is_alive_and_keeps_nobody_waiting() {
        let directory = std::env::temp_dir().join(format!("evergate-full-{}", std::process::id()));
        let path = directory.join("full.sock");
        let _busy = unix(&path, 0o600, 0).unwrap();
        // As many as may wait to be accepted: one with a backlog of none.
        let waiting = UnixStream::connect(&path).unwrap();
        assert_eq!(unix(&path, 0o600, 8).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(waiting);
        fs::remove_dir_all(directory).unwrap();
    }
}
