//! One virtual router among those of its node: what the election of its own does not know.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use minicbor::{Decode, Encode};

use super::{Setup, View};
use crate::time::Instant;
use crate::track::{Effect, Standing, Subject};
use crate::vrrp::router::Router;
use crate::vrrp::{PRIORITY_OWNER, Role};

/// How long no rival must have been heard for a split to be over, at least.
const SPLIT_QUIET_MIN: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Decode, Encode)]
pub(super) struct Member {
    #[n(0)]
    pub(super) setup: Setup,
    #[n(1)]
    pub(super) router: Router,
    #[n(2)]
    pub(super) source: Source,
    #[n(3)]
    pub(super) epoch: u64,
    #[n(4)]
    pub(super) since: Instant,
    #[n(5)]
    pub(super) reason: String,
    #[n(6)]
    pub(super) turns: u64,
    #[n(7)]
    pub(super) splits: u64,
    #[n(8)]
    pub(super) split: Option<Split>,
}

/// What adverts are sent from.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub(super) enum Source {
    #[n(0)]
    Unknown,
    #[n(1)]
    Ready(#[n(0)] IpAddr),
    #[n(2)]
    Broken(#[n(0)] String),
}

/// Another master, or another owner of an address.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub(super) struct Split {
    #[n(0)]
    pub(super) who: String,
    #[n(1)]
    pub(super) over_at: Instant,
}

impl Member {
    pub(super) fn new(now: Instant, setup: Setup) -> Self {
        Self {
            router: Router::new(now, setup.policy),
            setup,
            source: Source::Unknown,
            epoch: 0,
            since: now,
            reason: "starting".to_owned(),
            turns: 0,
            splits: 0,
            split: None,
        }
    }

    /// What the rules come to.
    pub(super) fn standing(&self, verdicts: &BTreeMap<Subject, Option<String>>) -> Standing {
        let own = self.setup.policy.priority;
        let (mut priority, mut reason) = (i32::from(own), None);
        for rule in &self.setup.track {
            let failure = failure_of(verdicts, &rule.subject);
            match (rule.effect, failure) {
                (Effect::Fault, Some(why)) => return Standing::Faulty(why),
                (Effect::Weight(weight), Some(why)) if weight < 0 => {
                    priority += i32::from(weight);
                    reason = Some(why);
                }
                (Effect::Weight(weight), None) if weight > 0 => priority += i32::from(weight),
                (Effect::Fault | Effect::Weight(_), _) => {}
            }
        }
        let priority = if own == PRIORITY_OWNER {
            own
        } else {
            u8::try_from(priority.clamp(1, 254)).expect("it was clamped")
        };
        Standing::Able { priority, reason }
    }

    /// What fails, a line each.
    pub(super) fn failures(&self, verdicts: &BTreeMap<Subject, Option<String>>) -> Vec<String> {
        let rules = self.setup.track.iter();
        rules.filter_map(|rule| failure_of(verdicts, &rule.subject)).collect()
    }

    pub(super) fn see_rival(&mut self, now: Instant, who: String) -> bool {
        let over_at = now + SPLIT_QUIET_MIN.max(self.router.down_time() * 2);
        let is_new = self.split.is_none();
        self.split = Some(Split { who, over_at });
        self.splits += u64::from(is_new);
        is_new
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let split = self.split.as_ref().map(|split| split.over_at);
        self.router.deadline().into_iter().chain(split).min()
    }

    pub(super) fn subject(&self) -> String {
        format!("vip.{}", self.setup.name)
    }

    pub(super) fn view(
        &self,
        now: Instant,
        since_ms: u64,
        verdicts: &BTreeMap<Subject, Option<String>>,
    ) -> View {
        View {
            key: self.setup.key,
            name: self.setup.name.clone(),
            role: self.router.role(),
            priority: self.router.priority(),
            epoch: self.epoch,
            since_ms,
            reason: self.router.why_out().map_or_else(|| self.reason.clone(), ToOwned::to_owned),
            master: self.router.master(now),
            failures: self.failures(verdicts),
            rival: self.split.as_ref().map(|split| split.who.clone()),
            holding_back: self.router.holding_back(now),
            turns: self.turns,
            splits: self.splits,
        }
    }

    pub(super) fn is_master(&self) -> bool {
        self.router.role() == Role::Master
    }
}

/// Why `subject` fails. What nobody has judged yet cannot be counted on.
pub(super) fn failure_of(
    verdicts: &BTreeMap<Subject, Option<String>>,
    subject: &Subject,
) -> Option<String> {
    match verdicts.get(subject) {
        Some(failure) => failure.clone(),
        None => Some("not known yet".to_owned()),
    }
}
