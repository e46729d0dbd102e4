//! The upgrade that is under way, if there is one, and what became of those before it.
//!
//! What is decided is decided by [`Upgrade`]; the loop does what it says. Here is what both need to
//! know: which binary, which workers, what was asked of it aside, and what is told of it.

use std::rc::Rc;

use evergate_control::link::{
    KEPT_CONFIG, UpgradeCounts, UpgradeNews, UpgradeOutcome, UpgradePhase, UpgradeStep,
    VERDICT_BYTES_MAX,
};
use evergate_core::time::Instant;
use evergate_core::upgrade::{Outcome, Parts, Phase, Policy, Side, Upgrade};

use crate::binary::Binary;

mod carried;
mod preflight;
mod probe;

pub(crate) use self::carried::Carried;
pub(crate) use self::preflight::{Preflight, Question};
pub(crate) use self::probe::Probe;

/// Most bytes of a reason that is told; all news fit in one message.
const REASON_BYTES_MAX: usize = 4096;
const _: () = assert!(REASON_BYTES_MAX < VERDICT_BYTES_MAX, "a reason is part of a verdict");

/// Every upgrade.
#[derive(Debug, Default)]
pub(crate) struct Upgrades {
    pub(crate) under_way: Option<UnderWay>,
    /// The one that is under way, or else the last one.
    told: Option<UpgradeNews>,
    ended: UpgradeCounts,
}

/// One that is under way.
#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) machine: Upgrade,
    pub(crate) binary: Rc<Binary>,
    /// The worker that served when it began.
    pub(crate) old: u32,
    /// The worker that is to serve, once it was started.
    pub(crate) new: Option<u32>,
    /// What the new binary is asked.
    pub(crate) preflight: Option<Preflight>,
    /// What the new worker is asked.
    pub(crate) probe: Option<Probe>,
    /// The old worker has put another configuration in force than the new one has loaded.
    pub(crate) is_stale: bool,
}

impl Upgrades {
    /// Begins one.
    pub(crate) fn begin(
        &mut self,
        (policy, parts): (Policy, Parts),
        binary: Binary,
        old: u32,
        now: Instant,
        now_ms: u64,
    ) {
        let number = self.told.as_ref().map_or(0, |last| last.number).saturating_add(1);
        self.told = Some(UpgradeNews {
            number,
            binary: binary.path().display().to_string(),
            version: None,
            steps: Vec::new(),
            outcome: None,
        });
        self.under_way = Some(UnderWay {
            machine: Upgrade::new(policy, parts, now),
            binary: Rc::new(binary),
            old,
            new: None,
            preflight: None,
            probe: None,
            is_stale: false,
        });
        self.mark(now_ms);
    }

    /// What is told of the one under way, or the last one, and how all that ended did.
    pub(crate) fn news(&self) -> (Option<UpgradeNews>, UpgradeCounts) {
        (self.told.clone(), self.ended)
    }

    /// How far the one under way is.
    pub(crate) fn phase(&self) -> Option<Phase> {
        self.under_way.as_ref().map(|upgrade| upgrade.machine.phase())
    }

    /// Whether another worker is about to take over.
    pub(crate) fn is_changing_hands(&self) -> bool {
        self.phase().is_some_and(|phase| match phase {
            Phase::Loading
            | Phase::Activating
            | Phase::Probing
            | Phase::Releasing
            | Phase::Acquiring
            | Phase::Returning => true,
            Phase::Checking | Phase::Soaking | Phase::Rehearsing | Phase::Executing => false,
        })
    }

    /// Which of its workers this is.
    pub(crate) fn side(&self, generation: u32) -> Option<Side> {
        let upgrade = self.under_way.as_ref()?;
        if upgrade.new == Some(generation) {
            return Some(Side::New);
        }
        (upgrade.old == generation).then_some(Side::Old)
    }

    /// The worker on this side.
    pub(crate) fn worker(&self, side: Side) -> Option<u32> {
        let upgrade = self.under_way.as_ref()?;
        match side {
            Side::Old => Some(upgrade.old),
            Side::New => upgrade.new,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.under_way.as_ref()?.machine.deadline()
    }

    /// The primary worker had something kept.
    pub(crate) fn note_kept(&mut self, name: &str) {
        let is_changing_hands = self.is_changing_hands();
        if let Some(upgrade) = &mut self.under_way {
            upgrade.is_stale |= is_changing_hands && name == KEPT_CONFIG;
        }
    }

    /// Takes down which version the new binary is.
    pub(crate) fn set_version(&mut self, version: String) {
        if let Some(told) = &mut self.told {
            told.version = Some(version);
        }
    }

    /// Takes down how far the one under way is.
    pub(crate) fn mark(&mut self, now_ms: u64) {
        let (Some(upgrade), Some(told)) = (&self.under_way, &mut self.told) else {
            return;
        };
        let phase = in_words(upgrade.machine.phase());
        if told.steps.last().is_some_and(|last| last.phase == phase) {
            return;
        }
        finish_step(told, now_ms);
        told.steps.push(UpgradeStep { phase, at_ms: now_ms, took_ms: None });
    }

    /// Takes down how the one under way ended, and lets go of it.
    pub(crate) fn end(&mut self, outcome: Outcome, now_ms: u64) {
        self.under_way = None;
        let (count, outcome) = match outcome {
            Outcome::Done => (&mut self.ended.done, UpgradeOutcome::Done),
            Outcome::Refused(why) => (&mut self.ended.refused, UpgradeOutcome::Refused(cut(why))),
            Outcome::Returned(why) => {
                (&mut self.ended.returned, UpgradeOutcome::Returned(cut(why)))
            }
            Outcome::Partial(why) => (&mut self.ended.partial, UpgradeOutcome::Partial(cut(why))),
        };
        *count = count.saturating_add(1);
        if let Some(told) = &mut self.told {
            finish_step(told, now_ms);
            told.outcome = Some(outcome);
        }
    }
}

impl UnderWay {
    /// It and how far it is, for whoever wants another.
    pub(crate) fn describe(&self) -> String {
        let phase = match self.machine.phase() {
            Phase::Checking => "the new binary is being checked",
            Phase::Loading => "the new worker loads",
            Phase::Activating | Phase::Probing => "the new worker is being tried",
            Phase::Releasing | Phase::Acquiring => "the new worker takes over",
            Phase::Soaking => "the new worker is being watched",
            Phase::Returning => "the old worker takes over again",
            Phase::Rehearsing => "the new keeper is being checked",
            Phase::Executing => "the keeper becomes the new binary",
        };
        format!("an upgrade to {} is under way: {phase}", self.binary.path().display())
    }
}

/// The last step is over.
fn finish_step(told: &mut UpgradeNews, now_ms: u64) {
    if let Some(last) = told.steps.last_mut().filter(|last| last.took_ms.is_none()) {
        let took = now_ms.saturating_sub(last.at_ms);
        last.took_ms = Some(u32::try_from(took).unwrap_or(u32::MAX));
    }
}

fn cut(mut why: String) -> String {
    why.truncate(why.floor_char_boundary(REASON_BYTES_MAX));
    why
}

fn in_words(phase: Phase) -> UpgradePhase {
    match phase {
        Phase::Checking => UpgradePhase::Checking,
        Phase::Loading => UpgradePhase::Loading,
        Phase::Activating => UpgradePhase::Activating,
        Phase::Probing => UpgradePhase::Probing,
        Phase::Releasing => UpgradePhase::Releasing,
        Phase::Acquiring => UpgradePhase::Acquiring,
        // How a soak ends; workers of the release before know no other word.
        Phase::Soaking | Phase::Returning => UpgradePhase::Soaking,
        Phase::Rehearsing => UpgradePhase::Rehearsing,
        Phase::Executing => UpgradePhase::Executing,
    }
}
