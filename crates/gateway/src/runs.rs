//! The runs of apps as the keeper sees them, and what that means for their endpoints.
//!
//! A run that is ready is a member of the pools that name its app. One that is not ready any more
//! leaves in the same turn, before any plan is compiled: its endpoints let nobody in. What is in
//! flight to it then finishes, if its process is there, or fails at once, if it is not. When
//! nothing is left of what a draining run had to do, the keeper is to be told, once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Release;
use std::time::Duration;

use evergate_control::link::{DeployPhase, Instance, InstanceState, Observed, Run, Sample};
use evergate_core::time::Instant;
use tokio::sync::Notify;

use crate::dial::Address;
use crate::endpoint::Endpoint;
use crate::farewell;
use crate::plan::{Member, Plan};
use crate::samples::Counted;

/// What is known of the runs.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    observed: Vec<Instance>,
    /// Endpoints that are in no plan any more and have something in flight.
    leaving: Vec<Arc<Endpoint>>,
    /// Told when one of them may have nothing in flight any more.
    emptied: Arc<Notify>,
    /// Runs that drain, and whether the keeper was told that they are idle.
    draining: BTreeMap<Run, bool>,
    /// Apps whose canary is watched.
    soaks: BTreeMap<String, Soak>,
    /// Attempts and failures of endpoints that are gone, by pool and name.
    retired: BTreeMap<(String, String), (u64, u64)>,
}

/// What became of an endpoint when its run was looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    /// It gets no more requests.
    Left,
    /// Its process ended unasked.
    Died,
}

/// What changed when the runs were looked at.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Whether other runs are ready.
    pub(crate) members: bool,
    /// Endpoints that whoever waits for them has to look at.
    pub(crate) look_at: Vec<u64>,
    /// Endpoints that left, and why, for people.
    pub(crate) left: Vec<(Arc<Endpoint>, Change, String)>,
}

/// A canary beside the other runs of its app.
#[derive(Debug)]
struct Soak {
    /// Of the deploy.
    number: u32,
    /// What is rolled out.
    revision: u32,
    /// Every endpoint since the soak began, with what had been counted by then.
    watched: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    endpoint: Arc<Endpoint>,
    before: Counted,
    is_canary: bool,
}

impl Runs {
    /// Follows what the keeper says. Endpoints of `plan` whose run is not ready any more let nobody
    /// in when this returns.
    pub(crate) fn follow(&mut self, plan: &Plan, observed: &Observed, now: Instant) -> Changes {
        let before = members(&self.observed);
        self.observed.clone_from(&observed.instances);
        let mut changes = Changes { members: before != self.members(), ..Changes::default() };
        for pool in &plan.pools {
            let mut has_left = false;
            for endpoint in pool.endpoints.iter().filter(|endpoint| endpoint.run.is_some()) {
                has_left |= self.judge(endpoint, now, &mut changes);
            }
            if has_left {
                pool.shares_changed.fetch_add(1, Release);
            }
        }
        for endpoint in &self.leaving {
            self.judge(endpoint, now, &mut changes);
        }
        self.follow_draining();
        self.follow_soaks(plan, observed);
        changes
    }

    /// Takes over what a new plan has left behind, and watches what is new in it.
    pub(crate) fn follow_plan(&mut self, before: &Plan, after: &Plan) {
        let stays: BTreeSet<u64> = endpoints(after).map(|endpoint| endpoint.uid).collect();
        for endpoint in endpoints(before).filter(|endpoint| !stays.contains(&endpoint.uid)) {
            if endpoint.run.is_some() {
                endpoint.leave(&self.emptied);
            }
            self.leaving.push(Arc::clone(endpoint));
        }
        self.retired
            .retain(|(pool, server), _| after.pool(pool).is_some_and(|pool| pool.has(server)));
        self.watch(after);
    }

    /// The runs that may have requests, as members of pools, by app.
    pub(crate) fn members(&self) -> BTreeMap<String, Vec<Member>> {
        members(&self.observed)
    }

    /// Waits until something that leaves may have nothing in flight any more.
    pub(crate) async fn emptied(&self) {
        self.emptied.notified().await;
    }

    /// Draining runs that nothing is in flight to, each once.
    pub(crate) fn take_idle(&mut self, plan: &Plan) -> Vec<Run> {
        let mut idle = Vec::new();
        for (run, is_told) in &mut self.draining {
            let mut all = endpoints(plan).chain(&self.leaving);
            let is_busy = all.any(|one| one.run.as_ref() == Some(run) && one.in_flight() > 0);
            if !is_busy && !*is_told {
                *is_told = true;
                idle.push(run.clone());
            }
        }
        let retired = &mut self.retired;
        self.leaving.retain(|endpoint| {
            let stays = endpoint.in_flight() > 0;
            if !stays {
                let name = (endpoint.pool.clone(), endpoint.name.clone());
                let (requests, failures) = endpoint.totals();
                let total = retired.entry(name).or_default();
                *total = (total.0 + requests, total.1 + failures);
            }
            stays
        });
        idle
    }

    /// Requests in flight and tunnels to `run`, over all pools.
    pub(crate) fn in_flight(&self, plan: &Plan, run: &Run) -> u32 {
        let all = endpoints(plan).chain(&self.leaving);
        all.filter(|one| one.run.as_ref() == Some(run)).map(|one| one.in_flight()).sum()
    }

    /// Attempts and failures of servers of this name that are in no plan any more.
    pub(crate) fn past_totals(&self, pool: &str, server: &str) -> (u64, u64) {
        let retired = self.retired.get(&(pool.to_owned(), server.to_owned()));
        let leaving = self.leaving.iter().filter(|one| one.pool == pool && one.name == server);
        leaving.fold(retired.copied().unwrap_or_default(), |(requests, failures), one| {
            let more = one.totals();
            (requests + more.0, failures + more.1)
        })
    }

    /// Instances of `app` that may not have requests, in order.
    pub(crate) fn absent(&self, app: &str) -> impl Iterator<Item = &Instance> {
        let of_app = self.observed.iter().filter(move |one| one.run.app == app);
        of_app.filter(|one| member(one).is_none())
    }

    /// How canaries fare beside the other runs of their apps.
    pub(crate) fn samples(&self) -> Vec<(String, Sample, Sample)> {
        let samples = self.soaks.iter().map(|(app, soak)| {
            let (mut canary, mut others) = (Counted::default(), Counted::default());
            for watched in &soak.watched {
                let into = if watched.is_canary { &mut canary } else { &mut others };
                into.add_since(&watched.before, &watched.endpoint.samples().counted());
            }
            (app.clone(), canary.sample(), others.sample())
        });
        samples.collect()
    }

    /// Looks at what became of the run of one endpoint; whether it leaves, and that is news.
    fn judge(&self, endpoint: &Arc<Endpoint>, now: Instant, changes: &mut Changes) -> bool {
        let Some(run) = &endpoint.run else { return false };
        let instance = self.observed.iter().find(|one| one.run == *run);
        if instance.is_some_and(|one| member(one).is_some()) && !endpoint.is_leaving() {
            return false;
        }
        let is_news = !endpoint.is_leaving();
        // It may have been asked to end, and then its end is no surprise.
        let was_asked = self.draining.contains_key(run);
        if instance.is_none_or(has_ended) {
            if endpoint.die(&self.emptied) {
                changes.look_at.push(endpoint.uid);
                let why = instance.and_then(|one| one.last_exit.clone());
                let why = why.unwrap_or_else(|| "its process ended".to_owned());
                let change = if was_asked { Change::Left } else { Change::Died };
                if is_news {
                    changes.left.push((Arc::clone(endpoint), change, why));
                }
            }
            return is_news;
        }
        endpoint.leave(&self.emptied);
        if let Some(InstanceState::Draining { for_ms }) = instance.map(|one| one.state) {
            let left = Duration::from_millis(u64::from(for_ms));
            let (ends_from, cut_at) = farewell::window(now, left);
            if endpoint.drain(ends_from, cut_at) {
                changes.look_at.push(endpoint.uid);
            }
        }
        if is_news && let Some(instance) = instance {
            let why = state_word(instance.state).to_owned();
            changes.left.push((Arc::clone(endpoint), Change::Left, why));
        }
        is_news
    }

    fn follow_draining(&mut self) {
        let mut before = std::mem::take(&mut self.draining);
        for instance in &self.observed {
            if matches!(instance.state, InstanceState::Draining { .. }) {
                let is_told = before.remove(&instance.run).unwrap_or(false);
                self.draining.insert(instance.run.clone(), is_told);
            }
        }
    }

    fn follow_soaks(&mut self, plan: &Plan, observed: &Observed) {
        let soaking = observed.deploys.iter().filter(|one| one.phase == DeployPhase::Soaking);
        let soaking: BTreeMap<&str, (u32, u32)> =
            soaking.map(|one| (one.app.as_str(), (one.number, one.revision))).collect();
        self.soaks.retain(|app, soak| {
            let goes_on = soaking.get(app.as_str()).is_some_and(|now| now.0 == soak.number);
            if !goes_on {
                soak.watched.iter().for_each(|one| one.endpoint.watch(false));
            }
            goes_on
        });
        for (app, (number, revision)) in soaking {
            let soak = Soak { number, revision, watched: Vec::new() };
            self.soaks.entry(app.to_owned()).or_insert(soak);
        }
        self.watch(plan);
    }

    /// Counts from now on how requests to runs of soaking apps go.
    fn watch(&mut self, plan: &Plan) {
        for endpoint in endpoints(plan) {
            let Some(run) = &endpoint.run else { continue };
            let Some(soak) = self.soaks.get_mut(&run.app) else { continue };
            if soak.watched.iter().any(|one| one.endpoint.uid == endpoint.uid) {
                continue;
            }
            let instance = self.observed.iter().find(|one| one.run == *run);
            endpoint.watch(true);
            soak.watched.push(Watched {
                endpoint: Arc::clone(endpoint),
                before: endpoint.samples().counted(),
                is_canary: instance.is_some_and(|one| one.revision == soak.revision),
            });
        }
    }
}

fn endpoints(plan: &Plan) -> impl Iterator<Item = &Arc<Endpoint>> {
    plan.pools.iter().flat_map(|pool| &pool.endpoints)
}

fn members(observed: &[Instance]) -> BTreeMap<String, Vec<Member>> {
    let mut members: BTreeMap<String, Vec<Member>> = BTreeMap::new();
    for member in observed.iter().filter_map(member) {
        let app = member.run.as_ref().map(|run| run.app.clone()).unwrap_or_default();
        members.entry(app).or_default().push(member);
    }
    members
}

/// A run as a member of a pool, if it may have requests.
fn member(instance: &Instance) -> Option<Member> {
    let InstanceState::Ready = instance.state else { return None };
    let address = Address::from(instance.place.as_ref()?);
    let run = &instance.run;
    Some(Member {
        name: format!("{}/{}", run.app, run.number),
        authority: address.to_string(),
        address: Some(address),
        weight: 1,
        run: Some(run.clone()),
        tls_host: None,
    })
}

/// Whether there is no process any more that could answer.
fn has_ended(instance: &Instance) -> bool {
    match instance.state {
        InstanceState::Waiting
        | InstanceState::Backoff { .. }
        | InstanceState::Fatal { .. }
        | InstanceState::Stopped => true,
        InstanceState::Starting
        | InstanceState::Ready
        | InstanceState::Unhealthy
        | InstanceState::Draining { .. }
        | InstanceState::Stopping
        | InstanceState::Stuck => instance.pid.is_none(),
    }
}

/// What an instance does, in a word.
pub(crate) const fn state_word(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Waiting => "waiting",
        InstanceState::Starting => "starting",
        InstanceState::Ready => "ready",
        InstanceState::Unhealthy => "unhealthy",
        InstanceState::Draining { .. } => "draining",
        InstanceState::Stopping => "stopping",
        InstanceState::Stuck => "stuck",
        InstanceState::Backoff { .. } => "backoff",
        InstanceState::Fatal { .. } => "fatal",
        InstanceState::Stopped => "stopped",
    }
}
