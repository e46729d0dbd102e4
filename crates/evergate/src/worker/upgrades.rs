//! Keeper, workers and upgrades as the keeper tells of them, in words.

use std::collections::BTreeMap;

use evergate_config::Level;
use evergate_control::link::{
    NodeNews, UpgradeCounts, UpgradeNews, UpgradeOutcome, UpgradePhase, WorkerNews, WorkerState,
};
use evergate_control::snapshot::{UpgradeStatus, UpgradeStepStatus, WorkerStatus};
use evergate_sys::clock;

use super::control_plane::ControlPlane;

impl ControlPlane {
    /// Every worker, with what is open to it as far as that is known.
    pub(super) fn workers(&self) -> Vec<WorkerStatus> {
        let now_ms = clock::unix_millis();
        let generation = self.birth.generation;
        let open: BTreeMap<u32, u64> = self
            .gateway
            .elsewhere()
            .chain([&self.gateway.open(generation)])
            .map(|open| (open.generation, open.total()))
            .collect();
        let workers = self.node.workers.iter();
        workers.map(|one| worker(one, now_ms, open.get(&one.generation).copied())).collect()
    }
}

fn worker(news: &WorkerNews, now_ms: u64, connections: Option<u64>) -> WorkerStatus {
    WorkerStatus {
        generation: news.generation,
        pid: news.pid,
        version: news.version.clone().unwrap_or_default(),
        state: state_word(news.state).to_owned(),
        since_seconds: now_ms.saturating_sub(news.since_ms) / 1000,
        connections,
    }
}

/// How many workers do what.
pub(super) fn workers_by_state(news: &NodeNews) -> Vec<(String, u64)> {
    const STATES: [WorkerState; 4] =
        [WorkerState::Starting, WorkerState::Standby, WorkerState::Primary, WorkerState::Draining];
    let count = |state| news.workers.iter().filter(|worker| worker.state == state).count() as u64;
    STATES.map(|state| (state_word(state).to_owned(), count(state))).to_vec()
}

/// How many upgrades ended how.
pub(super) fn by_outcome(news: &NodeNews) -> Vec<(String, u64)> {
    let UpgradeCounts { done, refused, returned, partial } = news.ended;
    let counts =
        [("done", done), ("refused", refused), ("returned", returned), ("partial", partial)];
    counts.map(|(outcome, count)| (outcome.to_owned(), u64::from(count))).to_vec()
}

const fn state_word(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Starting => "starting",
        WorkerState::Standby => "standby",
        WorkerState::Primary => "primary",
        WorkerState::Draining => "draining",
    }
}

/// An upgrade.
pub(super) fn upgrade(news: &UpgradeNews) -> UpgradeStatus {
    let (outcome, reason) = match &news.outcome {
        None => ("under way", None),
        Some(UpgradeOutcome::Done) => ("done", None),
        Some(UpgradeOutcome::Refused(why)) => ("refused", Some(why)),
        Some(UpgradeOutcome::Returned(why)) => ("returned", Some(why)),
        Some(UpgradeOutcome::Partial(why)) => ("partial", Some(why)),
    };
    let steps = news.steps.iter().map(|step| UpgradeStepStatus {
        phase: phase_word(step.phase).to_owned(),
        at_ms: step.at_ms,
        took_ms: step.took_ms.map(u64::from),
    });
    UpgradeStatus {
        number: news.number,
        binary: news.binary.clone(),
        version: news.version.clone().unwrap_or_default(),
        steps: steps.collect(),
        outcome: outcome.to_owned(),
        reason: reason.cloned(),
    }
}

/// Whether one worker is being watched beside another, or keeper and workers change otherwise.
pub(super) fn is_under_way(news: &NodeNews) -> bool {
    news.upgrade.as_ref().is_some_and(|upgrade| upgrade.outcome.is_none())
}

/// Something worth an event: level, kind, subject and reason.
pub(super) type Told = (Level, &'static str, String, String);

/// What has become of workers and upgrades between the two.
pub(super) fn news(before: &NodeNews, after: &NodeNews) -> Vec<Told> {
    let mut all = Vec::new();
    if let Some(upgrade) = &after.upgrade {
        let known = before.upgrade.as_ref().filter(|known| known.number == upgrade.number);
        all.extend(upgrade_news(known, upgrade));
    }
    let of = |news: &NodeNews, generation: u32| {
        news.workers.iter().find(|one| one.generation == generation).map(|one| one.state)
    };
    for worker in &after.workers {
        let known = of(before, worker.generation);
        if worker.state == WorkerState::Draining && known != Some(WorkerState::Draining) {
            let reason = "it accepts no more, and finishes what it began".to_owned();
            all.push((Level::Info, "worker_draining", subject(worker), reason));
        }
    }
    let gone = before.workers.iter().filter(|worker| of(after, worker.generation).is_none());
    all.extend(gone.map(|worker| {
        let (level, reason) = match worker.state {
            WorkerState::Draining => (Level::Info, "it has finished"),
            WorkerState::Starting | WorkerState::Standby | WorkerState::Primary => {
                (Level::Warn, "it ended before its time")
            }
        };
        (level, "worker_gone", subject(worker), reason.to_owned())
    }));
    all
}

fn upgrade_news(known: Option<&UpgradeNews>, upgrade: &UpgradeNews) -> Vec<Told> {
    let subject = format!("upgrade.{}", upgrade.number);
    let mut all = Vec::new();
    if known.is_none() {
        let reason = format!("to {}", upgrade.binary);
        all.push((Level::Info, "upgrade_started", subject.clone(), reason));
    }
    let is_told = known.is_some_and(|known| known.outcome.is_some());
    let Some(outcome) = upgrade.outcome.as_ref().filter(|_| !is_told) else { return all };
    let (level, kind, reason) = match outcome {
        UpgradeOutcome::Done => {
            let version = upgrade.version.as_deref().unwrap_or("another version");
            (Level::Info, "upgrade_done", format!("{version} serves, from {}", upgrade.binary))
        }
        UpgradeOutcome::Refused(why) => (Level::Warn, "upgrade_refused", why.clone()),
        UpgradeOutcome::Returned(why) => (Level::Error, "upgrade_returned", why.clone()),
        UpgradeOutcome::Partial(why) => (Level::Warn, "upgrade_partial", why.clone()),
    };
    all.push((level, kind, subject, reason));
    all
}

fn subject(worker: &WorkerNews) -> String {
    format!("worker.{}", worker.generation)
}

/// A phase, in a word.
const fn phase_word(phase: UpgradePhase) -> &'static str {
    match phase {
        UpgradePhase::Checking => "check",
        UpgradePhase::Loading => "load",
        UpgradePhase::Activating => "activate",
        UpgradePhase::Probing => "probe",
        UpgradePhase::Releasing => "release",
        UpgradePhase::Acquiring => "acquire",
        UpgradePhase::Soaking => "soak",
        UpgradePhase::Rehearsing => "rehearse",
        UpgradePhase::Executing => "execute",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(generation: u32, state: WorkerState) -> WorkerNews {
        WorkerNews { generation, pid: generation, version: None, state, since_ms: 0 }
    }

    fn node(
        workers: &[(u32, WorkerState)],
        upgrade: Option<(u32, Option<UpgradeOutcome>)>,
    ) -> NodeNews {
        let upgrade = upgrade.map(|(number, outcome)| UpgradeNews {
            number,
            binary: "/new".to_owned(),
            version: Some("9.9.9".to_owned()),
            steps: Vec::new(),
            outcome,
        });
        let workers = workers.iter().map(|(number, state)| worker(*number, *state)).collect();
        NodeNews { workers, upgrade, ..NodeNews::default() }
    }

    fn told(before: &NodeNews, after: &NodeNews) -> Vec<String> {
        let all = news(before, after).into_iter();
        all.map(|(_, kind, subject, reason)| format!("{kind} {subject}: {reason}")).collect()
    }

    #[test]
    fn each_change_of_workers_and_upgrades_is_told_once() {
        use UpgradeOutcome::{Done, Partial, Refused, Returned};
        use WorkerState::{Draining, Primary, Standby, Starting};
        let why = || "it crashed".to_owned();
        let cases = [
            (node(&[(1, Primary)], None), vec![]),
            (
                node(&[(1, Primary), (2, Starting)], Some((1, None))),
                vec!["upgrade_started upgrade.1: to /new"],
            ),
            (node(&[(1, Primary), (2, Standby)], Some((1, None))), vec![]),
            (
                node(&[(1, Draining), (2, Primary)], Some((1, None))),
                vec!["worker_draining worker.1: it accepts no more, and finishes what it began"],
            ),
            (
                node(&[(1, Draining), (2, Primary)], Some((1, Some(Done)))),
                vec!["upgrade_done upgrade.1: 9.9.9 serves, from /new"],
            ),
            (
                node(&[(2, Primary)], Some((1, Some(Done)))),
                vec!["worker_gone worker.1: it has finished"],
            ),
            (
                // So quick that its beginning was not told on its own.
                node(&[(2, Primary)], Some((2, Some(Refused(why()))))),
                vec!["upgrade_started upgrade.2: to /new", "upgrade_refused upgrade.2: it crashed"],
            ),
            (
                node(&[(2, Primary)], Some((3, Some(Returned(why()))))),
                vec![
                    "upgrade_started upgrade.3: to /new",
                    "upgrade_returned upgrade.3: it crashed",
                ],
            ),
            (
                node(&[(2, Primary), (3, Standby)], Some((4, None))),
                vec!["upgrade_started upgrade.4: to /new"],
            ),
            (
                node(&[(2, Primary)], Some((4, Some(Partial(why()))))),
                vec![
                    "upgrade_partial upgrade.4: it crashed",
                    "worker_gone worker.3: it ended before its time",
                ],
            ),
        ];
        let mut before = NodeNews::default();
        for (after, expected) in cases {
            assert_eq!(told(&before, &after), expected);
            assert_eq!(told(&after, &after), Vec::<String>::new());
            before = after;
        }
    }
}
