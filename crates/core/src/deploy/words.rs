//! What a deploy will do, does and did, for people.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::place::{Move, Place, Progress, RunState};
use super::{Deploy, Mode, OnFailure, Order, Outcome, Purpose, Side, Stage};

/// What a deploy of `order` would do: a line for the first instance, one for the others, one for
/// what follows a failure.
pub fn plan(order: &Order) -> Vec<String> {
    let (app, mode) = (&order.app, Mode::of(&order.policy));
    let Some((first, rest)) = order.numbers.split_first() else {
        return Vec::from([format!("{app}: no instance is to be replaced")]);
    };
    let mut lines = Vec::from([format!("1. {app}/{first}: {}", steps(order, true))]);
    if let Some((second, more)) = rest.split_first() {
        let pace = match mode.width().min(rest.len()) {
            1 => "one at a time".to_owned(),
            width => format!("up to {width} at a time"),
        };
        let (which, pace) = match more.last() {
            None => (format!("{app}/{second}"), String::new()),
            Some(last) if more.len() == 1 => (format!("{app}/{second} and {app}/{last}"), pace),
            Some(last) => (format!("{app}/{second} to {app}/{last}"), pace),
        };
        let pace = if pace.is_empty() { pace } else { format!(", {pace}") };
        lines.push(format!("2. {which}{pace}: {}", steps(order, false)));
    }
    lines.push(format!("If a new run fails: {}", consequence(order)));
    lines
}

fn steps(order: &Order, is_first: bool) -> String {
    let canary_for = order.policy.canary_for;
    let is_watched = is_first && order.purpose == Purpose::Deploy && !canary_for.is_zero();
    let watch = match is_watched {
        true => format!(", watch it for {canary_for:?} (canary)"),
        false => String::new(),
    };
    let run = match order.purpose {
        Purpose::Deploy => "the new run",
        Purpose::Restart => "a fresh run",
    };
    match Mode::of(&order.policy) {
        Mode::Beside { .. } => format!(
            "start {run} beside the old one, wait until it is ready{watch}, then drain and stop \
             the old one"
        ),
        Mode::InPlace { .. } => {
            format!("drain and stop the old run, start {run}, wait until it is ready{watch}")
        }
    }
}

fn consequence(order: &Order) -> &'static str {
    match order.policy.on_failure {
        OnFailure::Abort => {
            "that instance keeps or gets back its old run, and the deploy stops there"
        }
        OnFailure::Rollback => "every instance gets its old revision back",
        OnFailure::Continue => {
            "that instance keeps or gets back its old run, and the deploy goes on"
        }
    }
}

impl Deploy {
    /// What it does or did, or why it failed.
    pub fn message(&self) -> String {
        let because = |doing: String| match self.reason() {
            Some(why) => format!("{why}; {doing}"),
            None => doing,
        };
        match &self.stage {
            Stage::Over(Outcome::Done) => format!("replaced {} of {}", self.done(), self.of()),
            Stage::Over(Outcome::Failed(why)) => why.clone(),
            Stage::Canary | Stage::Soaking { .. } | Stage::Rolling | Stage::Reverting
                if !self.has_gateway =>
            {
                because("waits for the gateway".to_owned())
            }
            Stage::Soaking { number, last, .. } => {
                let requests = last.map_or(0, |(canary, _)| canary.requests);
                let app = &self.order.app;
                because(format!("watches {app}/{number}, the canary: {requests} requests so far"))
            }
            Stage::Canary | Stage::Rolling | Stage::Reverting => {
                let moving = |place: &&Place| place.progress == Progress::Moving;
                let doing: Vec<_> =
                    self.places.iter().filter(moving).map(|place| self.doing(place)).collect();
                because(doing.join(", "))
            }
        }
    }

    fn doing(&self, place: &Place) -> String {
        let name = format!("{}/{}", self.order.app, place.number);
        let words = |side| match side {
            Side::Old => "old",
            Side::New => "new",
        };
        let (goal, other) = (words(place.goal), words(place.goal.other()));
        match (place.run(place.goal), place.run(place.goal.other())) {
            (RunState::Starting, _) => format!("waits until the {goal} run of {name} is ready"),
            (RunState::Ending, _) => format!("drains and stops the {goal} run of {name}"),
            (RunState::Absent | RunState::Serving | RunState::Failed, _) => {
                match place.next(self.mode) {
                    Move::Start(_) => format!("starts the {goal} run of {name}"),
                    Move::Wait | Move::End(_) | Move::Settle(_) => {
                        format!("drains and stops the {other} run of {name}")
                    }
                }
            }
        }
    }

    /// Why it cannot succeed any more, if so.
    pub(super) fn reason(&self) -> Option<String> {
        let first = self.trouble.clone()?;
        Some(match self.more_failures {
            0 => first,
            more => format!("{first} (and {more} more)"),
        })
    }

    /// How many instances have what, at the end.
    pub(super) fn what_runs(&self) -> String {
        let (new, all) = (self.done(), self.of());
        match self.order.purpose {
            Purpose::Deploy if new == 0 => "every instance has its old revision".to_owned(),
            Purpose::Deploy if new == all => "every instance has the new revision".to_owned(),
            Purpose::Deploy => format!("{new} of {all} instances have the new revision"),
            Purpose::Restart => format!("replaced {new} of {all}"),
        }
    }
}
