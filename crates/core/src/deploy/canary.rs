//! Whether the first new run fares clearly worse than the old ones.
//!
//! Two things are compared: the share of requests that failed, and the 99th percentile of the time
//! to the response head. "Clearly" has to hold against chance too: a difference counts only beyond
//! what samples of their size show of themselves. Where there is too little to go by, the canary
//! passes, because a deploy on a quiet night must end as well; the note says so.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use minicbor::{Decode, Encode};

/// Requests to the canary without which nothing is judged, unless enough of them failed: a canary
/// that fails is soon left alone by the balancer, so there will never be more.
pub const REQUESTS_MIN: u64 = 50;
/// Failed requests that are enough.
pub const ERRORS_MIN: u64 = 5;
/// Requests to each side without which times are not compared: the 99th percentile of fewer is
/// one or two odd requests.
pub const REQUESTS_FOR_P99: u64 = 200;
/// By how much the canary's share of failures must exceed that of the others.
pub const ERRORS_MARGIN: f64 = 0.01;
/// The same, before the watch is over.
pub const ERRORS_MARGIN_EARLY: f64 = 0.25;
/// Share of failures that is too much where there is nothing to compare with.
pub const ERRORS_ALONE: f64 = 0.5;
/// How many times the others' 99th percentile the canary's must exceed.
pub const P99_FACTOR: u32 = 3;
/// By how much it must exceed it as well.
pub const P99_MARGIN: Duration = Duration::from_millis(100);

/// Squared standard errors beyond which a difference is no chance: three of them.
const CHANCE: f64 = 9.0;

/// How requests to some runs went, since the canary began to serve.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct Sample {
    /// Responses and failed attempts.
    #[n(0)]
    pub requests: u64,
    /// Of these, failed attempts and statuses from 500.
    #[n(1)]
    pub errors: u64,
    /// 99th percentile of the time to the response head; zero without a request.
    #[n(2)]
    pub p99: Duration,
}

/// What a comparison came to, with the figures for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Not clearly worse.
    Fine(String),
    /// Clearly worse.
    Worse(String),
    /// There were too few requests to tell; passes.
    TooFew(String),
}

/// The verdict when the watch is over.
pub fn judge(canary: &Sample, others: &Sample) -> Verdict {
    if !suffices(canary) {
        let requests = canary.requests;
        return Verdict::TooFew(format!("too few requests to judge by: {requests}"));
    }
    if let Some(how) = more_errors(canary, others, ERRORS_MARGIN) {
        return Verdict::Worse(how);
    }
    if is_slower(canary, others) {
        let (p99, usual) = (canary.p99, others.p99);
        return Verdict::Worse(format!("its p99 is {p99:.1?}, that of the others {usual:.1?}"));
    }
    let share = 100.0 * ratio(canary);
    let (requests, p99) = (canary.requests, canary.p99);
    Verdict::Fine(format!(
        "fares no worse: {requests} requests, {share:.1} % failed, p99 {p99:.1?}"
    ))
}

/// A verdict that need not wait for the end of the watch. Times are left out: a run that just
/// started is slow for reasons that pass.
pub fn judge_early(canary: &Sample, others: &Sample) -> Option<Verdict> {
    if !suffices(canary) {
        return None;
    }
    more_errors(canary, others, ERRORS_MARGIN_EARLY).map(Verdict::Worse)
}

fn suffices(canary: &Sample) -> bool {
    canary.requests >= REQUESTS_MIN || canary.errors >= ERRORS_MIN
}

/// Says how, if clearly more requests to the canary failed.
fn more_errors(canary: &Sample, others: &Sample, margin: f64) -> Option<String> {
    let share = ratio(canary);
    if others.requests < REQUESTS_MIN {
        let is_worse = share > ERRORS_ALONE;
        return is_worse.then(|| format!("{:.1} % of its requests failed", 100.0 * share));
    }
    let usual = ratio(others);
    let excess = share - usual - margin;
    let errors = canary.errors as f64 + others.errors as f64;
    let pooled = errors / (canary.requests as f64 + others.requests as f64);
    let sizes = 1.0 / canary.requests as f64 + 1.0 / others.requests as f64;
    let is_worse = excess > 0.0 && excess * excess > CHANCE * pooled * (1.0 - pooled) * sizes;
    is_worse.then(|| {
        let (share, usual) = (100.0 * share, 100.0 * usual);
        format!("{share:.1} % of its requests failed, of those to the others {usual:.1} %")
    })
}

fn is_slower(canary: &Sample, others: &Sample) -> bool {
    let suffice = canary.requests.min(others.requests) >= REQUESTS_FOR_P99;
    let limit = (others.p99.saturating_mul(P99_FACTOR)).max(others.p99.saturating_add(P99_MARGIN));
    suffice && canary.p99 > limit
}

fn ratio(sample: &Sample) -> f64 {
    match sample.requests {
        0 => 0.0,
        requests => sample.errors.min(requests) as f64 / requests as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(requests: u64, errors: u64, p99_ms: u64) -> Sample {
        Sample { requests, errors, p99: Duration::from_millis(p99_ms) }
    }

    #[derive(Debug, Eq, PartialEq)]
    enum Is {
        Fine,
        Worse,
        TooFew,
    }

    #[test]
    fn a_canary_is_worse_only_beyond_margin_and_chance() {
        use Is::*;
        let table = [
            // Nothing to go by.
            (sample(0, 0, 0), sample(0, 0, 0), TooFew),
            (sample(49, 4, 9000), sample(5000, 0, 5), TooFew),
            (sample(4, 4, 5), sample(5000, 0, 5), TooFew),
            // Few, yet telling.
            (sample(5, 5, 5), sample(300, 0, 5), Worse),
            (sample(5, 5, 5), sample(0, 0, 0), Worse),
            (sample(40, 5, 5), sample(120, 3, 5), Fine),
            // Failures.
            (sample(50, 50, 5), sample(150, 0, 5), Worse),
            (sample(50, 2, 5), sample(150, 0, 5), Fine), // could be chance
            (sample(50, 8, 5), sample(150, 0, 5), Worse),
            (sample(10_000, 90, 5), sample(30_000, 0, 5), Fine), // within the margin
            (sample(10_000, 250, 5), sample(30_000, 0, 5), Worse),
            (sample(10_000, 3000, 5), sample(30_000, 9000, 5), Fine), // all are bad
            (sample(10_000, 0, 5), sample(30_000, 9000, 5), Fine),    // better
            // Alone.
            (sample(100, 40, 5), sample(0, 0, 0), Fine),
            (sample(100, 51, 5), sample(0, 0, 0), Worse),
            (sample(100, 51, 5), sample(49, 0, 0), Worse),
            // Times.
            (sample(200, 0, 151), sample(200, 0, 50), Worse),
            (sample(200, 0, 150), sample(200, 0, 50), Fine), // not beyond the factor
            (sample(200, 0, 99), sample(200, 0, 1), Fine),   // many times, yet little
            (sample(199, 0, 9000), sample(200, 0, 50), Fine),
            (sample(200, 0, 9000), sample(199, 0, 50), Fine),
        ];
        for (canary, others, expected) in table {
            let verdict = judge(&canary, &others);
            let is = match verdict {
                Verdict::Fine(_) => Fine,
                Verdict::Worse(_) => Worse,
                Verdict::TooFew(_) => TooFew,
            };
            assert_eq!(is, expected, "{canary:?} beside {others:?}: {verdict:?}");
        }
    }

    #[test]
    fn only_what_is_plain_is_judged_early() {
        let others = sample(500, 0, 5);
        assert_eq!(judge_early(&sample(4, 4, 5), &others), None);
        assert_eq!(judge_early(&sample(50, 14, 5), &others), None);
        assert_eq!(judge_early(&sample(500, 0, 60_000), &others), None);
        let said = "100.0 % of its requests failed, of those to the others 0.0 %";
        let verdict = judge_early(&sample(50, 50, 5), &others);
        assert_eq!(verdict, Some(Verdict::Worse(said.into())));
    }

    #[test]
    fn counts_that_cannot_be_do_no_harm() {
        let odd = sample(u64::MAX, u64::MAX, u64::MAX);
        let _ = (judge(&odd, &odd), judge_early(&odd, &sample(0, 9, 0)));
    }
}
