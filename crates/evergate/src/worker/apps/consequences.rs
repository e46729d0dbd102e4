//! What a change of the configuration means for the runs of apps, in words.

use evergate_config::{self as config, Config};
use evergate_control::link::App;

/// A line for each app that is new, changed or gone. `old` and `new` are what the keeper is told
/// before and after.
pub(in crate::worker) fn consequences(
    (before, old): (&Config, &[App]),
    (after, new): (&Config, &[App]),
) -> Vec<String> {
    let mut lines = Vec::new();
    for app in new {
        let earlier = old.iter().find(|earlier| earlier.name == app.name);
        let configured = before.apps.get(&app.name).zip(after.apps.get(&app.name));
        let what = match (earlier, configured) {
            (Some(earlier), Some((one, other))) if one != other => {
                changed(&changed_keys(one, other), earlier, app)
            }
            (Some(_), _) => continue,
            (None, _) => format!("{} started", are(app.instances, "run")),
        };
        lines.push(format!("app.{}: {what}", app.name));
    }
    let gone = old.iter().filter(|app| !new.iter().any(|later| later.name == app.name));
    lines.extend(
        gone.map(|app| {
            format!("app.{}: {} drained and ended", app.name, are(app.instances, "run"))
        }),
    );
    lines.sort();
    lines
}

fn changed(keys: &[&str], old: &App, new: &App) -> String {
    let reasons = old.restarts_for(new);
    let mut what = if reasons.is_empty() {
        format!("no run is replaced ({} changed)", keys.join(", "))
    } else {
        format!("its runs are replaced in turn ({} changed)", reasons.join(", "))
    };
    let more = new.instances.saturating_sub(old.instances);
    let fewer = old.instances.saturating_sub(new.instances);
    if more > 0 {
        what.push_str(&format!("; {} started", are(more, "more run")));
    }
    if fewer > 0 {
        what.push_str(&format!("; {} drained and ended", are(fewer, "run")));
    }
    what
}

/// `1 run is`, `2 runs are`.
fn are(count: u16, noun: &str) -> String {
    if count == 1 { format!("1 {noun} is") } else { format!("{count} {noun}s are") }
}

/// The keys of `[app.NAME]` that differ.
fn changed_keys(one: &config::App, other: &config::App) -> Vec<&'static str> {
    let config::App {
        run,
        instances,
        env,
        cwd,
        ports,
        user,
        umask,
        socket,
        after,
        ready,
        alive,
        restart,
        backoff,
        stop,
        limits,
        memory_watch,
        output,
        deploy,
        hidden: _,
    } = one;
    let keys = [
        ("run", *run != other.run),
        ("instances", *instances != other.instances),
        ("env", *env != other.env),
        ("cwd", *cwd != other.cwd),
        ("ports", *ports != other.ports),
        ("user", *user != other.user),
        ("umask", *umask != other.umask),
        ("socket", *socket != other.socket),
        ("after", *after != other.after),
        ("ready", *ready != other.ready),
        ("alive", *alive != other.alive),
        ("restart", *restart != other.restart),
        ("backoff", *backoff != other.backoff),
        ("stop", *stop != other.stop),
        ("limits", *limits != other.limits),
        ("memory_watch", *memory_watch != other.memory_watch),
        ("output", *output != other.output),
        ("deploy", *deploy != other.deploy),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use crate::worker::apps::desired;
    use crate::worker::apps::tests::config;

    use super::*;

    const NONE: &str = "";
    const SHOP: &str = "[app.shop]\nrun = [\"shop\"]\ninstances = 2\n";

    fn told(before: &str, after: &str) -> Vec<String> {
        let (before, after) = (config(before), config(after));
        consequences((&before, &desired(&before)), (&after, &desired(&after)))
    }

    #[test]
    fn each_change_says_what_becomes_of_the_runs() {
        let table = [
            ("env = { A = \"b\" }", "its runs are replaced in turn (env changed)"),
            (
                "cwd = \"/srv\"\numask = \"077\"",
                "its runs are replaced in turn (cwd, umask changed)",
            ),
            ("user = \"nobody\"", "its runs are replaced in turn (user changed)"),
            ("socket = \"inherit\"", "its runs are replaced in turn (socket changed)"),
            ("limits.files = 1024", "its runs are replaced in turn (limits changed)"),
            ("output.to = \"nowhere\"", "its runs are replaced in turn (output changed)"),
            ("output.to = \"stdout\"", "no run is replaced (output changed)"),
            ("backoff.base = \"1s\"", "no run is replaced (backoff changed)"),
            (
                "stop.drain = \"1s\"\nports = \"21000-21999\"",
                "no run is replaced (ports, stop changed)",
            ),
            ("ready.http = \"/\"\nalive = {}", "no run is replaced (ready, alive changed)"),
            (
                "deploy.surge = 2\nrestart = \"never\"",
                "no run is replaced (restart, deploy changed)",
            ),
            ("memory_watch.rss = \"1GiB\"", "no run is replaced (memory_watch changed)"),
        ];
        assert_eq!(told(SHOP, SHOP), [""; 0]);
        for (added, expected) in table {
            let lines = told(SHOP, &format!("{SHOP}{added}"));
            assert_eq!(lines, [format!("app.shop: {expected}")], "{added}");
        }
    }

    #[test]
    fn apps_and_instances_come_and_go() {
        let one = SHOP.replace("instances = 2", "instances = 1");
        let four = SHOP.replace("instances = 2", "instances = 4");
        let other = four.replace("[\"shop\"]", "[\"other\"]");
        let table = [
            (NONE, SHOP, "2 runs are started"),
            (&one, NONE, "1 run is drained and ended"),
            (SHOP, &one, "no run is replaced (instances changed); 1 run is drained and ended"),
            (SHOP, &four, "no run is replaced (instances changed); 2 more runs are started"),
            (SHOP, &other, "its runs are replaced in turn (run changed); 2 more runs are started"),
        ];
        for (before, after, expected) in table {
            assert_eq!(told(before, after), [format!("app.shop: {expected}")]);
        }
    }
}
