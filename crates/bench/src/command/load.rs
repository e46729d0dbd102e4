//! `evergate-bench load`: one load against one server.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use evergate_bench::case::BODY_BYTES;
use evergate_bench::generator::Generator;
use evergate_bench::load::{self, Outcome, Pace, Request, Reuse};
use evergate_bench::origin::Origin;
use evergate_bench::process;
use evergate_bench::tls::Tls;

use super::duration;

#[derive(Debug, Args)]
pub(crate) struct Load {
    /// `http://ADDRESS:PORT/PATH`, or `https://`, which takes any certificate; without it the load
    /// goes to the origin itself.
    #[arg(long, required_unless_present = "origin")]
    url: Option<String>,
    /// Serves as the origin here, in the same loop.
    #[arg(long, value_name = "ADDRESS")]
    origin: Option<SocketAddr>,
    /// Connections at once.
    #[arg(short, long, default_value_t = 64)]
    connections: u32,
    /// A connection for each request.
    #[arg(long)]
    close: bool,
    /// Requests a second, on a schedule that waits for nobody. [default: as fast as answers come]
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<u32>,
    /// Bytes of request body; any makes it a POST.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    upload: usize,
    /// Bytes that every response body must have. [default: what a path such as /1024 says]
    #[arg(long, value_name = "BYTES")]
    expect: Option<u64>,
    /// How long to measure.
    #[arg(long = "for", value_parser = duration, default_value = "5s")]
    lasting: Duration,
    /// How long to send before anything counts.
    #[arg(long, value_parser = duration, default_value = "1s")]
    warm_up: Duration,
    /// A request that takes longer has failed.
    #[arg(long, value_parser = duration, default_value = "10s")]
    timeout: Duration,
    /// Core to stay on. [default: any]
    #[arg(long)]
    core: Option<usize>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Load {
    /// 0 when no request failed, 1 otherwise.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(core) = self.core {
            process::pin(core)?;
        }
        let origin = self.origin.map(|address| Origin::listen(address, &BODY_BYTES)).transpose()?;
        let load = self.plan(origin.as_ref().map(Origin::address))?;
        let mut generator = Generator::new(origin)?;
        generator.start(load);
        generator.run_for(self.warm_up)?;
        let warm_up = generator.take_outcome();
        let began_at = Instant::now();
        generator.run_for(self.lasting)?;
        let elapsed = began_at.elapsed();
        generator.drain()?;
        let outcome = generator.stop();
        if self.json {
            println!("{}", json(&outcome, &warm_up, elapsed));
        } else {
            print(&outcome, &warm_up, elapsed);
        }
        let failures = outcome.failures() + warm_up.failures();
        Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn plan(&self, origin: Option<SocketAddr>) -> anyhow::Result<load::Load> {
        let own = origin.map(|address| format!("http://{address}/1024"));
        let url = self.url.as_ref().or(own.as_ref()).context("--url or --origin is needed")?;
        let (scheme, rest) = url.split_once("://").context("the URL needs http:// or https://")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let target: SocketAddr = host.parse().context("the URL needs an address and a port")?;
        let tls = match scheme {
            "http" => None,
            "https" => Some(Tls::unverified(&target.ip().to_string())?),
            _ => bail!("only http:// and https:// can be measured"),
        };
        Ok(load::Load {
            target,
            tls,
            request: Request {
                host: host.to_owned(),
                path: format!("/{path}"),
                upload: self.upload,
            },
            body_bytes: self.expect.or_else(|| path.parse().ok()),
            connections: self.connections,
            reuse: if self.close { Reuse::Close } else { Reuse::KeepAlive },
            pace: self.rate.map_or(Pace::Closed, |per_second| Pace::Open { per_second }),
            timeout: self.timeout,
        })
    }
}

fn print(outcome: &Outcome, warm_up: &Outcome, elapsed: Duration) {
    let rate = outcome.completed as f64 / elapsed.as_secs_f64();
    println!("completed {} requests, {rate:.0} a second", outcome.completed);
    let ms = |per_mille| outcome.latency.quantile(per_mille).as_secs_f64() * 1000.0;
    println!(
        "latency ms: p50 {:.3}, p90 {:.3}, p99 {:.3}, max {:.3}",
        ms(500),
        ms(900),
        ms(990),
        outcome.latency.max().as_secs_f64() * 1000.0
    );
    for (when, outcome) in [("warm-up", warm_up), ("measured", outcome)] {
        for (failure, count) in &outcome.failed {
            println!("failed ({when}): {count} x {failure}");
        }
        for note in &outcome.notes {
            println!("  at {note}");
        }
    }
}

fn json(outcome: &Outcome, warm_up: &Outcome, elapsed: Duration) -> serde_json::Value {
    let us = |per_mille| outcome.latency.quantile(per_mille).as_secs_f64() * 1e6;
    let failed: serde_json::Map<String, serde_json::Value> =
        outcome.failed.iter().map(|(failure, n)| (failure.to_string(), (*n).into())).collect();
    serde_json::json!({
        "completed": outcome.completed,
        "connected": outcome.connected + warm_up.connected,
        "requests_per_second": outcome.completed as f64 / elapsed.as_secs_f64(),
        "latency_us": {
            "p50": us(500), "p90": us(900), "p99": us(990),
            "max": outcome.latency.max().as_secs_f64() * 1e6,
        },
        "failed": failed,
        "failed_in_warm_up": warm_up.failures(),
        "notes": outcome.notes,
    })
}
