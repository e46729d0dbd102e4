//! One group: a directory in each hierarchy that it needs.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::{Bounds, Controller, Version, why};
use crate::signal::{self, Signal};
use crate::table;

/// How often [`Group::kill`] looks for processes that were not there before.
const SWEEPS_MAX: usize = 8;
/// Levels of groups that processes may make inside of theirs.
const DEPTH_MAX: usize = 8;
/// Most processes that are looked at.
const MEMBERS_MAX: usize = 65_536;
/// Length of the period in which processor time is counted, in microseconds.
const PERIOD_US: u64 = 100_000;

/// A control group of ours. It stays until it is removed.
#[derive(Debug)]
pub struct Group {
    /// At least one; the first is asked who is in it.
    pub(super) parts: Vec<Part>,
    home: Option<OwnedFd>,
    procs: Vec<OwnedFd>,
}

/// A group in one hierarchy.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) version: Version,
    pub(super) directory: PathBuf,
    pub(super) controllers: Vec<Controller>,
    pub(super) is_freezer: bool,
}

impl Group {
    pub(super) fn new(parts: Vec<Part>) -> io::Result<Option<Self>> {
        let open = |part: &Part| {
            let file = OpenOptions::new().write(true).open(part.directory.join("cgroup.procs"))?;
            Ok(OwnedFd::from(file))
        };
        let of = |version| parts.iter().filter(move |part| part.version == version);
        // There is one hierarchy of version 2.
        let home =
            of(Version::V2).next().map(|part| fs::File::open(&part.directory)).transpose()?;
        let procs = of(Version::V1).map(open).collect::<io::Result<Vec<_>>>()?;
        let home = home.map(OwnedFd::from);
        Ok((!parts.is_empty()).then_some(Self { parts, home, procs }))
    }

    /// What a child is born in, see [`crate::child::Spec::cgroup`].
    pub fn home(&self) -> Option<BorrowedFd<'_>> {
        self.home.as_ref().map(OwnedFd::as_fd)
    }

    /// What a child writes itself into, see [`crate::child::Spec::cgroups`].
    pub fn procs(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.procs.iter().map(OwnedFd::as_fd)
    }

    /// Where it is, for an operator.
    pub fn path(&self) -> &Path {
        &self.first().directory
    }

    /// Every process in it, groups inside it included; some may have ended by now.
    pub fn members(&self) -> Vec<u32> {
        let mut members = Vec::new();
        collect(&self.first().directory, DEPTH_MAX, &mut members);
        members
    }

    /// Whether no process is in it. Zombies do not count.
    pub fn is_empty(&self) -> bool {
        let part = self.first();
        let populated = match part.version {
            Version::V2 => part.number("cgroup.events", "populated"),
            Version::V1 => None,
        };
        populated.map_or_else(|| self.members().is_empty(), |populated| populated == 0)
    }

    /// Sends `signal` to every process in it.
    pub fn signal(&self, signal: Signal) {
        for pid in self.members() {
            self.signal_one(pid, signal);
        }
    }

    /// Sends `signal` to the process `pid` if it is in it; whether it was.
    pub fn signal_one(&self, pid: u32, signal: Signal) -> bool {
        signal::send_if(pid, signal, || self.has(pid)).unwrap_or(false)
    }

    /// Kills every process in it, those that it starts meanwhile too. They are gone when
    /// [`Self::is_empty`] says so; where the kernel cannot do it at once (before 5.14, version 1)
    /// call it again while it does not.
    pub fn kill(&self) {
        let first = self.first();
        if first.version == Version::V2 && first.write("cgroup.kill", "1").is_ok() {
            return;
        }
        // Nobody forks any more, be it by freezing all or by a bound that is reached.
        let freezer = self.parts.iter().find(|part| part.is_freezer);
        if let Some(part) = freezer {
            let _ = part.write("freezer.state", "FROZEN");
        }
        if let Some(part) = self.with(Controller::Pids) {
            let _ = part.write("pids.max", "0");
        }
        let mut killed = BTreeSet::new();
        for _ in 0..SWEEPS_MAX {
            let members = self.members();
            let new: Vec<u32> = members.into_iter().filter(|pid| !killed.contains(pid)).collect();
            if new.is_empty() {
                break;
            }
            for &pid in &new {
                self.signal_one(pid, Signal::Kill);
            }
            killed.extend(new);
        }
        if let Some(part) = freezer {
            let _ = part.write("freezer.state", "THAWED");
        }
    }

    /// How many of its processes the kernel killed because memory ran out; `None` if that is not
    /// counted here.
    pub fn oom_kills(&self) -> Option<u64> {
        let part = self.with(Controller::Memory)?;
        match part.version {
            Version::V1 => part.number("memory.oom_control", "oom_kill"),
            Version::V2 => part.number("memory.events", "oom_kill"),
        }
    }

    /// Memory of all its processes that is their own and in use (anonymous and resident), in
    /// bytes; `None` if that is not counted here. Page cache is left out: the kernel takes that
    /// back by itself.
    pub fn resident_bytes(&self) -> Option<u64> {
        let part = self.with(Controller::Memory)?;
        match part.version {
            Version::V1 => part.number("memory.stat", "total_rss"),
            Version::V2 => part.number("memory.stat", "anon"),
        }
    }

    /// Removes it and the groups inside it; fails while a process is in it.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.parts.iter().try_for_each(|part| remove_tree(&part.directory))
    }

    fn first(&self) -> &Part {
        self.parts.first().expect("a group has at least one part")
    }

    fn with(&self, controller: Controller) -> Option<&Part> {
        self.parts.iter().find(|part| part.controllers.contains(&controller))
    }

    /// Whether the process `pid` is in it now.
    fn has(&self, pid: u32) -> bool {
        let directory = &self.first().directory;
        let (Some(name), Some(base)) = (directory.file_name(), directory.parent()) else {
            return false;
        };
        let (Some(name), Some(base)) = (name.to_str(), base.file_name().and_then(|b| b.to_str()))
        else {
            return false;
        };
        let listed = table::read(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let tail = format!("/{base}/{name}");
        listed.lines().any(|line| {
            // Of the group, or of one inside it; not of one whose name only begins alike.
            line.split_once(&tail).is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

impl Part {
    /// Sets what is bounded here; returns what failed.
    pub(super) fn bound(&self, bounds: &Bounds) -> Vec<String> {
        let mut problems = Vec::new();
        let mut set = |file: &str, value: String| {
            if let Err(error) = self.write(file, &value) {
                let path = self.directory.join(file);
                problems.push(format!("cannot set {} to {value}: {}", path.display(), why(&error)));
            }
        };
        for controller in &self.controllers {
            match (controller, self.version) {
                (Controller::Memory, Version::V2) => {
                    if let Some(bytes) = bounds.memory {
                        set("memory.max", bytes.to_string());
                        if self.directory.join("memory.swap.max").exists() {
                            set("memory.swap.max", "0".to_owned());
                        }
                    }
                }
                (Controller::Memory, Version::V1) => {
                    if let Some(bytes) = bounds.memory {
                        set("memory.limit_in_bytes", bytes.to_string());
                        // Memory and swap together, where swap is counted.
                        if self.directory.join("memory.memsw.limit_in_bytes").exists() {
                            set("memory.memsw.limit_in_bytes", bytes.to_string());
                        }
                    }
                }
                (Controller::Cpu, version) => {
                    let quota = bounds.cpu_percent.map(|cpu| u64::from(cpu) * PERIOD_US / 100);
                    match (quota, version) {
                        (None, _) => {}
                        (Some(quota), Version::V2) => {
                            set("cpu.max", format!("{quota} {PERIOD_US}"))
                        }
                        (Some(quota), Version::V1) => {
                            set("cpu.cfs_period_us", PERIOD_US.to_string());
                            set("cpu.cfs_quota_us", quota.to_string());
                        }
                    }
                }
                (Controller::Pids, _) => {
                    if let Some(tasks) = bounds.tasks {
                        set("pids.max", tasks.to_string());
                    }
                }
            }
        }
        problems
    }

    fn write(&self, file: &str, value: &str) -> io::Result<()> {
        // Never made: a file that the kernel does not have is an error.
        let mut file = OpenOptions::new().write(true).open(self.directory.join(file))?;
        io::Write::write_all(&mut file, value.as_bytes())
    }

    /// The number in the line of `file` that begins with `key`.
    fn number(&self, file: &str, key: &str) -> Option<u64> {
        let text = fs::read_to_string(self.directory.join(file)).ok()?;
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        pairs.into_iter().find(|&(name, _)| name == key)?.1.trim().parse().ok()
    }
}

fn collect(directory: &Path, depth: usize, members: &mut Vec<u32>) {
    let listed = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let room = MEMBERS_MAX.saturating_sub(members.len());
    // Those that are out of our sight have the number 0.
    let pids = listed.lines().filter_map(|pid| pid.parse::<u32>().ok()).filter(|&pid| pid != 0);
    members.extend(pids.take(room));
    if depth > 0 {
        for inner in groups(directory) {
            collect(&inner, depth - 1, members);
        }
    }
}

/// The groups right inside of one.
fn groups(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let inner = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    inner.map(|entry| entry.path())
}

/// Removes a group and those inside it; one that is gone already is as good.
pub(super) fn remove_tree(directory: &Path) -> io::Result<()> {
    for inner in groups(directory) {
        remove_tree(&inner)?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
