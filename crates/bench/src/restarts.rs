//! How soon a process that was killed is out of the pool, and replaced.
//!
//! Four processes of one app run under a supervisor. One is killed at a time, in turn; the next
//! kill waits until all four serve again, and a while, because supervisors bound how often they
//! start things. What is measured begins just before the `kill` system call:
//!
//! * *to main*: until the replacement has entered `main`, by its own word: it reads the clock first
//!   of all and sends what it read. The same program runs under each supervisor, so loading it
//!   costs the same.
//! * *out of the pool*: until an answer of the admin API no longer has the killed process among the
//!   servers that are up. That is an upper bound: one call takes a while, and the answer left the
//!   gateway before it was read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

pub mod births;
pub(crate) mod node;
mod supervisor;

use births::{Birth, Births};
use node::Node;
pub use supervisor::Supervisor;

use crate::background::Background;
use crate::load::{Load, Outcome, Pace};
use crate::process::Tree;

/// Processes of the app.
pub const INSTANCES: u16 = 4;
/// Time from one kill to the next: Evergate starts five processes a second at most.
const KILL_EVERY: Duration = Duration::from_millis(300);
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often something is looked at that no event tells.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Connections of the load.
const CONNECTIONS: u32 = 16;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Who looks after the processes.
    pub supervisor: Supervisor,
    /// How many are killed.
    pub kills: u32,
    /// Requests a second meanwhile, through the supervisor's gateway if it has one; 0 for none.
    pub per_second: u32,
    /// Path of `evergate-bench`, which is also the app.
    pub bench: &'a Path,
    /// Path of `evergate`.
    pub evergate: &'a Path,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Restarts {
    /// From each kill to the `main` of the next process.
    pub to_main: Series,
    /// From each kill until the process was seen to be out of the pool.
    pub out_of_pool: Series,
    /// How long a call of the admin API takes just before each kill.
    pub call: Series,
    /// Requests that got the right answer meanwhile.
    pub completed: u64,
    /// Requests that did not.
    pub failed: u64,
}

/// Durations, in the order they were taken.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Series(Vec<Duration>);

impl Series {
    /// The value that this share of all values does not exceed; none without values.
    pub fn quantile(&self, per_mille: usize) -> Option<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * per_mille).div_ceil(1000).max(1);
        sorted.get(rank - 1).copied()
    }
}

/// Processes under a supervisor, and where they say that they began.
struct Scene {
    // Dropped first, before the folder that it writes to.
    _tree: Tree,
    births: Births,
    node: Option<Node>,
    pids: BTreeMap<u16, u32>,
    _dir: tempfile::TempDir,
}

/// Kills processes as planned.
pub fn measure(plan: Plan<'_>) -> anyhow::Result<Restarts> {
    let mut scene = Scene::set(plan)?;
    let load = match &scene.node {
        Some(node) if plan.per_second > 0 => Some(Background::start(Load {
            pace: Pace::Open { per_second: plan.per_second },
            ..Load::get(node.web()?, "/1024", CONNECTIONS)
        })),
        Some(_) | None => None,
    };
    let mut restarts = Restarts::default();
    for kill in 0..plan.kills {
        let next_at = Instant::now() + KILL_EVERY;
        scene.kill((kill % u32::from(INSTANCES)) as u16, &mut restarts)?;
        scene.wait_until_all_serve()?;
        thread::sleep(next_at.saturating_duration_since(Instant::now()));
    }
    if let Some(load) = load {
        let Outcome { completed, failed, notes, .. } = load.finish()?;
        restarts.completed = completed;
        restarts.failed = failed.values().sum();
        notes.iter().for_each(|note| eprintln!("failed at {note}"));
    }
    Ok(restarts)
}

impl Scene {
    fn set(plan: Plan<'_>) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("evergate-bench-").tempdir()?;
        // Apps are not root where Evergate is.
        open_to_all(dir.path(), 0o755)?;
        let births = Births::listen(&dir.path().join("births.sock"))?;
        let argv = plan.supervisor.prepare(dir.path(), plan.bench, plan.evergate)?;
        let log = File::create(dir.path().join("log"))?;
        let tree = Tree::start(plan.bench, None, &argv, log)?;
        let node = match plan.supervisor {
            Supervisor::Evergate => Some(Node::at(&dir.path().join("run/admin.sock"))),
            Supervisor::Supervisord => None,
        };
        let mut scene = Self { _tree: tree, births, node, pids: BTreeMap::new(), _dir: dir };
        for _ in 0..INSTANCES {
            scene.next_birth().context("the processes do not start")?;
        }
        scene.wait_until_all_serve()?;
        Ok(scene)
    }

    fn next_birth(&mut self) -> io::Result<Birth> {
        let birth = self.births.next(PATIENCE)?;
        self.pids.insert(birth.number, birth.pid);
        Ok(birth)
    }

    fn kill(&mut self, number: u16, restarts: &mut Restarts) -> anyhow::Result<()> {
        let pid = self.pids[&number];
        let address = self.node.as_ref().map(|node| node.address_of(pid)).transpose()?;
        if let Some(node) = &self.node {
            let asked_at = births::now();
            node.servers_up()?;
            restarts.call.0.push(births::now().saturating_sub(asked_at));
        }
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process number")?;
        let killed_at = births::now();
        kill_process(raw, Signal::KILL)?;
        if let (Some(node), Some(address)) = (&self.node, address) {
            let until = killed_at + PATIENCE;
            while node.servers_up()?.contains(&address) {
                ensure!(births::now() < until, "{address} stays in the pool");
            }
            restarts.out_of_pool.0.push(births::now().saturating_sub(killed_at));
        }
        let birth = self.next_birth()?;
        ensure!(birth.number == number, "{number} was killed, and {} started", birth.number);
        restarts.to_main.0.push(birth.at.saturating_sub(killed_at));
        Ok(())
    }

    fn wait_until_all_serve(&self) -> anyhow::Result<()> {
        let Some(node) = &self.node else { return Ok(()) };
        let until = Instant::now() + PATIENCE;
        // At first there is no admin API yet.
        while !node.servers_up().is_ok_and(|up| up.len() == usize::from(INSTANCES)) {
            ensure!(Instant::now() < until, "not every process serves after {PATIENCE:?}");
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

fn open_to_all(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_taken() {
        let series = Series((1..=100).rev().map(Duration::from_millis).collect());
        let ms = |per_mille| series.quantile(per_mille).map(|value| value.as_millis());
        assert_eq!((ms(500), ms(990), ms(1000)), (Some(50), Some(99), Some(100)));
        assert_eq!(Series::default().quantile(500), None);
    }
}
