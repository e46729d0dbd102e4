//! The puppet: a worker without a will.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use evergate_sys::inherited;
use evergate_sys::seqpacket::{self, Received};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// A packet that tells the puppet to exit with the status in the second byte. No message of the
/// link begins like this.
pub(crate) const EXIT: u8 = b'!';
/// A packet that tells the puppet to close the link and stay.
pub(crate) const LET_GO: u8 = b'-';

/// Connects to the test at `path`, says its process id, and passes packets on both ways until the
/// test tells it to exit, or goes away.
pub(crate) fn run(path: &str) -> ExitCode {
    let number = std::env::var(evergate_keeper::LINK_VARIABLE).unwrap();
    assert_eq!(number.parse(), Ok(evergate_keeper::LINK_FD));
    let mut link = Some(inherited::take(evergate_keeper::LINK_FD).unwrap());
    let test = connect(Path::new(path));
    seqpacket::send(&test, std::process::id().to_string().as_bytes(), &[]).unwrap();
    let (mut buffer, mut fds) = (vec![0; 256 * 1024], Vec::new());
    loop {
        let mut waiting = vec![PollFd::new(&test, PollFlags::IN)];
        waiting.extend(link.iter().map(|link| PollFd::new(link, PollFlags::IN)));
        poll(&mut waiting, None).unwrap();
        match seqpacket::recv(&test, &mut buffer, &mut fds) {
            Ok(Received::Packet(2)) if buffer[0] == EXIT => return ExitCode::from(buffer[1]),
            Ok(Received::Packet(1)) if buffer[0] == LET_GO => link = None,
            Ok(Received::Packet(length)) => pass(link.as_ref(), &buffer[..length], &mut fds),
            Ok(Received::Closed) => return ExitCode::SUCCESS,
            Err(_) => {}
        }
        let heard = link.as_ref().map(|link| seqpacket::recv(link, &mut buffer, &mut fds));
        match heard {
            Some(Ok(Received::Packet(length))) => pass(Some(&test), &buffer[..length], &mut fds),
            Some(Ok(Received::Closed)) => link = None,
            Some(Err(_)) | None => {}
        }
    }
}

fn pass(to: Option<&OwnedFd>, packet: &[u8], fds: &mut Vec<OwnedFd>) {
    let beside: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
    if let Some(to) = to {
        // Whoever is gone hears nothing; what the other side said before is passed on all the same.
        let _ = seqpacket::send(to, packet, &beside);
    }
    fds.clear();
}

fn connect(path: &Path) -> OwnedFd {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
    let address = SocketAddrUnix::new(path).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    rustix::io::ioctl_fionbio(&socket, true).unwrap();
    socket
}
