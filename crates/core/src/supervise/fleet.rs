//! Every app with its instances: what runs, what is to run, and what follows from what happens.
//!
//! An *instance* is a place, `APP/N`, that outlives processes. A *run* is one process of it with
//! all that came of that process, known by its generation. A *revision* is what is run, a number
//! that the shell gives; an app moves from one revision to the next by a deploy.
//!
//! ```text
//! Waiting ──> a run: Starting ──> Ready <──> Unhealthy ──> Draining ──> Stopping ──> gone, or Stuck
//!    ^                   └──────────┴──────────┴── exits ──┐
//!    ├── Backoff <── may be started again ─────────────────┤
//!    ├── Fatal <──── failed too often, or for good ────────┤
//!    └── Stopped <── nothing is to follow, or was stopped ─┘
//! ```

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use minicbor::{Decode, Encode};

use crate::deploy;
use crate::rng::Rng;
use crate::time::Instant;

mod carried;
mod crew;
mod failures;
mod input;
mod instance;
mod life;
mod order;
mod output;
mod rollout;
mod spawns;
mod view;

pub use crate::deploy::Phase;
pub use input::{App, Exit, Input, Probe, Revision, Run, SpawnFault, Verb, Wish};
pub use output::{Event, Output, Severity};
pub use view::{DeployView, State, View};

use crew::{Crew, Desk};
use instance::{At, Context, Instance, Wanted};
use order::Order;
use rollout::{Ask, Cause};
use spawns::Spawns;

/// While apps crash on and on, starts wait all the time; that is told this often.
const LIMIT_TOLD_EVERY: Duration = Duration::from_secs(60);

/// A berth that waits for a start, and since when.
type Waiting = (Instant, String, u16, At);

/// Decides everything about apps.
///
/// After every [`Fleet::handle`] and [`Fleet::wish`], drain [`Fleet::next_output`] to `None`, and
/// call [`Fleet::handle`] with [`Input::Tick`] when [`Fleet::deadline`] passes.
///
/// Another keeper of this machine goes on from its encoding, which has no place for outputs: encode
/// it only when they are drained, and tick it once after it was decoded.
#[derive(Debug, Decode, Encode)]
pub struct Fleet {
    #[cbor(n(0), decode_with = "carried::crews")]
    crews: BTreeMap<String, Crew>,
    #[n(1)]
    spawns: Spawns,
    #[n(2)]
    has_gateway: bool,
    #[n(3)]
    is_ending: bool,
    /// When it was last told that starts wait for the limit.
    #[n(4)]
    limit_told_at: Option<Instant>,
    #[n(5)]
    deadline: Option<Instant>,
    #[n(6)]
    rng: Rng,
    #[cbor(n(7), with = "carried::outputs")]
    outputs: VecDeque<Output>,
}

impl Fleet {
    /// No app, and no gateway yet.
    pub fn new(rng: Rng) -> Self {
        Self {
            crews: BTreeMap::new(),
            spawns: Spawns::default(),
            has_gateway: false,
            is_ending: false,
            limit_told_at: None,
            deadline: None,
            rng,
            outputs: VecDeque::new(),
        }
    }

    /// Takes in what happened. What concerns a run that is gone is late and changes nothing.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Desired(apps) => self.desire(now, apps),
            Input::SpawnFailed { run, fault, why } => self.with(now, &run, |instance, ctx| {
                instance.spawn_failed(ctx, run.generation, fault, why);
            }),
            Input::Exited { run, exit, how, has_rest } => self.with(now, &run, |instance, ctx| {
                instance.exited(ctx, run.generation, exit, how, has_rest);
            }),
            Input::Emptied(run) => self.feed(now, &run, life::Input::Emptied),
            Input::Noticed { run, is_ready } => {
                self.feed(now, &run, life::Input::Noticed { is_ready });
            }
            Input::Probed { run, probe, failure } => {
                let failure = failure.as_deref();
                self.feed(now, &run, life::Input::Probed { probe, failure });
            }
            Input::Idle(run) => self.feed(now, &run, life::Input::Idle),
            Input::Measured { run, rss } => self.feed(now, &run, life::Input::Measured { rss }),
            Input::Sampled { app, canary, others } => {
                if let Some(crew) = self.crews.get_mut(&app) {
                    crew.tell_deploy(now, deploy::Input::Sampled { canary, others });
                }
            }
            Input::Gateway(has_gateway) => self.has_gateway = has_gateway,
            Input::End => {
                self.is_ending = true;
                self.each(now, Crew::let_go);
            }
            Input::Hurry => self.hurry(now),
            Input::Tick => {}
        }
        self.settle(now);
    }

    /// Does what the operator wants, and says step by step what that is; or why nothing is done.
    pub fn wish(&mut self, now: Instant, wish: &Wish) -> Result<Vec<String>, String> {
        let steps = self.plan(wish)?;
        let numbers = self.concerned(wish)?;
        let (crew, mut desk) = self.crew(now, &wish.app).expect("the plan found it");
        match wish.verb {
            Verb::Start => numbers.into_iter().for_each(|number| crew.start(&mut desk, number)),
            Verb::Stop => {
                for number in numbers {
                    crew.stop(&mut desk, number, Wanted::Stopped);
                }
            }
            Verb::Roll(revision) => crew.ask(asked(wish, revision)),
            Verb::Abort => {
                let why = "given up by the operator".to_owned();
                crew.tell_deploy(now, deploy::Input::Abort { why });
            }
        }
        self.settle(now);
        Ok(steps)
    }

    /// Says step by step what a wish would do, or why it would do nothing.
    pub fn plan(&self, wish: &Wish) -> Result<Vec<String>, String> {
        let app = &wish.app;
        let crew = self.running(app)?;
        let numbers = self.concerned(wish)?;
        let steps = |verb| numbers.iter().map(|n| format!("{verb} {app}/{n}")).collect();
        match wish.verb {
            Verb::Start if numbers.is_empty() => Err(format!("app {app} is started already")),
            Verb::Start => Ok(steps("start")),
            Verb::Stop if numbers.is_empty() => Err(format!("app {app} is stopped already")),
            Verb::Stop => Ok(steps("drain and stop")),
            Verb::Roll(_) if crew.is_rolling() => {
                Err(format!("a deploy of app {app} is under way; wait for its end, or give it up"))
            }
            Verb::Roll(revision) if numbers.is_empty() => match wish.number {
                None if crew.revision() != revision => Ok(Vec::from([format!(
                    "app {app} is stopped: its next start will be of what is deployed"
                )])),
                Some(_) | None => Err(format!("app {app} is stopped: start it instead")),
            },
            Verb::Roll(revision) => Ok(deploy::plan(&crew.order(asked(wish, revision)))),
            Verb::Abort if !crew.may_abort() => {
                Err(format!("no deploy of app {app} is under way that could be given up"))
            }
            Verb::Abort => Ok(Vec::from([format!("give up the deploy of app {app}")])),
        }
    }

    /// The next thing to do.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Fleet::handle`] with [`Input::Tick`], if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Every run, and every instance that has none, sorted by app, number and generation. An
    /// instance is there more than once while its runs overlap, each generation once.
    pub fn views(&self, now: Instant) -> Vec<View> {
        let crews = self.crews.iter();
        let instances = crews.flat_map(|(name, crew)| {
            crew.instances().iter().map(move |(&number, instance)| (name, crew, number, instance))
        });
        instances
            .flat_map(|(name, crew, number, instance)| {
                instance.views((name, number), crew.policy(), now)
            })
            .collect()
    }

    /// For each app the deploy that is under way, or else the last one.
    pub fn deploys(&self, now: Instant) -> Vec<DeployView> {
        self.crews.values().filter_map(|crew| crew.deploy(now)).collect()
    }

    /// The revisions that runs of an app are of or may yet be of, each once, in order.
    pub fn revisions_in_use(&self, app: &str) -> Vec<Revision> {
        let mut revisions: Vec<Revision> =
            self.crews.get(app).into_iter().flat_map(Crew::revisions).collect();
        revisions.sort_unstable();
        revisions.dedup();
        revisions
    }

    /// Whether all has ended, after [`Input::End`]; what cannot be killed is not waited for.
    pub fn is_empty(&self) -> bool {
        self.is_ending && self.crews.values().all(Crew::is_over)
    }

    fn desire(&mut self, now: Instant, apps: Vec<App>) {
        if self.is_ending {
            return;
        }
        self.each(now, |crew, desk| {
            if !apps.iter().any(|app| app.name == crew.name()) {
                crew.let_go(desk);
            }
        });
        for app in apps {
            if let Some((crew, mut desk)) = self.crew(now, &app.name) {
                crew.desire(&mut desk, app);
            } else {
                self.crews.insert(app.name.clone(), Crew::new(now, app));
            }
        }
    }

    fn hurry(&mut self, now: Instant) {
        self.each(now, |crew, desk| {
            if crew.is_going() {
                crew.end(desk);
            }
            crew.each(desk, Instance::hurry);
        });
    }

    /// Does what is due or has become possible.
    fn settle(&mut self, now: Instant) {
        self.each(now, |crew, desk| crew.each(desk, Instance::tick));
        self.end_in_turn(now);
        self.each(now, |crew, desk| {
            crew.roll(desk);
            crew.mend(desk);
        });
        let start_at = self.start_in_turn(now);
        for crew in self.crews.values_mut() {
            crew.forget();
        }
        self.crews.retain(|_, crew| !(crew.is_going() && crew.instances().is_empty()));
        let crews = self.crews.values();
        let deadlines = crews.filter_map(|crew| crew.deadline(now, self.has_gateway));
        self.deadline = deadlines.chain(start_at).min();
    }

    /// Ends the apps that are to end and wait for none that comes after them.
    fn end_in_turn(&mut self, now: Instant) {
        // The end of one that has nothing left makes it the turn of the next.
        while let Some(name) = self.next_to_end() {
            let (crew, mut desk) = self.crew(now, &name).expect("it was just found");
            crew.end(&mut desk);
        }
    }

    fn next_to_end(&self) -> Option<String> {
        let is_to_end = |crew: &Crew| crew.is_going() && !crew.was_ended();
        if !self.crews.values().any(is_to_end) {
            return None;
        }
        let order = self.order();
        let is_in_the_way = |name: &&str| {
            let crew = &self.crews[*name];
            crew.is_going() && !crew.is_over()
        };
        let has_turn = |name: &str| !order.behind(name).iter().any(is_in_the_way);
        let mut crews = self.crews.iter().filter(|(_, crew)| is_to_end(crew));
        crews.find(|(name, _)| has_turn(name)).map(|(name, _)| name.clone())
    }

    /// Starts what waits, the longest waiting first, as far as order and limit allow; says when the
    /// limit allows more.
    fn start_in_turn(&mut self, now: Instant) -> Option<Instant> {
        let mut waiting = self.waiting(now);
        waiting.sort_unstable();
        let mut waiting = waiting.into_iter().peekable();
        while let Some((_, name, number, at)) = waiting.peek() {
            if let Err(next) = self.spawns.take(now) {
                self.tell_limited(now, waiting.collect());
                return Some(next);
            }
            let (crew, mut desk) = self.crew(now, name).expect("it was just found");
            crew.with(&mut desk, *number, |instance, ctx| instance.spawn(ctx, *at));
            waiting.next();
        }
        None
    }

    /// Berths that only the limit keeps from having a run. Instances that wait for another app are told so.
    fn waiting(&mut self, now: Instant) -> Vec<Waiting> {
        let waits = |crew: &Crew| {
            !crew.is_going() && crew.instances().values().any(|i| i.waiting().next().is_some())
        };
        if !self.crews.values().any(waits) {
            return Vec::new();
        }
        let order = self.order();
        let stands_in_way = |name: &&str| {
            let crew = &self.crews[*name];
            !crew.is_going() && !crew.has_come_up()
        };
        let crews = self.crews.iter().filter(|(_, crew)| waits(crew));
        let crews: Vec<(String, Option<String>)> = crews
            .map(|(name, _)| {
                let before = order.before(name).into_iter().find(stands_in_way);
                (name.clone(), before.map(ToOwned::to_owned))
            })
            .collect();
        let mut waiting = Vec::new();
        for (name, before) in crews {
            let (crew, mut desk) = self.crew(now, &name).expect("it was just found");
            crew.each(&mut desk, |instance, ctx| match &before {
                Some(before) => instance.explain(format!("waits for app {before}")),
                None => waiting.extend(
                    instance.waiting().map(|(since, at)| (since, name.clone(), ctx.number, at)),
                ),
            });
        }
        waiting
    }

    fn tell_limited(&mut self, now: Instant, waiting: Vec<Waiting>) {
        let starts = match waiting.len() {
            1 => "a start waits".to_owned(),
            count => format!("{count} starts wait"),
        };
        let is_news = self.limit_told_at.is_none_or(|at| now - at >= LIMIT_TOLD_EVERY);
        let limit = format!("{} a second over all apps", spawns::PER_SECOND);
        if let Some((_, app, ..)) = waiting.first()
            && is_news
        {
            self.limit_told_at = Some(now);
            self.outputs.push_back(Output::Tell(Event {
                severity: Severity::Warn,
                kind: "spawn_limit",
                app: app.clone(),
                number: None,
                reason: format!("{starts}, for there are at most {limit}"),
            }));
        }
        for (_, name, number, _) in waiting {
            if let Some(instance) = self.crews.get_mut(&name).and_then(|c| c.instance_mut(number)) {
                instance.explain(format!("waits for the limit on starts: {limit}"));
            }
        }
    }

    /// The numbers of the instances to which a wish changes something.
    fn concerned(&self, wish: &Wish) -> Result<Vec<u16>, String> {
        let app = &wish.app;
        let crew = self.running(app)?;
        if let Some(number) = wish.number
            && crew.instances().get(&number).is_none_or(|i| i.wanted() == Wanted::Gone)
        {
            return Err(format!("app {app} has no instance {number}"));
        }
        let changes = |instance: &Instance| match wish.verb {
            Verb::Start => instance.may_be_started(),
            Verb::Stop | Verb::Roll(_) => instance.wanted() == Wanted::Run,
            Verb::Abort => false,
        };
        let instances = crew.instances().iter().filter(|(_, instance)| changes(instance));
        let numbers = instances.map(|(&number, _)| number);
        Ok(numbers.filter(|number| wish.number.is_none_or(|only| only == *number)).collect())
    }

    /// The crew of an app that is to run.
    fn running(&self, app: &str) -> Result<&Crew, String> {
        let crew = self.crews.get(app).filter(|crew| !crew.is_going());
        crew.ok_or_else(|| format!("there is no app {app}"))
    }

    fn order(&self) -> Order<'_> {
        let crews = self.crews.iter();
        Order::new(crews.map(|(name, crew)| (name.as_str(), crew.policy().after.as_slice())))
    }

    fn feed(&mut self, now: Instant, run: &Run, input: life::Input) {
        self.with(now, run, |instance, ctx| instance.handle(ctx, run.generation, input));
    }

    fn with(&mut self, now: Instant, run: &Run, act: impl FnOnce(&mut Instance, &mut Context)) {
        if let Some((crew, mut desk)) = self.crew(now, &run.app) {
            crew.with(&mut desk, run.number, act);
        }
    }

    fn each(&mut self, now: Instant, mut act: impl FnMut(&mut Crew, &mut Desk)) {
        let Self { crews, has_gateway, rng, outputs, .. } = self;
        let mut desk = Desk { now, has_gateway: *has_gateway, rng, outputs };
        for crew in crews.values_mut() {
            act(crew, &mut desk);
        }
    }

    fn crew(&mut self, now: Instant, app: &str) -> Option<(&mut Crew, Desk<'_>)> {
        let Self { crews, has_gateway, rng, outputs, .. } = self;
        let crew = crews.get_mut(app)?;
        Some((crew, Desk { now, has_gateway: *has_gateway, rng, outputs }))
    }
}

fn asked(wish: &Wish, revision: Revision) -> Ask {
    Ask { revision, only: wish.number, cause: Cause::Wish }
}

#[cfg(test)]
mod tests;
