//! The table: every scenario and contender, in figures and against the bound.

use std::fmt::Write;
use std::time::Duration;

use super::Contender;
use super::run::Figures;
use super::scenario::{Bound, Scenario};

/// The head of the table.
const HEAD: &str = "\
| scenario | contender | runs | measured ms, median / max | from the event, median / max | failed, median / max | kept, max | flips, max | bound | verdict |
|---|---|---|---|---|---|---|---|---|---|
";

/// A Markdown table of what was run, and below it what did not hold.
pub fn table(all: &[Figures]) -> String {
    let mut text = HEAD.to_owned();
    let mut problems = String::new();
    for scenario in Scenario::all() {
        for contender in Contender::ALL {
            let of_both =
                |one: &&Figures| one.scenario == scenario.name && one.contender == contender;
            let runs: Vec<&Figures> = all.iter().filter(of_both).collect();
            if runs.is_empty() {
                continue;
            }
            text += &row(&scenario, contender, &runs);
            for (number, run) in runs.iter().enumerate() {
                for problem in run.problems.iter().chain(&run.late) {
                    let number = number + 1;
                    let first = problem.lines().next().unwrap_or_default();
                    let _ = writeln!(
                        problems,
                        "* {}, {contender}, run {number}: {first}",
                        run.scenario
                    );
                }
            }
        }
    }
    if !problems.is_empty() {
        let _ = write!(text, "\n{problems}");
    }
    text
}

fn row(scenario: &Scenario, contender: Contender, runs: &[&Figures]) -> String {
    let bound = scenario.bound;
    let measured: Vec<Duration> = runs.iter().filter_map(|run| run.measured(bound)).collect();
    let after: Vec<Duration> =
        runs.iter().filter_map(|run| run.switch.map(|switch| switch.after_event)).collect();
    let mut shown = pair(&measured);
    // One without a figure is no better than the others: it is not even that.
    if !measured.is_empty() && measured.len() < runs.len() {
        let _ = write!(shown, " ({} of {})", measured.len(), runs.len());
    }
    let failed: Vec<usize> = runs.iter().map(|run| run.failed).collect();
    let most = |of: fn(&Figures) -> usize| runs.iter().map(|run| of(run)).max().unwrap_or_default();
    let noisy = runs.iter().filter(|run| run.is_noisy()).count();
    let noise = if noisy == 0 { String::new() } else { format!(" ({noisy} noisy)") };
    let verdict = match is_kept(bound, runs) {
        _ if contender != Contender::Evergate => "",
        true => "kept",
        false => "**missed**",
    };
    format!(
        "| {} | {contender} | {}{noise} | {} | {} | {} / {} | {} | {} | {} | {verdict} |\n",
        scenario.name,
        runs.len(),
        shown,
        pair(&after),
        median(&failed).unwrap_or_default(),
        failed.iter().max().unwrap_or(&0),
        most(|run| run.kept_failed),
        most(|run| run.flips),
        words(bound),
    )
}

/// Whether the runs are as they must be.
pub fn is_kept(bound: Bound, runs: &[&Figures]) -> bool {
    let measured: Vec<Duration> = runs.iter().filter_map(|run| run.measured(bound)).collect();
    let most = measured.iter().max().copied();
    let within = |limit: u64, value: Option<Duration>| {
        value.is_some_and(|value| value <= Duration::from_millis(limit))
    };
    let holds = match bound {
        Bound::Gap(middle, max) => {
            let silences = runs.iter().map(|run| run.silence).max();
            // What follows the move is no worse than the move.
            let is_short = within(max, most) && within(max, silences);
            measured.len() == runs.len() && within(middle, median(&measured)) && is_short
        }
        Bound::Silence(max) => within(max, most),
        Bound::Own(max) => measured.len() == runs.len() && within(max, most),
        Bound::Lossless => runs.iter().all(|run| run.failed + run.kept_failed == 0),
        Bound::Checks => true,
    };
    holds && runs.iter().all(|run| run.problems.is_empty() && run.late.is_empty())
}

fn words(bound: Bound) -> String {
    match bound {
        Bound::Gap(middle, max) => format!("gap {middle} / {max} ms"),
        Bound::Silence(max) => format!("no silence over {max} ms"),
        Bound::Own(max) => format!("within {max} ms"),
        Bound::Lossless => "0 failed, 0 kept".to_owned(),
        Bound::Checks => "all checks hold".to_owned(),
    }
}

fn pair(values: &[Duration]) -> String {
    let ms = |value: Duration| format!("{:.0}", value.as_secs_f64() * 1000.0);
    match (median(values), values.iter().max()) {
        (Some(middle), Some(&max)) => format!("{} / {}", ms(middle), ms(max)),
        _ => "–".to_owned(),
    }
}

/// The middle one, of an even number the lower of the two.
fn median<T: Copy + Ord>(values: &[T]) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(&[3, 1, 2]), Some(2));
        assert_eq!(median(&[4, 1, 2, 3]), Some(2));
        assert_eq!(median::<u8>(&[]), None);
    }

    #[test]
    fn a_pair_is_shown_in_whole_milliseconds() {
        let values = [Duration::from_micros(1400), Duration::from_micros(90_600)];
        assert_eq!(pair(&values), "1 / 91");
        assert_eq!(pair(&[]), "–");
    }
}
