//! What replacing a running proxy's configuration, its worker or all of it costs its clients.
//!
//! Each proxy serves the same load: requests on a schedule that waits for nobody, half of them over
//! kept connections, half over fresh ones, some by clients that think for two seconds between their
//! requests, and WebSockets that talk. First it is left alone for a while, then it is changed again
//! and again. No request is tried again, so whatever fails is counted. The load ends before the
//! proxy does. Latency during the changes is told apart from that between them, so that both are of
//! the same minutes of a machine that may have other things to do.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;

mod origins;
mod subject;
mod web_sockets;

use origins::Origins;
use subject::Scene;
pub use subject::Subject;
use web_sockets::WebSockets;

use crate::background::Background;
use crate::histogram::Histogram;
use crate::load::{Failure, Load, Outcome, Pace, Reuse};
use crate::process::{Memory, Tree};

/// Time after a change before the next.
const PAUSE: Duration = Duration::from_millis(300);
/// The same after a new process: the one before it needs a while to end, and at most two may be
/// about that.
const PAUSE_OF_PROCESS: Duration = Duration::from_secs(3);
/// Time after the last change before memory is looked at, under the load that was there before the
/// first: what was needed for a change alone may be given back by then.
const REST: Duration = Duration::from_secs(6);
/// Part of the time after a change that counts as being changed: one in so many.
const SETTLING_PART: u32 = 3;
/// How long a process that is replaced may finish what it began, for every proxy.
pub const DRAIN_SECONDS: u64 = 5;
/// How often a process that is being replaced is asked how far that is: each answer takes time from
/// what is measured.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often something is looked at that no event tells.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Connections of each part of the load.
const CONNECTIONS: u32 = 64;
/// Clients that think, and how many requests a second they send together.
const THINKERS: (u32, u32) = (100, 50);

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// What is changed.
    pub subject: Subject,
    /// How often.
    pub changes: u32,
    /// Requests a second over HTTP/1.1.
    pub per_second: u32,
    /// WebSockets.
    pub web_sockets: u32,
    /// How long the load runs before the first change.
    pub steady: Duration,
    /// Path of `evergate-bench`.
    pub bench: &'a Path,
    /// Path of `evergate`.
    pub evergate: &'a Path,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Changes {
    /// Requests that got the right answer while it was changed.
    pub completed: u64,
    /// Requests that did not, by what went wrong.
    pub failed: BTreeMap<String, u64>,
    /// Latency between two changes, in the same run: p50, p99, max.
    pub steady: [Duration; 3],
    /// Latency from the beginning of each change until a while after it, likewise.
    pub changing: [Duration; 3],
    /// WebSockets that ended without a Close.
    pub cut: u64,
    /// WebSockets that the other side closed.
    pub closed: u64,
    /// Memory before, when most was resident, and after: before and after while it is left alone
    /// under the same load.
    pub memory: [Memory; 3],
    /// Processes before and at most.
    pub processes: [usize; 2],
    /// How long one change took, in the middle.
    pub change: Duration,
}

/// Measures as planned.
pub fn measure(plan: Plan<'_>) -> anyhow::Result<Changes> {
    let dir = tempfile::Builder::new().prefix("evergate-bench-").tempdir()?;
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
    let origins = Origins::start()?;
    let listen = free_address()?;
    let scene = Scene { dir: dir.path(), listen, origins: &origins, evergate: plan.evergate };
    let argv = plan.subject.prepare(&scene)?;
    let tree = Tree::start(plan.bench, None, &argv, File::create(dir.path().join("log"))?)?;
    let measured = measure_running(plan, &scene, &tree);
    measured.with_context(|| fs::read_to_string(dir.path().join("log")).unwrap_or_default())
}

fn measure_running(plan: Plan<'_>, scene: &Scene<'_>, tree: &Tree) -> anyhow::Result<Changes> {
    wait_until("it listens", || Ok(TcpStream::connect(scene.listen).is_ok()))?;
    thread::sleep(PAUSE);
    let load = Mixed::start(scene.listen, plan.per_second);
    let web_sockets = WebSockets::open(scene.listen, plan.web_sockets)?;
    thread::sleep(plan.steady);
    let before = (tree.memory()?, tree.len()?);
    let (mut peak, mut took) = (before, Vec::new());
    let (mut steady, mut changing) = (Whole::default(), Whole::default());
    let pause = if plan.subject.is_process() { PAUSE_OF_PROCESS } else { PAUSE };
    for number in 1..=plan.changes {
        plan.subject.make_ready(scene, number)?;
        thread::sleep(PAUSE);
        steady.add(load.take()?);
        let began = Instant::now();
        plan.subject.change(scene, tree, number)?;
        took.push(began.elapsed());
        thread::sleep(pause / SETTLING_PART);
        changing.add(load.take()?);
        // To look takes time from whoever is looked at.
        peak = (larger(peak.0, tree.memory()?), peak.1.max(tree.len()?));
        thread::sleep(pause - pause / SETTLING_PART);
    }
    wait_until("what was replaced has ended", || Ok(tree.len()? <= before.1))?;
    thread::sleep(REST);
    let after = tree.memory()?;
    steady.add(load.finish()?);
    let (cut, closed) = web_sockets.finish();
    took.sort_unstable();
    let mut failed = steady.failed;
    changing.failed.iter().for_each(|(what, count)| {
        *failed.entry(what.clone()).or_default() += count;
    });
    Ok(Changes {
        completed: steady.completed + changing.completed,
        failed,
        steady: quantiles(&steady.latency),
        changing: quantiles(&changing.latency),
        cut,
        closed,
        memory: [before.0, peak.0, after],
        processes: [before.1, peak.1],
        change: took.get(took.len() / 2).copied().unwrap_or_default(),
    })
}

/// The load of HTTP/1.1.
struct Mixed([Background; 3]);

/// What came of all its parts.
#[derive(Default)]
struct Whole {
    completed: u64,
    failed: BTreeMap<String, u64>,
    latency: Histogram,
}

impl Whole {
    fn add(&mut self, outcomes: impl IntoIterator<Item = Outcome>) {
        for Outcome { completed, latency, failed, notes, .. } in outcomes {
            self.completed += completed;
            self.latency.add(&latency);
            for (failure, count) in failed {
                *self.failed.entry(Failure::to_string(&failure)).or_default() += count;
            }
            notes.iter().for_each(|note| eprintln!("failed at {note}"));
        }
    }
}

impl Mixed {
    fn start(address: SocketAddr, per_second: u32) -> Self {
        let part = |connections, reuse, per_second| {
            let pace = Pace::Open { per_second };
            Background::start(Load { reuse, pace, ..Load::get(address, "/1024", connections) })
        };
        Self([
            part(CONNECTIONS, Reuse::KeepAlive, per_second / 2),
            part(CONNECTIONS, Reuse::Close, per_second / 2),
            part(THINKERS.0, Reuse::KeepAlive, THINKERS.1),
        ])
    }

    /// What came of each part since this was last asked.
    fn take(&self) -> anyhow::Result<Vec<Outcome>> {
        self.0.iter().map(|part| part.take().context("the load ended by itself")).collect()
    }

    fn finish(self) -> anyhow::Result<Vec<Outcome>> {
        self.0.into_iter().map(|part| Ok(part.finish()?)).collect()
    }
}

fn quantiles(latency: &Histogram) -> [Duration; 3] {
    [latency.quantile(500), latency.quantile(990), latency.max()]
}

fn larger(one: Memory, other: Memory) -> Memory {
    if other.resident > one.resident { other } else { one }
}

/// An address that nobody listens on.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn wait_until(what: &str, ready: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    look_until(what, LOOK_EVERY, ready)
}

fn look_until(
    what: &str,
    every: Duration,
    mut ready: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    while !ready()? {
        ensure!(Instant::now() < until, "waited for {PATIENCE:?} until {what}");
        thread::sleep(every);
    }
    Ok(())
}
