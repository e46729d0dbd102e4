//! What processes are and use, read from `/proc`.

use std::ffi::CString;
use std::io::Read;
use std::time::Duration;
use std::{fs, io};

use crate::privilege::User;
use crate::signal::{self, Signal};
use crate::table;

/// How much of an environment is searched by [`variable`], in bytes.
pub const ENVIRONMENT_BYTES_MAX: u64 = 256 * 1024;

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

/// Names the calling thread, which for the main thread is the process: what `ps` and `/proc/PID/comm`
/// show, at most 15 bytes of it.
///
/// A program that was started from an open file is named after the number of that file otherwise.
pub fn set_name(name: &str) -> io::Result<()> {
    let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(rustix::thread::set_name(&name)?)
}

/// What this process uses.
pub fn own_usage() -> io::Result<Usage> {
    usage(std::process::id())
}

/// What the process `pid` uses; `NotFound` if there is none.
pub fn usage(pid: u32) -> io::Result<Usage> {
    let stat = table::read(format!("/proc/{pid}/stat"))?;
    let mut usage = parse(&stat).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    usage.fds = fs::read_dir(format!("/proc/{pid}/fd")).ok().map(|fds| fds.count() as u32);
    if usage.fds.is_some() && pid == std::process::id() {
        // The one that lists them.
        usage.fds = usage.fds.map(|fds| fds - 1);
    }
    Ok(usage)
}

/// A process, named for good: the number alone may be another's later.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Known {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks after boot.
    pub started_ticks: u64,
}

impl Known {
    /// The process that has the number `pid` now; `NotFound` if there is none.
    pub fn now(pid: u32) -> io::Result<Self> {
        kin(pid).map(|kin| kin.known)
    }

    /// Whether it is still there, be it as a zombie.
    pub fn is_there(&self) -> bool {
        Self::now(self.pid).is_ok_and(|found| found == *self)
    }

    /// Sends it `signal`; whether it was still there.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        signal::send_if(self.pid, signal, || self.is_there())
    }
}

/// Where a process comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kin {
    /// Which it is.
    pub known: Known,
    /// Number of its parent, or of who adopted it; 0 if that is out of sight.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// Its session.
    pub session: u32,
    /// Whether every thread of it ended and it only waits to be reaped.
    pub is_zombie: bool,
}

/// Where the process `pid` comes from; `NotFound` if there is none.
pub fn kin(pid: u32) -> io::Result<Kin> {
    let stat = table::read(format!("/proc/{pid}/stat"))?;
    parse_kin(&stat).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Every process that is in sight, at most `count_max`, in any order. Takes some 10 µs for each.
pub fn all(count_max: usize) -> io::Result<Vec<Kin>> {
    let mut found = Vec::new();
    visit(count_max, |kin| found.push(kin))?;
    Ok(found)
}

/// Shows `visitor` the same one by one, each right after it was found: a moment later it may be
/// gone. Begins with the highest number, which is the youngest as a rule and may not live long.
pub fn visit(count_max: usize, visitor: impl FnMut(Kin)) -> io::Result<()> {
    let names =
        fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let numbers: Vec<u32> = names.filter_map(|name| name.parse().ok()).collect();
    // Those that end meanwhile are left out.
    numbers.into_iter().rev().filter_map(|pid| kin(pid).ok()).take(count_max).for_each(visitor);
    Ok(())
}

/// What the variable `name` was when the process `pid` was started, if it was in the first
/// [`ENVIRONMENT_BYTES_MAX`]. A process may write over it, and another user's may be hidden.
pub fn variable(pid: u32, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut environment = Vec::new();
    let file = fs::File::open(format!("/proc/{pid}/environ"))?;
    file.take(ENVIRONMENT_BYTES_MAX).read_to_end(&mut environment)?;
    let values = environment.split(|&byte| byte == 0).filter_map(|pair| {
        pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=").map(<[u8]>::to_vec)
    });
    Ok(values.into_iter().next())
}

/// Memory of a process that is its own and in use (anonymous and resident), in bytes.
pub fn own_bytes(pid: u32) -> io::Result<u64> {
    let statm = table::read(format!("/proc/{pid}/statm"))?;
    let pages: Vec<u64> = statm.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
    match pages[..] {
        [_, resident, shared, ..] => {
            Ok(resident.saturating_sub(shared) * rustix::param::page_size() as u64)
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Who the process `pid` is, by its effective ids.
pub fn user(pid: u32) -> io::Result<User> {
    let status = table::read(format!("/proc/{pid}/status"))?;
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
    let (_, fields) = fields(stat)?;
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

/// Reads proc_pid_stat(5).
fn parse_kin(stat: &str) -> Option<Kin> {
    let (pid, fields) = fields(stat)?;
    let number = |field: usize| fields.get(field - 3)?.parse::<u32>().ok();
    // The first thread may have ended before the others.
    let is_over = matches!(*fields.first()?, "Z" | "X" | "x") && number(20)? <= 1;
    Some(Kin {
        known: Known { pid, started_ticks: fields.get(22 - 3)?.parse().ok()? },
        parent: number(4)?,
        group: number(5)?,
        session: number(6)?,
        is_zombie: is_over,
    })
}

/// The number of a process, and the fields after its name; proc_pid_stat(5) counts those from 3.
fn fields(stat: &str) -> Option<(u32, Vec<&str>)> {
    let pid = stat.split_once(' ')?.0.parse().ok()?;
    // The name in parentheses may hold anything, more parentheses too.
    let (_, after_name) = stat.rsplit_once(") ")?;
    Some((pid, after_name.split_ascii_whitespace().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_goes_by_the_name_that_it_gives_itself() {
        let named = std::thread::spawn(|| {
            set_name("evergate-tested-here").unwrap();
            fs::read_to_string("/proc/thread-self/comm").unwrap()
        });
        assert_eq!(named.join().unwrap(), "evergate-tested\n");
        assert!(set_name("a\0b").is_err());
    }

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
        let memory = vec![1u8; 64 << 20];
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let after = own_usage().unwrap();
        // Half of it, because other tests free some, and the kernel counts in steps for each core.
        assert!(after.resident_bytes >= before.resident_bytes + memory.len() as u64 / 2);
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
        let kin = parse_kin(stat).unwrap();
        assert_eq!(kin.known, Known { pid: 42, started_ticks: 7777 });
        assert_eq!((kin.parent, kin.group, kin.session, kin.is_zombie), (1, 42, 42, false));
        let zombie = stat.replace(") R", ") Z");
        assert!(!parse_kin(&zombie).unwrap().is_zombie, "two threads are left");
        assert!(parse_kin(&zombie.replace(" 0 3 0 ", " 0 1 0 ")).unwrap().is_zombie);
        assert_eq!(parse_kin("42 (a) R 1 2"), None);
    }

    #[test]
    fn a_process_is_recognised_by_its_start_and_by_what_it_was_told() {
        let child =
            std::process::Command::new("sleep").arg("1000").env("EVERGATE_TEST", "x=y").spawn();
        let mut child = Mortal(child.unwrap());
        let own = std::process::id();
        let known = Known::now(child.0.id()).unwrap();
        let found = all(usize::MAX).unwrap();
        let kin = found.iter().find(|kin| kin.known == known).unwrap();
        assert_eq!((kin.parent, kin.is_zombie), (own, false));
        assert!(found.iter().any(|kin| kin.known.pid == own));
        assert_eq!(all(1).unwrap().len(), 1);
        // A program has just begun before it has its variables.
        let told = || variable(child.0.id(), "EVERGATE_TEST").unwrap();
        crate::namespace::lab::await_true(|| told().is_some());
        assert_eq!(told(), Some(b"x=y".to_vec()));
        assert_eq!(variable(child.0.id(), "EVERGATE_TES").unwrap(), None);
        // Of the child, which grows at the most; what is this process's changes with other tests.
        assert!(own_bytes(known.pid).unwrap() <= usage(known.pid).unwrap().resident_bytes);
        let other = Known { started_ticks: known.started_ticks + 1, ..known };
        assert!(!other.is_there() && !other.signal(Signal::Kill).unwrap());
        assert!(known.signal(Signal::Kill).unwrap());
        child.0.wait().unwrap();
        assert!(!known.is_there());
    }

    #[test]
    fn a_process_with_a_name_that_is_no_text_is_still_seen() {
        // As a long name is when the kernel has cut it in the middle of a letter.
        let name = CString::new(&b"caf\xc3"[..]).unwrap();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (stop, end) = std::sync::mpsc::channel::<()>();
        let named = std::thread::spawn(move || {
            rustix::thread::set_name(&name).unwrap();
            ready.send(rustix::thread::gettid().as_raw_nonzero().get() as u32).unwrap();
            let _ = end.recv();
        });
        // A thread can be looked at by its number like a process.
        let pid = is_ready.recv().unwrap();
        assert_eq!(kin(pid).unwrap().known.pid, pid);
        assert!(usage(pid).unwrap().threads >= 2);
        assert_eq!(super::user(pid).unwrap().uid == 0, crate::privilege::is_root());
        drop(stop);
        named.join().unwrap();
    }

    /// A child that does not outlive a test that fails.
    struct Mortal(std::process::Child);

    impl Drop for Mortal {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_process_that_is_not_there_is_not_found() {
        assert_eq!(usage(u32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
