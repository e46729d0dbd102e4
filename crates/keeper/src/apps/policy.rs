//! What an app goes by, in the words of the machine that decides.

use std::time::Duration;

use evergate_control::link;
use evergate_core::deploy;
use evergate_core::supervise::fleet;
use evergate_core::supervise::policy::{
    Alive, Backoff, MemoryWatch, Policy, Ready, ReadyBy, Restart, Stop,
};

/// How long a run must have lasted to count as ready where nothing else says so.
const UPTIME: Duration = Duration::from_secs(1);

/// The policy of an app.
pub(super) fn policy(app: &link::App) -> Policy {
    Policy {
        instances: app.instances,
        after: app.after.clone(),
        ready: ready(app.ready),
        alive: app.alive.map(|alive| Alive {
            fall: alive.fall.max(1),
            restart_after: alive.restart_after_ms.map(millis),
        }),
        restart: match app.restart {
            link::Restart::Always => Restart::Always,
            link::Restart::OnFailure => Restart::OnFailure,
            link::Restart::Never => Restart::Never,
        },
        backoff: backoff(app.backoff),
        stop: Stop { drain: millis(app.stop.drain_ms), timeout: millis(app.stop.timeout_ms) },
        memory: app
            .memory_watch
            .map(|watch| MemoryWatch { rss: watch.rss, over: millis(watch.for_ms) }),
        deploy: deploy(app.deploy),
    }
}

fn ready(ready: link::Ready) -> Ready {
    let by = match ready.by {
        link::ReadyBy::Probe => ReadyBy::Probes { rise: ready.rise.max(1) },
        link::ReadyBy::Notify => ReadyBy::Notice,
        link::ReadyBy::Nothing => ReadyBy::Uptime(UPTIME),
    };
    Ready { by, within: millis(ready.within_ms) }
}

fn backoff(backoff: link::Backoff) -> Backoff {
    Backoff {
        base: millis(backoff.base_ms),
        cap: millis(backoff.cap_ms),
        failures: backoff.failures.max(1),
        within: millis(backoff.within_ms),
        cooldown: millis(backoff.cooldown_ms),
        stable_after: millis(backoff.stable_after_ms),
    }
}

fn deploy(rule: link::DeployRule) -> deploy::Policy {
    deploy::Policy {
        surge: rule.surge,
        unavailable: rule.unavailable,
        canary_for: millis(rule.canary_for_ms),
        on_failure: match rule.on_failure {
            link::OnFailure::Abort => deploy::OnFailure::Abort,
            link::OnFailure::Rollback => deploy::OnFailure::Rollback,
            link::OnFailure::Continue => deploy::OnFailure::Continue,
        },
    }
}

/// How requests to some runs went.
pub(super) fn sample(sample: link::Sample) -> deploy::Sample {
    deploy::Sample {
        requests: sample.requests,
        errors: sample.errors,
        p99: Duration::from_micros(sample.p99_us),
    }
}

/// A run as the machine knows it.
pub(super) fn run(run: link::Run) -> fleet::Run {
    fleet::Run { app: run.app, number: run.number, generation: run.generation }
}

/// What a probe was about.
pub(super) fn probe(probe: link::Probe) -> fleet::Probe {
    match probe {
        link::Probe::Ready => fleet::Probe::Ready,
        link::Probe::Alive => fleet::Probe::Alive,
    }
}

fn millis(millis: u32) -> Duration {
    Duration::from_millis(u64::from(millis))
}
