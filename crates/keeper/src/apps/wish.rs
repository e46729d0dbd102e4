//! What the operator wants, put to the machine.

use std::collections::BTreeMap;
use std::rc::Rc;

use evergate_control::link::{ToWorker, Verb};
use evergate_core::supervise::fleet::{self, Revision as Number, Wish};
use evergate_core::time::Instant;

use super::revision::Revision;
use super::{Apps, cut};

/// Most lines of a plan, and most bytes of one; together they fit in a message.
const PLAN_LINES_MAX: usize = 512;
const PLAN_LINE_BYTES_MAX: usize = 240;

impl Apps {
    /// Does what the operator wants of an app, or says what that would be; returns the answer.
    pub(super) fn wish(
        &mut self,
        now: Instant,
        request: u32,
        (app, number): (&str, Option<u16>),
        verb: Verb,
    ) -> ToWorker {
        let outcome = self.carry_out(now, app, number, verb);
        let (error, mut plan) = match outcome {
            Ok(plan) => (None, plan),
            Err(why) => (Some(cut(why, PLAN_LINE_BYTES_MAX)), Vec::new()),
        };
        plan.truncate(PLAN_LINES_MAX);
        let plan = plan.into_iter().map(|line| cut(line, PLAN_LINE_BYTES_MAX)).collect();
        ToWorker::Heard { request, error, plan }
    }

    fn carry_out(
        &mut self,
        now: Instant,
        app: &str,
        number: Option<u16>,
        verb: Verb,
    ) -> Result<Vec<String>, String> {
        if self.is_ending {
            return Err("the node is stopping".to_owned());
        }
        let current = self.current_revision(app, number);
        let Some(known) = self.known.get_mut(app).filter(|known| known.is_desired) else {
            return Err(format!("there is no app {app}"));
        };
        let wish = |verb| Wish { app: app.to_owned(), number, verb };
        let same = fleet::Verb::Roll(current);
        let next = fleet::Verb::Roll(Number(known.newest.saturating_add(1)));
        let outcome = match verb {
            Verb::PlanRestart => return self.fleet.plan(&wish(same)),
            Verb::PlanDeploy => {
                let plan = self.fleet.plan(&wish(next))?;
                let revision = Revision::new(known.app.clone());
                return Ok([revision.describe()].into_iter().flatten().chain(plan).collect());
            }
            Verb::Start => self.fleet.wish(now, &wish(fleet::Verb::Start)),
            Verb::Stop => self.fleet.wish(now, &wish(fleet::Verb::Stop)),
            Verb::Abort => self.fleet.wish(now, &wish(fleet::Verb::Abort)),
            Verb::Restart => self.fleet.wish(now, &wish(same)),
            Verb::Deploy => {
                let plan = self.fleet.wish(now, &wish(next))?;
                let revision = Rc::new(Revision::new(known.app.clone()));
                let steps = revision.describe().into_iter().chain(plan).collect();
                known.add(revision);
                Ok(steps)
            }
        };
        self.is_dirty = true;
        self.changes += 1;
        outcome
    }
}

impl Apps {
    /// What most instances of an app are of; the newest of those after a deploy that failed half
    /// way.
    fn current_revision(&self, app: &str, number: Option<u16>) -> Number {
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        let runs = self.told.instances.iter().filter(|one| {
            one.run.app == app && number.is_none_or(|number| one.run.number == number)
        });
        for one in runs {
            *counts.entry(one.revision).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|&(revision, count)| (count, revision));
        Number(most.map_or(1, |(revision, _)| revision))
    }
}
