//! The difference between two configurations, by name.

use std::collections::BTreeMap;
use std::fmt::Debug;

use evergate_config::Config;
use evergate_control::snapshot::PlanChange;

/// What `after` adds to, changes in and removes from `before`.
pub(crate) fn between(before: &Config, after: &Config) -> PlanChange {
    let mut change = PlanChange::default();
    section(&mut change, "listener", &before.listeners, &after.listeners);
    section(&mut change, "route", &before.routes, &after.routes);
    section(&mut change, "middleware", &before.middleware, &after.middleware);
    section(&mut change, "app", &before.apps, &after.apps);
    section(&mut change, "pool", &before.pools, &after.pools);
    single(&mut change, "node", &before.node, &after.node);
    single(&mut change, "admin", &before.admin, &after.admin);
    single(&mut change, "log", &before.log, &after.log);
    change
}

/// Values are told apart by what they show, except that secrets show nothing: a section with
/// secrets counts as changed only if something else in it is.
fn section<T: Debug>(
    change: &mut PlanChange,
    name: &str,
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
) {
    for (key, value) in after {
        match before.get(key) {
            None => change.added.push(format!("{name}.{key}")),
            Some(old) if shown(old) != shown(value) => {
                change.changed.push(format!("{name}.{key}"));
            }
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    change.removed.extend(gone.map(|key| format!("{name}.{key}")));
}

fn single<T: Debug>(change: &mut PlanChange, name: &str, before: &T, after: &T) {
    if shown(before) != shown(after) {
        change.changed.push(name.to_owned());
    }
}

fn shown(value: &impl Debug) -> String {
    format!("{value:?}")
}
