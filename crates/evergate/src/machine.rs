//! What the configuration wants of this machine that it cannot give.

use evergate_config::{App, Config, Diagnostic};
use evergate_sys::cgroup::{Cgroups, Support};
use evergate_sys::limits::{self, Limit, OwnUser, Strength, Wanted};
use evergate_sys::{privilege, rlimit};

/// The limits of apps that are not kept here as they are meant. A service that is started with more
/// rights than this command has may keep more.
pub(crate) fn warnings(config: &Config) -> Vec<Diagnostic> {
    let cgroups = Cgroups::detect();
    warnings_with(config, cgroups.support(), rlimit::files_hard())
}

fn warnings_with(config: &Config, support: &Support, files_hard: Option<u64>) -> Vec<Diagnostic> {
    let warn = |(name, app): (&String, &App)| {
        let limits = &app.limits;
        let wanted = Wanted {
            memory: limits.memory,
            cpu_percent: limits.cpu_percent,
            files: limits.files,
            tasks: limits.tasks,
        };
        let plan = limits::plan(&wanted, support, own_user(config, name, app), files_hard);
        let name = name.clone();
        plan.kept.into_iter().filter_map(move |kept| {
            let key = kept.limit.key();
            let (what, how) = match kept.strength {
                Strength::Full => return None,
                Strength::Weaker => ("is not kept to the letter here", kept.to_string()),
                Strength::Unsupported => ("is unsupported here", kept.how),
            };
            let message = format!("limits.{key} of app.{name} {what}: {how}");
            let mut warning = Diagnostic::warning("limit-unsupported", message);
            warning.path = format!("app.{name}.limits.{key}");
            Some(match kept.limit {
                Limit::Files => warning,
                Limit::Memory | Limit::Cpu | Limit::Tasks => warning.help(
                    "start Evergate as root or as a service with Delegate=yes, or leave it out",
                ),
            })
        })
    };
    config.apps.iter().flat_map(warn).collect()
}

/// The user of an app if no other app, and not Evergate itself, runs as that user.
fn own_user<'a>(config: &'a Config, name: &str, app: &'a App) -> Option<OwnUser<'a>> {
    let user = app.user.as_deref().filter(|_| privilege::is_root())?;
    let id = |user: &str| privilege::user(user).ok().map(|user| user.uid);
    let own = id(user).filter(|&uid| uid != 0)?;
    let others = config.apps.iter().filter(|(other, _)| *other != name);
    // Who is named by nobody runs as the node's.
    let mut users = others.filter_map(|(_, other)| other.user.as_deref());
    let is_shared = id(&config.node.user) == Some(own) || users.any(|user| id(user) == Some(own));
    let runs_max = u32::from(app.instances) + u32::from(app.deploy.surge);
    (!is_shared).then_some(OwnUser { name: user, runs_max })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use evergate_sys::cgroup::Version;

    use super::*;

    #[test]
    fn limits_that_nothing_keeps_are_named_with_the_reason() {
        let directory = tempfile::tempdir().expect("a place");
        let path = directory.path().join("evergate.toml");
        let text = "[listener.web]\nbind = [\"127.0.0.1:1\"]\n[route.all]\nmatch = \"/*\"\n\
                    respond = { body = \"x\" }\n[app.shop]\nrun = [\"/bin/true\"]\n\
                    limits = { memory = \"64MiB\", cpu = \"50%\", files = 64, tasks = 20 }\n\
                    [app.other]\nrun = [\"/bin/true\"]\n";
        fs::write(&path, text).expect("written");
        let config = evergate_config::load(&path).expect("valid").config;
        let (v1, none) = (Ok(Version::V1), Err("none here".to_owned()));
        let all =
            Support { memory: v1.clone(), cpu: v1.clone(), pids: v1.clone(), tree: v1.clone() };
        assert!(warnings_with(&config, &all, None).is_empty());
        let some = Support { memory: v1.clone(), cpu: none.clone(), pids: none, tree: v1 };
        let found = warnings_with(&config, &some, None);
        let paths: Vec<_> = found.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(paths, ["app.shop.limits.cpu", "app.shop.limits.tasks"]);
        assert_eq!(found[0].message, "limits.cpu of app.shop is unsupported here: none here");
        assert!(warnings_with(&config, &all, Some(63))[0].message.contains("to the letter"));
    }
}
