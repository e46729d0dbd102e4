//! A request on a connection that is new or kept, without ever blocking.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt::{set_tcp_nodelay, socket_error};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::answer::{Answer, Reading};
use crate::lab::Moment;
use crate::lab::trace::{Failure, Outcome};

/// A connection, and the request that is under way on it.
#[derive(Debug)]
pub(super) struct Exchange {
    /// When the request was due; nothing while there is none.
    pub(super) start: Option<Moment>,
    socket: OwnedFd,
    is_connected: bool,
    answer: Answer,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Nothing yet.
    Open,
    /// The connection is up, the request is sent: only input matters from now on.
    Sent,
    /// The request has ended so; whether the connection can take another one.
    Ended(Outcome, bool),
    /// The connection was closed while no request was under way.
    Closed,
}

impl Exchange {
    /// Connects, with a request due at `start`.
    pub(super) fn open(to: SocketAddr, start: Moment) -> Result<Self, Failure> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let family = if to.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let opened = rustix::net::socket_with(family, SocketType::STREAM, flags, None);
        let socket = opened.map_err(failure)?;
        match rustix::net::connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(failure(error)),
        }
        let answer = Answer::default();
        Ok(Self { start: Some(start), socket, is_connected: false, answer })
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends another request on a connection that is up and idle.
    pub(super) fn ask_again(&mut self, request: &[u8], start: Moment) -> Step {
        self.start = Some(start);
        self.answer.clear();
        self.send(request)
    }

    /// Goes on as far as it can.
    pub(super) fn advance(&mut self, request: &[u8], is_writable: bool) -> Step {
        if self.is_connected {
            return self.receive();
        }
        match socket_error(&self.socket) {
            Ok(Ok(())) if is_writable => {}
            Ok(Ok(())) => return Step::Open,
            Ok(Err(error)) | Err(error) => return Step::Ended(failed(error), false),
        }
        self.is_connected = true;
        let _ = set_tcp_nodelay(&self.socket, true);
        self.send(request)
    }

    fn send(&mut self, request: &[u8]) -> Step {
        match rustix::net::send(&self.socket, request, SendFlags::NOSIGNAL) {
            Ok(_) => Step::Sent,
            Err(error) => Step::Ended(failed(error), false),
        }
    }

    fn receive(&mut self) -> Step {
        let mut bytes = [0; 1024];
        let count = match rustix::net::recv(&self.socket, &mut bytes, RecvFlags::empty()) {
            Ok((count, _)) => count,
            Err(Errno::AGAIN) => return Step::Open,
            Err(error) if self.start.is_some() => return Step::Ended(failed(error), false),
            Err(_) => return Step::Closed,
        };
        if self.start.is_none() {
            return Step::Closed;
        }
        if count == 0 {
            return Step::Ended(Outcome::Failed(Failure::Broken), false);
        }
        match self.answer.push(&bytes[..count]) {
            Reading::Partial => Step::Open,
            Reading::Whole(node, goes_on) => Step::Ended(Outcome::Good(node), goes_on),
            Reading::Wrong => {
                eprintln!("no answer from a node: {}", self.answer.shown());
                Step::Ended(Outcome::Failed(Failure::Wrong), false)
            }
        }
    }
}

fn failed(error: Errno) -> Outcome {
    Outcome::Failed(failure(error))
}

fn failure(error: Errno) -> Failure {
    match error {
        Errno::CONNREFUSED => Failure::Refused,
        Errno::HOSTUNREACH | Errno::NETUNREACH => Failure::Unreachable,
        Errno::TIMEDOUT => Failure::Silent,
        _ => Failure::Broken,
    }
}
