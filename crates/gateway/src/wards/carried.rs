//! What is known of servers, on its way from one worker to the next.

pub(super) use evergate_control::state::Server;

use std::sync::Arc;

use evergate_control::link::Run;
use evergate_control::state;
use evergate_core::health::Health;
use evergate_core::time::Instant;

use super::{Ward, Wards, Wish};
use crate::endpoint::Endpoint;
use crate::plan::Plan;

/// Which server: what it is called, which run it is, and where it is meant to be.
pub(super) type Key = (String, String, Option<Run>, String);

pub(super) fn key(endpoint: &Endpoint) -> Key {
    let Endpoint { pool, name, run, authority, .. } = endpoint;
    (pool.clone(), name.clone(), run.clone(), authority.clone())
}

impl Wards {
    /// What is known of every server, and what the operator wants.
    pub(crate) fn carry(&self, plan: &Plan) -> (Vec<Server>, Vec<state::Wish>) {
        let endpoints = plan.pools.iter().flat_map(|pool| &pool.endpoints);
        let wards = endpoints.filter_map(|endpoint| self.wards.get(&endpoint.uid));
        let servers = wards.map(Ward::carry);
        let wishes = self.wishes.iter().map(|((pool, server), wish)| state::Wish {
            pool: pool.clone(),
            server: server.clone(),
            drain: wish.drain,
            weight: wish.weight,
        });
        (servers.collect(), wishes.collect())
    }

    /// Goes on from what another worker knew: nothing that was down has to fail again to be down,
    /// and nothing that was up starts slowly. Servers that it says nothing about stay as they are.
    pub(crate) fn inherit(
        &mut self,
        plan: &Plan,
        servers: Vec<Server>,
        wishes: Vec<state::Wish>,
        now: Instant,
    ) {
        self.wishes = wishes
            .into_iter()
            .map(|one| ((one.pool, one.server), Wish { drain: one.drain, weight: one.weight }))
            .filter(|((pool, server), _)| plan.pool(pool).is_some_and(|pool| pool.has(server)))
            .collect();
        self.inherited = servers
            .into_iter()
            .map(|server| {
                let Server { pool, name, run, authority, .. } = &server;
                ((pool.clone(), name.clone(), run.clone(), authority.clone()), server)
            })
            .collect();
        for pool in &plan.pools {
            for endpoint in &pool.endpoints {
                let Some(mut ward) = self.wards.remove(&endpoint.uid) else { continue };
                match self.inherited.remove(&key(endpoint)) {
                    Some(server) => self.resume(&mut ward, server, now),
                    None => {
                        let name = (pool.name.clone(), endpoint.name.clone());
                        ward.wish(self.wishes.get(&name).copied().unwrap_or_default(), now);
                    }
                }
                ward.tell(pool);
                self.wards.insert(endpoint.uid, ward);
            }
        }
        // A run may be told of later. What else is not in the configuration is forgotten: if it
        // ever comes back, this is old.
        self.inherited.retain(|_, server| server.run.is_some());
    }

    /// Goes on from what another worker knew of one server.
    pub(super) fn resume(&mut self, ward: &mut Ward, server: Server, now: Instant) {
        let uid = ward.endpoint.uid;
        ward.health = Health::resume(ward.policy.clone(), server.health, now);
        ward.since = server.since.min(now);
        ward.endpoint.inherit(server.latency, server.failures_in_a_row);
        self.timetable.retain(|(_, other, _)| *other != uid);
        for ((next, at), check) in
            ward.checks_at.iter_mut().zip(server.checks_at).zip(&ward.policy.checks)
        {
            // Never later than a check of this policy could be due.
            *next = at.min(now + check.every + check.every / 10);
        }
        self.enter_checks(ward, now);
        self.schedule_look(ward);
    }
}

impl Ward {
    fn carry(&self) -> Server {
        let endpoint = Arc::clone(&self.endpoint);
        let (pool, name, run, authority) = key(&endpoint);
        Server {
            pool,
            name,
            run,
            authority,
            health: self.health.carried(),
            since: self.since,
            checks_at: self.checks_at.clone(),
            failures_in_a_row: endpoint.failures_in_a_row(),
            latency: endpoint.seen_latency(),
        }
    }
}
