//! Whether a failed attempt may be repeated elsewhere.
//!
//! Repeating is safe if the request never reached a server, or has the same effect twice as once.
//! It is useful only while few requests fail: when a whole pool is in trouble, retries are what
//! keeps it there, so a [`Budget`] bounds them to a share of the traffic.

use core::time::Duration;

use crate::head::Method;
use crate::rng::Rng;
use crate::time::Instant;

#[cfg(test)]
mod tests;

/// Retries a second that a budget allows whatever its percentage; without them a pool with few
/// requests would never retry.
pub const RETRIES_PER_SECOND_MIN: u32 = 1;

/// How far back a budget looks.
pub const BUDGET_WINDOW: Duration = Duration::from_secs(BUCKETS as u64);

/// No wait between two attempts is longer.
pub const BACKOFF_MAX: Duration = Duration::from_millis(250);

const BACKOFF_UNIT: Duration = Duration::from_millis(25);

/// Buckets of one second.
const BUCKETS: usize = 10;

/// What a pool allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Tries in all, the first included; 1 never retries.
    pub attempts_max: u32,
    /// Outcomes worth another try.
    pub on: Conditions,
    /// Retries as a share of requests over the last ten seconds, in percent.
    pub budget_percent: u32,
}

/// Which failures are worth another try.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Conditions {
    /// The connection could not be made, or died before the first byte of the response.
    pub connect: bool,
    /// No response head within the attempt's time.
    pub timeout: bool,
    /// The server answered 500.
    pub status_500: bool,
    /// The server answered 502.
    pub status_502: bool,
    /// The server answered 503.
    pub status_503: bool,
    /// The server answered 504.
    pub status_504: bool,
    /// `POST`, `PATCH` and unknown methods too, although they may take effect twice.
    pub non_idempotent: bool,
}

impl Conditions {
    /// Whether these failures are worth another try.
    pub const fn cover(&self, failure: Failure) -> bool {
        match failure {
            Failure::Connect
            | Failure::Refused
            | Failure::Reused
            | Failure::Broken
            | Failure::Died { .. } => self.connect,
            Failure::Timeout => self.timeout,
            Failure::Status(500) => self.status_500,
            Failure::Status(502) => self.status_502,
            Failure::Status(503) => self.status_503,
            Failure::Status(504) => self.status_504,
            Failure::Status(_) => false,
        }
    }
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// No connection could be made, or the server said that it did not look at the request:
    /// nothing was sent that could have had an effect.
    Connect,
    /// The server said that it is leaving and did not look at the request (GOAWAY); another
    /// connection will do, also to the same server.
    Refused,
    /// A connection kept alive from an earlier request died before any byte of the response. Most
    /// often the server had closed it while idle.
    Reused,
    /// A fresh connection died before any byte of the response.
    Broken,
    /// The process of the server ended: whatever its connections look like, nothing will come.
    Died {
        /// Whether any of the request may have reached it.
        sent: bool,
    },
    /// No response head within the attempt's time.
    Timeout,
    /// The server answered with this status.
    Status(u16),
}

/// A failed attempt, and what is left to repeat it with.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// How it failed.
    pub failure: Failure,
    /// Attempts made so far, this one included.
    pub number: u32,
    /// The request's method.
    pub method: Method,
    /// Whether the request carries `Idempotency-Key`.
    pub has_idempotency_key: bool,
    /// Whether all that was taken of the request's body can be sent again.
    pub body_replayable: bool,
    /// Whether the response carries `Retry-After`.
    pub retry_after: bool,
    /// Whether the client got any byte of a response.
    pub response_started: bool,
}

/// What to do about a failed attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Try again, elsewhere if possible. The budget is charged, but for [`Failure::Died`].
    Retry,
    /// Tell the client.
    Give(GiveUp),
}

/// Why there is no further attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GiveUp {
    /// The client got part of a response, which cannot be taken back.
    ResponseStarted,
    /// The pool does not retry such a failure.
    NotCovered,
    /// There were as many attempts as the pool allows.
    AttemptsSpent,
    /// The request may have had an effect, and a second one would differ.
    NotIdempotent,
    /// The body was not kept.
    BodyGone,
    /// The server asked for time; asking the next one at once would be hammering.
    RetryAfter,
    /// Too large a share of requests are retries already.
    BudgetSpent,
}

impl GiveUp {
    /// The word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ResponseStarted => "response_started",
            Self::NotCovered => "not_covered",
            Self::AttemptsSpent => "attempts_spent",
            Self::NotIdempotent => "not_idempotent",
            Self::BodyGone => "body_gone",
            Self::RetryAfter => "retry_after",
            Self::BudgetSpent => "budget_spent",
        }
    }
}

/// Where the next attempt goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// To a server that was not tried.
    Other,
    /// To one that was.
    Same,
}

/// Whether a failed attempt may be repeated. The budget is asked last, and charged for a
/// [`Verdict::Retry`] only. That time is left is for the caller to see to.
///
/// A process dies once, so what it takes along is no storm that a budget has to hold back: the
/// retry after [`Failure::Died`] is free, and may be one more than the pool allows otherwise.
pub fn judge(policy: &Policy, attempt: &Attempt, budget: &mut Budget, now: Instant) -> Verdict {
    match refuse(policy, attempt) {
        Some(reason) => Verdict::Give(reason),
        None if matches!(attempt.failure, Failure::Died { .. }) => Verdict::Retry,
        None if !budget.withdraw(now) => Verdict::Give(GiveUp::BudgetSpent),
        None => Verdict::Retry,
    }
}

fn refuse(policy: &Policy, attempt: &Attempt) -> Option<GiveUp> {
    if attempt.response_started {
        return Some(GiveUp::ResponseStarted);
    }
    if !policy.on.cover(attempt.failure) {
        return Some(GiveUp::NotCovered);
    }
    let attempts_max = match attempt.failure {
        Failure::Died { .. } if policy.attempts_max > 1 => policy.attempts_max.saturating_add(1),
        Failure::Connect
        | Failure::Refused
        | Failure::Reused
        | Failure::Broken
        | Failure::Died { .. }
        | Failure::Timeout
        | Failure::Status(_) => policy.attempts_max,
    };
    if attempt.number >= attempts_max {
        return Some(GiveUp::AttemptsSpent);
    }
    let (had_effect, answered) = match attempt.failure {
        Failure::Connect | Failure::Refused => (false, false),
        Failure::Died { sent } => (sent, false),
        Failure::Reused | Failure::Broken | Failure::Timeout => (true, false),
        Failure::Status(_) => (true, true),
    };
    // RFC 9110, 9.2.2
    let is_idempotent =
        attempt.method.is_idempotent() || attempt.has_idempotency_key || policy.on.non_idempotent;
    if had_effect && !is_idempotent {
        return Some(GiveUp::NotIdempotent);
    }
    if !attempt.body_replayable {
        return Some(GiveUp::BodyGone);
    }
    // RFC 9110, 10.2.3
    (answered && attempt.retry_after).then_some(GiveUp::RetryAfter)
}

/// How long to wait before the next attempt.
///
/// Nothing before the first retry if the server said nothing against it: another server after a
/// failed connect, or any after a dead connection that had been kept alive. Nothing either before
/// another server is asked in place of one that died. Otherwise [`backoff`].
pub fn delay(attempt: &Attempt, next: Next, rng: &mut Rng) -> Duration {
    let at_once = match (attempt.failure, next) {
        (Failure::Connect, Next::Other)
        | (Failure::Refused | Failure::Reused, Next::Other | Next::Same) => attempt.number <= 1,
        (Failure::Died { .. }, Next::Other) => true,
        (Failure::Connect | Failure::Died { .. }, Next::Same)
        | (Failure::Broken | Failure::Timeout | Failure::Status(_), _) => false,
    };
    if at_once { Duration::ZERO } else { backoff(attempt.number, rng) }
}

/// A random wait after that many attempts: any time below `(2^number - 1) * 25 ms`, and below
/// [`BACKOFF_MAX`]. Full jitter, so that requests that failed together do not return together.
pub fn backoff(number: u32, rng: &mut Rng) -> Duration {
    let units = 2u32.saturating_pow(number) - 1;
    let bound = BACKOFF_UNIT.saturating_mul(units).min(BACKOFF_MAX);
    let nanos = u32::try_from(bound.as_nanos()).expect("the longest wait is below four seconds");
    Duration::from_nanos(u64::from(rng.below(nanos)))
}

/// How many retries are left: a share of the requests of the last ten seconds, and
/// [`RETRIES_PER_SECOND_MIN`].
///
/// [`Budget::deposit`] once for each request, not for each attempt. Each thread keeps its own.
#[derive(Clone, Debug)]
pub struct Budget {
    percent: u32,
    /// By second modulo [`BUCKETS`].
    buckets: [Bucket; BUCKETS],
    /// The second that was last written to.
    second: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    requests: u32,
    retries: u32,
}

impl Budget {
    /// An unspent budget: retries may be `percent` of the requests.
    pub fn new(percent: u32) -> Self {
        Self { percent, buckets: [Bucket::default(); BUCKETS], second: 0 }
    }

    /// Counts a request.
    pub fn deposit(&mut self, now: Instant) {
        let bucket = self.bucket(now);
        bucket.requests = bucket.requests.saturating_add(1);
    }

    /// Takes a retry out, if one is left.
    pub fn withdraw(&mut self, now: Instant) -> bool {
        let bucket = self.bucket(now);
        bucket.retries += 1;
        let is_left = self.retries() <= self.retries_max();
        if !is_left {
            self.bucket(now).retries -= 1;
        }
        is_left
    }

    fn retries(&self) -> u64 {
        self.buckets.iter().map(|bucket| u64::from(bucket.retries)).sum()
    }

    fn retries_max(&self) -> u64 {
        let requests: u64 = self.buckets.iter().map(|bucket| u64::from(bucket.requests)).sum();
        let floor = u64::from(RETRIES_PER_SECOND_MIN) * BUDGET_WINDOW.as_secs();
        requests * u64::from(self.percent) / 100 + floor
    }

    /// The bucket of `now`, with those that have left the window emptied.
    fn bucket(&mut self, now: Instant) -> &mut Bucket {
        let second = now.since_epoch().as_secs().max(self.second);
        let stale = (second - self.second).min(BUCKETS as u64);
        for past in 0..stale {
            self.buckets[((second - past) % BUCKETS as u64) as usize] = Bucket::default();
        }
        self.second = second;
        &mut self.buckets[(second % BUCKETS as u64) as usize]
    }
}
