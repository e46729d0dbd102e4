//! Every input in every stage.

use std::collections::BTreeMap;
use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::deploy;
use crate::supervise::policy::{Alive, Backoff, MemoryWatch, Ready, Restart};

const SECOND: Duration = Duration::from_secs(1);

/// When everything here happens; the stages have lasted for 5 s.
const NOW: Instant = Instant::from_nanos(100_000_000_000);

fn policy(by: ReadyBy) -> Policy {
    Policy {
        instances: 1,
        after: Vec::new(),
        ready: Ready { by, within: 5 * SECOND },
        alive: Some(Alive { fall: 2, restart_after: Some(10 * SECOND) }),
        restart: Restart::Always,
        backoff: Backoff {
            base: SECOND,
            cap: SECOND,
            failures: 3,
            within: SECOND,
            cooldown: SECOND,
            stable_after: 5 * SECOND,
        },
        stop: Stop { drain: 5 * SECOND, timeout: 5 * SECOND },
        memory: Some(MemoryWatch { rss: 1_000, over: 10 * SECOND }),
        deploy: deploy::Policy {
            surge: 1,
            unavailable: 0,
            canary_for: SECOND,
            on_failure: deploy::OnFailure::Abort,
        },
    }
}

fn life(stage: Stage) -> Life {
    let since = Instant::from_nanos(95_000_000_000);
    let policy = policy(ReadyBy::Notice);
    let terms = Terms { policy: &policy, has_gateway: true };
    Life { stage, ..Life::new(since, terms, 1, Revision(1)) }
}

/// The stages by name, with how a run is found ready; those with a time are due, or soon.
fn stages() -> Vec<(&'static str, ReadyBy, Stage)> {
    let soon = NOW + SECOND;
    let since = Some(Instant::from_nanos(95_000_000_000));
    let clock = |spent| Clock { spent, since };
    let starting = |spent| Stage::Starting { passes: 0, clock: clock(spent) };
    let early = Clock { spent: Duration::ZERO, since: Some(NOW) };
    std::vec![
        ("starting by notice", ReadyBy::Notice, Stage::Starting { passes: 0, clock: early }),
        (
            "starting by probes",
            ReadyBy::Probes { rise: 2 },
            Stage::Starting { passes: 0, clock: early }
        ),
        (
            "starting, probed once",
            ReadyBy::Probes { rise: 2 },
            Stage::Starting { passes: 1, clock: early }
        ),
        (
            "starting by uptime",
            ReadyBy::Uptime(6 * SECOND),
            Stage::Starting { passes: 0, clock: early }
        ),
        ("starting, up for long", ReadyBy::Uptime(5 * SECOND), starting(Duration::ZERO)),
        ("starting, late", ReadyBy::Notice, starting(Duration::ZERO)),
        ("ready", ReadyBy::Notice, Stage::Ready { misses: 0 }),
        ("ready, missed once", ReadyBy::Notice, Stage::Ready { misses: 1 }),
        ("hung", ReadyBy::Notice, Stage::Unhealthy { hung_since: since }),
        ("says it stops", ReadyBy::Notice, Stage::Unhealthy { hung_since: None }),
        ("draining", ReadyBy::Notice, Stage::Draining { until: soon }),
        ("draining, due", ReadyBy::Notice, Stage::Draining { until: NOW }),
        ("asked", ReadyBy::Notice, Stage::Asked { until: soon }),
        ("asked, due", ReadyBy::Notice, Stage::Asked { until: NOW }),
        ("tree asked", ReadyBy::Notice, Stage::TreeAsked { until: soon }),
        ("tree asked, due", ReadyBy::Notice, Stage::TreeAsked { until: NOW }),
        ("killed", ReadyBy::Notice, Stage::Killed { until: soon }),
        ("killed, due", ReadyBy::Notice, Stage::Killed { until: NOW }),
        ("stuck", ReadyBy::Notice, Stage::Stuck),
    ]
}

fn inputs() -> Vec<(&'static str, Input<'static>)> {
    let probed = |probe, failure| Input::Probed { probe, failure };
    std::vec![
        ("exits", Input::Exited { has_rest: false }),
        ("exits, rest", Input::Exited { has_rest: true }),
        ("emptied", Input::Emptied),
        ("says ready", Input::Noticed { is_ready: true }),
        ("says stops", Input::Noticed { is_ready: false }),
        ("ready passes", probed(Probe::Ready, None)),
        ("ready fails", probed(Probe::Ready, Some("refused"))),
        ("alive passes", probed(Probe::Alive, None)),
        ("alive fails", probed(Probe::Alive, Some("no answer"))),
        ("idle", Input::Idle),
        ("measured", Input::Measured { rss: 2_000 }),
        ("end", Input::End),
        ("hurry", Input::Hurry),
        ("tick", Input::Tick),
    ]
}

/// The name of a stage as it is after an input, without its times.
fn name(stage: Stage) -> std::string::String {
    match stage {
        Stage::Starting { passes, .. } => format!("starting {passes}"),
        Stage::Ready { misses } => format!("ready {misses}"),
        Stage::Unhealthy { hung_since: Some(_) } => "hung".to_string(),
        Stage::Unhealthy { hung_since: None } => "stops".to_string(),
        Stage::Draining { .. } => "draining".to_string(),
        Stage::Asked { .. } => "asked".to_string(),
        Stage::TreeAsked { .. } => "tree asked".to_string(),
        Stage::Killed { .. } => "killed".to_string(),
        Stage::Stuck => "stuck".to_string(),
    }
}

#[test]
fn every_transition() {
    let crash = (Some(Effect::Crashed { has_rest: false }), "killed");
    let crash_rest = (Some(Effect::Crashed { has_rest: true }), "killed");
    let ready = (Some(Effect::Ready), "ready 0");
    let (ask, ask_tree) = ((Some(Effect::Ask), "asked"), (Some(Effect::AskTree), "tree asked"));
    let kill = (Some(Effect::Kill), "killed");
    let mut changes = BTreeMap::from([
        (("starting by notice", "says ready"), ready),
        (("starting, late", "says ready"), ready),
        (("starting, late", "tick"), (Some(Effect::Late), "killed")),
        (("starting by probes", "ready passes"), (None, "starting 1")),
        (("starting, probed once", "ready passes"), ready),
        (("starting, probed once", "ready fails"), (None, "starting 0")),
        (("starting, up for long", "tick"), ready),
        (("ready", "alive fails"), (None, "ready 1")),
        (("ready, missed once", "alive fails"), (Some(Effect::Unhealthy), "hung")),
        (("ready, missed once", "alive passes"), (None, "ready 0")),
        (("hung", "alive passes"), ready),
        (("says it stops", "says ready"), ready),
        (("draining", "idle"), ask),
        (("draining, due", "idle"), ask),
        (("draining, due", "tick"), ask),
        (("asked, due", "tick"), ask_tree),
        (("tree asked, due", "tick"), kill),
        (("killed, due", "tick"), (Some(Effect::Stuck), "stuck")),
    ]);
    for (stage, ..) in stages() {
        let is_starting = stage.starts_with("starting");
        let is_served = stage.starts_with("ready") || ["hung", "says it stops"].contains(&stage);
        if is_starting || is_served {
            changes.insert((stage, "exits"), crash);
            changes.insert((stage, "exits, rest"), crash_rest);
            changes.insert((stage, "end"), if is_starting { ask } else { (None, "draining") });
        } else {
            changes.insert((stage, "exits"), (Some(Effect::Gone), "gone"));
        }
        if stage.starts_with("ready") {
            changes.insert((stage, "says stops"), (Some(Effect::Unhealthy), "stops"));
        }
        if stage.starts_with("draining") || stage.starts_with("asked") {
            changes.insert((stage, "exits, rest"), ask_tree);
            changes.insert((stage, "hurry"), kill);
        }
        if stage.starts_with("tree asked") {
            changes.insert((stage, "hurry"), kill);
        }
    }
    for (named, by, stage) in stages() {
        for (what, input) in inputs() {
            let policy = policy(by);
            let terms = Terms { policy: &policy, has_gateway: true };
            let mut life = life(stage);
            let effect = life.handle(NOW, terms, input);
            let after =
                if effect == Some(Effect::Gone) { "gone".to_string() } else { name(life.stage) };
            let same = (None, name(stage));
            let expected = changes.remove(&(named, what)).map_or(same, |(e, s)| (e, s.to_string()));
            assert_eq!((effect, after), expected, "{named}: {what}");
        }
    }
    assert!(changes.is_empty(), "nothing like this came up: {changes:?}");
}

#[test]
fn what_a_dead_process_left_is_awaited_in_every_stage_of_leaving() {
    for (named, by, stage) in stages().into_iter().skip(10) {
        let policy = policy(by);
        let terms = Terms { policy: &policy, has_gateway: true };
        let mut life = Life { has_main: false, ..life(stage) };
        assert!(!life.is_in_the_way(), "{named}");
        assert_eq!(life.handle(NOW, terms, Input::Emptied), Some(Effect::Gone), "{named}");
    }
}

#[test]
fn without_a_gateway_nothing_drains_and_no_time_of_probes_passes() {
    let policy = policy(ReadyBy::Probes { rise: 1 });
    let [with, without] = [true, false].map(|has_gateway| Terms { policy: &policy, has_gateway });
    let mut draining = life(Stage::Draining { until: NOW + SECOND });
    assert_eq!(draining.handle(NOW, without, Input::Tick), Some(Effect::Ask));
    let mut ready = life(Stage::Ready { misses: 0 });
    assert_eq!(ready.handle(NOW, without, Input::End), Some(Effect::Ask));

    let mut starting = Life::new(NOW, without, 1, Revision(1));
    let later = NOW + 60 * SECOND;
    assert_eq!(
        (starting.deadline(without), starting.handle(later, without, Input::Tick)),
        (None, None)
    );
    assert_eq!(starting.handle(later, with, Input::Tick), None);
    assert_eq!(starting.handle(later + 4 * SECOND, without, Input::Tick), None, "4 s were spent");
    assert_eq!(starting.handle(later + 9 * SECOND, with, Input::Tick), None);
    assert_eq!(starting.deadline(with), Some(later + 10 * SECOND));
    assert_eq!(starting.handle(later + 10 * SECOND, with, Input::Tick), Some(Effect::Late));

    let mut hung = life(Stage::Unhealthy { hung_since: Some(NOW) });
    hung.handle(NOW + 9 * SECOND, without, Input::Tick);
    assert_eq!(hung.ill_at(&policy)[0], Some(NOW + 19 * SECOND), "nobody can say that it hangs");
}

#[test]
fn what_hangs_or_swells_for_long_is_ill() {
    let policy = policy(ReadyBy::Notice);
    let terms = Terms { policy: &policy, has_gateway: true };
    let later = NOW + 10 * SECOND;
    let hung = life(Stage::Unhealthy { hung_since: Some(NOW) });
    assert_eq!(hung.ill(NOW + 9 * SECOND, &policy), None);
    assert_eq!(hung.ill(later, &policy), Some(Ill::Hangs { after: 10 * SECOND }));

    let mut swollen = life(Stage::Ready { misses: 0 });
    swollen.handle(NOW, terms, Input::Measured { rss: 1_001 });
    swollen.handle(NOW + SECOND, terms, Input::Measured { rss: 3_000 });
    assert_eq!(swollen.ill(later, &policy), Some(Ill::Swells { rss: 3_000 }));
    swollen.handle(later, terms, Input::Measured { rss: 1_000 });
    assert_eq!(swollen.ill(later, &policy), None, "it is back within its bound");
}

#[test]
fn a_run_that_was_ready_for_long_stays_stable_when_it_falls_ill() {
    let policy = policy(ReadyBy::Notice);
    let terms = Terms { policy: &policy, has_gateway: true };
    let mut life = life(Stage::Ready { misses: 0 });
    assert!(!life.is_stable(Instant::from_nanos(99_000_000_000), &policy));
    life.handle(NOW, terms, Input::Noticed { is_ready: false });
    assert!(life.is_stable(NOW, &policy));
}
