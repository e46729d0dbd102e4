//! Accepting connections, within the listener's bounds.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evergate_control::state::Connections;
use evergate_core::time::Instant;
use evergate_sys::clock;
use evergate_sys::listen::BACKLOG;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::plan::Listener;
use crate::proxy_header::ProxyRefusal;
use crate::shard::{Report, Shard};
use crate::tls::fault::Handshakes;
use crate::trust;
use crate::welcome;

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// No more than one report of refused PROXY headers within this.
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// Floods of HTTP/2 come in numbers: an event tells of one in this time.
const FLOOD_EVENT_PAUSE: Duration = Duration::from_secs(60);

/// What a client beyond a bound gets to read.
const TURNED_AWAY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 46\r\n\
    Retry-After: 1\r\n\
    Connection: close\r\n\r\n\
    503 Service Unavailable: too many connections\n";

/// The connections of one listener, counted over all threads.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    open: AtomicU64,
    /// Open to other workers, as they said last.
    elsewhere: AtomicU64,
    accepted: AtomicU64,
    rejected_connections: AtomicU64,
    rejected_per_ip: AtomicU64,
    /// By [`ProxyRefusal`].
    proxy_refused: [AtomicU64; ProxyRefusal::ALL.len()],
    /// When the latest of them was reported, in nanoseconds; 0 if none was.
    proxy_reported: AtomicU64,
    handshakes: Handshakes,
    by_address: Mutex<ByAddress>,
    http1: AtomicU64,
    http2: AtomicU64,
    floods: Mutex<Floods>,
}

/// Connections of each client.
#[derive(Debug, Default)]
struct ByAddress {
    here: HashMap<IpAddr, u32>,
    elsewhere: HashMap<IpAddr, u32>,
}

/// Connections that ended for abuse of HTTP/2.
#[derive(Debug, Default)]
struct Floods {
    by_kind: BTreeMap<&'static str, u64>,
    told_at: Option<Instant>,
}

/// The counts of a [`Gate`].
#[derive(Clone, Debug, Default)]
pub(crate) struct GateCounts {
    pub(crate) open: u64,
    pub(crate) accepted: u64,
    pub(crate) rejected_connections: u64,
    pub(crate) rejected_per_ip: u64,
    pub(crate) proxy_refused: [u64; ProxyRefusal::ALL.len()],
    /// Connections that spoke HTTP/1.
    pub(crate) http1: u64,
    /// Connections that spoke HTTP/2.
    pub(crate) http2: u64,
    pub(crate) floods: Vec<(String, u64)>,
}

/// A connection that was let in; leaves when dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    gate: Arc<Gate>,
    /// Whose connection it is, once that is known.
    address: Option<IpAddr>,
}

/// Accepts on `socket` and serves every connection, until it is told of `closing`; whoever has
/// connected by then is served too.
pub(crate) async fn run(
    shard: Rc<Shard>,
    name: Rc<str>,
    gate: Arc<Gate>,
    socket: TcpListener,
    closing: Rc<Notify>,
) {
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = closing.notified() => return accept_rest(&shard, &name, &gate, socket),
        };
        match accepted {
            Ok((tcp, peer)) => {
                failing = false;
                admit(&shard, &name, &gate, tcp, peer);
            }
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                // Told once, however long it lasts; a report that finds no room is tried again.
                if !failing {
                    let (listener, error) = (name.to_string(), error.to_string());
                    let report = Report::AcceptFailed { listener, error };
                    failing = shard.reports.try_send(report).is_ok();
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Accepts who is waiting. The runtime may not have heard of them yet, so it is not asked.
fn accept_rest(shard: &Rc<Shard>, name: &Rc<str>, gate: &Arc<Gate>, socket: TcpListener) {
    let Ok(socket) = socket.into_std() else { return };
    for _ in 0..BACKLOG {
        match socket.accept() {
            Ok((tcp, peer)) => {
                let tcp = tcp.set_nonblocking(true).and_then(|()| TcpStream::from_std(tcp));
                if let Ok(tcp) = tcp {
                    admit(shard, name, gate, tcp, peer);
                }
            }
            Err(error) if is_of_connection(&error) => {}
            Err(_) => return,
        }
    }
}

fn admit(shard: &Rc<Shard>, name: &Rc<str>, gate: &Arc<Gate>, tcp: TcpStream, peer: SocketAddr) {
    let plan = shard.plan();
    // Between two plans a listener may be gone already.
    let Some(settings) = plan.plan.listeners.get(&**name) else { return };
    let Some(mut admission) = gate.admit(settings) else { return turn_away(&tcp, settings) };
    if settings.proxy_protocol {
        if !trust::is_trusted(peer.ip(), &settings.trusted_proxies) {
            return gate.refuse(shard, name, peer.ip(), ProxyRefusal::Untrusted);
        }
    } else if !admission.count_for(peer.ip(), settings) {
        return turn_away(&tcp, settings);
    }
    let (shard, name, settings) = (Rc::clone(shard), Rc::clone(name), Arc::clone(settings));
    shard.connections.set(shard.connections.get() + 1);
    tokio::task::spawn_local(async move {
        let mut leave = Departure { admission, _counted: Counted { shard: Rc::clone(&shard) } };
        welcome::serve(shard, tcp, &name, settings, peer, &mut leave.admission).await;
    });
}

/// Tells a client beyond a bound why it is not served.
pub(crate) fn turn_away(tcp: &TcpStream, settings: &Listener) {
    if settings.tls.is_none() {
        // Whoever comes in such numbers need not be waited for.
        let _ = tcp.try_write(TURNED_AWAY);
    }
}

/// Whether it was the connection that failed, not our ability to accept.
fn is_of_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Counts a connection out, also when its task panicked.
struct Departure {
    /// Goes first: whoever hears that a thread is empty looks at the gates.
    admission: Admission,
    _counted: Counted,
}

/// A connection of this thread.
struct Counted {
    shard: Rc<Shard>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let left = self.shard.connections.get() - 1;
        self.shard.connections.set(left);
        if left == 0 && self.shard.is_ending() {
            self.shard.emptied.notify_waiters();
            // The control plane may be doing something else just now: the next time it waits, it hears.
            self.shard.emptied.notify_one();
        }
    }
}

impl Gate {
    /// Lets a connection in that is not counted for an address yet.
    fn admit(self: &Arc<Self>, settings: &Listener) -> Option<Admission> {
        let before = self.open.fetch_add(1, Relaxed).saturating_add(self.elsewhere.load(Relaxed));
        if before >= u64::from(settings.limits.connections) {
            self.open.fetch_sub(1, Relaxed);
            self.rejected_connections.fetch_add(1, Relaxed);
            return None;
        }
        Some(Admission { gate: Arc::clone(self), address: None })
    }

    /// Counts a connection that did not begin with a PROXY header, and reports it unless another
    /// one has been reported lately.
    pub(crate) fn refuse(&self, shard: &Shard, name: &str, peer: IpAddr, refusal: ProxyRefusal) {
        self.proxy_refused[refusal as usize].fetch_add(1, Relaxed);
        let now = clock::now().as_nanos();
        let before = self.proxy_reported.load(Relaxed);
        let is_due = before == 0 || now.saturating_sub(before) >= REPORT_EVERY.as_nanos() as u64;
        let reported = &self.proxy_reported;
        if is_due && reported.compare_exchange(before, now, Relaxed, Relaxed).is_ok() {
            let report = Report::ProxyRefused { listener: name.to_owned(), peer, refusal };
            // It is counted all the same.
            let _ = shard.reports.try_send(report);
        }
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    /// What is open here, with the clients that have most of it.
    pub(crate) fn connections(&self, listener: &str) -> Connections {
        // First: what is not counted here any more is not counted for its address either.
        let open = self.open.load(Acquire);
        let by_address = self.by_address().here.iter().map(|(who, count)| (*who, *count)).collect();
        Connections { listener: listener.to_owned(), open, by_address }
    }

    /// Counts what is open to other workers against the bounds, from now on.
    pub(crate) fn set_elsewhere(&self, open: u64, by_address: HashMap<IpAddr, u32>) {
        self.elsewhere.store(open, Relaxed);
        self.by_address().elsewhere = by_address;
    }

    fn by_address(&self) -> MutexGuard<'_, ByAddress> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How handshakes on it ended.
    pub(crate) fn handshakes(&self) -> &Handshakes {
        &self.handshakes
    }

    /// The counts so far.
    pub(crate) fn counts(&self) -> GateCounts {
        GateCounts {
            open: self.open.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            rejected_connections: self.rejected_connections.load(Relaxed),
            rejected_per_ip: self.rejected_per_ip.load(Relaxed),
            proxy_refused: std::array::from_fn(|at| self.proxy_refused[at].load(Relaxed)),
            http1: self.http1.load(Relaxed),
            http2: self.http2.load(Relaxed),
            floods: self
                .floods()
                .by_kind
                .iter()
                .map(|(kind, n)| ((*kind).to_owned(), *n))
                .collect(),
        }
    }

    /// Counts a connection that speaks HTTP/1.
    pub(crate) fn count_http1(&self) {
        self.http1.fetch_add(1, Relaxed);
    }

    /// Counts a connection that speaks HTTP/2.
    pub(crate) fn count_http2(&self) {
        self.http2.fetch_add(1, Relaxed);
    }

    /// Counts a connection that ends for abuse of HTTP/2. Says whether to tell of it.
    pub(crate) fn count_flood(&self, kind: &'static str, now: Instant) -> bool {
        let mut floods = self.floods();
        *floods.by_kind.entry(kind).or_default() += 1;
        let is_due = floods.told_at.is_none_or(|at| now - at >= FLOOD_EVENT_PAUSE);
        if is_due {
            floods.told_at = Some(now);
        }
        is_due
    }

    fn floods(&self) -> MutexGuard<'_, Floods> {
        self.floods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    /// Counts the connection for `address`; `false` if that has too many already.
    pub(crate) fn count_for(&mut self, address: IpAddr, settings: &Listener) -> bool {
        debug_assert!(self.address.is_none(), "a connection belongs to one address");
        let mut by_address = self.gate.by_address();
        let elsewhere = by_address.elsewhere.get(&address).copied().unwrap_or_default();
        let here = by_address.here.entry(address).or_default();
        if here.saturating_add(elsewhere) >= settings.limits.connections_per_ip {
            if *here == 0 {
                by_address.here.remove(&address);
            }
            self.gate.rejected_per_ip.fetch_add(1, Relaxed);
            return false;
        }
        *here += 1;
        self.gate.accepted.fetch_add(1, Relaxed);
        self.address = Some(address);
        true
    }

    /// What it was let in by.
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(address) = &self.address {
            let here = &mut self.gate.by_address().here;
            if let Some(count) = here.get_mut(address) {
                *count -= 1;
                if *count == 0 {
                    here.remove(address);
                }
            }
        }
        // Last: whoever sees that fewer are open finds them gone from their address too.
        self.gate.open.fetch_sub(1, Release);
    }
}
