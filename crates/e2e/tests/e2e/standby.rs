//! Two and three nodes with one address between them, in the failover lab.
//!
//! What must hold is judged strictly: who has the address, who answers, what is told, that planned
//! moves lose nothing. How long it took is judged only far beyond its bound, since a build machine
//! has other work; `cargo xtask lab` gives figures. A run that fails while the probe itself stood
//! still is repeated, and what a machine that never goes on in time can bring about by itself, such
//! as a takeover from a node that was silent, is then only told.

#[path = "standby/faults.rs"]
mod faults;
#[path = "standby/moves.rs"]
mod moves;
#[path = "standby/others.rs"]
mod others;
#[path = "standby/replayed.rs"]
mod replayed;
#[path = "standby/storms.rs"]
mod storms;
#[path = "standby/variants.rs"]
mod variants;

use std::panic::catch_unwind;
use std::path::Path;
use std::time::Duration;

use evergate_e2e::lab::probe::open_loop::TIMEOUT_BUSY;
use evergate_e2e::lab::run::{self, Figures};
use evergate_e2e::lab::scenario::{Bound, Extent};
use evergate_e2e::lab::{self, Contender, Scenario};
use evergate_e2e::skip;

/// A busy machine may need this many times as long as a bound allows.
const PATIENCE_FACTOR: u32 = 10;
/// And at least this long. Whoever is not told that an address has moved finds that out by itself
/// after five seconds.
const PATIENCE_MIN: Duration = Duration::from_secs(4);
/// How much of it there is to be; `cargo xtask lab` has all of it.
const EXTENT: Extent =
    Extent { lasting: Duration::from_secs(5), patience: TIMEOUT_BUSY, is_full: false };
/// The probe asks every 2 ms. Where it could not for so long, nodes were silent for as long.
const STALL_MAX: Duration = Duration::from_millis(10);
/// How often a scenario is played on a machine that stands still now and then.
const TRIES_MAX: usize = 3;
/// The lab's own program: probe and app.
const PROGRAM: &str = env!("CARGO_BIN_EXE_evergate-lab");

/// Whether there can be a lab here; says so if not.
fn is_possible() -> bool {
    let missing = lab::missing();
    if let Some(why) = &missing {
        skip(why);
    }
    missing.is_none()
}

/// Plays a scenario with Evergate, and judges what came out.
fn play(name: &str) {
    if !is_possible() {
        return;
    }
    let scenario = Scenario::named(name).expect("the lab knows it");
    for number in 1..=TRIES_MAX {
        let figures = run_once(&scenario);
        eprintln!("{name}: {}", shown(&figures));
        let late = late(&scenario, &figures);
        if figures.problems.is_empty() && late.is_empty() {
            return;
        }
        // Of one that broke off before the probe asked, nobody knows.
        let is_noisy = figures.stall > STALL_MAX || figures.trace.fresh.is_empty();
        if is_noisy && number < TRIES_MAX {
            eprintln!("{name} is played again: {:?} {late:?}", figures.problems);
            continue;
        }
        let evidence = || format!("{}\n{}", shown(&figures), figures.evidence.join("\n"));
        assert!(figures.problems.is_empty(), "{:#?}\n{}", figures.problems, evidence());
        assert!(is_noisy, "{late:#?}\n{}", evidence());
        eprintln!("{name}: the machine never went on in time: {late:?}");
    }
}

/// One that breaks off is one with a problem.
fn run_once(scenario: &Scenario) -> Figures {
    let evergate = Contender::Evergate;
    let ran = catch_unwind(|| run::run(scenario, evergate, Path::new(PROGRAM), EXTENT));
    ran.unwrap_or_else(|cause| Figures::broken(scenario, evergate, &*cause))
}

/// What does not hold, though it would have on a machine that goes on in time.
fn late(scenario: &Scenario, figures: &Figures) -> Vec<String> {
    let mut late = figures.late.clone();
    let limit = match scenario.bound {
        Bound::Gap(_, ms) | Bound::Silence(ms) | Bound::Own(ms) => {
            PATIENCE_MIN.max(PATIENCE_FACTOR * Duration::from_millis(ms))
        }
        Bound::Lossless => {
            let failed = figures.failed + figures.kept_failed;
            late.extend((failed > 0).then(|| format!("{failed} failed in a planned move")));
            return late;
        }
        Bound::Checks => return late,
    };
    let longest = figures.measured(scenario.bound).map(|measured| match scenario.bound {
        Bound::Gap(..) => measured.max(figures.silence),
        Bound::Silence(_) | Bound::Own(_) | Bound::Lossless | Bound::Checks => measured,
    });
    match longest {
        Some(longest) if longest <= limit => {}
        Some(longest) => late.push(format!("{longest:?} is far too long")),
        None => late.push("nothing was measured".to_owned()),
    }
    late
}

fn shown(figures: &Figures) -> String {
    format!(
        "{:?}, silence {:?}, own {:?}, {} failed ({}), {} on the kept connection, {} flips, stall {:?}",
        figures.switch,
        figures.silence,
        figures.own,
        figures.failed,
        figures.failures,
        figures.kept_failed,
        figures.flips,
        figures.stall,
    )
}
