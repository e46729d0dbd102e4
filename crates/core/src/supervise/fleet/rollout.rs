//! One deploy of an app, and what is asked for after it.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;

use minicbor::{Decode, Encode};

use super::{DeployView, Event, Output, Revision, Severity};
use crate::deploy::{self, Deploy, Outcome, Phase, Purpose};
use crate::time::Instant;

/// That runs are to be replaced.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub(super) struct Ask {
    /// By those of this revision.
    #[n(0)]
    pub(super) revision: Revision,
    /// Of this instance only.
    #[n(1)]
    pub(super) only: Option<u16>,
    #[n(2)]
    pub(super) cause: Cause,
}

/// Why.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub(super) enum Cause {
    /// The operator said so.
    #[n(0)]
    Wish,
    /// Something else is desired than before.
    #[n(1)]
    Change,
}

/// One deploy, under way or over.
#[derive(Debug, Decode, Encode)]
pub(super) struct Rollout {
    #[n(0)]
    app: String,
    #[n(1)]
    pub(super) ask: Ask,
    #[n(2)]
    purpose: Purpose,
    #[n(3)]
    number: u32,
    #[n(4)]
    machine: Deploy,
    #[n(5)]
    has_gateway: bool,
}

/// What a deploy wants of an instance.
pub(super) use crate::deploy::Output as Step;

impl Rollout {
    /// Begins the deploy with this number. There is a gateway.
    pub(super) fn new(now: Instant, ask: Ask, order: deploy::Order, number: u32) -> Self {
        Self {
            app: order.app.clone(),
            ask,
            purpose: order.purpose,
            number,
            machine: Deploy::new(order, now),
            has_gateway: true,
        }
    }

    /// Why there can be no such rollout, if it was read from somewhere.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        self.machine.check()
    }

    pub(super) fn machine(&self) -> &Deploy {
        &self.machine
    }

    /// Takes in what happened.
    pub(super) fn handle(&mut self, now: Instant, input: deploy::Input) {
        self.machine.handle(now, input);
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Instant, has_gateway: bool) {
        if self.has_gateway != has_gateway {
            self.has_gateway = has_gateway;
            self.machine.handle(now, deploy::Input::Gateway(has_gateway));
        }
        if self.machine.deadline().is_some_and(|at| at <= now) {
            self.machine.handle(now, deploy::Input::Tick);
        }
    }

    /// The next thing to do.
    pub(super) fn next_step(&mut self) -> Option<Step> {
        self.machine.next_output()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.machine.deadline()
    }

    pub(super) fn is_under_way(&self) -> bool {
        match self.machine.phase() {
            Phase::Rolling | Phase::Soaking | Phase::Paused | Phase::Reverting => true,
            Phase::Done | Phase::Failed => false,
        }
    }

    pub(super) fn is_reverting(&self) -> bool {
        self.machine.phase() == Phase::Reverting
    }

    pub(super) fn began(&self) -> Output {
        let of = self.machine.of();
        let reason = format!("{} {}: {}", self.cause(), self.number, instances(of));
        self.event(Severity::Info, "deploy_started", reason)
    }

    pub(super) fn judged(&self, verdict: String) -> Output {
        self.event(Severity::Info, "deploy_canary", verdict)
    }

    pub(super) fn ended(&self, outcome: Outcome) -> Output {
        let name = format!("{} {}", self.cause(), self.number);
        match outcome {
            Outcome::Done => {
                let reason = format!("{name}: {}", self.machine.message());
                self.event(Severity::Info, "deploy_done", reason)
            }
            Outcome::Failed(why) => {
                self.event(Severity::Error, "deploy_failed", format!("{name}: {why}"))
            }
        }
    }

    pub(super) fn view(&self, now: Instant) -> DeployView {
        DeployView {
            app: self.app.clone(),
            number: self.number,
            revision: self.ask.revision,
            phase: self.machine.phase(),
            done: self.machine.done(),
            of: self.machine.of(),
            cause: self.cause(),
            message: self.machine.message(),
            since: now - self.machine.since(),
        }
    }

    fn cause(&self) -> &'static str {
        match (self.ask.cause, self.purpose) {
            (Cause::Change, _) => "the configuration changed",
            (Cause::Wish, Purpose::Deploy) => "deploy",
            (Cause::Wish, Purpose::Restart) => "restart",
        }
    }

    fn event(&self, severity: Severity, kind: &'static str, reason: String) -> Output {
        let (app, number) = (self.app.clone(), None);
        Output::Tell(Event { severity, kind, app, number, reason })
    }
}

fn instances(count: u16) -> String {
    match count {
        1 => "1 instance".to_owned(),
        _ => format!("{count} instances"),
    }
}
