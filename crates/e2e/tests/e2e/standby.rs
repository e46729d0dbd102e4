//! Two and three nodes with one address between them, in the failover lab.
//!
//! What must hold is judged strictly: who has the address, who answers, what is told, that planned
//! moves lose nothing. How long it took is judged only far beyond its bound, since a build machine
//! has other work; `cargo xtask lab` gives figures.

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

use std::path::Path;
use std::time::Duration;

use evergate_e2e::lab::run::{self, Figures};
use evergate_e2e::lab::scenario::{Bound, Extent};
use evergate_e2e::lab::{self, Contender, Scenario};
use evergate_e2e::skip;

/// A busy machine may need this many times as long as a bound allows.
const PATIENCE_FACTOR: u32 = 10;
/// How much of it there is to be; `cargo xtask lab` has all of it.
const EXTENT: Extent = Extent { lasting: Duration::from_secs(5), is_full: false };
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

/// Plays a scenario once with Evergate, and judges what came out.
fn play(name: &str) {
    if !is_possible() {
        return;
    }
    let scenario = Scenario::named(name).expect("the lab knows it");
    let figures = run::run(&scenario, Contender::Evergate, Path::new(PROGRAM), EXTENT);
    eprintln!("{name}: {}", shown(&figures));
    judge(&scenario, &figures);
}

fn judge(scenario: &Scenario, figures: &Figures) {
    let evidence = || format!("{}\n{}", shown(figures), figures.evidence.join("\n"));
    assert!(figures.problems.is_empty(), "{:#?}\n{}", figures.problems, evidence());
    let limit = match scenario.bound {
        Bound::Gap(_, ms) | Bound::Silence(ms) | Bound::Own(ms) => {
            PATIENCE_FACTOR * Duration::from_millis(ms)
        }
        Bound::Lossless => {
            let failed = figures.failed + figures.kept_failed;
            assert_eq!(failed, 0, "requests failed in a planned move\n{}", evidence());
            return;
        }
        Bound::Checks => return,
    };
    let measured = figures.measured(scenario.bound);
    let measured = measured.unwrap_or_else(|| panic!("nothing was measured\n{}", evidence()));
    let longest = match scenario.bound {
        Bound::Gap(..) => measured.max(figures.silence),
        Bound::Silence(_) | Bound::Own(_) | Bound::Lossless | Bound::Checks => measured,
    };
    assert!(longest <= limit, "{longest:?} is far too long\n{}", evidence());
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
