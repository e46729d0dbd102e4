//! Waiting for one descriptor, for code that has no event loop.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Waits until `fd` can be read or its other side is gone; `TimedOut` after `millis`.
pub fn readable(fd: impl AsFd, millis: i32) -> io::Result<()> {
    ready(fd, PollFlags::IN, millis)
}

/// Waits until `fd` can be written or its other side is gone; `TimedOut` after `millis`.
pub fn writable(fd: impl AsFd, millis: i32) -> io::Result<()> {
    ready(fd, PollFlags::OUT, millis)
}

fn ready(fd: impl AsFd, interest: PollFlags, millis: i32) -> io::Result<()> {
    let timeout = Timespec {
        tv_sec: i64::from(millis / 1000),
        tv_nsec: i64::from(millis % 1000) * 1_000_000,
    };
    let mut fds = [PollFd::new(&fd, interest)];
    let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout)))?;
    if ready == 0 { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seqpacket;

    #[test]
    fn silence_times_out_and_a_packet_wakes() {
        let (near, far) = seqpacket::pair().unwrap();
        assert_eq!(readable(&near, 1).unwrap_err().kind(), io::ErrorKind::TimedOut);
        seqpacket::send(&far, b"x", &[]).unwrap();
        readable(&near, 60_000).unwrap();
        writable(&near, 0).unwrap();
    }
}
