//! An instance as it is shown.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use super::Instance;
use super::berth::Slot;
use crate::supervise::fleet::{Run, State, View};
use crate::supervise::policy::Policy;
use crate::time::Instant;

impl Instance {
    /// Its runs, and itself if none fills it, each generation once.
    pub(in crate::supervise::fleet) fn views(
        &self,
        (app, number): (&str, u16),
        policy: &Policy,
        now: Instant,
    ) -> Vec<View> {
        let view = |generation, revision, state, since, reason: Option<String>| View {
            run: Run { app: app.to_owned(), number, generation },
            state,
            since,
            revision,
            exits: self.exits,
            failures: self.home.failures.counted(now, &policy.backoff),
            last_exit: self.last_exit.clone(),
            reason,
        };
        let home = &self.home;
        let state = self.own_state(now);
        let is_hidden = |generation| state.is_some() && generation == home.generation;
        let runs = self.runs.iter().filter(|life| !is_hidden(life.generation)).map(|life| {
            let reason = life.reason().map(ToOwned::to_owned);
            view(life.generation, life.revision, life.state(now), life.lasts(now), reason)
        });
        let last = if self.runs.is_empty() { self.generation } else { home.generation };
        let own = state
            .map(|state| view(last, home.revision, state, now - home.since, home.reason.clone()));
        let mut views: Vec<View> = own.into_iter().chain(runs).collect();
        views.sort_by_key(|view| view.run.generation);
        views
    }

    /// What its own berth does, unless a run says more.
    fn own_state(&self, now: Instant) -> Option<State> {
        match self.home.slot {
            Slot::Running => None,
            Slot::Waiting => (!self.is_blocked(&self.home)).then_some(State::Waiting),
            Slot::Vacant => self.runs.is_empty().then_some(State::Waiting),
            Slot::Stopped => self.runs.is_empty().then_some(State::Stopped),
            Slot::Backoff { until } => Some(State::Backoff { left: until - now }),
            Slot::Fatal { until } => Some(State::Fatal { left: until.map(|until| until - now) }),
        }
    }
}
