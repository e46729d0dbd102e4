//! The difference between two configurations, by name.

use std::collections::BTreeMap;

use evergate_config::{Config, Route};
use evergate_control::snapshot::PlanChange;

/// What `after` adds to, changes in and removes from `before`.
pub(crate) fn between(before: &Config, after: &Config) -> PlanChange {
    let mut change = PlanChange::default();
    section(&mut change, "listener", &before.listeners, &after.listeners);
    section(&mut change, "route", &placeless(before), &placeless(after));
    section(&mut change, "middleware", &before.middleware, &after.middleware);
    section(&mut change, "app", &before.apps, &after.apps);
    section(&mut change, "acme", &before.acme, &after.acme);
    section(&mut change, "pool", &before.pools, &after.pools);
    section(&mut change, "vip", &before.vips, &after.vips);
    section(&mut change, "peer", &before.peers, &after.peers);
    single(&mut change, "node", &before.node, &after.node);
    single(&mut change, "admin", &before.admin, &after.admin);
    single(&mut change, "log", &before.log, &after.log);
    single(&mut change, "heartbeat", &before.heartbeat, &after.heartbeat);
    change
}

fn section<T: PartialEq>(
    change: &mut PlanChange,
    name: &str,
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
) {
    for (key, value) in after {
        match before.get(key) {
            None => change.added.push(format!("{name}.{key}")),
            Some(old) if old != value => change.changed.push(format!("{name}.{key}")),
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    change.removed.extend(gone.map(|key| format!("{name}.{key}")));
}

fn single<T: PartialEq>(change: &mut PlanChange, name: &str, before: &T, after: &T) {
    if before != after {
        change.changed.push(name.to_owned());
    }
}

/// The routes without the lines they stand in: a route that only moved has not changed.
fn placeless(config: &Config) -> BTreeMap<String, Route> {
    let routes = config.routes.iter();
    routes
        .map(|(name, route)| (name.clone(), Route { origin: String::new(), ..route.clone() }))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::{Path, PathBuf};

    use evergate_config::{Files, load_with};

    use super::*;

    struct Text(String);

    impl Files for Text {
        fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
            Ok(self.0.clone().into_bytes())
        }

        fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
            Ok(Vec::new())
        }

        fn env(&self, _: &str) -> Option<String> {
            None
        }
    }

    fn config(secret: &str, vip: &str, priority: u8, peer: &str) -> Config {
        let text = format!(
            "[vip.{vip}]\naddress = [\"10.0.0.100/24\"]\ninterface = \"eth0\"\nrouter_id = 51\n\
             [vip.other]\naddress = [\"10.0.0.101/24\"]\ninterface = \"eth0\"\nrouter_id = 52\n\
             priority = {priority}\n[heartbeat]\nsecret = \"{secret}\"\n\
             [peer.edge-b]\naddresses = [\"{peer}\"]\n"
        );
        load_with(Path::new("evergate.toml"), &Text(text)).unwrap().config
    }

    #[test]
    fn virtual_addresses_and_machines_differ_by_name() {
        let before = config("0123456789abcdef", "web", 254, "10.0.0.12");
        assert_eq!(between(&before, &before), PlanChange::default());
        let after = config("fedcba9876543210", "new", 100, "10.0.0.13");
        let change = between(&before, &after);
        assert_eq!(change.added, ["vip.new"]);
        assert_eq!(change.removed, ["vip.web"]);
        assert_eq!(change.changed, ["vip.other", "peer.edge-b", "heartbeat"]);
    }

    #[test]
    fn every_section_is_compared_and_a_route_that_only_moved_has_not_changed() {
        let text = "[node]\nname = \"edge-a\"\n[admin]\nallow = [\"127.0.0.1/32\"]\n\
                    [log]\naccess = \"json\"\n\
                    [acme.le]\nemail = \"ops@plant.example\"\ndomains = [\"plant.example\"]\n\
                    [listener.web]\nbind = [\"127.0.0.1:8080\"]\n\
                    [listener.tls]\nbind = [\"127.0.0.1:8443\"]\ntls.acme = \"le\"\n\
                    [middleware.office]\nip = { allow = [\"10.0.0.0/8\"] }\n\
                    [route.all]\nmatch = \"/*\"\npool = \"up\"\nuse = [\"office\"]\n\
                    [pool.up]\nservers = { a = { url = \"http://127.0.0.1:81\" } }\n\
                    [app.jobs]\nrun = [\"jobs\"]\nready.by = \"none\"\n";
        let load = |text: &str| {
            let files = Text(text.to_owned());
            load_with(Path::new("evergate.toml"), &files).expect("it is good").config
        };
        let before = load(text);
        for (old, new, name) in [
            ("edge-a", "edge-b", "node"),
            ("127.0.0.1/32", "127.0.0.2/32", "admin"),
            ("access = \"json\"", "access = \"off\"", "log"),
            ("ops@", "it@", "acme.le"),
            (":8080", ":8081", "listener.web"),
            ("10.0.0.0/8", "10.0.0.0/9", "middleware.office"),
            ("match = \"/*\"", "match = \"/a/*\"", "route.all"),
            (":81", ":82", "pool.up"),
            ("run = [\"jobs\"]", "run = [\"job\"]", "app.jobs"),
        ] {
            let after = text.replace(old, new);
            assert_eq!(between(&before, &load(&after)).changed, [name], "{old} -> {new}");
        }
        let moved = text.replace("[route.all]", "\n\n[route.all]");
        assert_eq!(between(&before, &load(&moved)), PlanChange::default());
    }
}
