//! The timetable of checks, and what crosses from one worker to the next.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use evergate_config::{Files, load_with};
use tokio::sync::broadcast;

use super::*;
use crate::resolve::Addresses;
use crate::tls::termination::Common;

struct Text(String);

impl Files for Text {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }
}

fn plan(checks: &str, before: Option<&Plan>) -> Plan {
    let text = format!(
        "[listener.web]\nbind = [\"127.0.0.1:0\"]\n\
         [route.all]\nmatch = \"/*\"\npool = \"api\"\n\
         [pool.api]\nservers = {{ a = {{ url = \"http://127.0.0.1:1\" }} }}\n{checks}\n"
    );
    let loaded = load_with(Path::new("/evergate.toml"), &Text(text)).unwrap();
    Plan::compile(
        &loaded.config,
        &Addresses::default(),
        &BTreeMap::new(),
        &Common::default(),
        before,
    )
    .unwrap()
}

#[test]
fn a_new_timetable_takes_the_place_of_the_old_one() {
    let (mut wards, _checked) = Wards::new();
    let (mut rng, now) = (Rng::seeded(1), Instant::EPOCH);
    let mut events = Events::new(broadcast::Sender::new(8), quiet());
    let slow = plan("check.tcp = { every = \"9s\" }", None);
    wards.sync(&slow, now, &mut rng, &mut events);
    assert_eq!(wards.timetable.len(), 1);
    let fast = plan("check.tcp = { every = \"3s\" }", Some(&slow));
    let uid = fast.pools[0].endpoints[0].uid;
    assert_eq!(uid, slow.pools[0].endpoints[0].uid, "the endpoint stays");
    wards.sync(&fast, now, &mut rng, &mut events);
    wards.sync(&fast, now, &mut rng, &mut events);
    assert_eq!(wards.timetable.len(), 1, "one check at a time");

    // A check that the old policy wanted has nothing to say any more, whatever its index.
    wards.probing = 1;
    let refused = Err("connection refused".to_owned());
    let stale = Checked { uid, check: 0, policy: 1, outcome: refused };
    wards.hear(stale, &fast, now, &mut events);
    assert_eq!(wards.wards[&uid].health.verdict().state, State::Up);
    let none = plan("", Some(&fast));
    wards.sync(&none, now, &mut rng, &mut events);
    assert_eq!(wards.timetable.len(), 0);
}

#[test]
fn nobody_is_checked_while_another_process_does_that() {
    let (mut wards, _checked) = Wards::new();
    let (mut rng, now) = (Rng::seeded(1), Instant::EPOCH);
    let mut events = Events::new(broadcast::Sender::new(8), quiet());
    let plan = plan("check.tcp = { every = \"9s\" }", None);
    wards.set_checks(Checks::Off, now);
    wards.sync(&plan, now, &mut rng, &mut events);
    assert_eq!(wards.deadline(), None);
    wards.set_checks(Checks::On, now);
    wards.set_checks(Checks::On, now);
    assert_eq!(wards.timetable.len(), 1);
    assert!(wards.deadline().unwrap() < now + Duration::from_secs(9), "within the interval");

    wards.set_checks(Checks::Off, now);
    assert_eq!(wards.deadline(), None);
    // One was under way.
    wards.probing = 1;
    let uid = plan.pools[0].endpoints[0].uid;
    let outcome = Err("connection refused".to_owned());
    wards.hear(Checked { uid, check: 0, policy: 1, outcome }, &plan, now, &mut events);
    assert_eq!((wards.probing, wards.deadline()), (0, None));
}

struct Side {
    wards: Wards,
    plan: Plan,
    events: Events,
    now: Instant,
}

impl Side {
    fn new(now: Instant) -> Self {
        let (mut wards, _checked) = Wards::new();
        let (mut rng, plan) = (Rng::seeded(7), plan(CHECKED, None));
        let mut events = Events::new(broadcast::Sender::new(8), quiet());
        wards.sync(&plan, now, &mut rng, &mut events);
        Self { wards, plan, events, now }
    }

    /// Another worker that goes on from what this one knows.
    fn heir(&self, now: Instant) -> Self {
        let mut heir = Self::new(now);
        let (servers, wishes) = self.wards.carry(&self.plan);
        heir.wards.inherit(&heir.plan, servers, wishes, now);
        heir
    }

    fn check_ends(&mut self, outcome: Result<(), &str>) {
        self.wards.probing += 1;
        let uid = self.plan.pools[0].endpoints[0].uid;
        let outcome = outcome.map_err(str::to_owned);
        let checked = Checked { uid, check: 0, policy: 1, outcome };
        self.wards.hear(checked, &self.plan, self.now, &mut self.events);
    }

    /// State, and the share of the weight in force.
    fn shown(&self) -> (String, u32) {
        let status = self.wards.status(&self.plan, "api", self.now).remove(0);
        assert_eq!(status.state == "up", self.plan.pools[0].endpoints[0].share() > 0);
        (format!("{} {}", status.state, status.reason), status.weight_percent)
    }
}

const CHECKED: &str = "slow_start = \"60s\"\ncheck.tcp = { every = \"9s\", fall = 3, rise = 1 }";

#[test]
fn the_third_failure_counts_although_the_first_two_were_seen_by_another_worker() {
    let now = Instant::EPOCH + Duration::from_secs(100);
    let mut old = Side::new(now);
    old.check_ends(Ok(()));
    old.check_ends(Err("connection refused"));
    old.check_ends(Err("connection refused"));
    let mut new = old.heir(now + Duration::from_secs(1));
    assert_eq!(new.shown(), ("up checks pass".to_owned(), 100), "without slow start");
    new.check_ends(Err("connection refused"));
    assert_eq!(new.shown(), ("down check failed: connection refused".to_owned(), 0));
    assert_eq!(new.events.latest().len(), 1, "only what the new worker saw is an event of its own");

    let mut next = new.heir(now + Duration::from_secs(2));
    assert_eq!(next.shown(), ("down check failed: connection refused".to_owned(), 0));
    assert_eq!(next.events.latest(), [], "it was told of already");
    next.check_ends(Ok(()));
    assert_eq!(next.shown(), ("up checks pass".to_owned(), 10), "it starts slowly");
    let steps = next.heir(next.now + Duration::from_secs(30));
    assert_eq!(steps.shown().1, 50, "and goes on where it was");
}

#[test]
fn checks_go_on_in_their_rhythm() {
    let now = Instant::EPOCH + Duration::from_secs(100);
    let old = Side::new(now);
    let due = old.wards.deadline().unwrap();
    let new = old.heir(now + Duration::from_secs(1));
    assert_eq!(new.wards.deadline().unwrap(), due.max(new.now));
    let late = old.heir(due + Duration::from_secs(5));
    assert_eq!(late.wards.deadline(), Some(late.now), "at once");
    // A clock that cannot be: no check is further away than its interval.
    let (mut servers, wishes) = old.wards.carry(&old.plan);
    servers[0].checks_at = vec![Instant::from_nanos(u64::MAX)];
    let mut odd = Side::new(now);
    odd.wards.inherit(&odd.plan, servers, wishes, now);
    assert!(odd.wards.deadline().unwrap() <= now + Duration::from_secs(10));
}

#[test]
fn the_operators_wishes_and_the_latency_are_carried() {
    let now = Instant::EPOCH + Duration::from_secs(100);
    let mut old = Side::new(now);
    let endpoint = &old.plan.pools[0].endpoints[0];
    endpoint.succeeded(now, Duration::from_millis(40));
    endpoint.failed(now, Duration::ZERO);
    old.wards.adjust(&old.plan, "api", "a", Adjustment::Weight(7), now, &mut old.events).unwrap();
    old.wards.adjust(&old.plan, "api", "a", Adjustment::Drain, now, &mut old.events).unwrap();
    let mut new = old.heir(now);
    assert_eq!(new.shown().0, "draining drained by the operator");
    let latency = new.plan.pools[0].endpoints[0].latency_nanos(now);
    assert_eq!(latency, endpoint.latency_nanos(now));
    assert_eq!(new.plan.pools[0].endpoints[0].failures_in_a_row(), 1);
    new.wards.adjust(&new.plan, "api", "a", Adjustment::Undrain, now, &mut new.events).unwrap();
    assert_eq!(new.wards.status(&new.plan, "api", now)[0].weight, 7);
}

#[test]
fn a_pool_is_judged_once_its_checks_have_ended_and_fails_with_its_last_server() {
    let now = Instant::EPOCH + Duration::from_secs(100);
    let mut side = Side::new(now);
    let judge = |side: &Side| side.wards.judge(&side.plan, "api");
    assert_eq!(judge(&side), None, "nothing is known of it yet");
    side.check_ends(Ok(()));
    assert_eq!(judge(&side), Some(Ok(())));
    (0..3).for_each(|_| side.check_ends(Err("connection refused")));
    let why = "no server is up: a: check failed: connection refused".to_owned();
    assert_eq!(judge(&side), Some(Err(why.clone())));
    assert_eq!(judge(&side.heir(now)), Some(Err(why)), "the next worker says the same");
    side.check_ends(Ok(()));
    assert_eq!(judge(&side), Some(Ok(())), "in slow start, too");
    side.wards.adjust(&side.plan, "api", "a", Adjustment::Drain, now, &mut side.events).unwrap();
    let why = "no server is up: a: drained by the operator".to_owned();
    assert_eq!(judge(&side), Some(Err(why)));
    assert_eq!(side.wards.judge(&side.plan, "unknown"), None);
}

#[test]
fn a_pool_without_checks_can_serve_and_one_without_instances_cannot() {
    let now = Instant::EPOCH + Duration::from_secs(100);
    let (mut wards, _checked) = Wards::new();
    let (mut rng, unchecked) = (Rng::seeded(7), plan("", None));
    let mut events = Events::new(broadcast::Sender::new(8), quiet());
    wards.sync(&unchecked, now, &mut rng, &mut events);
    assert_eq!(wards.judge(&unchecked, "api"), Some(Ok(())));
    let text =
        "[pool.shop]\nservers = { shop = { app = \"shop\" } }\n[app.shop]\nrun = [\"/bin/a\"]";
    let apps = plan(text, Some(&unchecked));
    wards.sync(&apps, now, &mut rng, &mut events);
    let why = "no instance of shop is ready".to_owned();
    assert_eq!(wards.judge(&apps, "shop"), Some(Err(why)));
}

fn quiet() -> evergate_config::Log {
    evergate_config::Log {
        level: Level::Error,
        format: evergate_config::LogFormat::Text,
        access: evergate_config::AccessLog::Off,
    }
}
