//! What instances track: interfaces as rules of ours, the rest as advice.
//!
//! A script says in a language of its own what Evergate sees for itself: whether servers answer and
//! processes live. What it means is for a person to decide; what it seems to mean is proposed.

use std::time::Duration;

use evergate_core::time::Spoken;

use super::Notes;
use super::block::Statement;
use super::globals::{number, seconds};
use crate::duration;
use crate::effective::text as quoted;
use crate::keys::WEIGHT_MAX;

/// A script, process or file that can be tracked.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    kind: Kind,
    every: Duration,
    timeout: Duration,
    fall: u64,
    rise: u64,
    /// None is a fault.
    weight: Option<i16>,
}

#[derive(Clone, Debug)]
enum Kind {
    Script(String),
    Process(String),
    File(String),
}

/// Reads what can be tracked.
pub(super) fn watch(statement: &Statement, notes: &mut Notes) -> Option<(String, Watch)> {
    let Some(name) = statement.value() else {
        notes.add(statement.at.clone(), format!("a `{}` needs a name", statement.keyword()));
        return None;
    };
    let line = |keyword: &str| statement.body.iter().find(|line| line.keyword() == keyword);
    let what = |keyword: &str| line(keyword).map(Statement::rest).unwrap_or_default();
    let kind = match statement.keyword() {
        "vrrp_script" => Kind::Script(what("script")),
        "vrrp_track_process" => Kind::Process(what("process")),
        _ => Kind::File(what("file")),
    };
    let mut time = |keyword: &str, default: Duration| {
        line(keyword).and_then(|line| seconds(line, notes)).unwrap_or(default)
    };
    let every = time("interval", Duration::from_secs(1));
    let timeout = time("timeout", every);
    let mut count =
        |keyword: &str| line(keyword).and_then(|line| number(line, notes)).unwrap_or(1).max(1);
    let (fall, rise) = (count("fall"), count("rise"));
    let weight = line("weight").and_then(|line| weight(line, line.value(), notes));
    Some((name.to_owned(), Watch { kind, every, timeout, fall, rise, weight }))
}

/// A weight as ours; none is a fault.
pub(super) fn weight(line: &Statement, written: Option<&str>, notes: &mut Notes) -> Option<i16> {
    let Some(number) = written.and_then(|written| written.parse::<i64>().ok()) else {
        notes.add(line.at.clone(), "a weight is a number");
        return None;
    };
    let clamped = number.clamp(-WEIGHT_MAX, WEIGHT_MAX);
    if clamped != number {
        notes.add(line.at.clone(), format!("the weight {number} becomes {clamped}"));
    }
    if line.words.iter().any(|word| word == "reverse") {
        notes.add(line.at.clone(), "`reverse` is not carried: the weight counts as without it");
    }
    // What keepalived calls 0 is a fault.
    i16::try_from(clamped).ok().filter(|weight| *weight != 0)
}

/// A weight behind the name of what is tracked.
pub(super) fn weight_of(line: &Statement, notes: &mut Notes) -> Option<Option<i16>> {
    tell_rest(line, notes);
    let at = line.words.iter().position(|word| word == "weight")?;
    Some(weight(line, line.words.get(at + 1).map(String::as_str), notes))
}

/// What stands behind the name and its weight: a line names one thing.
fn tell_rest(line: &Statement, notes: &mut Notes) {
    let mut words = line.words.iter().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "weight" => drop(words.next()),
            "reverse" | "noreverse" => {}
            _ => {
                let message = format!("`{word}` behind `{}` is not carried", line.keyword());
                notes.add(line.at.clone(), message);
            }
        }
    }
}

/// An effect as it is written in `track`.
pub(super) fn effect(weight: Option<i16>) -> String {
    weight.map_or_else(|| "\"fault\"".to_owned(), |weight| weight.to_string())
}

/// What is proposed in place of something that was tracked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Advice {
    /// For `track`: what it was, and what it may become.
    pub(super) track: Vec<String>,
    /// A section beside it.
    pub(super) section: Vec<String>,
}

/// What is proposed for something that is tracked, with a weight of its own if it has one.
pub(super) fn advice(name: &str, watch: Option<&Watch>, own_weight: Option<Option<i16>>) -> Advice {
    let only = |track: Vec<String>| Advice { track, section: Vec::new() };
    let Some(watch) = watch else {
        return only(vec![format!("{name} was tracked, but not defined.")]);
    };
    let weight = own_weight.unwrap_or(watch.weight);
    let does = match weight {
        None => "a failure gave the address up".to_owned(),
        Some(weight) => format!("weight {weight}"),
    };
    let effect = effect(weight);
    let of_app = |what: String| {
        only(vec![
            what,
            "If Evergate runs that program as [app.NAME], or knows its servers as [pool.NAME]:"
                .to_owned(),
            format!("app.NAME = {effect}"),
        ])
    };
    let Watch { kind, every, fall, rise, .. } = watch;
    match kind {
        Kind::Script(script) => {
            let every = Spoken(*every);
            let what = match script.as_str() {
                "" => format!("{name} has no script here; {does}."),
                script => format!(
                    "{name} ran `{script}` every {every}, fall {fall}, rise {rise}; {does}."
                ),
            };
            let Some(section) = of_script(name, script, watch) else { return of_app(what) };
            let plain = plain(name);
            let track = vec![
                what,
                format!("If the [pool.{plain}] below asks the same:"),
                format!("pool.{plain} = {effect}"),
            ];
            Advice { track, section }
        }
        Kind::Process(process) => {
            of_app(format!("{name} watched the process `{process}`; {does}."))
        }
        Kind::File(file) => only(vec![
            format!("{name} read the file {file}; {does}."),
            "To give the address up by hand: `evergate failover`, `maintenance on`.".to_owned(),
        ]),
    }
}

/// A pool that asks what a script seems to ask.
fn of_script(name: &str, script: &str, watch: &Watch) -> Option<Vec<String>> {
    let (url, check) = match script.find("http://") {
        Some(at) => {
            let rest = &script[at + "http://".len()..];
            let end = rest.find(|c: char| c.is_whitespace() || "\"'|;&<>#".contains(c));
            let rest = &rest[..end.unwrap_or(rest.len())];
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
            let path = if path.is_empty() { "/" } else { path };
            (format!("http://{host}"), format!("http = {{ path = {}, ", quoted(path)))
        }
        None => {
            let words: Vec<_> = script.split_whitespace().collect();
            let is_nc = words.iter().any(|word| word.ends_with("nc") || word.ends_with("ncat"));
            let plain: Vec<_> = words.iter().filter(|word| !word.starts_with('-')).collect();
            let [.., host, port] = plain[..] else { return None };
            if !is_nc || port.parse::<u16>().is_err() {
                return None;
            }
            (format!("http://{host}:{port}"), "tcp = { ".to_owned())
        }
    };
    let timeout = watch.timeout.min(watch.every).max(Duration::from_millis(1));
    Some(vec![
        format!("[pool.{}]", plain(name)),
        format!("servers = {{ local = {{ url = {} }} }}", quoted(&url)),
        format!(
            "check.{check}every = \"{}\", timeout = \"{}\", fall = {}, rise = {} }}",
            duration::show(watch.every.max(Duration::from_millis(1))),
            duration::show(timeout),
            watch.fall,
            watch.rise
        ),
    ])
}

/// A name as ours may be.
pub(super) fn plain(name: &str) -> String {
    const NAME_BYTES_MAX: usize = 64;
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let plain = name.chars().map(|c| if legal(c) { c } else { '_' });
    let plain: String = plain.take(NAME_BYTES_MAX).collect();
    if plain.is_empty() { "vip".to_owned() } else { plain }
}
