//! What one data-plane thread owns.
//!
//! Threads share the plan and the endpoints' atomics, nothing else: connections, buffers, timers,
//! round-robin positions and counters live here, without locks. The control plane talks to a thread
//! by message.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use evergate_core::rng::Rng;
use evergate_core::time::Instant;
use evergate_sys::clock;
use tokio::sync::{Notify, mpsc};

use crate::access_log::LogBuffer;
use crate::buffers::Buffers;
use crate::date::DateCache;
use crate::endpoint::Endpoint;
use crate::farewell::Farewell;
use crate::files::OpenFiles;
use crate::http2::workers::Workers;
use crate::issuance::SharedIssuance;
use crate::plan::Plan;
use crate::pool_local::{PoolLocal, RouteLocal, UPSTREAM_IDLE_MAX};
use crate::proxy_header::ProxyRefusal;
use crate::splice::Pipes;
use crate::timers::Timers;
use crate::tls::fault::Fault;

/// Reports waiting for the control plane; past that they are dropped, the next failure reports
/// again.
pub(crate) const REPORTS_QUEUED_MAX: usize = 1024;

/// Something the control plane should know at once.
#[derive(Debug)]
pub(crate) enum Report {
    /// Requests to an endpoint fail one after the other.
    Failing {
        /// Its pool.
        pool: String,
        /// Which.
        endpoint: Arc<Endpoint>,
        /// How many in a row.
        in_a_row: u32,
    },
    /// A request ended in a panic of ours.
    Panicked {
        /// Where, as far as it is known.
        route: String,
    },
    /// A file is there and may not be read.
    FileDenied {
        /// The route that serves it.
        route: String,
        /// Below the root.
        name: Vec<u8>,
    },
    /// A client abused HTTP/2 and was sent away.
    Flood {
        /// Listener.
        listener: String,
        /// What it did too much of.
        kind: &'static str,
        /// Who.
        peer: IpAddr,
    },
    /// Handshakes with clients fail again and again.
    HandshakesFail {
        /// Listener.
        listener: String,
        /// Why.
        fault: Fault,
        /// How often by now.
        count: u64,
    },
    /// A server that spoke TLS with us does not any more, or never did.
    UpstreamTls {
        /// Which.
        endpoint: Arc<Endpoint>,
        /// Why, in words.
        why: String,
    },
    /// Connections cannot be accepted.
    AcceptFailed {
        /// Listener.
        listener: String,
        /// Why.
        error: String,
    },
    /// A connection did not begin with the PROXY header that it has to begin with.
    ProxyRefused {
        /// Listener.
        listener: String,
        /// Who sent it.
        peer: IpAddr,
        /// Why.
        refusal: ProxyRefusal,
    },
}

/// One data-plane thread.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) buffers: Buffers,
    pub(crate) timers: Rc<Timers>,
    pub(crate) pipes: Pipes,
    pub(crate) files: OpenFiles,
    pub(crate) workers: Workers,
    pub(crate) issuance: SharedIssuance,
    pub(crate) date: DateCache,
    pub(crate) rng: RefCell<Rng>,
    pub(crate) log: LogBuffer,
    pub(crate) counters: Counters,
    pub(crate) reports: mpsc::Sender<Report>,
    /// Set once all ends: connections do so as soon as they may.
    pub(crate) farewell: Cell<Option<Farewell>>,
    /// What is connected to these addresses ends: they are another machine's.
    moved: RefCell<Option<(Arc<[IpAddr]>, Farewell)>>,
    /// Open client connections of this thread.
    pub(crate) connections: Cell<usize>,
    /// Told when the last connection of a thread ends while all ends; the same for all threads.
    pub(crate) emptied: Arc<Notify>,
    plan: RefCell<Rc<ThreadPlan>>,
    left: RefCell<Left>,
}

/// What is in the plan no more.
#[derive(Debug, Default)]
struct Left {
    /// Routes on which requests may be in flight.
    routes: Vec<Rc<RouteLocal>>,
    /// What the others had served.
    served: (u64, u64),
}

/// Counters that belong to no route or pool.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) rejects: RefCell<std::collections::BTreeMap<&'static str, u64>>,
    pub(crate) panics: Cell<u64>,
}

/// A plan, with what this thread keeps beside it.
#[derive(Debug)]
pub(crate) struct ThreadPlan {
    pub(crate) plan: Arc<Plan>,
    /// By [`evergate_core::id::PoolId`].
    pub(crate) pools: Vec<Rc<PoolLocal>>,
    /// By [`evergate_core::id::RouteId`].
    pub(crate) routes: Vec<Rc<RouteLocal>>,
    /// Requests that match no route.
    pub(crate) unmatched: Rc<RouteLocal>,
}

impl Shard {
    /// A thread that serves `plan`.
    pub(crate) fn new(
        plan: Arc<Plan>,
        seed: u64,
        log: LogBuffer,
        issuance: SharedIssuance,
        reports: mpsc::Sender<Report>,
        emptied: Arc<Notify>,
    ) -> Self {
        Self {
            buffers: Buffers::new(),
            timers: Rc::new(Timers::default()),
            pipes: Pipes::default(),
            files: OpenFiles::default(),
            workers: Workers::default(),
            date: DateCache::default(),
            rng: RefCell::new(Rng::seeded(seed)),
            log,
            issuance,
            counters: Counters::default(),
            reports,
            farewell: Cell::new(None),
            moved: RefCell::new(None),
            connections: Cell::new(0),
            emptied,
            plan: RefCell::new(Rc::new(ThreadPlan::new(plan, None, &[]))),
            left: RefCell::default(),
        }
    }

    /// The plan in force.
    pub(crate) fn plan(&self) -> Rc<ThreadPlan> {
        Rc::clone(&self.plan.borrow())
    }

    /// Puts `plan` in force for the requests to come.
    pub(crate) fn set_plan(&self, plan: Arc<Plan>) {
        let mut left = self.left.borrow_mut();
        let next = ThreadPlan::new(plan, Some(&self.plan.borrow()), &left.routes);
        let before = self.plan.replace(Rc::new(next));
        left.follow(&before, &self.plan.borrow());
        // Requests in flight may hold it for long.
        let now = clock::now();
        before.pools.iter().for_each(|pool| pool.close_idle(now));
    }

    /// Has everybody who waits for one of these endpoints look at what became of it.
    pub(crate) fn look_at(&self, endpoints: &[u64]) {
        self.timers.fire_concerned(endpoints);
    }

    /// The pool as the plan in force has it, if `pool` is of an earlier plan: servers may have come
    /// since.
    pub(crate) fn newer(&self, pool: &Rc<PoolLocal>) -> Option<Rc<PoolLocal>> {
        let plan = self.plan.borrow();
        let same = plan.pools.iter().find(|other| other.pool.name == pool.pool.name)?;
        (!Rc::ptr_eq(same, pool)).then(|| Rc::clone(same))
    }

    /// Has every connection end by this, or go on if it is none after all. One that was told of its
    /// end ends all the same.
    pub(crate) fn take_leave(&self, farewell: Option<Farewell>) {
        self.farewell.set(farewell);
        self.timers.fire_all();
    }

    /// Has every connection to one of these addresses end by this, those that come yet too; and no
    /// others on that account.
    pub(crate) fn retreat(&self, addresses: Arc<[IpAddr]>, farewell: Farewell) {
        let moved = (!addresses.is_empty()).then_some((addresses, farewell));
        self.moved.replace(moved);
        self.timers.fire_all();
    }

    /// What a connection to this address of ours is to end by: all of these.
    pub(crate) fn farewells_to(&self, local: Option<IpAddr>) -> impl Iterator<Item = Farewell> {
        let moved = self.moved.borrow();
        let moved = moved
            .as_ref()
            .filter(|(addresses, _)| local.is_some_and(|local| addresses.contains(&local)));
        let moved = moved.map(|(_, farewell)| *farewell);
        self.farewell.get().into_iter().chain(moved)
    }

    /// Whether a connection to this address of ours is to end as soon as it may.
    pub(crate) fn is_leaving(&self, local: Option<IpAddr>) -> bool {
        self.farewells_to(local).next().is_some()
    }

    /// Whether a connection to this address of ours ends, and does for so long that at `now` a
    /// request on a route with this `drain_timeout` is cut.
    pub(crate) fn cuts(
        &self,
        now: Instant,
        local: Option<IpAddr>,
        drain_timeout: Duration,
    ) -> bool {
        self.farewells_to(local).any(|farewell| now >= farewell.cut_at(drain_timeout))
    }

    /// Whether all ends.
    pub(crate) fn is_ending(&self) -> bool {
        self.farewell.get().is_some()
    }

    /// Whether anything ends.
    pub(crate) fn winds_up(&self) -> bool {
        self.is_ending() || self.moved.borrow().is_some()
    }

    /// Has everybody look up who waits for long: his time may be over although nothing happens.
    /// Where all ends, closes connections to servers that have just served their last request.
    pub(crate) fn wind_up(&self, now: Instant, since_last: Duration) {
        self.timers.fire_beyond(now + since_last);
        if self.is_ending() {
            for pool in &self.plan.borrow().pools {
                pool.sweep(now, since_last);
            }
        }
    }

    /// Closes upstream connections that have been idle for too long or were closed by the server,
    /// files that nobody asks for, and tasks that no stream needs.
    pub(crate) fn sweep(&self, now: Instant) {
        for pool in &self.plan.borrow().pools {
            pool.sweep(now, UPSTREAM_IDLE_MAX);
        }
        self.files.sweep(now);
        self.workers.sweep();
    }

    /// Responses so far, and those of them with a status from 500.
    pub(crate) fn served(&self) -> (u64, u64) {
        let (plan, left) = (self.plan(), self.left.borrow());
        let routes = plan.routes.iter().chain([&plan.unmatched]).chain(&left.routes);
        routes.fold(left.served, |sum, route| add(sum, route.counters.borrow().served()))
    }

    /// Counts a request that was refused.
    pub(crate) fn count_reject(&self, reason: &'static str) {
        *self.counters.rejects.borrow_mut().entry(reason).or_default() += 1;
    }

    /// A new request id: 32 hexadecimal digits.
    pub(crate) fn request_id(&self) -> [u8; 32] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut rng = self.rng.borrow_mut();
        let words = [rng.next_u64(), rng.next_u64()];
        std::array::from_fn(|index| {
            let word = words[index / 16];
            DIGITS[(word >> (60 - 4 * (index % 16)) & 0xf) as usize]
        })
    }
}

impl ThreadPlan {
    /// Goes on where `before` stopped, and the routes in `left` whose requests may not be over.
    fn new(plan: Arc<Plan>, before: Option<&Self>, left: &[Rc<RouteLocal>]) -> Self {
        let pools = plan.pools.iter().map(|pool| {
            let earlier = before
                .and_then(|before| before.pools.iter().find(|local| local.pool.name == pool.name));
            Rc::new(PoolLocal::new(Arc::clone(pool), earlier.map(Rc::as_ref)))
        });
        let earlier_routes = before.map(|before| &before.routes).into_iter().flatten();
        let earlier_routes: std::collections::HashMap<&str, &Rc<RouteLocal>> =
            left.iter().chain(earlier_routes).map(|route| (route.name.as_str(), route)).collect();
        let routes =
            plan.routes.iter().map(|route| match earlier_routes.get(route.name.as_str()) {
                Some(earlier) => Rc::clone(earlier),
                None => Rc::new(RouteLocal::new(&route.name)),
            });
        let unmatched = before.map(|before| Rc::clone(&before.unmatched));
        Self {
            pools: pools.collect(),
            routes: routes.collect(),
            unmatched: unmatched.unwrap_or_else(|| Rc::new(RouteLocal::new("-"))),
            plan,
        }
    }
}

impl Left {
    /// Takes over what `after` has no more, gives back what it has again, and keeps no more of the
    /// rest than what requests in flight need.
    fn follow(&mut self, before: &ThreadPlan, after: &ThreadPlan) {
        let stays: HashSet<_> = after.routes.iter().map(Rc::as_ptr).collect();
        self.routes.extend(before.routes.iter().cloned());
        self.routes.retain(|route| !stays.contains(&Rc::as_ptr(route)));
        let served = &mut self.served;
        self.routes.retain(|route| {
            let is_needed = Rc::strong_count(route) > 1;
            if !is_needed {
                *served = add(*served, route.counters.borrow().served());
            }
            is_needed
        });
    }
}

fn add(sum: (u64, u64), more: (u64, u64)) -> (u64, u64) {
    (sum.0 + more.0, sum.1 + more.1)
}
