//! Keeping addresses of the loopback interface from being told on a link.
//!
//! IPv4 answers on every link for every address that the host has anywhere, unless it is told not to
//! (`arp_ignore`, in the kernel's ip-sysctl): with 3, addresses that are meant for the host alone
//! are not answered for, and all others are as ever. And who asks for a neighbour on behalf of a
//! connection says so under the connection's own address, which would turn that neighbour's packets;
//! with `arp_announce` 2 it asks under an address of the link.
//!
//! The kernel goes by the greater one of an interface's setting and that for all interfaces. What
//! somebody has set that hides at least as much is left alone, be its number greater or less.

use std::path::Path;
use std::{fs, io};

/// How an interface asks and answers for neighbours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Manners {
    /// Which addresses it answers for (`arp_ignore`).
    pub ignore: u8,
    /// Under which address it asks (`arp_announce`).
    pub announce: u8,
}

/// Those of an interface with a shade.
const SHADED: Manners = Manners { ignore: 3, announce: 2 };
/// Others that hide as much: 1 and 2 tell only of addresses of the interface itself, 8 tells of none.
const IGNORES_AS_MUCH: &[u8] = &[1, 2, 8];
/// In place of an interface's name: what is set for all.
const FOR_ALL: &str = "all";

/// Keeps what is hidden from being told on an interface until it is dropped.
#[derive(Debug)]
pub struct Shade {
    interface: String,
    before: Manners,
}

impl Manners {
    /// Those of the interface of this name at the moment. `InvalidData` if they are none that Linux
    /// knows.
    pub fn of(interface: &str) -> io::Result<Self> {
        Ok(Self { ignore: read(interface, IGNORE)?, announce: read(interface, ANNOUNCE)? })
    }

    /// Gives them back to an interface on which a [`Shade`] was cast, by this process or one that is
    /// gone; but for what somebody else has set since.
    pub fn restore(self, interface: &str) -> io::Result<()> {
        for (name, shaded, before) in
            [(IGNORE, SHADED.ignore, self.ignore), (ANNOUNCE, SHADED.announce, self.announce)]
        {
            if read(interface, name)? == shaded {
                fs::write(path(interface, name), before.to_string())?;
            }
        }
        Ok(())
    }
}

impl Shade {
    /// From now on addresses that are hidden ([`crate::netlink::Netlink::hide`]) are not told on
    /// the interface of this name, which has its manners from `before` back in the end. Needs
    /// `CAP_NET_ADMIN`, and `/proc/sys` to be writable.
    pub fn cast(interface: &str, before: Manners) -> io::Result<Self> {
        // From here on it is undone, whatever of it was done.
        let shade = Self { interface: interface.to_owned(), before };
        for (name, shaded, own, as_good) in [
            (IGNORE, SHADED.ignore, before.ignore, IGNORES_AS_MUCH),
            (ANNOUNCE, SHADED.announce, before.announce, &[]),
        ] {
            let in_force = own.max(read(FOR_ALL, name)?);
            if in_force != shaded && !as_good.contains(&in_force) {
                fs::write(path(interface, name), shaded.to_string())?;
            }
        }
        Ok(shade)
    }
}

fn read(interface: &str, name: &str) -> io::Result<u8> {
    let path = path(interface, name);
    let text = fs::read_to_string(&path)?;
    text.trim().parse().map_err(|_| {
        let why = format!("{} is {:?}, no number", path.display(), text.trim());
        io::Error::new(io::ErrorKind::InvalidData, why)
    })
}

impl Drop for Shade {
    fn drop(&mut self) {
        // The interface may be gone.
        let _ = self.before.restore(&self.interface);
    }
}

const IGNORE: &str = "arp_ignore";
const ANNOUNCE: &str = "arp_announce";

fn path(interface: &str, name: &str) -> std::path::PathBuf {
    Path::new("/proc/sys/net/ipv4/conf").join(interface).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::lab::alone;

    #[test]
    fn what_was_set_before_is_set_again() {
        alone(|| {
            fs::write(path("lo", ANNOUNCE), "1").unwrap();
            let before = Manners::of("lo").unwrap();
            assert_eq!(before.announce, 1);
            let shade = Shade::cast("lo", before).unwrap();
            assert_eq!(Manners::of("lo").unwrap(), SHADED);
            drop(shade);
            assert_eq!(Manners::of("lo").unwrap(), before);
            // By somebody else, if whoever cast it is gone.
            std::mem::forget(Shade::cast("lo", before).unwrap());
            before.restore("lo").unwrap();
            assert_eq!(Manners::of("lo").unwrap(), before);
            let shade = Shade::cast("lo", before).unwrap();
            // What is ours of the one is not ours of the other.
            fs::write(path("lo", IGNORE), "2").unwrap();
            drop(shade);
            let expected = Manners { ignore: 2, ..before };
            assert_eq!(Manners::of("lo").unwrap(), expected, "somebody else wanted it so");
            assert!(Manners::of("nothing").is_err() && before.restore("nothing").is_err());
            assert!(Shade::cast("nothing", before).is_err());
        });
    }

    #[test]
    fn what_hides_as_much_or_more_is_left_alone() {
        alone(|| {
            for (for_all, own) in [(0, 1), (0, 2), (0, 8), (1, 0), (2, 1)] {
                fs::write(path(FOR_ALL, IGNORE), for_all.to_string()).unwrap();
                fs::write(path("lo", IGNORE), own.to_string()).unwrap();
                let shade = Shade::cast("lo", Manners::of("lo").unwrap()).unwrap();
                assert_eq!(read("lo", IGNORE).unwrap(), own);
                drop(shade);
                assert_eq!(read("lo", IGNORE).unwrap(), own);
            }
        });
    }
}
