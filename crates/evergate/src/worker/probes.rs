//! Probing runs of apps: whether one that starts is ready, and whether one that serves hangs.
//!
//! One task probes a run for as long as it is in a state that is probed. What its results lead to
//! is for the keeper to decide; here they are only put in words that help.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evergate_config::{AliveBy, App, Config, ReadyBy};
use evergate_control::link::{Instance, InstanceState, Place, Probe, Run, ToKeeper};
use evergate_core::health::{Pace, next_check_delay};
use evergate_core::rng::Rng;
use evergate_core::time::Instant;
use evergate_gateway::{ProbeFailure, probe_run};
use evergate_sys::{clock, listening, random};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// Longest time for a probe of a run that starts.
const READY_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a run is probed right after its start, so that a fast one serves at once.
const EAGER_EVERY: Duration = Duration::from_millis(10);
/// How long it is probed that often.
const EAGER_FOR: Duration = Duration::from_secs(1);
/// Probes under way at once; others wait for their turn.
const PROBES_AT_ONCE_MAX: usize = 64;
/// Results that wait to be told to the keeper; probing waits past that.
const RESULTS_QUEUED_MAX: usize = 256;
/// How long a run may listen nowhere before we look for where it listens instead.
const SEARCH_AFTER: Duration = Duration::from_secs(3);
/// How often we look again.
const SEARCH_EVERY: Duration = Duration::from_secs(10);

/// The runs that are probed, and what became of it.
#[derive(Debug)]
pub(super) struct Probes {
    watched: BTreeMap<Run, Watched>,
    /// Counts the tasks, so that nothing is believed of one that was given up.
    started: u64,
    rng: Rng,
    turns: Arc<Semaphore>,
    sender: mpsc::Sender<Finding>,
    findings: mpsc::Receiver<Finding>,
}

/// A run that is probed. Dropped, that ends.
#[derive(Debug)]
struct Watched {
    aim: Aim,
    number: u64,
    task: AbortHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is probed, and how. A run of which this changes is probed afresh.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Aim {
    probe: Probe,
    place: Place,
    /// To GET; without one it is enough that it accepts connections.
    path: Option<String>,
    every: Duration,
    timeout: Duration,
    pid: Option<u32>,
}

/// What a probe found.
#[derive(Debug)]
struct Finding {
    run: Run,
    number: u64,
    probe: Probe,
    failure: Option<String>,
}

impl Probes {
    /// Nothing is probed yet.
    pub(super) fn new() -> Self {
        let (sender, findings) = mpsc::channel(RESULTS_QUEUED_MAX);
        Self {
            watched: BTreeMap::new(),
            started: 0,
            rng: Rng::seeded(random::seed()),
            turns: Arc::new(Semaphore::new(PROBES_AT_ONCE_MAX)),
            sender,
            findings,
        }
    }

    /// Probes what of `instances` is to be probed by `config`, and nothing else.
    pub(super) fn follow(&mut self, instances: &[Instance], config: &Config) {
        let mut before = std::mem::take(&mut self.watched);
        for instance in instances {
            let app = config.apps.get(&instance.run.app);
            let Some(aim) = app.and_then(|app| aim(instance, app)) else { continue };
            let watched = match before.remove(&instance.run) {
                Some(same) if same.aim == aim => same,
                Some(_) | None => self.watch(&instance.run, aim),
            };
            self.watched.insert(instance.run.clone(), watched);
        }
    }

    /// The next thing to tell the keeper; waits for it.
    pub(super) async fn next(&mut self) -> ToKeeper {
        loop {
            // Never none: we have a sender ourselves.
            let Some(finding) = self.findings.recv().await else { std::future::pending().await };
            let Finding { run, number, probe, failure } = finding;
            if self.watched.get(&run).is_some_and(|watched| watched.number == number) {
                return ToKeeper::Probed { run, probe, failure };
            }
        }
    }

    fn watch(&mut self, run: &Run, aim: Aim) -> Watched {
        self.started += 1;
        let prober = Prober {
            run: run.clone(),
            number: self.started,
            aim: aim.clone(),
            rng: Rng::seeded(self.rng.next_u64()),
            turns: Arc::clone(&self.turns),
            findings: self.sender.clone(),
        };
        let task = tokio::spawn(prober.probe()).abort_handle();
        Watched { aim, number: self.started, task }
    }
}

/// What is to be probed of `instance`, if anything is.
fn aim(instance: &Instance, app: &App) -> Option<Aim> {
    let (probe, path, every, timeout) = match instance.state {
        InstanceState::Starting => {
            let path = match &app.ready.by {
                ReadyBy::Http(path) => Some(path.clone()),
                ReadyBy::Tcp => None,
                ReadyBy::Notify | ReadyBy::Nothing => return None,
            };
            (Probe::Ready, path, app.ready.every, READY_TIMEOUT)
        }
        InstanceState::Ready | InstanceState::Unhealthy => {
            let alive = app.alive.as_ref()?;
            let path = match &alive.by {
                AliveBy::Http(path) => Some(path.clone()),
                AliveBy::Tcp => None,
            };
            (Probe::Alive, path, alive.every, alive.timeout)
        }
        InstanceState::Waiting
        | InstanceState::Draining { .. }
        | InstanceState::Stopping
        | InstanceState::Stuck
        | InstanceState::Backoff { .. }
        | InstanceState::Fatal { .. }
        | InstanceState::Stopped => return None,
    };
    let place = instance.place.clone()?;
    Some(Aim { probe, place, path, every, timeout, pid: instance.pid })
}

/// From the end of a probe of a run that starts to the next one.
fn pause(watched_for: Duration, every: Duration) -> Duration {
    if watched_for < EAGER_FOR { every.min(EAGER_EVERY) } else { every }
}

/// The keeper counts what passes in a row, so it needs to hear of each that passes; of those that
/// fail only what is new.
fn is_news(before: Option<&Option<String>>, failure: &Option<String>) -> bool {
    failure.is_none() || before != Some(failure)
}

/// Probes one run.
struct Prober {
    run: Run,
    number: u64,
    aim: Aim,
    rng: Rng,
    turns: Arc<Semaphore>,
    findings: mpsc::Sender<Finding>,
}

impl Prober {
    /// Until it is aborted.
    async fn probe(self) {
        match self.aim.probe {
            Probe::Ready => self.probe_start().await,
            Probe::Alive => self.probe_life().await,
        }
    }

    async fn probe_start(self) {
        let began = clock::now();
        let mut told = None;
        let mut search = Search::new(began);
        loop {
            let failure = match self.look().await {
                Ok(()) => None,
                Err(ProbeFailure::Refused) => {
                    search.look(clock::now(), self.aim.pid).await;
                    Some(nobody(&self.aim.place, search.found.as_deref()))
                }
                Err(failure) => {
                    search.since = None;
                    Some(words(&self.aim, &failure))
                }
            };
            if is_news(told.as_ref(), &failure) {
                self.tell(failure.clone()).await;
                told = Some(failure);
            }
            sleep(pause(clock::now() - began, self.aim.every)).await;
        }
    }

    async fn probe_life(mut self) {
        loop {
            sleep(next_check_delay(self.aim.every, Pace::Steady, &mut self.rng)).await;
            let failure = match self.look().await {
                Ok(()) => None,
                Err(failure) => Some(words(&self.aim, &failure)),
            };
            self.tell(failure).await;
        }
    }

    async fn look(&self) -> Result<(), ProbeFailure> {
        let _turn = self.turns.acquire().await.expect("nobody closes it");
        probe_run(&self.aim.place, self.aim.path.as_deref(), self.aim.timeout).await
    }

    async fn tell(&self, failure: Option<String>) {
        let (run, probe) = (self.run.clone(), self.aim.probe);
        // Nobody hears it when the worker ends.
        let _ = self.findings.send(Finding { run, number: self.number, probe, failure }).await;
    }
}

/// Finding out where a run listens that does not listen where it should.
struct Search {
    /// Since when it does not listen there.
    since: Option<Instant>,
    looked: Option<Instant>,
    /// Nothing if we may not know.
    found: Option<Vec<SocketAddr>>,
}

impl Search {
    fn new(now: Instant) -> Self {
        Self { since: Some(now), looked: None, found: None }
    }

    /// Looks, if it is time.
    async fn look(&mut self, now: Instant, pid: Option<u32>) {
        let since = *self.since.get_or_insert(now);
        let is_due = self.looked.is_none_or(|at| now - at >= SEARCH_EVERY);
        let Some(pid) = pid.filter(|_| is_due && now - since >= SEARCH_AFTER) else { return };
        self.looked = Some(now);
        // The kernel's tables may be long.
        let looking = tokio::task::spawn_blocking(move || listening::addresses(pid).ok());
        self.found = looking.await.ok().flatten();
    }
}

/// What is said when nobody listens; `found` is where the run listens instead, if that is known.
fn nobody(place: &Place, found: Option<&[SocketAddr]>) -> String {
    let (nothing, given) = match place {
        Place::Port(port) => (format!("nothing listens on 127.0.0.1:{port} (PORT)"), Some(*port)),
        Place::Unix(path) => (format!("nothing listens on {path} (SOCKET)"), None),
    };
    let Some(found) = found.filter(|found| !found.is_empty()) else { return nothing };
    let listed: Vec<_> = found.iter().map(SocketAddr::to_string).collect();
    let question = match given {
        Some(port) if found.iter().any(|at| at.port() == port) => {
            "does it listen on HOST, 127.0.0.1?"
        }
        Some(_) => "does it read PORT?",
        None => "does it read SOCKET?",
    };
    format!("{nothing}; the process listens on {}: {question}", listed.join(" and "))
}

/// What is said of a probe that failed in another way.
fn words(aim: &Aim, failure: &ProbeFailure) -> String {
    let asked = aim.path.as_ref().map(|path| format!("GET {path}"));
    match (failure, asked) {
        (ProbeFailure::Refused, _) => nobody(&aim.place, None),
        (ProbeFailure::Status(404), Some(asked)) => {
            format!("{asked} was answered with status 404: is that the right path?")
        }
        (ProbeFailure::Status(status), Some(asked)) => {
            format!("{asked} was answered with status {status}")
        }
        (ProbeFailure::Late(_) | ProbeFailure::Broken(_), Some(asked)) => {
            format!("{asked}: {failure}")
        }
        (ProbeFailure::Status(_) | ProbeFailure::Late(_) | ProbeFailure::Broken(_), None) => {
            failure.to_string()
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
