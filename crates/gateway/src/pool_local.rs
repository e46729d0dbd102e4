//! What one thread keeps for each pool and route beside the shared plan.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::time::Duration;

use evergate_config::AllDown;
use evergate_core::balance::{Ask, Candidate, Picker};
use evergate_core::id::EndpointId;
use evergate_core::retry::Budget;
use evergate_core::rng::Rng;
use evergate_core::time::Instant;

use crate::endpoint::Endpoint;
use crate::histogram::Histogram;
use crate::http1;
use crate::http2::session::Sessions;
use crate::plan::Pool;
use crate::upstream::Upstream;

/// Upstream connections idle for longer are closed.
pub(crate) const UPSTREAM_IDLE_MAX: Duration = Duration::from_secs(60);

/// A pool, as one thread sees it.
#[derive(Debug)]
pub(crate) struct PoolLocal {
    pub(crate) pool: Arc<Pool>,
    /// The same in every plan, for requests in flight go by an earlier one.
    pub(crate) counters: Rc<PoolCounters>,
    /// The same as long as the policy is.
    pub(crate) budget: Rc<RefCell<Budget>>,
    endpoints: Vec<Rc<EndpointLocal>>,
    picker: RefCell<Picker>,
    seen: Cell<u64>,
}

/// Counters of a pool.
#[derive(Clone, Debug, Default)]
pub(crate) struct PoolCounters {
    pub(crate) retries: Cell<u64>,
    pub(crate) retries_denied: Cell<u64>,
    pub(crate) no_server: Cell<u64>,
    pub(crate) connects: Cell<u64>,
    pub(crate) reuses: Cell<u64>,
}

/// An endpoint, with this thread's idle connections to it.
#[derive(Debug)]
pub(crate) struct EndpointLocal {
    pub(crate) shared: Arc<Endpoint>,
    idle: RefCell<Vec<http1::upstream::Upstream>>,
    /// Made for the first request over HTTP/2.
    sessions: OnceCell<Rc<Sessions>>,
}

/// A route's counters.
#[derive(Debug)]
pub(crate) struct RouteLocal {
    pub(crate) name: String,
    pub(crate) counters: RefCell<RouteCounters>,
}

/// Counters of a route.
#[derive(Clone, Debug, Default)]
pub(crate) struct RouteCounters {
    pub(crate) statuses: Vec<(u16, u64)>,
    pub(crate) duration: Histogram,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl PoolLocal {
    /// A pool that goes on where `before`, of the same name, stopped.
    pub(crate) fn new(pool: Arc<Pool>, before: Option<&Self>) -> Self {
        let endpoints = pool.endpoints.iter().map(|endpoint| {
            let same = before.and_then(|before| {
                before.endpoints.iter().find(|local| Arc::ptr_eq(&local.shared, endpoint))
            });
            same.map_or_else(|| Rc::new(EndpointLocal::new(Arc::clone(endpoint))), Rc::clone)
        });
        let endpoints: Vec<_> = endpoints.collect();
        let picker = match before {
            Some(before) if before.pool.balance == pool.balance => before.picker_for(&endpoints),
            Some(_) | None => Picker::new(pool.balance),
        };
        let budget = match before {
            Some(before) if before.pool.retry == pool.retry => Rc::clone(&before.budget),
            Some(_) | None => Rc::new(RefCell::new(Budget::new(pool.retry.budget_percent))),
        };
        Self {
            counters: before.map(|before| Rc::clone(&before.counters)).unwrap_or_default(),
            budget,
            endpoints,
            picker: RefCell::new(picker),
            // No plan has this many changes behind it: the first pick looks.
            seen: Cell::new(u64::MAX),
            pool,
        }
    }

    /// The endpoint that `ask` goes to, if any may get requests.
    pub(crate) fn pick(
        &self,
        ask: &Ask<'_>,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<(EndpointId, &Rc<EndpointLocal>)> {
        let changes = self.pool.shares_changed.load(Acquire);
        let mut picker = self.picker.borrow_mut();
        if changes != self.seen.get() {
            self.seen.set(changes);
            picker.set_candidates(&self.candidates());
        }
        let load = |id: EndpointId| self.endpoints[id.index()].shared.load(now);
        let id = picker.pick(ask, load, rng)?;
        Some((id, &self.endpoints[id.index()]))
    }

    /// A picker that goes on with what is known of those of `endpoints` that were here before.
    fn picker_for(&self, endpoints: &[Rc<EndpointLocal>]) -> Picker {
        let mut picker = self.picker.borrow().clone();
        picker.renumber(|id| {
            let before = &self.endpoints[id.index()];
            let index = endpoints.iter().position(|endpoint| Rc::ptr_eq(endpoint, before))?;
            Some(EndpointId(index as u32))
        });
        picker
    }

    /// Forgets whom it chose from: one of them does not let requests in any more.
    pub(crate) fn look_again(&self) {
        self.seen.set(u64::MAX);
    }

    /// Closes what is idle to endpoints that leave.
    pub(crate) fn close_idle(&self, now: Instant) {
        for endpoint in self.endpoints.iter().filter(|endpoint| endpoint.shared.is_leaving()) {
            endpoint.idle.borrow_mut().clear();
            if let Some(sessions) = endpoint.sessions.get() {
                sessions.sweep(now, Duration::ZERO);
            }
        }
    }

    /// Tells the balancer that a request to `id` failed.
    pub(crate) fn failed(&self, id: EndpointId) {
        self.picker.borrow_mut().failed(id);
    }

    /// Closes connections that have been idle for `idle_max`.
    pub(crate) fn sweep(&self, now: Instant, idle_max: Duration) {
        for endpoint in &self.endpoints {
            endpoint.idle.borrow_mut().retain_mut(|upstream| {
                now - upstream.idle_since < idle_max && upstream.wire.is_quiet()
            });
            if let Some(sessions) = endpoint.sessions.get() {
                sessions.sweep(now, idle_max);
            }
        }
    }

    fn candidates(&self) -> Vec<Candidate> {
        let all = self.pool.endpoints.iter().enumerate();
        let with_weight = |share: fn(&Endpoint, u16) -> u32| {
            let candidates = all.clone().filter_map(|(index, endpoint)| {
                let weight = share(endpoint, self.pool.weights[index]);
                if weight == 0 || endpoint.address.is_none() || endpoint.is_leaving() {
                    return None;
                }
                Some(Candidate { endpoint: EndpointId(index as u32), weight, key: endpoint.key })
            });
            candidates.collect::<Vec<_>>()
        };
        let up = with_weight(|endpoint, _| endpoint.share());
        if up.is_empty() && self.pool.all_down == AllDown::TryAll {
            return with_weight(|_, weight| u32::from(weight));
        }
        up
    }
}

impl EndpointLocal {
    fn new(shared: Arc<Endpoint>) -> Self {
        Self { shared, idle: RefCell::default(), sessions: OnceCell::new() }
    }

    /// This thread's connections over HTTP/2.
    pub(crate) fn sessions(&self) -> &Rc<Sessions> {
        self.sessions.get_or_init(Rc::default)
    }

    /// A connection that was kept alive, if the server has not closed it.
    pub(crate) fn take_idle(&self) -> Option<http1::upstream::Upstream> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut upstream) = idle.pop() {
            if upstream.wire.is_quiet() {
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection for the next request if it may have one; closes it if there are enough.
    pub(crate) fn give_back(&self, upstream: Upstream, now: Instant, max: usize) {
        match upstream {
            Upstream::Http1(connection) if connection.is_clean() => {
                self.give_idle(connection, now, max);
            }
            Upstream::Http1(_) | Upstream::Http2(_) => {}
        }
    }

    fn give_idle(&self, mut connection: http1::upstream::Upstream, now: Instant, max: usize) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < max && self.shared.share() > 0 {
            connection.idle_since = now;
            connection.reused = true;
            idle.push(connection);
        }
    }
}

impl RouteLocal {
    /// No requests yet.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), counters: RefCell::default() }
    }
}

impl RouteCounters {
    /// Responses, and those of them with a status from 500.
    pub(crate) fn served(&self) -> (u64, u64) {
        self.statuses.iter().fold((0, 0), |(all, errors), &(status, count)| {
            (all + count, errors + if status >= 500 { count } else { 0 })
        })
    }

    /// Counts one response.
    pub(crate) fn record(&mut self, status: u16, took: Duration, received: u64, sent: u64) {
        match self.statuses.iter_mut().find(|(known, _)| *known == status) {
            Some((_, count)) => *count += 1,
            None => self.statuses.push((status, 1)),
        }
        self.duration.record(took);
        self.received += received;
        self.sent += sent;
    }
}
