//! Being told what changes.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::{fmt, io};

use super::{Address, DATAGRAM_BYTES_MAX, Link, message, open};
use crate::{datagram, sockopt, table};

/// Links, and addresses of both families (`RTMGRP_*`).
const GROUPS: u32 =
    (libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR) as u32;
/// Room for what happens while nobody reads: some thousand changes.
const RECEIVE_BUFFER_BYTES: usize = 1024 * 1024;

/// What changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// An interface is there, or is otherwise than before, or is said to be as it was.
    Link(Link),
    /// An interface is gone.
    LinkGone(Link),
    /// An address is there, or is otherwise than before.
    Address(Address, Author),
    /// An address is gone.
    AddressGone(Address, Author),
    /// Changes were missed, because there were more than fit: look at everything again.
    Missed,
}

/// Who made a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Author {
    /// Of its netlink socket; as a rule that of a program's first socket is its process number.
    port: u32,
}

impl Author {
    pub(super) fn new(port: u32) -> Self {
        Self { port }
    }

    /// Whether the kernel made it by itself, such as because an interface went down; also whoever used
    /// other means than netlink (ifconfig(8)).
    pub fn is_kernel(self) -> bool {
        self.port == 0
    }
}

impl fmt::Display for Author {
    /// For people: the name of the process with this number, if there still is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_kernel() {
            return f.write_str("the kernel");
        }
        match table::read(format!("/proc/{}/comm", self.port)) {
            Ok(name) => write!(f, "{} (process {})", name.trim_end(), self.port),
            Err(_) => write!(f, "a program that has ended (process {})", self.port),
        }
    }
}

/// A socket that is told of every interface and address. Take what waits with
/// [`Self::receive`] whenever it is readable.
#[derive(Debug)]
pub struct Monitor {
    fd: OwnedFd,
    buffer: Box<[u8]>,
    /// Of the last datagram.
    waiting: VecDeque<Event>,
}

impl Monitor {
    /// Needs no rights. Open it before looking at what there is, so that nothing is missed between.
    pub fn open() -> io::Result<Self> {
        let (fd, _) = open(GROUPS)?;
        sockopt::set_receive_buffer(&fd, RECEIVE_BUFFER_BYTES)
            .map_err(sockopt::at("cannot size the receive buffer"))?;
        let buffer = vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice();
        Ok(Self { fd, buffer, waiting: VecDeque::new() })
    }

    /// The next change that waits; nothing if there is none.
    pub fn receive(&mut self) -> io::Result<Option<Event>> {
        while self.waiting.is_empty() {
            let received = match datagram::receive(&self.fd, &mut self.buffer) {
                Ok(Some(received)) => received,
                Ok(None) => return Ok(None),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    return Ok(Some(Event::Missed));
                }
                Err(error) => return Err(error),
            };
            if received.source.netlink_port() != Some(0) {
                continue;
            }
            if received.is_truncated {
                return Ok(Some(Event::Missed));
            }
            let told = message::messages(&self.buffer[..received.length]);
            self.waiting.extend(told.filter_map(|message| read(&message)));
        }
        Ok(self.waiting.pop_front())
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn read(message: &message::Message<'_>) -> Option<Event> {
    let author = Author::new(message.port);
    // What a bridge has to say of its ports comes as links of its own family: not of interest.
    let is_plain = message.body.first() == Some(&(libc::AF_UNSPEC as u8));
    match message.kind {
        libc::RTM_NEWLINK if is_plain => Link::read(message.body).map(Event::Link),
        libc::RTM_DELLINK if is_plain => Link::read(message.body).map(Event::LinkGone),
        libc::RTM_NEWADDR => Some(Event::Address(Address::read(message.body)?, author)),
        libc::RTM_DELADDR => Some(Event::AddressGone(Address::read(message.body)?, author)),
        _ => None,
    }
}
