//! `deploy`: how the processes of an app are replaced in turn.

use std::time::Duration;

use crate::diagnostic::Diagnostic;
use crate::duration;
use crate::keys::{Absent, Key, Kind, key, words};
use crate::model::{App, Deploy, OnFailure};
use crate::reader::Section;

/// Longest time that the first new process is watched.
const CANARY_MAX: Duration = Duration::from_secs(86_400);

/// `deploy.on_failure`
pub(crate) const ON_FAILURE: [(&str, OnFailure); 3] = [
    ("abort", OnFailure::Abort),
    ("rollback", OnFailure::Rollback),
    ("continue", OnFailure::Continue),
];

/// `deploy`
pub(super) static KEYS: &[Key] = &[
    key(
        "surge",
        Kind::Number(0, 256),
        Absent::Is("1"),
        "New processes that may run beside the old ones; 0 ends an old one first.",
    ),
    key("unavailable", Kind::Number(0, 256), Absent::Is("0"), "Instances that may be missing."),
    key(
        "canary_for",
        Kind::Delay,
        Absent::Is("10s"),
        "How long the first new process is compared with the old ones before the others follow.",
    ),
    key(
        "on_failure",
        Kind::Choice(&words(&ON_FAILURE)),
        Absent::Is("abort"),
        "When a new process fails: leave the others as they are, bring all old ones back, or go on.",
    ),
];

/// Decodes `deploy`.
pub(super) fn decode(section: &Section<'_>) -> Deploy {
    let deploy = Deploy {
        surge: section.number("surge"),
        unavailable: section.number("unavailable"),
        canary_for: section
            .parsed_or_default("canary_for", duration::between(Duration::ZERO, CANARY_MAX)),
        on_failure: section.choice("on_failure", &ON_FAILURE),
    };
    if (deploy.surge, deploy.unavailable) == (0, 0) {
        section.fail(
            "no-room",
            format!("`{}` allows neither more instances nor fewer", section.path),
            "write `surge = 1` to start a new one first, or `unavailable = 1` to end an old one first",
        );
    }
    deploy
}

/// Warns of a canary that has nothing beside it to be compared with.
pub(super) fn warn_if_alone(app: &Section<'_>, decoded: &App) {
    let Some(section) = app.section("deploy") else { return };
    let watched = section.parsed("canary_for", duration::parse).unwrap_or_default();
    let Some(value) = section.get("canary_for").filter(|_| !watched.is_zero()) else { return };
    let Deploy { surge, unavailable, .. } = decoded.deploy;
    if decoded.instances == 1 && surge == 0 && unavailable > 0 {
        value.report(
            Diagnostic::warning(
                "nothing-to-compare",
                format!("`{}` compares one process with none", value.path),
            )
            .help("write `surge = 1` or more `instances`, or remove it"),
        );
    }
}
