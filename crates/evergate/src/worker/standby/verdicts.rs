//! What the keeper is told of pools that virtual addresses track.
//!
//! The keeper decides what follows from it, and goes by the last word while there is no worker: so
//! nothing is said of a pool before something is known of it, or each start of a worker would be
//! taken for a failure of what it has not looked at yet.

use std::collections::{BTreeMap, BTreeSet};

use evergate_config::{Config, Target};
use evergate_control::link::ToKeeper;
use evergate_core::track::Subject;
use evergate_gateway::Gateway;

use crate::worker::control_plane::ControlPlane;

/// What the keeper knows.
#[derive(Debug, Default)]
pub(in crate::worker) struct Verdicts {
    /// By pool: why it fails, if it does.
    told: BTreeMap<String, Option<String>>,
    /// Whether the keeper has said yet which instances are ready.
    knows_instances: bool,
}

impl Verdicts {
    /// The keeper has said which instances are ready.
    pub(in crate::worker) fn instances_are_known(&mut self) {
        self.knows_instances = true;
    }

    /// Another worker may have told the keeper other things.
    pub(in crate::worker) fn forget(&mut self) {
        self.told.clear();
    }

    /// What of `judge` the keeper does not know yet.
    fn news(
        &mut self,
        config: &Config,
        judge: impl Fn(&str) -> Option<Result<(), String>>,
    ) -> Vec<(String, Option<String>)> {
        let tracked = tracked(config);
        self.told.retain(|pool, _| tracked.contains(pool.as_str()));
        let mut news = Vec::new();
        for pool in tracked {
            let Some(outcome) = judge(pool) else { continue };
            let failure = outcome.err();
            if failure.is_some() && !self.knows_instances && has_apps(config, pool) {
                continue;
            }
            if self.told.get(pool) != Some(&failure) {
                self.told.insert(pool.to_owned(), failure.clone());
                news.push((pool.to_owned(), failure));
            }
        }
        news
    }
}

impl ControlPlane {
    /// Tells the keeper what has become of pools that it tracks.
    pub(in crate::worker) fn tell_verdicts(&mut self) {
        if !self.role.is_primary() || self.gateway.config().vips.is_empty() {
            return;
        }
        let gateway: &Gateway = &self.gateway;
        let news = self.verdicts.news(gateway.config(), |pool| gateway.judge(pool));
        for (pool, failure) in news {
            self.tell_keeper(&ToKeeper::Verdict { subject: Subject::Pool(pool), failure });
        }
    }
}

/// The pools that virtual addresses track.
fn tracked(config: &Config) -> BTreeSet<&str> {
    let rules = config.vips.values().flat_map(|vip| &vip.track);
    let pools = rules.filter_map(|rule| match &rule.subject {
        Subject::Pool(name) => Some(name.as_str()),
        Subject::Listener(_) | Subject::App(_) | Subject::Link(_) | Subject::Gateway(_) => None,
    });
    pools.collect()
}

fn has_apps(config: &Config, pool: &str) -> bool {
    let servers = config.pools.get(pool).into_iter().flat_map(|pool| pool.servers.values());
    servers.into_iter().any(|server| matches!(server.target, Target::App(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::apps::tests::config;

    const TEXT: &str = "[pool.api]\nservers = { a = { url = \"http://10.0.0.7:1\" } }\n\
        [pool.shop]\nservers = { shop = { app = \"shop\" } }\n\
        [pool.other]\nservers = { a = { url = \"http://10.0.0.7:1\" } }\n\
        [app.shop]\nrun = [\"/bin/shop\"]\n\
        [vip.web]\naddress = [\"10.0.0.100/24\"]\ninterface = \"eth0\"\nrouter_id = 51\n\
        track = { pool = { api = \"fault\", shop = \"fault\" }, listener.web = \"fault\" }\n";

    fn failing(_: &str) -> Option<Result<(), String>> {
        Some(Err("no server is up".to_owned()))
    }

    #[test]
    fn only_what_is_tracked_and_new_is_told() {
        let config = config(TEXT);
        let mut verdicts = Verdicts::default();
        verdicts.instances_are_known();
        assert_eq!(verdicts.news(&config, |_| None), [], "nothing is known");
        let well = |_: &str| Some(Ok(()));
        let both = [("api".to_owned(), None), ("shop".to_owned(), None)];
        assert_eq!(verdicts.news(&config, well), both);
        assert_eq!(verdicts.news(&config, well), []);
        let one = |pool: &str| if pool == "api" { failing(pool) } else { well(pool) };
        let told = [("api".to_owned(), Some("no server is up".to_owned()))];
        assert_eq!(verdicts.news(&config, one), told);
        assert_eq!(verdicts.news(&config, one), []);
        verdicts.forget();
        assert_eq!(verdicts.news(&config, one).len(), 2);
    }

    #[test]
    fn instances_that_were_not_heard_of_are_not_missing() {
        let config = config(TEXT);
        let mut verdicts = Verdicts::default();
        let told: Vec<_> =
            verdicts.news(&config, failing).into_iter().map(|(pool, _)| pool).collect();
        assert_eq!(told, ["api"]);
        verdicts.instances_are_known();
        let told: Vec<_> =
            verdicts.news(&config, failing).into_iter().map(|(pool, _)| pool).collect();
        assert_eq!(told, ["shop"]);
    }
}
