//! Keeping addresses of the loopback interface from being told on a link.
//!
//! IPv4 answers on every link for every address that the host has anywhere, unless it is told not to
//! (`arp_ignore`, in the kernel's ip-sysctl): with 3, addresses that are meant for the host alone
//! are not answered for, and all others are as ever. And who asks for a neighbour on behalf of a
//! connection says so under the connection's own address, which would turn that neighbour's packets;
//! with `arp_announce` 2 it asks under an address of the link.

use std::path::{Path, PathBuf};
use std::{fs, io};

const SETTINGS: [(&str, &str); 2] = [("arp_ignore", "3"), ("arp_announce", "2")];

/// What was set before on an interface, to be set again when this is dropped.
#[derive(Debug)]
pub struct Shade {
    /// Where, what was set here, and what was set before.
    before: Vec<(PathBuf, &'static str, String)>,
}

impl Shade {
    /// From now on addresses that are hidden ([`crate::netlink::Netlink::hide`]) are not told on
    /// the interface of this name. Needs `CAP_NET_ADMIN`, and `/proc/sys` to be writable.
    pub fn cast(interface: &str) -> io::Result<Self> {
        let folder = Path::new("/proc/sys/net/ipv4/conf").join(interface);
        let mut shade = Self { before: Vec::new() };
        for (name, value) in SETTINGS {
            let path = folder.join(name);
            let before = fs::read_to_string(&path)?.trim().to_owned();
            fs::write(&path, value)?;
            shade.before.push((path, value, before));
        }
        Ok(shade)
    }
}

impl Drop for Shade {
    fn drop(&mut self) {
        for (path, ours, before) in &self.before {
            // Somebody may have set something else meanwhile, or the interface may be gone.
            let is_ours = |now: String| now.trim() == *ours;
            if fs::read_to_string(path).is_ok_and(is_ours) {
                let _ = fs::write(path, before);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::lab::alone;

    #[test]
    fn what_was_set_before_is_set_again() {
        alone(|| {
            let read = |name: &str| {
                let path = format!("/proc/sys/net/ipv4/conf/lo/{name}");
                fs::read_to_string(path).unwrap().trim().to_owned()
            };
            fs::write("/proc/sys/net/ipv4/conf/lo/arp_announce", "1").unwrap();
            let before = [read("arp_ignore"), read("arp_announce")];
            let shade = Shade::cast("lo").unwrap();
            assert_eq!([read("arp_ignore"), read("arp_announce")], ["3", "2"]);
            drop(shade);
            assert_eq!([read("arp_ignore"), read("arp_announce")], before);
            let shade = Shade::cast("lo").unwrap();
            // What is ours of the one is not ours of the other.
            fs::write("/proc/sys/net/ipv4/conf/lo/arp_ignore", "2").unwrap();
            drop(shade);
            assert_eq!(read("arp_ignore"), "2", "somebody else wanted it so");
            assert!(Shade::cast("nothing").is_err());
        });
    }
}
