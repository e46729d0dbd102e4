//! `evergate-bench reloads`: changes running proxies under load, and says what that cost.

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use evergate_bench::changes::{Changes, DRAIN_SECONDS, Plan, Subject, measure};
use evergate_bench::contender::Contender;
use evergate_bench::machine::Machine;
use evergate_bench::results::replace_block;

#[derive(Debug, Args)]
pub(crate) struct Reloads {
    /// Reloads of each proxy.
    #[arg(long, default_value_t = 100)]
    reloads: u32,
    /// Other workers, and other keepers.
    #[arg(long, default_value_t = 20)]
    upgrades: u32,
    /// Requests a second meanwhile.
    #[arg(long, default_value_t = 2000)]
    rate: u32,
    /// WebSockets meanwhile.
    #[arg(long, default_value_t = 100)]
    web_sockets: u32,
    /// How long the load runs before the first change.
    #[arg(long, default_value = "6s", value_parser = super::duration)]
    steady: Duration,
    /// Only subjects whose title holds this.
    #[arg(long, default_value = "")]
    only: String,
    /// The binary of Evergate. [default: beside this one]
    #[arg(long)]
    evergate: Option<PathBuf>,
    /// A document whose block `reloads` is rewritten. [default: only printed]
    #[arg(long)]
    results: Option<PathBuf>,
}

impl Reloads {
    /// 0 when no request through Evergate failed, 1 otherwise.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let bench = env::current_exe()?;
        let evergate = self.evergate.clone().unwrap_or_else(|| bench.with_file_name("evergate"));
        let mut rows = Vec::new();
        let mut failed = 0;
        for subject in Subject::ALL.into_iter().filter(|one| one.title().contains(&self.only)) {
            if let Some(program) = subject.program().filter(|program| !Path::new(program).exists())
            {
                eprintln!("{} is not measured: there is no {program}", subject.title());
                continue;
            }
            let plan = Plan {
                subject,
                changes: if subject.is_process() { self.upgrades } else { self.reloads },
                per_second: self.rate,
                web_sockets: self.web_sockets,
                steady: self.steady,
                bench: &bench,
                evergate: &evergate,
            };
            let changes = measure(plan)?;
            if subject.program().is_none() {
                failed += changes.failed.values().sum::<u64>() + changes.cut;
            }
            rows.push(row(plan, &changes));
            eprint!("{}", row(plan, &changes));
        }
        let text = self.report(&evergate, &rows);
        print!("{text}");
        if let Some(path) = &self.results {
            let document = std::fs::read_to_string(path)?;
            std::fs::write(path, replace_block(&document, "reloads", &text)?)?;
        }
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn report(&self, evergate: &Path, rows: &[String]) -> String {
        let Machine { cores, processor, kernel, architecture } = Machine::look();
        let versions = Contender::ALL.iter().map(|one| {
            let version = one.version(evergate).unwrap_or_else(|| "not installed".to_owned());
            format!("{one} {version}")
        });
        let versions = versions.collect::<Vec<_>>().join(", ");
        format!(
            "`cargo xtask bench reloads --reloads {} --upgrades {} --rate {} --web-sockets {}`\n\n\
             {cores} cores, {processor}, Linux {kernel}, {architecture}; {versions}. One thread \
             each. A process that is replaced has {DRAIN_SECONDS} s for what it began. Times in \
             ms: p50 / p99 / max; being changed is from the beginning of each change until 0.1 s \
             after it, 1 s for a process. Memory in MB, before / most / after: resident, code \
             included, and what is no code but the proxy's own; after is six seconds after the \
             last change, under the same load.\n\n\
             | what | times | one takes | requests | failed | between changes | being changed \
             | p99, times | WebSockets cut, closed | memory | of that its own \
             | processes, at most |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|\n{}",
            self.reloads,
            self.upgrades,
            self.rate,
            self.web_sockets,
            rows.concat()
        )
    }
}

fn row(plan: Plan<'_>, changes: &Changes) -> String {
    let ms = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1000.0);
    let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
    let failed: u64 = changes.failed.values().sum();
    let kinds: Vec<_> =
        changes.failed.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    format!(
        "| {} | {} | {} | {} | {failed}{kinds} | {} | {} | {:.1} | {}, {} | {} | {} | {} |\n",
        plan.subject.title(),
        plan.changes,
        ms(changes.change),
        changes.completed,
        changes.steady.map(ms).join(" / "),
        changes.changing.map(ms).join(" / "),
        changes.changing[1].as_secs_f64() / changes.steady[1].as_secs_f64(),
        changes.cut,
        changes.closed,
        changes.memory.map(|memory| megabytes(memory.resident)).join(" / "),
        changes.memory.map(|memory| megabytes(memory.own)).join(" / "),
        changes.processes[1],
    )
}
