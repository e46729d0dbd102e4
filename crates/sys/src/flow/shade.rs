//! Keeping addresses of the loopback interface from being told on a link.
//!
//! IPv4 answers on every link for every address that the host has anywhere, unless it is told not to
//! (`arp_ignore`, in the kernel's ip-sysctl): with 3, addresses that are meant for the host alone
//! are not answered for, and all others are as ever. And who asks for a neighbour on behalf of a
//! connection says so under the connection's own address, which would turn that neighbour's packets;
//! with `arp_announce` 2 it asks under an address of the link.

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
        let read = |name| {
            let text = fs::read_to_string(path(interface, name))?;
            let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, text.trim().to_owned());
            text.trim().parse().map_err(invalid)
        };
        Ok(Self { ignore: read(IGNORE)?, announce: read(ANNOUNCE)? })
    }

    /// Gives them back to an interface on which a [`Shade`] was cast, by this process or one that is
    /// gone; but for what somebody else has set since.
    pub fn restore(self, interface: &str) -> io::Result<()> {
        for (name, shaded, before) in
            [(IGNORE, SHADED.ignore, self.ignore), (ANNOUNCE, SHADED.announce, self.announce)]
        {
            let path = path(interface, name);
            if fs::read_to_string(&path)?.trim() == shaded.to_string() {
                fs::write(&path, before.to_string())?;
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
        fs::write(path(interface, IGNORE), SHADED.ignore.to_string())?;
        fs::write(path(interface, ANNOUNCE), SHADED.announce.to_string())?;
        Ok(shade)
    }
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
}
