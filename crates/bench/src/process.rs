//! A contender's processes: started on a core of their own, weighed, and always ended.
//!
//! A process is started through this program's own `child` command, which asks the kernel to send
//! it SIGTERM when we die and only then becomes it. So nothing stays behind after a panic, an
//! interrupt or a kill.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, getppid, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal,
};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::Timespec;

/// A process that was told to end gets this long before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// A started program and whatever it starts; dropped, all of it ends.
#[derive(Debug)]
pub struct Tree {
    root: Child,
}

impl Tree {
    /// Starts `argv` on `core`, or on any, its output in `log`. `wrapper` is the path of
    /// `evergate-bench`.
    pub fn start(
        wrapper: &Path,
        core: Option<usize>,
        argv: &[OsString],
        log: File,
    ) -> io::Result<Self> {
        let core = core.map(|core| ["--core".to_owned(), core.to_string()]);
        let root = Command::new(wrapper)
            .arg("child")
            .args(core.iter().flatten())
            .args(["--parent", &getpid().as_raw_nonzero().to_string()])
            .arg("--")
            .args(argv)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { root })
    }

    /// CPU time of all processes that live.
    pub fn cpu(&self) -> io::Result<Cpu> {
        let mut total = Cpu::default();
        for process in self.processes()?.values() {
            total.user_ticks += process.user_ticks;
            total.system_ticks += process.system_ticks;
        }
        Ok(total)
    }

    /// Memory of all processes that live.
    pub fn memory(&self) -> io::Result<Memory> {
        let mut total = Memory::default();
        for pid in self.processes()?.keys() {
            // One that ended in between has no memory.
            let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
                continue;
            };
            total.resident += kib_of(&text, "Rss:") * 1024;
            total.proportional += kib_of(&text, "Pss:") * 1024;
            total.own += kib_of(&text, "Anonymous:") * 1024;
        }
        Ok(total)
    }

    /// How many processes live.
    pub fn len(&self) -> io::Result<usize> {
        Ok(self.processes()?.len())
    }

    /// The program that was started.
    pub fn root(&self) -> u32 {
        self.root.id()
    }

    /// All processes that live.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        Ok(self.processes()?.into_keys().collect())
    }

    /// Whether the program that was started has ended.
    pub fn has_ended(&self) -> io::Result<bool> {
        // Its number stays its own until it is waited for, which only `drop` does.
        Handle::open(self.root.id())?.has_ended_within(Duration::ZERO)
    }

    /// Whether none does.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    fn processes(&self) -> io::Result<BTreeMap<u32, Stat>> {
        Ok(descendants(self.root.id(), &all_processes()?))
    }

    /// Asks the root to end, which ends the rest, and kills what is left after a while.
    fn end(&mut self) -> anyhow::Result<()> {
        let root = Handle::open(self.root.id())?;
        let tree: Vec<Handle> = self
            .processes()?
            .into_iter()
            .filter_map(|(pid, stat)| {
                let handle = Handle::open(pid).ok()?;
                // Opened by its number, which may by then have been another's.
                let is_same = Stat::of(pid).is_some_and(|now| now.started == stat.started);
                is_same.then_some(handle)
            })
            .collect();
        root.signal(Signal::TERM)?;
        root.has_ended_within(PATIENCE)?;
        for process in &tree {
            process.signal(Signal::KILL)?;
            process.has_ended_within(PATIENCE)?;
        }
        Ok(())
    }
}

/// A process, whatever becomes of its number.
#[derive(Debug)]
struct Handle(OwnedFd);

impl Handle {
    fn open(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self(pidfd_open(pid, PidfdFlags::empty())?))
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.0, signal) {
            // One that ended by itself is as well.
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn has_ended_within(&self, limit: Duration) -> io::Result<bool> {
        let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: 0 };
        Ok(poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&limit))? > 0)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let asked = self.end();
        // However that went, the root must not stay, nor its number.
        let gone = self.root.kill().and_then(|()| self.root.wait());
        if let Err(error) = asked.and(gone.map_err(Into::into)) {
            eprintln!("cannot end process {}: {error:#}", self.root.id());
        }
    }
}

/// Becomes `argv` on `core`, or on any, to be sent SIGTERM when `parent` ends. Returns only if that
/// failed.
pub fn become_child(core: Option<usize>, parent: u32, argv: &[OsString]) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // It may have ended before we asked.
    let is_orphan = getppid().is_none_or(|pid| pid.as_raw_nonzero().get() as u32 != parent);
    ensure!(!is_orphan, "process {parent} is not our parent");
    if let Some(core) = core {
        pin(core)?;
    }
    let Some((program, arguments)) = argv.split_first() else { bail!("no program is given") };
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}

/// Keeps this thread, and what it starts from now on, on one core.
pub fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// CPU time, in clock ticks as the kernel counts them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cpu {
    user_ticks: u64,
    system_ticks: u64,
}

impl Cpu {
    /// What was used since `earlier`: in user mode, and in the kernel.
    pub fn since(self, earlier: Self) -> (Duration, Duration) {
        let time = |ticks: u64| {
            Duration::from_secs(1) * ticks as u32 / rustix::param::clock_ticks_per_second() as u32
        };
        (
            time(self.user_ticks.saturating_sub(earlier.user_ticks)),
            time(self.system_ticks.saturating_sub(earlier.system_ticks)),
        )
    }
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Serialize)]
pub struct Memory {
    /// Resident, pages that processes share counted in each.
    pub resident: u64,
    /// Resident, shared pages divided among those who share them.
    pub proportional: u64,
    /// Of that what no file holds: neither code nor constants, which the kernel may drop and read
    /// again at any time.
    pub own: u64,
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stat {
    parent: u32,
    user_ticks: u64,
    system_ticks: u64,
    /// Tells two processes with one number apart.
    started: u64,
}

impl Stat {
    /// `None` if there is no such process any more.
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            parent: u32::try_from(field(4)?).ok()?,
            user_ticks: field(14)?,
            system_ticks: field(15)?,
            started: field(22)?,
        })
    }
}

fn all_processes() -> io::Result<BTreeMap<u32, Stat>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // It may end while we look.
        if let Some(stat) = Stat::of(pid) {
            found.insert(pid, stat);
        }
    }
    Ok(found)
}

/// `root` and all whose line of parents leads to it.
fn descendants(root: u32, all: &BTreeMap<u32, Stat>) -> BTreeMap<u32, Stat> {
    let mut found = BTreeMap::new();
    let mut next = Vec::from([root]);
    while let Some(pid) = next.pop() {
        let Some(stat) = all.get(&pid) else { continue };
        if found.insert(pid, *stat).is_none() {
            next.extend(all.iter().filter(|(_, s)| s.parent == pid).map(|(pid, _)| *pid));
        }
    }
    found
}

fn kib_of(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(parent: u32) -> Stat {
        Stat { parent, user_ticks: 0, system_ticks: 0, started: 0 }
    }

    #[test]
    fn stat_is_read_behind_any_name() {
        let text = "42 (a) b) S 7 42 42 0 -1 4194560 1 2 3 4 500 600 0 0 20 0 1 0 9999 1 2";
        let expected = Stat { parent: 7, user_ticks: 500, system_ticks: 600, started: 9999 };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("42 (a"), None);
        let own = fs::read_to_string("/proc/self/stat").expect("we live");
        assert!(Stat::parse(&own).is_some(), "{own}");
    }

    #[test]
    fn a_tree_has_all_generations_and_nobody_else() {
        let all = [(1, stat(0)), (5, stat(1)), (6, stat(5)), (7, stat(6)), (8, stat(1))].into();
        assert_eq!(descendants(5, &all).into_keys().collect::<Vec<_>>(), [5, 6, 7]);
        assert!(descendants(99, &all).is_empty());
    }

    #[test]
    fn rollups_are_read_by_field() {
        let text = "0-1 ---p 0 0 0 [rollup]\nRss:    2048 kB\nPss:     512 kB\nPss_Anon: 1 kB\n";
        assert_eq!((kib_of(text, "Rss:"), kib_of(text, "Pss:")), (2048, 512));
    }

    #[test]
    fn ticks_become_time() {
        let before = Cpu { user_ticks: 100, system_ticks: 50 };
        let after = Cpu { user_ticks: 300, system_ticks: 51 };
        let (user, system) = after.since(before);
        let hertz = rustix::param::clock_ticks_per_second() as f64;
        assert!((user.as_secs_f64() - 200.0 / hertz).abs() < 1e-6, "{user:?}");
        assert!((system.as_secs_f64() - 1.0 / hertz).abs() < 1e-6, "{system:?}");
    }
}
