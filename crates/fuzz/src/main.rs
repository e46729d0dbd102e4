//! Runs one fuzz target on mutants of its corpus until the time is over or a promise is broken.
//!
//! A broken promise is printed with the input in hexadecimal and the seed, and the input is kept
//! in the corpus, so that the tests fail until it is mended.

use std::env;
use std::panic;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use evergate_fuzz::mutator::Mutator;
use evergate_fuzz::{TARGETS, Target, corpus};

const USAGE: &str = "usage: evergate-fuzz TARGET [--seconds N] [--seed S]";
/// How long to go on unless told otherwise.
const SECONDS: u64 = 10;
/// How many inputs to run between two looks at the clock.
const BATCH: u64 = 256;

struct Arguments {
    target: Target,
    seconds: u64,
    seed: u64,
}

fn main() -> ExitCode {
    let arguments = match parse(env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            let names = TARGETS.map(|target| target.name).join(", ");
            eprintln!("{message}\n{USAGE}\ntargets: {names}");
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the corpus of {}: {error}", arguments.target.name);
            ExitCode::from(2)
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let name = words.next().ok_or("a target is missing")?;
    let target = TARGETS.into_iter().find(|target| target.name == name);
    let target = target.ok_or_else(|| format!("no target is called {name}"))?;
    let mut arguments = Arguments { target, seconds: SECONDS, seed: 0 };
    while let Some(option) = words.next() {
        let value = words.next().and_then(|value| value.parse().ok());
        let value = value.ok_or_else(|| format!("{option} needs a number"))?;
        match &*option {
            "--seconds" => arguments.seconds = value,
            "--seed" => arguments.seed = value,
            _ => return Err(format!("no option is called {option}")),
        }
    }
    Ok(arguments)
}

/// Whether every input kept the promises.
fn run(arguments: &Arguments) -> std::io::Result<bool> {
    let Arguments { target, seconds, seed } = *arguments;
    let entries = corpus::load(target.name)?;
    let seeds = entries.iter().map(|entry| &entry.bytes[..]);
    let mut mutator = Mutator::new(seed, seeds.clone(), target.words);
    let started = Instant::now();
    let mut count = 0u64;
    let mut inputs =
        seeds.map(<[u8]>::to_vec).chain(std::iter::from_fn(|| Some(mutator.next_input())));
    while !count.is_multiple_of(BATCH) || started.elapsed() < Duration::from_secs(seconds) {
        let input = inputs.next().expect("the mutator never ends");
        if !keeps_promises(target, &input) {
            let small = shrink(target, input);
            let path =
                corpus::save_crash(target.name, &format!("seed-{seed}-input-{count}"), &small)?;
            let hex: String = small.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!(
                "{} broke a promise: {hex}\nseed {seed}, kept in {}",
                target.name,
                path.display()
            );
            return Ok(false);
        }
        count += 1;
    }
    eprintln!("{}: {count} inputs in {seconds} s, seed {seed}", target.name);
    Ok(true)
}

fn keeps_promises(target: Target, input: &[u8]) -> bool {
    panic::catch_unwind(|| (target.run)(input)).is_ok()
}

/// A smaller input that breaks a promise too.
fn shrink(target: Target, mut input: Vec<u8>) -> Vec<u8> {
    let loud = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let mut len = input.len() / 2;
    while len > 0 {
        let mut at = 0;
        while at + len <= input.len() {
            let smaller = [&input[..at], &input[at + len..]].concat();
            if keeps_promises(target, &smaller) {
                at += len;
            } else {
                input = smaller;
            }
        }
        len /= 2;
    }
    panic::set_hook(loud);
    input
}
