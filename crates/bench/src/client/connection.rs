//! One connection of a load, in the clear or over TLS.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use rustls::ClientConnection;

use crate::generator::{Interest, Io, Token};
use crate::tls::Tls;

/// A socket, and what stands between it and HTTP.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    tls: Option<Box<ClientConnection>>,
    interest: Interest,
    /// Responses that came over it.
    pub(super) responses: u64,
}

/// Why nothing was sent or received.
#[derive(Debug)]
pub(super) enum Fault {
    /// It goes on when the socket is ready.
    Blocked,
    Broken(io::Error),
    Tls(rustls::Error),
}

impl Connection {
    /// Whether nothing has come since the last response, neither the end of the connection nor noise.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let peeked = net::recv(&self.socket.fd, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(peeked, Err(Errno::AGAIN | Errno::INTR))
    }

    /// Begins to connect, and to be told about `id`. On loopback the connection stands when this
    /// returns.
    pub(super) fn open(target: SocketAddr, tls: Option<&Tls>) -> io::Result<Self> {
        let socket = Socket::connect(target)?;
        let tls = tls.map(Tls::connection).transpose().map_err(io::Error::other)?.map(Box::new);
        Ok(Self { socket, tls, interest: Interest::Read, responses: 0 })
    }

    pub(super) fn register(&self, id: u32, io: &Io<'_>) -> io::Result<()> {
        io.add(&self.socket.fd, Token::Client(id), self.interest)
    }

    /// Waits for what the connection needs next.
    pub(super) fn wait(&mut self, id: u32, io: &Io<'_>) -> io::Result<()> {
        let interest = if self.socket.is_full { Interest::Write } else { Interest::Read };
        if self.interest != interest {
            io.change(&self.socket.fd, Token::Client(id), interest)?;
            self.interest = interest;
        }
        Ok(())
    }

    /// Whether any byte left.
    pub(super) fn is_untouched(&self) -> bool {
        !self.socket.has_sent
    }

    /// Sends `bytes` from `sent` on, to the end unless it is blocked.
    pub(super) fn send(&mut self, bytes: &[u8], sent: &mut usize) -> Result<(), Fault> {
        let Some(tls) = &mut self.tls else {
            while *sent < bytes.len() {
                *sent += self.socket.write(&bytes[*sent..])?;
            }
            return Ok(());
        };
        if *sent < bytes.len() {
            // What is said before the end of the handshake waits there, and leaves with it.
            tls.set_buffer_limit(None);
            tls.writer().write_all(&bytes[*sent..])?;
            *sent = bytes.len();
        }
        flush(tls, &mut self.socket)
    }

    /// Puts what came into `scratch`, and says how much it is; nothing is the end.
    pub(super) fn receive(&mut self, scratch: &mut [u8]) -> Result<usize, Fault> {
        let Some(tls) = &mut self.tls else { return Ok(self.socket.read(scratch)?) };
        let is_end = match tls.read_tls(&mut self.socket) {
            Ok(length) => length == 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => return Err(Fault::Broken(error)),
        };
        tls.process_new_packets().map_err(Fault::Tls)?;
        // The handshake goes on by itself. If the socket is full, what came counts all the same.
        match flush(tls, &mut self.socket) {
            Ok(()) | Err(Fault::Blocked) => {}
            Err(fault) => return Err(fault),
        }
        let mut filled = 0;
        while filled < scratch.len() {
            match tls.reader().read(&mut scratch[filled..]) {
                Ok(0) => return Ok(filled),
                Ok(length) => filled += length,
                Err(_) if filled > 0 || is_end => return Ok(filled),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock => Self::Blocked,
            _ => Self::Broken(error),
        }
    }
}

fn flush(tls: &mut ClientConnection, socket: &mut Socket) -> Result<(), Fault> {
    while tls.wants_write() {
        tls.write_tls(socket)?;
    }
    Ok(())
}

/// A socket that remembers what became of it.
#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    has_sent: bool,
    is_full: bool,
}

impl Socket {
    fn connect(target: SocketAddr) -> io::Result<Self> {
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        match net::connect(&fd, &target) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(Self { fd, has_sent: false, is_full: false }),
            Err(error) => Err(error.into()),
        }
    }

    fn sent(&mut self, result: Result<usize, Errno>) -> io::Result<usize> {
        // Also while the connection is being made.
        self.is_full = result == Err(Errno::AGAIN);
        self.has_sent |= result.is_ok();
        Ok(result?)
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match rustix::io::read(&self.fd, into) {
            Err(Errno::INTR) => Err(ErrorKind::WouldBlock.into()),
            result => Ok(result?),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = rustix::io::retry_on_intr(|| net::send(&self.fd, bytes, SendFlags::NOSIGNAL));
        self.sent(result)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let result = rustix::io::retry_on_intr(|| {
            let mut control = net::SendAncillaryBuffer::default();
            net::sendmsg(&self.fd, parts, &mut control, SendFlags::NOSIGNAL)
        });
        self.sent(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
