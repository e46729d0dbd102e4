//! The server behind the proxy: answers at once, from memory.
//!
//! `GET /N` yields a body of N bytes for the sizes it was made with, `/health` says `ok`, anything
//! else is 404. Requests with a body are read to its end first. It speaks HTTP/1.1 as proxies do
//! to servers: no pipelining, bodies with a length.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SendFlags, SocketFlags, SocketType, sockopt};

use crate::generator::{Interest, Io, Token};
use crate::http::{self, Framing};

/// Connections waiting to be accepted; the kernel's own limit may be lower.
const ACCEPT_QUEUE: i32 = 4096;
/// Large enough that a whole response of 100 KB leaves in one call.
const SEND_BUFFER: usize = 512 * 1024;
/// A longer request head is not one of ours.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A listening server and its connections.
#[derive(Debug)]
pub struct Origin {
    listener: OwnedFd,
    address: SocketAddr,
    responses: BTreeMap<Vec<u8>, Rc<[u8]>>,
    not_found: Rc<[u8]>,
    peers: Vec<Option<Peer>>,
    vacant: Vec<u32>,
    served: u64,
}

#[derive(Debug)]
struct Peer {
    fd: OwnedFd,
    /// The beginning of a head whose end has not come.
    partial: Vec<u8>,
    state: State,
    interest: Interest,
    /// Close after the next response.
    close: bool,
}

#[derive(Debug)]
enum State {
    /// Waiting for a request, or within its head.
    Head,
    /// Within a request's body.
    Body { left: u64, response: Rc<[u8]> },
    /// The socket is full.
    Sending { response: Rc<[u8]>, sent: usize },
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Close,
    Keep,
}

impl Origin {
    /// Listens on `address` (port 0 picks one) and can serve bodies of these sizes.
    pub fn listen(address: SocketAddr, body_bytes: &[usize]) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener = net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        // Accepted sockets inherit it.
        sockopt::set_socket_send_buffer_size(&listener, SEND_BUFFER)?;
        net::bind(&listener, &address)?;
        net::listen(&listener, ACCEPT_QUEUE)?;
        let address = net::getsockname(&listener)?.try_into()?;
        let mut responses: BTreeMap<Vec<u8>, Rc<[u8]>> = body_bytes
            .iter()
            .map(|&size| (format!("/{size}").into_bytes(), response("200 OK", &vec![b'x'; size])))
            .collect();
        responses.insert(b"/health".to_vec(), response("200 OK", b"ok\n"));
        let not_found = response("404 Not Found", b"no such size\n");
        let (peers, vacant) = (Vec::new(), Vec::new());
        Ok(Self { listener, address, responses, not_found, peers, vacant, served: 0 })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Responses sent since it began.
    pub fn served(&self) -> u64 {
        self.served
    }

    pub(crate) fn register(&self, io: &Io<'_>) -> io::Result<()> {
        io.add(&self.listener, Token::Listener, Interest::Read)
    }

    /// Takes every connection that waits.
    pub(crate) fn accept(&mut self, io: &Io<'_>) -> io::Result<()> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let fd = match net::accept_with(&self.listener, flags) {
                Ok(fd) => fd,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(error) => return Err(error.into()),
            };
            sockopt::set_tcp_nodelay(&fd, true)?;
            let id = self.vacant.pop().unwrap_or_else(|| {
                self.peers.push(None);
                self.peers.len() as u32 - 1
            });
            io.add(&fd, Token::Peer(id), Interest::Read)?;
            let (partial, interest) = (Vec::new(), Interest::Read);
            let peer = Peer { fd, partial, state: State::Head, interest, close: false };
            self.peers[id as usize] = Some(peer);
        }
    }

    /// Something happened to a connection. What it was, reading and writing will tell.
    pub(crate) fn handle(&mut self, id: u32, io: &mut Io<'_>) -> io::Result<()> {
        // An event from before the connection was closed in this same turn.
        let Some(mut peer) = self.peers[id as usize].take() else { return Ok(()) };
        let fate = match std::mem::replace(&mut peer.state, State::Head) {
            State::Sending { response, sent } => self.send(&mut peer, id, response, sent, io)?,
            State::Head => self.read_head(&mut peer, id, io)?,
            State::Body { left, response } => self.read_body(&mut peer, id, left, response, io)?,
        };
        match fate {
            Fate::Keep => self.peers[id as usize] = Some(peer),
            Fate::Close => self.vacant.push(id),
        }
        Ok(())
    }

    fn read_head(&mut self, peer: &mut Peer, id: u32, io: &mut Io<'_>) -> io::Result<Fate> {
        let length = match rustix::io::read(&peer.fd, &mut *io.scratch) {
            Ok(0) => return Ok(Fate::Close),
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Fate::Keep),
            Err(_) => return Ok(Fate::Close),
        };
        let partial = std::mem::take(&mut peer.partial);
        if partial.is_empty() {
            return self.hear(peer, id, &io.scratch[..length], io);
        }
        self.hear(peer, id, &[&partial, &io.scratch[..length]].concat(), io)
    }

    fn read_body(
        &mut self,
        peer: &mut Peer,
        id: u32,
        left: u64,
        response: Rc<[u8]>,
        io: &mut Io<'_>,
    ) -> io::Result<Fate> {
        let length = match rustix::io::read(&peer.fd, &mut *io.scratch) {
            Ok(0) => return Ok(Fate::Close),
            Ok(length) => length as u64,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => return Ok(Fate::Close),
        };
        self.consume(peer, id, left, length, response, io)
    }

    /// Acts on the head of a request; `bytes` may end within it, or hold some of the body.
    fn hear(&mut self, peer: &mut Peer, id: u32, bytes: &[u8], io: &Io<'_>) -> io::Result<Fate> {
        let Some(length) = http::head_len(bytes) else {
            peer.partial = bytes.to_vec();
            return Ok(if bytes.len() > HEAD_BYTES_MAX { Fate::Close } else { Fate::Keep });
        };
        let (head, body) = bytes.split_at(length);
        let (Some(target), Some(framing)) = (http::target(head), Framing::read(head)) else {
            return Ok(Fate::Close);
        };
        if framing.chunked {
            return Ok(Fate::Close);
        }
        peer.close = framing.close;
        let response = Rc::clone(self.responses.get(target).unwrap_or(&self.not_found));
        let left = framing.content_length.unwrap_or(0);
        self.consume(peer, id, left, body.len() as u64, response, io)
    }

    /// Counts `length` more bytes of a request's body, and answers after the last.
    fn consume(
        &mut self,
        peer: &mut Peer,
        id: u32,
        left: u64,
        length: u64,
        response: Rc<[u8]>,
        io: &Io<'_>,
    ) -> io::Result<Fate> {
        match left.checked_sub(length) {
            // Pipelining, which no proxy does to servers.
            None => Ok(Fate::Close),
            Some(0) => self.send(peer, id, response, 0, io),
            Some(left) => {
                peer.state = State::Body { left, response };
                Ok(Fate::Keep)
            }
        }
    }

    /// Sends what is left of a response from `sent` on.
    fn send(
        &mut self,
        peer: &mut Peer,
        id: u32,
        response: Rc<[u8]>,
        mut sent: usize,
        io: &Io<'_>,
    ) -> io::Result<Fate> {
        while sent < response.len() {
            match net::send(&peer.fd, &response[sent..], SendFlags::NOSIGNAL) {
                Ok(length) => sent += length,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    peer.want(id, Interest::Write, io)?;
                    peer.state = State::Sending { response, sent };
                    return Ok(Fate::Keep);
                }
                Err(_) => return Ok(Fate::Close),
            }
        }
        self.served += 1;
        if peer.close {
            return Ok(Fate::Close);
        }
        peer.want(id, Interest::Read, io)?;
        peer.state = State::Head;
        Ok(Fate::Keep)
    }
}

impl Peer {
    fn want(&mut self, id: u32, interest: Interest, io: &Io<'_>) -> io::Result<()> {
        if self.interest != interest {
            io.change(&self.fd, Token::Peer(id), interest)?;
            self.interest = interest;
        }
        Ok(())
    }
}

/// A response with the fields that servers usually send.
fn response(status: &str, body: &[u8]) -> Rc<[u8]> {
    let head = format!(
        "HTTP/1.1 {status}\r\n\
         Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         Server: origin\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\n\
         Cache-Control: no-store\r\n\
         X-Request-Cost: 1\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat().into()
}
