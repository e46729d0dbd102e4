//! Which app waits for which.
//!
//! Apps start after those that they come after, and end before them. An app never waits for one
//! that, through others, waits for it: a cycle blocks nobody.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// What each app comes after. What is not a key of it is no app.
#[derive(Debug)]
pub(super) struct Order<'a>(BTreeMap<&'a str, &'a [String]>);

impl<'a> Order<'a> {
    pub(super) fn new(apps: impl Iterator<Item = (&'a str, &'a [String])>) -> Self {
        Self(apps.collect())
    }

    /// The apps that must be ready before `app` starts.
    pub(super) fn before(&self, app: &'a str) -> Vec<&'a str> {
        let all = self.after(app).iter().map(String::as_str);
        all.filter(|other| self.0.contains_key(other) && !self.comes_after(other, app)).collect()
    }

    /// The apps that must have ended before `app` ends.
    pub(super) fn behind(&self, app: &'a str) -> Vec<&'a str> {
        let names = self.0.keys().copied();
        names.filter(|other| self.before(other).contains(&app)).collect()
    }

    fn after(&self, app: &str) -> &'a [String] {
        self.0.get(app).copied().unwrap_or_default()
    }

    /// Whether `one` comes after `other`, through any number of apps.
    fn comes_after(&self, one: &'a str, other: &str) -> bool {
        let mut open = Vec::from([one]);
        let mut seen = BTreeSet::new();
        while let Some(app) = open.pop() {
            if app == other {
                return true;
            }
            if seen.insert(app) {
                open.extend(self.after(app).iter().map(String::as_str));
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::ToOwned;

    use super::*;

    #[test]
    fn apps_wait_for_those_before_and_never_in_a_circle() {
        let after: [(&str, &[&str]); 7] = [
            ("cache", &[]),
            ("db", &["missing"]),
            ("api", &["db", "cache"]),
            ("web", &["api"]),
            ("hen", &["egg", "db"]),
            ("egg", &["hen"]),
            ("self", &["self"]),
        ];
        let owned: Vec<(&str, Vec<String>)> =
            after.map(|(name, after)| (name, after.iter().map(|&s| s.to_owned()).collect())).into();
        let order = Order::new(owned.iter().map(|(name, after)| (*name, after.as_slice())));
        let table: [(&str, &[&str], &[&str]); 7] = [
            ("cache", &[], &["api"]),
            ("db", &[], &["api", "hen"]),
            ("api", &["db", "cache"], &["web"]),
            ("web", &["api"], &[]),
            ("hen", &["db"], &[]),
            ("egg", &[], &[]),
            ("self", &[], &[]),
        ];
        for (app, before, behind) in table {
            assert_eq!(order.before(app), before, "before {app}");
            assert_eq!(order.behind(app), behind, "behind {app}");
        }
    }
}
