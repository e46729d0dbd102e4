use super::GiveUp::*;
use super::*;

const ALL: Conditions = Conditions {
    connect: true,
    timeout: true,
    status_500: true,
    status_502: true,
    status_503: true,
    status_504: true,
    non_idempotent: false,
};
const POLICY: Policy = Policy { attempts_max: 3, on: ALL, budget_percent: 20 };
const T0: Instant = Instant::EPOCH;

fn attempt(failure: Failure, method: Method) -> Attempt {
    Attempt {
        failure,
        number: 1,
        method,
        has_idempotency_key: false,
        body_replayable: true,
        retry_after: false,
        response_started: false,
    }
}

fn judged(policy: &Policy, attempt: &Attempt) -> Verdict {
    judge(policy, attempt, &mut Budget::new(policy.budget_percent), T0)
}

#[test]
fn every_failure_of_every_kind_of_request() {
    use Failure::*;
    use Verdict::{Give, Retry};
    let none = Conditions::default();
    let opt_in = Conditions { non_idempotent: true, ..ALL };
    let unsafe_give = Give(NotIdempotent);
    // failure, the conditions that cover it
    //   => GET, POST, POST with Idempotency-Key, POST by opt-in, GET with Retry-After
    let table = [
        (Connect, Conditions { connect: true, ..none }, [Retry, Retry, Retry, Retry, Retry]),
        (Refused, Conditions { connect: true, ..none }, [Retry, Retry, Retry, Retry, Retry]),
        (Reused, Conditions { connect: true, ..none }, [Retry, unsafe_give, Retry, Retry, Retry]),
        (Broken, Conditions { connect: true, ..none }, [Retry, unsafe_give, Retry, Retry, Retry]),
        (
            Died { sent: true },
            Conditions { connect: true, ..none },
            [Retry, unsafe_give, Retry, Retry, Retry],
        ),
        (
            Died { sent: false },
            Conditions { connect: true, ..none },
            [Retry, Retry, Retry, Retry, Retry],
        ),
        (Timeout, Conditions { timeout: true, ..none }, [Retry, unsafe_give, Retry, Retry, Retry]),
        (
            Status(500),
            Conditions { status_500: true, ..none },
            [Retry, unsafe_give, Retry, Retry, Give(RetryAfter)],
        ),
        (
            Status(502),
            Conditions { status_502: true, ..none },
            [Retry, unsafe_give, Retry, Retry, Give(RetryAfter)],
        ),
        (
            Status(503),
            Conditions { status_503: true, ..none },
            [Retry, unsafe_give, Retry, Retry, Give(RetryAfter)],
        ),
        (
            Status(504),
            Conditions { status_504: true, ..none },
            [Retry, unsafe_give, Retry, Retry, Give(RetryAfter)],
        ),
        (Status(404), none, [Give(NotCovered); 5]),
        (Status(429), none, [Give(NotCovered); 5]),
        (Status(501), none, [Give(NotCovered); 5]),
    ];
    for (failure, covering, verdicts) in table {
        let (get, post) = (attempt(failure, Method::Get), attempt(failure, Method::Post));
        let with_key = Attempt { has_idempotency_key: true, ..post };
        let asked_to_wait = Attempt { retry_after: true, ..get };
        let requests =
            [(ALL, get), (ALL, post), (ALL, with_key), (opt_in, post), (ALL, asked_to_wait)];
        for ((on, attempt), verdict) in requests.into_iter().zip(verdicts) {
            assert_eq!(judged(&Policy { on, ..POLICY }, &attempt), verdict, "{on:?} {attempt:?}");
        }
        let only_this = Policy { on: covering, ..POLICY };
        assert_eq!(judged(&only_this, &get), verdicts[0], "{failure:?} alone");
        let all_but_this = Conditions {
            connect: !covering.connect,
            timeout: !covering.timeout,
            status_500: !covering.status_500,
            status_502: !covering.status_502,
            status_503: !covering.status_503,
            status_504: !covering.status_504,
            non_idempotent: true,
        };
        let verdict = judged(&Policy { on: all_but_this, ..POLICY }, &get);
        assert_eq!(verdict, Give(NotCovered), "{failure:?} is not covered");
    }
}

#[test]
fn every_method_is_safe_to_repeat_or_not() {
    use Method::*;
    let safe = [Delete, Get, Head, Options, Put, Query, Trace];
    for method in safe {
        assert_eq!(judged(&POLICY, &attempt(Failure::Broken, method)), Verdict::Retry);
    }
    for method in [Connect, Patch, Post, Other] {
        let verdict = judged(&POLICY, &attempt(Failure::Broken, method));
        assert_eq!(verdict, Verdict::Give(NotIdempotent), "{method:?}");
    }
}

#[test]
fn the_first_reason_is_the_one_given() {
    // All hold at first; each step takes the first one away.
    let mut policy = Policy { attempts_max: 1, on: Conditions::default(), budget_percent: 0 };
    let mut attempt = Attempt {
        response_started: true,
        body_replayable: false,
        retry_after: true,
        ..attempt(Failure::Status(503), Method::Post)
    };
    let mut budget = Budget::new(0);
    while budget.withdraw(T0) {}
    let mut give = |policy: &Policy, attempt: &Attempt, reason| {
        assert_eq!(judge(policy, attempt, &mut budget, T0), Verdict::Give(reason));
    };
    give(&policy, &attempt, ResponseStarted);
    attempt.response_started = false;
    give(&policy, &attempt, NotCovered);
    policy.on = ALL;
    give(&policy, &attempt, AttemptsSpent);
    policy.attempts_max = 2;
    give(&policy, &attempt, NotIdempotent);
    attempt.method = Method::Put;
    give(&policy, &attempt, BodyGone);
    attempt.body_replayable = true;
    give(&policy, &attempt, RetryAfter);
    attempt.retry_after = false;
    give(&policy, &attempt, BudgetSpent);
    assert_eq!(judge(&policy, &attempt, &mut Budget::new(0), T0), Verdict::Retry);
}

#[test]
fn there_are_no_more_attempts_than_allowed() {
    for attempts_max in 0..5 {
        let policy = Policy { attempts_max, ..POLICY };
        let mut number = 1;
        while judged(&policy, &Attempt { number, ..attempt(Failure::Connect, Method::Get) })
            == Verdict::Retry
        {
            number += 1;
        }
        assert_eq!(number, attempts_max.max(1));
    }
}

fn at(millis: u64) -> Instant {
    T0 + Duration::from_millis(millis)
}

fn withdrawn(budget: &mut Budget, now: Instant) -> u32 {
    (0..).take_while(|_| budget.withdraw(now)).count() as u32
}

#[test]
fn a_budget_is_a_share_of_recent_requests_and_a_floor() {
    let mut budget = Budget::new(20);
    assert_eq!(withdrawn(&mut budget, at(0)), 10, "the floor of ten seconds");
    (0..100).for_each(|_| budget.deposit(at(500)));
    assert_eq!(withdrawn(&mut budget, at(900)), 20);
    assert_eq!(withdrawn(&mut budget, at(9_999)), 0, "all within ten seconds");
    assert_eq!(withdrawn(&mut budget, at(10_000)), 10, "requests and retries are both forgotten");
    (0..50).for_each(|_| budget.deposit(at(12_000)));
    assert_eq!(withdrawn(&mut budget, at(19_999)), 10);
    assert_eq!(withdrawn(&mut budget, at(20_000)), 10);
    assert_eq!(withdrawn(&mut budget, at(1_000)), 0, "a clock behind gains nothing");
    assert_eq!(withdrawn(&mut budget, at(10_000_000)), 10, "long after");
}

#[test]
fn refused_attempts_cost_nothing() {
    let mut budget = Budget::new(20);
    for _ in 0..100 {
        judge(&POLICY, &attempt(Failure::Status(404), Method::Get), &mut budget, T0);
    }
    assert_eq!(withdrawn(&mut budget, T0), 10);
}

#[test]
fn retries_stay_within_the_budget_whatever_fails() {
    for seed in 0..50 {
        let mut rng = Rng::seeded(seed);
        let mut budget = Budget::new(20);
        let (mut now, mut requests, mut retries) = (T0, 0u64, 0u64);
        for _ in 0..20_000 {
            now = now + Duration::from_millis(u64::from(rng.below(4)));
            budget.deposit(now);
            requests += 1;
            retries += u64::from(budget.withdraw(now));
        }
        let floor = now.since_epoch().as_secs() + 10;
        // The window moves by whole seconds, so a little of each window may be spent twice.
        assert!(retries <= requests * 23 / 100 + floor, "seed {seed}: {retries} of {requests}");
        assert!(retries >= requests * 18 / 100, "seed {seed}: {retries} of {requests}");
    }
}

#[test]
fn the_first_retry_elsewhere_goes_at_once() {
    let mut rng = Rng::seeded(1);
    let mut waits = |failure, number, next| {
        let attempt = Attempt { number, ..attempt(failure, Method::Get) };
        (0..50).any(|_| delay(&attempt, next, &mut rng) > Duration::ZERO)
    };
    assert!(!waits(Failure::Connect, 1, Next::Other));
    assert!(!waits(Failure::Reused, 1, Next::Other));
    assert!(!waits(Failure::Reused, 1, Next::Same));
    assert!(!waits(Failure::Refused, 1, Next::Same));
    assert!(waits(Failure::Refused, 2, Next::Same));
    assert!(waits(Failure::Connect, 1, Next::Same));
    assert!(waits(Failure::Connect, 2, Next::Other));
    assert!(waits(Failure::Reused, 2, Next::Same));
    for failure in [Failure::Broken, Failure::Timeout, Failure::Status(503)] {
        assert!(waits(failure, 1, Next::Other), "{failure:?}");
    }
}

#[test]
fn waits_grow_with_full_jitter_up_to_a_cap() {
    let mut rng = Rng::seeded(2);
    for (number, bound_ms) in [(0, 0), (1, 25), (2, 75), (3, 175), (4, 250), (40, 250)] {
        let bound = Duration::from_millis(bound_ms);
        let (mut least, mut most) = (Duration::MAX, Duration::ZERO);
        for _ in 0..2_000 {
            let wait = backoff(number, &mut rng);
            (least, most) = (least.min(wait), most.max(wait));
        }
        assert!(most <= bound && most >= bound.mul_f64(0.95), "{number}: {most:?}");
        assert!(least <= bound.mul_f64(0.05), "{number}: {least:?}");
    }
}

#[test]
fn what_a_process_takes_along_is_repeated_without_the_budget_and_once_more() {
    let mut budget = Budget::new(0);
    while budget.withdraw(T0) {}
    let died = attempt(Failure::Died { sent: true }, Method::Get);
    assert_eq!(judge(&POLICY, &died, &mut budget, T0), Verdict::Retry);
    let last = Attempt { number: POLICY.attempts_max, ..died };
    assert_eq!(judge(&POLICY, &last, &mut budget, T0), Verdict::Retry);
    let beyond = Attempt { number: POLICY.attempts_max + 1, ..died };
    assert_eq!(judge(&POLICY, &beyond, &mut budget, T0), Verdict::Give(AttemptsSpent));
    let never = Policy { attempts_max: 1, ..POLICY };
    assert_eq!(judge(&never, &died, &mut budget, T0), Verdict::Give(AttemptsSpent));
    assert_eq!(delay(&last, Next::Other, &mut Rng::seeded(1)), Duration::ZERO);
}
