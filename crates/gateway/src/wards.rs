//! The health of every server: performs checks, hears of failures, and tells the data plane.
//!
//! What follows from all that is known about a server is for [`Health`] to decide; here is one such
//! machine for each endpoint of the plan, with the timetable of its checks. A verdict reaches the
//! data plane as the endpoint's share, and people as an event.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Release;
use std::time::Duration;

use evergate_config::{Level, Probe};
use evergate_control::command::Adjustment;
use evergate_control::snapshot::ServerStatus;
use evergate_core::health::{
    Arrival, CheckPolicy, Health, Input, Policy, State, first_check_delay, may_eject,
    next_check_delay,
};
use evergate_core::rng::Rng;
use evergate_core::time::Instant;
use tokio::sync::mpsc;

use crate::endpoint::Endpoint;
use crate::events::Events;
use crate::plan::{Plan, Pool};
use crate::probe;

mod carried;
mod judgement;

use carried::Key;

/// Checks under way at once; others wait for the next turn.
const PROBES_MAX: usize = 128;
/// Results waiting to be heard.
const CHECKED_QUEUED_MAX: usize = 2 * PROBES_MAX;
/// How long a turn that found every place taken waits.
const CROWDED_WAIT: Duration = Duration::from_millis(50);

/// A check that ended.
#[derive(Debug)]
pub(crate) struct Checked {
    uid: u64,
    /// Its index.
    check: usize,
    /// Which of the endpoint's policies wanted it.
    policy: u32,
    outcome: Result<(), String>,
}

/// Whether servers are checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Checks {
    /// As the configuration says.
    On,
    /// Not at all: another process does. What is known of the servers stays.
    Off,
}

/// What is due, or was done.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum What {
    /// The check with this index.
    Check(usize),
    /// The machine wants to look at the clock.
    Look,
}

/// The health of every endpoint of the plan.
#[derive(Debug)]
pub(crate) struct Wards {
    /// By the endpoint's uid.
    wards: HashMap<u64, Ward>,
    /// What is due when, for whom.
    timetable: BTreeSet<(Instant, u64, What)>,
    /// What the operator wants of servers, by pool and name: runs of an instance come and go.
    wishes: BTreeMap<(String, String), Wish>,
    /// What another worker knew of runs that have not come yet.
    inherited: BTreeMap<Key, carried::Server>,
    checks: Checks,
    probing: usize,
    results: mpsc::Sender<Checked>,
}

/// What the operator wants of one server.
#[derive(Clone, Copy, Debug, Default)]
struct Wish {
    drain: bool,
    weight: Option<u16>,
}

/// The health of one endpoint.
#[derive(Debug)]
struct Ward {
    health: Health,
    policy: Policy,
    endpoint: Arc<Endpoint>,
    /// `pool.NAME/SERVER`
    subject: String,
    since: Instant,
    /// When each of its checks is due next.
    checks_at: Vec<Instant>,
    /// Counts the policies it went by, so that a check that another policy wanted is told apart.
    policies: u32,
}

impl Wards {
    /// No endpoint yet; results of checks come out of the receiver and go to [`Wards::hear`].
    pub(crate) fn new() -> (Self, mpsc::Receiver<Checked>) {
        let (results, checked) = mpsc::channel(CHECKED_QUEUED_MAX);
        let wards = Self {
            wards: HashMap::new(),
            timetable: BTreeSet::new(),
            wishes: BTreeMap::new(),
            inherited: BTreeMap::new(),
            checks: Checks::On,
            probing: 0,
            results,
        };
        (wards, checked)
    }

    /// Follows a new plan: machines of endpoints that stay go on with what they know.
    pub(crate) fn sync(&mut self, plan: &Plan, now: Instant, rng: &mut Rng, events: &mut Events) {
        let mut stays = HashMap::new();
        for pool in &plan.pools {
            let total = pool.endpoints.len();
            let is_warm = pool.endpoints.iter().any(|endpoint| {
                let ward = self.wards.get(&endpoint.uid);
                ward.is_some_and(|ward| ward.is_warm(now, pool.slow_start))
            });
            for (index, endpoint) in pool.endpoints.iter().enumerate() {
                let policy = policy(pool, index);
                let ward = match self.wards.remove(&endpoint.uid) {
                    Some(ward) if ward.policy == policy => ward,
                    Some(mut ward) => {
                        // The timetable of its old checks must not go on beside the new one.
                        self.timetable.retain(|(_, uid, _)| *uid != endpoint.uid);
                        ward.follow(policy, now);
                        self.schedule_checks(&mut ward, index, total, now, rng);
                        self.schedule_look(&ward);
                        ward
                    }
                    None if let Some(server) = self.inherited.remove(&carried::key(endpoint)) => {
                        let mut ward = Ward::new(pool, endpoint, policy, Arrival::Together, now);
                        self.schedule_checks(&mut ward, index, total, now, rng);
                        self.resume(&mut ward, server, now);
                        ward
                    }
                    None => {
                        let arrival = match is_warm && endpoint.run.is_some() {
                            true => Arrival::Later,
                            false => Arrival::Together,
                        };
                        let mut ward = Ward::new(pool, endpoint, policy, arrival, now);
                        let name = (pool.name.clone(), endpoint.name.clone());
                        ward.wish(self.wishes.get(&name).copied().unwrap_or_default(), now);
                        self.schedule_checks(&mut ward, index, total, now, rng);
                        if endpoint.address.is_none() {
                            let reason = format!("cannot resolve {}", endpoint.authority);
                            events.push(Level::Error, "server_unknown", &ward.subject, &reason);
                        }
                        if let Some(run) = &endpoint.run {
                            let reason = format!("run {} is ready", run.generation);
                            events.push(Level::Info, "server_up", &ward.subject, &reason);
                        }
                        ward
                    }
                };
                ward.tell(pool);
                stays.insert(endpoint.uid, ward);
            }
        }
        self.wards = stays;
        self.wishes
            .retain(|(pool, server), _| plan.pool(pool).is_some_and(|pool| pool.has(server)));
        self.timetable.retain(|(_, uid, _)| self.wards.contains_key(uid));
    }

    /// Begins or ends to check servers; each is checked when it was due, or at once if that is over.
    pub(crate) fn set_checks(&mut self, checks: Checks, now: Instant) {
        if self.checks == checks {
            return;
        }
        self.checks = checks;
        match checks {
            Checks::Off => self.timetable.retain(|(_, _, what)| *what == What::Look),
            Checks::On => {
                let wards = std::mem::take(&mut self.wards);
                wards.values().for_each(|ward| self.enter_checks(ward, now));
                self.wards = wards;
            }
        }
    }

    /// When [`Wards::turn`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timetable.first().map(|(at, _, _)| *at)
    }

    /// Does what is due at `now`.
    pub(crate) fn turn(&mut self, plan: &Plan, now: Instant, rng: &mut Rng, events: &mut Events) {
        while let Some(&(at, uid, what)) = self.timetable.first() {
            if at > now {
                return;
            }
            self.timetable.pop_first();
            match what {
                What::Look => self.handle(plan, uid, now, Input::Tick, events),
                What::Check(_) if self.probing >= PROBES_MAX => {
                    self.timetable.insert((now + CROWDED_WAIT, uid, what));
                }
                What::Check(index) => self.check(plan, uid, index, now, rng),
            }
        }
    }

    /// Takes the result of a check.
    pub(crate) fn hear(
        &mut self,
        checked: Checked,
        plan: &Plan,
        now: Instant,
        events: &mut Events,
    ) {
        self.probing -= 1;
        let Checked { uid, check, policy, outcome } = checked;
        let is_stale = self.wards.get(&uid).is_none_or(|ward| ward.policies != policy);
        if is_stale || self.checks == Checks::Off {
            // It says nothing about what is wanted now, and the new timetable is made already.
            return;
        }
        self.handle(plan, uid, now, Input::Checked { check, outcome }, events);
    }

    /// Takes a report that requests to `endpoint` fail.
    pub(crate) fn failing(
        &mut self,
        plan: &Plan,
        pool: &str,
        endpoint: &Endpoint,
        failures: u32,
        now: Instant,
        events: &mut Events,
    ) {
        let Some(pool) = plan.pool(pool) else { return };
        let ejected = pool.endpoints.iter().filter(|other| {
            self.wards.get(&other.uid).is_some_and(|ward| ward.health.is_ejected())
        });
        let may_eject = may_eject(ejected.count(), pool.endpoints.len(), &pool.outlier);
        let input = Input::FailedInARow { failures, may_eject };
        self.handle(plan, endpoint.uid, now, input, events);
    }

    /// Does what the operator wants of one server.
    pub(crate) fn adjust(
        &mut self,
        plan: &Plan,
        pool: &str,
        server: &str,
        to: Adjustment,
        now: Instant,
        events: &mut Events,
    ) -> Result<(), String> {
        let pool = plan.pool(pool).ok_or_else(|| format!("there is no pool `{pool}`"))?;
        if !pool.has(server) {
            let names: BTreeSet<_> = pool.endpoints.iter().map(|one| one.name.as_str()).collect();
            let names = Vec::from_iter(names).join(", ");
            return Err(format!("pool `{}` has no server `{server}`; it has {names}", pool.name));
        }
        let wish = self.wishes.entry((pool.name.clone(), server.to_owned())).or_default();
        let input = match to {
            Adjustment::Drain => Input::Drain,
            Adjustment::Undrain => Input::Undrain,
            Adjustment::Weight(weight) => Input::Weight(u32::from(weight)),
        };
        match to {
            Adjustment::Drain => wish.drain = true,
            Adjustment::Undrain => wish.drain = false,
            Adjustment::Weight(weight) => wish.weight = Some(weight),
        }
        for endpoint in pool.endpoints.iter().filter(|endpoint| endpoint.name == server) {
            self.handle(plan, endpoint.uid, now, input.clone(), events);
        }
        Ok(())
    }

    /// The servers of a pool, in order of name and generation.
    pub(crate) fn status(&self, plan: &Plan, pool: &str, now: Instant) -> Vec<ServerStatus> {
        let endpoints = plan.pool(pool).into_iter().flat_map(|pool| &pool.endpoints);
        let wards = endpoints.filter_map(|endpoint| self.wards.get(&endpoint.uid));
        wards.map(|ward| ward.status(now)).collect()
    }

    fn handle(&mut self, plan: &Plan, uid: u64, now: Instant, input: Input, events: &mut Events) {
        let Some(ward) = self.wards.get_mut(&uid) else { return };
        let before = ward.health.verdict().state;
        if let Some(verdict) = ward.health.handle(now, input) {
            if verdict.state != before {
                ward.since = now;
                let (level, kind) = match verdict.state {
                    State::Up => (Level::Info, "server_up"),
                    State::Down => (Level::Warn, "server_down"),
                    State::Draining => (Level::Info, "server_draining"),
                };
                events.push(level, kind, &ward.subject, &verdict.reason.to_string());
                if verdict.state == State::Up {
                    ward.endpoint.forgive();
                }
            }
            if let Some(pool) = plan.pools.iter().find(|pool| pool.holds(uid)) {
                ward.tell(pool);
            }
        }
        if let Some(at) = ward.health.deadline() {
            self.timetable.insert((at, uid, What::Look));
        }
    }

    fn schedule_look(&mut self, ward: &Ward) {
        if let Some(at) = ward.health.deadline() {
            self.timetable.insert((at, ward.endpoint.uid, What::Look));
        }
    }

    fn schedule_checks(
        &mut self,
        ward: &mut Ward,
        index: usize,
        total: usize,
        now: Instant,
        rng: &mut Rng,
    ) {
        if ward.endpoint.address.is_none() {
            return;
        }
        let first = |check: &CheckPolicy| now + first_check_delay(check.every, index, total, rng);
        ward.checks_at = ward.policy.checks.iter().map(first).collect();
        self.enter_checks(ward, now);
    }

    /// Enters the checks of an endpoint into the timetable, those that are late as due now.
    fn enter_checks(&mut self, ward: &Ward, now: Instant) {
        if self.checks == Checks::On {
            let checks = ward.checks_at.iter().enumerate();
            let uid = ward.endpoint.uid;
            self.timetable
                .extend(checks.map(|(check, at)| ((*at).max(now), uid, What::Check(check))));
        }
    }

    fn check(&mut self, plan: &Plan, uid: u64, index: usize, now: Instant, rng: &mut Rng) {
        let Some(ward) = self.wards.get_mut(&uid) else { return };
        let Some(pool) = plan.pools.iter().find(|pool| pool.holds(uid)) else { return };
        let Some(check) = pool.checks.get(index) else { return };
        let at = now + next_check_delay(check.policy.every, ward.health.pace(index), rng);
        self.timetable.insert((at, uid, What::Check(index)));
        if let Some(next) = ward.checks_at.get_mut(index) {
            *next = at;
        }
        let (probe, timeout) = (check.probe.clone(), check.policy.timeout);
        self.start(plan, uid, index, probe, timeout);
    }

    /// Starts a probe; its result comes back over the channel, which always has room for it.
    fn start(&mut self, plan: &Plan, uid: u64, check: usize, probe: Probe, timeout: Duration) {
        let Some(pool) = plan.pools.iter().find(|pool| pool.holds(uid)) else { return };
        let Some(ward) = self.wards.get(&uid) else { return };
        if ward.endpoint.address.is_none() {
            return;
        }
        let (endpoint, policy) = (Arc::clone(&ward.endpoint), ward.policies);
        let (protocol, greets) = (pool.protocol, pool.proxy_protocol);
        self.probing += 1;
        let results = self.results.clone();
        tokio::spawn(async move {
            let outcome = probe::perform(&endpoint, &probe, protocol, greets, timeout).await;
            // Nobody hears it when the gateway is gone.
            let _ = results.send(Checked { uid, check, policy, outcome }).await;
        });
    }
}

impl Ward {
    fn new(
        pool: &Pool,
        endpoint: &Arc<Endpoint>,
        policy: Policy,
        arrival: Arrival,
        now: Instant,
    ) -> Self {
        let health = Health::new(policy.clone(), arrival, now);
        let subject = format!("pool.{}/{}", pool.name, endpoint.name);
        let endpoint = Arc::clone(endpoint);
        Self { health, policy, endpoint, subject, since: now, checks_at: Vec::new(), policies: 1 }
    }

    /// Goes by another policy and keeps what it knows.
    fn follow(&mut self, policy: Policy, now: Instant) {
        let before = self.health.verdict().state;
        self.health.follow(now, policy.clone());
        if self.health.verdict().state != before {
            self.since = now;
        }
        self.policy = policy;
        self.policies += 1;
    }

    /// Does what the operator wanted of a server of this name before.
    fn wish(&mut self, wish: Wish, now: Instant) {
        if let Some(weight) = wish.weight {
            self.health.handle(now, Input::Weight(u32::from(weight)));
        }
        if wish.drain {
            self.health.handle(now, Input::Drain);
        }
    }

    /// Whether it has had its whole share for long.
    fn is_warm(&self, now: Instant, slow_start: Duration) -> bool {
        self.health.verdict().state == State::Up && now - self.since > slow_start
    }

    /// Tells the data plane what share the endpoint gets.
    fn tell(&self, pool: &Pool) {
        if !self.endpoint.is_leaving() && self.endpoint.set_share(self.health.verdict().share()) {
            pool.shares_changed.fetch_add(1, Release);
        }
    }

    fn status(&self, now: Instant) -> ServerStatus {
        let verdict = self.health.verdict();
        let (requests, failures) = self.endpoint.totals();
        let unknown = self.endpoint.address.is_none();
        ServerStatus {
            name: self.endpoint.name.clone(),
            address: self.endpoint.authority.clone(),
            state: if unknown { "down" } else { verdict.state.as_str() }.to_owned(),
            reason: match unknown {
                true => "its name does not resolve".to_owned(),
                false => verdict.reason.to_string(),
            },
            since_seconds: now.since(self.since).as_secs(),
            weight: verdict.weight,
            weight_percent: u32::from(verdict.weight_percent),
            in_flight: self.endpoint.in_flight(),
            tunnels: self.endpoint.tunnels(),
            requests,
            failures,
            // Before the first attempt there is only the balancer's guess.
            latency_seconds: match self.endpoint.seen_latency() {
                None => 0.0,
                Some(_) => self.endpoint.latency_nanos(now) as f64 / 1e9,
            },
        }
    }
}

/// What the health of an endpoint of `pool` goes by.
fn policy(pool: &Pool, index: usize) -> Policy {
    Policy {
        weight: u32::from(pool.weights[index]),
        checks: pool.checks.iter().map(|check| check.policy).collect(),
        outlier: pool.outlier,
        slow_start: pool.slow_start,
    }
}

#[cfg(test)]
mod tests;
