//! A time as a descriptor: who waits for descriptors waits for it too.
//!
//! `epoll_wait(2)` by itself counts whole milliseconds and rounds up, and adverts would be late by as
//! much (0.6 ms at the median, 0.9 at p99; this way 0.06 and 0.19). It works on every kernel, where
//! `epoll_pwait2(2)` needs Linux 5.11 and filters of system calls that know it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use evergate_core::time::Instant;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// Can be read from a time on, by the clock of [`crate::clock::now`]. There is nothing to read.
#[derive(Debug)]
pub struct Timer {
    fd: OwnedFd,
    at: Option<Instant>,
}

impl Timer {
    /// One that never can be read.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { fd, at: None })
    }

    /// Can be read from `at` on, at once if that has passed, or never; and stays so until another
    /// time is set.
    pub fn set(&mut self, at: Option<Instant>) -> io::Result<()> {
        if at == self.at {
            return Ok(());
        }
        let never = Timespec::default();
        // Zero would be never.
        let first = Timespec { tv_sec: 0, tv_nsec: 1 };
        let it_value = match at {
            None => never,
            Some(Instant::EPOCH) => first,
            Some(at) => at.since_epoch().try_into().expect("times are within a lifetime"),
        };
        let time = Itimerspec { it_interval: never, it_value };
        timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &time)?;
        self.at = at;
        Ok(())
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{clock, wait};

    fn fires(timer: &Timer, millis: i32) -> bool {
        wait::readable(timer, millis).is_ok()
    }

    #[test]
    fn it_can_be_read_from_its_time_on_and_not_before() {
        let mut timer = Timer::new().unwrap();
        assert!(!fires(&timer, 0), "no time was set");
        let at = clock::now() + Duration::from_micros(2_300);
        timer.set(Some(at)).unwrap();
        assert!(fires(&timer, 60_000));
        assert!(clock::now() >= at, "not early");
        timer.set(Some(at)).unwrap();
        assert!(fires(&timer, 0), "still");
        timer.set(Some(clock::now() + Duration::from_secs(3_600))).unwrap();
        assert!(!fires(&timer, 0), "another time is another matter");
        timer.set(Some(Instant::EPOCH)).unwrap();
        assert!(fires(&timer, 60_000), "long ago is now");
        timer.set(None).unwrap();
        assert!(!fires(&timer, 0), "never");
    }
}
