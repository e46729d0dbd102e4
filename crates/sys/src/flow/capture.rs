//! Catching packets on a link, to hand them to another node on it.
//!
//! A packet is taken as the network stack sees it: many segments may be one packet by then, and its
//! checksum may be left to be computed. The kernel says so beside it (`PACKET_VNET_HDR`), and takes the
//! same words back when it is sent on; so it is cut up and summed as if it were a packet of this host.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::filter::{self, Place, Which};
use crate::datagram::{self, Address, Control};
use crate::mac::Mac;
use crate::sockopt;

/// Room for what was caught and could not be sent on yet; what is beyond it is lost.
const RECEIVE_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// What the kernel says beside a packet (`virtio_net_hdr`).
const WORDS_BYTES: usize = 10;
/// In its first byte: the checksum is left to be computed (`VIRTIO_NET_HDR_F_NEEDS_CSUM`).
const NEEDS_SUM: u8 = 1;
const LINK_HEADER_BYTES: usize = 14;
/// Longest packet that is passed on, many segments in one.
const PACKET_BYTES_MAX: usize = 64 * 1024 + 256;
/// Any protocol, in network order (`ETH_P_ALL`).
const ANY_PROTOCOL: u16 = 0x0003_u16.to_be();
/// Not in the libc crate: words beside each packet (linux/if_packet.h).
const PACKET_VNET_HDR: i32 = 15;

/// Packets for this host on an interface, caught beside what the host itself does with them.
#[derive(Debug)]
pub struct Capture {
    fd: OwnedFd,
    interface: u32,
    own: Mac,
    buffer: Box<[u8]>,
    /// How much of the buffer is a packet that could not be sent on yet.
    waiting: usize,
}

/// What a turn of [`Capture::pass_on`] came to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Passed {
    /// Packets that were sent on.
    pub packets: usize,
    /// Packets that were not: longer than any can be, or there was no room where they were to go.
    pub lost: usize,
    /// Whether more may wait.
    pub has_more: bool,
    /// Whether none can be sent just now.
    pub is_stuck: bool,
}

impl Capture {
    /// Catches `which` packets to these addresses from now on, on their interface, which has this
    /// link-layer address. Needs `CAP_NET_RAW`.
    pub fn open(place: &Place, own: Mac, which: &Which) -> io::Result<Self> {
        let open = || {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            // No protocol: nothing is caught before the filter is there.
            let fd = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
            filter::catch(&fd, place, which)?;
            sockopt::set_int(&fd, libc::SOL_PACKET, PACKET_VNET_HDR, 1)?;
            sockopt::set_receive_buffer(&fd, RECEIVE_BUFFER_BYTES)?;
            datagram::bind(&fd, &link(place.interface, ANY_PROTOCOL))?;
            Ok(fd)
        };
        let fd = open().map_err(sockopt::at("cannot catch packets"))?;
        let buffer = vec![0; PACKET_BYTES_MAX].into_boxed_slice();
        Ok(Self { fd, interface: place.interface, own, buffer, waiting: 0 })
    }

    /// Catches `which` packets instead from now on; of those that were caught already, all stay.
    pub fn narrow(&self, place: &Place, which: &Which) -> io::Result<()> {
        filter::catch(&self.fd, place, which).map_err(sockopt::at("cannot catch packets"))
    }

    /// How many packets were lost since the last call because there was no room for them.
    pub fn take_overflow(&self) -> io::Result<u32> {
        packet_statistics(&self.fd).map(|(_, dropped)| dropped)
    }

    /// Sends what was caught, and is caught by `keeps`, to the node with this link-layer address, up to
    /// `count_max` packets; what `keeps` refuses is forgotten. Begins with the oldest.
    ///
    /// # Errors
    /// Of the interface, such as that it is down. What was about to be sent stays first.
    pub fn pass_on(
        &mut self,
        to: Mac,
        count_max: usize,
        keeps: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Passed> {
        let mut passed = Passed::default();
        for _ in 0..count_max {
            if self.waiting == 0 && !self.catch_one(&mut passed)? {
                return Ok(passed);
            }
            if self.waiting == 0 {
                continue;
            }
            let packet = &mut self.buffer[..self.waiting];
            let (words, frame) = packet.split_at_mut(WORDS_BYTES);
            if keeps(&frame[LINK_HEADER_BYTES..]) {
                // What is known of the packet as it came does not hold for it as it goes.
                words[0] &= NEEDS_SUM;
                frame[..6].copy_from_slice(&to.0);
                frame[6..12].copy_from_slice(&self.own.0);
                let protocol = u16::from_ne_bytes([frame[12], frame[13]]);
                let address = link(self.interface, protocol);
                match datagram::send(&self.fd, &address, &Control::new(), packet) {
                    Ok(()) => passed.packets += 1,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        (passed.has_more, passed.is_stuck) = (true, true);
                        return Ok(passed);
                    }
                    // This one will not be sent, whatever comes: as if the link had lost it.
                    Err(error) if is_of_packet(&error) => passed.lost += 1,
                    Err(error) => return Err(error),
                }
            }
            self.waiting = 0;
        }
        passed.has_more = true;
        Ok(passed)
    }

    /// Whether there was one; if it is too long, none waits after all.
    fn catch_one(&mut self, passed: &mut Passed) -> io::Result<bool> {
        let Some(received) = datagram::receive(&self.fd, &mut self.buffer)? else {
            return Ok(false);
        };
        if received.is_truncated || received.length < WORDS_BYTES + LINK_HEADER_BYTES {
            passed.lost += 1;
        } else {
            self.waiting = received.length;
        }
        Ok(true)
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether it is for this packet; `ENOBUFS` is that the interface's queue was full.
fn is_of_packet(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EMSGSIZE | libc::ENOBUFS))
}

/// Packets that a packet socket has seen since the last call, and how many of them it had no room for
/// (`tpacket_stats`).
#[expect(unsafe_code, reason = "rustix has no options of packet sockets")]
fn packet_statistics(fd: impl AsFd) -> io::Result<(u32, u32)> {
    let mut counts = [0_u32; 2];
    let mut length = size_of_val(&counts) as libc::socklen_t;
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel writes at most `length`
    // bytes to `counts`, which is that long, and both live until after the call.
    let outcome = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            counts.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if outcome == 0 { Ok((counts[0], counts[1])) } else { Err(io::Error::last_os_error()) }
}

/// Somebody on a link, of whom only the link is said (`sockaddr_ll`).
fn link(interface: u32, protocol: u16) -> Address {
    let family = (libc::AF_PACKET as u16).to_ne_bytes();
    Address::from_parts(&[&family, &protocol.to_ne_bytes(), &interface.to_ne_bytes(), &[0; 12]])
}
