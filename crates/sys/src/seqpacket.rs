//! `SOCK_SEQPACKET` pairs: whole packets in order, with file descriptors beside them.
//!
//! Keeper and worker speak over one. Unlike a stream it keeps packet boundaries, and unlike
//! datagrams it tells when the other side is gone.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};

/// Most descriptors beside one packet; Linux allows 253.
pub const FDS_MAX: usize = 128;
/// What is asked of the kernel as buffer for packets under way, in bytes; it may give less.
const BUFFER_BYTES: usize = 512 * 1024;

/// What [`recv`] found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Received {
    /// A packet of this many bytes, more than 0.
    Packet(usize),
    /// The other side closed, and every packet it sent before that was read.
    Closed,
}

/// Two connected sockets, both nonblocking and closed on exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    for socket in [&one, &other] {
        set_socket_send_buffer_size(socket, BUFFER_BYTES)?;
        set_socket_recv_buffer_size(socket, BUFFER_BYTES)?;
    }
    Ok((one, other))
}

/// Sends one packet, whole or not at all.
///
/// `WouldBlock` when the buffer is full, `BrokenPipe` or `ConnectionReset` when the other side is
/// gone, `InvalidInput` for an empty packet (it would look like the end) and for more than
/// [`FDS_MAX`] descriptors. The descriptors stay open here.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if bytes.is_empty() || fds.len() > FDS_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        let fits = beside.push(SendAncillaryMessage::ScmRights(fds));
        debug_assert!(fits, "the space was made for that many");
    }
    let sent = rustix::io::retry_on_intr(|| {
        sendmsg(&socket, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL)
    })?;
    debug_assert_eq!(sent, bytes.len(), "a packet is never split");
    Ok(())
}

/// Receives one packet into `buffer` and appends the descriptors beside it to `fds`, all of them
/// closed on exec.
///
/// `WouldBlock` when there is none yet; `InvalidData` when the packet is larger than `buffer` or
/// has more than [`FDS_MAX`] descriptors, which loses it (no descriptor leaks).
pub fn recv(socket: impl AsFd, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let mut parts = [IoSliceMut::new(buffer)];
    let mut receive = || recvmsg(&socket, &mut parts, &mut beside, flags);
    let message = match rustix::io::retry_on_intr(&mut receive) {
        // Said once, ahead of the packets that wait, when the other side closed without reading
        // all it was sent. What it sent itself still counts.
        Err(rustix::io::Errno::CONNRESET) => rustix::io::retry_on_intr(&mut receive)?,
        outcome => outcome?,
    };
    let first = fds.len();
    for part in beside.drain() {
        // Nothing else comes unless asked for (SO_PASSCRED).
        if let RecvAncillaryMessage::ScmRights(received) = part {
            fds.extend(received);
        }
    }
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        fds.truncate(first);
        return Err(io::Error::new(io::ErrorKind::InvalidData, "packet larger than the buffer"));
    }
    match message.bytes {
        0 => Ok(Received::Closed),
        bytes => Ok(Received::Packet(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> ErrorKind {
        result.unwrap_err().kind()
    }

    #[test]
    fn packets_keep_their_boundaries_and_their_descriptors() {
        let (a, b) = pair().unwrap();
        let (c, d) = pair().unwrap();
        send(&a, b"one", &[c.as_fd(), c.as_fd()]).unwrap();
        send(&a, b"three", &[]).unwrap();
        let (mut buffer, mut fds) = ([0; 16], Vec::new());
        assert_eq!(recv(&b, &mut buffer, &mut fds).unwrap(), Received::Packet(3));
        assert_eq!((&buffer[..3], fds.len()), (&b"one"[..], 2));
        assert!(rustix::io::fcntl_getfd(&fds[0]).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        assert_eq!(recv(&b, &mut buffer, &mut fds).unwrap(), Received::Packet(5));
        assert_eq!((&buffer[..5], fds.len()), (&b"three"[..], 2));
        // What came through is the other end of `d`, not a number that happens to be open.
        send(&fds[1], b"x", &[]).unwrap();
        assert_eq!(recv(&d, &mut buffer, &mut fds).unwrap(), Received::Packet(1));
    }

    #[test]
    fn nothing_yet_the_end_and_too_much_are_told_apart() {
        let (a, b) = pair().unwrap();
        let (mut buffer, mut fds) = ([0; 4], Vec::new());
        assert_eq!(kind(recv(&b, &mut buffer, &mut fds)), ErrorKind::WouldBlock);
        send(&a, b"large", &[a.as_fd()]).unwrap();
        assert_eq!(kind(recv(&b, &mut buffer, &mut fds)), ErrorKind::InvalidData);
        assert!(fds.is_empty(), "a refused packet leaves no descriptor behind");
        assert_eq!(kind(send(&a, b"", &[])), ErrorKind::InvalidInput);
        let many = [a.as_fd(); FDS_MAX + 1];
        assert_eq!(kind(send(&a, b"x", &many)), ErrorKind::InvalidInput);
        send(&a, b"last", &many[1..]).unwrap();
        // What the other side leaves unread must not hide what it said last.
        send(&b, b"?", &[]).unwrap();
        drop(a);
        assert_eq!(recv(&b, &mut buffer, &mut fds).unwrap(), Received::Packet(4));
        assert_eq!(fds.len(), FDS_MAX);
        fds.clear();
        crate::namespace::lab::await_readable(&b);
        assert_eq!(recv(&b, &mut buffer, &mut fds).unwrap(), Received::Closed);
        assert_eq!(kind(send(&b, b"x", &[])), ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_full_buffer_would_block_and_loses_nothing() {
        let (a, b) = pair().unwrap();
        let packet = vec![7; 128 * 1024];
        let mut sent = 0;
        while send(&a, &packet, &[]).is_ok() {
            sent += 1;
        }
        assert!(sent >= 1, "the largest link message fits");
        assert_eq!(kind(send(&a, &packet, &[])), ErrorKind::WouldBlock);
        let (mut buffer, mut fds) = (vec![0; packet.len()], Vec::new());
        for _ in 0..sent {
            assert_eq!(recv(&b, &mut buffer, &mut fds).unwrap(), Received::Packet(packet.len()));
        }
        assert_eq!(kind(recv(&b, &mut buffer, &mut fds)), ErrorKind::WouldBlock);
    }
}
