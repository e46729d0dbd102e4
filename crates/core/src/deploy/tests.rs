use alloc::string::ToString;

use core::time::Duration;

use super::*;
use Side::{New, Old};

mod place;
mod simulation;
mod words;

const SOAK: Duration = Duration::from_secs(10);

fn at(millis: u64) -> Instant {
    Instant::EPOCH + Duration::from_millis(millis)
}

fn order(instances: u16, surge: u16, unavailable: u16, on_failure: OnFailure) -> Order {
    Order {
        app: "shop".into(),
        numbers: (0..instances).collect(),
        purpose: Purpose::Deploy,
        policy: Policy { surge, unavailable, canary_for: SOAK, on_failure },
    }
}

fn ready(number: u16, side: Side) -> Input {
    Input::Ready { number, side }
}

fn gone(number: u16, side: Side) -> Input {
    Input::Gone { number, side }
}

fn failed(number: u16, side: Side) -> Input {
    Input::Failed { number, side, why: "exited with status 1".into() }
}

fn sampled(requests: u64, errors: u64) -> Input {
    let p99 = Duration::from_millis(5);
    let others = Sample { requests: 3 * requests, errors: 0, p99 };
    Input::Sampled { canary: Sample { requests, errors, p99 }, others }
}

fn abort() -> Input {
    Input::Abort { why: "aborted by the operator".into() }
}

/// What it wants done, each as a few words.
fn outputs(deploy: &mut Deploy) -> Vec<String> {
    let words = |output| match output {
        Output::Start { number, side } => format!("start {side:?} {number}"),
        Output::End { number, side } => format!("end {side:?} {number}"),
        Output::Settle { number, side } => format!("settle {side:?} {number}"),
        Output::Judged(how) => format!("judged {how}"),
        Output::Over(Outcome::Done) => "done".to_string(),
        Output::Over(Outcome::Failed(why)) => format!("failed {why}"),
    };
    core::iter::from_fn(|| deploy.next_output()).map(words).collect()
}

/// A deploy that is told things; each is followed by exactly the outputs beside it.
struct Script {
    deploy: Deploy,
    now: Instant,
}

impl Script {
    fn begin(order: Order, expected: &[&str]) -> Self {
        let mut script = Self { deploy: Deploy::new(order, at(0)), now: at(0) };
        assert_eq!(outputs(&mut script.deploy), expected, "at first");
        script
    }

    fn then(mut self, input: Input, expected: &[&str]) -> Self {
        let shown = format!("{input:?} in {:?}", self.deploy);
        self.deploy.handle(self.now, input);
        assert_eq!(outputs(&mut self.deploy), expected, "{shown}");
        self
    }

    fn after(mut self, wait: Duration, input: Input, expected: &[&str]) -> Self {
        self.now = self.now + wait;
        self.then(input, expected)
    }

    fn is(self, phase: Phase, done: u16, message: &str) -> Self {
        assert_eq!(self.deploy.phase(), phase, "{:?}", self.deploy);
        assert_eq!(self.deploy.done(), done, "{:?}", self.deploy);
        assert_eq!(self.deploy.message(), message);
        self
    }
}

const QUIET: &str = "judged shop/0: too few requests to judge by: 0";

/// Two instances, surge, up to where the canary has passed.
fn past_the_canary(on_failure: OnFailure) -> Script {
    Script::begin(order(2, 1, 0, on_failure), &["start New 0"])
        .then(ready(0, New), &[])
        .after(SOAK, Input::Tick, &[QUIET, "end Old 0"])
        .then(gone(0, Old), &["settle New 0", "start New 1"])
}

#[test]
fn with_a_surge_the_old_run_serves_until_the_new_one_has_proved_itself() {
    Script::begin(order(2, 1, 0, OnFailure::Abort), &["start New 0"])
        .is(Phase::Rolling, 0, "waits until the new run of shop/0 is ready")
        .then(ready(0, New), &[])
        .is(Phase::Soaking, 0, "watches shop/0, the canary: 0 requests so far")
        .after(SOAK / 2, sampled(100, 0), &[])
        .is(Phase::Soaking, 0, "watches shop/0, the canary: 100 requests so far")
        .after(SOAK / 4, Input::Tick, &[])
        .after(
            SOAK / 4,
            Input::Tick,
            &["judged shop/0: fares no worse: 100 requests, 0.0 % failed, p99 5.0ms", "end Old 0"],
        )
        .is(Phase::Rolling, 0, "drains and stops the old run of shop/0")
        .then(gone(0, Old), &["settle New 0", "start New 1"])
        .is(Phase::Rolling, 1, "waits until the new run of shop/1 is ready")
        .then(ready(1, New), &["end Old 1"])
        .then(gone(1, Old), &["settle New 1", "done"])
        .is(Phase::Done, 2, "replaced 2 of 2");
}

#[test]
fn in_place_the_new_run_starts_when_the_old_one_is_gone() {
    Script::begin(order(2, 0, 1, OnFailure::Abort), &["end Old 0"])
        .is(Phase::Rolling, 0, "drains and stops the old run of shop/0")
        .then(gone(0, Old), &["start New 0"])
        .then(ready(0, New), &[])
        .is(Phase::Soaking, 0, "watches shop/0, the canary: 0 requests so far")
        .after(SOAK, Input::Tick, &[QUIET, "settle New 0", "end Old 1"])
        .then(gone(1, Old), &["start New 1"])
        .then(ready(1, New), &["settle New 1", "done"]);
}

#[test]
fn the_width_is_the_surge_or_else_what_may_be_missing_or_else_one() {
    let table = [
        ((2, 0), &["start New 1"][..], &["start New 2"][..]),
        ((2, 3), &["start New 1"], &["start New 2"]),
        ((0, 0), &[], &["start New 1"]),
        ((9, 0), &["start New 1", "start New 2", "start New 3"], &[]),
    ];
    for ((surge, unavailable), while_it_drains, when_it_is_gone) in table {
        Script::begin(order(4, surge, unavailable, OnFailure::Abort), &["start New 0"])
            .then(ready(0, New), &[])
            .after(SOAK, sampled(0, 0), &[&[QUIET, "end Old 0"], while_it_drains].concat())
            .then(gone(0, Old), &[&["settle New 0"], when_it_is_gone].concat());
    }
    Script::begin(order(4, 0, 2, OnFailure::Abort), &["end Old 0"])
        .then(gone(0, Old), &["start New 0"])
        .then(ready(0, New), &[])
        .after(SOAK, Input::Tick, &[QUIET, "settle New 0", "end Old 1", "end Old 2"])
        .then(gone(2, Old), &["start New 2"])
        .then(ready(2, New), &["settle New 2", "end Old 3"]);
}

#[test]
fn without_a_watch_the_first_one_goes_alone_all_the_same() {
    let restart = Order { purpose: Purpose::Restart, ..order(3, 2, 0, OnFailure::Abort) };
    let mut unwatched = order(3, 2, 0, OnFailure::Abort);
    unwatched.policy.canary_for = Duration::ZERO;
    for order in [restart, unwatched] {
        Script::begin(order, &["start New 0"])
            .then(ready(0, New), &["end Old 0", "start New 1"])
            .then(ready(1, New), &["end Old 1"])
            .then(gone(1, Old), &["settle New 1", "start New 2"]);
    }
}

#[test]
fn one_instance_alone_is_replaced() {
    Script::begin(order(1, 1, 0, OnFailure::Abort), &["start New 0"])
        .then(ready(0, New), &[])
        .after(SOAK, Input::Tick, &[QUIET, "end Old 0"])
        .then(gone(0, Old), &["settle New 0", "done"]);
    Script::begin(order(0, 1, 0, OnFailure::Abort), &["done"]).is(
        Phase::Done,
        0,
        "replaced 0 of 0",
    );
}

#[test]
fn a_new_run_that_does_not_come_up_leaves_the_old_one_as_it_was() {
    let why = "failed shop/0 exited with status 1; every instance has its old revision";
    Script::begin(order(2, 1, 0, OnFailure::Abort), &["start New 0"])
        .then(failed(0, New), &["end New 0"])
        .is(
            Phase::Reverting,
            0,
            "shop/0 exited with status 1; drains and stops the new run of shop/0",
        )
        .then(gone(0, New), &["settle Old 0", why])
        .is(Phase::Failed, 0, &why["failed ".len()..]);
    Script::begin(order(2, 0, 1, OnFailure::Abort), &["end Old 0"])
        .then(gone(0, Old), &["start New 0"])
        .then(failed(0, New), &["end New 0"])
        .then(gone(0, New), &["start Old 0"])
        .then(ready(0, Old), &["settle Old 0", why]);
}

#[test]
fn a_canary_that_fails_plainly_is_not_watched_to_the_end() {
    let how = "100.0 % of its requests failed, of those to the others 0.0 %";
    let judged = format!("judged shop/0 fares worse: {how}");
    let why = format!(
        "failed shop/0 fares worse than the old runs: {how}; every instance has its old revision"
    );
    Script::begin(order(2, 1, 0, OnFailure::Rollback), &["start New 0"])
        .then(ready(0, New), &[])
        .after(SOAK / 10, sampled(60, 60), &[&judged, "end New 0"])
        .then(gone(0, New), &["settle Old 0", &why]);
    Script::begin(order(2, 0, 1, OnFailure::Abort), &["end Old 0"])
        .then(gone(0, Old), &["start New 0"])
        .then(ready(0, New), &[])
        .after(SOAK / 10, sampled(60, 60), &[&judged, "end New 0"])
        .then(gone(0, New), &["start Old 0"])
        .then(ready(0, Old), &["settle Old 0", &why]);
}

#[test]
fn a_canary_that_fares_somewhat_worse_is_judged_at_the_end() {
    let how = "12.0 % of its requests failed, of those to the others 0.0 %";
    Script::begin(order(1, 1, 0, OnFailure::Abort), &["start New 0"])
        .then(ready(0, New), &[])
        .after(SOAK / 10, sampled(100, 12), &[])
        .after(SOAK, Input::Tick, &[&format!("judged shop/0 fares worse: {how}"), "end New 0"]);
}

#[test]
fn a_canary_that_ends_during_its_watch_has_failed() {
    for on_failure in [OnFailure::Abort, OnFailure::Rollback] {
        Script::begin(order(2, 1, 0, on_failure), &["start New 0"])
            .then(ready(0, New), &[])
            .after(SOAK / 2, failed(0, New), &["end New 0"])
            .after(SOAK, Input::Tick, &[]);
    }
    // With `Continue` the next one is the canary.
    Script::begin(order(2, 1, 0, OnFailure::Continue), &["start New 0"])
        .then(ready(0, New), &[])
        .after(SOAK / 2, failed(0, New), &["end New 0"])
        .after(SOAK, Input::Tick, &[])
        .then(gone(0, New), &["settle Old 0", "start New 1"])
        .then(ready(1, New), &[])
        .is(
            Phase::Soaking,
            0,
            "shop/0 exited with status 1; watches shop/1, the canary: 0 requests so far",
        );
}

#[test]
fn abort_leaves_what_is_replaced_and_rollback_takes_it_back() {
    past_the_canary(OnFailure::Abort)
        .then(failed(1, New), &["end New 1"])
        .then(
            gone(1, New),
            &[
                "settle Old 1",
                "failed shop/1 exited with status 1; 1 of 2 instances have the new revision",
            ],
        )
        .is(
            Phase::Failed,
            1,
            "shop/1 exited with status 1; 1 of 2 instances have the new revision",
        );
    past_the_canary(OnFailure::Rollback)
        .then(failed(1, New), &["end New 1"])
        .then(gone(1, New), &["settle Old 1", "start Old 0"])
        .is(
            Phase::Reverting,
            0,
            "shop/1 exited with status 1; waits until the old run of shop/0 is ready",
        )
        .then(ready(0, Old), &["end New 0"])
        .then(
            gone(0, New),
            &[
                "settle Old 0",
                "failed shop/1 exited with status 1; every instance has its old revision",
            ],
        );
}

#[test]
fn with_continue_the_next_one_is_replaced() {
    past_the_canary(OnFailure::Continue).then(failed(1, New), &["end New 1"]).then(
        gone(1, New),
        &[
            "settle Old 1",
            "failed shop/1 exited with status 1; 1 of 2 instances have the new revision",
        ],
    );
    let how = "100.0 % of its requests failed, of those to the others 0.0 %";
    let judged = format!("judged shop/0 fares worse: {how}; the deploy goes on all the same");
    Script::begin(order(1, 1, 0, OnFailure::Continue), &["start New 0"])
        .then(ready(0, New), &[])
        .then(sampled(60, 60), &[&judged, "end Old 0"])
        .then(gone(0, Old), &["settle New 0", "done"]);
}

#[test]
fn a_replaced_instance_that_fails_while_others_are_replaced_stops_the_deploy() {
    past_the_canary(OnFailure::Abort)
        .then(failed(0, New), &["end New 1"])
        .then(gone(1, New), &["settle Old 1", "start Old 0"])
        .then(ready(0, Old), &["end New 0"])
        .then(
            gone(0, New),
            &[
                "settle Old 0",
                "failed shop/0 exited with status 1; every instance has its old revision",
            ],
        );
    past_the_canary(OnFailure::Continue).then(failed(0, New), &[]);
}

#[test]
fn an_instance_whose_old_run_is_being_drained_for_a_good_new_one_is_past_aborting() {
    past_the_canary(OnFailure::Abort).then(ready(1, New), &["end Old 1"]).then(abort(), &[]).then(
        gone(1, Old),
        &["settle New 1", "failed aborted by the operator; every instance has the new revision"],
    );
    // Unless the new one fails now: then the old one comes back.
    past_the_canary(OnFailure::Abort)
        .then(ready(1, New), &["end Old 1"])
        .then(failed(1, New), &["end New 1"])
        .then(gone(1, New), &[])
        .then(gone(1, Old), &["start Old 1"])
        .then(
            ready(1, Old),
            &[
                "settle Old 1",
                "failed shop/1 exited with status 1; 1 of 2 instances have the new revision",
            ],
        );
}

#[test]
fn the_operator_can_give_it_up_at_any_point() {
    let why = "failed aborted by the operator; every instance has its old revision";
    for on_failure in [OnFailure::Abort, OnFailure::Rollback, OnFailure::Continue] {
        Script::begin(order(2, 1, 0, on_failure), &["start New 0"])
            .then(abort(), &["end New 0"])
            .then(abort(), &[])
            .then(gone(0, New), &["settle Old 0", why]);
        Script::begin(order(2, 0, 1, on_failure), &["end Old 0"])
            .then(abort(), &[])
            .then(gone(0, Old), &["start Old 0"])
            .then(ready(0, Old), &["settle Old 0", why])
            .then(abort(), &[]);
        Script::begin(order(2, 0, 1, on_failure), &["end Old 0"])
            .then(gone(0, Old), &["start New 0"])
            .then(ready(0, New), &[])
            .then(abort(), &["end New 0"])
            .then(gone(0, New), &["start Old 0"]);
    }
}

#[test]
fn an_old_run_that_does_not_come_back_is_said_and_not_waited_for() {
    // The new one serves, and stays.
    past_the_canary(OnFailure::Rollback)
        .then(abort(), &["end New 1"])
        .then(gone(1, New), &["settle Old 1", "start Old 0"])
        .then(failed(0, Old), &["end Old 0"])
        .then(
            gone(0, Old),
            &[
                "settle New 0",
                "failed aborted by the operator (and 1 more); 1 of 2 instances have the new \
                 revision",
            ],
        );
    // There is none that serves: the old one is tried again like any other.
    Script::begin(order(1, 0, 1, OnFailure::Abort), &["end Old 0"])
        .then(abort(), &[])
        .then(gone(0, Old), &["start Old 0"])
        .then(
            failed(0, Old),
            &[
                "settle Old 0",
                "failed aborted by the operator (and 1 more); every instance has its old revision",
            ],
        );
}

#[test]
fn without_a_gateway_nothing_is_begun_and_the_watch_begins_anew() {
    Script::begin(order(2, 1, 0, OnFailure::Abort), &["start New 0"])
        .then(ready(0, New), &[])
        .after(SOAK / 2, Input::Gateway(false), &[])
        .is(Phase::Paused, 0, "waits for the gateway")
        .after(SOAK, Input::Tick, &[])
        .then(Input::Gateway(true), &[])
        .after(SOAK / 2, Input::Tick, &[])
        .is(Phase::Soaking, 0, "watches shop/0, the canary: 0 requests so far")
        .after(SOAK / 2, Input::Tick, &[QUIET, "end Old 0"])
        .then(Input::Gateway(false), &[])
        .then(gone(0, Old), &[])
        .then(Input::Gateway(true), &["settle New 0", "start New 1"])
        .then(Input::Gateway(false), &[])
        .then(failed(1, New), &[])
        .is(Phase::Paused, 1, "shop/1 exited with status 1; waits for the gateway")
        .then(Input::Gateway(true), &["end New 1"]);
}

#[test]
fn an_instance_that_is_dropped_is_not_waited_for() {
    Script::begin(order(3, 1, 0, OnFailure::Abort), &["start New 0"])
        .then(Input::Dropped { number: 0 }, &["start New 1"])
        .then(ready(1, New), &[])
        .then(Input::Dropped { number: 1 }, &["start New 2"])
        .then(Input::Dropped { number: 2 }, &["done"]);
}

#[test]
fn what_does_not_fit_is_ignored() {
    let odd = [
        ready(0, Old),
        gone(0, New),
        gone(0, Old),
        failed(0, Old),
        failed(1, New),
        ready(1, New),
        ready(9, New),
        Input::Dropped { number: 9 },
        sampled(100, 100),
        Input::Tick,
        Input::Gateway(true),
    ];
    let mut script = Script::begin(order(2, 1, 0, OnFailure::Abort), &["start New 0"]);
    for input in odd.clone() {
        script = script.then(input, &[]);
    }
    script = script.then(ready(0, New), &[]).is(
        Phase::Soaking,
        0,
        "watches shop/0, the canary: 0 requests so far",
    );
    script =
        script.then(abort(), &["end New 0"]).then(ready(0, New), &[]).then(failed(0, New), &[]);
    let why = "failed aborted by the operator; every instance has its old revision";
    script = script.then(gone(0, New), &["settle Old 0", why]);
    for input in odd.into_iter().chain([abort(), Input::Gateway(false), failed(0, New)]) {
        script = script.then(input, &[]);
    }
    assert_eq!(script.deploy.phase(), Phase::Failed);
}

#[test]
fn the_phase_keeps_the_moment_it_began() {
    let script = Script::begin(order(1, 1, 0, OnFailure::Abort), &["start New 0"])
        .after(Duration::from_secs(3), ready(0, New), &[])
        .after(Duration::from_secs(1), sampled(1, 0), &[]);
    assert_eq!(script.deploy.since(), at(3000));
    assert_eq!(script.deploy.deadline(), Some(at(3000) + SOAK));
}
