//! From the head of a server's response to its last byte at the client.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use evergate_core::http1::Body;
use evergate_core::time::Instant;
use evergate_sys::clock;

use crate::attempt::{Answered, Attempt, Upload};
use crate::client::Client;
use crate::exchange::{Record, Request};
use crate::farewell::Farewell;
use crate::filter::Edits;
use crate::http1::forward::{Length, ResponsePlan};
use crate::http1::incoming::Progress;
use crate::pace::{Pace, TICK};
use crate::reject::{ClientFault, Reject, UpstreamFault};
use crate::splice::{SPLICE_BYTES_MIN, Splice};
use crate::tunnel;
use crate::upstream::Upstream;

/// Body bytes waiting for the client; past that the server has to wait.
const AHEAD_BYTES_MAX: usize = 64 * 1024;

/// A response body on its way.
#[derive(Debug)]
struct Download {
    done: bool,
    /// Whether it is known how long it is.
    is_sized: bool,
    sent: u64,
    pace: Pace,
    /// Silence of the server for this long is the end.
    silence_max: Duration,
    heard_at: Instant,
    /// Whether the timer ticks; a response that is passed on at once needs none.
    is_timed: bool,
    /// Bytes that had gone through, both ways, at the last tick.
    moved_at_tick: u64,
    splice: Option<Splice>,
}

/// Passes a response on, body and all, and puts the server's connection aside for the next request.
pub(crate) async fn respond<C: Client>(
    attempt: &Attempt<'_>,
    client: &mut C,
    mut upload: Upload,
    answered: Box<Answered>,
    edits: &Edits<'_>,
    request: &Request<'_>,
    record: &mut Record,
) -> Result<(), Reject> {
    let shard = attempt.shard;
    let Answered { mut upstream, head, response, sent_at: _, answered_at } = *answered;
    record.status = head.status;
    client.begin(&ResponsePlan {
        status: head.status,
        head: Some(&head),
        connection_names: response.connection_names,
        length: match response.body {
            Body::Empty => Length::Absent,
            Body::Sized(length) => Length::Sized(length),
            Body::Chunked | Body::UntilClose => Length::Unknown,
        },
        bodyless: false,
        upgrade: response.upgrade,
        // What the client still sends would be taken for its next request.
        close: !upload.done && !response.upgrade,
        changes: &edits.response,
    });
    let speaks = response.upgrade.then(|| tunnel::Speech::of(&head));
    shard.buffers.give_response(head);
    if let Some(speaks) = speaks {
        let terms = tunnel::Terms {
            endpoint: &attempt.endpoint.shared,
            speaks,
            idle_max: request.listener.limits.idle_timeout,
            drain_timeout: attempt.route.drain_timeout,
            local: attempt.local,
        };
        // Rare and large: it must not take room in the future of every exchange.
        let moved = Box::pin(tunnel::run(shard, client, upstream, &terms)).await;
        (record.received, record.sent) = (moved.from_client, moved.to_client);
        return Ok(());
    }
    let mut download = Download {
        done: false,
        is_sized: matches!(response.body, Body::Sized(_)),
        sent: 0,
        pace: Pace::new(&request.listener.limits),
        silence_max: attempt.deadline - request.started,
        heard_at: answered_at,
        is_timed: false,
        moved_at_tick: 0,
        splice: None,
    };
    let relayed =
        poll_fn(|cx| download.poll(cx, attempt, client, &mut upload, &mut upstream)).await;
    (record.received, record.sent) = (upload.received, download.sent);
    relayed?;
    if response.keep_alive && upload.done {
        attempt.endpoint.give_back(upstream, answered_at, attempt.pool.pool.keepalive);
    }
    Ok(())
}

impl Download {
    /// Moves what can be moved, both ways; ready when the client has the whole response.
    fn poll<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: &Attempt<'_>,
        client: &mut C,
        upload: &mut Upload,
        upstream: &mut Upstream,
    ) -> Poll<Result<(), Reject>> {
        loop {
            if !upload.done || upstream.unsent() > 0 {
                // A body that breaks off now cannot be answered any more; the response still can
                // be passed on.
                let _ = upload.poll(cx, attempt.shard, client, upstream);
            }
            let moved = self.move_on(cx, attempt, client, upstream);
            if let Poll::Ready(moved) = moved {
                return Poll::Ready(moved);
            }
            if client.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Reject::Client(ClientFault::Gone)));
            }
            if !std::mem::replace(&mut self.is_timed, true) {
                client.timer().set(clock::now() + TICK.min(self.silence_max));
            }
            ready!(client.timer().poll_elapsed(cx));
            // What it had sent before has been read, or it would not be waited for.
            if attempt.endpoint.shared.is_dead() && !self.waits_for_client(client) {
                return Poll::Ready(Err(Reject::Upstream(UpstreamFault::Died)));
            }
            let now = clock::now();
            if self.is_cut(now, attempt) {
                return Poll::Ready(Err(Reject::Drained));
            }
            self.tick(now, client, upload)?;
            client.timer().set(clock::now() + TICK.min(self.silence_max));
        }
    }

    fn move_on<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: &Attempt<'_>,
        client: &mut C,
        upstream: &mut Upstream,
    ) -> Poll<Result<(), Reject>> {
        let gone = |_| Reject::Client(ClientFault::Gone);
        loop {
            let ahead = client.unsent();
            if ahead >= AHEAD_BYTES_MAX || (ahead > 0 && (self.done || !upstream.has_kept())) {
                ready!(client.poll_flush(cx)).map_err(gone)?;
            }
            if self.done {
                ready!(client.poll_flush(cx)).map_err(gone)?;
                return Poll::Ready(Ok(()));
            }
            if self.may_splice(client, upstream) {
                ready!(self.splice(cx, attempt, client, upstream))?;
                continue;
            }
            let sent = &mut self.sent;
            let taken = upstream.poll_body(cx, &attempt.shard.buffers, |data| {
                *sent += data.len() as u64;
                client.push(data);
            });
            match ready!(taken) {
                Ok(Progress::Data) => {}
                Ok(Progress::Done) => {
                    client.finish(upstream.trailers());
                    self.done = true;
                }
                Err(_) => return Poll::Ready(Err(Reject::Upstream(UpstreamFault::Truncated))),
            }
        }
    }

    /// Whether the rest of the body is better moved by the kernel.
    fn may_splice<C: Client>(&self, client: &mut C, upstream: &Upstream) -> bool {
        if self.splice.is_some() {
            return true;
        }
        upstream.splice_source().is_some_and(|(_, rest)| rest > SPLICE_BYTES_MIN)
            && client.unsent() == 0
            && client.splice_target().is_some()
    }

    fn splice<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: &Attempt<'_>,
        client: &mut C,
        upstream: &mut Upstream,
    ) -> Poll<Result<(), Reject>> {
        let truncated = Reject::Upstream(UpstreamFault::Truncated);
        let pipes = &attempt.shard.pipes;
        if self.splice.is_none() {
            self.splice = Some(Splice::new(pipes).map_err(|_| Reject::Bug)?);
        }
        let (Some(splice), Some((from, rest)), Some(to)) =
            (&mut self.splice, upstream.splice_source(), client.splice_target())
        else {
            return Poll::Ready(Err(Reject::Bug));
        };
        let moved = ready!(splice.poll(cx, from, to, rest));
        let moved = moved.map_err(|fault| match fault {
            crate::splice::Fault::From => truncated,
            crate::splice::Fault::To => Reject::Client(ClientFault::Gone),
        })?;
        self.sent += moved;
        if upstream.skip(moved)
            && let Some(splice) = self.splice.take()
        {
            splice.rest(pipes);
            self.done = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether its connection ends and its time is over. What may never end by itself, such as a stream of
    /// events, is cut at a moment of its own.
    fn is_cut(&self, now: Instant, attempt: &Attempt<'_>) -> bool {
        let drain_timeout = attempt.route.drain_timeout;
        let cut_at = |farewell: Farewell| match self.is_sized {
            true => farewell.cut_at(drain_timeout),
            false => farewell.moment_of(&attempt.plan.facts.request_id, drain_timeout),
        };
        attempt.shard.farewells_to(attempt.local).any(|farewell| now >= cut_at(farewell))
    }

    fn waits_for_client<C: Client>(&self, client: &C) -> bool {
        client.unsent() > 0 || self.splice.as_ref().is_some_and(Splice::waits_to_write)
    }

    /// Looks at the clock: gives up on a client that reads too slowly or a server that went silent.
    fn tick<C: Client>(&mut self, now: Instant, client: &C, upload: &Upload) -> Result<(), Reject> {
        // A server that takes what the client still sends is not silent.
        let moved = self.sent + upload.received;
        let has_moved = std::mem::replace(&mut self.moved_at_tick, moved) != moved;
        if self.waits_for_client(client) {
            self.heard_at = now;
            if self.pace.is_too_slow(self.sent.saturating_sub(client.undelivered())) {
                return Err(Reject::Client(ClientFault::BodyTimeout));
            }
        } else if has_moved {
            self.heard_at = now;
        } else if now - self.heard_at >= self.silence_max {
            return Err(Reject::Upstream(UpstreamFault::Timeout));
        }
        Ok(())
    }
}
