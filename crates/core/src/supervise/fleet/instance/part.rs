//! The part of an instance in a deploy: two berths, one for each side.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use super::berth::{Berth, Loss, Sequel, Slot};
use super::{At, Context, Instance};
use crate::deploy::{self, Deploy, Side};
use crate::supervise::fleet::Revision;
use crate::supervise::fleet::failures::Charge;
use crate::supervise::fleet::life::{self, Life};
use crate::time::Instant;

/// What an instance keeps while a deploy is under way.
#[derive(Debug, Decode, Encode)]
pub(super) struct Part {
    /// The side that its own berth is of.
    #[n(0)]
    home: Side,
    #[n(1)]
    old: Revision,
    #[n(2)]
    new: Revision,
    /// The berth of the other side, while that has one.
    #[n(3)]
    pub(super) guest: Option<Berth>,
    /// Runs that the deploy asked to end.
    #[n(4)]
    ending: Vec<(u32, Side)>,
    /// What the deploy has yet to hear.
    #[n(5)]
    reports: Vec<deploy::Input>,
}

impl Part {
    fn side(&self, at: At) -> Side {
        match (at, self.home) {
            (At::Home, side) => side,
            (At::Guest, Side::Old) => Side::New,
            (At::Guest, Side::New) => Side::Old,
        }
    }

    /// What its runs are of, or may be.
    pub(super) fn revisions(&self) -> [Revision; 2] {
        [self.old, self.new]
    }

    /// Whether the deploy waits for the end of this run.
    pub(super) fn waits_for(&self, generation: u32) -> bool {
        self.ending.iter().any(|(ending, _)| *ending == generation)
    }

    fn revision(&self, side: Side) -> Revision {
        match side {
            Side::Old => self.old,
            Side::New => self.new,
        }
    }
}

impl Instance {
    /// Why there can be no such part, if it was read from somewhere.
    pub(super) fn check_part(
        &self,
        number: u16,
        part: &Part,
        deploy: Option<&Deploy>,
    ) -> Result<(), &'static str> {
        let guest = part.side(At::Guest);
        match deploy {
            None => return Err("an instance takes part in no deploy"),
            Some(deploy) if part.guest.is_some() && !deploy.counts_on(number, guest) => {
                return Err("an instance has a run that its deploy does not know");
            }
            Some(_) => {}
        }
        let is_there = |&(generation, _): &(u32, Side)| self.position(generation).is_some();
        if part.ending.iter().all(is_there) { Ok(()) } else { Err("a deploy waits for no run") }
    }

    /// Takes part in a deploy of this revision.
    pub(in crate::supervise::fleet) fn join(&mut self, new: Revision) {
        let old = self.home.revision;
        let (ending, reports) = (Vec::new(), Vec::new());
        self.part = Some(Part { home: Side::Old, old, new, guest: None, ending, reports });
    }

    /// Takes part in it no more: it is over, or gone on without.
    pub(in crate::supervise::fleet) fn leave(&mut self, ctx: &mut Context) {
        let Some(part) = self.part.take() else {
            return;
        };
        match (self.home.slot, part.guest) {
            (Slot::Vacant, Some(guest)) => self.home = guest,
            (Slot::Vacant, None) => self.home.enter(ctx.now, Slot::Waiting, None),
            (_, Some(mut guest)) => {
                if let Some(generation) = guest.vacate(ctx.now, Slot::Vacant) {
                    self.handle(ctx, generation, life::Input::End);
                }
            }
            (_, None) => {}
        }
    }

    /// What the deploy has to hear.
    pub(in crate::supervise::fleet) fn take_reports(&mut self) -> Vec<deploy::Input> {
        self.part.as_mut().map(|part| core::mem::take(&mut part.reports)).unwrap_or_default()
    }

    /// Starts a run of this side.
    pub(in crate::supervise::fleet) fn start_side(&mut self, now: Instant, side: Side) {
        let Some(part) = &mut self.part else {
            return;
        };
        if part.home == side {
            self.home.start(now);
        } else {
            debug_assert!(part.guest.is_none(), "the deploy ended it before");
            part.guest = Some(Berth::new(now, part.revision(side)));
        }
    }

    /// Drains and ends the run of this side, and starts none again.
    pub(in crate::supervise::fleet) fn end_side(&mut self, ctx: &mut Context, side: Side) {
        let number = ctx.number;
        let Some(part) = &mut self.part else {
            return;
        };
        let mut guest;
        let berth = if part.home == side {
            Some(&mut self.home)
        } else {
            guest = part.guest.take();
            guest.as_mut()
        };
        let Some(berth) = berth else {
            part.reports.push(deploy::Input::Gone { number, side });
            return;
        };
        let is_running = berth.vacate(ctx.now, Slot::Vacant).is_some();
        let generation = berth.generation;
        // A run that failed may still be on its way out.
        let mut last = self.runs.iter().filter(|life| life.generation == generation);
        if last.all(Life::is_stuck) {
            part.reports.push(deploy::Input::Gone { number, side });
            return;
        }
        part.ending.push((generation, side));
        if is_running {
            self.handle(ctx, generation, life::Input::End);
        }
    }

    /// Has this side from now on.
    pub(in crate::supervise::fleet) fn settle_on(&mut self, now: Instant, side: Side) {
        let Some(part) = &mut self.part else {
            return;
        };
        if part.home != side {
            let revision = part.revision(side);
            self.home = part.guest.take().unwrap_or_else(|| Berth::new(now, revision));
            part.home = side;
        }
    }

    /// Reports that a run is ready.
    pub(super) fn report_ready(&mut self, number: u16, at: At) {
        if let Some(part) = &mut self.part {
            let side = part.side(at);
            part.reports.push(deploy::Input::Ready { number, side });
        }
    }

    /// Reports that a run failed.
    pub(super) fn report_failed(&mut self, number: u16, at: At, why: String) {
        if let Some(part) = &mut self.part {
            let side = part.side(at);
            part.reports.push(deploy::Input::Failed { number, side, why });
        }
    }

    /// Reports how a run ended unplanned.
    pub(super) fn report_loss(&mut self, number: u16, at: At, loss: &Loss, sequel: Sequel) {
        match (loss.charge, sequel) {
            // It did what it was to do.
            (_, Sequel::Nothing) if loss.is_clean => self.report_ready(number, at),
            // It is simply tried again.
            (Charge::Blameless, Sequel::Start(_)) => {}
            (Charge::Counted | Charge::Blameless | Charge::Lasting, _) => {
                self.report_failed(number, at, format!("failed: {}", loss.how));
            }
        }
    }

    /// Reports that what was to end is gone or stuck.
    pub(super) fn report_gone(&mut self, number: u16, generation: u32) {
        if let Some(part) = &mut self.part
            && let Some(at) = part.ending.iter().position(|(ending, _)| *ending == generation)
        {
            let (_, side) = part.ending.swap_remove(at);
            part.reports.push(deploy::Input::Gone { number, side });
        }
    }
}
