//! What every socket of the standby has in common; alone in its process, so that nothing else is open.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use evergate_sys::echo::Echo;
use evergate_sys::family::Family;
use evergate_sys::flow::capture::Capture;
use evergate_sys::flow::filter::{Place, Which};
use evergate_sys::mac::Mac;
use evergate_sys::namespace;
use evergate_sys::neighbour::{Announcer, ClaimWatch};
use evergate_sys::netlink::{Connections, Monitor, Netlink};
use evergate_sys::shared_page::Page;
use evergate_sys::vrrp_socket::VrrpSocket;
use rustix::fs::OFlags;
use rustix::io::FdFlags;

/// What is open, by number, and what it is.
fn open() -> Vec<(RawFd, String)> {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    let found = entries.map(|entry| {
        let path = entry.unwrap().path();
        let number = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        (number, fs::read_link(path).unwrap_or_default().to_string_lossy().into_owned())
    });
    // But for the one that lists them.
    found.filter(|(_, what): &(RawFd, String)| !what.starts_with("/proc/")).collect()
}

/// Flags of what has this number, read without borrowing it (proc_pid_fdinfo(5)).
fn flags(number: RawFd) -> OFlags {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    OFlags::from_bits_retain(u32::from_str_radix(flags.trim(), 8).unwrap())
}

#[test]
fn no_socket_blocks_and_none_is_inherited() {
    if let Err(error) = namespace::enter_new_network() {
        eprintln!("skipped: no network of its own: {error}");
        return;
    }
    let before = open();
    let loopback = 1;
    let (v4, v6) = (Family::V4, Family::V6);
    let sockets = [v4, v6].map(|family| VrrpSocket::open(loopback, family).unwrap());
    let watches = [v4, v6].map(|family| ClaimWatch::open(loopback, family).unwrap());
    let echoes = [v4, v6].map(|family| Echo::open(family, 7, Some(loopback)).unwrap());
    let (netlink, monitor) = (Netlink::open().unwrap(), Monitor::open().unwrap());
    let announcer = Announcer::open().unwrap();
    let _connections = Connections::open().unwrap();
    let place = Place { interface: loopback, addresses: Vec::new() };
    let _capture = Capture::open(&place, Mac([0; 6]), &Which::All).unwrap();
    let page = Page::new("test").unwrap();

    let opened: Vec<_> = open().into_iter().filter(|one| !before.contains(one)).collect();
    let sockets_opened = opened.iter().filter(|(_, what)| what.starts_with("socket:")).count();
    assert_eq!(sockets_opened, 2 + 2 + 2 + 2 + 1 + 2, "{opened:?}");
    for (number, what) in opened {
        let flags = flags(number);
        assert!(flags.contains(OFlags::CLOEXEC), "{what} is inherited");
        assert!(!what.starts_with("socket:") || flags.contains(OFlags::NONBLOCK), "{what} blocks");
    }
    let borrowed: [BorrowedFd<'_>; 9] = [
        sockets[0].as_fd(),
        sockets[1].as_fd(),
        watches[0].as_fd(),
        watches[1].as_fd(),
        echoes[0].as_fd(),
        echoes[1].as_fd(),
        monitor.as_fd(),
        announcer.as_fd(),
        page.as_fd(),
    ];
    for fd in borrowed {
        assert!(rustix::io::fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC));
    }
    assert_eq!(netlink.links().unwrap().len(), 1);
}
