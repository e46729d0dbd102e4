//! The instances of one app.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;

use super::instance::{Context, Instance, Wanted};
use super::life::Terms;
use super::{App, Output, Revision};
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
#[derive(Debug)]
pub(super) struct Crew {
    name: String,
    policy: Policy,
    revision: Revision,
    instances: BTreeMap<u16, Instance>,
    /// The app is no longer wanted; its instances end when it is their turn.
    is_going: bool,
}

impl Crew {
    /// The crew of an app that is new.
    pub(super) fn new(now: Instant, app: App) -> Self {
        let App { name, policy, revision } = app;
        let numbers = 0..policy.instances;
        let instances = numbers.map(|number| (number, Instance::new(now, revision))).collect();
        Self { name, policy, revision, instances, is_going: false }
    }

    /// Goes by what is wanted now.
    pub(super) fn desire(&mut self, desk: &mut Desk, app: App) {
        let is_changed = (&self.policy, self.revision) != (&app.policy, app.revision);
        let is_rolled = self.revision != app.revision;
        self.is_going = false;
        self.policy = app.policy;
        self.revision = app.revision;
        let count = self.policy.instances;
        self.each(desk, |instance, ctx| match (instance.wanted(), ctx.number < count) {
            (Wanted::Run | Wanted::Stopped, false) => instance.stop(ctx, Wanted::Gone),
            (Wanted::Gone, true) => instance.start(ctx),
            // The change may be the cure.
            (Wanted::Run, true) if is_changed && instance.is_fatal() => instance.start(ctx),
            (Wanted::Run | Wanted::Stopped, true) | (Wanted::Gone, false) => {}
        });
        for number in 0..count {
            let (now, revision) = (desk.now, self.revision);
            self.instances.entry(number).or_insert_with(|| Instance::new(now, revision));
        }
        if is_rolled {
            let revision = self.revision;
            self.each(desk, |instance, ctx| {
                instance.revision = revision;
                if instance.filling().is_some() {
                    instance.replace(ctx);
                }
            });
        }
    }

    /// Its app is no longer wanted.
    pub(super) fn let_go(&mut self) {
        self.is_going = true;
    }

    /// Ends all its instances, if that was not done yet.
    pub(super) fn end(&mut self, desk: &mut Desk) {
        self.each(desk, |instance, ctx| {
            if instance.wanted() != Wanted::Gone {
                instance.stop(ctx, Wanted::Gone);
            }
        });
    }

    /// Replaces a run that is ill, if none of its app is being replaced for that.
    pub(super) fn mend(&mut self, desk: &mut Desk) {
        if self.is_going || self.instances.values().any(Instance::is_mending) {
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
        deadlines.chain(ill.filter(|&at| at > now)).min()
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

    pub(super) fn is_going(&self) -> bool {
        self.is_going
    }

    /// Whether nothing of it can still end.
    pub(super) fn is_over(&self) -> bool {
        self.instances.values().all(Instance::is_over)
    }

    /// Whether every instance was ready, so that apps that come after this one may start.
    pub(super) fn has_come_up(&self) -> bool {
        self.instances.values().all(|i| i.has_come_up() || i.wanted() == Wanted::Gone)
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
