//! Running scenarios, and what came out of it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::scenario::{Bound, Extent, Play, Scenario};
use super::trace::Switch;
use super::{Contender, Moment, Stage, Trace};

/// A run in which the probe could not ask for longer than this measures the machine.
pub const STALL_MAX: Duration = Duration::from_millis(20);
/// How often such a run is repeated.
const REPEATS_MAX: usize = 3;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which scenarios.
    pub scenarios: Vec<Scenario>,
    /// Of whom.
    pub contenders: Vec<Contender>,
    /// How often; as often as each scenario says if none.
    pub runs: Option<usize>,
    /// How often others than Evergate run; as often as that if none.
    pub runs_of_others: Option<usize>,
    /// How much of each scenario.
    pub extent: Extent,
    /// The lab's own program.
    pub program: PathBuf,
}

/// What came out of a run.
#[derive(Clone, Debug)]
pub struct Figures {
    /// What was done.
    pub scenario: &'static str,
    /// To whom.
    pub contender: Contender,
    /// The move of the address, if there was one.
    pub switch: Option<Switch>,
    /// Longest time without an answer, from the fault on.
    pub silence: Duration,
    /// What the scenario took the time of.
    pub own: Option<Duration>,
    /// Requests that failed.
    pub failed: usize,
    /// How.
    pub failures: String,
    /// Requests on the kept connection that failed.
    pub kept_failed: usize,
    /// How often another node answered than before.
    pub flips: usize,
    /// Longest time in which the probe could not ask.
    pub stall: Duration,
    /// What did not hold.
    pub problems: Vec<String>,
    /// What did not hold either, and need not on a machine that stands still.
    pub late: Vec<String>,
    /// When the fault began.
    pub event: Option<Moment>,
    /// Every request.
    pub trace: Trace,
    /// What was said on the wire, and by the nodes.
    pub evidence: Vec<String>,
}

impl Plan {
    /// Runs all of it, contenders in turn, so that all have the same weather. `tell` hears of each
    /// run.
    pub fn run(&self, mut tell: impl FnMut(&Figures)) -> Vec<Figures> {
        let mut all = Vec::new();
        for scenario in &self.scenarios {
            let runs = self.runs.unwrap_or(scenario.runs);
            for round in 0..runs {
                let able = self.contenders.iter().filter(|one| {
                    let is_due = self.runs_of_others.is_none_or(|most| round < most);
                    scenario.is_for(**one) && (**one == Contender::Evergate || is_due)
                });
                for &contender in able {
                    let figures = self.run_quietly(scenario, contender);
                    tell(&figures);
                    all.push(figures);
                }
            }
        }
        all
    }

    /// Runs a scenario until the machine was quiet enough, or for the last time it may be repeated.
    fn run_quietly(&self, scenario: &Scenario, contender: Contender) -> Figures {
        let mut repeats = 0;
        loop {
            let ran = catch_unwind(AssertUnwindSafe(|| {
                run(scenario, contender, &self.program, self.extent)
            }));
            let figures = ran.unwrap_or_else(|cause| Figures::broken(scenario, contender, &*cause));
            if !figures.is_noisy() || repeats == REPEATS_MAX {
                return figures;
            }
            repeats += 1;
        }
    }
}

/// Runs a scenario once.
///
/// # Panics
/// If the nodes do not even start.
pub fn run(scenario: &Scenario, contender: Contender, program: &Path, extent: Extent) -> Figures {
    let stage = Stage::set(contender, scenario.wish, program);
    let mut play = Play::on(stage, contender, extent);
    scenario.play(&mut play);
    let trace = play.finish();
    play.expect_adverts(scenario.wish);
    let mut evidence = play.evidence();
    evidence.push(play.stage.logs());
    let event = play.event.unwrap_or(Moment(0));
    Figures {
        scenario: scenario.name,
        contender,
        switch: trace.switch(event),
        silence: trace.longest_gap(event),
        own: play.own,
        failed: trace.failed(),
        failures: trace.failures(),
        kept_failed: trace.kept_failed(),
        flips: trace.flips(),
        stall: trace.stall(),
        problems: play.problems,
        late: play.late,
        event: play.event,
        trace,
        evidence,
    }
}

impl Figures {
    /// Of a run that did not come to its end, with what it panicked with.
    pub fn broken(scenario: &Scenario, contender: Contender, cause: &(dyn Any + Send)) -> Self {
        let text = cause.downcast_ref::<String>().map(String::as_str);
        let why = text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        Self {
            scenario: scenario.name,
            contender,
            switch: None,
            silence: Duration::ZERO,
            own: None,
            failed: 0,
            failures: String::new(),
            kept_failed: 0,
            flips: 0,
            stall: Duration::ZERO,
            problems: vec![format!("the run broke off: {why}")],
            late: Vec::new(),
            event: None,
            trace: Trace::default(),
            evidence: Vec::new(),
        }
    }

    /// Whether the machine was too busy for its times to mean anything.
    pub fn is_noisy(&self) -> bool {
        self.stall > STALL_MAX
    }

    /// What `bound` is about, as far as it was measured.
    pub fn measured(&self, bound: Bound) -> Option<Duration> {
        match bound {
            Bound::Gap(..) => self.switch.map(|switch| switch.gap),
            Bound::Silence(_) | Bound::Lossless => Some(self.silence),
            Bound::Own(_) => self.own,
            Bound::Checks => None,
        }
    }
}
