//! How pools are: each server for people, and the pool as a whole for whoever depends on it.

use std::collections::BTreeSet;

use evergate_control::snapshot::{Health, PoolStatus};
use evergate_sys::clock;

use super::Gateway;
use crate::explain;

impl Gateway {
    /// The state of every pool, in order of name.
    pub fn pools(&self) -> Vec<PoolStatus> {
        let now = clock::now();
        let status = self.plan.pools.iter().map(|pool| {
            let servers = self.wards.status(&self.plan, &pool.name, now);
            let up = servers.iter().filter(|server| server.state == "up");
            let up = up.map(|server| &server.name).collect::<BTreeSet<_>>().len();
            PoolStatus {
                name: pool.name.clone(),
                balance: explain::balance_word(pool.balance).to_owned(),
                health: match up {
                    0 => Health::Down,
                    up if up < pool.expected => Health::Degraded,
                    _ => Health::Healthy,
                },
                expected: u32::try_from(pool.expected).unwrap_or(u32::MAX),
                servers,
            }
        });
        status.collect()
    }

    /// Whether some server of a pool is up; else why not. Nothing while that is not known. May have
    /// changed after whatever changes the gateway, and after every [`Gateway::turn`].
    pub fn judge(&self, pool: &str) -> Option<Result<(), String>> {
        self.wards.judge(&self.plan, pool)
    }
}
