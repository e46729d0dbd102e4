//! What the fleet wants done.

use alloc::string::String;

use super::{Revision, Run};

/// What to do, in this order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Start a process. If that fails, say [`super::Input::SpawnFailed`] at once.
    Spawn {
        /// The new run.
        run: Run,
        /// Of what.
        revision: Revision,
    },
    /// Ask its process to end, by the signal of the app.
    Ask(Run),
    /// Ask every process of it to end.
    AskTree(Run),
    /// Kill every process of it. [`super::Input::Exited`] follows, and
    /// [`super::Input::Emptied`] if that says that there is a rest.
    Kill(Run),
    /// Tell people.
    Tell(Event),
}

/// Something worth telling.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// How bad it is.
    pub severity: Severity,
    /// Such as `app_exited`, `app_fatal` or `deploy_failed`.
    pub kind: &'static str,
    /// Name of the app.
    pub app: String,
    /// Number of the instance, if it is about one.
    pub number: Option<u16>,
    /// Why, for people.
    pub reason: String,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "each variant is the level of the same name")]
pub enum Severity {
    Info,
    Warn,
    Error,
}
