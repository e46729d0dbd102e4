//! The data-plane threads, and how the control plane talks to them.
//!
//! Each thread runs one current-thread runtime and owns its sockets, connections and counters.
//! Commands go in by channel; counters come out as copies.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use evergate_core::time::Instant;
use evergate_sys::{clock, random};
use tokio::net::TcpListener;
use tokio::sync::futures::Notified;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::MissedTickBehavior;

use crate::access_log::{BUFFER_AGE_MAX, LogBuffer, LogWriter};
use crate::farewell::Farewell;
use crate::issuance::SharedIssuance;
use crate::listener::{self, Gate};
use crate::plan::Plan;
use crate::pool_local::{PoolCounters, RouteCounters};
use crate::proof::{self, Proof};
use crate::shard::{Report, Shard};

/// Commands waiting for a thread; the control plane waits past that.
const COMMANDS_QUEUED_MAX: usize = 64;
/// How often idle upstream connections are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// While all ends, how often those are woken who wait for long.
const WIND_UP_EVERY: Duration = Duration::from_secs(1);
/// How long a thread may take to hand its counters over before it counts as stalled.
const COUNTS_TIMEOUT: Duration = Duration::from_secs(2);

/// Every data-plane thread.
#[derive(Debug)]
pub(crate) struct DataPlane {
    threads: Vec<Thread>,
    /// Threads that have not said yet that they accept no more.
    retiring: Vec<oneshot::Receiver<()>>,
    emptied: Arc<Notify>,
}

#[derive(Debug)]
struct Thread {
    commands: mpsc::Sender<ToShard>,
    /// What it had counted when it was asked last.
    counted: Mutex<ShardCounts>,
    join: Option<thread::JoinHandle<()>>,
}

/// What a thread is told.
#[derive(Debug)]
pub(crate) enum ToShard {
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
    /// Responses so far, and those of them with a status from 500.
    CountServed(oneshot::Sender<(u64, u64)>),
    Prove(Proof),
    /// Have what is connected to these addresses end by this, and nothing else on that account.
    Retreat {
        addresses: Arc<[IpAddr]>,
        farewell: Farewell,
    },
    /// Accept no more, not even who is waiting; answered once that is so.
    Retire(oneshot::Sender<()>),
    Resume,
    /// Do nothing until told to go on.
    #[cfg(test)]
    Stall(std::sync::mpsc::Receiver<()>),
    /// Accept who is waiting and no more, and end; answered when nothing is open any more.
    Stop {
        until: Instant,
        reply: oneshot::Sender<()>,
    },
}

/// A listener's name and one of its addresses.
pub(crate) type SocketKey = (String, String);

/// A copy of one thread's counters.
#[derive(Clone, Debug, Default)]
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
        let emptied = Arc::new(Notify::new());
        let start_one = |index: usize| {
            let (commands, inbox) = mpsc::channel(COMMANDS_QUEUED_MAX);
            let emptied = Arc::clone(&emptied);
            let (plan, log, reports) = (Arc::clone(plan), log.clone(), reports.clone());
            let issuance = Arc::clone(issuance);
            // Here, so that a failure is noticed: nobody would accept from a dead thread's sockets.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let run = move || {
                let log = LogBuffer::new(log);
                let shard = Shard::new(plan, random::seed(), log, issuance, reports, emptied);
                LocalSet::new().block_on(&runtime, serve(Rc::new(shard), inbox));
            };
            let join = thread::Builder::new().name(format!("data-{index}")).spawn(run)?;
            Ok(Thread { commands, counted: Mutex::default(), join: Some(join) })
        };
        let threads = (0..threads).map(start_one).collect::<io::Result<_>>()?;
        Ok(Self { threads, retiring: Vec::new(), emptied })
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

    /// A copy of every thread's counters; of a thread that does not answer, what it said last, for
    /// what was counted must never seem to be less.
    pub(crate) async fn counts(&self) -> Vec<ShardCounts> {
        let mut waiting = Vec::with_capacity(self.threads.len());
        for thread in &self.threads {
            let (reply, counts) = oneshot::channel();
            let _ = thread.commands.send(ToShard::Count(reply)).await;
            waiting.push(counts);
        }
        let mut all = Vec::with_capacity(waiting.len());
        for (thread, counts) in self.threads.iter().zip(waiting) {
            let counts = tokio::time::timeout(COUNTS_TIMEOUT, counts).await;
            let mut counted = thread.counted.lock().unwrap_or_else(PoisonError::into_inner);
            if let Ok(Ok(counts)) = counts {
                *counted = counts;
            }
            all.push(counted.clone());
        }
        all
    }

    /// Responses of every thread, and those of them with a status from 500.
    pub(crate) async fn served(&self) -> (u64, u64) {
        let mut waiting = Vec::with_capacity(self.threads.len());
        for thread in &self.threads {
            let (reply, served) = oneshot::channel();
            let _ = thread.commands.send(ToShard::CountServed(reply)).await;
            waiting.push(served);
        }
        let mut sum = (0, 0);
        for served in waiting {
            if let Ok(Ok(served)) = tokio::time::timeout(COUNTS_TIMEOUT, served).await {
                sum = (sum.0 + served.0, sum.1 + served.1);
            }
        }
        sum
    }

    /// Has one request on `stream` answered with `token`, by way of every thread. Returns at once;
    /// a thread that does not serve is seen by no answer coming.
    pub(crate) fn prove(&self, stream: OwnedFd, token: &str) {
        let mut rest: Vec<_> = self.threads.iter().map(|one| one.commands.clone()).collect();
        let Some(first) = rest.pop() else { return };
        let _ = first.try_send(ToShard::Prove(Proof { stream, token: token.to_owned(), rest }));
    }

    /// Keeps one thread from doing anything until what is given back is dropped.
    #[cfg(test)]
    pub(crate) async fn stall(&self, thread: usize) -> std::sync::mpsc::Sender<()> {
        let (go_on, until) = std::sync::mpsc::channel();
        let _ = self.threads[thread].commands.send(ToShard::Stall(until)).await;
        go_on
    }

    /// Begins to end what is connected to these addresses, and goes on accepting.
    pub(crate) async fn retreat(&self, addresses: Vec<IpAddr>, farewell: Farewell) {
        let addresses: Arc<[IpAddr]> = addresses.into();
        for thread in &self.threads {
            let addresses = Arc::clone(&addresses);
            let _ = thread.commands.send(ToShard::Retreat { addresses, farewell }).await;
        }
    }

    /// Accepts no more, not even who is waiting, and begins to end what is open.
    pub(crate) async fn retire(&mut self) {
        for thread in &self.threads {
            let (reply, done) = oneshot::channel();
            let _ = thread.commands.send(ToShard::Retire(reply)).await;
            self.retiring.push(done);
        }
    }

    /// Takes [`DataPlane::retire`] back, but for the sockets.
    pub(crate) async fn resume(&mut self) {
        self.retiring.clear();
        for thread in &self.threads {
            let _ = thread.commands.send(ToShard::Resume).await;
        }
    }

    /// Waits until every thread has heard that it retires. Cancel safe.
    pub(crate) async fn retired(&mut self) {
        while let Some(last) = self.retiring.last_mut() {
            // A thread that has ended accepts nothing either.
            let _ = last.await;
            self.retiring.pop();
        }
    }

    /// Whether every thread has heard that it retires.
    pub(crate) fn has_retired(&mut self) -> bool {
        self.retiring.retain_mut(|done| done.try_recv() == Err(TryRecvError::Empty));
        self.retiring.is_empty()
    }

    /// Waits until less may be open than before, while all ends. Cancel safe.
    pub(crate) async fn emptier(&mut self) {
        if self.retiring.is_empty() {
            self.emptied.notified().await;
        } else {
            self.retired().await;
        }
    }

    /// Told whenever the last connection of a thread has ended, while all ends.
    pub(crate) fn emptied(&self) -> Notified<'_> {
        self.emptied.notified()
    }

    /// Accepts who is waiting and no more, lets requests in flight finish until `until`, and ends
    /// the threads.
    pub(crate) async fn stop(&mut self, until: Instant) {
        let mut waiting = Vec::with_capacity(self.threads.len());
        for thread in &self.threads {
            let (reply, done) = oneshot::channel();
            let _ = thread.commands.send(ToShard::Stop { until, reply }).await;
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
    let mut stopping: Option<oneshot::Sender<()>> = None;
    let mut wind_up = tokio::time::interval(WIND_UP_EVERY);
    wind_up.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let command = tokio::select! {
            command = inbox.recv() => command,
            () = emptied(&shard), if stopping.is_some() => None,
            _ = wind_up.tick(), if shard.winds_up() => {
                shard.wind_up(clock::now(), WIND_UP_EVERY);
                continue;
            }
        };
        let Some(command) = command else { break };
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
            ToShard::CountServed(reply) => {
                let _ = reply.send(shard.served());
            }
            ToShard::Prove(proof) => {
                tokio::task::spawn_local(proof::give(Rc::clone(&shard), proof));
            }
            ToShard::Retire(reply) => {
                // Whoever waits is for the process that accepts beside this one.
                accepting.drain(..).for_each(|open| open.task.abort());
                shard.take_leave(Some(Farewell::retiring(clock::now())));
                let _ = reply.send(());
            }
            ToShard::Retreat { addresses, farewell } => shard.retreat(addresses, farewell),
            ToShard::Resume => shard.take_leave(None),
            #[cfg(test)]
            ToShard::Stall(until) => {
                let _ = until.recv();
            }
            ToShard::Stop { until, reply } => {
                for open in accepting.drain(..) {
                    open.close().await;
                }
                shard.take_leave(Some(Farewell::stopping(clock::now(), until)));
                stopping = Some(reply);
            }
        }
    }
    if let Some(reply) = stopping {
        let _ = reply.send(());
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
async fn emptied(shard: &Shard) {
    loop {
        let woken = shard.emptied.notified();
        if shard.connections.get() == 0 {
            return;
        }
        woken.await;
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
            .map(|pool| (pool.pool.name.clone(), PoolCounters::clone(&pool.counters)))
            .collect(),
        rejects: shard.counters.rejects.borrow().clone(),
        panics: shard.counters.panics.get(),
    }
}
