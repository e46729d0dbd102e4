//! `evergate-bench proxy`: the comparison that `bench/RESULTS.md` shows.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use evergate_bench::case::{CASES, Case};
use evergate_bench::contender::{AccessLog, Contender};
use evergate_bench::h2load;
use evergate_bench::machine::Machine;
use evergate_bench::measure::{Measurement, Terms, measure};
use evergate_bench::process;
use evergate_bench::results::{CaseResults, Round, Setting, markdown, replace_block};

/// Where the generator and the origin run.
const GENERATOR_CORE: usize = 0;
/// Where contenders run.
const CONTENDER_CORE: usize = 1;

#[derive(Debug, Args)]
pub(crate) struct Proxy {
    /// Only this case; may be given more than once. [default: all, and the document is rewritten]
    #[arg(long = "case", value_name = "NAME", value_parser = case)]
    cases: Vec<Case>,
    /// Turns of all contenders.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Seconds before each measurement in which nothing counts.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Who takes part.
    #[arg(long, value_delimiter = ',', default_value = "evergate,nginx,haproxy")]
    contenders: Vec<Contender>,
    /// Whether nginx and Evergate log requests to a file.
    #[arg(long, value_enum, default_value = "on")]
    access_log: Switch,
    /// The binary of Evergate. [default: beside this one]
    #[arg(long)]
    evergate: Option<PathBuf>,
    /// The document whose block is rewritten after a run of all cases.
    #[arg(long, default_value = "bench/RESULTS.md")]
    results: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Switch {
    Off,
    On,
}

fn case(name: &str) -> Result<Case, String> {
    Case::named(name).ok_or_else(|| {
        let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        format!("the cases are {}", names.join(", "))
    })
}

impl Proxy {
    /// 0 when no request failed, 1 otherwise.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let wrapper = env::current_exe()?;
        let evergate = self.evergate.clone().unwrap_or_else(|| wrapper.with_file_name("evergate"));
        let machine = Machine::look();
        ensure!(machine.cores > CONTENDER_CORE, "a comparison needs a core for each side");
        let setting = Setting {
            command: self.command_line(),
            machine,
            versions: self.versions(&evergate)?,
            access_log: match self.access_log {
                Switch::Off => AccessLog::Off,
                Switch::On => AccessLog::On,
            },
            seconds: self.seconds,
        };
        let terms = Terms {
            wrapper: &wrapper,
            evergate: &evergate,
            access_log: setting.access_log,
            warm_up: Duration::try_from_secs_f64(self.warm_up)?,
            lasting: Duration::try_from_secs_f64(self.seconds)?,
            core: CONTENDER_CORE,
            generator_core: GENERATOR_CORE,
        };
        process::pin(GENERATOR_CORE)?;
        let cases: &[Case] = if self.cases.is_empty() { &CASES } else { &self.cases };
        let out = out_dir(&wrapper)?;
        let mut found = Vec::new();
        for case in cases {
            let results = self.rounds_of(case, &terms)?;
            println!("{}", results.table());
            let json = serde_json::json!({ "setting": &setting, "case": &results });
            let path = out.join(format!("proxy-{}.json", case.name));
            fs::write(&path, serde_json::to_string_pretty(&json)?)?;
            found.push(results);
        }
        if self.cases.is_empty() {
            self.rewrite_document(&markdown(&setting, &found))?;
        }
        let measurements = found.iter().flat_map(|case| &case.rounds).flat_map(Round::values);
        let failures: u64 = measurements.map(|measurement| measurement.failures).sum();
        Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// What to type for the same run. Paths are left out: they are those of one machine.
    fn command_line(&self) -> String {
        let cases: String =
            self.cases.iter().map(|case| format!(" --case {}", case.name)).collect();
        let contenders: Vec<String> = self.contenders.iter().map(Contender::to_string).collect();
        let log = match self.access_log {
            Switch::Off => " --access-log off",
            Switch::On => "",
        };
        format!(
            "cargo xtask bench proxy{cases} --rounds {} --seconds {} --warm-up {} --contenders {}{log}",
            self.rounds,
            self.seconds,
            self.warm_up,
            contenders.join(",")
        )
    }

    fn versions(&self, evergate: &Path) -> anyhow::Result<BTreeMap<Contender, String>> {
        let version = |&contender: &Contender| match contender.version(evergate) {
            Some(version) => Ok((contender, version)),
            None => bail!("{contender} cannot be started; install it or leave it out"),
        };
        self.contenders.iter().map(version).collect()
    }

    /// A B C A B C: whatever disturbs the machine disturbs all contenders alike.
    fn rounds_of(&self, case: &Case, terms: &Terms<'_>) -> anyhow::Result<CaseResults> {
        if case.transport.is_http2() && !h2load::is_installed() {
            return Ok(CaseResults::skipped(case, "h2load (nghttp2-client) is not installed"));
        }
        let mut found = CaseResults::new(case);
        for number in 1..=self.rounds {
            let mut round = Round::new();
            for &contender in self.contenders.iter().filter(|c| c.takes_part(case)) {
                let taken = measure(contender, case, terms)
                    .with_context(|| format!("{contender}, {}", case.name))?;
                progress(case, number, contender, &taken);
                round.insert(contender, taken);
            }
            found.rounds.push(round);
        }
        Ok(found)
    }

    fn rewrite_document(&self, block: &str) -> anyhow::Result<()> {
        let path = &self.results;
        let document = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        fs::write(path, replace_block(&document, "proxy", block)?)?;
        println!("wrote {}", path.display());
        Ok(())
    }
}

fn progress(case: &Case, round: u32, contender: Contender, taken: &Measurement) {
    eprintln!(
        "{} round {round} {contender}: {:.0} req/s, {:.2} us/request, {:.0} % of its core, {} failed",
        case.name,
        taken.requests_per_second,
        taken.cpu_us(),
        taken.core_used * 100.0,
        taken.failures,
    );
    for note in &taken.notes {
        eprintln!("  at {note}");
    }
}

/// `target/bench`, beside the folder of the profile that this program was built with.
fn out_dir(wrapper: &Path) -> anyhow::Result<PathBuf> {
    let target = wrapper.ancestors().nth(2).context("this program lies in no target folder")?;
    let out = target.join("bench");
    fs::create_dir_all(&out)?;
    Ok(out)
}
