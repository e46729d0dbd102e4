//! Whom apps run as.
//!
//! The worker says what to run, and it faces the network. So it may say on whose behalf only while
//! it still has our rights: before it has heard anybody (see
//! `docs/decisions/017-users-of-apps.md`). Later it can only choose among those, and itself.

use std::collections::BTreeSet;

use evergate_sys::privilege::{self, User};
use minicbor::{Decode, Encode};

/// Most users that a worker may name.
pub(crate) const NAMED_MAX: usize = 256;

/// Who may be used.
#[derive(Debug, Default)]
pub(crate) struct Users {
    /// Whoever the worker is; only of interest to root.
    worker: Option<User>,
    named: BTreeSet<String>,
    /// Whether what is named comes from an earlier worker.
    is_old: bool,
    /// The users that more than one app runs as.
    shared: BTreeSet<u32>,
}

/// The same on its way into the next image of the keeper.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub(super) struct CarriedUsers {
    /// The worker's number, its group's, and its other groups'.
    #[n(0)]
    worker: Option<(u32, u32, Vec<u32>)>,
    #[n(1)]
    named: Vec<String>,
    #[n(2)]
    is_old: bool,
    #[n(3)]
    shared: Vec<u32>,
}

#[cfg(test)]
impl CarriedUsers {
    pub(super) fn sample() -> Self {
        Self {
            worker: Some((990, 991, vec![991, 992])),
            named: vec!["shop".to_owned()],
            is_old: true,
            shared: vec![1000],
        }
    }
}

impl Users {
    /// All that is known.
    pub(super) fn carry(&self) -> CarriedUsers {
        let worker = self.worker.as_ref();
        CarriedUsers {
            worker: worker.map(|user| (user.uid, user.gid, user.groups.clone())),
            named: self.named.iter().cloned().collect(),
            is_old: self.is_old,
            shared: self.shared.iter().copied().collect(),
        }
    }

    /// What was carried.
    pub(super) fn resume(carried: CarriedUsers) -> Self {
        let worker = carried.worker.map(|(uid, gid, groups)| User { uid, gid, groups });
        let named = carried.named.into_iter().take(NAMED_MAX).collect();
        Self { worker, named, is_old: carried.is_old, shared: carried.shared.into_iter().collect() }
    }

    /// Those too. Beyond [`NAMED_MAX`] they are dropped: starting an app will say so.
    pub(crate) fn name(&mut self, users: Vec<String>) {
        if std::mem::take(&mut self.is_old) {
            self.named.clear();
        }
        let room = NAMED_MAX.saturating_sub(self.named.len());
        self.named.extend(users.into_iter().take(room));
    }

    /// Another worker names for itself. Until it does, apps need those of before to come back.
    pub(crate) fn expect_names(&mut self) {
        self.is_old = true;
    }

    /// Says who the worker is.
    pub(crate) fn set_worker(&mut self, worker: Option<User>) {
        self.worker = worker;
    }

    /// Says whom apps run as: a name for each app that has one.
    pub(crate) fn set_apps<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let mut seen = BTreeSet::new();
        let ids = names.filter_map(|name| Some(privilege::user(name).ok()?.uid));
        self.shared = ids.filter(|&uid| !seen.insert(uid)).collect();
    }

    /// The user of this name if one app has it to itself, so that a limit on the user is one on
    /// the app. Root is bound by none.
    pub(super) fn own<'a>(&self, name: Option<&'a str>) -> Option<&'a str> {
        let name = name?;
        let user = self.find(Some(name)).ok()??;
        let is_worker = self.worker.as_ref().is_some_and(|worker| worker.uid == user.uid);
        let is_own = user.uid != 0 && !is_worker && !self.shared.contains(&user.uid);
        is_own.then_some(name)
    }

    /// Who the worker is, if that is another than we are.
    pub(crate) fn worker(&self) -> Option<&User> {
        self.worker.as_ref()
    }

    /// The user of this name, or without one whoever the worker is; `None` stands for ourselves.
    /// An error says how to mend it.
    pub(super) fn find(&self, name: Option<&str>) -> Result<Option<User>, String> {
        let Some(name) = name else {
            return Ok(self.worker.clone());
        };
        let user =
            privilege::user(name).map_err(|error| format!("cannot run as {name}: {error}"))?;
        if user.uid == privilege::current_uid() && !privilege::is_root() {
            return Ok(None);
        }
        if !privilege::is_root() {
            return Err(format!(
                "cannot run as {name}: only root may choose; start Evergate as root, or as {name}"
            ));
        }
        let is_worker = self.worker.as_ref().is_some_and(|worker| worker.uid == user.uid);
        if is_worker || self.named.contains(name) {
            return Ok(Some(user));
        }
        Err(format!(
            "cannot run as {name}: users are taken from the configuration only while Evergate \
             starts; restart Evergate so that the new user is accepted"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_users_and_the_worker_itself_are_used() {
        if !privilege::is_root() {
            let refused = Users::default().find(Some("root")).unwrap_err();
            assert!(refused.contains("only root may choose"), "{refused}");
            return;
        }
        let mut users = Users::default();
        assert_eq!(users.find(None), Ok(None));
        let nobody = privilege::user("65534").unwrap();
        let refused = users.find(Some("65534")).unwrap_err();
        assert!(
            refused.ends_with("restart Evergate so that the new user is accepted"),
            "{refused}"
        );
        users.name(vec!["65534".into()]);
        assert_eq!(users.find(Some("65534")), Ok(Some(nobody.clone())));
        users.expect_names();
        assert!(users.find(Some("65534")).is_ok(), "until the next worker has spoken");
        users.name(vec!["1".into()]);
        assert!(users.find(Some("65534")).is_err(), "it named another");
        users.set_worker(Some(nobody.clone()));
        assert_eq!(users.find(None), Ok(Some(nobody.clone())));
        assert_eq!(users.find(Some("65534")), Ok(Some(nobody)));
        let unknown = users.find(Some("no-such-user")).unwrap_err();
        assert!(unknown.contains("no user no-such-user"), "{unknown}");
    }
}
