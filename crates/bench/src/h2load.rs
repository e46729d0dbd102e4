//! HTTP/2 requests, sent by nghttp2's load generator.
//!
//! Its log has a line for every response (microseconds since 1970 at the request, the status,
//! microseconds until the response was complete): what ended while the contender's CPU time
//! was taken is what counts. What it says at its end about all of its run must be right as well.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};

use crate::case::{Case, STREAMS, Transport};
use crate::load::{self, Failure, Outcome};
use crate::process::Tree;
use crate::tls;

const PROGRAM: &str = "h2load";

/// Where, and how long, `h2load` sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) case: &'a Case,
    pub(crate) target: SocketAddr,
    pub(crate) extent: Extent,
    /// An empty folder for its output.
    pub(crate) dir: &'a Path,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent {
    /// A single request.
    One,
    /// All streams of all connections, for this long.
    Lasting(Duration),
}

/// A run of `h2load`; dropped, it ends.
#[derive(Debug)]
pub(crate) struct Run {
    tree: Tree,
    output: PathBuf,
    log: PathBuf,
}

/// Whether it is installed.
pub fn is_installed() -> bool {
    Command::new(PROGRAM).arg("--version").output().is_ok()
}

impl Run {
    /// Starts it on `core`.
    pub(crate) fn start(plan: &Plan<'_>, wrapper: &Path, core: usize) -> anyhow::Result<Self> {
        let (output, log) = (plan.dir.join("h2load.log"), plan.dir.join("h2load.tsv"));
        let argv = arguments(plan, &log);
        let tree = Tree::start(wrapper, Some(core), &argv, File::create(&output)?)?;
        Ok(Self { tree, output, log })
    }

    /// Whether its end has come.
    pub(crate) fn has_ended(&self) -> io::Result<bool> {
        self.tree.has_ended()
    }

    /// After the end of one request: whether the answer was right, and if not, what was said.
    pub(crate) fn verdict(&self, case: &Case) -> anyhow::Result<()> {
        let output = fs::read_to_string(&self.output)?;
        let summary = Summary::parse(&output).with_context(|| output.clone())?;
        ensure!(summary.succeeded == 1 && summary.has_whole_bodies(case), "{output}");
        check_protocols(&output, case)
    }

    /// After its end: what came of the requests that ended within `span`, and all failures.
    pub(crate) fn outcome(&self, case: &Case, span: &Range<SystemTime>) -> anyhow::Result<Outcome> {
        let output = fs::read_to_string(&self.output)?;
        let summary = Summary::parse(&output).with_context(|| output.clone())?;
        check_protocols(&output, case)?;
        let mut outcome = count(&fs::read_to_string(&self.log)?, span)?;
        if !summary.has_whole_bodies(case) {
            let detail = format!("{} bytes in all", summary.data_bytes);
            outcome.fail(Duration::ZERO, Failure::Body, &detail);
        }
        // Requests that never became streams are not in the log.
        for _ in outcome.failures()..summary.failed {
            outcome.fail(Duration::ZERO, Failure::Connect, "before the request");
        }
        Ok(outcome)
    }
}

fn arguments(plan: &Plan<'_>, log: &Path) -> Vec<OsString> {
    let Plan { case, target, extent, .. } = plan;
    let request = load::Load::get(*target, &case.path(), case.connections).request;
    let scheme = if case.transport.is_tls() { "https" } else { "http" };
    let extent = match extent {
        Extent::One => ["-n1", "-c1", "-m1"].map(str::to_owned),
        Extent::Lasting(lasting) => [
            format!("-D{}ms", lasting.as_millis()),
            format!("-c{}", case.connections),
            format!("-m{STREAMS}"),
        ],
    };
    let mut argv = Vec::from([PROGRAM.to_owned(), "-t1".to_owned()]);
    argv.extend(extent);
    argv.extend([
        format!("--connect-to={target}"),
        format!("--tls13-ciphers={}", tls::SUITE),
        format!("--groups={}", tls::GROUP),
        "--npn-list=h2".to_owned(),
    ]);
    for (name, value) in load::BROWSER_FIELDS {
        argv.push(format!("--header={name}: {value}"));
    }
    let mut argv: Vec<OsString> = argv.into_iter().map(OsString::from).collect();
    argv.push([OsString::from("--log-file="), log.into()].into_iter().collect());
    argv.push(format!("{scheme}://{}{}", request.host, request.path).into());
    argv
}

/// What `h2load` says at its end.
#[derive(Debug, Eq, PartialEq)]
struct Summary {
    started: u64,
    succeeded: u64,
    /// For whatever reason.
    failed: u64,
    /// Of response bodies, with those that the end of the run cut short.
    data_bytes: u64,
}

impl Summary {
    fn parse(output: &str) -> anyhow::Result<Self> {
        // `requests: 9 total, 9 started, 9 done, 9 succeeded, 0 failed, 0 errored, 0 timeout`
        let requests = |what| number_before(line(output, "requests: ")?, what);
        // `traffic: 9B (9) total, 9B (9) headers (space savings 50.51%), 9B (9) data`
        let traffic = line(output, "traffic: ").and_then(|line| {
            let data = line.strip_suffix(") data")?;
            data.rsplit_once('(')?.1.parse().ok()
        });
        Ok(Self {
            started: requests(" started").context("it does not say what was started")?,
            succeeded: requests(" succeeded").context("it does not say what succeeded")?,
            failed: requests(" failed").context("it does not say what failed")?,
            data_bytes: traffic.context("it does not say what was received")?,
        })
    }

    /// Whether bodies were as long as they should be.
    fn has_whole_bodies(&self, case: &Case) -> bool {
        let body_bytes = case.body_bytes as u64;
        (self.succeeded * body_bytes..=self.started * body_bytes).contains(&self.data_bytes)
    }
}

/// What follows `start` on the line that begins with it.
fn line<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(start))
}

/// The number that stands before `what` in a list with commas.
fn number_before(list: &str, what: &str) -> Option<u64> {
    list.split(", ").find_map(|item| item.strip_suffix(what)?.parse().ok())
}

/// Refuses a run that was not what the case is about.
fn check_protocols(output: &str, case: &Case) -> anyhow::Result<()> {
    let expected: &[(&str, &str)] = match case.transport {
        Transport::Http2 => &[
            ("TLS Protocol: ", "TLSv1.3"),
            ("Cipher: ", tls::SUITE),
            ("Application protocol: ", "h2"),
        ],
        Transport::Http2Plain => &[("Application protocol: ", "h2c")],
        Transport::Plain | Transport::Tls => bail!("h2load is for HTTP/2"),
    };
    for &(what, value) in expected {
        let found = line(output, what);
        ensure!(found == Some(value), "{what}{}", found.unwrap_or("nothing"));
    }
    Ok(())
}

/// Counts the responses that ended within `span`, and every failure.
fn count(log: &str, span: &Range<SystemTime>) -> anyhow::Result<Outcome> {
    let (from, to) = (micros(span.start)?, micros(span.end)?);
    let mut outcome = Outcome::default();
    for line in log.lines() {
        let columns: Option<Vec<i64>> = line.split('\t').map(|field| field.parse().ok()).collect();
        let columns = columns.with_context(|| format!("a line of its log is `{line}`"))?;
        let &[began_at, status, took, ..] = columns.as_slice() else {
            bail!("a line of its log is `{line}`");
        };
        let took = took.max(0);
        match status {
            200 if (from..to).contains(&(began_at + took)) => {
                outcome.completed += 1;
                outcome.latency.record(Duration::from_micros(took.unsigned_abs()));
            }
            200 => {}
            _ => {
                let at = Duration::from_micros((began_at + took - from).max(0).unsigned_abs());
                let failure = if status < 0 { Failure::Cut } else { Failure::Status };
                outcome.fail(at, failure, &status.to_string());
            }
        }
    }
    Ok(outcome)
}

fn micros(time: SystemTime) -> anyhow::Result<i64> {
    Ok(i64::try_from(time.duration_since(UNIX_EPOCH)?.as_micros())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "starting benchmark...
TLS Protocol: TLSv1.3
Cipher: TLS_AES_128_GCM_SHA256
Server Temp Key: X25519 253 bits
Application protocol: h2

finished in 1.50s, 3.33 req/s, 5.00KB/s
requests: 3 total, 4 started, 3 done, 2 succeeded, 1 failed, 1 errored, 0 timeout
status codes: 2 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 3.98KB (4077) total, 49B (49) headers (space savings 50.51%), 3.00KB (3072) data
";

    fn case() -> Case {
        Case::named("h2-10x100-1k").expect("it is one")
    }

    fn at(micros: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(micros)
    }

    #[test]
    fn its_last_words_are_understood() {
        let summary = Summary::parse(OUTPUT).expect("it is complete");
        let expected = Summary { started: 4, succeeded: 2, failed: 1, data_bytes: 3072 };
        assert_eq!(summary, expected);
        assert!(summary.has_whole_bodies(&case()));
        assert!(!Summary { data_bytes: 2047, ..summary }.has_whole_bodies(&case()));
        assert!(Summary::parse("starting benchmark...\n").is_err());
    }

    #[test]
    fn another_protocol_is_refused() {
        check_protocols(OUTPUT, &case()).expect("it is HTTP/2 over TLS 1.3");
        for (right, wrong) in [("v1.3", "v1.2"), (": h2", ": http/1.1"), ("128_GCM", "256_GCM")] {
            assert!(check_protocols(&OUTPUT.replace(right, wrong), &case()).is_err(), "{wrong}");
        }
        assert!(check_protocols("", &case()).is_err());
    }

    #[test]
    fn what_ended_within_the_span_counts_and_every_failure() {
        let log = "900\t200\t99\n900\t200\t100\n1900\t200\t99\n1900\t200\t100\n\
                   100\t503\t10\n1500\t-1\t10\n";
        let outcome = count(log, &(at(1000)..at(2000))).expect("every line is one");
        assert_eq!(outcome.completed, 2);
        assert_eq!(outcome.latency.max(), Duration::from_micros(100));
        let failed = [(Failure::Cut, 1), (Failure::Status, 1)];
        assert_eq!(outcome.failed, failed.into());
        assert!(count("1\t200\n", &(at(0)..at(9))).is_err());
        assert!(count("1\t200\tx\n", &(at(0)..at(9))).is_err());
    }

    #[test]
    fn it_is_asked_for_what_the_case_is_about() {
        let said = |case: &Case| {
            let target = ([127, 0, 0, 1], 8443).into();
            let extent = Extent::Lasting(Duration::from_millis(2500));
            let plan = Plan { case, target, extent, dir: Path::new("/") };
            let words = arguments(&plan, Path::new("/log"));
            words.join("|".as_ref()).into_string().expect("it is ASCII")
        };
        let over_tls = said(&case());
        assert!(over_tls.starts_with("h2load|-t1|-D2500ms|-c10|-m100|"), "{over_tls}");
        assert!(over_tls.contains("|--connect-to=127.0.0.1:8443|"), "{over_tls}");
        assert!(over_tls.ends_with("|--log-file=/log|https://bench.example/1024"), "{over_tls}");
        let plain = said(&Case { transport: Transport::Http2Plain, ..case() });
        assert!(plain.ends_with("|http://bench.example/1024"), "{plain}");
    }
}
