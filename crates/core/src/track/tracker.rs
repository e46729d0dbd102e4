//! The rules of one virtual router, and what they come to.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use super::watched::{Count, Watched};
use super::{Effect, PRIORITY_LAST, Rule, Standing, Subject};
use crate::time::Instant;

/// Greatest priority of whoever does not own the address (RFC 9568 section 5.2.4).
const PRIORITY_MAX: i32 = 254;
/// Priority of the owner, which nothing changes.
const PRIORITY_OWNER: u8 = 255;

/// The rules of one virtual router.
///
/// Ask [`Self::standing`] after every call that changes something, and call [`Self::handle`] with
/// [`Input::Tick`] no later than [`Self::deadline`].
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Tracker {
    #[n(0)]
    priority: u8,
    /// In the order of the rules.
    #[n(1)]
    watched: Vec<Watched>,
}

/// What happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input<'a> {
    /// A subject works, or does not and why. One that no rule is about is nobody's concern.
    Verdict {
        /// What.
        subject: &'a Subject,
        /// Why it fails; nothing if it does not.
        failure: Option<&'a str>,
    },
    /// Time has passed.
    Tick,
}

impl Tracker {
    /// Nothing is known of any subject yet; `priority` holds when all is well.
    pub fn new(priority: u8, rules: Vec<Rule>) -> Self {
        Self { priority, watched: rules.into_iter().map(Watched::new).collect() }
    }

    /// Changes the rules. What is known of a subject stays if its rule does not change, and so does
    /// what it counts as if only the effect changes; of new subjects nothing is known yet.
    pub fn apply(&mut self, now: Instant, priority: u8, rules: Vec<Rule>) {
        self.priority = priority;
        let mut before = core::mem::take(&mut self.watched);
        for rule in rules {
            let same = before.iter().position(|old| old.rule.subject == rule.subject);
            self.watched.push(match same.map(|at| before.swap_remove(at)) {
                Some(old) => old.follow(rule),
                None => Watched::new(rule),
            });
        }
        self.handle(now, Input::Tick);
    }

    /// Advances it by one event.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Verdict { subject, failure } => {
                for watched in self.watched.iter_mut().filter(|one| one.rule.subject == *subject) {
                    watched.hear(now, failure.map(String::from));
                }
            }
            Input::Tick => self.watched.iter_mut().for_each(|watched| watched.tick(now)),
        }
        debug_assert!(self.deadline().is_none_or(|at| at > now), "what is due was done");
    }

    /// When to hand in [`Input::Tick`], if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        self.watched.iter().filter_map(Watched::deadline).min()
    }

    /// What the rules come to. Subjects of which nothing is known count for nothing.
    pub fn standing(&self) -> Standing {
        let mut priority = i32::from(self.priority);
        let mut reasons = Vec::new();
        let mut faults = Vec::new();
        let mut is_last = false;
        for watched in &self.watched {
            let count = watched.count();
            let line = words(&watched.rule.subject, &count);
            match (watched.rule.effect, count) {
                (_, Count::Unknown) | (Effect::Fault, Count::Well) => {}
                (Effect::Fault, Count::Failed(_)) => faults.extend(line),
                (Effect::Fault, Count::Doubtful(_)) => {
                    is_last = true;
                    reasons.extend(line);
                }
                (Effect::Weight(weight), Count::Failed(_) | Count::Doubtful(_)) => {
                    priority += i32::from(weight.min(0));
                    reasons.extend(line);
                }
                (Effect::Weight(weight), Count::Well) => priority += i32::from(weight.max(0)),
            }
        }
        if !faults.is_empty() {
            return Standing::Faulty(faults.join("; "));
        }
        let priority = match u8::try_from(priority.clamp(1, PRIORITY_MAX)) {
            _ if is_last => PRIORITY_LAST,
            _ if self.priority == PRIORITY_OWNER => PRIORITY_OWNER,
            Ok(priority) => priority,
            Err(_) => PRIORITY_LAST,
        };
        Standing::Able { priority, reason: (!reasons.is_empty()).then(|| reasons.join("; ")) }
    }

    /// Of which subjects nothing was heard, for people; nothing if all were judged. Until then the
    /// node keeps what it holds, but is not ready to claim anything.
    pub fn waits_for(&self) -> Option<String> {
        let unknown = self.watched.iter().filter(|watched| watched.count() == Count::Unknown);
        let names: Vec<_> = unknown.map(|watched| watched.rule.subject.to_string()).collect();
        (!names.is_empty()).then(|| format!("waits to hear of {}", names.join(", ")))
    }

    /// Every subject in the order of the rules, and why it counts as failed.
    pub fn tracked(&self) -> Vec<(Subject, Option<String>)> {
        let one = |watched: &Watched| {
            let failure = match watched.count() {
                Count::Unknown => Some(String::from("nothing is known of it yet")),
                Count::Well => None,
                Count::Doubtful(why) | Count::Failed(why) => Some(why),
            };
            (watched.rule.subject.clone(), failure)
        };
        self.watched.iter().map(one).collect()
    }

    /// What fails, a line each.
    pub fn failures(&self) -> Vec<String> {
        let lines = self.watched.iter();
        lines.filter_map(|watched| words(&watched.rule.subject, &watched.count())).collect()
    }
}

/// What counts against a subject, for people.
fn words(subject: &Subject, count: &Count) -> Option<String> {
    match count {
        Count::Unknown | Count::Well => None,
        Count::Doubtful(why) | Count::Failed(why) => Some(format!("{subject}: {why}")),
    }
}
