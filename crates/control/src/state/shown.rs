//! Counters as they are shown, and as they are carried.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    Counters, ListenerCounters, OutputCounters, PoolCounters, RouteCounters, ServerCounters,
};
use crate::snapshot::{Histogram, InstanceStatus, Stats, Status};

/// The role whose CPU time is carried; the keeper's process stays the same.
const WORKER: &str = "worker";

impl Counters {
    /// The counters of `stats`.
    pub fn of(stats: &Stats) -> Self {
        let listeners = stats.listeners.iter().map(|one| {
            let tls = one.tls.as_ref();
            let counters = ListenerCounters {
                accepted: one.accepted,
                rejected: map(&one.rejected),
                protocols: map(&one.protocols),
                floods: map(&one.floods),
                proxy_refused: map(&one.proxy_refused),
                handshakes: tls.map(|tls| map(&tls.handshakes)).unwrap_or_default(),
                resumed: tls.map_or(0, |tls| tls.resumed),
                failures: tls.map(|tls| map(&tls.failures)).unwrap_or_default(),
            };
            (one.name.clone(), counters)
        });
        let routes = stats.routes.iter().map(|one| {
            let buckets = one.duration.buckets.iter();
            let counters = RouteCounters {
                statuses: map(&one.statuses),
                durations: buckets.map(|(bound, count)| (bound.to_bits(), *count)).collect(),
                duration_nanos: nanos(one.duration.sum),
                count: one.duration.count,
                received_bytes: one.received_bytes,
                sent_bytes: one.sent_bytes,
            };
            (one.name.clone(), counters)
        });
        let pools = stats.pools.iter().map(|one| {
            let servers = one.servers.iter().map(|server| {
                let (requests, failures) = (server.requests, server.failures);
                (server.name.clone(), ServerCounters { requests, failures })
            });
            let counters = PoolCounters {
                retries: one.retries,
                retries_denied: one.retries_denied,
                no_server: one.no_server,
                connects: one.connects,
                reuses: one.reuses,
                servers: servers.collect(),
            };
            (one.name.clone(), counters)
        });
        // Two runs of one instance share its counts.
        let outputs = stats.apps.iter().map(|one| {
            let output = OutputCounters {
                lines: one.output.lines,
                bytes: one.output.bytes,
                dropped_bytes: one.output.dropped_bytes,
            };
            ((one.app.clone(), one.number), output)
        });
        let cpu = stats.cpu_seconds.iter().find(|(role, _)| role == WORKER);
        Self {
            listeners: listeners.collect(),
            routes: routes.collect(),
            pools: pools.collect(),
            acme: stats.acme.iter().map(|one| (one.name.clone(), map(&one.orders))).collect(),
            outputs: outputs.collect(),
            rejects: map(&stats.rejects),
            log_lines: stats.log_lines,
            log_dropped: stats.log_dropped,
            panics: stats.panics,
            reloads: stats.reloads,
            reloads_failed: stats.reloads_failed,
            cpu_nanos: cpu.map_or(0, |(_, seconds)| nanos(duration(*seconds))),
        }
    }
}

impl Stats {
    /// Counts what others have counted too, under each name that is there.
    pub fn add(&mut self, more: &Counters) {
        for one in &mut self.listeners {
            let Some(more) = more.listeners.get(&one.name) else { continue };
            grow(&mut one.accepted, more.accepted);
            add(&mut one.rejected, &more.rejected);
            add(&mut one.protocols, &more.protocols);
            add(&mut one.floods, &more.floods);
            add(&mut one.proxy_refused, &more.proxy_refused);
            if let Some(tls) = &mut one.tls {
                add(&mut tls.handshakes, &more.handshakes);
                grow(&mut tls.resumed, more.resumed);
                add(&mut tls.failures, &more.failures);
            }
        }
        for one in &mut self.routes {
            let Some(more) = more.routes.get(&one.name) else { continue };
            add(&mut one.statuses, &more.statuses);
            more.add_durations(&mut one.duration);
            grow(&mut one.received_bytes, more.received_bytes);
            grow(&mut one.sent_bytes, more.sent_bytes);
        }
        for one in &mut self.pools {
            let Some(more) = more.pools.get(&one.name) else { continue };
            grow(&mut one.retries, more.retries);
            grow(&mut one.retries_denied, more.retries_denied);
            grow(&mut one.no_server, more.no_server);
            grow(&mut one.connects, more.connects);
            grow(&mut one.reuses, more.reuses);
            for server in &mut one.servers {
                let Some(more) = more.servers.get(&server.name) else { continue };
                grow(&mut server.requests, more.requests);
                grow(&mut server.failures, more.failures);
            }
        }
        for one in &mut self.acme {
            let Some(more) = more.acme.get(&one.name) else { continue };
            add(&mut one.orders, more);
        }
        grow_outputs(&mut self.apps, more);
        add(&mut self.rejects, &more.rejects);
        grow(&mut self.log_lines, more.log_lines);
        grow(&mut self.log_dropped, more.log_dropped);
        grow(&mut self.panics, more.panics);
        grow(&mut self.reloads, more.reloads);
        grow(&mut self.reloads_failed, more.reloads_failed);
        for (_, seconds) in self.cpu_seconds.iter_mut().filter(|(role, _)| role == WORKER) {
            *seconds += Duration::from_nanos(more.cpu_nanos).as_secs_f64();
        }
    }
}

impl Status {
    /// Counts what others have counted too, under each name that is there.
    pub fn add(&mut self, more: &Counters) {
        for one in &mut self.routes {
            let Some(more) = more.routes.get(&one.name) else { continue };
            for (&status, &count) in &more.statuses {
                grow(&mut one.requests, count);
                grow(&mut one.errors, if status >= 500 { count } else { 0 });
            }
        }
        for pool in &mut self.pools {
            let Some(more) = more.pools.get(&pool.name) else { continue };
            for (name, more) in &more.servers {
                // The newest run of an instance stands for those before it.
                let mut servers = pool.servers.iter_mut().rev();
                let Some(one) = servers.find(|one| one.name == *name) else { continue };
                grow(&mut one.requests, more.requests);
                grow(&mut one.failures, more.failures);
            }
        }
        grow_outputs(&mut self.apps, more);
    }
}

impl RouteCounters {
    fn add_durations(&self, histogram: &mut Histogram) {
        for (&bits, &count) in self.durations.iter().filter(|(_, count)| **count > 0) {
            let bound = f64::from_bits(bits);
            if !bound.is_finite() {
                continue;
            }
            let at = histogram.buckets.partition_point(|(other, _)| *other < bound);
            match histogram.buckets.get_mut(at) {
                Some((other, into)) if *other == bound => grow(into, count),
                Some(_) | None => histogram.buckets.insert(at, (bound, count)),
            }
        }
        histogram.sum = histogram.sum.saturating_add(Duration::from_nanos(self.duration_nanos));
        grow(&mut histogram.count, self.count);
    }
}

fn grow_outputs(apps: &mut [InstanceStatus], more: &Counters) {
    for one in apps {
        let Some(more) = more.outputs.get(&(one.app.clone(), one.number)) else { continue };
        grow(&mut one.output.lines, more.lines);
        grow(&mut one.output.bytes, more.bytes);
        grow(&mut one.output.dropped_bytes, more.dropped_bytes);
    }
}

fn grow(into: &mut u64, by: u64) {
    *into = into.saturating_add(by);
}

fn map<K: Clone + Ord>(pairs: &[(K, u64)]) -> BTreeMap<K, u64> {
    pairs.iter().cloned().collect()
}

/// Adds to what is there, and puts in what is not; a list in order stays in order.
fn add<K: Clone + Ord>(pairs: &mut Vec<(K, u64)>, more: &BTreeMap<K, u64>) {
    for (key, &count) in more.iter().filter(|(_, count)| **count > 0) {
        match pairs.iter_mut().find(|(other, _)| other == key) {
            Some((_, into)) => grow(into, count),
            None => {
                let at = pairs.partition_point(|(other, _)| other < key);
                pairs.insert(at, (key.clone(), count));
            }
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
