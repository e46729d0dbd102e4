//! What this worker knows and has counted, for the one that comes after it, and what those before it
//! have counted.
//!
//! Counters are shown as the sum of three parts: what is counted here; what others counted before they
//! let go, all in one; and what each worker that drains has counted since, as it said last. The last
//! part stays apart until that worker is gone, for it says so again and again, and each time in place
//! of what it said before. So nothing is counted twice, and nothing that was shown is ever taken back.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use evergate_config::{Config, Level, Target};
use evergate_control::link::{KEPT_STATE, ToKeeper};
use evergate_control::snapshot::Stats;
use evergate_control::state::{Counters, Line, Open, REPORTS_MAX, Shared, State, Totals};
use evergate_core::state::BYTES_MAX;
use evergate_core::time::Instant;
use evergate_sys::{clock, memfd};

use super::control_plane::ControlPlane;
use super::output::Unended;

/// How often the primary worker has its state kept; more often when somebody looks.
const KEEP_EVERY: Duration = Duration::from_secs(5);

/// What was counted, here and by others.
#[derive(Debug)]
pub(super) struct Carried {
    /// When the first of those who counted started, in seconds of Unix time.
    since: u64,
    /// What others counted before they let go.
    others: Counters,
    /// What each worker that drains has counted since it let go.
    reports: BTreeMap<u32, Counters>,
    /// What this worker had counted when it let go itself.
    released: Option<Counters>,
    /// What it told the primary one last.
    told: Option<Shared>,
    kept_at: Instant,
    /// Whether the state was too large the last time.
    is_too_large: bool,
}

impl Carried {
    /// Nobody has counted anything before `since`, in seconds of Unix time.
    pub(super) fn new(since: u64) -> Self {
        Self {
            since,
            others: Counters::default(),
            reports: BTreeMap::new(),
            released: None,
            told: None,
            kept_at: Instant::EPOCH,
            is_too_large: false,
        }
    }

    /// When the first of those who counted started, in seconds of Unix time.
    pub(super) fn since(&self) -> u64 {
        self.since
    }

    /// What all others counted.
    pub(super) fn of_others(&self) -> Counters {
        let mut sum = self.others.clone();
        self.reports.values().for_each(|report| sum.add(report));
        sum
    }

    /// For the next worker: this one has counted `own`.
    fn totals(&self, own: &Counters) -> Totals {
        let mut counters = self.others.clone();
        counters.add(own);
        Totals { since: self.since, counters, reports: self.reports.clone() }
    }

    /// Goes on from what was kept, as worker number `generation`. If this one counted part of that
    /// itself, before it let go, that part is not the others'.
    fn inherit(&mut self, totals: Totals, generation: u32) {
        self.since = totals.since;
        self.others = match self.released.take() {
            Some(released) => totals.counters.since(&released),
            None => totals.counters,
        };
        self.reports = totals.reports;
        self.reports.remove(&generation);
        self.told = None;
    }

    /// What that worker has counted since it let go, in place of what it said before.
    fn take(&mut self, generation: u32, counted: Counters) {
        self.reports.insert(generation, counted);
        while self.reports.len() > REPORTS_MAX {
            if let Some((_, oldest)) = self.reports.pop_first() {
                self.others.add(&oldest);
            }
        }
    }

    /// That worker says nothing more: what it said last is final.
    fn settle(&mut self, generation: u32) {
        if let Some(last) = self.reports.remove(&generation) {
            self.others.add(&last);
        }
    }

    /// Forgets names that `config` does not have: if they come back, they begin anew.
    pub(super) fn follow(&mut self, config: &Config) {
        for counters in self.reports.values_mut().chain([&mut self.others]) {
            counters.listeners.retain(|name, _| config.listeners.contains_key(name));
            counters.routes.retain(|name, _| name == "-" || config.routes.contains_key(name));
            counters.acme.retain(|name, _| config.acme.contains_key(name));
            counters.outputs.retain(|(app, number), _| has_instance(config, app, *number));
            counters.pools.retain(|name, pool| {
                pool.servers.retain(|server, _| has_server(config, name, server));
                config.pools.contains_key(name)
            });
        }
    }
}

fn has_instance(config: &Config, app: &str, number: u16) -> bool {
    config.apps.get(app).is_some_and(|app| number < app.instances)
}

fn has_server(config: &Config, pool: &str, server: &str) -> bool {
    let Some(pool) = config.pools.get(pool) else { return false };
    if pool.servers.contains_key(server) {
        return true;
    }
    let Some((app, number)) = server.rsplit_once('/') else { return false };
    let mut servers = pool.servers.values();
    let is_member = servers.any(|one| matches!(&one.target, Target::App(name) if name == app));
    is_member && number.parse().is_ok_and(|number| has_instance(config, app, number))
}

impl ControlPlane {
    /// Everything that is counted, by all workers. It is kept before anybody sees it, so that the
    /// next worker goes on from there whatever becomes of this one.
    pub(super) async fn stats(&mut self) -> Stats {
        let mut stats = self.own_stats().await;
        self.keep_state_with(&Counters::of(&stats), Vec::new());
        stats.add(&self.carried.of_others());
        stats.started_at = self.carried.since();
        stats
    }

    /// Has the keeper keep what this worker knows, if it is time.
    pub(super) async fn keep_state_in_time(&mut self) {
        if clock::now() - self.carried.kept_at >= KEEP_EVERY {
            self.keep_state().await;
        }
    }

    /// Has the keeper keep what this worker knows.
    pub(super) async fn keep_state(&mut self) {
        let own = Counters::of(&self.own_stats().await);
        self.keep_state_with(&own, Vec::new());
    }

    /// Has the keeper keep what this worker knows, for the last time as the primary one: what it
    /// counts from here on it tells with [`ControlPlane::share`].
    pub(super) async fn keep_last_state(&mut self) {
        let own = Counters::of(&self.own_stats().await);
        // Nobody reads what apps print until another worker does: what was begun stays so.
        let begun = self.output.unended().into_iter();
        let begun = begun.map(|(run, Unended { text, is_amid })| Line { run, text, is_amid });
        self.keep_state_with(&own, begun.collect());
        self.carried.released = Some(own);
    }

    /// Goes on from what another worker knew. What cannot be trusted is not used at all.
    pub(super) fn inherit(&mut self, kept: &[u8]) {
        let mut state = match State::decode(kept) {
            Ok(state) => state,
            Err(refusal) => {
                let reason =
                    format!("{refusal}; nothing is known of servers, counting begins anew");
                return self.event(Level::Warn, "state_refused", "worker", &reason);
            }
        };
        let generation = self.birth.generation;
        self.carried.inherit(std::mem::take(&mut state.totals), generation);
        self.carried.follow(self.gateway.config());
        let lines = std::mem::take(&mut state.lines).into_iter();
        let begun = lines.map(|Line { run, text, is_amid }| (run, Unended { text, is_amid }));
        self.output.inherit(begun.collect());
        let workers = self.node.workers.iter().map(|worker| worker.generation);
        let others: Vec<u32> = workers.filter(|other| *other != generation).collect();
        self.gateway.inherit(state, &others);
    }

    /// What the primary worker is to know of this one, which drains: what is open, and what was
    /// counted since [`ControlPlane::keep_last_state`]. Nothing if that is what it was told last.
    async fn share(&mut self) -> Option<Vec<u8>> {
        let own = Counters::of(&self.own_stats().await);
        let counted = match &self.carried.released {
            Some(released) => own.since(released),
            // It never was the primary one: nobody has kept anything of it.
            None => own,
        };
        let shared = Shared { open: self.gateway.open(self.birth.generation), counted };
        let is_news = self.carried.told.as_ref().is_none_or(|told| {
            // Telling takes time too, and is not worth telling.
            let cpu_nanos = told.counted.cpu_nanos;
            let counted = Counters { cpu_nanos, ..shared.counted.clone() };
            told.open != shared.open || told.counted != counted
        });
        if !is_news {
            return None;
        }
        self.carried.told = Some(shared.clone());
        shared.encode()
    }

    /// Tells the primary worker what has changed here since it was told last.
    pub(super) async fn tell_shared(&mut self) {
        let Some(shared) = self.share().await else { return };
        if self.keeper_is_gone() {
            return;
        }
        if let Ok(file) = memfd::seal("evergate-shared", &shared) {
            let _ = self.link.send(&ToKeeper::Shared, &[file.as_fd()]);
        }
    }

    /// Takes what a worker that drains says. What cannot be trusted changes nothing: another
    /// report follows.
    pub(super) fn take_shared(&mut self, generation: u32, fds: &[OwnedFd]) {
        let file = fds.first().and_then(|file| memfd::read(file, BYTES_MAX).ok());
        match Shared::decode(&file.unwrap_or_default()) {
            Ok(Shared { open, counted }) => {
                self.carried.take(generation, counted);
                self.gateway.set_elsewhere(generation, Some(Open { generation, ..open }));
            }
            Err(refusal) => {
                let reason = format!("what worker {generation} shares: {refusal}");
                self.event(Level::Warn, "state_refused", "worker", &reason);
            }
        }
    }

    /// That worker is gone: nothing is open to it any more, and what it said last is final.
    pub(super) fn forget_shared(&mut self, generation: u32) {
        self.carried.settle(generation);
        self.gateway.set_elsewhere(generation, None);
    }

    /// Forgets connections of workers that the keeper does not speak of any more.
    pub(super) fn follow_workers(&mut self) {
        let gone: Vec<u32> = self.gateway.elsewhere().map(|open| open.generation).collect();
        for generation in gone {
            if self.node.workers.iter().all(|worker| worker.generation != generation) {
                self.gateway.set_elsewhere(generation, None);
            }
        }
    }

    fn keep_state_with(&mut self, own: &Counters, lines: Vec<Line>) {
        self.carried.kept_at = clock::now();
        let mut state = self.gateway.carry(self.birth.generation);
        state.totals = self.carried.totals(own);
        state.lines = lines;
        let blob = state.encode();
        let is_news = blob.is_none() && !self.carried.is_too_large;
        self.carried.is_too_large = blob.is_none();
        match blob {
            Some(blob) if !self.keeper_is_gone() => self.keep(KEPT_STATE, &blob),
            Some(_) => {}
            None if is_news => {
                let reason = "it is too large: a worker that comes after this one counts anew";
                self.event(Level::Warn, "state_not_kept", "worker", reason);
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::{Path, PathBuf};

    use evergate_config::{Files, load_with};
    use evergate_control::state::{PoolCounters, RouteCounters, ServerCounters};

    use super::*;

    /// As much of a worker as counts.
    struct Worker {
        generation: u32,
        carried: Carried,
        own: u64,
    }

    fn counted(panics: u64) -> Counters {
        Counters { panics, ..Counters::default() }
    }

    impl Worker {
        fn new(generation: u32) -> Self {
            Self { generation, carried: Carried::new(100 + u64::from(generation)), own: 0 }
        }

        fn after(generation: u32, totals: Totals) -> Self {
            let mut worker = Self::new(generation);
            worker.carried.inherit(totals, generation);
            worker
        }

        fn shown(&self) -> (u64, u64) {
            (self.own + self.carried.of_others().panics, self.carried.since)
        }

        fn kept(&self) -> Totals {
            self.carried.totals(&counted(self.own))
        }

        fn release(&mut self) -> Totals {
            self.carried.released = Some(counted(self.own));
            self.kept()
        }

        fn share_with(&self, primary: &mut Self) {
            let released = self.carried.released.clone().unwrap_or_default();
            primary.carried.take(self.generation, counted(self.own).since(&released));
        }
    }

    #[test]
    fn counters_go_on_from_worker_to_worker_and_nothing_counts_twice() {
        let mut first = Worker::new(1);
        first.own = 10;
        // The second counts beside the first before it takes over.
        let mut second = Worker::new(2);
        second.own = 3;
        second.carried.inherit(first.release(), 2);
        assert_eq!(second.shown(), (13, 101));
        first.own += 4;
        first.share_with(&mut second);
        first.share_with(&mut second);
        assert_eq!(second.shown().0, 17);
        first.own += 1;
        first.share_with(&mut second);
        assert_eq!(second.shown().0, 18);

        // A third comes while the first still drains.
        let mut third = Worker::after(3, second.release());
        assert_eq!(third.shown(), (18, 101));
        second.own += 5;
        second.share_with(&mut third);
        first.own += 1;
        first.share_with(&mut third);
        assert_eq!(third.shown().0, 24);
        third.carried.settle(1);
        assert_eq!(third.shown().0, 24, "what it said last stays");
        third.carried.settle(2);
        third.carried.settle(2);
        assert_eq!(third.shown().0, 24);
    }

    #[test]
    fn a_worker_that_is_called_back_does_not_count_itself_twice() {
        let mut first = Worker::new(1);
        first.own = 10;
        let mut second = Worker::after(2, first.release());
        second.own = 3;
        first.own += 4;
        first.share_with(&mut second);
        assert_eq!(second.shown().0, 17);
        let kept = second.kept();
        // The second is killed before it shares anything.
        first.own += 1;
        first.carried.inherit(kept, 1);
        assert_eq!(first.shown(), (18, 101));
        // And let go again.
        let third = Worker::after(3, first.release());
        assert_eq!(third.shown(), (18, 101));
    }

    #[test]
    fn a_worker_that_is_called_back_before_anything_was_kept_goes_on() {
        let mut first = Worker::new(1);
        first.own = 10;
        let kept = first.release();
        first.own += 2;
        first.carried.inherit(kept, 1);
        assert_eq!(first.shown(), (12, 101));
    }

    #[test]
    fn reports_are_bounded_and_none_is_lost() {
        let mut worker = Worker::new(99);
        for generation in 0..2 * REPORTS_MAX as u32 {
            worker.carried.take(generation, counted(1));
        }
        assert_eq!(worker.carried.reports.len(), REPORTS_MAX);
        assert_eq!(worker.shown().0, 2 * REPORTS_MAX as u64);
    }

    struct Text(&'static str);

    impl Files for Text {
        fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
            Ok(self.0.as_bytes().into())
        }

        fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
            Ok(Vec::new())
        }

        fn env(&self, _: &str) -> Option<String> {
            None
        }
    }

    #[test]
    fn what_left_the_configuration_begins_anew() {
        let text = "[listener.web]\nbind = [\"127.0.0.1:0\"]\n\
                    [route.all]\nmatch = \"/*\"\npool = \"api\"\n\
                    [app.shop]\nrun = [\"/bin/shop\"]\ninstances = 2\n\
                    [pool.api]\nservers = { a = { url = \"http://127.0.0.1:1\" }, \
                    shop = { app = \"shop\" } }\n";
        let loaded = load_with(Path::new("/evergate.toml"), &Text(text)).unwrap();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let servers: Vec<String> = names(&["a", "b", "shop", "shop/0", "shop/2", "other/0"]);
        let servers = servers.into_iter().map(|name| (name, ServerCounters::default()));
        let pool = PoolCounters { servers: servers.collect(), ..PoolCounters::default() };
        let routes: Vec<String> = names(&["-", "all", "gone"]);
        let counters = Counters {
            routes: routes.into_iter().map(|name| (name, RouteCounters::default())).collect(),
            pools: [("api".to_owned(), pool.clone()), ("gone".to_owned(), pool)].into(),
            ..Counters::default()
        };
        let mut carried = Carried::new(0);
        carried.others = counters.clone();
        carried.take(1, counters);
        carried.follow(&loaded.config);
        for counters in [&carried.others, &carried.reports[&1]] {
            assert!(counters.routes.keys().eq(["-", "all"]));
            assert!(counters.pools.keys().eq(["api"]));
            assert!(counters.pools["api"].servers.keys().eq(["a", "shop", "shop/0"]));
        }
    }
}
