//! How long is waited for what (RFC 9568 section 6.1, RFC 3768 section 6.1).

use core::time::Duration;

use super::{Router, SKEW_OF_VERSION_2};
use crate::time::Instant;
use crate::vrrp::{INTERVALS_DOWN, PRIORITY_OWNER, Version};

impl Router {
    /// Whether the best of all backups would have taken over by now.
    pub(super) fn is_late(&self, now: Instant, sent_at: Instant) -> bool {
        now.since(sent_at) >= self.policy.interval * INTERVALS_DOWN
    }

    /// Whether a worse master is to be replaced. Owners always do (RFC 9568 section 6.1).
    pub(super) fn preempts(&self, now: Instant) -> bool {
        if now < self.claims_from.max(self.defers_until) {
            return false;
        }
        let is_well = now.since(self.able_since) >= self.policy.preempt_delay;
        self.priority() == PRIORITY_OWNER || (self.policy.preempt && !self.is_moved && is_well)
    }

    /// Active_Adver_Interval of RFC 9568 section 6.1. Version 2 knows one interval: its codec
    /// refuses all others (RFC 3768 section 7.1).
    pub(super) fn master_interval(&self) -> Duration {
        match (self.policy.version, self.heard) {
            (Version::V3, Some(heard)) => heard.interval,
            (Version::V3, None) | (Version::V2, _) => self.policy.interval,
        }
    }

    /// Active_Down_Interval of RFC 9568 section 6.1.
    pub(super) fn master_down(&self) -> Duration {
        let interval = self.master_interval();
        interval * INTERVALS_DOWN + self.skew(interval)
    }

    /// Worse nodes wait longer, so the best backup moves first.
    pub(super) fn skew(&self, interval: Duration) -> Duration {
        let unit = match self.policy.version {
            Version::V2 => SKEW_OF_VERSION_2,
            Version::V3 => interval,
        };
        unit * (256 - u32::from(self.priority())) / 256
    }

    /// The longest that any backup waits.
    pub(super) fn silence_max(&self, interval: Duration) -> Duration {
        let unit = match self.policy.version {
            Version::V2 => SKEW_OF_VERSION_2,
            Version::V3 => interval,
        };
        interval * INTERVALS_DOWN + unit
    }
}
