//! One contender under one case: started, warmed up, measured, ended.

use std::fs::{self, File, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::case::{BODY_BYTES, Case, Transport};
use crate::certificate::Certificate;
use crate::contender::{AccessLog, Contender, Setup};
use crate::generator::Generator;
use crate::h2load;
use crate::load::{HOST, Load, Outcome, Request, Reuse};
use crate::origin::Origin;
use crate::process::{Memory, Tree};
use crate::tls::Tls;

/// A contender that does not answer within this time has failed.
const START_MAX: Duration = Duration::from_secs(10);
/// Rest between the first answer and the weighing, in which a contender finishes its start.
const SETTLE: Duration = Duration::from_millis(300);
/// How long `h2load` goes on after it counted, so that it surely sends all the while.
const OVERRUN: Duration = Duration::from_millis(500);
/// How often it is looked whether `h2load` has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

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
    /// Where contenders run.
    pub core: usize,
    /// Where the generator and the origin run; this thread has been pinned there.
    pub generator_core: usize,
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
    let certificate = Certificate::of(HOST)?;
    let setup = Setup {
        dir: dir.path(),
        listen: free_address()?,
        origin: origin.address(),
        access_log: terms.access_log,
        case,
        certificate: &certificate,
        evergate: terms.evergate,
    };
    let argv = contender.prepare(&setup)?;
    let output = dir.path().join("output.log");
    let mut generator = Generator::new(Some(origin))?;
    let tree = Tree::start(terms.wrapper, Some(terms.core), &argv, File::create(&output)?)?;
    let bench = Bench { terms, setup: &setup, tree: &tree };
    let started = bench.await_first_answer(&mut generator);
    started.with_context(|| format!("{contender} said: {}", tail(&output)))?;
    let measured = bench.weigh(&mut generator);
    // A proxy told to end waits for its clients, so they go first.
    generator.stop();
    measured
}

/// A contender that has been started.
struct Bench<'a> {
    terms: &'a Terms<'a>,
    setup: &'a Setup<'a>,
    tree: &'a Tree,
}

/// What was seen of a contender while it counted.
struct Span {
    began_at: SystemTime,
    ended_at: SystemTime,
    elapsed: Duration,
    /// In user mode, and in the kernel.
    cpu: (Duration, Duration),
    after: Memory,
}

impl Bench<'_> {
    /// Sends requests until one is answered rightly.
    fn await_first_answer(&self, generator: &mut Generator) -> anyhow::Result<()> {
        let limit = Instant::now() + START_MAX;
        if self.setup.case.transport.is_http2() {
            return self.await_first_http2_answer(generator, limit);
        }
        generator.start(Load { connections: 1, reuse: Reuse::KeepAlive, ..self.load()? });
        let mut answered = false;
        generator.run_until(|now, outcome| {
            answered = outcome.completed > 0;
            answered || now > limit
        })?;
        let outcome = generator.stop();
        ensure!(answered, "no right answer within {START_MAX:?}: {:?}", outcome.notes);
        Ok(())
    }

    fn await_first_http2_answer(
        &self,
        generator: &mut Generator,
        limit: Instant,
    ) -> anyhow::Result<()> {
        loop {
            let run = self.h2load(h2load::Extent::One)?;
            while !run.has_ended()? && Instant::now() < limit {
                generator.run_for(LOOK_EVERY)?;
            }
            match run.verdict(self.setup.case) {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > limit => {
                    return Err(error.context(format!("no right answer within {START_MAX:?}")));
                }
                Err(_) => generator.run_for(LOOK_EVERY)?,
            }
        }
    }

    fn weigh(&self, generator: &mut Generator) -> anyhow::Result<Measurement> {
        generator.run_for(SETTLE)?;
        let idle = self.tree.memory()?;
        let (span, outcome) = if self.setup.case.transport.is_http2() {
            self.weigh_with_h2load(generator)?
        } else {
            self.weigh_with_own_load(generator)?
        };
        ensure!(outcome.completed > 0, "no request was answered: {:?}", outcome.notes);
        let (user, system) = span.cpu;
        let per_request = |time: Duration| time.as_secs_f64() * 1e6 / outcome.completed as f64;
        let latency = |per_mille| outcome.latency.quantile(per_mille).as_secs_f64() * 1e6;
        Ok(Measurement {
            requests_per_second: outcome.completed as f64 / span.elapsed.as_secs_f64(),
            user_us: per_request(user),
            system_us: per_request(system),
            core_used: (user + system).as_secs_f64() / span.elapsed.as_secs_f64(),
            latency_us_p50: latency(500),
            latency_us_p90: latency(900),
            latency_us_p99: latency(990),
            latency_us_max: outcome.latency.max().as_secs_f64() * 1e6,
            failures: outcome.failures(),
            notes: outcome.notes,
            idle,
            after: span.after,
            processes: self.tree.len()?,
        })
    }

    /// With the failures of the warm-up.
    fn weigh_with_own_load(&self, generator: &mut Generator) -> anyhow::Result<(Span, Outcome)> {
        generator.start(self.load()?);
        generator.run_for(self.terms.warm_up)?;
        let warm_up = generator.take_outcome();
        let span = self.span(generator)?;
        let mut outcome = generator.take_outcome();
        for (failure, count) in warm_up.failed {
            *outcome.failed.entry(failure).or_default() += count;
        }
        outcome.notes = [warm_up.notes, outcome.notes].concat();
        Ok((span, outcome))
    }

    fn weigh_with_h2load(&self, generator: &mut Generator) -> anyhow::Result<(Span, Outcome)> {
        let lasting = self.terms.warm_up + self.terms.lasting + OVERRUN;
        let run = self.h2load(h2load::Extent::Lasting(lasting))?;
        generator.run_for(self.terms.warm_up)?;
        let span = self.span(generator)?;
        let limit = Instant::now() + OVERRUN + START_MAX;
        while !run.has_ended()? {
            ensure!(Instant::now() < limit, "h2load does not end");
            generator.run_for(LOOK_EVERY)?;
        }
        let outcome = run.outcome(self.setup.case, &(span.began_at..span.ended_at))?;
        Ok((span, outcome))
    }

    /// Lets the load run while it counts.
    fn span(&self, generator: &mut Generator) -> anyhow::Result<Span> {
        let (began_at, began) = (SystemTime::now(), Instant::now());
        let before = self.tree.cpu()?;
        generator.run_for(self.terms.lasting)?;
        let cpu = self.tree.cpu()?.since(before);
        let (ended_at, elapsed) = (SystemTime::now(), began.elapsed());
        Ok(Span { began_at, ended_at, elapsed, cpu, after: self.tree.memory()? })
    }

    fn load(&self) -> anyhow::Result<Load> {
        let case = self.setup.case;
        let load = Load::get(self.setup.listen, &case.path(), case.connections);
        let tls = match case.transport {
            Transport::Plain | Transport::Http2Plain => None,
            Transport::Tls | Transport::Http2 => {
                Some(Tls::pinned(HOST, self.setup.certificate.der())?)
            }
        };
        Ok(Load {
            tls,
            request: Request { upload: case.upload_bytes, ..load.request },
            body_bytes: Some(case.body_bytes as u64),
            reuse: case.reuse,
            ..load
        })
    }

    fn h2load(&self, extent: h2load::Extent) -> anyhow::Result<h2load::Run> {
        let Setup { case, listen, dir, .. } = *self.setup;
        let plan = h2load::Plan { case, target: listen, extent, dir };
        h2load::Run::start(&plan, self.terms.wrapper, self.terms.generator_core)
    }
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
