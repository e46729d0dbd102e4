//! A connection from a client that speaks HTTP/1.
//!
//! It reads one request after the other and hands each to [`exchange::run`]; while it waits for the
//! next it holds a socket and a timer, and no buffer.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use evergate_core::head::{Method, RequestHead, Version};
use evergate_core::http1::{self, Body, HeadError, RequestError};
use evergate_core::http2::PREFACE;
use evergate_core::time::Instant;
use evergate_sys::clock;

use crate::caller::Caller;
use crate::exchange::{self, Request};
use crate::http1::incoming::Incoming;
use crate::http1::outgoing::Outgoing;
use crate::listener::Gate;
use crate::plan::Listener;
use crate::reject::{ClientFault, Reject};
use crate::shard::Shard;
use crate::timers::Timer;
use crate::wire::Wire;

mod client;

/// How long a connection that we closed is read on, so that the client gets our last response
/// instead of a reset.
const LINGER: Duration = Duration::from_secs(2);
/// The same for a connection that ends because all ends, when no request of the client was cut.
/// After the end of our stream nothing can be answered; but a client that hears of the end in order,
/// with no byte of a response, knows that it may ask again (RFC 9112, 9.3.1), and one that hears of
/// a reset does not.
const FAREWELL_LINGER: Duration = Duration::from_secs(1);
/// How much is read on then.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// What the start of HTTP/2 is to HTTP/1.
const NO_HTTP1: Reject =
    Reject::Client(ClientFault::Malformed(RequestError::Head(HeadError::VersionUnsupported)));

/// A client's connection.
#[derive(Debug)]
struct Connection {
    shard: Rc<Shard>,
    wire: Wire,
    incoming: Incoming,
    outgoing: Outgoing,
    timer: Timer,
    /// The address here that the client is connected to.
    local: Option<IpAddr>,
    version: Version,
    /// Whether another request may follow the one being served.
    keep_alive: bool,
    begun: bool,
    /// Whether the end of the connection would look like the end of a response that it is not.
    ends_open: bool,
    bodyless: bool,
    /// Bytes of the request's body so far.
    received: u64,
    received_max: u64,
}

/// What waiting for a request came to.
enum Arrival {
    Request(http1::Request, Instant),
    /// The client left, or stayed silent for too long, between two requests.
    Over,
    /// What came is the start of HTTP/2.
    Http2,
    Refused(Reject, Instant),
}

/// A connection whose client speaks HTTP/2, with what was read of it.
#[derive(Debug)]
pub(crate) struct Http2 {
    pub(crate) wire: Wire,
    pub(crate) early: Vec<u8>,
}

/// Serves a connection to its end, unless the client turns out to speak HTTP/2 and the listener
/// does too.
pub(crate) async fn serve(
    shard: Rc<Shard>,
    wire: Wire,
    listener: &str,
    settings: Arc<Listener>,
    gate: &Gate,
    caller: &Caller,
) -> Option<Http2> {
    let mut settings = settings;
    let mut connection = Connection::new(Rc::clone(&shard), wire, caller.local);
    let mut requests = 0;
    loop {
        let mut head = None;
        let arrival = connection.next_request(&settings, requests == 0, &mut head).await;
        let (request, started) = match arrival {
            Arrival::Request(request, started) => (request, started),
            Arrival::Over => {
                if connection.is_leaving() {
                    connection.linger(FAREWELL_LINGER).await;
                }
                return None;
            }
            Arrival::Http2 => {
                let early = connection.incoming.take_unused();
                return Some(Http2 { wire: connection.wire, early });
            }
            Arrival::Refused(reject, started) => {
                exchange::refuse(&shard, &mut connection, head.as_ref(), caller, started, reject)
                    .await;
                connection.linger(LINGER).await;
                return None;
            }
        };
        let head = head?;
        if requests == 0 {
            gate.count_http1();
        }
        requests += 1;
        // A reload takes effect with the next request.
        let is_there = match shard.plan().plan.listeners.get(listener) {
            Some(current) if !Arc::ptr_eq(current, &settings) => {
                settings = Arc::clone(current);
                true
            }
            Some(_) => true,
            None => false,
        };
        connection.prepare(&request, &head, &settings, requests);
        connection.keep_alive &= is_there;
        let goes_on = exchange::run(
            &shard,
            &mut connection,
            Request {
                head: &head,
                body: request.body,
                expect_continue: request.expect_continue,
                upgrade: request.upgrade,
                connection_names: request.connection_names,
                started,
                caller,
                listener: &settings,
            },
        )
        .await;
        shard.buffers.give_request(head);
        if connection.ends_open {
            connection.wire.reset();
            return None;
        }
        if !goes_on || !connection.keep_alive {
            if !connection.incoming.is_done() || !connection.incoming.unused().is_empty() {
                connection.linger(LINGER).await;
            } else if connection.is_leaving() {
                connection.linger(FAREWELL_LINGER).await;
            }
            return None;
        }
    }
}

/// Answers one request, whatever it asks for, with `body`, and closes.
pub(crate) async fn answer_once(
    shard: Rc<Shard>,
    wire: Wire,
    settings: &Listener,
    caller: &Caller,
    body: &str,
) {
    let mut connection = Connection::new(Rc::clone(&shard), wire, caller.local);
    let mut head = None;
    let arrival = connection.next_request(settings, true, &mut head).await;
    let (Arrival::Request(request, started), Some(head)) = (arrival, head) else { return };
    connection.prepare(&request, &head, settings, settings.limits.requests);
    let request = Request {
        head: &head,
        body: request.body,
        expect_continue: request.expect_continue,
        upgrade: false,
        connection_names: request.connection_names,
        started,
        caller,
        listener: settings,
    };
    exchange::answer(&shard, &mut connection, &request, body).await;
    connection.linger(LINGER).await;
}

impl Connection {
    fn new(shard: Rc<Shard>, wire: Wire, local: Option<IpAddr>) -> Self {
        let timer = shard.timers.timer();
        Self {
            shard,
            wire,
            incoming: Incoming::default(),
            outgoing: Outgoing::default(),
            timer,
            local,
            version: Version::Http11,
            keep_alive: true,
            begun: false,
            ends_open: false,
            bodyless: false,
            received: 0,
            received_max: 0,
        }
    }

    /// Waits for the next request's head.
    async fn next_request(
        &mut self,
        settings: &Listener,
        first: bool,
        head: &mut Option<RequestHead>,
    ) -> Arrival {
        let now = clock::now();
        let limits = &settings.limits;
        let mut started = (!self.incoming.unused().is_empty()).then_some(now);
        // The clock of a head runs from its first byte; that of the first one from the connection.
        let is_timed = started.is_some() || first;
        let patience = if is_timed { limits.header_timeout } else { limits.idle_timeout };
        let until = now + patience;
        let mut deadline = if started.is_some() { until } else { self.quiet_until(now, until) };
        self.timer.set(deadline);
        self.begun = false;
        if started.is_some() {
            match self.parse_kept(settings, head) {
                Ok(Some(request)) => return Arrival::Request(request, now),
                Ok(None) => {}
                Err(reject) => return Arrival::Refused(reject, now),
            }
        }
        std::future::poll_fn(|cx| {
            loop {
                match self.read_head(cx, settings, head, &mut started) {
                    Poll::Ready(Ok(Some(request))) => {
                        let started = started.unwrap_or(now);
                        return Poll::Ready(Arrival::Request(request, started));
                    }
                    Poll::Ready(Ok(None)) => {
                        if started.is_none() {
                            return Poll::Ready(Arrival::Over);
                        }
                        let begin = started.unwrap_or(now);
                        if deadline != begin + limits.header_timeout {
                            deadline = begin + limits.header_timeout;
                            self.timer.set(deadline);
                        }
                        continue;
                    }
                    Poll::Ready(Err(NO_HTTP1)) if first && settings.http2 && self.is_http2() => {
                        return Poll::Ready(Arrival::Http2);
                    }
                    Poll::Ready(Err(reject)) => {
                        return Poll::Ready(Arrival::Refused(reject, started.unwrap_or(now)));
                    }
                    Poll::Pending => {}
                }
                ready!(self.timer.poll_elapsed(cx));
                let late = clock::now();
                let Some(begin) = started else {
                    // It may have elapsed because all ends, or goes on after all.
                    deadline = self.quiet_until(now, until);
                    if late >= deadline {
                        return Poll::Ready(Arrival::Over);
                    }
                    self.timer.set(deadline);
                    continue;
                };
                if late >= deadline {
                    let reject = Reject::Client(ClientFault::HeaderTimeout);
                    return Poll::Ready(Arrival::Refused(reject, begin));
                }
                self.timer.set(deadline);
            }
        })
        .await
    }

    /// Whether it is to end as soon as it may.
    fn is_leaving(&self) -> bool {
        self.shard.is_leaving(self.local)
    }

    /// Whether what was read is the start of HTTP/2 (RFC 9113, 3.4).
    fn is_http2(&self) -> bool {
        let begun = self.incoming.unused();
        begun[..begun.len().min(PREFACE.len())] == PREFACE[..begun.len().min(PREFACE.len())]
    }

    /// Until when to wait for the first byte of a request, silent `since` then, and `until` some
    /// time if nothing else happens.
    fn quiet_until(&self, since: Instant, until: Instant) -> Instant {
        let farewells = self.shard.farewells_to(self.local);
        farewells.map(|farewell| farewell.idle_until(since)).fold(until, Instant::min)
    }

    /// Reads once. `Ok(None)` with nothing started means that the client left; otherwise that the
    /// head is not whole yet.
    fn read_head(
        &mut self,
        cx: &mut Context<'_>,
        settings: &Listener,
        head: &mut Option<RequestHead>,
        started: &mut Option<Instant>,
    ) -> Poll<Result<Option<http1::Request>, Reject>> {
        let shard = Rc::clone(&self.shard);
        shard.buffers.with_scratch(|scratch| {
            let count = match ready!(self.wire.poll_read(cx, scratch)) {
                Ok(0) | Err(_) if started.is_none() => return Poll::Ready(Ok(None)),
                Ok(0) | Err(_) => {
                    return Poll::Ready(Err(Reject::Client(ClientFault::Gone)));
                }
                Ok(count) => count,
            };
            let bytes = &scratch[..count];
            started.get_or_insert_with(clock::now);
            if !self.incoming.unused().is_empty() {
                self.incoming.keep(&shard.buffers, bytes);
                // A head ends with a line; until one ends there is nothing new to see.
                if memchr::memchr(b'\n', bytes).is_none()
                    && self.incoming.unused().len() <= settings.heads.uri_bytes_max
                {
                    return Poll::Ready(Ok(None));
                }
                return Poll::Ready(self.parse_kept(settings, head));
            }
            let parsed = match parse(&shard, settings, bytes, head) {
                Ok(parsed) => parsed,
                Err(reject) => {
                    if reject == NO_HTTP1 {
                        // Perhaps it is for somebody else.
                        self.incoming.keep(&shard.buffers, bytes);
                    }
                    return Poll::Ready(Err(reject));
                }
            };
            let consumed = parsed.as_ref().map_or(0, |request| request.consumed);
            self.incoming.keep(&shard.buffers, &bytes[consumed..]);
            Poll::Ready(Ok(parsed))
        })
    }

    fn parse_kept(
        &mut self,
        settings: &Listener,
        head: &mut Option<RequestHead>,
    ) -> Result<Option<http1::Request>, Reject> {
        let parsed = parse(&self.shard, settings, self.incoming.unused(), head)?;
        if let Some(request) = &parsed {
            self.incoming.consume(&self.shard.buffers, request.consumed);
        }
        Ok(parsed)
    }

    /// Gets ready to serve `request`, the n-th on this connection.
    fn prepare(
        &mut self,
        request: &http1::Request,
        head: &RequestHead,
        settings: &Listener,
        requests: u32,
    ) {
        self.incoming.expect(request.body);
        self.version = head.version;
        self.bodyless = head.method == Method::Head;
        self.keep_alive = request.keep_alive && requests < settings.limits.requests;
        self.received = 0;
        self.received_max = settings.limits.body;
        debug_assert!(self.outgoing.unsent.is_empty(), "the last response went out whole");
        if request.body == Body::Empty {
            self.received_max = 0;
        }
    }

    /// Closes in a way that lets the client read our last response: sends the end of the stream,
    /// then reads until the client ends its own.
    async fn linger(mut self, patience: Duration) {
        let until = clock::now() + patience;
        self.timer.set(until);
        let mut rest = LINGER_BYTES_MAX;
        std::future::poll_fn(|cx| {
            loop {
                if self.timer.poll_elapsed(cx).is_ready() {
                    if clock::now() >= until {
                        return Poll::Ready(());
                    }
                    // It elapsed because all ends.
                    self.timer.set(until);
                    continue;
                }
                if !self.outgoing.unsent.is_empty()
                    && ready!(self.wire.poll_flush(cx, &mut self.outgoing.unsent)).is_err()
                {
                    return Poll::Ready(());
                }
                if ready!(self.wire.poll_shutdown(cx)).is_err() {
                    return Poll::Ready(());
                }
                let wire = &mut self.wire;
                let read = self.shard.buffers.with_scratch(|scratch| wire.poll_read(cx, scratch));
                match ready!(read) {
                    Ok(count) if count > 0 && rest > 0 => rest = rest.saturating_sub(count),
                    Ok(_) | Err(_) => return Poll::Ready(()),
                }
            }
        })
        .await;
    }
}

fn parse(
    shard: &Shard,
    settings: &Listener,
    bytes: &[u8],
    head: &mut Option<RequestHead>,
) -> Result<Option<http1::Request>, Reject> {
    let head = head.get_or_insert_with(|| shard.buffers.take_request());
    http1::parse_request(bytes, &settings.heads, head)
        .map_err(|error| Reject::Client(ClientFault::Malformed(error)))
}
