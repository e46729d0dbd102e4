//! Instances of apps, which the keeper runs: what became of them, and having one ended.

use std::time::Duration;

use evergate_config::Level;
use evergate_control::link::{
    AppLimits, Deploy, DeployPhase, Happening, Instance, InstanceState, Place, Severity, ToKeeper,
};
use evergate_control::snapshot::{AppLimitsStatus, DeployStatus, InstanceStatus};
use evergate_sys::{clock, process};

use super::control_plane::ControlPlane;

impl ControlPlane {
    /// Tells the keeper of draining runs that nothing is in flight to any more.
    pub(super) fn tell_idle(&mut self) {
        for run in self.gateway.take_idle() {
            self.tell_keeper(&ToKeeper::Idle { run });
        }
    }

    /// Tells the keeper how the canaries that are watched fare.
    pub(super) fn tell_samples(&self) {
        for (app, canary, others) in self.gateway.samples() {
            self.tell_keeper(&ToKeeper::Sampled { app, canary, others });
        }
    }

    /// An event of what the keeper says has happened to an app.
    pub(super) fn tell_happening(&mut self, happening: &Happening) {
        let level = match happening.severity {
            Severity::Info => Level::Info,
            Severity::Warn => Level::Warn,
            Severity::Error => Level::Error,
        };
        self.event(level, &happening.kind, &happening.subject, &happening.reason);
    }

    /// What is told of every instance, with what is in flight to it and what its process uses.
    pub(super) fn instances(&self) -> Vec<InstanceStatus> {
        let age = clock::now() - self.observed_at;
        let shown = |observed: &Instance| {
            let mut shown = measured(observed, age);
            let app = self.gateway.config().apps.get(&shown.app);
            shown.memory_limit_bytes = app.and_then(|app| app.limits.memory);
            shown.in_flight = self.gateway.in_flight(&observed.run);
            shown.output = self.output.counts(&shown.app, shown.number);
            shown
        };
        self.observed.instances.iter().map(shown).collect()
    }

    /// What is told of every deploy.
    pub(super) fn deploys(&self) -> Vec<DeployStatus> {
        let age = clock::now() - self.observed_at;
        self.observed.deploys.iter().map(|one| deploy(one, age)).collect()
    }

    /// Has the keeper end an instance.
    pub(super) fn kill(&self, app: String, instance: u16) -> Result<(), String> {
        let known = self
            .observed
            .instances
            .iter()
            .any(|one| one.run.app == app && one.run.number == instance);
        if !known {
            return Err(format!("there is no instance {app}/{instance}"));
        }
        let sent = self.link.send(&ToKeeper::Kill { app, instance }, &[]);
        sent.map_err(|error| format!("cannot tell the keeper: {error}"))
    }
}

/// What is told of an instance, with what its process uses.
fn measured(observed: &Instance, age: Duration) -> InstanceStatus {
    let mut status = status(observed, age);
    // A process that has just ended uses nothing.
    if let Some(usage) = observed.pid.and_then(|pid| process::usage(pid).ok()) {
        status.resident_bytes = Some(usage.resident_bytes);
        status.cpu_seconds = Some(usage.cpu.as_secs_f64());
    }
    status
}

/// What is told of a deploy.
fn deploy(observed: &Deploy, age: Duration) -> DeployStatus {
    let phase = match observed.phase {
        DeployPhase::Rolling => "rolling",
        DeployPhase::Soaking => "soaking",
        DeployPhase::Paused => "paused",
        DeployPhase::Reverting => "reverting",
        DeployPhase::Done => "done",
        DeployPhase::Failed => "failed",
    };
    DeployStatus {
        app: observed.app.clone(),
        number: observed.number,
        revision: observed.revision,
        phase: phase.to_owned(),
        cause: observed.cause.clone(),
        done: observed.done,
        of: observed.of,
        message: observed.message.clone(),
        since_seconds: (Duration::from_millis(observed.since_ms) + age).as_secs_f64(),
    }
}

/// What is told of how the limits of an app are kept.
pub(super) fn limits(observed: &AppLimits) -> AppLimitsStatus {
    AppLimitsStatus { app: observed.app.clone(), kept: observed.kept.clone() }
}

/// What is told of an instance that was observed so long ago.
fn status(observed: &Instance, age: Duration) -> InstanceStatus {
    let (state, next) = match observed.state {
        InstanceState::Waiting => ("waiting", None),
        InstanceState::Starting => ("starting", None),
        InstanceState::Ready => ("ready", None),
        InstanceState::Unhealthy => ("unhealthy", None),
        InstanceState::Draining { for_ms } => ("draining", Some(for_ms)),
        InstanceState::Stopping => ("stopping", None),
        InstanceState::Stuck => ("stuck", None),
        InstanceState::Backoff { for_ms } => ("backoff", Some(for_ms)),
        InstanceState::Fatal { for_ms } => ("fatal", for_ms),
        InstanceState::Stopped => ("stopped", None),
    };
    let next = next.map(|ms| Duration::from_millis(u64::from(ms)).saturating_sub(age));
    let (port, address) = match &observed.place {
        Some(Place::Port(port)) => (Some(*port), Some(format!("127.0.0.1:{port}"))),
        Some(Place::Unix(path)) => (None, Some(format!("unix:{path}"))),
        None => (None, None),
    };
    InstanceStatus {
        app: observed.run.app.clone(),
        number: observed.run.number,
        state: state.to_owned(),
        reason: observed.reason.clone().unwrap_or_default(),
        since_seconds: (Duration::from_millis(observed.since_ms) + age).as_secs_f64(),
        next_seconds: next.map(|left| left.as_secs_f64()),
        pid: observed.pid,
        port,
        address,
        generation: observed.run.generation,
        revision: observed.revision,
        exits: observed.exits,
        failures: observed.budget.0,
        failures_max: observed.budget.1,
        last_exit: observed.last_exit.clone(),
        ..InstanceStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use evergate_control::link::Run;

    use super::*;

    fn backoff(for_ms: u32) -> Instance {
        Instance {
            run: Run { app: "shop".into(), number: 1, generation: 4 },
            state: InstanceState::Backoff { for_ms },
            since_ms: 500,
            pid: None,
            place: Some(Place::Unix("/run/a.sock".into())),
            revision: 2,
            exits: 3,
            budget: (3, 10),
            last_exit: Some("exit status 1".into()),
            reason: None,
        }
    }

    #[test]
    fn what_was_observed_grows_older() {
        let shown = status(&backoff(4000), Duration::from_millis(1500));
        assert_eq!((shown.since_seconds, shown.next_seconds), (2.0, Some(2.5)));
        assert_eq!(status(&backoff(1000), Duration::from_secs(5)).next_seconds, Some(0.0));
        assert_eq!(shown.address.as_deref(), Some("unix:/run/a.sock"));
        assert_eq!((shown.state.as_str(), shown.failures, shown.failures_max), ("backoff", 3, 10));
    }
}
