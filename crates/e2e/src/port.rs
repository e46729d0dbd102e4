//! Ports for programs that must be told which to take.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where they are: below those that Linux gives by itself, so that neither a connection nor a `bind`
/// to port 0 takes one between the moment it is found free and the moment it is used.
const FIRST: u16 = 10_000;
const COUNT: u32 = 9_000;
/// How far apart processes begin, so that those that run side by side find other ones.
const APART: u32 = 97;

/// An address on this machine that nobody listens on, and that nobody is given again soon.
///
/// # Panics
/// If every port is taken.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let found = (0..COUNT).find_map(|_| {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let place = std::process::id().wrapping_mul(APART).wrapping_add(number) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + place as u16));
        let is_free = TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok();
        is_free.then_some(address)
    });
    found.expect("there are ports left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_given_what_somebody_has_or_was_given() {
        let first = free_address();
        let held = TcpListener::bind(first).expect("it is free");
        assert_ne!(free_address(), first);
        drop(held);
        assert_ne!(free_address(), first);
    }
}
