//! What is tracked, and who says how it is: the worker of pools, the keeper itself of listeners, apps
//! and links. The machine is told of each once, and after each change.

use std::collections::{BTreeMap, BTreeSet};

use evergate_control::link::{Listener, Outcome};
use evergate_core::standby::Plan;
use evergate_core::time::Instant;
use evergate_core::track::Subject;
use minicbor::{Decode, Encode};

use super::backing::Backing;
use super::interface::Interfaces;
use crate::apps::Apps;

/// Most verdicts of a worker that are remembered.
const SAID_MAX: usize = 512;

/// Every verdict.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    tracked: BTreeSet<Subject>,
    /// Of which the machine was told.
    told: BTreeMap<Subject, Option<String>>,
    apps: BTreeMap<String, Backing>,
    /// At which change of the apps they were looked at.
    apps_seen: Option<u64>,
}

/// What was said of things that only others know. It is remembered also while nobody tracks them.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub(crate) struct Said {
    /// Of pools, by the worker: why they fail, if they do.
    #[n(0)]
    pools: BTreeMap<String, Option<String>>,
    /// Of listeners.
    #[n(1)]
    listeners: BTreeMap<String, Option<String>>,
}

impl Said {
    /// The worker has judged something.
    pub(crate) fn judge(&mut self, subject: Subject, failure: Option<String>) {
        match subject {
            Subject::Pool(name)
                if self.pools.len() < SAID_MAX || self.pools.contains_key(&name) =>
            {
                self.pools.insert(name, failure);
            }
            // Of the others it knows nothing that the keeper does not know better.
            Subject::Pool(_)
            | Subject::Listener(_)
            | Subject::App(_)
            | Subject::Link(_)
            | Subject::Gateway(_) => {}
        }
    }

    /// What became of listeners: of each address of one, in any order.
    pub(crate) fn listen<'a>(
        &mut self,
        outcomes: impl Iterator<Item = (&'a Listener, &'a Outcome)>,
    ) {
        self.listeners.clear();
        for (listener, outcome) in outcomes {
            let failure = self.listeners.entry(listener.name.clone()).or_default();
            match outcome {
                Outcome::Bound(_) => {}
                Outcome::Failed(why) => *failure = Some(why.clone()),
            }
        }
    }
}

impl Verdicts {
    /// From now on this is tracked.
    pub(super) fn apply(&mut self, plan: &Plan) {
        let rules = plan.routers.iter().flat_map(|router| &router.track);
        self.tracked = rules.map(|rule| rule.subject.clone()).collect();
        let is_tracked = |name: &String| self.tracked.contains(&Subject::App(name.clone()));
        self.apps.retain(|name, _| is_tracked(name));
        self.told.clear();
        self.apps_seen = None;
    }

    /// What the machine is to be told now.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        apps: &Apps,
        interfaces: &Interfaces,
        said: &Said,
    ) -> Vec<(Subject, Option<String>)> {
        let looks_at_apps =
            self.apps_seen != Some(apps.changes()) || self.deadline().is_some_and(|at| at <= now);
        self.apps_seen = Some(apps.changes());
        let mut news = Vec::new();
        for subject in &self.tracked {
            let failure = match subject {
                Subject::Listener(name) => {
                    let known = said.listeners.get(name);
                    known.map_or_else(|| Some("there is no such listener".to_owned()), Clone::clone)
                }
                // The machine knows what to make of a pool that nobody has judged yet.
                Subject::Pool(name) => match said.pools.get(name) {
                    Some(failure) => failure.clone(),
                    None => continue,
                },
                Subject::Link(name) => interfaces.failure(name),
                Subject::App(name) if looks_at_apps => {
                    let backing = self.apps.entry(name.clone()).or_default();
                    backing.judge(now, &apps.standing(now, name))
                }
                // Nothing new, or somebody else's to say.
                Subject::App(_) | Subject::Gateway(_) => continue,
            };
            if self.told.get(subject) != Some(&failure) {
                self.told.insert(subject.clone(), failure.clone());
                news.push((subject.clone(), failure));
            }
        }
        news
    }

    /// When to judge again, if nothing happens before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.apps.values().filter_map(Backing::deadline).min()
    }

    /// What is known of apps, for the next image.
    pub(super) fn carry(&self) -> BTreeMap<String, Backing> {
        self.apps.clone()
    }

    /// Goes on with what is known of apps.
    pub(super) fn resume(apps: BTreeMap<String, Backing>, plan: &Plan) -> Self {
        let mut verdicts = Self { apps, ..Self::default() };
        verdicts.apply(plan);
        verdicts
    }
}

#[cfg(test)]
mod tests {
    use evergate_control::link::Address;

    use super::*;

    #[test]
    fn a_listener_works_only_if_all_its_addresses_do() {
        let listener = |name: &str, port: u16| {
            let address = Address::Tcp(([0, 0, 0, 0], port).into());
            Listener { name: name.to_owned(), address, sockets: 1 }
        };
        let bound = Outcome::Bound(listener("any", 1).address);
        let failed = Outcome::Failed("somebody has port 443".to_owned());
        let (web, other, api) = (listener("web", 443), listener("web", 80), listener("api", 8080));
        let mut said = Said::default();
        said.listen([(&web, &failed), (&other, &bound), (&api, &bound)].into_iter());
        let why = said.listeners["web"].as_deref();
        assert_eq!((why, &said.listeners["api"]), (Some("somebody has port 443"), &None));
        said.listen([(&web, &bound)].into_iter());
        assert_eq!(said.listeners.len(), 1, "what is not wished for any more is forgotten");
        assert_eq!(said.listeners["web"], None);
    }

    #[test]
    fn a_worker_is_believed_of_pools_and_nothing_else() {
        let mut said = Said::default();
        said.judge(Subject::Link("eth0".to_owned()), None);
        said.judge(Subject::App("shop".to_owned()), None);
        for number in 0..SAID_MAX + 7 {
            said.judge(Subject::Pool(format!("pool-{number:04}")), None);
        }
        assert_eq!((said.pools.len(), said.listeners.len()), (SAID_MAX, 0));
        said.judge(Subject::Pool("pool-0000".to_owned()), Some("no server is up".to_owned()));
        assert_eq!(said.pools["pool-0000"].as_deref(), Some("no server is up"), "known before");
    }
}
