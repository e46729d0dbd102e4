//! The second act of the demo: another release of the app, rolled out under the same load.

use std::time::Duration;

use evergate_control::snapshot::{DeployStatus, Status};
use evergate_core::time::Instant;

use super::node::{APP, INSTANCES, Node};

/// A demo that is shorter has no second act.
pub(super) const FOR_MIN: Duration = Duration::from_secs(6);
/// Longest wait until every instance is ready, so that a crash and the deploy do not mix.
const READY_MAX: Duration = Duration::from_secs(10);
/// Longest deploy.
const DEPLOY_MAX: Duration = Duration::from_secs(30);

/// The deploy, from its plan to its end.
#[derive(Debug)]
pub(super) enum Rollout {
    /// There is none: the demo is too short.
    None,
    /// It begins at this time, once every instance is ready.
    Due(Instant),
    /// It is under way.
    Going {
        /// Since when.
        began: Instant,
        /// How far it was at the last look.
        shown: Option<DeployStatus>,
    },
    /// Every instance was replaced.
    Done {
        /// How long that took.
        took: Duration,
    },
    /// It failed.
    Failed {
        /// Why.
        why: String,
    },
}

impl Rollout {
    /// In the last third of a demo that began at `began`.
    pub(super) fn of(began: Instant, time: Duration) -> Self {
        if time < FOR_MIN { Self::None } else { Self::Due(began + time * 2 / 3) }
    }

    /// How long the first new instance is watched: a tenth of the demo, so that even a short one
    /// ends with a deploy that is over.
    pub(super) fn canary_for(time: Duration) -> Duration {
        (time / 10).clamp(Duration::from_millis(300), Duration::from_secs(2))
    }

    /// When it is due; crashes end before.
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            Self::Due(at) => Some(*at),
            Self::None | Self::Going { .. } | Self::Done { .. } | Self::Failed { .. } => None,
        }
    }

    /// Whether load has to go on for it.
    pub(super) fn is_pending(&self) -> bool {
        match self {
            Self::Due(_) | Self::Going { .. } => true,
            Self::None | Self::Done { .. } | Self::Failed { .. } => false,
        }
    }

    /// Begins when it is time, and then looks how far it is.
    pub(super) fn act(&mut self, now: Instant, node: &Node, status: &Status) {
        let next = match self {
            Self::Due(at) if now >= *at && is_ready(status) => match node.deploy() {
                Ok(()) => Some(Self::Going { began: now, shown: None }),
                Err(error) => Some(Self::Failed { why: format!("it was refused: {error:#}") }),
            },
            Self::Due(at) if now > *at + READY_MAX => {
                Some(Self::Failed { why: "the instances were not ready for it".to_owned() })
            }
            Self::Going { began, shown } => {
                *shown = status.deploys.iter().find(|deploy| deploy.app == APP).cloned();
                outcome(shown.as_ref(), now - *began)
            }
            Self::None | Self::Due(_) | Self::Done { .. } | Self::Failed { .. } => None,
        };
        if let Some(next) = next {
            *self = next;
        }
    }
}

/// How a deploy that has gone on for so long ended, if it has.
fn outcome(deploy: Option<&DeployStatus>, took: Duration) -> Option<Rollout> {
    match deploy.map(|deploy| (deploy.phase.as_str(), &deploy.message)) {
        Some(("done", _)) => Some(Rollout::Done { took }),
        Some(("failed", message)) => Some(Rollout::Failed { why: message.clone() }),
        Some(_) | None if took > DEPLOY_MAX => {
            let why = format!("it did not end within {} s", DEPLOY_MAX.as_secs());
            Some(Rollout::Failed { why })
        }
        Some(_) | None => None,
    }
}

fn is_ready(status: &Status) -> bool {
    let ready = status.apps.iter().filter(|one| one.app == APP && one.state == "ready");
    ready.count() == usize::from(INSTANCES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_in_the_last_third_and_not_at_all_in_a_short_demo() {
        let rollout = Rollout::of(Instant::EPOCH, Duration::from_secs(30));
        assert_eq!(rollout.due(), Some(Instant::EPOCH + Duration::from_secs(20)));
        assert!(rollout.is_pending());
        assert!(!Rollout::of(Instant::EPOCH, Duration::from_secs(4)).is_pending());
        assert_eq!(Rollout::canary_for(Duration::from_secs(10)), Duration::from_secs(1));
        assert_eq!(Rollout::canary_for(Duration::from_secs(600)), Duration::from_secs(2));
    }

    #[test]
    fn it_ends_as_the_deploy_does_or_when_that_takes_too_long() {
        let deploy = |phase: &str| DeployStatus {
            phase: phase.into(),
            message: "why".into(),
            ..DeployStatus::default()
        };
        let took = Duration::from_secs(2);
        let done = outcome(Some(&deploy("done")), took);
        assert!(matches!(done, Some(Rollout::Done { took }) if took.as_secs() == 2));
        let failed = outcome(Some(&deploy("failed")), took);
        assert!(matches!(failed, Some(Rollout::Failed { why }) if why == "why"));
        assert!(outcome(Some(&deploy("soaking")), took).is_none());
        assert!(outcome(None, took).is_none());
        let late = outcome(Some(&deploy("rolling")), DEPLOY_MAX + took);
        assert!(matches!(late, Some(Rollout::Failed { .. })));
    }
}
