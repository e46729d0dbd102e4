//! Where a process listens, read from `/proc`: what to tell an operator whose app took another
//! port than the one it was given.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::{fs, io};

/// Most processes that are looked at: the one asked for and those that descend from it.
const PROCESSES_MAX: usize = 64;
/// `TCP_LISTEN` in the kernel's tables.
const LISTEN: &str = "0A";

/// The TCP addresses that `pid` and the processes it started listen on, in order. Those of
/// processes that we may not look into are missing.
///
/// # Errors
/// If there is no such process, or its own descriptors are hidden from us.
pub fn addresses(pid: u32) -> io::Result<Vec<SocketAddr>> {
    let mut sockets = sockets_of(pid)?;
    for descendant in descendants(pid) {
        // One that is gone, or somebody else's, has nothing to tell.
        sockets.extend(sockets_of(descendant).unwrap_or_default());
    }
    let mut found = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        // A kernel without IPv6 has no second table.
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        let rows = text.lines().skip(1).filter_map(listener);
        found.extend(rows.filter(|(_, inode)| sockets.contains(inode)).map(|(at, _)| at));
    }
    Ok(found.into_iter().collect())
}

/// The inodes of every socket that the process has open.
fn sockets_of(pid: u32) -> io::Result<BTreeSet<u64>> {
    let inode = |target: &Path| {
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
    };
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?;
    let targets = descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    Ok(targets.filter_map(|target| inode(&target)).collect())
}

/// Processes that `pid` started, and those that these started.
fn descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        let threads = fs::read_dir(format!("/proc/{}/task", found[next]));
        next += 1;
        for thread in threads.into_iter().flatten().flatten() {
            let listed = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let room = PROCESSES_MAX.saturating_sub(found.len());
            let children =
                listed.split_ascii_whitespace().filter_map(|text| text.parse::<u32>().ok());
            found.extend(children.take(room));
        }
    }
    found.split_off(1)
}

/// Address and inode in a row of proc_net_tcp(5), if it is of a socket that listens.
fn listener(row: &str) -> Option<(SocketAddr, u64)> {
    let fields: Vec<&str> = row.split_ascii_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (ip, port) = fields.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((SocketAddr::new(address(ip)?, port), fields.get(9)?.parse().ok()?))
}

/// An address as the kernel prints it: each four bytes as one number of this machine.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let number = u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(number.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::namespace::lab::await_true;

    #[test]
    fn a_process_is_found_to_listen_where_it_does() {
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let found = || addresses(std::process::id()).unwrap();
        assert!(found().contains(&open.local_addr().unwrap()), "{:?}", found());
        // That one was closed.
        await_true(|| !found().contains(&v4));
    }

    #[test]
    fn what_descends_from_a_process_counts_as_its_own() {
        // The shell gives the listener to its child and closes its own.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap();
        let mut shell = Command::new("sh")
            .args(["-c", "exec 3<&0 <&-; sleep 60 & exec 3<&-; echo; wait"])
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(&mut shell.stdout.take().unwrap(), &mut [0]).unwrap();
        let own = sockets_of(shell.id()).unwrap();
        let found = addresses(shell.id()).unwrap();
        let children = descendants(shell.id());
        Command::new("kill").args(children.iter().map(u32::to_string)).status().unwrap();
        shell.wait().unwrap();
        assert_eq!((own.len(), children.len()), (0, 1));
        assert_eq!(found, [place]);
    }

    #[test]
    fn rows_of_the_kernel_are_read() {
        let row = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 \
                   0 0 4242 1 0000000000000000 100 0 0 10 0";
        if cfg!(target_endian = "little") {
            assert_eq!(listener(row), Some(("127.0.0.1:8080".parse().unwrap(), 4242)));
        }
        assert_eq!(listener(&row.replace(" 0A ", " 01 ")), None, "it is connected");
        assert_eq!(address("00000000000000000000000000000000"), Some("::".parse().unwrap()));
        assert_eq!(listener("nonsense"), None);
        assert_eq!(address("0100"), None);
    }

    #[test]
    fn a_process_that_is_not_there_is_not_found() {
        assert_eq!(addresses(u32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
