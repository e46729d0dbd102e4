//! The instances of one app, and its deploys.
//!
//! Another revision is rolled out by a deploy, one at a time. What is asked for while one is under
//! way waits for its end, and only the last such thing: a change of direction half-way would leave
//! three revisions side by side. The operator may give the first one up.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use super::instance::{Context, Instance, Wanted};
use super::life::Terms;
use super::rollout::{Ask, Cause, Rollout, Step};
use super::{App, DeployView, Output, Revision};
use crate::deploy::{self, Outcome, Purpose};
use crate::rng::Rng;
use crate::supervise::policy::Policy;
use crate::time::Instant;

/// What all instances share.
#[derive(Debug)]
pub(super) struct Desk<'a> {
    pub(super) now: Instant,
    pub(super) has_gateway: bool,
    pub(super) rng: &'a mut Rng,
    pub(super) outputs: &'a mut VecDeque<Output>,
}

/// The instances of one app.
#[derive(Debug, Decode, Encode)]
pub(super) struct Crew {
    #[n(0)]
    name: String,
    #[n(1)]
    policy: Policy,
    #[n(2)]
    instances: BTreeMap<u16, Instance>,
    /// What instances run that no deploy concerns.
    #[n(3)]
    revision: Revision,
    /// What was desired last; a deploy of it may have failed.
    #[n(4)]
    desired: Revision,
    /// What is rolled out next.
    #[n(5)]
    next: Option<Ask>,
    /// The deploy that is under way, or the last one.
    #[n(6)]
    rollout: Option<Rollout>,
    #[n(7)]
    deploys: u32,
    /// The app is no longer wanted; its instances end when it is their turn.
    #[n(8)]
    is_going: bool,
}

impl Crew {
    /// The crew of an app that is new.
    pub(super) fn new(now: Instant, app: App) -> Self {
        let App { name, policy, revision } = app;
        let numbers = 0..policy.instances;
        Self {
            name,
            instances: numbers.map(|number| (number, Instance::new(now, revision))).collect(),
            policy,
            revision,
            desired: revision,
            next: None,
            rollout: None,
            deploys: 0,
            is_going: false,
        }
    }

    /// Why there can be no such crew of the app called `name`, if it was read from somewhere.
    pub(super) fn check(&self, name: &str) -> Result<(), &'static str> {
        if self.name != name {
            return Err("an app has two names");
        }
        let rollout = self.rollout.as_ref().filter(|rollout| rollout.is_under_way());
        rollout.map_or(Ok(()), Rollout::check)?;
        self.instances.iter().try_for_each(|(&number, instance)| {
            instance.check(number, rollout.map(Rollout::machine))
        })
    }

    /// Goes by what is wanted now.
    pub(super) fn desire(&mut self, desk: &mut Desk, app: App) {
        let is_policy_changed = self.policy != app.policy;
        if self.is_going && self.was_ended() {
            self.revision = app.revision;
        }
        self.is_going = false;
        self.policy = app.policy;
        self.fit(desk);
        if app.revision != self.desired && app.revision != self.newest() {
            let ask = Ask { revision: app.revision, only: None, cause: Cause::Change };
            self.next = Some(ask);
        } else if is_policy_changed {
            // The change may be the cure.
            self.each(desk, |instance, ctx| {
                if instance.is_fatal() {
                    instance.start(ctx, None);
                }
            });
        }
        self.desired = app.revision;
    }

    /// Its app is no longer wanted.
    pub(super) fn let_go(&mut self, desk: &mut Desk) {
        self.is_going = true;
        self.next = None;
        self.rollout = None;
        self.each(desk, |instance, ctx| instance.leave(ctx));
    }

    /// Ends all its instances.
    pub(super) fn end(&mut self, desk: &mut Desk) {
        self.each(desk, |instance, ctx| {
            if instance.wanted() != Wanted::Gone {
                instance.stop(ctx, Wanted::Gone);
            }
        });
    }

    /// Starts an instance because the operator says so.
    pub(super) fn start(&mut self, desk: &mut Desk, number: u16) {
        let revision = self.revision;
        self.with(desk, number, |instance, ctx| instance.start_again(ctx, revision));
    }

    /// Ends an instance; a deploy goes on without it.
    pub(super) fn stop(&mut self, desk: &mut Desk, number: u16, wanted: Wanted) {
        self.with(desk, number, |instance, ctx| instance.stop(ctx, wanted));
        if let Some(rollout) = &mut self.rollout {
            rollout.handle(desk.now, deploy::Input::Dropped { number });
        }
    }

    /// Has runs replaced, as soon as no deploy is under way.
    pub(super) fn ask(&mut self, ask: Ask) {
        self.next = Some(ask);
    }

    /// Passes something on to the deploy that is under way, if one is.
    pub(super) fn tell_deploy(&mut self, now: Instant, input: deploy::Input) {
        if let Some(rollout) = &mut self.rollout {
            rollout.handle(now, input);
        }
    }

    /// Does what deploys want done.
    pub(super) fn roll(&mut self, desk: &mut Desk) {
        loop {
            self.begin(desk);
            let Some(mut rollout) = self.rollout.take() else {
                return;
            };
            rollout.tick(desk.now, desk.has_gateway);
            for report in self.instances.values_mut().flat_map(Instance::take_reports) {
                rollout.handle(desk.now, report);
            }
            let steps: Vec<Step> = core::iter::from_fn(|| rollout.next_step()).collect();
            let is_quiet = steps.is_empty();
            for step in steps {
                self.take_step(desk, &rollout, step);
            }
            self.rollout = Some(rollout);
            if is_quiet {
                return;
            }
        }
    }

    /// Replaces a run that is ill, if none of its app is being replaced.
    pub(super) fn mend(&mut self, desk: &mut Desk) {
        let mut instances = self.instances.values();
        if self.is_going || self.is_rolling() || instances.any(Instance::is_mending) {
            return;
        }
        let ready = self.instances.values().filter(|instance| instance.is_ready()).count();
        let ill = self.instances.iter().find_map(|(&number, instance)| {
            let ill = instance.filling()?.ill(desk.now, &self.policy)?;
            ill.may_be_mended(ready).then_some((number, ill))
        });
        if let Some((number, ill)) = ill {
            self.with(desk, number, |instance, ctx| instance.mend(ctx, ill));
        }
    }

    /// Does `act` to the instance of this number, if there is one.
    pub(super) fn with(
        &mut self,
        desk: &mut Desk,
        number: u16,
        act: impl FnOnce(&mut Instance, &mut Context),
    ) {
        if let Some(instance) = self.instances.get_mut(&number) {
            act(instance, &mut context(desk, &self.name, &self.policy, number));
        }
    }

    /// Does `act` to every instance.
    pub(super) fn each(
        &mut self,
        desk: &mut Desk,
        mut act: impl FnMut(&mut Instance, &mut Context),
    ) {
        for (&number, instance) in &mut self.instances {
            act(instance, &mut context(desk, &self.name, &self.policy, number));
        }
    }

    /// Forgets instances that are no longer wanted, once nothing is left of them.
    pub(super) fn forget(&mut self) {
        self.instances.retain(|_, instance| !instance.is_gone());
    }

    /// When something of it is due.
    pub(super) fn deadline(&self, now: Instant, has_gateway: bool) -> Option<Instant> {
        let terms = Terms { policy: &self.policy, has_gateway };
        let deadlines = self.instances.values().filter_map(|instance| instance.deadline(terms));
        let filling = self.instances.values().filter_map(Instance::filling);
        // One that is due already waits for something other than time.
        let ill = filling.flat_map(|life| life.ill_at(&self.policy)).flatten();
        let rollout = self.rollout.as_ref().and_then(Rollout::deadline);
        deadlines.chain(ill.filter(|&at| at > now)).chain(rollout).min()
    }

    /// What a deploy would be told to do.
    pub(super) fn order(&self, ask: Ask) -> deploy::Order {
        let is_meant = |number: u16, instance: &Instance| match (ask.only, ask.cause) {
            (Some(only), _) => only == number,
            (None, Cause::Wish) => true,
            (None, Cause::Change) => instance.revision() != ask.revision,
        };
        let wanted = self.instances.iter().filter(|(_, i)| i.wanted() == Wanted::Run);
        let meant: Vec<_> = wanted.filter(|(number, i)| is_meant(**number, i)).collect();
        let is_same = meant.iter().all(|(_, instance)| instance.revision() == ask.revision);
        deploy::Order {
            app: self.name.clone(),
            numbers: meant.into_iter().map(|(&number, _)| number).collect(),
            purpose: if is_same { Purpose::Restart } else { Purpose::Deploy },
            policy: self.policy.deploy,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(super) fn instances(&self) -> &BTreeMap<u16, Instance> {
        &self.instances
    }

    pub(super) fn instance_mut(&mut self, number: u16) -> Option<&mut Instance> {
        self.instances.get_mut(&number)
    }

    /// What instances run that no deploy concerns.
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn is_going(&self) -> bool {
        self.is_going
    }

    /// Whether a deploy is under way or about to begin.
    pub(super) fn is_rolling(&self) -> bool {
        self.next.is_some() || self.rollout.as_ref().is_some_and(Rollout::is_under_way)
    }

    /// Whether there is a deploy that can be given up.
    pub(super) fn may_abort(&self) -> bool {
        let rollout = self.rollout.as_ref();
        rollout.is_some_and(|rollout| rollout.is_under_way() && !rollout.is_reverting())
    }

    /// Whether all its instances were ended.
    pub(super) fn was_ended(&self) -> bool {
        self.instances.values().all(|instance| instance.wanted() == Wanted::Gone)
    }

    /// Whether nothing of it can still end.
    pub(super) fn is_over(&self) -> bool {
        self.instances.values().all(Instance::is_over)
    }

    /// Whether every instance was ready, so that apps that come after this one may start.
    pub(super) fn has_come_up(&self) -> bool {
        self.instances.values().all(|i| i.has_come_up() || i.wanted() == Wanted::Gone)
    }

    /// Revisions that its runs are of, or may yet be.
    pub(super) fn revisions(&self) -> impl Iterator<Item = Revision> {
        let own = [self.revision, self.desired, self.newest()];
        self.instances.values().flat_map(Instance::revisions).chain(own)
    }

    /// The deploy that is under way, or the last one.
    pub(super) fn deploy(&self, now: Instant) -> Option<DeployView> {
        self.rollout.as_ref().map(|rollout| rollout.view(now))
    }

    /// Has as many instances as are wanted.
    fn fit(&mut self, desk: &mut Desk) {
        let (count, revision) = (self.policy.instances, self.revision);
        for number in self.instances.keys().copied().collect::<Vec<_>>() {
            match (self.instances[&number].wanted(), number < count) {
                (Wanted::Run | Wanted::Stopped, false) => self.stop(desk, number, Wanted::Gone),
                (Wanted::Gone, true) => {
                    self.with(desk, number, |i, ctx| i.start(ctx, Some(revision)));
                }
                (Wanted::Run | Wanted::Stopped, true) | (Wanted::Gone, false) => {}
            }
        }
        for number in 0..count {
            self.instances.entry(number).or_insert_with(|| Instance::new(desk.now, revision));
        }
    }

    /// Begins the next deploy, if one is asked for and may begin.
    fn begin(&mut self, desk: &mut Desk) {
        let is_under_way = self.rollout.as_ref().is_some_and(Rollout::is_under_way);
        let Some(ask) = self.next.filter(|_| !is_under_way && desk.has_gateway) else {
            return;
        };
        self.next = None;
        let order = self.order(ask);
        if order.numbers.is_empty() {
            self.adopt(ask);
            return;
        }
        for number in &order.numbers {
            let instance = self.instances.get_mut(number).expect("the order has those that are");
            instance.join(ask.revision);
        }
        self.deploys = self.deploys.saturating_add(1);
        let rollout = Rollout::new(desk.now, ask, order, self.deploys);
        desk.outputs.push_back(rollout.began());
        self.rollout = Some(rollout);
    }

    fn take_step(&mut self, desk: &mut Desk, rollout: &Rollout, step: Step) {
        match step {
            Step::Start { number, side } => {
                self.with(desk, number, |instance, ctx| instance.start_side(ctx.now, side));
            }
            Step::End { number, side } => {
                self.with(desk, number, |instance, ctx| instance.end_side(ctx, side));
            }
            Step::Settle { number, side } => {
                self.with(desk, number, |instance, ctx| instance.settle_on(ctx.now, side));
            }
            Step::Judged(verdict) => desk.outputs.push_back(rollout.judged(verdict)),
            Step::Over(outcome) => {
                self.each(desk, |instance, ctx| instance.leave(ctx));
                if outcome == Outcome::Done {
                    self.adopt(rollout.ask);
                }
                desk.outputs.push_back(rollout.ended(outcome));
            }
        }
    }

    /// Has what was rolled out as the revision of the app.
    fn adopt(&mut self, ask: Ask) {
        if ask.only.is_some() {
            return;
        }
        self.revision = ask.revision;
        // Those that came meanwhile are of the last revision.
        let rest = Ask { cause: Cause::Change, ..ask };
        if self.next.is_none() && !self.order(rest).numbers.is_empty() {
            self.next = Some(rest);
        }
    }

    /// What was asked for last.
    fn newest(&self) -> Revision {
        let rollout = self.rollout.as_ref().map(|rollout| rollout.ask);
        let whole = [self.next, rollout].into_iter().flatten().find(|ask| ask.only.is_none());
        whole.map_or(self.revision, |ask| ask.revision)
    }
}

fn context<'a>(desk: &'a mut Desk, app: &'a str, policy: &'a Policy, number: u16) -> Context<'a> {
    Context {
        now: desk.now,
        app,
        number,
        policy,
        has_gateway: desk.has_gateway,
        rng: desk.rng,
        outputs: desk.outputs,
    }
}
