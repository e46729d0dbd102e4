//! The socket that an app says how far it is to (sd_notify(3)).
//!
//! Each run has one of its own, so that whatever arrives is of that run, whichever of its processes
//! sent it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::{fs, io, mem, ptr};

use rustix::fs::{Gid, Mode, Uid};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::privilege::User;

/// What is asked of the kernel as room for datagrams that wait, in bytes. A sender that finds it
/// full waits.
const WAITING_BYTES: usize = 16 * 1024;

/// A bound datagram socket; its file is removed with it.
#[derive(Debug)]
pub struct NotifySocket {
    socket: OwnedFd,
    path: PathBuf,
}

/// A datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Datagram {
    /// Its length.
    pub bytes: usize,
    /// The process that sent it, as the kernel says; `None` from where we cannot see.
    pub pid: Option<u32>,
}

impl NotifySocket {
    /// Makes the socket at `path`, in place of whatever socket is there. Only `owner` may write to
    /// it, or whoever we are if none; another one than us needs root.
    ///
    /// `InvalidInput` for a path that is too long for a socket (107 bytes).
    pub fn bind(path: &Path, owner: Option<&User>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        sockopt::set_socket_passcred(&socket, true)?;
        sockopt::set_socket_recv_buffer_size(&socket, WAITING_BYTES)?;
        let address = SocketAddrUnix::new(path).map_err(|_| {
            let why = format!("{} is too long for the path of a socket", path.display());
            io::Error::new(io::ErrorKind::InvalidInput, why)
        })?;
        match rustix::net::bind(&socket, &address) {
            // Of a run before us that could not clean up: nobody else has this name.
            Err(rustix::io::Errno::ADDRINUSE) => {
                fs::remove_file(path)?;
                rustix::net::bind(&socket, &address)?;
            }
            bound => bound?,
        }
        let bound = Self { socket, path: path.to_owned() };
        rustix::fs::chmod(path, Mode::from_raw_mode(0o600))?;
        if let Some(owner) = owner {
            let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
            rustix::fs::chown(path, Some(uid), Some(gid))?;
        }
        Ok(bound)
    }

    /// The one that this process made at `path` before it became another program ([`crate::exec`]).
    pub fn resume(socket: OwnedFd, path: PathBuf) -> Self {
        Self { socket, path }
    }

    /// Where it is, for `NOTIFY_SOCKET`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next datagram into `buffer`, or `None` if none waits.
    ///
    /// One that is longer than `buffer` is lost, with `InvalidData`. Descriptors beside it are
    /// closed, which is what `sd_notify_barrier` waits for.
    #[expect(unsafe_code, reason = "rustix takes the number of a process for more than 0, always")]
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<Option<Datagram>> {
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // Room for the credentials, aligned as a header; descriptors find none.
        let mut beside = [0u64; 8];
        // SAFETY: msghdr is plain data, of which all zero is an empty one.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = beside.as_mut_ptr().cast();
        message.msg_controllen = mem::size_of_val(&beside) as _;
        let received = loop {
            // SAFETY: `message` describes live locals and the caller's buffer, each with its size.
            let received = unsafe {
                libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC)
            };
            if received >= 0 {
                break received as usize;
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => return Ok(None),
                _ => return Err(error),
            }
        };
        let pid = sender(&message);
        if message.msg_flags & libc::MSG_TRUNC != 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the datagram is too long"));
        }
        Ok(Some(Datagram { bytes: received, pid }))
    }
}

/// Who sent it. Closes any descriptor that found its way in all the same.
#[expect(unsafe_code, reason = "what lies beside a datagram is read through pointers")]
fn sender(message: &libc::msghdr) -> Option<u32> {
    use std::os::fd::FromRawFd;

    let mut pid = None;
    // SAFETY: the kernel filled in `message`, whose control room outlives this call; the macros
    // stay within its length.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(found) = header.as_ref() {
            let data = libc::CMSG_DATA(header);
            let whole: usize = found.cmsg_len as _;
            let length = whole - (data as usize - header as usize);
            match (found.cmsg_level, found.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS)
                    if length >= mem::size_of::<libc::ucred>() =>
                {
                    let credentials: libc::ucred = ptr::read_unaligned(data.cast());
                    pid = u32::try_from(credentials.pid).ok().filter(|&pid| pid != 0);
                }
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for index in 0..length / mem::size_of::<libc::c_int>() {
                        let fd = ptr::read_unaligned(data.cast::<libc::c_int>().add(index));
                        drop(OwnedFd::from_raw_fd(fd));
                    }
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    pid
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};
    use std::os::fd::AsFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::UnixDatagram;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

    use super::*;

    fn place(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("evergate-notify-{name}-{}", std::process::id()))
    }

    #[test]
    fn what_is_said_arrives_with_who_said_it() {
        let path = place("said");
        let socket = NotifySocket::bind(&path, None).unwrap();
        let mut buffer = [0; 64];
        assert_eq!(socket.recv(&mut buffer).unwrap(), None);
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(b"READY=1", &path).unwrap();
        sender.send_to(&[b'x'; 65], &path).unwrap();
        sender.send_to(b"", &path).unwrap();
        let pid = Some(std::process::id());
        assert_eq!(socket.recv(&mut buffer).unwrap(), Some(Datagram { bytes: 7, pid }));
        assert_eq!(&buffer[..7], b"READY=1");
        let error = socket.recv(&mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(socket.recv(&mut buffer).unwrap(), Some(Datagram { bytes: 0, pid }));
        assert_eq!(socket.recv(&mut buffer).unwrap(), None);
        drop(socket);
        assert!(!path.exists(), "its file goes with it");
    }

    #[test]
    fn descriptors_beside_a_datagram_are_closed() {
        let path = place("fds");
        let socket = NotifySocket::bind(&path, None).unwrap();
        let (mut reader, writer) = pipe().unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.connect(&path).unwrap();
        let fds = [writer.as_fd(), writer.as_fd(), writer.as_fd(), writer.as_fd()];
        let mut space = [mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        assert!(beside.push(SendAncillaryMessage::ScmRights(&fds)));
        let parts = [io::IoSlice::new(b"BARRIER=1")];
        rustix::net::sendmsg(&sender, &parts, &mut beside, SendFlags::empty()).unwrap();
        drop(writer);
        let mut buffer = [0; 64];
        let pid = Some(std::process::id());
        assert_eq!(socket.recv(&mut buffer).unwrap(), Some(Datagram { bytes: 9, pid }));
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "nobody has the other end any more");
    }

    #[test]
    fn only_its_owner_may_write_to_it() {
        let path = place("owner");
        let nobody = User { uid: 65534, gid: 65534, groups: vec![] };
        let is_root = crate::privilege::is_root();
        let socket = match NotifySocket::bind(&path, Some(&nobody)) {
            Ok(socket) => socket,
            Err(error) => {
                assert!(!is_root, "{error}");
                assert!(!path.exists());
                return;
            }
        };
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.permissions().mode() & 0o777), (65534, 0o600));
        // One that was left behind is no obstacle.
        let again = NotifySocket::bind(&path, None).unwrap();
        UnixDatagram::unbound().unwrap().send_to(b"x", &path).unwrap();
        assert!(again.recv(&mut [0; 8]).unwrap().is_some());
        mem::forget(socket);
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(110)));
        let error = NotifySocket::bind(&long, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
