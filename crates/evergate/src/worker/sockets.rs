//! Which addresses a configuration wants listened on.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use evergate_config::Config;
use evergate_control::link::{Address, Desired, Listener, Outcome};

use super::{apps, standby};

/// The name of the admin API among the listeners.
pub(super) const ADMIN: &str = "admin";
/// Who may open the admin socket: its owner and its group.
const ADMIN_MODE: u32 = 0o660;

/// An address of a listener, as desired.
pub(super) type Key = (String, Address);

/// What listening on an address came to.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) outcome: Outcome,
    pub(super) sockets: Vec<OwnedFd>,
}

/// Everything the keeper should do for `config`.
pub(super) fn desired(config: &Config, threads: u16) -> Desired {
    let mut listeners = Vec::new();
    for (name, listener) in &config.listeners {
        for address in &listener.bind {
            let address = Address::Tcp(*address);
            listeners.push(Listener { name: name.clone(), address, sockets: threads });
        }
    }
    let admin = |address| Listener { name: ADMIN.to_owned(), address, sockets: 1 };
    let socket = config.node.run_dir.join("admin.sock");
    if let Some(path) = socket.to_str() {
        listeners.push(admin(Address::Unix { path: path.to_owned(), mode: ADMIN_MODE }));
    }
    listeners.extend(config.admin.bind.iter().map(|address| admin(Address::Tcp(*address))));
    let run_dir = config.node.run_dir.to_str().map(str::to_owned);
    Desired { apps: apps::desired(config), listeners, run_dir, standby: standby::desired(config) }
}

/// `wanted` with every listener of `kept` beside it, so that nothing closes yet.
pub(super) fn union(wanted: &Desired, kept: &Desired) -> Desired {
    let mut both = wanted.clone();
    let missing = kept.listeners.iter().filter(|old| {
        !wanted.listeners.iter().any(|new| (&new.name, &new.address) == (&old.name, &old.address))
    });
    both.listeners.extend(missing.cloned());
    both.apps.clone_from(&kept.apps);
    both.run_dir.clone_from(&kept.run_dir);
    both.standby.clone_from(&kept.standby);
    both
}

/// Whether `bound` has fewer sockets than are `desired`.
pub(super) fn are_missing(desired: &Desired, bound: &BTreeMap<Key, Bound>) -> bool {
    desired.listeners.iter().any(|listener| {
        let bound = bound.get(&(listener.name.clone(), listener.address.clone()));
        bound.is_none_or(|bound| bound.sockets.len() < usize::from(listener.sockets))
    })
}

/// Every failure in `bound`, a line each.
pub(super) fn failures(bound: &BTreeMap<Key, Bound>) -> Vec<String> {
    let failed = bound.iter().filter_map(|((name, _), bound)| match &bound.outcome {
        Outcome::Failed(why) if name == ADMIN => Some(format!("admin: {why}")),
        Outcome::Failed(why) => Some(format!("listener.{name}: {why}")),
        Outcome::Bound(_) => None,
    });
    failed.collect()
}

/// `ip:port` or a path.
pub(super) fn text(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix { path, .. } => path.clone(),
    }
}
