//! Bounds on what a run may use, as [`evergate_sys::limits`] can keep them here.

use evergate_control::link::{App, Limits};
use evergate_sys::cgroup::{Support, Version};
use evergate_sys::limits::{self, OwnUser, Plan, Wanted};
use evergate_sys::rlimit;

use super::users::Users;

/// How the limits of `app` are kept.
pub(super) fn plan(app: &App, support: &Support, users: &Users) -> Plan {
    let Limits { memory, cpu_percent, files, tasks } = app.limits;
    let wanted = Wanted { memory, cpu_percent, files, tasks };
    let runs_max = u32::from(app.instances) + u32::from(app.deploy.surge);
    let user = users.own(app.user.as_deref()).map(|name| OwnUser { name, runs_max });
    let mut plan = limits::plan(&wanted, support, user, rlimit::files_hard());
    // It tells whom the kernel killed for want of memory. Version 2 has one group for everything; a
    // group more of version 1 would make every start slower by ten milliseconds.
    let is_free = support.memory == Ok(Version::V2);
    plan.bounds.counts_memory = is_free || app.memory_watch.is_some();
    plan
}

#[cfg(test)]
mod tests {
    use evergate_control::link::{DeployRule, MemoryWatch};
    use evergate_sys::privilege;

    use super::*;

    #[test]
    fn a_limit_on_a_user_is_one_on_an_app_only_if_it_has_the_user_to_itself() {
        if !privilege::is_root() {
            return; // Only root starts processes as others.
        }
        let none = || Err("none here".to_owned());
        let support = Support { memory: none(), cpu: none(), pids: none(), tree: none() };
        let app = App {
            user: Some("65534".to_owned()),
            instances: 2,
            limits: Limits { tasks: Some(10), ..Limits::default() },
            deploy: DeployRule { surge: 1, ..DeployRule::default() },
            ..App::default()
        };
        let tasks_max = |users: &Users| plan(&app, &support, users).tasks_max;
        let mut users = Users::default();
        users.name(vec!["65534".to_owned()]);
        users.set_apps(["65534", "0"].into_iter());
        assert_eq!(tasks_max(&users), Some(30));
        users.set_apps(["65534", "0", "65534"].into_iter());
        assert_eq!(tasks_max(&users), None, "another app runs as it, too");
        users.set_apps(["65534"].into_iter());
        users.set_worker(privilege::user("65534").ok());
        assert_eq!(tasks_max(&users), None, "and so does the worker");
    }

    #[test]
    fn memory_is_counted_where_it_is_watched_or_costs_nothing() {
        let of = |version: Version| Support {
            memory: Ok(version),
            cpu: Ok(version),
            pids: Ok(version),
            tree: Ok(version),
        };
        let users = Users::default();
        let counts = |app: &App, version| plan(app, &of(version), &users).bounds.counts_memory;
        let watched =
            App { memory_watch: Some(MemoryWatch { rss: 1, for_ms: 1 }), ..App::default() };
        assert!(counts(&App::default(), Version::V2) && !counts(&App::default(), Version::V1));
        assert!(counts(&watched, Version::V2) && counts(&watched, Version::V1));
    }
}
