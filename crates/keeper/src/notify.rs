//! Telling the service manager how we are, as sd_notify(3) describes.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use evergate_core::time::Instant;

/// Environment variable that holds the service manager's socket.
pub(crate) const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";
/// Those that say within which time, in microseconds, and whose sign of life is wanted.
pub(crate) const WATCHDOG_VARIABLES: [&str; 2] = ["WATCHDOG_USEC", "WATCHDOG_PID"];

/// Every variable that is meant for us alone; children must not have them.
pub(crate) fn variables() -> impl Iterator<Item = &'static str> {
    [SOCKET_VARIABLE].into_iter().chain(WATCHDOG_VARIABLES)
}

/// One datagram: what belongs together must not be told apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Word<'a> {
    /// It serves, and is done with reloading; how that went.
    Ready { status: Option<&'a str> },
    /// It reads its configuration again, since then.
    Reloading { since: Instant },
    /// It ends.
    Stopping,
    /// It needs this long for what it is at, unless it says so again.
    Extend(Duration),
    /// It is alive.
    Alive,
}

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { status: None } => f.write_str("READY=1"),
            Self::Ready { status: Some(status) } => write!(f, "READY=1\nSTATUS={}", line(status)),
            Self::Reloading { since } => {
                let since = *since - Instant::EPOCH;
                write!(f, "RELOADING=1\nMONOTONIC_USEC={}", since.as_micros())
            }
            Self::Stopping => f.write_str("STOPPING=1"),
            Self::Extend(time) => write!(f, "EXTEND_TIMEOUT_USEC={}", time.as_micros()),
            Self::Alive => f.write_str("WATCHDOG=1"),
        }
    }
}

/// `text` up to its first end of line: another one would begin another assignment.
fn line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Within which time a service manager wants a sign of life of the process `pid`, if it does.
fn watchdog(usec: Option<&str>, of: Option<&str>, pid: u32) -> Option<Duration> {
    if of.is_some_and(|of| of.parse() != Ok(pid)) {
        return None;
    }
    let usec: u64 = usec?.parse().ok()?;
    (usec > 0).then(|| Duration::from_micros(usec))
}

/// The way to the service manager, if there is one.
#[derive(Debug)]
pub(crate) struct Notify {
    manager: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// As the environment says. Something unusable there is as good as nothing.
    pub(crate) fn from_env() -> Self {
        let manager = env::var_os(SOCKET_VARIABLE).and_then(reach);
        let [usec, of] = WATCHDOG_VARIABLES.map(|name| env::var(name).ok());
        let watchdog = watchdog(usec.as_deref(), of.as_deref(), std::process::id());
        Self { watchdog: watchdog.filter(|_| manager.is_some()), manager }
    }

    /// Says it. A manager that does not listen misses it.
    pub(crate) fn send(&self, word: Word<'_>) {
        if let Some((socket, manager)) = &self.manager {
            let _ = socket.send_to_addr(word.to_string().as_bytes(), manager);
        }
    }

    /// Within which time [`Word::Alive`] is to be said, again and again.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }
}

fn reach(path: OsString) -> Option<(UnixDatagram, SocketAddr)> {
    let manager = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&path),
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some((socket, manager.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_spelled_as_the_manual_says() {
        let since = Instant::EPOCH + Duration::from_micros(1_234_567);
        let table = [
            (Word::Ready { status: None }, "READY=1"),
            (Word::Ready { status: Some("applied\nMAINPID=1") }, "READY=1\nSTATUS=applied"),
            (Word::Reloading { since }, "RELOADING=1\nMONOTONIC_USEC=1234567"),
            (Word::Stopping, "STOPPING=1"),
            (Word::Extend(Duration::from_secs(30)), "EXTEND_TIMEOUT_USEC=30000000"),
            (Word::Alive, "WATCHDOG=1"),
        ];
        for (word, text) in table {
            assert_eq!(word.to_string(), text);
        }
    }

    #[test]
    fn a_watchdog_is_ours_only_if_it_is_meant_for_us() {
        let second = Some(Duration::from_secs(1));
        let table = [
            (Some("1000000"), None, second),
            (Some("1000000"), Some("7"), second),
            (Some("1000000"), Some("8"), None),
            (Some("1000000"), Some("x"), None),
            (Some("0"), None, None),
            (Some("-1"), None, None),
            (None, Some("7"), None),
        ];
        for (usec, of, expected) in table {
            assert_eq!(watchdog(usec, of, 7), expected, "{usec:?} {of:?}");
        }
    }

    #[test]
    fn both_kinds_of_address_are_reached() {
        let name = format!("evergate-notify-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let table = [
            (OsString::from(format!("@{name}")), UnixDatagram::bind_addr(&abstract_address)),
            (path.clone().into_os_string(), UnixDatagram::bind(&path)),
        ];
        for (variable, manager) in table {
            let manager = manager.unwrap();
            Notify { manager: reach(variable), watchdog: None }.send(Word::Alive);
            let mut text = [0; 16];
            assert_eq!(manager.recv(&mut text).unwrap(), 10);
            assert_eq!(&text[..10], b"WATCHDOG=1");
        }
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        Notify { manager: None, watchdog: None }.send(Word::Alive);
        Notify { manager: reach("/no/such/socket".into()), watchdog: None }.send(Word::Alive);
        assert!(reach("x".repeat(300).into()).is_none(), "too long for an address");
    }
}
