//! The listening sockets. They stay open while workers come and go, so that clients wait instead of
//! being refused.

mod carried;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;

use evergate_control::link::{Address, FDS_MAX, Listener, Outcome};
use evergate_core::reconcile::{Step, reconcile, sockets_missing};
use evergate_sys::listen::{self, BACKLOG, Sharing};

use rustix::io::Errno;

pub(crate) use self::carried::Carried;
use crate::holder;

/// Every listening socket.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    held: BTreeMap<Place, Held>,
}

/// What makes an address the same one in the next wish.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Place {
    /// Whoever asks for it.
    Port(SocketAddr),
    /// Any port of the system's choice: not the same for two listeners.
    AnyPort(SocketAddr, String),
    /// Whatever its permissions.
    Path(String),
}

impl Place {
    fn of(listener: &Listener) -> Self {
        match &listener.address {
            Address::Tcp(address) if address.port() == 0 => {
                Self::AnyPort(*address, listener.name.clone())
            }
            Address::Tcp(address) => Self::Port(*address),
            Address::Unix { path, mode: _ } => Self::Path(path.clone()),
        }
    }
}

#[derive(Debug)]
struct Held {
    bound: Address,
    fds: Vec<Rc<OwnedFd>>,
}

impl Sockets {
    /// Listens on what is desired and on nothing else; what is held already stays untouched.
    /// Returns what became of each, in order.
    pub(crate) fn apply(&mut self, desired: &[Listener]) -> Vec<(Outcome, Vec<Rc<OwnedFd>>)> {
        let wanted: BTreeMap<Place, &Listener> =
            desired.iter().map(|listener| (Place::of(listener), listener)).collect();
        let mut opened = BTreeMap::new();
        let mut failed = BTreeMap::new();
        let mut closed = Vec::new();
        for step in reconcile(&wanted, &self.held) {
            let (place, outcome) = match step {
                Step::Open { key, desired } => (key, self.open(desired)),
                Step::Keep { key, desired, actual } => (key, grow(desired, actual)),
                Step::Close { key, actual: _ } => {
                    closed.push(key.clone());
                    continue;
                }
            };
            match outcome {
                Ok(held) => drop(opened.insert(place.clone(), held)),
                Err(sentence) => drop(failed.insert(place.clone(), sentence)),
            }
        }
        self.held.append(&mut opened);
        for place in closed {
            self.close(&place);
        }
        desired.iter().map(|listener| self.answer(listener, &failed)).collect()
    }

    /// What is held of what is desired, in order; nothing is opened or closed for it.
    pub(crate) fn held(&self, desired: &[Listener]) -> Vec<(Outcome, Vec<Rc<OwnedFd>>)> {
        let answer = |listener: &Listener| match self.held.get(&Place::of(listener)) {
            Some(held) => (Outcome::Bound(held.bound.clone()), held.fds.clone()),
            None => {
                let sentence = "it is opened once this worker takes over";
                (Outcome::Failed(sentence.to_owned()), Vec::new())
            }
        };
        desired.iter().map(answer).collect()
    }

    /// Every listening socket for TCP.
    pub(crate) fn tcp(&self) -> impl Iterator<Item = &Rc<OwnedFd>> {
        let is_tcp = |held: &&Held| matches!(held.bound, Address::Tcp(_));
        self.held.values().filter(is_tcp).flat_map(|held| &held.fds)
    }

    /// Closes everything.
    pub(crate) fn close_all(&mut self) {
        let places: Vec<Place> = self.held.keys().cloned().collect();
        for place in places {
            self.close(&place);
        }
    }

    fn answer(
        &self,
        listener: &Listener,
        failed: &BTreeMap<Place, String>,
    ) -> (Outcome, Vec<Rc<OwnedFd>>) {
        let place = Place::of(listener);
        if let Some(sentence) = failed.get(&place) {
            return (Outcome::Failed(sentence.clone()), Vec::new());
        }
        let held = self.held.get(&place).expect("what did not fail is held");
        (Outcome::Bound(held.bound.clone()), held.fds.clone())
    }

    fn open(&self, listener: &Listener) -> Result<Held, String> {
        match &listener.address {
            Address::Tcp(address) => {
                let opened = self.open_tcp(*address, sockets_of(listener));
                opened.map_err(|error| explain_tcp(*address, &error))
            }
            Address::Unix { path, mode } => {
                let socket = listen::unix(Path::new(path), *mode, BACKLOG)
                    .map_err(|error| explain_unix(path, &error))?;
                let bound = listener.address.clone();
                Ok(Held { bound, fds: vec![Rc::new(socket.into())] })
            }
        }
    }

    fn open_tcp(&self, address: SocketAddr, sockets: u16) -> io::Result<Held> {
        // Shared ports would let a second Evergate in unnoticed, so ask first; but not about a port
        // that we share with ourselves, as 0.0.0.0:80 and 10.0.0.1:80 do.
        if address.port() != 0 && !self.has_port(address.port()) {
            listen::probe(address)?;
        }
        let first = listen::tcp(address, Sharing::Shared, BACKLOG)?;
        let address = first.local_addr()?;
        let mut held =
            Held { bound: Address::Tcp(address), fds: vec![Rc::new(OwnedFd::from(first))] };
        add_tcp(&mut held.fds, address, sockets_missing(sockets, 1))?;
        Ok(held)
    }

    fn has_port(&self, port: u16) -> bool {
        self.held.values().any(|held| match held.bound {
            Address::Tcp(address) => address.port() == port,
            Address::Unix { .. } => false,
        })
    }

    fn close(&mut self, place: &Place) {
        let held = self.held.remove(place);
        if let Some(Held { bound: Address::Unix { path, .. }, .. }) = held {
            // Gone already is as good.
            let _ = fs::remove_file(path);
        }
    }
}

/// How many sockets a listener gets: one at least, and no more than fit beside one message.
fn sockets_of(listener: &Listener) -> u16 {
    listener.sockets.clamp(1, FDS_MAX as u16)
}

fn grow(listener: &Listener, held: &Held) -> Result<Held, String> {
    let mut fds = held.fds.clone();
    match (&listener.address, &held.bound) {
        (Address::Tcp(_), Address::Tcp(bound)) => {
            let missing = sockets_missing(sockets_of(listener), fds.len() as u16);
            add_tcp(&mut fds, *bound, missing).map_err(|error| explain_tcp(*bound, &error))?;
            Ok(Held { bound: held.bound.clone(), fds })
        }
        (Address::Unix { path, mode }, _) => {
            fs::set_permissions(path, Permissions::from_mode(mode & 0o777))
                .map_err(|error| explain_unix(path, &error))?;
            Ok(Held { bound: listener.address.clone(), fds })
        }
        (Address::Tcp(_), Address::Unix { .. }) => {
            unreachable!("a port and a path are different places")
        }
    }
}

fn add_tcp(fds: &mut Vec<Rc<OwnedFd>>, address: SocketAddr, count: u16) -> io::Result<()> {
    for _ in 0..count {
        let socket = listen::tcp(address, Sharing::Shared, BACKLOG)?;
        fds.push(Rc::new(socket.into()));
    }
    Ok(())
}

/// What, why, and how to mend it.
fn explain_tcp(address: SocketAddr, error: &io::Error) -> String {
    let (port, host) = (address.port(), address.ip());
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => match holder::of_port(port) {
            Some(holder) => format!("{holder} has port {port}; stop it or choose another port"),
            None => format!("another program has port {port}; stop it or choose another port"),
        },
        io::ErrorKind::PermissionDenied => format!(
            "not allowed to use port {port}; run as root, grant CAP_NET_BIND_SERVICE, or choose a \
             port above 1023"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "{host} is not an address of this machine; use one that `ip address` shows, or 0.0.0.0 \
             or [::] for all"
        ),
        _ => error.to_string(),
    };
    format!("cannot listen on {address}: {why}")
}

fn explain_unix(path: &str, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => match holder::of_path(path) {
            Some(holder) => {
                format!("{holder} listens on it already; stop that, or choose another node.run_dir")
            }
            None => "it exists already and is no socket of ours; remove it, or choose another \
                     node.run_dir"
                .to_owned(),
        },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "not allowed; choose a node.run_dir that this user may write to".to_owned()
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "its directory cannot be made; choose another node.run_dir".to_owned()
        }
        _ if error.raw_os_error() == Some(Errno::NAMETOOLONG.raw_os_error()) => {
            "the path is too long for a socket; choose a shorter node.run_dir".to_owned()
        }
        _ => error.to_string(),
    };
    format!("cannot listen on {path}: {why}")
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn tcp(name: &str, address: &str, sockets: u16) -> Listener {
        Listener { name: name.into(), address: Address::Tcp(address.parse().unwrap()), sockets }
    }

    fn bound(outcome: &Outcome) -> SocketAddr {
        match outcome {
            Outcome::Bound(Address::Tcp(address)) => *address,
            other => panic!("{other:?}"),
        }
    }

    fn inodes(fds: &[Rc<OwnedFd>]) -> Vec<u64> {
        fds.iter().map(|fd| rustix::fs::fstat(fd).unwrap().st_ino).collect()
    }

    #[test]
    fn saying_the_same_again_disturbs_nothing() {
        let mut sockets = Sockets::default();
        let desired = [tcp("web", "127.0.0.1:0", 3), tcp("api", "127.0.0.1:0", 1)];
        let first = sockets.apply(&desired);
        assert_ne!(bound(&first[0].0), bound(&first[1].0), "each has a port of its own");
        assert_eq!((first[0].1.len(), first[1].1.len()), (3, 1));
        let again = sockets.apply(&desired);
        for (before, after) in first.iter().zip(&again) {
            assert_eq!(bound(&before.0), bound(&after.0));
            assert_eq!(inodes(&before.1), inodes(&after.1));
        }
    }

    #[test]
    fn more_sockets_are_added_and_fewer_wished_for_take_none_away() {
        let mut sockets = Sockets::default();
        let two = sockets.apply(&[tcp("web", "127.0.0.1:0", 2)]).remove(0);
        let four = sockets.apply(&[tcp("web", "127.0.0.1:0", 4)]).remove(0);
        assert_eq!(inodes(&two.1), inodes(&four.1)[..2]);
        let one = sockets.apply(&[tcp("web", "127.0.0.1:0", 1)]).remove(0);
        assert_eq!(inodes(&one.1), inodes(&four.1));
        let many = sockets.apply(&[tcp("web", "127.0.0.1:0", u16::MAX)]).remove(0);
        assert_eq!(many.1.len(), FDS_MAX);
        let none = sockets.apply(&[tcp("api", "127.0.0.1:0", 0)]).remove(0);
        assert_eq!(none.1.len(), 1, "one at least");
    }

    #[test]
    fn what_is_no_longer_desired_is_closed() {
        let mut sockets = Sockets::default();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/admin.sock").to_str().unwrap().to_owned();
        let unix = |mode| Listener {
            name: "admin".into(),
            address: Address::Unix { path: path.clone(), mode },
            sockets: 1,
        };
        let answers = sockets.apply(&[tcp("web", "127.0.0.1:0", 2), unix(0o600)]);
        let address = bound(&answers[0].0);
        let admin = inodes(&answers[1].1);
        drop(answers);
        TcpStream::connect(address).unwrap();
        UnixStream::connect(&path).unwrap();
        let answers = sockets.apply(&[unix(0o660)]);
        assert_eq!(inodes(&answers[0].1), admin, "other permissions, same socket");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        drop(answers);
        assert!(TcpStream::connect(address).is_err());
        sockets.close_all();
        assert!(!Path::new(&path).exists());
    }

    #[test]
    fn an_address_moves_without_a_gap() {
        let mut sockets = Sockets::default();
        let port = bound(&sockets.apply(&[tcp("web", "0.0.0.0:0", 2)])[0].0).port();
        sockets.close_all();
        let wide = tcp("web", &format!("0.0.0.0:{port}"), 2);
        let narrow = tcp("web", &format!("127.0.0.1:{port}"), 2);
        let before = sockets.apply(&[wide]);
        assert_eq!(bound(&before[0].0).port(), port);
        // The worker still holds the wide ones while it drains them.
        assert_eq!(bound(&sockets.apply(&[narrow])[0].0).port(), port);
    }

    #[test]
    fn errors_name_the_fact_and_the_remedy() {
        let mut sockets = Sockets::default();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = other.local_addr().unwrap();
        let answers = sockets.apply(&[
            tcp("web", &taken.to_string(), 2),
            tcp("far", "192.0.2.1:8080", 1),
            tcp("good", "127.0.0.1:0", 1),
        ]);
        let sentence = |index: usize| match &answers[index].0 {
            Outcome::Failed(sentence) => sentence.as_str(),
            Outcome::Bound(address) => panic!("bound to {address:?}"),
        };
        assert!(sentence(0).starts_with(&format!("cannot listen on {taken}: ")), "{}", sentence(0));
        let process = format!("(process {}) has port", std::process::id());
        assert!(sentence(0).contains(&process), "{}", sentence(0));
        assert!(sentence(1).contains("not an address of this machine"), "{}", sentence(1));
        bound(&answers[2].0);
        let denied = explain_tcp("[::1]:80".parse().unwrap(), &io::Error::from_raw_os_error(13));
        assert!(denied.contains("CAP_NET_BIND_SERVICE"), "{denied}");
        // It works as soon as the port is free.
        drop(other);
        let deadline = evergate_sys::clock::now() + std::time::Duration::from_secs(90);
        let freed = loop {
            let (outcome, _) = sockets.apply(&[tcp("web", &taken.to_string(), 2)]).remove(0);
            // A process that another test is just starting has what this one had, until it is another
            // program.
            if let Outcome::Bound(_) = outcome {
                break outcome;
            }
            assert!(evergate_sys::clock::now() < deadline, "{outcome:?}");
            std::thread::yield_now();
        };
        assert_eq!(bound(&freed), taken);
    }
}
