//! Connections to a server that speaks HTTP/2, each shared by many requests of one thread.
//!
//! A session is dialled by a task of its own, which then drives it: the request that wanted it may
//! go away, others may be waiting for it too. The task holds no session up: when the endpoint is
//! gone and the last stream is over, nothing refers to the connection and it closes itself.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use evergate_core::proxy_header::Ends;
use evergate_core::time::Instant;
use evergate_sys::clock;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, SendStream};
use http::Request;
use tokio::sync::{Notify, mpsc};

use crate::dial::dial;
use crate::endpoint::Endpoint;
use crate::http2::transport::{Socket, Transport};
use crate::http2::vigil::{LOOK_EVERY, Step, Vigil};
use crate::plan::Pool;
use crate::pool_local::PoolLocal;
use crate::reject::UpstreamFault;
use crate::shard::{Report, Shard};
use crate::timers::{Timer, Timers};

/// Sessions that one thread has with one server and that take requests; past that requests wait
/// for a stream.
const SESSIONS_MAX: usize = 64;
/// Streams of one session, also if the server would take more.
const STREAMS_MAX: usize = 128;
/// Streams before the server has said how many it takes.
const STREAMS_BEFORE_SETTINGS: usize = 1;
/// Stands for a limit that was not heard yet; no server can say it.
const UNHEARD: usize = usize::MAX - 1;
/// Bytes of one response that a server may send ahead of its client.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// So large that clients which do not read cannot hold up the others.
const SESSION_WINDOW_BYTES: u32 = STREAMS_MAX as u32 * STREAM_WINDOW_BYTES;
/// What small DATA frames that wait may cost, each about 250 bytes: past that the session ends, so it
/// is as much as several clients that do not read may leave waiting.
const SMALL_DATA_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of one request waiting inside a session.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a response's head, names and values with 32 bytes for each (RFC 9113, 6.5.2).
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// What one thread has open to one server.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    list: RefCell<Vec<Rc<Session>>>,
    /// Told when a stream may have become free, or a session was dialled or lost.
    changed: Notify,
    /// Whom each of them tells the server of before anything else.
    ends: Option<Ends>,
}

/// One connection.
#[derive(Debug)]
struct Session {
    state: RefCell<State>,
    /// Streams that are lent.
    streams: Cell<usize>,
    /// Whether a stream was lent before.
    used: Cell<bool>,
    idle_since: Cell<Instant>,
    is_secure: Cell<bool>,
}

#[derive(Debug)]
enum State {
    Dialling,
    Open(SendRequest<Bytes>),
    Over(UpstreamFault),
}

/// The right to one stream.
#[derive(Debug)]
pub(crate) struct Lease {
    sessions: Rc<Sessions>,
    session: Rc<Session>,
    /// Whether the session had streams before.
    pub(crate) reused: bool,
}

impl Sessions {
    /// Sessions that begin with a PROXY header about `ends`.
    pub(crate) fn naming(ends: Option<Ends>) -> Self {
        Self { ends, ..Self::default() }
    }

    /// A stream of a session that has one to spare.
    pub(crate) fn lease(self: &Rc<Self>) -> Option<Lease> {
        let list = self.list.borrow();
        // The first that fits: so those behind it become idle once they are not needed.
        let session = list.iter().find(|session| session.has_room())?;
        session.streams.set(session.streams.get() + 1);
        let reused = session.used.replace(true);
        Some(Lease { sessions: Rc::clone(self), session: Rc::clone(session), reused })
    }

    /// Waits for a stream, and dials if there are too few sessions. How long that may take is for
    /// the caller to see to.
    ///
    /// # Errors
    /// The session that was waited for could not be had.
    pub(crate) async fn wait(
        self: &Rc<Self>,
        shard: &Shard,
        pool: &PoolLocal,
        endpoint: &Arc<Endpoint>,
    ) -> Result<Lease, UpstreamFault> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(lease) = self.lease() {
                return Ok(lease);
            }
            let promising = self.promising();
            let awaited = match promising {
                None if self.open() < SESSIONS_MAX => Some(self.dial(shard, pool, endpoint)),
                promising => promising,
            };
            changed.await;
            if let Some(session) = awaited
                && let State::Over(fault) = *session.state.borrow()
            {
                return Err(fault);
            }
        }
    }

    /// Closes sessions without a stream since long before `now`.
    pub(crate) fn sweep(&self, now: Instant, idle_max: Duration) {
        self.list.borrow_mut().retain(|session| {
            let is_open = matches!(*session.state.borrow(), State::Open(_));
            let is_idle = is_open && session.streams.get() == 0;
            !is_idle || now - session.idle_since.get() < idle_max
        });
    }

    /// A session that will soon have streams, or not be there.
    fn promising(&self) -> Option<Rc<Session>> {
        self.list.borrow().iter().find(|session| session.is_promising()).cloned()
    }

    /// Sessions that take requests.
    fn open(&self) -> usize {
        self.list.borrow().iter().filter(|session| !session.is_leaving()).count()
    }

    fn dial(
        self: &Rc<Self>,
        shard: &Shard,
        pool: &PoolLocal,
        endpoint: &Arc<Endpoint>,
    ) -> Rc<Session> {
        pool.counters.connects.set(pool.counters.connects.get() + 1);
        let session = Rc::new(Session {
            state: RefCell::new(State::Dialling),
            streams: Cell::new(0),
            used: Cell::new(false),
            idle_since: Cell::new(clock::now()),
            is_secure: Cell::new(false),
        });
        self.list.borrow_mut().push(Rc::clone(&session));
        // It ends when the connection does, and the connection when nobody refers to it.
        tokio::task::spawn_local(run(
            Rc::downgrade(self),
            Rc::downgrade(&session),
            Arc::clone(&pool.pool),
            Arc::clone(endpoint),
            Rc::clone(&shard.timers),
            shard.reports.clone(),
            self.ends,
        ));
        session
    }

    fn forget(&self, session: &Rc<Session>) {
        self.list.borrow_mut().retain(|other| !Rc::ptr_eq(other, session));
        self.changed.notify_waiters();
    }
}

impl Session {
    fn has_room(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let State::Open(sender) = &mut *state else { return false };
        self.streams.get() < streams_max(sender) && !is_leaving(sender)
    }

    fn is_promising(&self) -> bool {
        match &mut *self.state.borrow_mut() {
            State::Dialling => true,
            State::Open(sender) => {
                sender.current_max_send_streams() == UNHEARD && !is_leaving(sender)
            }
            State::Over(_) => false,
        }
    }

    fn is_leaving(&self) -> bool {
        match &mut *self.state.borrow_mut() {
            State::Dialling => false,
            State::Open(sender) => is_leaving(sender),
            State::Over(_) => true,
        }
    }
}

fn streams_max(sender: &SendRequest<Bytes>) -> usize {
    match sender.current_max_send_streams() {
        UNHEARD => STREAMS_BEFORE_SETTINGS,
        heard => heard.min(STREAMS_MAX),
    }
}

/// Whether the server said that it takes no more streams, or is gone.
fn is_leaving(sender: &mut SendRequest<Bytes>) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    matches!(sender.poll_ready(&mut cx), Poll::Ready(Err(_)))
}

impl Lease {
    /// Opens the stream with the head of a request.
    pub(crate) fn open(
        &self,
        request: Request<()>,
        is_whole: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Option<h2::Error>> {
        match &mut *self.session.state.borrow_mut() {
            State::Open(sender) => sender.send_request(request, is_whole).map_err(Some),
            State::Dialling | State::Over(_) => Err(None),
        }
    }

    /// Whether the connection is secured.
    pub(crate) fn is_secure(&self) -> bool {
        self.session.is_secure.get()
    }

    /// Why the session is over, if it is.
    pub(crate) fn fault(&self) -> Option<UpstreamFault> {
        match *self.session.state.borrow() {
            State::Dialling | State::Open(_) => None,
            State::Over(fault) => Some(fault),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let session = &self.session;
        session.streams.set(session.streams.get() - 1);
        session.idle_since.set(clock::now());
        self.sessions.changed.notify_one();
    }
}

/// Dials, then drives the connection to its end.
async fn run(
    sessions: Weak<Sessions>,
    session: Weak<Session>,
    pool: Arc<Pool>,
    endpoint: Arc<Endpoint>,
    timers: Rc<Timers>,
    reports: mpsc::Sender<Report>,
    ends: Option<Ends>,
) {
    let timer = timers.timer();
    let fault = match open(&pool, &endpoint, &timer, &reports, ends).await {
        Ok(Opened { sender, mut connection, socket }) => {
            if let Some(session) = session.upgrade() {
                session.is_secure.set(socket.borrow().is_secure());
                *session.state.borrow_mut() = State::Open(sender);
            }
            if let Some(sessions) = sessions.upgrade() {
                sessions.changed.notify_waiters();
            }
            let mut driver = Driver {
                pings: connection.ping_pong(),
                connection,
                socket,
                vigil: Vigil::default(),
                sessions: &sessions,
                session: &session,
                timer: &timer,
                look_at: clock::now(),
                has_settings: false,
            };
            driver.look_again(pool.connect_timeout);
            poll_fn(|cx| driver.poll(cx)).await
        }
        Err(fault) => fault,
    };
    if let Some(session) = session.upgrade() {
        *session.state.borrow_mut() = State::Over(fault);
        if let Some(sessions) = sessions.upgrade() {
            sessions.forget(&session);
        }
    }
}

/// A connection on which we have said that we speak HTTP/2.
struct Opened {
    sender: SendRequest<Bytes>,
    connection: Connection<Transport, Bytes>,
    socket: Rc<RefCell<Socket>>,
}

/// Connects; the server's settings come later.
async fn open(
    pool: &Pool,
    endpoint: &Arc<Endpoint>,
    timer: &Timer,
    reports: &mpsc::Sender<Report>,
    ends: Option<Ends>,
) -> Result<Opened, UpstreamFault> {
    let opening = async {
        let (socket, transport) = Socket::new(dial(reports, endpoint, ends).await?);
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_max_send_streams(UNHEARD)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(SESSION_WINDOW_BYTES)
            .data_frame_budget(SMALL_DATA_BYTES_MAX)
            .max_header_list_size(HEAD_BYTES_MAX)
            .max_send_buffer_size(SEND_BYTES_MAX);
        let shaken = builder.handshake(transport).await;
        let (sender, connection) = shaken.map_err(|_| UpstreamFault::Broken)?;
        Ok(Opened { sender, connection, socket })
    };
    let mut opening = pin!(opening);
    let until = clock::now() + pool.connect_timeout;
    timer.set(until);
    poll_fn(|cx| {
        if let Poll::Ready(opened) = opening.as_mut().poll(cx) {
            return Poll::Ready(opened);
        }
        // An early wake-up is the thread draining: what was begun is ended in its time.
        while timer.poll_elapsed(cx).is_ready() {
            if clock::now() >= until {
                return Poll::Ready(Err(UpstreamFault::Connect));
            }
            timer.set(until);
        }
        Poll::Pending
    })
    .await
}

/// Moves the frames of one connection.
struct Driver<'a> {
    connection: Connection<Transport, Bytes>,
    socket: Rc<RefCell<Socket>>,
    pings: Option<PingPong>,
    vigil: Vigil,
    sessions: &'a Weak<Sessions>,
    session: &'a Weak<Session>,
    timer: &'a Timer,
    /// When the timer is to be heeded.
    look_at: Instant,
    has_settings: bool,
}

impl Driver<'_> {
    /// Ready when the connection is over, with the reason.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<UpstreamFault> {
        let polled = Pin::new(&mut self.connection).poll(cx);
        if !self.has_settings && self.connection.max_concurrent_send_streams() != UNHEARD {
            self.has_settings = true;
            self.look_again(LOOK_EVERY);
            if let Some(sessions) = self.sessions.upgrade() {
                sessions.changed.notify_waiters();
            }
        }
        let sent = self.socket.borrow_mut().poll_send(cx);
        let is_over = polled.is_ready() || matches!(sent, Poll::Ready(Err(_)));
        if is_over {
            return Poll::Ready(self.fault());
        }
        while self.timer.poll_elapsed(cx).is_ready() {
            let now = clock::now();
            if now < self.look_at {
                self.timer.set(self.look_at);
                continue;
            }
            match self.look(now) {
                Step::Rest => {}
                Step::Ask => {
                    // Nothing hears the answer as such: any byte will do.
                    let asked = self.pings.as_mut().map(|pings| pings.send_ping(Ping::opaque()));
                    if asked.is_some_and(|asked| asked.is_ok()) {
                        cx.waker().wake_by_ref();
                    }
                }
                Step::GiveUp => return Poll::Ready(self.fault()),
            }
            self.look_again(LOOK_EVERY);
        }
        Poll::Pending
    }

    fn look(&mut self, now: Instant) -> Step {
        if !self.has_settings {
            return Step::GiveUp;
        }
        if let Some(pings) = &mut self.pings {
            // An answer that is never taken would keep the next PING from going.
            let _ = pings.poll_pong(&mut Context::from_waker(Waker::noop()));
        }
        let is_busy = self.session.upgrade().is_some_and(|session| session.streams.get() > 0);
        self.vigil.look(now, self.socket.borrow().heard(), is_busy)
    }

    fn look_again(&mut self, wait: Duration) {
        self.look_at = clock::now() + wait;
        self.timer.set(self.look_at);
    }

    const fn fault(&self) -> UpstreamFault {
        if self.has_settings { UpstreamFault::Broken } else { UpstreamFault::NotHttp2 }
    }
}
