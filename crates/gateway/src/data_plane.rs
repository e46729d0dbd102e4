//! The data-plane threads, and how the control plane talks to them.
//!
//! Each thread runs one current-thread runtime and owns its sockets, connections and counters.
//! Commands go in by channel; counters come out as copies.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener as StdListener;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use evergate_sys::{clock, random};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinHandle, LocalSet};

use crate::access_log::{BUFFER_AGE_MAX, LogBuffer, LogWriter};
use crate::issuance::SharedIssuance;
use crate::listener::{self, Gate};
use crate::plan::Plan;
use crate::pool_local::{PoolCounters, RouteCounters};
use crate::shard::{Report, Shard};

/// Commands waiting for a thread; the control plane waits past that.
const COMMANDS_QUEUED_MAX: usize = 64;
/// How often idle upstream connections are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// How long a thread may take to hand its counters over before it counts as stalled.
const COUNTS_TIMEOUT: Duration = Duration::from_secs(2);

/// Every data-plane thread.
#[derive(Debug)]
pub(crate) struct DataPlane {
    threads: Vec<Thread>,
}

#[derive(Debug)]
struct Thread {
    commands: mpsc::Sender<ToShard>,
    join: Option<thread::JoinHandle<()>>,
}

/// What a thread is told.
#[derive(Debug)]
enum ToShard {
    Plan(Arc<Plan>),
    /// Something became of the endpoints with these uids.
    LookAt(Arc<[u64]>),
    /// Accept on this socket too; `key` names it for [`ToShard::Close`].
    Accept {
        key: SocketKey,
        socket: OwnedFd,
        gate: Arc<Gate>,
    },
    Close {
        key: SocketKey,
    },
    Count(oneshot::Sender<ShardCounts>),
    Drain(oneshot::Sender<()>),
}

/// A listener's name and one of its addresses.
pub(crate) type SocketKey = (String, String);

/// A copy of one thread's counters.
#[derive(Debug, Default)]
pub(crate) struct ShardCounts {
    /// By route and by the pool it forwards to.
    pub(crate) routes: Vec<(String, RouteCounters)>,
    pub(crate) pools: Vec<(String, PoolCounters)>,
    pub(crate) rejects: BTreeMap<&'static str, u64>,
    pub(crate) panics: u64,
}

impl DataPlane {
    /// Starts `threads` threads that serve `plan`, without a socket yet.
    pub(crate) fn start(
        threads: usize,
        plan: &Arc<Plan>,
        log: &LogWriter,
        issuance: &SharedIssuance,
        reports: &mpsc::Sender<Report>,
    ) -> io::Result<Self> {
        let start_one = |index: usize| {
            let (commands, inbox) = mpsc::channel(COMMANDS_QUEUED_MAX);
            let (plan, log, reports) = (Arc::clone(plan), log.clone(), reports.clone());
            let issuance = Arc::clone(issuance);
            // Here, so that a failure is noticed: nobody would accept from a dead thread's sockets.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let run = move || {
                let log = LogBuffer::new(log);
                let shard = Shard::new(plan, random::seed(), log, issuance, reports);
                LocalSet::new().block_on(&runtime, serve(Rc::new(shard), inbox));
            };
            let join = thread::Builder::new().name(format!("data-{index}")).spawn(run)?;
            Ok(Thread { commands, join: Some(join) })
        };
        Ok(Self { threads: (0..threads).map(start_one).collect::<io::Result<_>>()? })
    }

    /// How many threads there are.
    pub(crate) fn len(&self) -> usize {
        self.threads.len()
    }

    /// Puts `plan` in force in every thread.
    pub(crate) async fn set_plan(&self, plan: &Arc<Plan>) {
        for thread in &self.threads {
            // A thread that has ended serves nothing either way.
            let _ = thread.commands.send(ToShard::Plan(Arc::clone(plan))).await;
        }
    }

    /// Has every thread look at what became of the endpoints with these uids.
    pub(crate) async fn look_at(&self, endpoints: Vec<u64>) {
        let endpoints: Arc<[u64]> = endpoints.into();
        for thread in &self.threads {
            let _ = thread.commands.send(ToShard::LookAt(Arc::clone(&endpoints))).await;
        }
    }

    /// Spreads `sockets` over the threads; every one of them is accepted from.
    pub(crate) async fn accept(&self, key: &SocketKey, sockets: Vec<OwnedFd>, gate: &Arc<Gate>) {
        for (index, socket) in sockets.into_iter().enumerate() {
            let thread = &self.threads[index % self.threads.len()];
            let gate = Arc::clone(gate);
            let _ = thread.commands.send(ToShard::Accept { key: key.clone(), socket, gate }).await;
        }
    }

    /// Stops accepting on the sockets of `key`.
    pub(crate) async fn close(&self, key: &SocketKey) {
        for thread in &self.threads {
            let _ = thread.commands.send(ToShard::Close { key: key.clone() }).await;
        }
    }

    /// A copy of every thread's counters; a thread that does not answer is left out.
    pub(crate) async fn counts(&self) -> Vec<ShardCounts> {
        let mut waiting = Vec::with_capacity(self.threads.len());
        for thread in &self.threads {
            let (reply, counts) = oneshot::channel();
            let _ = thread.commands.send(ToShard::Count(reply)).await;
            waiting.push(counts);
        }
        let mut all = Vec::with_capacity(waiting.len());
        for counts in waiting {
            if let Ok(Ok(counts)) = tokio::time::timeout(COUNTS_TIMEOUT, counts).await {
                all.push(counts);
            }
        }
        all
    }

    /// Accepts who is waiting and no more, lets requests in flight finish, and ends the threads.
    pub(crate) async fn drain(&mut self) {
        let mut waiting = Vec::with_capacity(self.threads.len());
        for thread in &self.threads {
            let (reply, done) = oneshot::channel();
            let _ = thread.commands.send(ToShard::Drain(reply)).await;
            waiting.push(done);
        }
        for done in waiting {
            let _ = done.await;
        }
        for thread in &mut self.threads {
            if let Some(join) = thread.join.take() {
                let _ = join.join();
            }
        }
    }
}

/// The life of one thread.
async fn serve(shard: Rc<Shard>, mut inbox: mpsc::Receiver<ToShard>) {
    let timers = Rc::clone(&shard.timers);
    tokio::task::spawn_local(async move { timers.run().await });
    tokio::task::spawn_local(hand_log_over(Rc::clone(&shard)));
    tokio::task::spawn_local(sweep(Rc::clone(&shard)));
    let mut accepting: Vec<Accepting> = Vec::new();
    while let Some(command) = inbox.recv().await {
        match command {
            ToShard::Plan(plan) => shard.set_plan(plan),
            ToShard::LookAt(endpoints) => shard.look_at(&endpoints),
            ToShard::Accept { key, socket, gate } => {
                accepting.extend(accept(&shard, key, socket, gate));
            }
            ToShard::Close { key } => {
                for closing in accepting.extract_if(.., |open| open.key == key) {
                    closing.close().await;
                }
            }
            ToShard::Count(reply) => {
                // Whoever asked may have given up.
                let _ = reply.send(counts(&shard));
            }
            ToShard::Drain(reply) => {
                for open in accepting.drain(..) {
                    open.close().await;
                }
                drain(&shard).await;
                let _ = reply.send(());
                return;
            }
        }
    }
}

/// A socket that is accepted from.
#[derive(Debug)]
struct Accepting {
    key: SocketKey,
    closing: Rc<Notify>,
    task: JoinHandle<()>,
}

impl Accepting {
    /// Accepts who is waiting already, and no more.
    async fn close(self) {
        self.closing.notify_one();
        // It only fails if it panicked, and then it accepts no more either.
        let _ = self.task.await;
    }
}

fn accept(
    shard: &Rc<Shard>,
    key: SocketKey,
    socket: OwnedFd,
    gate: Arc<Gate>,
) -> Option<Accepting> {
    let listening = StdListener::from(socket);
    let socket = listening.set_nonblocking(true).and_then(|()| TcpListener::from_std(listening));
    match socket {
        Ok(socket) => {
            let name = Rc::from(key.0.as_str());
            let closing = Rc::new(Notify::new());
            let run = listener::run(Rc::clone(shard), name, gate, socket, Rc::clone(&closing));
            Some(Accepting { key, closing, task: tokio::task::spawn_local(run) })
        }
        Err(error) => {
            let report = Report::AcceptFailed { listener: key.0, error: error.to_string() };
            let _ = shard.reports.try_send(report);
            None
        }
    }
}

/// Waits until the last connection has ended.
async fn drain(shard: &Shard) {
    shard.drain();
    while shard.connections.get() > 0 {
        let woken = shard.drained.notified();
        if shard.connections.get() > 0 {
            woken.await;
        }
    }
}

async fn hand_log_over(shard: Rc<Shard>) {
    loop {
        shard.log.started.notified().await;
        tokio::time::sleep(BUFFER_AGE_MAX).await;
        shard.log.hand_over();
    }
}

async fn sweep(shard: Rc<Shard>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        shard.sweep(clock::now());
    }
}

fn counts(shard: &Shard) -> ShardCounts {
    let plan = shard.plan();
    let routes = plan.routes.iter().chain([&plan.unmatched]);
    ShardCounts {
        routes: routes.map(|route| (route.name.clone(), route.counters.borrow().clone())).collect(),
        pools: plan
            .pools
            .iter()
            .map(|pool| (pool.pool.name.clone(), pool.counters.clone()))
            .collect(),
        rejects: shard.counters.rejects.borrow().clone(),
        panics: shard.counters.panics.get(),
    }
}
