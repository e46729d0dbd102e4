//! The same over HTTP/2: many requests at once on each connection, which ends when the other side
//! says so (GOAWAY), and another takes its place. No request is tried again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use evergate_e2e::PATIENCE;
use h2::client::SendRequest;
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// A load over HTTP/2, in the clear; dropped, it ends by itself soon, and uncounted.
#[derive(Debug)]
pub(crate) struct Http2 {
    shared: Arc<Shared>,
    thread: JoinHandle<BTreeMap<String, u64>>,
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    completed: AtomicU64,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Http2Report {
    /// Requests that got 200.
    pub(crate) completed: u64,
    /// Requests that did not, by what went wrong.
    pub(crate) failed: BTreeMap<String, u64>,
}

impl Http2 {
    /// Begins to send `GET path`, that many a second in all, over so many connections.
    pub(crate) fn start(
        address: SocketAddr,
        path: &str,
        connections: u32,
        per_second: u32,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let uri = format!("http://{address}{path}");
        let every = Duration::from_secs(1) * connections / per_second;
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("descriptors are left");
            let load = Rc::new(Load { address, uri, every, shared: theirs });
            LocalSet::new().block_on(&runtime, async {
                let connections: Vec<_> = (0..connections)
                    .map(|_| spawn_local(Rc::clone(&load).keep_one_open()))
                    .collect();
                let mut failed = BTreeMap::new();
                for connection in connections {
                    for (why, count) in connection.await.expect("it ends by itself") {
                        *failed.entry(why).or_default() += count;
                    }
                }
                failed
            })
        });
        Self { shared, thread }
    }

    /// Requests answered so far.
    pub(crate) fn completed(&self) -> u64 {
        self.shared.completed.load(Ordering::Relaxed)
    }

    /// Sends nothing new, waits for what is under way, and says what came of it all.
    pub(crate) fn finish(self) -> Http2Report {
        self.shared.over.store(true, Ordering::Relaxed);
        let failed = self.thread.join().expect("it ends by itself");
        Http2Report { completed: self.shared.completed.load(Ordering::Relaxed), failed }
    }
}

struct Load {
    address: SocketAddr,
    uri: String,
    every: Duration,
    shared: Arc<Shared>,
}

impl Load {
    async fn keep_one_open(self: Rc<Self>) -> BTreeMap<String, u64> {
        let mut failed = BTreeMap::new();
        let mut fail = |why: String| *failed.entry(why).or_default() += 1;
        let mut due = interval(self.every);
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut requests = Vec::new();
        let mut open = None;
        while !self.shared.over.load(Ordering::Relaxed) {
            due.tick().await;
            // A connection that the other side has said goodbye to is not used any more.
            let kept = match open.take() {
                Some(connection) => SendRequest::ready(connection).await.ok(),
                None => None,
            };
            let connection = match kept {
                Some(connection) => Ok(connection),
                None => connect(self.address).await,
            };
            match connection {
                Ok(mut connection) => {
                    let request = http::Request::get(&self.uri).body(()).expect("it is whole");
                    match connection.send_request(request, true) {
                        Ok((answer, _)) => requests.push(spawn_local(finish(answer))),
                        Err(error) => fail(format!("cannot send: {error}")),
                    }
                    open = Some(connection);
                }
                Err(why) => fail(why),
            }
            let (over, going): (Vec<_>, _) = requests.into_iter().partition(|r| r.is_finished());
            requests = going;
            for request in over {
                self.count(request.await.expect("it ends by itself"), &mut fail);
            }
        }
        for request in requests {
            self.count(request.await.expect("it ends by itself"), &mut fail);
        }
        failed
    }

    fn count(&self, outcome: Result<(), String>, fail: &mut impl FnMut(String)) {
        match outcome {
            Ok(()) => drop(self.shared.completed.fetch_add(1, Ordering::Relaxed)),
            Err(why) => fail(why),
        }
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<bytes::Bytes>, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
    let shaken = h2::client::handshake(stream).await;
    let (requests, connection) = shaken.map_err(|error| format!("handshake: {error}"))?;
    // Its requests say how it ends.
    spawn_local(async { drop(connection.await) });
    requests.ready().await.map_err(|error| format!("not ready: {error}"))
}

async fn finish(answer: h2::client::ResponseFuture) -> Result<(), String> {
    let whole = async {
        let answer = answer.await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        while let Some(data) = body.data().await {
            let length = data.map_err(|error| format!("short: {error}"))?.len();
            body.flow_control().release_capacity(length).map_err(|error| error.to_string())?;
        }
        if status == 200 { Ok(()) } else { Err(format!("status {status}")) }
    };
    timeout(PATIENCE, whole).await.unwrap_or_else(|_| Err("timeout".to_owned()))
}
