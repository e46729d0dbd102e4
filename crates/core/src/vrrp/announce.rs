//! When the network is told where an address is.
//!
//! Whoever spoke last is believed: a client's table follows the newest ARP or neighbour
//! advertisement. After a false claim by another node the right one must therefore speak last, and
//! cannot know which of its announcements was lost or overtaken. So it repeats itself, quickly at
//! first, until the other one has been quiet for a while. Adverts go out on the same schedule: the
//! one that should have ended the other's claim may be lost too.

use core::time::Duration;

use minicbor::{Decode, Encode};

use crate::time::Instant;

/// When an announcement is repeated, counted from the first one; whatever is wanted beyond these
/// follows every [`LATER`].
const OFFSETS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(10),
    Duration::from_millis(30),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(1000),
];
const LATER: Duration = Duration::from_secs(1);
/// How often an announcement is made after a rival's claim.
const CONTEST_REPEAT: u8 = OFFSETS.len() as u8;
/// A new schedule replaces one that began this long ago.
const GAP_MIN: Duration = Duration::from_millis(10);
/// Two nodes that see each other's announcements but not each other's adverts would answer each
/// other for ever. So every answer is owed this much time, and no more than [`DEBT_MAX`] is lent:
/// from then on there are two schedules in a second.
const DEBT: Duration = Duration::from_millis(500);
const DEBT_MAX: Duration = Duration::from_secs(10);
/// A rival that gives up has heard us, which pays for the answers to a claim or two.
const DEBT_PAID: Duration = Duration::from_secs(1);

/// How often whoever is master no more says so.
const FAREWELL_REPEAT: u8 = 3;

/// The announcements to come, of one virtual router.
#[derive(Clone, Debug, Decode, Default, Encode)]
pub(super) struct Schedule {
    #[n(0)]
    run: Option<Run>,
    #[n(1)]
    refresh: Option<Refresh>,
    /// How long it takes until nothing is owed for answers.
    #[n(2)]
    debt_until: Instant,
}

#[derive(Clone, Copy, Debug, Decode, Encode)]
struct Run {
    #[n(0)]
    from: Instant,
    #[n(1)]
    done: u8,
    #[n(2)]
    wanted: u8,
}

#[derive(Clone, Copy, Debug, Decode, Encode)]
struct Refresh {
    #[n(0)]
    at: Instant,
    #[n(1)]
    every: Duration,
}

/// What is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Due {
    /// An announcement, and an advert with it.
    Both,
    /// An announcement.
    Announcement,
}

impl Schedule {
    /// The address was taken: `repeat` announcements from now on, then one every `refresh`.
    pub(super) fn claimed(&mut self, now: Instant, repeat: u8, refresh: Option<Duration>) {
        self.run = Some(Run { from: now, done: 0, wanted: repeat.max(1) });
        self.refresh = refresh.map(|every| Refresh { at: now + every, every });
        self.debt_until = now;
    }

    /// Another refresh was configured.
    pub(super) fn set_refresh(&mut self, now: Instant, refresh: Option<Duration>) {
        if self.refresh.map(|known| known.every) != refresh {
            self.refresh = refresh.map(|every| Refresh { at: now + every, every });
        }
    }

    /// A rival claims the address.
    pub(super) fn contested(&mut self, now: Instant) {
        let is_answered = self.run.is_some_and(|run| now.since(run.from) < GAP_MIN);
        let debt_until = self.debt_until.max(now) + DEBT;
        if !is_answered && debt_until.since(now) <= DEBT_MAX {
            self.debt_until = debt_until;
            self.begin(now);
        }
    }

    /// A rival gave up: its last announcement may have come after ours.
    pub(super) fn conceded(&mut self, now: Instant) {
        let debt = self.debt_until.since(now).saturating_sub(DEBT_PAID);
        self.debt_until = now + debt;
        self.begin(now);
    }

    /// The address was given up.
    pub(super) fn stop(&mut self) {
        *self = Self::default();
    }

    /// Whether announcements of a claim or a contest are still to come.
    pub(super) fn is_running(&self) -> bool {
        self.run.is_some()
    }

    /// What is due now; steps that were missed count as one.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Due> {
        let mut due = None;
        if let Some(refresh) = self.refresh.as_mut().filter(|refresh| refresh.at <= now) {
            refresh.at = now + refresh.every;
            due = Some(Due::Announcement);
        }
        while self.run.is_some_and(|run| run.next_at() <= now) {
            due = Some(Due::Both);
            self.run = self.run.and_then(Run::after);
        }
        due
    }

    /// When the next one is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let run = self.run.map(|run| run.next_at());
        run.into_iter().chain(self.refresh.map(|refresh| refresh.at)).min()
    }

    fn begin(&mut self, now: Instant) {
        let left = self.run.map_or(0, |run| run.wanted - run.done);
        self.run = Some(Run { from: now, done: 0, wanted: CONTEST_REPEAT.max(left) });
    }
}

impl Run {
    fn next_at(&self) -> Instant {
        let step = usize::from(self.done);
        let offset = OFFSETS.get(step).copied().unwrap_or_else(|| {
            let beyond = u32::from(self.done) + 1 - OFFSETS.len() as u32;
            OFFSETS[OFFSETS.len() - 1] + LATER * beyond
        });
        self.from + offset
    }

    fn after(self) -> Option<Self> {
        let done = self.done + 1;
        (done < self.wanted).then_some(Self { done, ..self })
    }
}

/// The adverts of priority 0 to come, of one that is master no more.
#[derive(Clone, Copy, Debug, Decode, Encode)]
pub(super) struct Farewell(#[n(0)] Run);

impl Farewell {
    /// The first one is said now.
    pub(super) fn said(now: Instant) -> Self {
        Self(Run { from: now, done: 1, wanted: FAREWELL_REPEAT })
    }

    /// When the next one is due.
    pub(super) fn deadline(self) -> Instant {
        self.0.next_at()
    }

    /// What is left when what is due now has been said once.
    pub(super) fn after(self, now: Instant) -> Option<Self> {
        let mut left = Some(self.0);
        while let Some(run) = left.filter(|run| run.next_at() <= now) {
            left = run.after();
        }
        left.map(Self)
    }
}
