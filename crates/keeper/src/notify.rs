//! Telling the service manager how far we are, as sd_notify(3) describes.

use std::env;
use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Environment variable that holds the service manager's socket; children must not have it.
pub(crate) const VARIABLE: &str = "NOTIFY_SOCKET";

/// The way to the service manager, if there is one.
#[derive(Debug)]
pub(crate) struct Notify {
    manager: Option<(UnixDatagram, SocketAddr)>,
}

impl Notify {
    /// As the environment says. Something unusable there is as good as nothing.
    pub(crate) fn from_env() -> Self {
        Self { manager: env::var_os(VARIABLE).and_then(reach) }
    }

    /// Sends `state`, for example `READY=1`. A manager that does not listen misses it.
    pub(crate) fn send(&self, state: &str) {
        if let Some((socket, manager)) = &self.manager {
            let _ = socket.send_to_addr(state.as_bytes(), manager);
        }
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
            Notify { manager: reach(variable) }.send("READY=1");
            let mut text = [0; 16];
            assert_eq!(manager.recv(&mut text).unwrap(), 7);
            assert_eq!(&text[..7], b"READY=1");
        }
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        Notify { manager: None }.send("READY=1");
        Notify { manager: reach("/no/such/socket".into()) }.send("READY=1");
        assert!(reach("x".repeat(300).into()).is_none(), "too long for an address");
    }
}
