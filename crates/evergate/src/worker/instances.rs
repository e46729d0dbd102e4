//! Instances of apps, which the keeper runs: what became of them, and having one ended.

use std::time::Duration;

use evergate_config::Level;
use evergate_control::link::{Happening, Instance, InstanceState, Place, Severity, ToKeeper};
use evergate_control::snapshot::InstanceStatus;

use super::control_plane::ControlPlane;

impl ControlPlane {
    /// An event for each instance that exited since the last observation.
    pub(super) fn tell_exits(&mut self, observed: &[Instance]) {
        for instance in observed {
            let before = self.instances.iter().find(|old| {
                (&old.run.app, old.run.number) == (&instance.run.app, instance.run.number)
            });
            if before.is_some_and(|before| before.exits < instance.exits) {
                let subject = format!("app.{}/{}", instance.run.app, instance.run.number);
                let how = instance.last_exit.clone().unwrap_or_default();
                self.gateway.events().push(Level::Warn, "app_exited", &subject, &how);
            }
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

    /// Has the keeper end an instance.
    pub(super) fn kill(&self, app: String, instance: u16) -> Result<(), String> {
        let known =
            self.instances.iter().any(|one| one.run.app == app && one.run.number == instance);
        if !known {
            return Err(format!("there is no instance {app}/{instance}"));
        }
        let sent = self.link.send(&ToKeeper::Kill { app, instance }, &[]);
        sent.map_err(|error| format!("cannot tell the keeper: {error}"))
    }
}

/// What is told of an instance.
pub(super) fn status(observed: &Instance) -> InstanceStatus {
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
        since_seconds: Duration::from_millis(observed.since_ms).as_secs_f64(),
        next_seconds: next.map(|ms| Duration::from_millis(u64::from(ms)).as_secs_f64()),
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
