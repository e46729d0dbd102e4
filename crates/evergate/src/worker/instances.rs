//! Instances of apps, which the keeper runs: what became of them, and having one ended.

use evergate_config::Level;
use evergate_control::link::{Instance, InstanceState, ToKeeper};
use evergate_control::snapshot::InstanceStatus;

use super::control_plane::ControlPlane;

impl ControlPlane {
    /// An event for each instance that exited since the last observation.
    pub(super) fn tell_exits(&mut self, observed: &[Instance]) {
        for instance in observed {
            let before = self
                .instances
                .iter()
                .find(|old| old.app == instance.app && old.number == instance.number);
            if before.is_some_and(|before| before.exits < instance.exits) {
                let subject = format!("app.{}/{}", instance.app, instance.number);
                let how = instance.last_exit.clone().unwrap_or_default();
                self.gateway.events().push(Level::Warn, "app_exited", &subject, &how);
            }
        }
    }

    /// Has the keeper end an instance.
    pub(super) fn kill(&self, app: String, instance: u16) -> Result<(), String> {
        let known = self.instances.iter().any(|one| one.app == app && one.number == instance);
        if !known {
            return Err(format!("there is no instance {app}/{instance}"));
        }
        let sent = self.link.send(&ToKeeper::Kill { app, instance }, &[]);
        sent.map_err(|error| format!("cannot tell the keeper: {error}"))
    }
}

/// What is told of an instance.
pub(super) fn status(observed: &Instance) -> InstanceStatus {
    let (state, pid, port) = match &observed.state {
        InstanceState::Running { pid, port } => ("running", Some(*pid), Some(*port)),
        InstanceState::Backoff { .. } => ("backoff", None, None),
        InstanceState::Stopping { pid } => ("stopping", Some(*pid), None),
    };
    InstanceStatus {
        app: observed.app.clone(),
        number: observed.number,
        state: state.to_owned(),
        pid,
        port,
        generation: observed.generation,
        exits: observed.exits,
        last_exit: observed.last_exit.clone(),
    }
}
