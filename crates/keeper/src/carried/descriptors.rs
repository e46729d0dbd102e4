//! Descriptors that go from one image of the keeper to the next: listed with what they are, so that
//! a number that is another's by now is noticed, and owned only once all is found to be well.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use evergate_sys::inherited::Inherited;
use minicbor::{Decode, Encode};
use rustix::fs::FileType;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::sockopt::socket_cookie;

/// A descriptor, by its number in the image that listed it.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, Ord, PartialEq, PartialOrd)]
#[cbor(transparent)]
pub(crate) struct Fd(#[n(0)] RawFd);

/// What a descriptor is, as far as the kernel tells.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
enum Kind {
    #[n(0)]
    Socket,
    #[n(1)]
    Pipe,
    #[n(2)]
    File,
    #[n(3)]
    Directory,
    #[n(4)]
    Other,
}

/// What tells an open file from every other of this boot.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
struct Identity {
    #[n(0)]
    kind: Kind,
    /// The cookie of a socket, else the number of the file on its device.
    #[n(1)]
    number: u64,
    #[n(2)]
    device: u64,
}

#[cfg(test)]
impl Fd {
    pub(crate) fn of(number: RawFd) -> Self {
        Self(number)
    }
}

/// Every descriptor that is carried.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub(crate) struct Descriptors {
    #[n(0)]
    listed: Vec<Listed>,
}

#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
struct Listed {
    #[n(0)]
    fd: Fd,
    #[n(1)]
    identity: Identity,
}

/// Lists descriptors while the parts of the keeper are written down.
#[derive(Debug, Default)]
pub(crate) struct Listing<'a> {
    fds: BTreeMap<Fd, BorrowedFd<'a>>,
}

#[cfg(test)]
impl Taken {
    /// Copies of these, as if they had been carried.
    pub(crate) fn of(fds: &[BorrowedFd<'_>]) -> Self {
        let copy = |fd: &BorrowedFd<'_>| {
            let copy = fcntl_dupfd_cloexec(fd, 3).expect("there is room for a copy");
            (Fd(fd.as_raw_fd()), Rc::new(copy))
        };
        Self { fds: fds.iter().map(copy).collect() }
    }
}

#[cfg(test)]
impl Descriptors {
    /// All that `uses` refers to, as files.
    pub(crate) fn sample(uses: &Uses) -> Self {
        let all: BTreeSet<Fd> = uses.owned.iter().chain(&uses.shared).copied().collect();
        let identity = |fd: Fd| Identity { kind: Kind::File, number: fd.0 as u64, device: 1 };
        let listed = all.into_iter().map(|fd| Listed { fd, identity: identity(fd) });
        Self { listed: listed.collect() }
    }
}

impl<'a> Listing<'a> {
    /// Lists `fd` and says how to refer to it.
    pub(crate) fn add(&mut self, fd: &'a impl AsFd) -> Fd {
        let fd = fd.as_fd();
        let number = Fd(fd.as_raw_fd());
        self.fds.insert(number, fd);
        number
    }

    /// What was listed, and the descriptors themselves.
    pub(crate) fn finish(self) -> io::Result<(Descriptors, Vec<BorrowedFd<'a>>)> {
        let list =
            |(&fd, &open): (&Fd, &BorrowedFd<'a>)| Ok(Listed { fd, identity: Identity::of(open)? });
        let listed = self.fds.iter().map(list).collect::<io::Result<_>>()?;
        Ok((Descriptors { listed }, self.fds.into_values().collect()))
    }
}

/// How what was written down refers to descriptors.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    owned: Vec<Fd>,
    shared: Vec<Fd>,
}

impl Uses {
    /// By one owner and by nobody else.
    pub(crate) fn own(&mut self, fd: Fd) {
        self.owned.push(fd);
    }

    /// By this owner, and maybe by others.
    pub(crate) fn share(&mut self, fd: Fd) {
        self.shared.push(fd);
    }

    /// Whether every reference has its descriptor; why not.
    pub(crate) fn check(&self, descriptors: &Descriptors) -> Result<(), String> {
        let mut listed = BTreeSet::new();
        for one in &descriptors.listed {
            if !listed.insert(one.fd) {
                return Err(format!("descriptor {} is listed twice", one.fd.0));
            }
        }
        let mut owned = BTreeSet::new();
        for fd in self.owned.iter().chain(&self.shared) {
            if !listed.contains(fd) {
                return Err(format!("descriptor {} is used and not listed", fd.0));
            }
        }
        for fd in &self.owned {
            if !owned.insert(fd) || self.shared.contains(fd) {
                return Err(format!("descriptor {} has two owners", fd.0));
            }
        }
        Ok(())
    }
}

/// Descriptors that were carried, each a copy: what this process was started with stays open until
/// nothing can call for it any more, whatever happens to the copies.
#[derive(Debug)]
pub(crate) struct Taken {
    fds: BTreeMap<Fd, Rc<OwnedFd>>,
}

impl Taken {
    /// Copies of all that are listed, if each is what it was.
    pub(crate) fn copy(descriptors: &Descriptors, inherited: &Inherited) -> Result<Self, String> {
        let copy = |one: &Listed| {
            let number = one.fd.0;
            let Some(open) = inherited.get(number) else {
                return Err(format!("descriptor {number} is not open"));
            };
            match Identity::of(open) {
                Ok(found) if found == one.identity => {}
                Ok(_) => return Err(format!("descriptor {number} is another file than it was")),
                Err(error) => return Err(format!("descriptor {number} cannot be told: {error}")),
            }
            match fcntl_dupfd_cloexec(open, 3) {
                Ok(copy) => Ok((one.fd, Rc::new(copy))),
                Err(error) => Err(format!("descriptor {number} cannot be copied: {error}")),
            }
        };
        Ok(Self { fds: descriptors.listed.iter().map(copy).collect::<Result<_, String>>()? })
    }

    /// The descriptor for one of its owners.
    pub(crate) fn shared(&self, fd: Fd) -> Rc<OwnedFd> {
        Rc::clone(self.fds.get(&fd).expect("what is used is listed, as was checked"))
    }

    /// The descriptor for its only owner.
    pub(crate) fn owned(&mut self, fd: Fd) -> OwnedFd {
        let copy = self.fds.remove(&fd).expect("what is used is listed, as was checked");
        Rc::into_inner(copy).expect("it has one owner, as was checked")
    }
}

/// Closes what was carried: the copies are in use now.
pub(crate) fn close(descriptors: &Descriptors, inherited: &mut Inherited) {
    for one in &descriptors.listed {
        drop(inherited.take(one.fd.0));
    }
}

impl Identity {
    fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let stat = rustix::fs::fstat(fd)?;
        let (kind, number) = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket => (Kind::Socket, socket_cookie(fd)?),
            FileType::Fifo => (Kind::Pipe, stat.st_ino),
            FileType::RegularFile => (Kind::File, stat.st_ino),
            FileType::Directory => (Kind::Directory, stat.st_ino),
            FileType::Symlink
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => (Kind::Other, stat.st_ino),
        };
        Ok(Self { kind, number, device: stat.st_dev })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(fds: &[Fd]) -> Descriptors {
        let identity = Identity { kind: Kind::File, number: 7, device: 1 };
        Descriptors { listed: fds.iter().map(|&fd| Listed { fd, identity }).collect() }
    }

    #[test]
    fn every_reference_has_its_descriptor_and_every_descriptor_one_owner() {
        let (one, two) = (Fd(5), Fd(6));
        let check = |owned: &[Fd], shared: &[Fd], all: &[Fd]| {
            Uses { owned: owned.to_vec(), shared: shared.to_vec() }.check(&listed(all))
        };
        assert_eq!(check(&[one], &[two, two], &[one, two]), Ok(()));
        let refused = |checked: Result<(), String>, why: &str| {
            let text = checked.unwrap_err();
            assert!(text.ends_with(why), "{text}");
        };
        refused(check(&[one], &[], &[two]), "5 is used and not listed");
        refused(check(&[], &[two], &[one]), "6 is used and not listed");
        refused(check(&[one, one], &[], &[one]), "5 has two owners");
        refused(check(&[one], &[one], &[one]), "5 has two owners");
        refused(check(&[], &[], &[one, one]), "5 is listed twice");
    }

    #[test]
    fn a_descriptor_is_known_again_and_no_other_is_taken_for_it() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let listeners = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let folder = std::fs::File::open("/").unwrap();
        let file = evergate_sys::memfd::seal("test", b"one").unwrap();
        let other = evergate_sys::memfd::seal("test", b"one").unwrap();
        let of = |fd: &dyn AsFd| Identity::of(fd.as_fd()).unwrap();
        let all = [of(&null), of(&reader), of(&folder), of(&file), of(&other)];
        let sockets = listeners.each_ref().map(|listener| of(listener));
        let all: Vec<_> = all.into_iter().chain(sockets).collect();
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{index}: {one:?}");
        }
        assert_eq!(of(&reader), of(&writer), "one pipe");
        let copy = fcntl_dupfd_cloexec(&listeners[0], 3).unwrap();
        assert_eq!(of(&copy), sockets[0]);
    }

    #[test]
    fn only_what_is_still_what_it_was_is_copied() {
        let file = evergate_sys::memfd::seal("test", b"one").unwrap();
        let (descriptors, fds) = {
            let mut listing = Listing::default();
            listing.add(&file);
            let (descriptors, fds) = listing.finish().unwrap();
            (descriptors, fds.len())
        };
        assert_eq!(fds, 1);
        let inherited = Inherited::all().unwrap();
        let fd = descriptors.listed[0].fd;
        let mut taken = Taken::copy(&descriptors, &inherited).unwrap();
        let copy = taken.owned(fd);
        assert_ne!(copy.as_raw_fd(), file.as_raw_fd());
        assert_eq!(evergate_sys::memfd::read(&copy, 3).unwrap(), b"one");
        let refused = |change: fn(&mut Listed), why: &str| {
            let mut descriptors = descriptors.clone();
            change(&mut descriptors.listed[0]);
            let refused = Taken::copy(&descriptors, &inherited).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        };
        refused(|listed| listed.identity.number += 1, "is another file than it was");
        refused(|listed| listed.identity.kind = Kind::Pipe, "is another file than it was");
        refused(|listed| listed.fd = Fd(1_000_000), "is not open");
    }
}
