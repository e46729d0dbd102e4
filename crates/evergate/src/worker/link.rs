//! The worker's end of the link to its keeper.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use evergate_control::link::{self, MESSAGE_BYTES_MAX, ToKeeper, ToWorker, TrialOrder};
use evergate_sys::seqpacket::{self, Received};
use evergate_sys::wait;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// How long a keeper may take to answer a question, in milliseconds.
const ANSWER_WAIT_MS: i32 = 5_000;

/// A message, and the descriptors beside it.
pub(super) type Packet = (ToWorker, Vec<OwnedFd>);

/// The link, without a runtime: used while the worker starts, and to ask for files.
#[derive(Debug)]
pub(super) struct Link {
    socket: OwnedFd,
    /// Came while something else was waited for.
    backlog: VecDeque<Packet>,
    requests: u32,
}

/// Tells when the link can be read.
#[derive(Debug)]
pub(super) struct LinkEvents {
    socket: UnixStream,
}

impl LinkEvents {
    /// Waits until something came. Whoever wakes up reads until nothing is left, for it is told
    /// once.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await?;
        let told = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        drop(self.socket.try_io(Interest::READABLE, told));
        Ok(())
    }
}

impl Link {
    /// The link on `socket`.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, backlog: VecDeque::new(), requests: 0 }
    }

    /// Tells the keeper something.
    pub(super) fn send(&self, message: &ToKeeper, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = link::encode(message);
        loop {
            match seqpacket::send(&self.socket, &bytes, fds) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait::writable(&self.socket, ANSWER_WAIT_MS)?;
                }
                other => return other,
            }
        }
    }

    /// Waits, blocking, for the next message.
    pub(super) fn receive(&mut self) -> io::Result<Packet> {
        match self.backlog.pop_front() {
            Some(packet) => Ok(packet),
            None => self.receive_new(),
        }
    }

    /// The next message if one is here. `WouldBlock` if none is, `UnexpectedEof` if the keeper is
    /// gone.
    pub(super) fn try_receive(&mut self) -> io::Result<Packet> {
        if let Some(packet) = self.backlog.pop_front() {
            return Ok(packet);
        }
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        let mut fds = Vec::new();
        match seqpacket::recv(&self.socket, &mut buffer, &mut fds)? {
            Received::Closed => Err(io::ErrorKind::UnexpectedEof.into()),
            Received::Packet(length) => {
                let message = link::decode(&buffer[..length]);
                Ok((message.map_err(io::Error::other)?, fds))
            }
        }
    }

    /// Has the keeper open a file or a directory that we may not.
    pub(super) fn open(&mut self, path: &Path) -> io::Result<OwnedFd> {
        self.requests += 1;
        let request = self.requests;
        let Some(text) = path.to_str() else { return Err(io::ErrorKind::InvalidInput.into()) };
        self.send(&ToKeeper::Open { request, path: text.to_owned() }, &[])?;
        loop {
            let (message, fds) = self.receive_new()?;
            match message {
                ToWorker::Opened { request: answered, error } if answered == request => {
                    if let Some(error) = error {
                        return Err(io::Error::new(io::ErrorKind::PermissionDenied, error));
                    }
                    return Ok(fds.into_iter().next().ok_or(io::ErrorKind::InvalidData)?);
                }
                other => self.backlog.push_back((other, fds)),
            }
        }
    }

    /// Has the keeper open these files later too, and start processes as these users, when we may
    /// not; to be said while we still may.
    pub(super) fn name(&mut self, paths: &[String], users: &[String]) -> io::Result<()> {
        self.send(&ToKeeper::Named { paths: paths.to_vec(), users: users.to_vec() }, &[])?;
        loop {
            match self.receive_new()? {
                (ToWorker::Noted, _) => return Ok(()),
                other => self.backlog.push_back(other),
            }
        }
    }

    /// Tells the keeper something of a configuration on trial; it may refuse.
    pub(super) fn order_trial(&mut self, order: TrialOrder) -> io::Result<Result<(), String>> {
        self.requests += 1;
        let request = self.requests;
        self.send(&ToKeeper::Trial { request, order }, &[])?;
        loop {
            match self.receive_new()? {
                (ToWorker::Tried { request: answered, error }, _) if answered == request => {
                    return Ok(error.map_or(Ok(()), Err));
                }
                other => self.backlog.push_back(other),
            }
        }
    }

    /// The socket, to be waited on.
    pub(super) fn events(&self) -> io::Result<LinkEvents> {
        let socket = self.socket.as_fd().try_clone_to_owned()?;
        // To the runtime every Unix socket that can be waited on is a stream.
        Ok(LinkEvents { socket: UnixStream::from_std(socket.into())? })
    }

    /// Whether a message is waiting that no event of the socket will announce.
    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    fn receive_new(&mut self) -> io::Result<Packet> {
        let mut aside = std::mem::take(&mut self.backlog);
        let received = loop {
            match self.try_receive() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = wait::readable(&self.socket, ANSWER_WAIT_MS) {
                        break Err(error);
                    }
                }
                other => break other,
            }
        };
        std::mem::swap(&mut aside, &mut self.backlog);
        received
    }
}
