//! Bounds on what a run may use: by control groups where there are some, by the limits that a
//! process hands on to its children where those come close, and else not at all. Which it is for
//! each bound is told in words.

use evergate_control::link::{App, Limits};
use evergate_sys::cgroup::{Bounds, Support};
use evergate_sys::child::Spec;

/// What the control group of a run bounds. Memory is counted in any case: it tells whom the kernel
/// killed for want of it.
pub(super) fn bounds(limits: Limits) -> Bounds {
    let Limits { memory, cpu_percent, files: _, tasks } = limits;
    Bounds { memory, cpu_percent, tasks, counts_memory: true }
}

/// Bounds a child by itself: its files always, the others where no control group does that.
pub(super) fn bound(spec: &mut Spec<'_>, app: &App, support: &Support, files_max: u64) {
    spec.files_max = Some(app.limits.files.unwrap_or(files_max));
    if support.memory.is_err() {
        spec.data_bytes_max = app.limits.memory;
    }
    if support.pids.is_err() && has_user_of_its_own(app) {
        spec.tasks_max = app.limits.tasks.map(u64::from);
    }
}

/// How each of the limits of `app` is kept, a line for each.
pub(super) fn describe(app: &App, support: &Support) -> Vec<String> {
    let Limits { memory, cpu_percent, files, tasks } = app.limits;
    let memory = memory.map(|bytes| {
        let what = format!("memory {} MiB", bytes >> 20);
        match &support.memory {
            Ok(version) => format!("{what} by {version}"),
            Err(why) => format!("{what} for each process by rlimit: {why}"),
        }
    });
    let cpu = cpu_percent.map(|percent| match &support.cpu {
        Ok(version) => format!("cpu {percent}% by {version}"),
        Err(why) => format!("cpu unsupported: {why}"),
    });
    let files = files.map(|files| format!("files {files} by rlimit"));
    let tasks = tasks.map(|tasks| match &support.pids {
        Ok(version) => format!("tasks {tasks} by {version}"),
        Err(why) if has_user_of_its_own(app) => {
            format!("tasks {tasks} for all of its user by rlimit: {why}")
        }
        Err(why) => format!("tasks unsupported: {why}, and its user runs other things too"),
    });
    [memory, cpu, files, tasks].into_iter().flatten().collect()
}

/// What a user runs beside the app would count against it.
fn has_user_of_its_own(app: &App) -> bool {
    app.user.is_some()
}

#[cfg(test)]
mod tests {
    use evergate_sys::cgroup::Version;

    use super::*;

    #[test]
    fn each_limit_is_kept_as_well_as_the_machine_can() {
        let limits = Limits {
            memory: Some(256 << 20),
            cpu_percent: Some(150),
            files: Some(4096),
            tasks: Some(64),
        };
        let mut app = App { limits, ..App::default() };
        let all = |found: Result<Version, String>| Support {
            memory: found.clone(),
            cpu: found.clone(),
            pids: found.clone(),
            tree: found,
        };
        let groups = all(Ok(Version::V2));
        let expected = [
            "memory 256 MiB by cgroup v2",
            "cpu 150% by cgroup v2",
            "files 4096 by rlimit",
            "tasks 64 by cgroup v2",
        ];
        assert_eq!(describe(&app, &groups), expected);
        let none = all(Err("no control groups".to_owned()));
        let expected = [
            "memory 256 MiB for each process by rlimit: no control groups",
            "cpu unsupported: no control groups",
            "files 4096 by rlimit",
            "tasks unsupported: no control groups, and its user runs other things too",
        ];
        assert_eq!(describe(&app, &none), expected);
        let mut spec = Spec::default();
        bound(&mut spec, &app, &none, 1024);
        let bounds = (spec.files_max, spec.data_bytes_max, spec.tasks_max);
        assert_eq!(bounds, (Some(4096), Some(256 << 20), None));
        app.user = Some("shop".to_owned());
        let own = "tasks 64 for all of its user by rlimit: no control groups";
        assert_eq!(describe(&app, &none)[3], own);
        bound(&mut spec, &app, &none, 1024);
        assert_eq!(spec.tasks_max, Some(64));
        let mut spec = Spec::default();
        bound(&mut spec, &App::default(), &groups, 1024);
        assert_eq!((spec.files_max, spec.data_bytes_max), (Some(1024), None));
        assert!(describe(&App::default(), &groups).is_empty());
    }
}
