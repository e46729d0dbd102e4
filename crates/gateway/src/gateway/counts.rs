//! What the gateway counts, gathered from its threads.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering::Relaxed;

use evergate_control::snapshot::{
    ListenerStats, PoolStats, RouteStats, RouteStatus, ServerStatus, Stats,
};
use evergate_core::time::Instant;
use evergate_sys::clock;

use super::Gateway;
use crate::data_plane::ShardCounts;
use crate::explain;
use crate::histogram::Histogram;
use crate::listener::GateCounts;
use crate::plan::RouteAction;
use crate::pool_local::RouteCounters;
use crate::proxy_header::ProxyRefusal;

impl Gateway {
    /// The state of every route, in order of name.
    pub async fn routes(&self) -> Vec<RouteStatus> {
        let counts = self.data.counts().await;
        let mut by_name: HashMap<&str, (u64, u64)> = HashMap::new();
        for (name, counters) in counts.iter().flat_map(|shard| &shard.routes) {
            let (requests, errors) = by_name.entry(name).or_default();
            for (status, count) in &counters.statuses {
                *requests += count;
                *errors += if *status >= 500 { *count } else { 0 };
            }
        }
        let routes = self.plan.routes.iter().map(|route| {
            let (requests, errors) = by_name.get(route.name.as_str()).copied().unwrap_or_default();
            RouteStatus {
                name: route.name.clone(),
                pattern: route.pattern.clone(),
                action: explain::describe(&self.plan, &route.action),
                middleware: route.middleware.clone(),
                requests,
                errors,
            }
        });
        routes.collect()
    }

    /// Every counter of the data plane; the rest of `Stats` is left as it is by default.
    pub async fn stats(&self) -> Stats {
        let counts = self.data.counts().await;
        let mut rejects: BTreeMap<&str, u64> = BTreeMap::new();
        for (reason, count) in counts.iter().flat_map(|shard| &shard.rejects) {
            *rejects.entry(reason).or_default() += count;
        }
        let log = self.log.counts();
        Stats {
            config_generation: self.plan.generation,
            listeners: self.listener_stats(),
            routes: self.route_stats(&counts),
            pools: self.pool_stats(&counts),
            rejects: rejects.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
            log_lines: log.written.load(Relaxed),
            log_dropped: log.dropped.load(Relaxed) + self.events.unprinted(),
            panics: counts.iter().map(|shard| shard.panics).sum(),
            ..Stats::default()
        }
    }

    fn listener_stats(&self) -> Vec<ListenerStats> {
        let stats = self.plan.listeners.values().map(|listener| {
            let gate = self.gates.get(&listener.name);
            let counts = gate.map(|gate| gate.counts()).unwrap_or_default();
            ListenerStats {
                name: listener.name.clone(),
                connections: counts.open,
                connections_max: u64::from(listener.limits.connections),
                accepted: counts.accepted,
                rejected: vec![
                    ("connections".to_owned(), counts.rejected_connections),
                    ("connections_per_ip".to_owned(), counts.rejected_per_ip),
                ],
                proxy_refused: match listener.proxy_protocol {
                    true => proxy_refused(&counts),
                    false => Vec::new(),
                },
                protocols: vec![
                    ("http/1.1".to_owned(), counts.http1),
                    ("h2".to_owned(), counts.http2),
                ],
                floods: counts.floods,
                tls: listener.tls.as_ref().and(gate).map(|gate| gate.handshakes().stats()),
            }
        });
        stats.collect()
    }

    fn route_stats(&self, counts: &[ShardCounts]) -> Vec<RouteStats> {
        let names = self.plan.routes.iter().map(|route| {
            let pool = match &route.action {
                RouteAction::Pool(id) => self.plan.pools[id.index()].name.as_str(),
                RouteAction::Files(_) | RouteAction::Local(_) => "",
            };
            (route.name.as_str(), pool)
        });
        let mut by_name: HashMap<&str, Vec<&RouteCounters>> = HashMap::new();
        for (name, counters) in counts.iter().flat_map(|shard| &shard.routes) {
            by_name.entry(name).or_default().push(counters);
        }
        let stats = names.chain([("-", "")]).map(|(name, pool)| {
            let mut statuses: BTreeMap<u16, u64> = BTreeMap::new();
            let mut duration = Histogram::default();
            let (mut received, mut sent) = (0, 0);
            for counters in by_name.get(name).into_iter().flatten() {
                for (status, count) in &counters.statuses {
                    *statuses.entry(*status).or_default() += count;
                }
                counters.duration.add_to(&mut duration);
                received += counters.received;
                sent += counters.sent;
            }
            RouteStats {
                name: name.to_owned(),
                pool: pool.to_owned(),
                statuses: statuses.into_iter().collect(),
                duration: duration.snapshot(),
                received_bytes: received,
                sent_bytes: sent,
            }
        });
        stats.collect()
    }

    /// The servers of a pool, the runs of one instance as one: what counts up goes on when one takes
    /// the place of another.
    fn merged(&self, pool: &str, now: Instant) -> Vec<ServerStatus> {
        let mut merged: Vec<ServerStatus> = Vec::new();
        for server in self.wards.status(&self.plan, pool, now) {
            match merged.last_mut().filter(|last| last.name == server.name) {
                Some(last) => {
                    let (requests, failures) = (last.requests, last.failures);
                    let (in_flight, tunnels) = (last.in_flight, last.tunnels);
                    let is_up = last.state == "up";
                    if !is_up || server.state == "up" {
                        *last = server.clone();
                    }
                    last.requests = requests + server.requests;
                    last.failures = failures + server.failures;
                    last.in_flight = in_flight + server.in_flight;
                    last.tunnels = tunnels + server.tunnels;
                }
                None => merged.push(server),
            }
        }
        for server in &mut merged {
            let (requests, failures) = self.runs.past_totals(pool, &server.name);
            server.requests += requests;
            server.failures += failures;
        }
        merged
    }

    fn pool_stats(&self, counts: &[ShardCounts]) -> Vec<PoolStats> {
        let now = clock::now();
        let stats = self.plan.pools.iter().map(|pool| {
            let mut stats = PoolStats {
                name: pool.name.clone(),
                servers: self.merged(&pool.name, now),
                ..PoolStats::default()
            };
            let shards = counts.iter().flat_map(|shard| &shard.pools);
            for (_, counters) in shards.filter(|(name, _)| *name == pool.name) {
                stats.retries += counters.retries.get();
                stats.retries_denied += counters.retries_denied.get();
                stats.no_server += counters.no_server.get();
                stats.connects += counters.connects.get();
                stats.reuses += counters.reuses.get();
            }
            stats
        });
        stats.collect()
    }
}

fn proxy_refused(counts: &GateCounts) -> Vec<(String, u64)> {
    let reasons = ProxyRefusal::ALL.iter().zip(counts.proxy_refused);
    reasons.map(|(refusal, count)| (refusal.as_str().to_owned(), count)).collect()
}
