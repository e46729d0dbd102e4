//! Processes of the simulated world.

use super::*;

/// What a process will do, decided when it starts.
#[derive(Clone, Debug)]
pub(super) struct Nature {
    /// When it serves, after its start; never if none.
    pub(super) serves_after: Option<Duration>,
    /// When it exits unasked, and how.
    pub(super) exits_after: Option<(Duration, Exit)>,
    /// When it begins to hang.
    pub(super) hangs_after: Option<Duration>,
    /// How long it takes to exit when it is asked; it does not if none.
    pub(super) obeys_after: Option<Duration>,
    /// Whether others of its tree outlive it, and whether those end when asked.
    pub(super) leaves: Option<Heirs>,
    /// How long its requests take to finish; longer than anybody waits if none.
    pub(super) finishes_after: Option<Duration>,
    /// How long the kernel takes to end it.
    pub(super) dies_after: Duration,
    /// Whether it uses more memory than it should.
    pub(super) swells: bool,
}

/// What a process leaves behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Heirs {
    Obedient,
    Stubborn,
}

impl Nature {
    /// As an app should be.
    pub(super) fn good(rng: &mut Rng) -> Self {
        Self {
            serves_after: Some(ms(rng, 2_000)),
            exits_after: None,
            hangs_after: None,
            obeys_after: Some(ms(rng, 500)),
            leaves: None,
            finishes_after: Some(ms(rng, 3_000)),
            dies_after: ms(rng, 5),
            swells: false,
        }
    }

    /// With some vices.
    pub(super) fn random(rng: &mut Rng) -> Self {
        let mut nature = Self::good(rng);
        if rng.below(6) == 0 {
            nature.serves_after = None;
        }
        if rng.below(3) == 0 {
            let after = if rng.below(2) == 0 { ms(rng, 3_000) } else { ms(rng, 100_000) };
            let exits = [
                Exit::Status(0),
                Exit::Status(1),
                Exit::Status(1),
                Exit::Signal(11),
                Exit::OutOfMemory,
                Exit::Blameless,
                Exit::Status(if rng.below(2) == 0 { 78 } else { 125 }),
            ];
            nature.exits_after = Some((after, exits[rng.below(7) as usize]));
        }
        if rng.below(5) == 0 {
            nature.hangs_after = Some(ms(rng, 30_000));
        }
        nature.obeys_after = (rng.below(5) > 0).then(|| ms(rng, 12_000));
        nature.leaves = match rng.below(8) {
            0 => Some(Heirs::Obedient),
            1 => Some(Heirs::Stubborn),
            _ => None,
        };
        nature.finishes_after = (rng.below(4) > 0).then(|| ms(rng, 20_000));
        if rng.below(20) == 0 {
            nature.dies_after = ms(rng, 60_000);
        }
        nature.swells = rng.below(8) == 0;
        nature
    }
}

/// Some milliseconds, from 1.
pub(super) fn ms(rng: &mut Rng, below: u32) -> Duration {
    Duration::from_millis(u64::from(1 + rng.below(below)))
}

/// One process with its tree.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) nature: Nature,
    pub(super) started_at: Instant,
    pub(super) has_main: bool,
    /// It was told that its process exited and something is left.
    pub(super) has_rest: bool,
    /// It serves.
    pub(super) is_up: bool,
    /// The fleet was told so.
    pub(super) said_ready: bool,
    pub(super) is_hung: bool,
    pub(super) is_killed: bool,
    /// Its requests were said to finish.
    pub(super) is_finishing: bool,
}

impl Child {
    pub(super) fn new(now: Instant, nature: Nature) -> Self {
        Self {
            nature,
            started_at: now,
            has_main: true,
            has_rest: false,
            is_up: false,
            said_ready: false,
            is_hung: false,
            is_killed: false,
            is_finishing: false,
        }
    }
}
