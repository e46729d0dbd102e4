//! Whom apps run as.
//!
//! The keeper starts processes as a user only if the worker named that user before it gave its
//! rights away: what a worker says later may come from whoever took it over (see
//! `docs/decisions/017-users-of-apps.md`).

use std::collections::{BTreeMap, BTreeSet};

use evergate_config::{App, Config};
use evergate_control::link::Desired;
use evergate_sys::privilege;

/// Whom the keeper of this worker starts processes as.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Users {
    /// These, and whoever we became.
    Named(BTreeSet<String>),
    /// Ourselves: neither we nor the keeper have ever been root.
    Ourselves,
}

impl Users {
    /// Those of `config`; to be asked before rights are given away.
    pub(super) fn of(config: &Config) -> Self {
        if privilege::is_root() {
            Self::Named(config.apps.values().filter_map(|app| app.user.clone()).collect())
        } else {
            Self::Ourselves
        }
    }

    /// Those that the keeper has to be told of.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Named(names) => names.iter().cloned().collect(),
            Self::Ourselves => Vec::new(),
        }
    }

    /// A line for each app whose user will never do, with help.
    pub(super) fn refusals(&self, config: &Config) -> Vec<String> {
        let refusal = |name: &String, app: &App| {
            let user = app.user.as_ref()?;
            let key = format!("app.{name}.user");
            match (privilege::user(user), self) {
                (Err(error), _) => {
                    Some(format!("{key}: {error}; name one that exists, or make this one"))
                }
                (Ok(found), Self::Ourselves) if found.uid != privilege::current_uid() => {
                    Some(format!(
                        "{key}: only root can start processes as `{user}`; start Evergate as root, \
                         or remove the key"
                    ))
                }
                (Ok(_), Self::Ourselves | Self::Named(_)) => None,
            }
        };
        config.apps.iter().filter_map(|(name, app)| refusal(name, app)).collect()
    }

    /// Keys that wait for a worker that can name their users.
    pub(super) fn late_keys(&self, config: &Config) -> Vec<String> {
        let is_late = |app: &App| app.user.as_deref().is_some_and(|user| !self.is_known(user));
        let late = config.apps.iter().filter(|(_, app)| is_late(app));
        late.map(|(name, _)| format!("app.{name}.user")).collect()
    }

    /// Has apps of `before` whose new user must wait keep the one that they have.
    pub(super) fn hold_back(&self, wanted: &mut Desired, before: &Desired) {
        let before: BTreeMap<_, _> = before.apps.iter().map(|app| (&app.name, &app.user)).collect();
        for app in &mut wanted.apps {
            let is_late = app.user.as_deref().is_some_and(|user| !self.is_known(user));
            if let (true, Some(old)) = (is_late, before.get(&app.name)) {
                app.user.clone_from(old);
            }
        }
    }

    fn is_known(&self, user: &str) -> bool {
        match self {
            Self::Named(names) => names.contains(user),
            // Who it must be was checked.
            Self::Ourselves => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use evergate_control::link;

    use super::*;

    fn desired(users: &[(&str, Option<&str>)]) -> Desired {
        let apps = users.iter().map(|(name, user)| link::App {
            name: (*name).to_owned(),
            user: user.map(str::to_owned),
            ..link::App::default()
        });
        Desired { apps: apps.collect(), ..Desired::default() }
    }

    #[test]
    fn an_app_keeps_its_user_until_the_new_one_can_be_named() {
        let users = Users::Named(BTreeSet::from(["shop".to_owned(), "db".to_owned()]));
        let before = desired(&[("shop", Some("shop")), ("plain", None), ("db", Some("db"))]);
        let cases = [
            ("shop", Some("stranger"), Some("shop")),
            ("shop", Some("db"), Some("db")),
            ("shop", None, None),
            ("plain", Some("stranger"), None),
            ("plain", Some("shop"), Some("shop")),
            // Nothing to keep: the keeper says why it does not start.
            ("new", Some("stranger"), Some("stranger")),
        ];
        for (name, new, expected) in cases {
            let mut wanted = desired(&[(name, new)]);
            users.hold_back(&mut wanted, &before);
            assert_eq!(wanted.apps[0].user.as_deref(), expected, "{name} as {new:?}");
        }
    }
}
