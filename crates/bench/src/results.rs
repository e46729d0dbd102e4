//! From measurements to tables: medians over rounds, and ratios round by round.
//!
//! A ratio is taken within one round, where both contenders met the same weather, and only then
//! summed up: that is what makes it mean something on a machine that others use too.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Context;
use serde::Serialize;

use crate::case::Case;
use crate::contender::{AccessLog, Contender};
use crate::machine::Machine;
use crate::measure::Measurement;

/// One turn of all contenders.
pub type Round = BTreeMap<Contender, Measurement>;

/// What holds for all figures of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    /// What to type for the same run.
    pub command: String,
    /// Where.
    pub machine: Machine,
    /// Who took part.
    pub versions: BTreeMap<Contender, String>,
    /// Whether nginx and Evergate logged requests.
    pub access_log: AccessLog,
    /// Seconds of each measurement.
    pub seconds: f64,
}

/// What was found for one case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseResults {
    /// Its name.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// Why it was not measured.
    pub skipped: Option<String>,
    /// In the order they were taken.
    pub rounds: Vec<Round>,
}

impl CaseResults {
    /// Without rounds yet.
    pub fn new(case: &Case) -> Self {
        Self { name: case.name, title: case.title, skipped: None, rounds: Vec::new() }
    }

    /// Not measured, and why.
    pub fn skipped(case: &Case, why: &str) -> Self {
        Self { skipped: Some(why.to_owned()), ..Self::new(case) }
    }

    /// The table of this case.
    pub fn table(&self) -> String {
        let mut text = format!("### {} (`{}`)\n\n", self.title, self.name);
        if let Some(why) = &self.skipped {
            text.push_str(&format!("Not measured: {why}.\n"));
            return text;
        }
        text.push_str(
            "| proxy | req/s | CPU us/request (user + kernel) | req per CPU-second | core used \
             | p50 / p99 ms | resident MB idle / after | proportional MB idle / after | failed |\n\
             |---|---|---|---|---|---|---|---|---|\n",
        );
        for contender in Contender::ALL {
            let taken: Vec<&Measurement> =
                self.rounds.iter().filter_map(|round| round.get(&contender)).collect();
            if !taken.is_empty() {
                text.push_str(&row(contender, &taken));
            }
        }
        let rivals = [Contender::Nginx, Contender::Haproxy];
        let comparisons: String = rivals.iter().filter_map(|&r| self.comparison(r)).collect();
        if !comparisons.is_empty() {
            text.push('\n');
            text.push_str(&comparisons);
        }
        text
    }

    /// Evergate against `rival`; `None` unless both took part.
    fn comparison(&self, rival: Contender) -> Option<String> {
        let efficiency = self.ratio(rival, Measurement::requests_per_cpu_second)?;
        let speed = self.ratio(rival, |m| m.requests_per_second)?;
        let p99 = self.ratio(rival, |m| m.latency_us_p99)?;
        Some(format!(
            "- Evergate against {rival}: requests per CPU-second {efficiency}, requests per second \
             {speed}, p99 latency {p99}\n"
        ))
    }

    fn ratio(&self, rival: Contender, of: impl Fn(&Measurement) -> f64) -> Option<Spread> {
        let ratios = self.rounds.iter().filter_map(|round| {
            Some(of(round.get(&Contender::Evergate)?) / of(round.get(&rival)?))
        });
        Spread::of(ratios)
    }
}

fn row(contender: Contender, taken: &[&Measurement]) -> String {
    let median = |of: fn(&Measurement) -> f64| {
        Spread::of(taken.iter().map(|m| of(m))).map_or(0.0, |spread| spread.median)
    };
    let megabytes = |of: fn(&Measurement) -> u64| {
        Spread::of(taken.iter().map(|m| of(m) as f64 / 1e6)).map_or(0.0, |spread| spread.median)
    };
    let failed: u64 = taken.iter().map(|m| m.failures).sum();
    format!(
        "| {contender} | {:.0} | {:.1} ({:.1} + {:.1}) | {:.0} | {:.0} % | {:.2} / {:.2} \
         | {:.1} / {:.1} | {:.1} / {:.1} | {failed} |\n",
        median(|m| m.requests_per_second),
        median(Measurement::cpu_us),
        median(|m| m.user_us),
        median(|m| m.system_us),
        median(Measurement::requests_per_cpu_second),
        median(|m| m.core_used * 100.0),
        median(|m| m.latency_us_p50 / 1000.0),
        median(|m| m.latency_us_p99 / 1000.0),
        megabytes(|m| m.idle.resident),
        megabytes(|m| m.after.resident),
        megabytes(|m| m.idle.proportional),
        megabytes(|m| m.after.proportional),
    )
}

/// The whole block for the document: how, where, and every table.
pub fn markdown(setting: &Setting, cases: &[CaseResults]) -> String {
    let Machine { cores, processor, kernel, architecture } = &setting.machine;
    let versions: Vec<String> =
        setting.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let rounds = cases.iter().map(|case| case.rounds.len()).max().unwrap_or(0);
    let log = match setting.access_log {
        AccessLog::Off => "off",
        AccessLog::On => "on for Evergate and nginx, off for HAProxy",
    };
    let (command, seconds, versions) = (&setting.command, setting.seconds, versions.join(", "));
    let tables: Vec<String> = cases.iter().map(CaseResults::table).collect();
    format!(
        "`{command}`\n\n\
         {cores} cores, {processor}, Linux {kernel}, {architecture}; {versions}. Medians of \
         {rounds} interleaved rounds of {seconds} s; ratios are taken round by round and shown as \
         median [least..most]. Access log {log}.\n\n{}",
        tables.join("\n")
    )
}

/// The middle of some figures, and their ends.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    /// `None` of nothing.
    fn of(figures: impl Iterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median = match figures.len() % 2 {
            0 => f64::midpoint(figures[middle - 1], figures[middle]),
            _ => figures[middle],
        };
        Some(Self { median, least, most })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} [{:.2}..{:.2}]", self.median, self.least, self.most)
    }
}

/// `document` with the text between `<!-- name:begin -->` and `<!-- name:end -->` replaced.
pub fn replace_block(document: &str, name: &str, block: &str) -> anyhow::Result<String> {
    let (begin, end) = (format!("<!-- {name}:begin -->"), format!("<!-- {name}:end -->"));
    let (before, rest) =
        document.split_once(&begin).with_context(|| format!("no `{begin}` in the document"))?;
    let (_, after) =
        rest.split_once(&end).with_context(|| format!("no `{end}` after `{begin}`"))?;
    Ok(format!("{before}{begin}\n\n{}\n\n{end}{after}", block.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::CASES;
    use crate::process::Memory;

    fn measurement(requests_per_second: f64, user_us: f64) -> Measurement {
        let memory = Memory { resident: 2_000_000, proportional: 1_000_000, own: 500_000 };
        Measurement {
            requests_per_second,
            user_us,
            system_us: 10.0,
            core_used: 0.5,
            latency_us_p50: 100.0,
            latency_us_p90: 150.0,
            latency_us_p99: 200.0,
            latency_us_max: 900.0,
            failures: 1,
            notes: Vec::new(),
            idle: memory,
            after: memory,
            processes: 2,
        }
    }

    #[test]
    fn a_spread_knows_middle_and_ends() {
        let spread = |figures: &[f64]| Spread::of(figures.iter().copied());
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(
            spread(&[4.0, 1.0]).map(|s| s.to_string()),
            Some("2.50 [1.00..4.00]".to_owned())
        );
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The second round is half as fast for all: medians taken apart would say otherwise.
        let round = |factor: f64| {
            Round::from([
                (Contender::Evergate, measurement(60_000.0 * factor, 0.0)),
                (Contender::Nginx, measurement(40_000.0 * factor, 5.0)),
            ])
        };
        let rounds = Vec::from([round(1.0), round(0.5)]);
        let results = CaseResults { rounds, ..CaseResults::new(&CASES[0]) };
        let table = results.table();
        assert!(
            table.ends_with(
                "- Evergate against nginx: requests per CPU-second 1.50 [1.50..1.50], \
                 requests per second 1.50 [1.50..1.50], p99 latency 1.00 [1.00..1.00]\n"
            ),
            "{table}"
        );
        assert!(
            table.contains(
                "| nginx | 30000 | 15.0 (5.0 + 10.0) | 66667 | 50 % | 0.10 / 0.20 \
                 | 2.0 / 2.0 | 1.0 / 1.0 | 2 |"
            ),
            "{table}"
        );
        assert!(!table.contains("haproxy"), "{table}");
    }

    #[test]
    fn a_case_that_was_not_measured_says_why() {
        let table = CaseResults::skipped(&CASES[0], "h2load is not installed").table();
        assert!(table.ends_with("\n\nNot measured: h2load is not installed.\n"), "{table}");
    }

    #[test]
    fn only_the_block_is_replaced() {
        let document = "# A\n<!-- proxy:begin -->\nold\n<!-- proxy:end -->\nB\n";
        let replaced = replace_block(document, "proxy", "new\n").expect("the markers are there");
        assert_eq!(replaced, "# A\n<!-- proxy:begin -->\n\nnew\n\n<!-- proxy:end -->\nB\n");
        assert!(replace_block(document, "tls", "new").is_err());
        assert!(replace_block("<!-- proxy:begin -->", "proxy", "new").is_err());
    }
}
