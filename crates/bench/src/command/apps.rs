//! `evergate-bench apps`: kills processes, and says how soon others take over.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Args;
use evergate_bench::machine::Machine;
use evergate_bench::restarts::{INSTANCES, Plan, Restarts, Series, Supervisor, measure};
use evergate_bench::results::replace_block;

#[derive(Debug, Args)]
pub(crate) struct Apps {
    /// Processes to kill under each supervisor.
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// Requests a second through Evergate meanwhile.
    #[arg(long, default_value_t = 2000)]
    rate: u32,
    /// The binary of Evergate. [default: beside this one]
    #[arg(long)]
    evergate: Option<PathBuf>,
    /// A document whose block `apps` is rewritten. [default: only printed]
    #[arg(long)]
    results: Option<PathBuf>,
}

impl Apps {
    /// 0 when no request failed, 1 otherwise.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let bench = env::current_exe()?;
        let evergate = self.evergate.clone().unwrap_or_else(|| bench.with_file_name("evergate"));
        let mut rows = Vec::new();
        let mut failed = 0;
        for (supervisor, per_second) in [
            (Supervisor::Evergate, self.rate),
            (Supervisor::Evergate, 0),
            (Supervisor::Supervisord, 0),
        ] {
            if supervisor == Supervisor::Supervisord && version("supervisord").is_none() {
                eprintln!("supervisord is not measured: it is not installed");
                continue;
            }
            let plan = Plan {
                supervisor,
                kills: self.kills,
                per_second,
                bench: &bench,
                evergate: &evergate,
            };
            let restarts = measure(plan)?;
            failed += restarts.failed;
            rows.push(row(plan, &restarts));
        }
        let text = self.report(&rows);
        print!("{text}");
        if let Some(path) = &self.results {
            let document = std::fs::read_to_string(path)?;
            std::fs::write(path, replace_block(&document, "apps", &text)?)?;
        }
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn report(&self, rows: &[String]) -> String {
        let Machine { cores, processor, kernel, architecture } = Machine::look();
        let supervisord = version("supervisord").unwrap_or_else(|| "not installed".to_owned());
        format!(
            "`cargo xtask bench apps --kills {} --rate {}`\n\n\
             {cores} cores, {processor}, Linux {kernel}, {architecture}; supervisord \
             {supervisord}. {INSTANCES} processes, one killed at a time. Times in ms: p50 / p99 / \
             max.\n\n\
             | supervisor | load | kill to `main` of the next | kill to out of the pool, at most | \
             of that a call | requests | failed |\n|---|---|---|---|---|---|---|\n{}",
            self.kills,
            self.rate,
            rows.concat()
        )
    }
}

fn row(plan: Plan<'_>, restarts: &Restarts) -> String {
    let load = match plan.per_second {
        0 => "none".to_owned(),
        per_second => format!("{per_second}/s"),
    };
    let (name, completed, failed) = (plan.supervisor.name(), restarts.completed, restarts.failed);
    let [to_main, out, call] =
        [&restarts.to_main, &restarts.out_of_pool, &restarts.call].map(quantiles);
    format!("| {name} | {load} | {to_main} | {out} | {call} | {completed} | {failed} |\n")
}

fn quantiles(series: &Series) -> String {
    let ms = |per_mille| series.quantile(per_mille).map(milliseconds);
    match (ms(500), ms(990), ms(1000)) {
        (Some(p50), Some(p99), Some(max)) => format!("{p50} / {p99} / {max}"),
        _ => "-".to_owned(),
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1000.0)
}

/// What a program says its version is.
fn version(program: impl AsRef<Path>) -> Option<String> {
    let output = Command::new(program.as_ref()).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
