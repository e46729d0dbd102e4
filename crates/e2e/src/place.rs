//! Addresses where nothing answers.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType};

/// A port that refuses connections for as long as this lives: it is bound, and nobody listens.
#[derive(Debug)]
pub struct Refusing {
    address: SocketAddr,
    _socket: OwnedFd,
}

/// A port that never accepts: its queue is full, so a connection attempt hangs.
#[derive(Debug)]
pub struct Hanging {
    address: SocketAddr,
    _socket: OwnedFd,
    _queued: Vec<TcpStream>,
}

impl Refusing {
    /// A new port.
    pub fn new() -> Self {
        let (socket, address) = bind();
        Self { address, _socket: socket }
    }

    /// Where it refuses.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Default for Refusing {
    fn default() -> Self {
        Self::new()
    }
}

impl Hanging {
    /// A new port.
    pub fn new() -> Self {
        let (socket, address) = bind();
        rustix::net::listen(&socket, 0).expect("a bound socket listens");
        // A queue of length 0 takes one connection.
        let queued = vec![TcpStream::connect(address).expect("there is room for one")];
        Self { address, _socket: socket, _queued: queued }
    }

    /// Where it hangs.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Default for Hanging {
    fn default() -> Self {
        Self::new()
    }
}

fn bind() -> (OwnedFd, SocketAddr) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)
        .expect("there are sockets left");
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))
        .expect("there are ports left");
    let address = rustix::net::getsockname(&socket).expect("a bound socket has an address");
    (socket, address.try_into().expect("it is an internet address"))
}
