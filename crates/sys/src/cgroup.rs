//! Control groups: every process of a run in a group of its own, with bounds on what it uses.
//!
//! Machines differ. There is version 2 with all controllers, if it was delegated to us; version 1
//! with a hierarchy for each controller; both at once, where version 2 has no controllers but still
//! knows who belongs together and can kill them; and containers where nothing is writable. So each
//! controller is looked for by itself (`hierarchy`), a [`Group`] has a directory in each hierarchy
//! that it needs, and what cannot be had is said in words. All of it is best effort, and none of it
//! waits: these files are the kernel's memory, not a disk.

mod carried;
mod group;
mod hierarchy;

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

pub use self::carried::Carried;
pub use self::group::Group;
use self::group::remove_tree;
use self::hierarchy::Hierarchy;
use crate::oom;
use crate::process::Known;
use crate::table;

/// What the names of our own directories begin with; the keeper's pid and its start follow.
const PREFIX: &str = "evergate-";
/// Name of the group that the keeper itself is in where it must not be in the one above.
const LEAF: &str = "keeper";
/// Most groups that are remembered because somebody is still in them.
const RETIRED_MAX: usize = 256;
/// Longest name of a group, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// What is bounded.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Controller {
    /// Memory.
    Memory,
    /// Processor time.
    Cpu,
    /// Processes and threads.
    Pids,
}

impl Controller {
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    /// As the kernel calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }
}

/// Which interface a hierarchy has.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Version {
    /// One hierarchy for some controllers.
    V1,
    /// The unified one.
    V2,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "cgroup v1",
            Self::V2 => "cgroup v2",
        })
    }
}

/// What control groups can do here: by which version, or why not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Support {
    /// Bounds on memory.
    pub memory: Result<Version, String>,
    /// Bounds on processor time.
    pub cpu: Result<Version, String>,
    /// Bounds on processes and threads.
    pub pids: Result<Version, String>,
    /// To know all processes of a run, whatever they do.
    pub tree: Result<Version, String>,
}

impl Support {
    /// What it says about one controller.
    pub fn of(&self, controller: Controller) -> &Result<Version, String> {
        match controller {
            Controller::Memory => &self.memory,
            Controller::Cpu => &self.cpu,
            Controller::Pids => &self.pids,
        }
    }

    fn of_mut(&mut self, controller: Controller) -> &mut Result<Version, String> {
        match controller {
            Controller::Memory => &mut self.memory,
            Controller::Cpu => &mut self.cpu,
            Controller::Pids => &mut self.pids,
        }
    }
}

/// Bounds of a group.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Bounds {
    /// Most bytes of memory, swap included; beyond it the kernel kills.
    pub memory: Option<u64>,
    /// Most processor time, in percent of one core.
    pub cpu_percent: Option<u32>,
    /// Most processes and threads; a fork beyond it fails.
    pub tasks: Option<u32>,
    /// Counts memory even without a bound on it, for [`Group::resident_bytes`].
    pub counts_memory: bool,
}

impl Bounds {
    fn needs(&self, controller: Controller) -> bool {
        match controller {
            Controller::Memory => self.memory.is_some() || self.counts_memory,
            Controller::Cpu => self.cpu_percent.is_some(),
            Controller::Pids => self.tasks.is_some(),
        }
    }
}

/// The control groups of this machine that are ours to use.
///
/// Call [`Self::claim`] once before the first child, [`Self::make`] for each run, and
/// [`Self::retire`] at its end.
#[derive(Debug)]
pub struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    support: Support,
    /// Name of our directory in each hierarchy.
    base: String,
    /// Groups to remove once they are empty.
    retired: Vec<Group>,
}

/// What came of [`Cgroups::make`].
#[derive(Debug)]
pub struct Made {
    /// The group, if there can be one.
    pub group: Option<Group>,
    /// What could not be done, a sentence each.
    pub problems: Vec<String>,
}

impl Cgroups {
    /// Looks, and changes nothing.
    pub fn detect() -> Self {
        let read = |path| table::read(path).unwrap_or_default();
        let own = std::process::id();
        let started = Known::now(own).map_or(0, |known| known.started_ticks);
        let base = format!("{PREFIX}{own}-{started}");
        let found = hierarchy::find(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        let (hierarchies, support) = hierarchy::choose(found, &base);
        Self { hierarchies, support, base, retired: Vec::new() }
    }

    /// The same without the other version, to try what a machine that has both hides.
    pub fn only(mut self, version: Version) -> Self {
        let none = || Err(format!("{version} has none here"));
        self.hierarchies.retain(|hierarchy| hierarchy.version == version);
        for controller in Controller::ALL {
            let known = self.support.of_mut(controller);
            if known.as_ref().is_ok_and(|&found| found != version) {
                *known = none();
            }
        }
        self.support.tree = none();
        hierarchy::sort(&mut self.hierarchies, &mut self.support);
        self
    }

    /// None at all, for the reason given: for tests and for those who want it so.
    pub fn none(reason: &str) -> Self {
        let no = || Err(reason.to_owned());
        let support = Support { memory: no(), cpu: no(), pids: no(), tree: no() };
        Self { hierarchies: Vec::new(), support, base: String::new(), retired: Vec::new() }
    }

    /// What can be done here.
    pub fn support(&self) -> &Support {
        &self.support
    }

    /// Counts kills for want of memory of those that are in no group of ours that counts them.
    pub fn oom_kills_outside(&self) -> oom::Kills {
        // Version 1 counts each kill in one group. Version 2 adds up, and whoever has it has a group.
        let counts = |one: &&Hierarchy| {
            one.version == Version::V1 && one.controllers.contains(&Controller::Memory)
        };
        let above = self.hierarchies.iter().find(counts);
        let file = above.map(|one| one.directory.join("memory.oom_control"));
        oom::Kills::counted_by(file.unwrap_or_else(|| PathBuf::from("/proc/vmstat")))
    }

    /// Makes ready for the first group: moves this process out of the way where version 2 demands
    /// it, and removes what dead keepers left behind. Returns what an operator should know.
    ///
    /// Groups of a dead keeper that still have processes are left as they are: its worker may be
    /// serving with them.
    pub fn claim(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        for hierarchy in &self.hierarchies {
            problems.extend(clean(&hierarchy.directory, &self.base));
        }
        problems.extend(self.delegate());
        problems
    }

    /// Makes ready once more, for a process that has claimed them before it became another program
    /// ([`crate::exec`]). What an operator should know was told then.
    pub fn claim_again(&mut self) {
        let _told = self.delegate();
    }

    fn delegate(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        for hierarchy in &mut self.hierarchies {
            if hierarchy.version == Version::V1 || hierarchy.controllers.is_empty() {
                continue;
            }
            let refused = hierarchy.delegate(&self.base);
            for (controller, why) in refused {
                hierarchy.controllers.retain(|&one| one != controller);
                problems
                    .push(format!("cgroup v2 gives us no {} controller: {why}", controller.name()));
                *self.support.of_mut(controller) = Err(why);
            }
        }
        problems
    }

    /// Makes a group called `name` (for example `shop.0.7`) with these bounds.
    ///
    /// A bound that cannot be had here is left out without a word, because [`Self::support`] says
    /// so beforehand; one that should work and does not is a problem.
    pub fn make(&mut self, name: &str, bounds: &Bounds) -> Made {
        let name = sanitize(name);
        let mut made = Made { group: None, problems: Vec::new() };
        let mut parts = Vec::new();
        // The first one is the one that knows all processes best.
        for (index, hierarchy) in self.hierarchies.iter().enumerate() {
            let is_needed = hierarchy.controllers.iter().any(|&one| bounds.needs(one));
            if index != 0 && !is_needed {
                continue;
            }
            match hierarchy.make(&self.base, &name) {
                Ok(part) => {
                    made.problems.extend(part.bound(bounds));
                    parts.push(part);
                }
                Err(error) => made.problems.push(format!(
                    "cannot make a control group in {}: {error}",
                    hierarchy.directory.display()
                )),
            }
        }
        match Group::new(parts) {
            Ok(group) => made.group = group,
            Err(error) => made.problems.push(format!("cannot open a control group: {error}")),
        }
        made
    }

    /// Removes a group, now if nobody is in it, else when [`Self::sweep`] finds it empty.
    pub fn retire(&mut self, group: Group) {
        if group.remove().is_err() && self.retired.len() < RETIRED_MAX {
            self.retired.push(group);
        }
    }

    /// Groups that are to be removed once nobody is in them.
    pub fn retired(&self) -> impl Iterator<Item = &Group> {
        self.retired.iter()
    }

    /// Removes retired groups that are empty by now; whether some are left.
    pub fn sweep(&mut self) -> bool {
        self.retired.retain(|group| group.remove().is_err());
        !self.retired.is_empty()
    }

    /// Removes all that can be removed, at the end.
    pub fn close(mut self) {
        self.sweep();
        for hierarchy in &self.hierarchies {
            let _ = remove_tree(&hierarchy.directory.join(&self.base));
        }
    }
}

/// A name that is one directory's and shows nothing odd in `/proc/PID/cgroup`.
fn sanitize(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name = name.trim_start_matches('.').chars().take(NAME_BYTES_MAX);
    let name: String = name.map(|c| if plain(c) { c } else { '_' }).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}

/// Removes what keepers that are gone left in `directory`.
fn clean(directory: &Path, base: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let dead = names.filter(|name| name != base && keeper(name).is_some_and(|one| !one.is_there()));
    let remove = |name: String| {
        let path: PathBuf = directory.join(name);
        let error = remove_tree(&path).err()?;
        Some(format!("cannot remove {} of an earlier keeper: {}", path.display(), why(&error)))
    };
    dead.filter_map(remove).collect()
}

/// The keeper that a directory of ours belongs to.
fn keeper(name: &str) -> Option<Known> {
    let (pid, started) = name.strip_prefix(PREFIX)?.split_once('-')?;
    Some(Known { pid: pid.parse().ok()?, started_ticks: started.parse().ok()? })
}

/// An error of these files in words.
fn why(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EBUSY) => "processes are in it".to_owned(),
        Some(libc::EROFS) => "it is mounted read-only".to_owned(),
        Some(libc::EACCES | libc::EPERM) => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_groups_are_plain() {
        let table = [
            ("shop.0.7", "shop.0.7"),
            ("../../etc", "_.._etc"),
            ("a/b\nc", "a_b_c"),
            ("", "_"),
            ("..", "_"),
        ];
        for (name, plain) in table {
            assert_eq!(sanitize(name), plain);
        }
        assert_eq!(sanitize(&"x".repeat(300)).len(), NAME_BYTES_MAX);
    }

    #[test]
    fn only_directories_of_dead_keepers_are_removed() {
        let own = Known::now(std::process::id()).unwrap();
        let place = std::env::temp_dir().join(format!("evergate-cgroup-{}", own.pid));
        let alive = format!("{PREFIX}{}-{}", own.pid, own.started_ticks);
        let reused = format!("{PREFIX}{}-{}", own.pid, own.started_ticks - 1);
        let gone = format!("{PREFIX}4194305-7");
        let kept = [alive.as_str(), "evergate-notes", "evergate-x-1", "other-1-1", "evergate-9"];
        for name in kept.into_iter().chain([reused.as_str(), &gone, &format!("{gone}/shop.0.1")]) {
            fs::create_dir_all(place.join(name)).unwrap();
        }
        assert!(clean(&place, "evergate-0-0").is_empty());
        for name in kept {
            assert!(place.join(name).is_dir(), "{name}");
        }
        assert!(!place.join(reused).exists() && !place.join(gone).exists());
        fs::remove_dir_all(place).unwrap();
    }
}
