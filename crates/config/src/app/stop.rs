//! `stop`: how a process is ended.

use std::time::Duration;

use crate::duration;
use crate::keys::{Absent, Key, Kind, key, words};
use crate::model::{Kill, Stop, StopSignal};
use crate::reader::{Fault, Section};

/// Shortest time for a process to end by itself.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);
/// Longest time for a process to end by itself.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Longest time for its requests.
const DRAIN_MAX: Duration = Duration::from_secs(86_400);

/// `stop.signal`
pub(crate) const SIGNALS: [(&str, StopSignal); 8] = [
    ("TERM", StopSignal::Term),
    ("INT", StopSignal::Int),
    ("QUIT", StopSignal::Quit),
    ("HUP", StopSignal::Hup),
    ("USR1", StopSignal::Usr1),
    ("USR2", StopSignal::Usr2),
    ("WINCH", StopSignal::Winch),
    ("KILL", StopSignal::Kill),
];

/// `stop.kill`
pub(crate) const KILLS: [(&str, Kill); 3] =
    [("tree", Kill::Tree), ("group", Kill::Group), ("main", Kill::Main)];

/// `stop`
pub(super) static KEYS: &[Key] = &[
    key(
        "signal",
        Kind::Choice(&words(&SIGNALS)),
        Absent::Is("TERM"),
        "What asks the process to end.",
    ),
    key(
        "timeout",
        Kind::Duration,
        Absent::Is("10s"),
        "What it gets to end by itself; then it is killed.",
    ),
    key(
        "kill",
        Kind::Choice(&words(&KILLS)),
        Absent::Is("tree"),
        "What is ended with it: every process that descends from it, its process group, or nothing.",
    ),
    key(
        "drain",
        Kind::Delay,
        Absent::Is("30s"),
        "What its requests in flight get to finish before that; the rest is cut.",
    ),
];

/// Decodes `stop`.
pub(super) fn decode(section: &Section<'_>) -> Stop {
    Stop {
        signal: section.choice("signal", &SIGNALS),
        timeout: section.parsed_or_default("timeout", timeout),
        kill: section.choice("kill", &KILLS),
        drain: section.parsed_or_default("drain", duration::between(Duration::ZERO, DRAIN_MAX)),
    }
}

fn timeout(text: &str) -> Result<Duration, Fault> {
    duration::between(TIMEOUT_MIN, TIMEOUT_MAX)(text).map_err(|fault| match duration::parse(text) {
        Ok(Duration::ZERO) => fault.help("write `signal = \"KILL\"` to end it at once"),
        Ok(_) | Err(_) => fault,
    })
}
