//! What is done to the nodes, and what must hold then.

mod deaths;
mod moves;
mod networks;
mod repairs;
mod splits;

use std::fmt;
use std::time::Duration;

use super::probe::Probe;
use super::product::{Contender, Wish};
use super::{Moment, Stage, pause, wait_within};

/// How long requests run before and after the fault.
const QUIET: Duration = Duration::from_millis(400);
/// How long the address may take to move before it counts as lost.
const MOVED_WITHIN: Duration = Duration::from_secs(12);

/// One of them.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// For the command line.
    pub name: &'static str,
    /// What happens, for tables.
    pub about: &'static str,
    /// What must hold.
    pub bound: Bound,
    /// What the nodes are like.
    pub wish: Wish,
    /// Whether others than Evergate can do it.
    pub is_for_all: bool,
    /// How often it runs, if nobody says.
    pub runs: usize,
    play: fn(&mut Play),
}

/// What is measured, and how much of it is too much.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bound {
    /// From the last answer of the old node to the first of the new one, in milliseconds: median
    /// and maximum.
    Gap(u64, u64),
    /// The longest time without an answer, in milliseconds, in every run.
    Silence(u64),
    /// Not one request fails.
    Lossless,
    /// What the scenario itself takes the time of, in milliseconds, in every run.
    Own(u64),
    /// What the scenario itself looks at.
    Checks,
}

/// A scenario while it is played.
#[derive(Debug)]
pub struct Play {
    /// The nodes.
    pub stage: Stage,
    /// Who they are.
    pub contender: Contender,
    /// When the fault began.
    pub event: Option<Moment>,
    /// What does not hold, for people.
    pub problems: Vec<String>,
    /// What the scenario took the time of.
    pub own: Option<Duration>,
    probe: Option<Probe>,
    /// For how long a fault that lasts is to last.
    pub lasting: Duration,
}

impl Scenario {
    /// Every one.
    pub fn all() -> Vec<Self> {
        [deaths::ALL, networks::ALL, moves::ALL, splits::ALL, repairs::ALL].concat()
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|scenario| scenario.name == name)
    }

    /// Whether `contender` can do it.
    pub fn is_for(&self, contender: Contender) -> bool {
        self.is_for_all || contender == Contender::Evergate
    }

    /// Plays it.
    pub(super) fn play(&self, play: &mut Play) {
        (self.play)(play);
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Play {
    /// On this stage; faults that last do so for `lasting`.
    pub fn on(stage: Stage, contender: Contender, lasting: Duration) -> Self {
        let (event, probe, own) = (None, None, None);
        Self { stage, contender, event, problems: Vec::new(), own, probe, lasting }
    }

    /// Starts the probe, lets it run for a while that ends at any phase of what goes on, and notes
    /// the time: the fault is next.
    fn begin(&mut self) {
        self.start_probe();
        self.mark();
    }

    fn start_probe(&mut self) {
        self.probe = Some(self.stage.probe());
        let interval = match self.contender {
            Contender::Evergate => 30_000_000,
            Contender::Keepalived(profile) => profile.interval.as_nanos() as u64,
        };
        pause(QUIET + Duration::from_nanos(Moment::now().0 % interval));
    }

    fn mark(&mut self) {
        self.event = Some(Moment::now());
    }

    fn probe(&self) -> &Probe {
        self.probe.as_ref().expect("it was started")
    }

    /// Waits until somebody else than the first node answers, then a little longer.
    fn wait_for_move(&mut self) {
        let old = self.probe().turns()[0];
        let moved = self.probe().wait_for_other(old, MOVED_WITHIN);
        self.expect(moved, || format!("nobody else answers within {MOVED_WITHIN:?}"));
        pause(QUIET);
    }

    /// Waits until exactly `owner` has the address.
    fn wait_for_owner(&mut self, owner: usize) {
        let came = self.stage.wait_for_owner(owner, MOVED_WITHIN);
        let holders = self.stage.network.holders();
        self.expect(came, || {
            format!("after {MOVED_WITHIN:?} the address is at nodes {holders:?}, not at {owner}")
        });
    }

    /// Waits until something holds that is then expected.
    fn wait_until(&mut self, what: &str, mut ready: impl FnMut(&mut Stage) -> bool) {
        let stage = &mut self.stage;
        let came = wait_within(MOVED_WITHIN, || ready(stage));
        self.expect(came, || format!("after {MOVED_WITHIN:?} it is not so that {what}"));
    }

    fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(otherwise());
        }
    }

    /// Ends the probe; what it saw.
    pub(super) fn finish(&mut self) -> super::Trace {
        self.probe.take().map(Probe::stop).unwrap_or_default()
    }
}
