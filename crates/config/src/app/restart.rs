//! `restart` and `backoff`: what follows the end of a process.

use std::time::Duration;

use crate::diagnostic::Diagnostic;
use crate::duration;
use crate::keys::{Absent, Key, Kind, key};
use crate::model::{Backoff, Restart};
use crate::reader::Section;

/// Longest wait, and longest time that is looked back on.
const WAIT_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Shortest wait.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// `restart`
pub(crate) const RESTARTS: [(&str, Restart); 3] =
    [("always", Restart::Always), ("on-failure", Restart::OnFailure), ("never", Restart::Never)];

/// `backoff`
pub(super) static BACKOFF: &[Key] = &[
    key(
        "base",
        Kind::Duration,
        Absent::Is("250ms"),
        "Wait after the first failure, doubled after each further one.",
    ),
    key("cap", Kind::Duration, Absent::Is("30s"), "Longest wait."),
    key(
        "failures",
        Kind::Number(1, 1000),
        Absent::Is("10"),
        "So many failures within `within` are too many: it is left alone for `cooldown`.",
    ),
    key("within", Kind::Duration, Absent::Is("10m"), "Time over which failures are counted."),
    key(
        "cooldown",
        Kind::Delay,
        Absent::Is("5m"),
        "From too many failures to the next try; `\"0s\"` waits for `evergate start`.",
    ),
    key(
        "stable_after",
        Kind::Duration,
        Absent::Is("60s"),
        "A process that was ready for so long is followed by another at once, and earlier failures \
         are forgiven.",
    ),
];

/// Decodes `backoff`.
pub(super) fn backoff(section: &Section<'_>) -> Backoff {
    let positive = duration::between(WAIT_MIN, WAIT_MAX);
    let backoff = Backoff {
        base: section.parsed_or_default("base", &positive),
        cap: section.parsed_or_default("cap", &positive),
        failures: section.number("failures"),
        within: section.parsed_or_default("within", &positive),
        cooldown: section
            .parsed_or_default("cooldown", duration::between(Duration::ZERO, WAIT_MAX)),
        stable_after: section.parsed_or_default("stable_after", &positive),
    };
    if backoff.base > backoff.cap
        && let Some(value) = section.get("base").or_else(|| section.get("cap"))
    {
        let (base, cap) = (duration::show(backoff.base), duration::show(backoff.cap));
        value.report(
            Diagnostic::error(
                "bad-duration",
                format!("`{}` begins with {base}, which is over its `cap`, {cap}", section.path),
            )
            .help("make `base` shorter, or `cap` longer"),
        );
    }
    backoff
}
