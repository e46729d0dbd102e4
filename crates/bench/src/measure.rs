//! One contender under one case: started, warmed up, measured, ended.

use std::fs::{self, File, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use crate::case::{BODY_BYTES, Case};
use crate::contender::{AccessLog, Contender, Setup};
use crate::generator::Generator;
use crate::load::{Load, Outcome, Request};
use crate::origin::Origin;
use crate::process::{Memory, Tree};

/// A contender that does not answer within this time has failed.
const START_MAX: Duration = Duration::from_secs(10);
/// Rest between the first answer and the weighing, in which a contender finishes its start.
const SETTLE: Duration = Duration::from_millis(300);

/// How all measurements of one run are taken.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    /// `evergate-bench` itself.
    pub wrapper: &'a Path,
    /// The binary of Evergate.
    pub evergate: &'a Path,
    /// Whether nginx and Evergate log requests.
    pub access_log: AccessLog,
    /// Before anything counts.
    pub warm_up: Duration,
    /// While it counts.
    pub lasting: Duration,
    /// Where contenders run; the generator has been pinned elsewhere.
    pub core: usize,
}

/// What one measurement found.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// A second.
    pub requests_per_second: f64,
    /// CPU time of a request in user mode, in microseconds.
    pub user_us: f64,
    /// CPU time of a request in the kernel, in microseconds.
    pub system_us: f64,
    /// Share of its core that the contender used.
    pub core_used: f64,
    /// In microseconds.
    pub latency_us_p50: f64,
    /// In microseconds.
    pub latency_us_p90: f64,
    /// In microseconds.
    pub latency_us_p99: f64,
    /// In microseconds.
    pub latency_us_max: f64,
    /// Requests that did not get the right answer.
    pub failures: u64,
    /// The first of them in words.
    pub notes: Vec<String>,
    /// Before the load.
    pub idle: Memory,
    /// After it, with its connections still open.
    pub after: Memory,
    /// Processes of the contender.
    pub processes: usize,
}

impl Measurement {
    /// CPU time of a request, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        self.user_us + self.system_us
    }

    /// Requests for each second of CPU time.
    pub fn requests_per_cpu_second(&self) -> f64 {
        1e6 / self.cpu_us()
    }
}

/// Measures `contender` under `case`.
pub fn measure(
    contender: Contender,
    case: &Case,
    terms: &Terms<'_>,
) -> anyhow::Result<Measurement> {
    let dir = tempfile::Builder::new().prefix("evergate-bench-").tempdir()?;
    // Workers give up their rights and still must get in.
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
    let origin = Origin::listen(([127, 0, 0, 1], 0).into(), &BODY_BYTES)?;
    let setup = Setup {
        dir: dir.path(),
        listen: free_address()?,
        origin: origin.address(),
        access_log: terms.access_log,
        body_bytes: case.body_bytes,
        upload_bytes: case.upload_bytes,
        connections: case.connections,
        evergate: terms.evergate,
    };
    let argv = contender.prepare(&setup)?;
    let output = dir.path().join("output.log");
    let mut generator = Generator::new(Some(origin))?;
    let tree = Tree::start(terms.wrapper, terms.core, &argv, File::create(&output)?)?;
    let started = await_first_answer(&mut generator, &setup);
    started.with_context(|| format!("{contender} said: {}", tail(&output)))?;
    let measured = weigh(&mut generator, &tree, case, terms, setup.listen);
    // A proxy told to end waits for its clients, so they go first.
    generator.stop();
    measured
}

/// Sends requests until one is answered rightly.
fn await_first_answer(generator: &mut Generator, setup: &Setup<'_>) -> anyhow::Result<()> {
    let body_bytes = Some(setup.body_bytes as u64);
    let path = format!("/{}", setup.body_bytes);
    generator.start(Load { body_bytes, ..Load::get(setup.listen, &path, 1) });
    let limit = Instant::now() + START_MAX;
    let mut answered = false;
    generator.run_until(|now, outcome| {
        answered = outcome.completed > 0;
        answered || now > limit
    })?;
    let outcome = generator.stop();
    ensure!(answered, "no right answer within {START_MAX:?}: {:?}", outcome.notes);
    Ok(())
}

fn weigh(
    generator: &mut Generator,
    tree: &Tree,
    case: &Case,
    terms: &Terms<'_>,
    target: SocketAddr,
) -> anyhow::Result<Measurement> {
    generator.run_for(SETTLE)?;
    let idle = tree.memory()?;
    let path = format!("/{}", case.body_bytes);
    let load = Load::get(target, &path, case.connections);
    generator.start(Load {
        request: Request { upload: case.upload_bytes, ..load.request },
        body_bytes: Some(case.body_bytes as u64),
        reuse: case.reuse,
        ..load
    });
    generator.run_for(terms.warm_up)?;
    let warm_up = generator.take_outcome();

    let (began_at, cpu_before) = (Instant::now(), tree.cpu()?);
    generator.run_for(terms.lasting)?;
    let (cpu_after, elapsed) = (tree.cpu()?, began_at.elapsed());
    let outcome = generator.take_outcome();
    if outcome.completed == 0 {
        bail!("no request was answered: {:?} {:?}", warm_up.notes, outcome.notes);
    }
    let (user, system) = cpu_after.since(cpu_before);
    let after = tree.memory()?;
    let per_request = |time: Duration| time.as_secs_f64() * 1e6 / outcome.completed as f64;
    let latency = |per_mille| outcome.latency.quantile(per_mille).as_secs_f64() * 1e6;
    Ok(Measurement {
        requests_per_second: outcome.completed as f64 / elapsed.as_secs_f64(),
        user_us: per_request(user),
        system_us: per_request(system),
        core_used: (user + system).as_secs_f64() / elapsed.as_secs_f64(),
        latency_us_p50: latency(500),
        latency_us_p90: latency(900),
        latency_us_p99: latency(990),
        latency_us_max: outcome.latency.max().as_secs_f64() * 1e6,
        failures: outcome.failures() + warm_up.failures(),
        notes: notes(warm_up, outcome),
        idle,
        after,
        processes: tree.len()?,
    })
}

fn notes(warm_up: Outcome, outcome: Outcome) -> Vec<String> {
    [warm_up.notes, outcome.notes].concat()
}

/// An address that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The last lines of a contender's output.
fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
