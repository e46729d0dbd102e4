//! How bounds on what a run may use can be kept on this machine, and how to say so.
//!
//! Control groups bound all processes of a run together. Where there are none, the limits that each
//! process inherits come closest to some of it. What nothing keeps is `unsupported`, with the
//! reason: an operator who wrote a limit must not believe in it for nothing.

use std::fmt;

use crate::cgroup::{Bounds, Controller, Support};

/// Bounds on what a run may use, as they are wished for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Wanted {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Percent of one core.
    pub cpu_percent: Option<u32>,
    /// Open files of each process.
    pub files: Option<u64>,
    /// Processes and threads.
    pub tasks: Option<u32>,
}

/// A user whom one app has to itself, so that a limit on the user is one on the app.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OwnUser<'a> {
    /// Its name; not root, whom such a limit does not bind.
    pub name: &'a str,
    /// Most runs of the app at a time.
    pub runs_max: u32,
}

/// One of the limits.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "each variant is the field of the same name of `Wanted`")]
pub enum Limit {
    Memory,
    Cpu,
    Files,
    Tasks,
}

impl Limit {
    /// As it is called in the configuration.
    pub fn key(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Files => "files",
            Self::Tasks => "tasks",
        }
    }
}

/// How well a limit is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Strength {
    /// As it was meant.
    Full,
    /// Something like it.
    Weaker,
    /// Not at all.
    Unsupported,
}

/// How one limit is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// Which.
    pub limit: Limit,
    /// How well.
    pub strength: Strength,
    /// By what, or why not: what follows the limit in `Self::to_string`.
    pub how: String,
}

impl fmt::Display for Kept {
    /// "memory 256 MiB by cgroup v1", "cpu unsupported: no cgroup cpu controller is mounted here".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.limit.key();
        match self.strength {
            Strength::Full | Strength::Weaker => write!(f, "{key} {}", self.how),
            Strength::Unsupported => write!(f, "{key} unsupported: {}", self.how),
        }
    }
}

/// What is set to keep the limits of a run.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// On its control group.
    pub bounds: Bounds,
    /// For [`crate::child::Spec::files_max`].
    pub files_max: Option<u64>,
    /// For [`crate::child::Spec::data_bytes_max`].
    pub data_bytes_max: Option<u64>,
    /// For [`crate::child::Spec::tasks_max`].
    pub tasks_max: Option<u64>,
    /// Each limit that is wished for, in the order of [`Limit`].
    pub kept: Vec<Kept>,
}

/// How `wanted` is kept with what control groups can do here, for an app that has a user to itself
/// or not, where no process may open more than `files_hard` files.
pub fn plan(
    wanted: &Wanted,
    support: &Support,
    user: Option<OwnUser<'_>>,
    files_hard: Option<u64>,
) -> Plan {
    let mut plan = Plan::default();
    if let Some(bytes) = wanted.memory {
        let kept = memory(bytes, support, &mut plan);
        plan.kept.push(kept);
    }
    if let Some(percent) = wanted.cpu_percent {
        let kept = match support.of(Controller::Cpu) {
            Ok(version) => {
                plan.bounds.cpu_percent = Some(percent);
                (Strength::Full, format!("{percent} % of a core by {version}"))
            }
            Err(why) => (Strength::Unsupported, why.clone()),
        };
        plan.kept.push(kept_as(Limit::Cpu, kept));
    }
    if let Some(count) = wanted.files {
        let possible = files_hard.map_or(count, |hard| count.min(hard));
        plan.files_max = Some(possible);
        let kept = if possible == count {
            (Strength::Full, format!("{count} in each process by RLIMIT_NOFILE"))
        } else {
            let how = format!("{possible} in place of {count}: Evergate itself may have no more");
            (Strength::Weaker, how)
        };
        plan.kept.push(kept_as(Limit::Files, kept));
    }
    if let Some(count) = wanted.tasks {
        let kept = tasks(count, support, user, &mut plan);
        plan.kept.push(kept);
    }
    plan
}

fn memory(bytes: u64, support: &Support, plan: &mut Plan) -> Kept {
    let size = Size(bytes);
    let kept = match support.of(Controller::Memory) {
        Ok(version) => {
            plan.bounds.memory = Some(bytes);
            (Strength::Full, format!("{size} by {version}"))
        }
        Err(why) => {
            plan.data_bytes_max = Some(bytes);
            let how = "of private memory in each process, used or not, by RLIMIT_DATA";
            (Strength::Weaker, format!("{size} {how}, not of all together: {why}"))
        }
    };
    kept_as(Limit::Memory, kept)
}

fn tasks(count: u32, support: &Support, user: Option<OwnUser<'_>>, plan: &mut Plan) -> Kept {
    let kept = match (support.of(Controller::Pids), user) {
        (Ok(version), _) => {
            plan.bounds.tasks = Some(count);
            (Strength::Full, format!("{count} by {version}"))
        }
        (Err(why), Some(OwnUser { name, runs_max })) => {
            let all = u64::from(count) * u64::from(runs_max.max(1));
            plan.tasks_max = Some(all);
            let how = format!("{count}, as {all} of user {name} in all, by RLIMIT_NPROC: {why}");
            (Strength::Weaker, how)
        }
        (Err(why), None) => {
            (Strength::Unsupported, format!("{why}, and the app has no user to itself"))
        }
    };
    kept_as(Limit::Tasks, kept)
}

fn kept_as(limit: Limit, (strength, how): (Strength, String)) -> Kept {
    Kept { limit, strength, how }
}

/// A number of bytes in the largest unit that it is whole in.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let whole = UNITS.iter().find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit));
        match whole {
            Some((unit, name)) => write!(f, "{} {name}", self.0 / unit),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Version;

    const ALL: Wanted = Wanted {
        memory: Some(256 << 20),
        cpu_percent: Some(150),
        files: Some(1024),
        tasks: Some(64),
    };

    fn lines(plan: &Plan) -> Vec<String> {
        plan.kept.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn control_groups_keep_all_limits() {
        let (one, two) = (Ok(Version::V1), Ok(Version::V2));
        let support = Support { memory: one, cpu: two.clone(), pids: two.clone(), tree: two };
        let plan = plan(&ALL, &support, None, Some(4096));
        assert_eq!(
            lines(&plan),
            [
                "memory 256 MiB by cgroup v1",
                "cpu 150 % of a core by cgroup v2",
                "files 1024 in each process by RLIMIT_NOFILE",
                "tasks 64 by cgroup v2",
            ]
        );
        let bounds = Bounds {
            memory: Some(256 << 20),
            cpu_percent: Some(150),
            tasks: Some(64),
            counts_memory: false,
        };
        let Plan { files_max, data_bytes_max, tasks_max, .. } = plan;
        assert_eq!((plan.bounds, files_max), (bounds, Some(1024)));
        assert_eq!((data_bytes_max, tasks_max), (None, None));
    }

    #[test]
    fn without_them_some_limits_are_weaker_and_some_are_not_kept() {
        let no = || Err("none here".to_owned());
        let support = Support { memory: no(), cpu: no(), pids: no(), tree: no() };
        let shared = plan(&ALL, &support, None, Some(512));
        assert_eq!(
            lines(&shared),
            [
                "memory 256 MiB of private memory in each process, used or not, by RLIMIT_DATA, \
                 not of all together: none here",
                "cpu unsupported: none here",
                "files 512 in place of 1024: Evergate itself may have no more",
                "tasks unsupported: none here, and the app has no user to itself",
            ]
        );
        assert_eq!(shared.bounds, Bounds::default());
        assert_eq!((shared.data_bytes_max, shared.files_max), (Some(256 << 20), Some(512)));
        assert_eq!(shared.tasks_max, None);
        let own = plan(&ALL, &support, Some(OwnUser { name: "shop", runs_max: 3 }), None);
        let line = "tasks 64, as 192 of user shop in all, by RLIMIT_NPROC: none here";
        assert_eq!((lines(&own)[3].as_str(), own.tasks_max), (line, Some(192)));
        assert_eq!(own.files_max, Some(1024));
        assert_eq!(plan(&Wanted::default(), &support, None, None), Plan::default());
    }

    #[test]
    fn sizes_are_said_in_units_that_they_are_whole_in() {
        let table =
            [(2 << 30, "2 GiB"), (1 << 20, "1 MiB"), (1536 << 10, "1536 KiB"), (7, "7 bytes")];
        for (bytes, text) in table {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
