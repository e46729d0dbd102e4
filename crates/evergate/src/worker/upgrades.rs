//! Keeper, workers and upgrades as the keeper tells of them, in words.

use evergate_control::link::{
    NodeNews, UpgradeCounts, UpgradeNews, UpgradeOutcome, UpgradePhase, WorkerNews, WorkerState,
};
use evergate_control::snapshot::{UpgradeStatus, UpgradeStepStatus, WorkerStatus};
use evergate_sys::clock;

/// Every worker.
pub(super) fn workers(news: &NodeNews) -> Vec<WorkerStatus> {
    let now_ms = clock::unix_millis();
    news.workers.iter().map(|worker| self::worker(worker, now_ms)).collect()
}

fn worker(news: &WorkerNews, now_ms: u64) -> WorkerStatus {
    WorkerStatus {
        generation: news.generation,
        pid: news.pid,
        version: news.version.clone().unwrap_or_default(),
        state: state_word(news.state).to_owned(),
        since_seconds: now_ms.saturating_sub(news.since_ms) / 1000,
        connections: None,
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
