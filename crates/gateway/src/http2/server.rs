//! A connection from a client that speaks HTTP/2.
//!
//! One task moves frames between the socket and the streams, and each stream is a task that runs
//! one exchange. The connection ends when the client leaves, when nothing was asked for too long,
//! when it asks for work that it has no use for, or when all ends: then it says so and finishes
//! what has begun.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use evergate_config::Limits;
use evergate_core::time::Instant;
use evergate_sys::clock;
use h2::server::{Builder, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use tokio::sync::Notify;

use super::pipe::{Pipe, Socket};
use super::stream::Opened;
use crate::caller::Caller;
use crate::listener::Gate;
use crate::pace::{Pace, TICK};
use crate::plan::Listener;
use crate::shard::{Report, Shard};
use crate::timers::Timer;
use crate::wire::Wire;

/// Streams of a connection that are open at once.
const STREAMS_MAX: u32 = 100;
/// What a client may send of one body before we take it.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// What it may send of all bodies.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// What small DATA frames that wait may cost, each about 250 bytes: room for sixteen thousand, which a
/// client of gRPC that streams small messages sends at once.
const SMALL_DATA_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What `h2` holds of one response until the socket takes it.
const SEND_BUFFER_BYTES_MAX: usize = 32 * 1024;
/// Streams that the client reset before we had looked at them. As many as the guard lets pass, which
/// knows a flood from a page that was left.
const PENDING_RESETS_MAX: usize = 100;
/// Streams that we reset for an error of the client, over the life of a connection.
const LOCAL_RESETS_MAX: usize = 1024;
/// After we have said that we leave, how long a connection without streams is kept for a request
/// that is on its way. A client that answers is not waited for.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a connection that we ended is read on, so that the client gets our last words instead
/// of a reset.
const LINGER: Duration = Duration::from_secs(2);
/// How much is read on then.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// What the streams of one connection share.
pub(super) struct Connected {
    pub(super) shard: Rc<Shard>,
    pub(super) caller: Caller,
    /// Exchanges that are being served.
    open: Cell<usize>,
    /// When the last one ended.
    ended_at: Cell<Instant>,
    /// Told when none is left.
    all_ended: Notify,
}

/// A client's connection.
struct Connection {
    connected: Rc<Connected>,
    socket: Rc<RefCell<Socket>>,
    protocol: Protocol,
    listener: Rc<str>,
    settings: Arc<Listener>,
    gate: Arc<Gate>,
    timer: Timer,
    /// What the timer is set to.
    timer_at: Instant,
    began_at: Instant,
    requests: u32,
    /// Since when no new streams are wanted.
    leaving_since: Option<Instant>,
    /// Until when the last word must have been taken, once it has been said.
    ends_at: Option<Instant>,
    /// Since when and how slowly the client takes what is sent.
    stall: Option<Stall>,
}

/// The client's preface is still to come, or has come.
enum Protocol {
    Greeting(Box<Handshake<Pipe, Bytes>>),
    Speaking(Box<h2::server::Connection<Pipe, Bytes>>),
}

/// A socket that is full.
struct Stall {
    pace: Pace,
    tick_at: Instant,
}

/// Counts an exchange out, also when its task panicked.
pub(super) struct Ending(Rc<Connected>);

/// Serves a connection to its end. `early` was read from `wire` already.
pub(crate) async fn serve(
    shard: Rc<Shard>,
    wire: Wire,
    early: Vec<u8>,
    listener: &str,
    settings: Arc<Listener>,
    gate: Arc<Gate>,
    caller: Caller,
) {
    gate.count_http2();
    let mut connection = Connection::new(shard, wire, early, listener, settings, gate, caller);
    poll_fn(|cx| connection.poll(cx)).await;
    connection.end().await;
}

impl Connection {
    fn new(
        shard: Rc<Shard>,
        wire: Wire,
        early: Vec<u8>,
        listener: &str,
        settings: Arc<Listener>,
        gate: Arc<Gate>,
        caller: Caller,
    ) -> Self {
        let now = clock::now();
        let timer = shard.timers.timer();
        let timer_at = now + settings.limits.header_timeout;
        timer.set(timer_at);
        let socket = Rc::new(RefCell::new(Socket::new(Rc::clone(&shard), wire, early, now)));
        let greeting = builder(&settings.limits).handshake(Pipe::new(&socket));
        Self {
            connected: Rc::new(Connected {
                shard,
                caller,
                open: Cell::new(0),
                ended_at: Cell::new(now),
                all_ended: Notify::new(),
            }),
            socket,
            protocol: Protocol::Greeting(Box::new(greeting)),
            listener: listener.into(),
            settings,
            gate,
            timer,
            timer_at,
            began_at: now,
            requests: 0,
            leaving_since: None,
            ends_at: None,
            stall: None,
        }
    }

    /// Does what can be done; ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let over = self.poll_protocol(cx).is_ready();
            let sent = self.socket.borrow_mut().poll_send(cx);
            if over || matches!(sent, Poll::Ready(Err(_))) {
                return Poll::Ready(());
            }
            let now = clock::now();
            let flood = self.socket.borrow().flood();
            if let Some(flood) = flood.filter(|_| self.ends_at.is_none()) {
                self.report_flood(now, flood.name());
                self.say_last(Reason::ENHANCE_YOUR_CALM);
                continue;
            }
            self.watch_stall(now, sent.is_pending());
            if ready!(self.poll_time(cx, now)) == Next::End {
                return Poll::Ready(());
            }
        }
    }

    /// Moves frames; ready when the connection is over.
    fn poll_protocol(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.protocol {
                Protocol::Greeting(handshake) => {
                    match ready!(Pin::new(&mut **handshake).poll(cx)) {
                        Ok(connection) => self.protocol = Protocol::Speaking(Box::new(connection)),
                        Err(_) => return Poll::Ready(()),
                    }
                }
                Protocol::Speaking(connection) => match ready!(connection.poll_accept(cx)) {
                    Some(Ok((request, respond))) => self.open(request, respond),
                    Some(Err(error)) => {
                        if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                            let heard = self.socket.borrow().flood();
                            let kind = heard.map_or("library", |flood| flood.name());
                            self.report_flood(clock::now(), kind);
                        }
                        return Poll::Ready(());
                    }
                    None => return Poll::Ready(()),
                },
            }
        }
    }

    /// Serves one more request.
    fn open(&mut self, request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        if self.leaving_since.is_some_and(|since| clock::now() - since >= FAREWELL) {
            // It was told and has not answered, or it would know better (RFC 9113, 6.8). A request
            // that nobody has looked at may be sent again.
            return respond.send_reset(Reason::REFUSED_STREAM);
        }
        self.requests += 1;
        // A reload takes effect with the next request.
        let is_there = match self.connected.shard.plan().plan.listeners.get(&*self.listener) {
            Some(current) if !Arc::ptr_eq(current, &self.settings) => {
                self.settings = Arc::clone(current);
                true
            }
            Some(_) => true,
            None => false,
        };
        if !is_there || self.requests >= self.settings.limits.requests {
            self.leave(clock::now());
        }
        let ending = Ending::new(&self.connected);
        let settings = Arc::clone(&self.settings);
        let opened = Opened { ending, request, respond, settings };
        let shard = &self.connected.shard;
        shard.workers.serve(shard, opened);
    }

    /// Asks for no more streams (RFC 9113, 6.8); those that have begun go on.
    fn leave(&mut self, now: Instant) {
        if self.leaving_since.is_none()
            && let Protocol::Speaking(connection) = &mut self.protocol
        {
            self.leaving_since = Some(now);
            connection.graceful_shutdown();
        }
    }

    /// Ends the connection, whatever is open on it.
    fn say_last(&mut self, reason: Reason) {
        self.ends_at = Some(clock::now() + LINGER);
        if let Protocol::Speaking(connection) = &mut self.protocol {
            connection.abrupt_shutdown(reason);
        }
    }

    fn report_flood(&self, now: Instant, kind: &'static str) {
        if self.gate.count_flood(kind, now) {
            let listener = self.listener.to_string();
            let peer = self.connected.caller.peer.ip();
            // A full queue is no loss: the next flood reports again.
            let _ = self.connected.shard.reports.try_send(Report::Flood { listener, kind, peer });
        }
    }

    /// Notes whether the client takes what is sent.
    fn watch_stall(&mut self, now: Instant, is_full: bool) {
        if !is_full {
            self.stall = None;
        } else if self.stall.is_none() {
            let pace = Pace::new(&self.settings.limits);
            self.stall = Some(Stall { pace, tick_at: now + TICK });
        }
    }

    /// Waits for the next moment at which something is due; ready when it has come and something
    /// was done about it.
    fn poll_time(&mut self, cx: &Context<'_>, now: Instant) -> Poll<Next> {
        loop {
            let (at, due) = self.next_due(now);
            if now >= at {
                return Poll::Ready(self.perform(now, due));
            }
            // Later moments are left for the timer to find out.
            if at < self.timer_at {
                self.timer_at = at;
                self.timer.set(at);
            }
            ready!(self.timer.poll_elapsed(cx));
            self.timer_at = at;
            self.timer.set(at);
            let is_leaving = self.connected.shard.is_leaving(self.connected.caller.local);
            if is_leaving && self.leaving_since.is_none() {
                self.leave(now);
                return Poll::Ready(Next::GoOn);
            }
        }
    }

    /// What is due next, and when.
    fn next_due(&self, now: Instant) -> (Instant, Due) {
        let limits = &self.settings.limits;
        if let Some(at) = self.ends_at {
            return (at, Due::End);
        }
        let is_idle = self.connected.open.get() == 0;
        let quiet_since = self.connected.ended_at.get();
        let idle = match (&self.protocol, self.leaving_since) {
            (Protocol::Greeting(_), _) => (self.began_at + limits.header_timeout, Due::End),
            (Protocol::Speaking(_), _) if !is_idle => (now + limits.idle_timeout, Due::Nothing),
            (Protocol::Speaking(_), Some(since)) => (quiet_since.max(since) + FAREWELL, Due::Idle),
            (Protocol::Speaking(_), None) => (quiet_since + limits.idle_timeout, Due::Idle),
        };
        let block = self.socket.borrow().block_since();
        let block = block.map(|since| (since + limits.header_timeout, Due::Block));
        let stall = self.stall.as_ref().map(|stall| (stall.tick_at, Due::Stall));
        let all = [Some(idle), block, stall];
        all.into_iter().flatten().min_by_key(|(at, _)| *at).unwrap_or(idle)
    }

    fn perform(&mut self, now: Instant, due: Due) -> Next {
        match due {
            Due::Nothing => Next::GoOn,
            Due::End => Next::End,
            Due::Idle => {
                self.say_last(Reason::NO_ERROR);
                Next::GoOn
            }
            Due::Block => {
                self.connected.shard.count_reject("header_timeout");
                self.say_last(Reason::ENHANCE_YOUR_CALM);
                Next::GoOn
            }
            Due::Stall => {
                let taken = self.socket.borrow().taken();
                let Some(stall) = &mut self.stall else { return Next::GoOn };
                stall.tick_at = now + TICK;
                if stall.pace.is_too_slow(taken) { Next::End } else { Next::GoOn }
            }
        }
    }

    /// Closes in a way that lets the client read our last words, and waits for the exchanges.
    async fn end(self) {
        let Self { connected, socket, protocol, timer, .. } = self;
        // Streams notice that their connection is gone.
        drop(protocol);
        timer.set(clock::now() + LINGER);
        let mut rest = LINGER_BYTES_MAX;
        poll_fn(|cx| {
            let mut socket = socket.borrow_mut();
            loop {
                if timer.poll_elapsed(cx).is_ready() {
                    return Poll::Ready(());
                }
                if ready!(socket.poll_end(cx)).is_err() {
                    return Poll::Ready(());
                }
                match ready!(socket.poll_discard(cx)) {
                    Ok(count) if count > 0 && rest > 0 => rest = rest.saturating_sub(count),
                    Ok(_) | Err(_) => return Poll::Ready(()),
                }
            }
        })
        .await;
        drop(socket);
        while connected.open.get() > 0 {
            connected.all_ended.notified().await;
        }
    }
}

/// What is to be done at some moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Due {
    /// The client did not begin, or does not take our last word.
    End,
    /// Nobody wants anything.
    Idle,
    /// A header block does not end.
    Block,
    /// To look whether the client reads.
    Stall,
    /// To look again.
    Nothing,
}

/// Whether the connection goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    GoOn,
    End,
}

impl Ending {
    fn new(connected: &Rc<Connected>) -> Self {
        connected.open.set(connected.open.get() + 1);
        Self(Rc::clone(connected))
    }

    pub(super) fn connected(&self) -> &Rc<Connected> {
        &self.0
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let left = self.0.open.get() - 1;
        self.0.open.set(left);
        if left == 0 {
            self.0.ended_at.set(clock::now());
            self.0.all_ended.notify_one();
        }
    }
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(limits.header)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .data_frame_budget(SMALL_DATA_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(Some(LOCAL_RESETS_MAX))
        .enable_connect_protocol();
    builder
}
