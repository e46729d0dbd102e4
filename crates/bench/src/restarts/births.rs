//! Processes that say when they began.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::open_to_all;

static OWN: OnceLock<Duration> = OnceLock::new();

/// The time on the monotonic clock, which is the same for every process.
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Notes that this process began just now.
pub fn note_own() {
    OWN.get_or_init(now);
}

/// Tells whoever listens at `path` that this process, instance `number` of something, has begun.
pub fn announce(path: &Path, number: u16) -> io::Result<()> {
    let at = OWN.get_or_init(now).as_nanos();
    let text = format!("{number} {} {at}", std::process::id());
    UnixDatagram::unbound()?.send_to(text.as_bytes(), path)?;
    Ok(())
}

/// Where processes say when they began.
#[derive(Debug)]
pub struct Births {
    socket: UnixDatagram,
}

/// That a process began.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Birth {
    /// Number of the instance.
    pub number: u16,
    /// The process.
    pub pid: u32,
    /// When it entered `main`, on the clock of [`now`].
    pub at: Duration,
}

impl Births {
    /// Listens at `path`, for anybody.
    pub fn listen(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::bind(path)?;
        open_to_all(path, 0o777)?;
        Ok(Self { socket })
    }

    /// The next one; `WouldBlock` if there is none for so long.
    pub fn next(&self, patience: Duration) -> io::Result<Birth> {
        self.socket.set_read_timeout(Some(patience))?;
        let mut text = [0; 64];
        let count = self.socket.recv(&mut text)?;
        parse(&text[..count]).ok_or(io::ErrorKind::InvalidData.into())
    }
}

fn parse(text: &[u8]) -> Option<Birth> {
    let mut words = std::str::from_utf8(text).ok()?.split(' ');
    let mut word = || words.next()?.parse::<u64>().ok();
    let (number, pid, at) = (word()?, word()?, word()?);
    Some(Birth {
        number: u16::try_from(number).ok()?,
        pid: u32::try_from(pid).ok()?,
        at: Duration::from_nanos(at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_says_is_heard() {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        let path = dir.path().join("births.sock");
        let births = Births::listen(&path).expect("the path is free");
        let before = now();
        announce(&path, 3).expect("somebody listens");
        let birth = births.next(Duration::from_secs(5)).expect("it was sent");
        assert_eq!((birth.number, birth.pid), (3, std::process::id()));
        assert!(birth.at >= before && birth.at <= now(), "{birth:?}");
        assert_eq!(parse(b"3 x 5"), None);
        assert_eq!(parse(b"3 5"), None);
    }
}
