//! When this process may be away for a moment: the keeper's exec.

use core::time::Duration;

use super::Standby;
use super::member::Member;
use crate::time::Instant;
use crate::vrrp::Role;

impl Standby {
    /// Whether no role has changed for as long as it takes to notice a dead master, and nothing is
    /// under way.
    pub fn is_settled(&self, now: Instant) -> bool {
        let routers = self.members.values().map(|member| &member.router);
        let longest = routers.clone().map(|router| router.down_time()).max().unwrap_or_default();
        self.moves.is_idle()
            && !routers.clone().any(|router| router.is_busy())
            && now.since(self.turned_at) >= longest
            && self.members.values().all(|member| member.split.is_none())
    }

    /// The next moment at which a pause disturbs least: right after a master has sent its advert,
    /// right after a backup has heard one. `now` if this is such a moment; nothing while roles are
    /// not settled. A later moment is a guess: ask again when it has come and been handled.
    ///
    /// Of several virtual routers, the one with the shortest interval decides.
    pub fn may_pause_at(&self, now: Instant) -> Option<Instant> {
        if !self.is_settled(now) {
            return None;
        }
        let beats = self.members.values().filter_map(beat);
        let Some((last, interval)) = beats.min_by_key(|&(last, interval)| (interval, last)) else {
            return Some(now);
        };
        let elapsed = now.since(last);
        if elapsed <= interval / 4 {
            return Some(now);
        }
        // A beat that failed to come is not waited for: the timers decide what follows from that.
        let behind = u32::try_from(elapsed.as_nanos() / interval.as_nanos().max(1));
        Some(last + interval * behind.unwrap_or(u32::MAX - 1).saturating_add(1))
    }
}

/// When the last advert came or went, and how often they do.
fn beat(member: &Member) -> Option<(Instant, Duration)> {
    match member.router.role() {
        Role::Init | Role::Fault => None,
        Role::Backup | Role::Master => {
            Some((member.router.last_advert()?, member.router.interval()))
        }
    }
}
