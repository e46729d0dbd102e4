//! The failover lab: `evergate-lab SCENARIO…`, `all`, or `--list`.
//!
//! With the word `probe` it is the lab's probe, with `app` an app behind a node, with `replay` a
//! recording of another router.

#![expect(clippy::print_stdout, reason = "the report is its result")]

use std::io::{self, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use evergate_e2e::lab::scenario::Extent;
use evergate_e2e::lab::{
    self, Contender, Figures, Plan, Scenario, app, plot, probe, replay, report,
};

const USAGE: &str = "\
usage: cargo xtask lab SCENARIO… [options]     plays these
       cargo xtask lab all [options]           plays every one
       cargo xtask lab --list                  says which there are

  --runs N           how often, in place of what each scenario says
  --others N         how often others than Evergate, if not as often
  --only NAMES       contenders: evergate, keepalived, or v2-1, v3-0.1, v3-0.03
  --lasting SECONDS  how long faults last that do [30]
  --few              what happens again and again happens fewer times, as in the tests
  --debug            an Evergate built in a hurry, not for figures
  --keep DIR         where the table, pictures, and what runs that failed leave behind go
                     [target/lab]

It needs root, and nftables, iproute2, nginx, keepalived (tcpdump shows more).";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ended = match words.as_slice() {
        [] | ["help" | "-h" | "--help", ..] => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        ["--list"] => Ok(list()),
        ["probe", target, patience_ms] => ask(target, patience_ms),
        ["replay", from] => tell_again(from),
        ["app", letter] => serve(letter),
        words => read(words).and_then(|(plan, keep)| play(&plan, &keep)),
    };
    ended.unwrap_or_else(|why| {
        eprintln!("evergate-lab: {why}");
        ExitCode::from(2)
    })
}

fn list() -> ExitCode {
    for scenario in Scenario::all() {
        println!("{:<20} {}", scenario.name, scenario.about);
    }
    ExitCode::SUCCESS
}

fn ask(target: &str, patience_ms: &str) -> Result<ExitCode, String> {
    let target = target.parse().map_err(|_| format!("{target} is no address"))?;
    let patience = Duration::from_millis(number(patience_ms)? as u64);
    probe::open_loop::run(target, patience).map_err(|error| error.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn tell_again(from: &str) -> Result<ExitCode, String> {
    let from = from.parse().map_err(|_| format!("{from} is no IPv4 address"))?;
    replay::run(from).map_err(|error| error.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// An app on `PORT`.
fn serve(letter: &str) -> Result<ExitCode, String> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok());
    let port: u16 = port.ok_or("an app needs a PORT")?;
    let listener = TcpListener::bind(("127.0.0.1", port)).map_err(|error| error.to_string())?;
    let letter = letter.parse().map_err(|_| format!("{letter} is no letter"))?;
    app::serve(&listener, letter);
    Ok(ExitCode::SUCCESS)
}

fn read(words: &[&str]) -> Result<(Plan, PathBuf), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut plan = Plan {
        scenarios: Vec::new(),
        contenders: Contender::ALL.to_vec(),
        runs: None,
        runs_of_others: None,
        extent: Extent {
            lasting: Duration::from_secs(30),
            patience: probe::open_loop::TIMEOUT,
            is_full: true,
        },
        program,
    };
    let mut keep = PathBuf::from("target/lab");
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        let mut value = || words.next().copied().ok_or_else(|| format!("{word} needs a value"));
        match word {
            "all" => plan.scenarios = Scenario::all(),
            "--runs" => plan.runs = Some(number(value()?)?),
            "--others" => plan.runs_of_others = Some(number(value()?)?),
            "--lasting" => plan.extent.lasting = Duration::from_secs(number(value()?)? as u64),
            "--only" => plan.contenders = contenders(value()?)?,
            "--few" => plan.extent.is_full = false,
            "--keep" => keep = value()?.into(),
            name => {
                let scenario = Scenario::named(name);
                let unknown = || format!("no scenario is called {name}; --list names them");
                plan.scenarios.push(scenario.ok_or_else(unknown)?);
            }
        }
    }
    if plan.scenarios.is_empty() {
        return Err("no scenario was named; --list names them".to_owned());
    }
    Ok((plan, keep))
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn contenders(names: &str) -> Result<Vec<Contender>, String> {
    let mut found = Vec::new();
    for name in names.split(',') {
        match name {
            "keepalived" => found.extend(&Contender::ALL[1..]),
            name => found.push(name.parse()?),
        }
    }
    Ok(found)
}

fn play(plan: &Plan, keep: &PathBuf) -> Result<ExitCode, String> {
    if let Some(why) = lab::missing() {
        return Err(why);
    }
    std::fs::create_dir_all(keep).map_err(|error| format!("{}: {error}", keep.display()))?;
    let mut number = 0;
    let all = plan.run(|run| {
        number += 1;
        tell(run);
        let bound = Scenario::named(run.scenario).map(|scenario| scenario.bound);
        let is_kept = bound.is_none_or(|bound| report::is_kept(bound, &[run]));
        if run.contender == Contender::Evergate && !is_kept {
            let name = format!("{}-{number}.txt", run.scenario);
            let text = format!("{}\n\n{}", run.problems.join("\n"), run.evidence.join("\n"));
            let _ = std::fs::write(keep.join(name), text);
        }
    });
    let table = report::table(&all);
    println!("\n{table}");
    let written = std::fs::write(keep.join("table.md"), &table);
    written.map_err(|error| format!("{}: {error}", keep.display()))?;
    for scenario in &plan.scenarios {
        let picture = picture(scenario, &plan.contenders, &all);
        let path = keep.join(format!("{}.svg", scenario.name));
        std::fs::write(&path, picture).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let ours: Vec<&Figures> =
        all.iter().filter(|run| run.contender == Contender::Evergate).collect();
    let kept = plan.scenarios.iter().all(|scenario| {
        let runs: Vec<&Figures> =
            ours.iter().copied().filter(|run| run.scenario == scenario.name).collect();
        runs.is_empty() || report::is_kept(scenario.bound, &runs)
    });
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(run: &Figures) {
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    let switch = run.switch.map_or("no move".to_owned(), |switch| {
        format!("gap {}, {} after the event", ms(switch.gap), ms(switch.after_event))
    });
    let own = run.own.map_or(String::new(), |own| format!(", own {}", ms(own)));
    let noise = if run.is_noisy() { ", NOISY" } else { "" };
    println!(
        "{:<18} {:<18} {switch}{own}; silence {}, {} failed ({}), kept {}, {} flips, stall {}{noise}",
        run.scenario,
        run.contender.to_string(),
        ms(run.silence),
        run.failed,
        run.failures,
        run.kept_failed,
        run.flips,
        ms(run.stall),
    );
    for problem in &run.problems {
        println!("    {problem}");
    }
    let _ = io::stdout().flush();
}

/// The run in the middle of each contender.
fn picture(scenario: &Scenario, contenders: &[Contender], all: &[Figures]) -> String {
    let middle = |contender: &Contender| {
        let of_both = |run: &&Figures| run.scenario == scenario.name && run.contender == *contender;
        let mut runs: Vec<&Figures> = all.iter().filter(of_both).collect();
        runs.sort_by_key(|run| run.silence);
        runs.get(runs.len().checked_sub(1)? / 2).copied()
    };
    let runs: Vec<&Figures> = contenders.iter().filter_map(middle).collect();
    plot::plot(&format!("{}: {}", scenario.name, scenario.about), &runs)
}
