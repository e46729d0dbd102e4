//! What the configuration wants of this machine that it cannot give.

use std::path::Path;

use evergate_config::{App, Config, Diagnostic};
use evergate_core::track::Subject;
use evergate_sys::cgroup::{Cgroups, Support};
use evergate_sys::limits::{self, Limit, OwnUser, Strength, Wanted};
use evergate_sys::{privilege, rlimit};

/// Where Linux lists its network interfaces.
const INTERFACES: &str = "/sys/class/net";

/// The limits of apps that are not kept here as they are meant, and interfaces that are not there. A
/// service that is started with more rights than this command has may keep more limits.
pub(crate) fn warnings(config: &Config) -> Vec<Diagnostic> {
    let cgroups = Cgroups::detect();
    let mut found = warnings_with(config, cgroups.support(), rlimit::files_hard());
    found.extend(missing_interfaces(config, Path::new(INTERFACES)));
    found
}

/// The interfaces of virtual addresses that `listed` does not have. They may come later, as that of
/// a modem does.
fn missing_interfaces(config: &Config, listed: &Path) -> Vec<Diagnostic> {
    let Ok(entries) = std::fs::read_dir(listed) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut here: Vec<String> = names.collect();
    here.sort();
    let missing = |name: &str| !here.iter().any(|one| one == name);
    let warn = |vip: &str, key: &str, name: &str| {
        let message = format!("vip.{vip} needs the interface {name}, which is not here");
        let help = format!(
            "mend the name, or wait: it is used as soon as it comes; there are: {}",
            here.join(", ")
        );
        let mut warning = Diagnostic::warning("missing-interface", message).help(help);
        warning.path = format!("vip.{vip}.{key}");
        warning
    };
    let of_vip = |(name, vip): (&String, &evergate_config::Vip)| {
        let own = missing(&vip.interface).then(|| warn(name, "interface", &vip.interface));
        let tracked = vip.track.iter().filter_map(|rule| match &rule.subject {
            Subject::Link(link) if *link != vip.interface && missing(link) => {
                Some(warn(name, "track.link", link))
            }
            Subject::Link(_)
            | Subject::Listener(_)
            | Subject::Pool(_)
            | Subject::App(_)
            | Subject::Gateway(_) => None,
        });
        own.into_iter().chain(tracked).collect::<Vec<_>>()
    };
    config.vips.iter().flat_map(of_vip).collect()
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
    fn interfaces_that_are_not_here_are_named_with_those_that_are() {
        let directory = tempfile::tempdir().expect("a place");
        let path = directory.path().join("evergate.toml");
        let text = "[listener.web]\nbind = [\"127.0.0.1:1\"]\n[route.all]\nmatch = \"/*\"\n\
                    respond = { body = \"x\" }\n[vip.web]\naddress = [\"10.0.0.100/24\"]\n\
                    interface = \"eth7\"\nrouter_id = 51\n\
                    track.link = { eth7 = \"fault\", eth8 = \"fault\", lan = \"fault\" }\n";
        fs::write(&path, text).expect("written");
        let config = evergate_config::load(&path).expect("valid").config;
        let net = directory.path().join("net");
        assert!(missing_interfaces(&config, &net).is_empty(), "nobody knows");
        for name in ["lo", "lan"] {
            fs::create_dir_all(net.join(name)).expect("made");
        }
        let found = missing_interfaces(&config, &net);
        let told: Vec<_> = found.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(
            told,
            [
                "vip.web needs the interface eth7, which is not here",
                "vip.web needs the interface eth8, which is not here"
            ]
        );
        assert!(found[0].help.as_ref().is_some_and(|help| help.ends_with("there are: lan, lo")));
        for name in ["eth7", "eth8"] {
            fs::create_dir(net.join(name)).expect("made");
        }
        assert!(missing_interfaces(&config, &net).is_empty());
    }

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
