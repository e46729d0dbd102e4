//! Datagrams with what the kernel knows of them beside their bytes (recvmsg(2), cmsg(3)).

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

/// Most datagrams that are skipped in one go, because they are not what is waited for. A flood of such
/// must not keep whoever has other things to do, too: they find the socket readable again.
pub(crate) const SKIPPED_MAX: usize = 32;
/// Room for control messages; all that are asked for here take less than half of it.
const CONTROL_BYTES: usize = 256;
/// Size of a control message's head, a multiple of its alignment: a length and two numbers.
const HEAD_BYTES: usize = align(KIND_AT + size_of::<c_int>());
const LEVEL_AT: usize = size_of::<usize>();
const KIND_AT: usize = LEVEL_AT + size_of::<c_int>();

/// The address of a socket, in the kernel's form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    /// As `sockaddr_storage`.
    bytes: [u8; Self::BYTES],
    length: usize,
}

impl Address {
    const BYTES: usize = 128;

    /// An address of any kind from its parts, the first of which is the family.
    pub(crate) fn from_parts(parts: &[&[u8]]) -> Self {
        let mut address = Self { bytes: [0; Self::BYTES], length: 0 };
        for part in parts {
            address.bytes[address.length..][..part.len()].copy_from_slice(part);
            address.length += part.len();
        }
        address
    }

    /// A host, over `interface` if that matters. No port, as raw sockets have none.
    pub(crate) fn host(address: IpAddr, interface: u32) -> Self {
        match address {
            IpAddr::V4(address) => {
                let family = (libc::AF_INET as u16).to_ne_bytes();
                Self::from_parts(&[&family, &[0; 2], &address.octets(), &[0; 8]])
            }
            IpAddr::V6(address) => {
                let family = (libc::AF_INET6 as u16).to_ne_bytes();
                // Only addresses of a link need to say which link.
                let scope = if is_of_link(address) { interface } else { 0 };
                let scope = scope.to_ne_bytes();
                Self::from_parts(&[&family, &[0; 6], &address.octets(), &scope])
            }
        }
    }

    /// The host, if it is one.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match c_int::from(u16::from_ne_bytes([self.bytes[0], self.bytes[1]])) {
            libc::AF_INET if self.length >= 8 => {
                Some(Ipv4Addr::from_octets(first(&self.bytes[4..])?).into())
            }
            libc::AF_INET6 if self.length >= 24 => {
                Some(Ipv6Addr::from_octets(first(&self.bytes[8..])?).into())
            }
            _ => None,
        }
    }

    /// The port of a netlink socket, if it is one; the kernel's is 0.
    pub(crate) fn netlink_port(&self) -> Option<u32> {
        let is_netlink = self.bytes[..2] == (libc::AF_NETLINK as u16).to_ne_bytes();
        let port = first(&self.bytes[4..]).map(u32::from_ne_bytes);
        port.filter(|_| is_netlink && self.length >= 8)
    }
}

/// Whether an address means nothing without the link that it is on.
fn is_of_link(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local() || (address.is_multicast() && address.segments()[0] & 0xf == 2)
}

/// The first bytes of a slice, if it has that many.
pub(crate) fn first<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.first_chunk().copied()
}

/// Control messages: to be sent along, or received.
///
/// Aligned as the kernel wants it.
#[derive(Debug)]
#[repr(C, align(8))]
pub(crate) struct Control {
    bytes: [u8; CONTROL_BYTES],
    length: usize,
}

impl Control {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; CONTROL_BYTES], length: 0 }
    }

    /// Appends one. Room is for what this crate sends; more is a fault of ours.
    pub(crate) fn push(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        let room = &mut self.bytes[self.length..];
        let end = HEAD_BYTES + data.len();
        room[..LEVEL_AT].copy_from_slice(&end.to_ne_bytes());
        room[LEVEL_AT..KIND_AT].copy_from_slice(&level.to_ne_bytes());
        room[KIND_AT..][..size_of::<c_int>()].copy_from_slice(&kind.to_ne_bytes());
        room[HEAD_BYTES..end].copy_from_slice(data);
        self.length += align(end);
    }

    /// The data of the first one of this kind.
    pub(crate) fn find(&self, level: c_int, kind: c_int) -> Option<&[u8]> {
        let mut rest = &self.bytes[..self.length];
        while rest.len() >= HEAD_BYTES {
            let number = |at: usize| Some(c_int::from_ne_bytes(first(&rest[at..])?));
            let length = usize::from_ne_bytes(first(rest)?);
            let found = (number(LEVEL_AT)?, number(KIND_AT)?);
            let data = rest.get(HEAD_BYTES..length)?;
            if found == (level, kind) {
                return Some(data);
            }
            rest = rest.get(align(length)..)?;
        }
        None
    }
}

const fn align(length: usize) -> usize {
    length.next_multiple_of(size_of::<usize>())
}

/// What was received.
#[derive(Debug)]
pub(crate) struct Received {
    /// How many bytes of the buffer are filled.
    pub(crate) length: usize,
    /// Whether there was more than the buffer holds.
    pub(crate) is_truncated: bool,
    pub(crate) source: Address,
    pub(crate) control: Control,
}

/// Binds a socket to an address of any kind.
#[expect(unsafe_code, reason = "rustix knows other addresses only")]
pub(crate) fn bind(fd: impl AsFd, address: &Address) -> io::Result<()> {
    let length = address.length as libc::socklen_t;
    // SAFETY: the descriptor is open as long as it is borrowed; the bytes of the address, as many as
    // told, live until after the call, which only reads them.
    let outcome =
        unsafe { libc::bind(fd.as_fd().as_raw_fd(), address.bytes.as_ptr().cast(), length) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes one datagram without waiting; nothing if none is there.
#[expect(unsafe_code, reason = "rustix knows other control messages only")]
#[allow(clippy::unnecessary_cast, reason = "lengths are not of one type in every C library")]
pub(crate) fn receive(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    let mut control = Control::new();
    let mut source = Address { bytes: [0; Address::BYTES], length: 0 };
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeroes is a valid msghdr: null pointers and no lengths.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = source.bytes.as_mut_ptr().cast();
    message.msg_namelen = source.bytes.len() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_BYTES as _;
    let flags = libc::MSG_DONTWAIT;
    let length = loop {
        // SAFETY: the descriptor is open as long as it is borrowed. The three buffers are live, not
        // aliased, and of the lengths told; any bytes that the kernel writes are valid in them.
        let length = unsafe { libc::recvmsg(fd.as_fd().as_raw_fd(), &raw mut message, flags) };
        if let Ok(length) = usize::try_from(length) {
            break length;
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => {}
            error if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            error => return Err(error),
        }
    };
    source.length = (message.msg_namelen as usize).min(Address::BYTES);
    control.length = (message.msg_controllen as usize).min(CONTROL_BYTES);
    let is_truncated = message.msg_flags & libc::MSG_TRUNC != 0;
    Ok(Some(Received { length, is_truncated, source, control }))
}

/// Sends one datagram without waiting.
#[expect(unsafe_code, reason = "rustix knows other control messages and addresses only")]
pub(crate) fn send(
    fd: impl AsFd,
    to: &Address,
    control: &Control,
    payload: &[u8],
) -> io::Result<()> {
    let mut part =
        libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
    // SAFETY: all zeroes is a valid msghdr: null pointers and no lengths.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = to.bytes.as_ptr().cast_mut().cast();
    message.msg_namelen = to.length as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes.as_ptr().cast_mut().cast();
    message.msg_controllen = control.length as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    loop {
        // SAFETY: the descriptor is open as long as it is borrowed, and the buffers, of the lengths
        // told, live until after the call, which only reads them.
        let sent = unsafe { libc::sendmsg(fd.as_fd().as_raw_fd(), &raw const message, flags) };
        match usize::try_from(sent) {
            Ok(sent) if sent == payload.len() => return Ok(()),
            Ok(_) => return Err(io::Error::other("a datagram was sent in part")),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::sockopt;

    #[test]
    fn a_datagram_arrives_with_its_sender_and_where_it_was_sent_to() {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        sockopt::set_int(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1).unwrap();
        sockopt::set_int(&socket, libc::IPPROTO_IP, libc::IP_RECVTTL, 1).unwrap();
        let mut buffer = [0; 16];
        assert!(receive(&socket, &mut buffer).unwrap().is_none(), "nothing is there yet");
        let port = socket.local_addr().unwrap().port();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.set_ttl(77).unwrap();
        let family = (libc::AF_INET as u16).to_ne_bytes();
        let to = Address::from_parts(&[&family, &port.to_be_bytes(), &[127, 0, 0, 2], &[0; 8]]);
        send(&sender, &to, &Control::new(), b"hello").unwrap();
        crate::namespace::lab::await_readable(&socket);
        let received = receive(&socket, &mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..received.length], b"hello");
        assert_eq!(received.source.ip(), Some("127.0.0.1".parse().unwrap()));
        let info = received.control.find(libc::IPPROTO_IP, libc::IP_PKTINFO).unwrap();
        assert_eq!(info[8..12], [127, 0, 0, 2]);
        let ttl = received.control.find(libc::IPPROTO_IP, libc::IP_TTL).unwrap();
        assert_eq!(ttl, 77i32.to_ne_bytes());
        assert_eq!(received.control.find(libc::IPPROTO_IP, libc::IP_TOS), None);
    }

    #[test]
    fn a_datagram_that_is_too_long_is_cut_and_said_to_be() {
        let (near, far) = std::os::unix::net::UnixDatagram::pair().unwrap();
        near.send(b"hello").unwrap();
        let received = receive(&far, &mut [0; 4]).unwrap().unwrap();
        assert!(received.is_truncated && received.length == 4);
        assert_eq!(received.source.ip(), None);
    }

    #[test]
    fn what_is_pushed_is_found() {
        let mut control = Control::new();
        control.push(1, 2, b"abc");
        control.push(3, 4, b"defghijkl");
        assert_eq!(control.find(1, 2).unwrap(), b"abc");
        assert_eq!(control.find(3, 4).unwrap(), b"defghijkl");
        assert_eq!(control.find(1, 4), None);
    }

    #[test]
    fn an_address_of_a_link_says_which() {
        let group = Address::host("ff02::12".parse().unwrap(), 7);
        assert_eq!((group.bytes[24], group.length), (7, 28));
        assert_eq!(Address::host("2001:db8::1".parse().unwrap(), 7).bytes[24], 0);
        let four: IpAddr = "10.1.2.3".parse().unwrap();
        assert_eq!(Address::host(four, 7).ip(), Some(four));
    }
}
