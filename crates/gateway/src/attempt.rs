//! One try at having a request answered by one server.
//!
//! The request goes out and the response is awaited at the same time, for a server may answer
//! before it has read everything. What was sent of the body is kept, within a bound, so that the
//! next attempt can send it again.

use std::any::Any;
use std::future::poll_fn;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use evergate_core::head::{Method, ResponseHead};
use evergate_core::http1::{Body, Response};
use evergate_core::id::EndpointId;
use evergate_core::retry::{self, Failure};
use evergate_core::time::Instant;
use evergate_sys::clock;

use crate::client::Client;
use crate::connection::connection;
use crate::exchange::Request;
use crate::http1::forward::RequestPlan;
use crate::http1::incoming::Progress;
use crate::http1::outgoing::Framing;
use crate::pace::{Pace, TICK};
use crate::plan::Route;
use crate::pool_local::{EndpointLocal, PoolLocal};
use crate::reject::{ClientFault, UpstreamFault};
use crate::shard::{Report, Shard};
use crate::timers::Timer;
use crate::upstream::{HeadFault, Upstream};

/// Body bytes kept for another attempt.
const REPLAY_BYTES_MAX: usize = 64 * 1024;
/// Body bytes encoded ahead of the server.
const AHEAD_BYTES_MAX: usize = 64 * 1024;
/// How long a client that said `Expect: 100-continue` waits for a server that does not answer it.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);
/// Interim responses passed on for one request.
const INTERIMS_MAX: u32 = 32;

/// Who is asked, and how long it may take.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) shard: &'a Rc<Shard>,
    pub(crate) pool: &'a Rc<PoolLocal>,
    pub(crate) id: EndpointId,
    pub(crate) endpoint: &'a Rc<EndpointLocal>,
    pub(crate) route: &'a Route,
    /// The address here that the client is connected to.
    pub(crate) local: Option<IpAddr>,
    pub(crate) plan: &'a RequestPlan<'a>,
    pub(crate) deadline: Instant,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A response head came.
    Answered(Box<Answered>),
    /// It did not.
    Failed {
        /// For the decision to retry.
        failure: Failure,
        /// For the client, if there is no retry.
        fault: UpstreamFault,
    },
    /// The client did not deliver its request.
    ClientFailed(ClientFault),
    /// All ends, and it took too long.
    Drained,
}

/// A server that has answered; the body is still to come.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) upstream: Upstream,
    pub(crate) head: ResponseHead,
    pub(crate) response: Response,
    pub(crate) sent_at: Instant,
    pub(crate) answered_at: Instant,
}

/// The request's body on its way to the server, over all attempts.
#[derive(Debug)]
pub(crate) struct Upload {
    framing: Framing,
    /// What was sent so far; none if it cannot be sent again.
    replay: Option<Vec<u8>>,
    /// The whole body has been taken from the client.
    pub(crate) done: bool,
    /// The server takes no more of it.
    broken: bool,
    /// The client holds the body back until then.
    held_until: Option<Instant>,
    expects: bool,
    /// Bytes taken from the client.
    pub(crate) received: u64,
    pace: Pace,
    next_tick: Option<Instant>,
}

impl Attempt<'_> {
    /// Tells the balancer, the metrics and the health of the server about a failure
    /// after `took`, be it that no response came or one that says that the server has failed.
    pub(crate) fn count_failure(&self, took: Duration) {
        self.pool.failed(self.id);
        let in_a_row = self.endpoint.shared.failed(clock::now(), took);
        if in_a_row >= self.pool.pool.outlier.consecutive {
            // A full queue is no loss: the next failure reports again.
            let _ = self.shard.reports.try_send(Report::Failing {
                pool: self.pool.pool.name.clone(),
                endpoint: self.endpoint.shared.clone(),
                in_a_row,
            });
        }
    }
}

/// Sends the request to one server and waits for the head of its response.
pub(crate) async fn send<C: Client>(
    attempt: &Attempt<'_>,
    client: &mut C,
    upload: &mut Upload,
) -> Outcome {
    let shard = attempt.shard;
    if attempt.endpoint.shared.run.is_some() {
        // Before anything is waited for, so that no end of it is missed.
        client.timer().concern(attempt.endpoint.shared.uid);
    }
    let mut upstream = match connection(attempt, client.timer()).await {
        Ok(upstream) => upstream,
        Err(failed) => return failed,
    };
    if let Err(fault) = upstream.write_request(&shard.buffers, attempt.plan, upload.framing) {
        return Outcome::ClientFailed(fault);
    }
    upload.begin(client, &mut upstream);
    client.timer().set(upload.wake_at(attempt.deadline));
    let sent_at = clock::now();
    let mut head = shard.buffers.take_response();
    let mut interims = 0;
    let ended = poll_fn(|cx| {
        poll_response(cx, attempt, client, upload, &mut upstream, &mut head, &mut interims)
    })
    .await;
    match ended {
        Ok(response) => Outcome::Answered(Box::new(Answered {
            upstream,
            head,
            response,
            sent_at,
            answered_at: clock::now(),
        })),
        Err(failed) => {
            shard.buffers.give_response(head);
            failed
        }
    }
}

fn poll_response<C: Client>(
    cx: &mut Context<'_>,
    attempt: &Attempt<'_>,
    client: &mut C,
    upload: &mut Upload,
    upstream: &mut Upstream,
    head: &mut ResponseHead,
    interims: &mut u32,
) -> Poll<Result<Response, Outcome>> {
    let buffers = &attempt.shard.buffers;
    let method = attempt.plan.facts.head.method;
    let failed = |failure, fault| Poll::Ready(Err(Outcome::Failed { failure, fault }));
    loop {
        if let Poll::Ready(Err(fault)) = upload.poll(cx, attempt.shard, client, upstream) {
            return Poll::Ready(Err(Outcome::ClientFailed(fault)));
        }
        if client.unsent() > 0
            && let Poll::Ready(Err(_)) = client.poll_flush(cx)
        {
            return Poll::Ready(Err(Outcome::ClientFailed(ClientFault::Gone)));
        }
        match upstream.poll_head(cx, buffers, method, head) {
            Poll::Ready(Ok(response)) if head.status >= 200 => return Poll::Ready(Ok(response)),
            Poll::Ready(Ok(response)) if head.status == 101 => {
                if !attempt.plan.upgrade || !response.upgrade {
                    return failed(Failure::Broken, UpstreamFault::Malformed);
                }
                return Poll::Ready(Ok(response));
            }
            Poll::Ready(Ok(_)) => {
                *interims += 1;
                if *interims > INTERIMS_MAX {
                    return failed(Failure::Broken, UpstreamFault::Malformed);
                }
                upload.hear_interim(client, head);
                continue;
            }
            Poll::Ready(Err(fault)) => {
                let is_dead = attempt.endpoint.shared.is_dead();
                let (failure, fault) = judge_head(&fault, upstream.is_reused(), is_dead);
                return failed(failure, fault);
            }
            Poll::Pending => {}
        }
        if client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Outcome::ClientFailed(ClientFault::Gone)));
        }
        ready!(client.timer().poll_elapsed(cx));
        // Somebody else may hold its connections open.
        if attempt.endpoint.shared.is_dead() {
            return failed(Failure::Died { sent: true }, UpstreamFault::Died);
        }
        let now = clock::now();
        if attempt.shard.cuts(now, attempt.local, attempt.route.drain_timeout) {
            return Poll::Ready(Err(Outcome::Drained));
        }
        if now >= attempt.deadline {
            if upload.waits_for_client(upstream) {
                return Poll::Ready(Err(Outcome::ClientFailed(ClientFault::BodyTimeout)));
            }
            return failed(Failure::Timeout, UpstreamFault::Timeout);
        }
        if let Err(fault) = upload.tick(now, client, upstream) {
            return Poll::Ready(Err(Outcome::ClientFailed(fault)));
        }
        client.timer().set(upload.wake_at(attempt.deadline));
    }
}

/// What a response that did not come means: for the decision to retry, and for the client.
const fn judge_head(fault: &HeadFault, is_reused: bool, is_dead: bool) -> (Failure, UpstreamFault) {
    match fault {
        HeadFault::Closed { .. } | HeadFault::Reset if is_dead => {
            (Failure::Died { sent: true }, UpstreamFault::Died)
        }
        HeadFault::Closed { started: false } if is_reused => {
            (Failure::Reused, UpstreamFault::Broken)
        }
        HeadFault::Closed { .. } => (Failure::Broken, UpstreamFault::Broken),
        HeadFault::Malformed => (Failure::Broken, UpstreamFault::Malformed),
        HeadFault::Refused { is_leaving: true } => (Failure::Refused, UpstreamFault::Refused),
        HeadFault::Refused { is_leaving: false } => (Failure::Connect, UpstreamFault::Refused),
        HeadFault::Reset => (Failure::Broken, UpstreamFault::Reset),
        HeadFault::NotHttp2 => (Failure::Broken, UpstreamFault::NotHttp2),
    }
}

impl Upload {
    /// The body of `request`, none of it taken yet.
    pub(crate) fn new(policy: &retry::Policy, request: &Request<'_>, pace: Pace) -> Self {
        let idempotent =
            request.head.method.is_idempotent() || request.head.method == Method::Other;
        let may_retry = policy.attempts_max > 1 && (idempotent || policy.on.connect);
        let has_body = request.body != Body::Empty;
        Self {
            framing: match request.body {
                Body::Chunked => Framing::Chunked,
                Body::Empty | Body::Sized(_) | Body::UntilClose => Framing::Identity,
            },
            replay: (may_retry || !has_body).then(Vec::new),
            done: !has_body,
            broken: false,
            held_until: None,
            expects: request.expect_continue && has_body,
            received: 0,
            pace,
            next_tick: None,
        }
    }

    /// Whether another attempt can send the same body.
    pub(crate) fn is_replayable(&self) -> bool {
        self.replay.is_some()
    }

    /// Forgets what the last server took of it.
    pub(crate) fn rewind(&mut self) {
        self.broken = false;
        self.held_until = None;
    }

    /// Starts sending on a new connection, whose head is written.
    fn begin<C: Client>(&mut self, client: &C, upstream: &mut Upstream) {
        if let Some(replay) = &self.replay
            && !replay.is_empty()
        {
            upstream.push(replay);
        }
        if self.done {
            upstream.finish(client.trailers());
        }
        if self.expects && self.received == 0 && !self.done {
            self.held_until = Some(clock::now() + CONTINUE_WAIT);
        }
    }

    /// Moves body bytes from client to server as far as both go; ready when all is sent.
    pub(crate) fn poll<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        shard: &Shard,
        client: &mut C,
        upstream: &mut Upstream,
    ) -> Poll<Result<(), ClientFault>> {
        loop {
            let mut starved = self.done || self.broken || self.held_until.is_some();
            while !starved && upstream.unsent() < AHEAD_BYTES_MAX {
                let (replay, received) = (&mut self.replay, &mut self.received);
                let taken = client.poll_body(cx, &mut |data| {
                    *received += data.len() as u64;
                    keep_for_replay(replay, data);
                    upstream.push(data);
                });
                match taken {
                    Poll::Ready(Ok(Progress::Data)) => {}
                    Poll::Ready(Ok(Progress::Done)) => {
                        upstream.finish(client.trailers());
                        self.done = true;
                        starved = true;
                    }
                    Poll::Ready(Err(fault)) => {
                        // Where the body goes on is not known: nothing more of it may go out.
                        self.broken = true;
                        return Poll::Ready(Err(fault));
                    }
                    Poll::Pending => starved = true,
                }
            }
            if !self.broken && upstream.wants_flush() {
                match upstream.poll_flush(cx, &shard.buffers) {
                    Poll::Ready(Ok(())) => {}
                    // The server may have answered before it stopped reading: look for that first.
                    Poll::Ready(Err(_)) => self.broken = true,
                    Poll::Pending => return Poll::Pending,
                }
            }
            if starved {
                let over = self.done || self.broken;
                return if over { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
        }
    }

    /// Whether bytes are wanted from the client and do not come.
    fn waits_for_client(&self, upstream: &Upstream) -> bool {
        let is_open = !self.done && !self.broken && self.held_until.is_none();
        is_open && upstream.unsent() == 0
    }

    fn hear_interim<C: Client>(&mut self, client: &mut C, head: &ResponseHead) {
        if head.status != 100 {
            client.inform(head);
        } else if self.held_until.take().is_some() {
            client.ask_for_body();
        }
    }

    /// When to look up next, if nothing happens before `deadline`.
    pub(crate) fn wake_at(&mut self, deadline: Instant) -> Instant {
        let mut at = deadline;
        if let Some(until) = self.held_until {
            at = at.min(until);
        }
        if !self.done {
            let tick = *self.next_tick.get_or_insert_with(|| clock::now() + TICK);
            at = at.min(tick);
        }
        at
    }

    /// Looks at the clock: asks for a body that is held back for too long, and gives up on a client
    /// that is too slow.
    pub(crate) fn tick<C: Client>(
        &mut self,
        now: Instant,
        client: &mut C,
        upstream: &Upstream,
    ) -> Result<(), ClientFault> {
        if self.held_until.is_some_and(|until| now >= until) {
            self.held_until = None;
            client.ask_for_body();
        }
        if self.next_tick.is_some_and(|at| now >= at) {
            self.next_tick = None;
            if self.waits_for_client(upstream) && self.pace.is_too_slow(self.received) {
                return Err(ClientFault::BodyTimeout);
            }
        }
        Ok(())
    }
}

fn keep_for_replay(replay: &mut Option<Vec<u8>>, data: &[u8]) {
    if let Some(kept) = replay {
        if kept.len() + data.len() > REPLAY_BYTES_MAX {
            *replay = None;
        } else {
            kept.extend_from_slice(data);
        }
    }
}

/// Waits `wait` before the next attempt, but not past the deadline.
pub(crate) async fn pause<C: Client>(client: &C, wait: Duration, deadline: Instant) {
    if wait.is_zero() {
        return;
    }
    let until = deadline.min(clock::now() + wait);
    client.timer().set(until);
    poll_fn(|cx| poll_deadline(cx, client.timer(), until)).await;
}

/// Ready once `until` has passed; an early wake-up (draining) sets the timer again.
pub(crate) fn poll_deadline(cx: &Context<'_>, timer: &Timer, until: Instant) -> Poll<()> {
    loop {
        ready!(timer.poll_elapsed(cx));
        if clock::now() >= until {
            return Poll::Ready(());
        }
        timer.set(until);
    }
}

/// A future panicked.
#[derive(Debug)]
pub(crate) struct Panicked;

/// Runs `future`; a panic in it ends this exchange and no other. (Pinned by the caller: a future
/// that is handed over takes its room twice.)
pub(crate) async fn catch_panic<T>(
    mut future: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Panicked> {
    poll_fn(|cx| {
        // What the future owned is dropped with it; what it borrowed is only closed afterwards.
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(payload) => {
                log_panic(&*payload);
                Poll::Ready(Err(Panicked))
            }
        }
    })
    .await
}

fn log_panic(payload: &(dyn Any + Send)) {
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    eprintln!("evergate: a request panicked: {}", message.unwrap_or("no message"));
}
