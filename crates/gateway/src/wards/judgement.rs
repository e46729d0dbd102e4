//! Whether a pool as a whole can serve.

use evergate_core::health::{Reason, State};

use super::Wards;
use crate::plan::Plan;

impl Wards {
    /// Whether some server of a pool is up; else why not. Nothing while that is not known: there is
    /// no such pool, or no server is known to be up and the checks of some have not ended yet.
    pub(crate) fn judge(&self, plan: &Plan, pool: &str) -> Option<Result<(), String>> {
        let pool = plan.pool(pool)?;
        let mut failed = Vec::new();
        let mut is_unknown = false;
        for endpoint in pool.endpoints.iter().filter(|endpoint| !endpoint.is_leaving()) {
            let Some(ward) = self.wards.get(&endpoint.uid) else { continue };
            let verdict = ward.health.verdict();
            match (verdict.state, &verdict.reason) {
                _ if endpoint.address.is_none() => {
                    failed.push((&endpoint.name, "its name does not resolve".to_owned()));
                }
                (State::Up, Reason::NotYetChecked) => is_unknown = true,
                (State::Up, _) => return Some(Ok(())),
                (State::Down | State::Draining, reason) => {
                    failed.push((&endpoint.name, reason.to_string()));
                }
            }
        }
        if is_unknown {
            return None;
        }
        let apps: Vec<_> = pool.apps.iter().map(|(app, _)| app.as_str()).collect();
        Some(Err(match (&failed[..], &apps[..]) {
            ([], []) => "it has no servers".to_owned(),
            ([], apps) => format!("no instance of {} is ready", apps.join(", ")),
            ([(name, why)], _) => format!("no server is up: {name}: {why}"),
            ([(name, why), rest @ ..], _) => {
                format!("no server is up: {name}: {why}; and {} more", rest.len())
            }
        }))
    }
}
