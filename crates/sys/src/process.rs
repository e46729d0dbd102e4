//! What a process uses, read from `/proc`.

use std::time::Duration;
use std::{fs, io};

use crate::privilege::User;

/// What a process uses now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usage {
    /// Memory in use, in bytes.
    pub resident_bytes: u64,
    /// Processor time so far, its own and in the kernel.
    pub cpu: Duration,
    /// Open file descriptors; `None` where another user's are hidden from us.
    pub fds: Option<u32>,
    /// Threads.
    pub threads: u32,
    /// When it started, in clock ticks after boot; with the pid it names a process for good.
    pub started_ticks: u64,
}

/// What this process uses.
pub fn own_usage() -> io::Result<Usage> {
    usage(std::process::id())
}

/// What the process `pid` uses; `NotFound` if there is none.
pub fn usage(pid: u32) -> io::Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let mut usage = parse(&stat).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    usage.fds = fs::read_dir(format!("/proc/{pid}/fd")).ok().map(|fds| fds.count() as u32);
    if usage.fds.is_some() && pid == std::process::id() {
        // The one that lists them.
        usage.fds = usage.fds.map(|fds| fds - 1);
    }
    Ok(usage)
}

/// Who the process `pid` is, by its effective ids.
pub fn user(pid: u32) -> io::Result<User> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    parse_user(&status).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Reads the ids in proc_pid_status(5): real, effective, saved and file system's.
fn parse_user(status: &str) -> Option<User> {
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let effective = |name| line(name)?.split_ascii_whitespace().nth(1)?.parse().ok();
    let (uid, gid) = (effective("Uid:")?, effective("Gid:")?);
    let listed = line("Groups:")?.split_ascii_whitespace().filter_map(|id| id.parse::<u32>().ok());
    let mut groups = vec![gid];
    groups.extend(listed.filter(|id| *id != gid));
    Some(User { uid, gid, groups })
}

/// Reads proc_pid_stat(5); descriptors are not in it.
fn parse(stat: &str) -> Option<Usage> {
    // The name in parentheses may hold anything, more parentheses too.
    let (_, after_name) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    // proc_pid_stat(5) counts from 1, and two fields came before.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = number(14)? + number(15)?;
    let per_second = rustix::param::clock_ticks_per_second();
    Some(Usage {
        resident_bytes: number(24)? * rustix::param::page_size() as u64,
        cpu: Duration::from_millis(ticks * 1000 / per_second),
        fds: None,
        threads: number(20)? as u32,
        started_ticks: number(22)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_who_it_acts_as() {
        let status = "Name:\tx\nUid:\t0\t65534\t0\t0\nGid:\t0\t7\t0\t0\nGroups:\t7 9 \n";
        let user = User { uid: 65534, gid: 7, groups: vec![7, 9] };
        assert_eq!(parse_user(status), Some(user));
        assert_eq!(parse_user("Name:\tx\n"), None);
        assert_eq!(super::user(std::process::id()).unwrap().uid == 0, crate::privilege::is_root());
    }

    #[test]
    fn memory_and_descriptors_in_use_are_counted() {
        let before = own_usage().unwrap();
        let memory = vec![1u8; 32 << 20];
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let after = own_usage().unwrap();
        assert!(after.resident_bytes >= before.resident_bytes + (memory.len() as u64 * 9 / 10));
        // No difference, because other tests open and close some meanwhile.
        assert!(after.fds.unwrap() >= files.len() as u32);
        assert_eq!(after.started_ticks, before.started_ticks);
        assert!(after.threads >= 1);
    }

    #[test]
    fn a_name_with_parentheses_is_skipped() {
        let stat = "42 (a) b (c) R 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 7777 \
                    1000000 512 18446744073709551615 1 1";
        let usage = parse(stat).unwrap();
        assert_eq!(usage.resident_bytes, 512 * rustix::param::page_size() as u64);
        assert_eq!(usage.cpu, Duration::from_secs(3));
        assert_eq!((usage.threads, usage.started_ticks), (3, 7777));
        assert_eq!(parse("42 (a) R 1 2"), None);
    }

    #[test]
    fn a_process_that_is_not_there_is_not_found() {
        assert_eq!(usage(u32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
