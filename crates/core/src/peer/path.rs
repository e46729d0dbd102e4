//! One path to a peer.

use alloc::format;
use alloc::string::String;
use core::net::IpAddr;
use core::time::Duration;

use minicbor::{Decode, Encode};

use super::{Beat, INTERVAL_MAX, PathView, Policy};
use crate::time::Instant;

/// What is known of a path to a peer's address. A new one was never heard.
#[derive(Clone, Debug, Decode, Encode)]
pub(super) struct Path {
    #[n(0)]
    pub(super) address: IpAddr,
    /// While beats come in: when they count as missing.
    #[n(1)]
    dead_at: Option<Instant>,
    /// When that changed.
    #[n(2)]
    since: Instant,
    /// The peer said last that it hears us.
    #[n(3)]
    hears_us: bool,
    /// Since when it has said, without a break, that it does not.
    #[n(4)]
    deaf_since: Option<Instant>,
    /// The peer's last beat over it.
    #[n(5)]
    last: Option<Last>,
    /// Beats of ours over it.
    #[n(6)]
    sent: u64,
    #[n(7)]
    received: u64,
    #[n(8)]
    lost: u64,
    #[n(9)]
    refused: u64,
    #[n(10)]
    answers_echo: Option<bool>,
}

/// What must be remembered of a beat.
#[derive(Clone, Copy, Debug, Decode, Encode)]
struct Last {
    /// Number of the path, as the peer counts them.
    #[n(0)]
    path: u8,
    #[n(1)]
    number: u64,
    #[n(2)]
    interval: Duration,
}

impl Path {
    pub(super) const fn new(now: Instant, address: IpAddr) -> Self {
        Self {
            address,
            dead_at: None,
            since: now,
            hears_us: false,
            deaf_since: None,
            last: None,
            sent: 0,
            received: 0,
            lost: 0,
            refused: 0,
            answers_echo: None,
        }
    }

    /// The number of the next beat over it.
    pub(super) const fn count_sent(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    pub(super) const fn count_refused(&mut self) {
        self.refused += 1;
    }

    pub(super) const fn set_answers_echo(&mut self, answers: bool) {
        self.answers_echo = Some(answers);
    }

    /// Something true came in over it.
    pub(super) fn hear(&mut self, now: Instant, policy: &Policy) {
        if self.dead_at.is_none() {
            self.since = now;
        }
        self.dead_at = Some(now + self.patience(policy));
    }

    /// A beat came in over it.
    pub(super) fn hear_beat(&mut self, beat: &Beat) {
        self.received += 1;
        let &Beat { path, number, interval, .. } = beat;
        let interval = interval.min(INTERVAL_MAX);
        let beat = Last { path, number, interval };
        match self.last {
            Some(last) if last.path == path && number <= last.number => {
                // Overtaken by a later one, and counted as lost then.
                self.lost = self.lost.saturating_sub(1);
            }
            Some(last) if last.path == path => {
                self.lost = self.lost.saturating_add(number - last.number - 1);
                self.last = Some(beat);
            }
            // Counted anew.
            Some(_) | None => self.last = Some(beat),
        }
    }

    /// The peer has started anew, and counts anew.
    pub(super) fn forget_numbers(&mut self) {
        if let Some(last) = &mut self.last {
            last.number = 0;
        }
    }

    /// The peer said, over any path, on which ones it hears us; `own` is our number of this one.
    pub(super) fn hear_about(&mut self, now: Instant, hears: &[u8], own: u8) {
        // Until a beat came over it, both sides are taken to number their paths alike.
        let theirs = self.last.map_or(own, |last| last.path);
        self.hears_us = hears.contains(&theirs);
        self.deaf_since = match (self.hears_us, self.deaf_since) {
            (true, _) => None,
            (false, None) => Some(now),
            (false, since) => since,
        };
    }

    /// Takes missing beats into account.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.dead_at.is_some_and(|at| at <= now) {
            self.dead_at = None;
            self.since = now;
            self.hears_us = false;
            self.deaf_since = None;
        }
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.dead_at
    }

    pub(super) const fn is_heard(&self) -> bool {
        self.dead_at.is_some()
    }

    pub(super) const fn was_heard(&self) -> bool {
        self.last.is_some()
    }

    /// Whether each side hears the other.
    pub(super) const fn is_both_ways(&self) -> bool {
        self.is_heard() && self.hears_us
    }

    pub(super) const fn answers_echo(&self) -> bool {
        matches!(self.answers_echo, Some(true))
    }

    /// What is wrong with it, for people. A peer that was not heard at all before `heard_since` is
    /// given time to be heard over it, and to hear us.
    pub(super) fn fault(
        &self,
        now: Instant,
        heard_since: Instant,
        policy: &Policy,
    ) -> Option<String> {
        let lasts = |since: Instant| now - since >= self.patience(policy);
        if !self.is_heard() {
            let has_died = self.since > heard_since && self.was_heard();
            let is_silent = has_died || lasts(heard_since.max(self.since));
            return is_silent.then(|| format!("no heartbeat from {}", self.address));
        }
        let is_deaf = self.deaf_since.is_some_and(lasts);
        is_deaf.then(|| format!("{} does not hear us", self.address))
    }

    /// As many intervals as may be missing, and a half for what is late; of the slower side.
    fn patience(&self, policy: &Policy) -> Duration {
        let theirs = self.last.map_or(Duration::ZERO, |last| last.interval);
        let interval = policy.interval.max(theirs);
        interval.saturating_mul(u32::from(policy.missing.max(1))) + interval / 2
    }

    pub(super) fn view(&self, since_ms: impl Fn(Instant) -> u64) -> PathView {
        PathView {
            address: self.address,
            is_heard: self.is_heard(),
            hears_us: self.hears_us,
            since_ms: since_ms(self.since),
            answers_echo: self.answers_echo,
            received: self.received,
            lost: self.lost,
            refused: self.refused,
        }
    }
}
