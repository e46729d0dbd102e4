//! What one run after another fills: the instance's own berth, and a second one for the run that a
//! deploy starts beside or in place of it.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::time::Duration;

use minicbor::{Decode, Encode};

use super::Context;
use crate::supervise::fleet::failures::{Charge, Failures, Next};
use crate::supervise::fleet::{Revision, Severity};
use crate::supervise::policy::Restart;
use crate::time::{Instant, Spoken};

/// What a berth does.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub(super) enum Slot {
    /// A run is to start as soon as nothing keeps it.
    #[n(0)]
    Waiting,
    /// Its last run fills it.
    #[n(1)]
    Running,
    #[n(2)]
    Backoff {
        #[n(0)]
        until: Instant,
    },
    #[n(3)]
    Fatal {
        #[n(0)]
        until: Option<Instant>,
    },
    #[n(4)]
    Stopped,
    /// Its run was ended for a deploy, which decides what follows.
    #[n(5)]
    Vacant,
}

/// How a run ended unplanned.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    pub(super) how: String,
    pub(super) charge: Charge,
    pub(super) is_stable: bool,
    /// It succeeded.
    pub(super) is_clean: bool,
}

/// What follows a loss.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sequel {
    /// Nothing: the policy wants no other start.
    Nothing,
    /// Another start after this time.
    Start(Duration),
    /// One more try after this time, if there is one.
    Try(Option<Duration>),
}

#[derive(Debug, Decode, Encode)]
pub(super) struct Berth {
    /// What its next run is of.
    #[n(0)]
    pub(super) revision: Revision,
    #[n(1)]
    pub(super) slot: Slot,
    #[n(2)]
    pub(super) since: Instant,
    #[n(3)]
    pub(super) reason: Option<String>,
    #[n(4)]
    pub(super) failures: Failures,
    /// Of its last run; 0 before the first.
    #[n(5)]
    pub(super) generation: u32,
}

impl Berth {
    /// A berth that waits for its first run.
    pub(super) fn new(now: Instant, revision: Revision) -> Self {
        Self {
            revision,
            slot: Slot::Waiting,
            since: now,
            reason: None,
            failures: Failures::default(),
            generation: 0,
        }
    }

    /// Whether the run of this generation fills it.
    pub(super) fn holds(&self, generation: u32) -> bool {
        self.slot == Slot::Running && self.generation == generation
    }

    pub(super) fn enter(&mut self, now: Instant, next: Slot, reason: Option<String>) {
        self.slot = next;
        self.since = now;
        self.reason = reason;
    }

    /// Takes the run that fills it out; its generation.
    pub(super) fn vacate(&mut self, now: Instant, next: Slot) -> Option<u32> {
        let was = self.slot;
        self.enter(now, next, None);
        (was == Slot::Running).then_some(self.generation)
    }

    /// Has a run start, with a budget that is whole again.
    pub(super) fn start(&mut self, now: Instant) {
        match self.slot {
            Slot::Waiting | Slot::Running => {}
            Slot::Backoff { .. } | Slot::Fatal { .. } | Slot::Stopped | Slot::Vacant => {
                self.failures = Failures::default();
                self.enter(now, Slot::Waiting, None);
            }
        }
    }

    /// Does what is due; says whether that is the one more try.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        match self.slot {
            Slot::Backoff { until } if until <= now => {
                self.enter(now, Slot::Waiting, None);
                false
            }
            Slot::Fatal { until: Some(until) } if until <= now => {
                self.failures.begin_trial();
                self.enter(now, Slot::Waiting, None);
                true
            }
            Slot::Waiting
            | Slot::Running
            | Slot::Backoff { .. }
            | Slot::Fatal { .. }
            | Slot::Stopped
            | Slot::Vacant => false,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.slot {
            Slot::Backoff { until } => Some(until),
            Slot::Fatal { until } => until,
            Slot::Waiting | Slot::Running | Slot::Stopped | Slot::Vacant => None,
        }
    }

    /// Decides what follows the unplanned end of the run that filled it.
    pub(super) fn lose(&mut self, ctx: &mut Context, loss: &Loss) -> Sequel {
        let is_last = match ctx.policy.restart {
            Restart::Always => false,
            Restart::OnFailure => loss.is_clean,
            Restart::Never => true,
        };
        if is_last {
            self.enter(ctx.now, Slot::Stopped, Some("it ended by itself".to_owned()));
            return Sequel::Nothing;
        }
        let Loss { charge, is_stable, .. } = *loss;
        let backoff = &ctx.policy.backoff;
        match self.failures.fail(ctx.now, backoff, charge, is_stable, ctx.rng) {
            Next::Start(wait) => {
                let slot = match wait.is_zero() {
                    true => Slot::Waiting,
                    false => Slot::Backoff { until: ctx.now + wait },
                };
                self.enter(ctx.now, slot, Some(loss.how.clone()));
                Sequel::Start(wait)
            }
            Next::Try(wait) => {
                let until = wait.map(|wait| ctx.now + wait);
                let why = self.fatal_reason(ctx, loss);
                self.enter(ctx.now, Slot::Fatal { until }, Some(why));
                Sequel::Try(wait)
            }
        }
    }

    /// Tells of a loss and what follows it.
    pub(super) fn tell(&self, ctx: &mut Context, loss: &Loss, sequel: Sequel) {
        let Loss { how, charge, is_clean, .. } = loss;
        let failures = ctx.policy.backoff.failures;
        let budget = match charge {
            Charge::Counted => {
                let counted = self.failures.counted(ctx.now, &ctx.policy.backoff);
                format!("{counted} of {failures} failures")
            }
            Charge::Blameless => "not counted".to_owned(),
            Charge::Lasting => "another start would end alike".to_owned(),
        };
        let (severity, reason) = match sequel {
            Sequel::Nothing => {
                let severity = if *is_clean { Severity::Info } else { Severity::Warn };
                (severity, format!("{how}; it is not started again"))
            }
            Sequel::Start(Duration::ZERO) => {
                (Severity::Warn, format!("{how}; started again at once; {budget}"))
            }
            Sequel::Start(wait) => {
                (Severity::Warn, format!("{how}; started again in {}; {budget}", Spoken(wait)))
            }
            Sequel::Try(_) => (Severity::Warn, format!("{how}; {budget}")),
        };
        ctx.tell(severity, "app_exited", reason);
        if let Sequel::Try(wait) = sequel {
            let why = self.reason.as_deref().unwrap_or_default();
            let reason = match wait {
                Some(wait) => format!("{why}; tried once more in {}", Spoken(wait)),
                None => {
                    format!("{why}; not started again until it is changed or an operator starts it")
                }
            };
            ctx.tell(Severity::Error, "app_fatal", reason);
        }
    }

    fn fatal_reason(&self, ctx: &Context, loss: &Loss) -> String {
        let how = &loss.how;
        let backoff = &ctx.policy.backoff;
        let counted = self.failures.counted(ctx.now, backoff);
        match loss.charge {
            Charge::Counted if counted >= backoff.failures => {
                let within = Spoken(backoff.within);
                format!("{counted} failures within {within}, the last one: {how}")
            }
            Charge::Counted | Charge::Blameless => format!("one more try failed: {how}"),
            Charge::Lasting => how.clone(),
        }
    }
}
