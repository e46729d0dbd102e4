//! Samples of apps. An instance that is being replaced has two runs, and still one series.

use evergate_control::snapshot::{InstanceStatus, Stats};

use super::text::Samples;

/// Every state of an instance, as `InstanceStatus` names them.
const STATES: [&str; 10] = [
    "waiting",
    "starting",
    "ready",
    "unhealthy",
    "draining",
    "stopping",
    "stuck",
    "backoff",
    "fatal",
    "stopped",
];
/// Every phase of a deploy, as `DeployStatus` names them.
const PHASES: [&str; 6] = ["rolling", "soaking", "paused", "reverting", "done", "failed"];

/// Runs of each instance by state: 1 for the one it is in, while it is replaced for two of them.
pub(super) fn states(stats: &Stats, out: &mut Samples<'_>) {
    for runs in instances(stats) {
        let number = runs[0].number.to_string();
        for state in STATES {
            let count = runs.iter().filter(|run| run.state == state).count();
            let labels = [("app", &*runs[0].app), ("instance", &number), ("state", state)];
            out.put(&labels, count as u64);
        }
    }
}

/// A number of each instance, made from its runs, the latest last; instances without it are left
/// out.
pub(super) fn each(
    stats: &Stats,
    out: &mut Samples<'_>,
    number_of: impl Fn(&[InstanceStatus]) -> Option<u64>,
) {
    for runs in instances(stats) {
        if let Some(value) = number_of(runs) {
            out.put(&[("app", &runs[0].app), ("instance", &runs[0].number.to_string())], value);
        }
    }
}

/// Time used by the latest run of each instance. The sum would go back when one of two ends, which
/// reads as if everything had begun anew.
pub(super) fn cpu(stats: &Stats, out: &mut Samples<'_>) {
    for runs in instances(stats) {
        if let Some(seconds) = runs.iter().rev().find_map(|run| run.cpu_seconds) {
            out.put(&[("app", &runs[0].app), ("instance", &runs[0].number.to_string())], seconds);
        }
    }
}

/// The phase of each app's latest deploy.
pub(super) fn phases(stats: &Stats, out: &mut Samples<'_>) {
    for deploy in &stats.deploys {
        for phase in PHASES {
            let labels = [("app", &*deploy.app), ("phase", phase)];
            out.put(&labels, u64::from(deploy.phase == phase));
        }
    }
}

/// The largest of a number over the runs of an instance, for numbers that are the instance's.
pub(super) fn largest<N: Into<u64>>(
    runs: &[InstanceStatus],
    number_of: impl Fn(&InstanceStatus) -> N,
) -> Option<u64> {
    runs.iter().map(|run| number_of(run).into()).max()
}

/// The sum of a number over the runs that have it; nothing if none has.
pub(super) fn sum(
    runs: &[InstanceStatus],
    number_of: impl Fn(&InstanceStatus) -> Option<u64>,
) -> Option<u64> {
    runs.iter().filter_map(number_of).reduce(u64::saturating_add)
}

/// The runs of each instance, in order of generation.
fn instances(stats: &Stats) -> impl Iterator<Item = &[InstanceStatus]> {
    stats.apps.chunk_by(|one, next| (&one.app, one.number) == (&next.app, next.number))
}
