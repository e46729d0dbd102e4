//! One virtual router among those of its node: what the election of its own does not know.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::net::IpAddr;
use core::time::Duration;

use minicbor::{Decode, Encode};

use super::{Setup, View};
use crate::time::Instant;
use crate::track::{self, Subject, Tracker};
use crate::vrrp::Role;
use crate::vrrp::router::Router;

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
    #[n(9)]
    pub(super) tracker: Tracker,
    /// When a reload put it among others that move together, if it has not been one of them yet.
    #[n(10)]
    pub(super) joins_since: Option<Instant>,
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
    pub(super) fn new(now: Instant, started: Instant, setup: Setup) -> Self {
        Self {
            router: Router::new(started, setup.policy),
            tracker: Tracker::new(setup.policy.priority, setup.track.clone()),
            setup,
            source: Source::Unknown,
            epoch: 0,
            since: now,
            reason: "starting".to_owned(),
            turns: 0,
            splits: 0,
            split: None,
            joins_since: None,
        }
    }

    pub(super) fn hear(&mut self, now: Instant, subject: &Subject, failure: Option<&str>) {
        self.tracker.handle(now, track::Input::Verdict { subject, failure });
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
        self.router.deadline().into_iter().chain(split).chain(self.tracker.deadline()).min()
    }

    pub(super) fn subject(&self) -> String {
        format!("vip.{}", self.setup.name)
    }

    pub(super) fn view(&self, now: Instant, since_ms: u64) -> View {
        View {
            key: self.setup.key,
            name: self.setup.name.clone(),
            role: self.router.role(),
            priority: self.router.priority(),
            epoch: self.epoch,
            since_ms,
            reason: self.router.why_out().map_or_else(|| self.reason.clone(), ToOwned::to_owned),
            master: self.router.master(now),
            failures: self.tracker.failures(),
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
