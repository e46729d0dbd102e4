//! `ready` and `alive`: how processes are found to serve, or to hang.

use std::time::Duration;

use crate::diagnostic::Diagnostic;
use crate::duration;
use crate::keys::{Absent, Key, Kind, key, words};
use crate::model::{Alive, AliveBy, Ready, ReadyBy};
use crate::probe;
use crate::reader::Section;

/// Longest time for a start.
const WITHIN_MAX: Duration = Duration::from_secs(3600);
/// Shortest time between two probes.
const EVERY_MIN: Duration = Duration::from_millis(10);
/// Longest time between two probes, and that a process may hang.
const EVERY_MAX: Duration = Duration::from_secs(86_400);

/// `ready.by`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sign {
    Tcp,
    Notify,
    Nothing,
}

const SIGNS: [(&str, Sign); 3] =
    [("tcp", Sign::Tcp), ("notify", Sign::Notify), ("none", Sign::Nothing)];
/// `alive.by`
const SIGNS_OF_LIFE: [(&str, ()); 1] = [("tcp", ())];

/// `ready`
pub(super) static READY: &[Key] = &[
    key(
        "http",
        Kind::Text,
        Absent::Means("`by` alone"),
        "Path of a GET that must be answered with a status from 200 to 299.",
    )
    .example("\"/health\""),
    key(
        "by",
        Kind::Choice(&words(&SIGNS)),
        Absent::Means("`\"tcp\"`, unless there is `http`"),
        "What else shows it: that it accepts a connection, that it says `READY=1` (sd_notify), or \
         nothing but that it is still there after a second.",
    ),
    key("within", Kind::Duration, Absent::Is("30s"), "Longest time for a start; then it failed."),
    key("every", Kind::Duration, Absent::Is("100ms"), "Time between two probes."),
    key("rise", Kind::Number(1, 1000), Absent::Is("1"), "Probes in a row that must pass."),
];

/// `alive`
pub(super) static ALIVE: &[Key] = &[
    key(
        "http",
        Kind::Text,
        Absent::Means("`by` alone"),
        "Path of a GET that must be answered with a status from 200 to 299.",
    )
    .example("\"/health\""),
    key(
        "by",
        Kind::Choice(&words(&SIGNS_OF_LIFE)),
        Absent::Means("`\"tcp\"`, unless there is `http`"),
        "What else shows it: that it accepts a connection.",
    ),
    key("every", Kind::Duration, Absent::Is("10s"), "Time between two probes."),
    key(
        "timeout",
        Kind::Duration,
        Absent::Means("1s, or `every` if that is shorter"),
        "After this a probe counts as failed.",
    )
    .example("\"1s\""),
    key(
        "fall",
        Kind::Number(1, 1000),
        Absent::Is("3"),
        "Failures in a row after which it gets no requests.",
    ),
    key(
        "restart_after",
        Kind::Duration,
        Absent::Means("never replaced"),
        "How long it may hang until it is replaced, while another one is ready.",
    )
    .example("\"1m\""),
];

/// Decodes `ready`.
pub(super) fn ready(section: &Section<'_>) -> Ready {
    let path = section.parsed("http", probe::path);
    let sign = section.choice_if_written("by", &SIGNS);
    refuse_two(section);
    let by = match (path, sign.unwrap_or(Sign::Tcp)) {
        (Some(path), _) => ReadyBy::Http(path),
        (None, Sign::Tcp) => ReadyBy::Tcp,
        (None, Sign::Notify) => ReadyBy::Notify,
        (None, Sign::Nothing) => ReadyBy::Nothing,
    };
    let ready = Ready {
        within: section.parsed_or_default("within", duration::between(EVERY_MIN, WITHIN_MAX)),
        every: section.parsed_or_default("every", duration::between(EVERY_MIN, EVERY_MAX)),
        rise: section.number("rise"),
        by,
    };
    match ready.by {
        ReadyBy::Http(_) | ReadyBy::Tcp => refuse_late(section, &ready),
        ReadyBy::Notify => warn_unprobed(section, "the process says so itself"),
        ReadyBy::Nothing => warn_unprobed(section, "nothing is probed"),
    }
    ready
}

/// Decodes `alive`.
pub(super) fn alive(section: &Section<'_>) -> Alive {
    let path = section.parsed("http", probe::path);
    section.choice_if_written("by", &SIGNS_OF_LIFE);
    refuse_two(section);
    let every = section.parsed_or_default("every", duration::between(EVERY_MIN, EVERY_MAX));
    Alive {
        by: path.map_or(AliveBy::Tcp, AliveBy::Http),
        every,
        timeout: probe::timeout(section, every),
        fall: section.number("fall"),
        restart_after: section.parsed("restart_after", duration::between(EVERY_MIN, EVERY_MAX)),
    }
}

fn refuse_two(section: &Section<'_>) {
    if section.has("http") && section.has("by") {
        section.fail(
            "two-probes",
            format!("`{}` has both `http` and `by`", section.path),
            "keep one of them",
        );
    }
}

/// So many probes must fit the time for a start.
fn refuse_late(section: &Section<'_>, ready: &Ready) {
    let least = ready.every * u32::from(ready.rise - 1);
    if least < ready.within {
        return;
    }
    section.fail(
        "never-ready",
        format!(
            "`{}` can never be: {} probes take {}, and `within` is {}",
            section.path,
            ready.rise,
            duration::show(least),
            duration::show(ready.within)
        ),
        "make `within` longer, or `rise` or `every` smaller",
    );
}

fn warn_unprobed(section: &Section<'_>, why: &str) {
    for name in ["every", "rise"] {
        let Some(value) = section.get(name) else { continue };
        value.report(
            Diagnostic::warning("unused-key", format!("`{}` has no effect: {why}", value.path))
                .help("remove it, or write another `by`"),
        );
    }
}
