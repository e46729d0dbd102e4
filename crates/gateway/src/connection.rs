//! A way to the server for one attempt: a connection kept alive, a stream of one, or a new one.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use evergate_config::Protocol;
use evergate_core::proxy_header::Ends;
use evergate_core::retry::Failure;
use evergate_sys::clock;

use crate::attempt::{Attempt, Outcome, poll_deadline};
use crate::dial::dial;
use crate::http1;
use crate::http2;
use crate::http2::session::Sessions;
use crate::proxy_header;
use crate::reject::UpstreamFault;
use crate::timers::Timer;
use crate::upstream::Upstream;

/// A connection that was kept alive, or a new one.
pub(crate) async fn connection(attempt: &Attempt<'_>, timer: &Timer) -> Result<Upstream, Outcome> {
    let counters = &attempt.pool.counters;
    let ends = attempt.pool.pool.proxy_protocol.then(|| proxy_header::ends(attempt.plan.facts));
    match attempt.pool.pool.protocol {
        Protocol::Http1 => {}
        // Rare and large: it must not take room in the future of every exchange.
        Protocol::Http2 => return Box::pin(stream(attempt, timer, ends)).await,
    }
    // A connection that names its client serves nobody else.
    if ends.is_none()
        && let Some(upstream) = attempt.endpoint.take_idle()
    {
        counters.reuses.set(counters.reuses.get() + 1);
        return Ok(Upstream::Http1(upstream));
    }
    counters.connects.set(counters.connects.get() + 1);
    let until = attempt.deadline.min(clock::now() + attempt.pool.pool.connect_timeout);
    timer.set(until);
    let mut dialing = pin!(dial(&attempt.shard.reports, &attempt.endpoint.shared, ends));
    let dialed = poll_fn(|cx| {
        if let Poll::Ready(dialed) = dialing.as_mut().poll(cx) {
            return Poll::Ready(dialed);
        }
        poll_deadline(cx, timer, until).map(|()| Err(UpstreamFault::Connect))
    })
    .await;
    match dialed {
        Ok(_) if attempt.endpoint.shared.is_dead() => {
            Err(unreachable(attempt, UpstreamFault::Connect))
        }
        Ok(wire) => Ok(Upstream::Http1(http1::upstream::Upstream::new(wire))),
        Err(fault) => Err(unreachable(attempt, fault)),
    }
}

/// A stream of a connection that others use too, or of a new one.
async fn stream(
    attempt: &Attempt<'_>,
    timer: &Timer,
    ends: Option<Ends>,
) -> Result<Upstream, Outcome> {
    let sessions = match ends {
        None => Rc::clone(attempt.endpoint.sessions()),
        // What names its client serves nobody else, and ends with the request.
        ends => Rc::new(Sessions::naming(ends)),
    };
    let lease = match sessions.lease() {
        Some(lease) => Ok(lease),
        None => {
            timer.set(attempt.deadline);
            let endpoint = &attempt.endpoint.shared;
            let mut waiting = pin!(sessions.wait(attempt.shard, attempt.pool, endpoint));
            poll_fn(|cx| {
                if let Poll::Ready(waited) = waiting.as_mut().poll(cx) {
                    return Poll::Ready(waited);
                }
                poll_deadline(cx, timer, attempt.deadline).map(|()| Err(UpstreamFault::Timeout))
            })
            .await
        }
    };
    let lease = lease.map_err(|fault| unreachable(attempt, fault))?;
    if attempt.endpoint.shared.is_dead() {
        return Err(unreachable(attempt, UpstreamFault::Connect));
    }
    if lease.reused {
        let reuses = &attempt.pool.counters.reuses;
        reuses.set(reuses.get() + 1);
    }
    Ok(Upstream::Http2(Box::new(http2::upstream::Stream::new(lease))))
}

/// There was no connection to send the request on.
fn unreachable(attempt: &Attempt<'_>, fault: UpstreamFault) -> Outcome {
    if clock::now() >= attempt.deadline {
        return Outcome::Failed { failure: Failure::Timeout, fault: UpstreamFault::Timeout };
    }
    if attempt.endpoint.shared.is_dead() {
        let failure = Failure::Died { sent: false };
        return Outcome::Failed { failure, fault: UpstreamFault::Died };
    }
    Outcome::Failed { failure: Failure::Connect, fault }
}
