//! `limits` and `memory_watch`: what a process may use.

use std::time::Duration;

use crate::diagnostic::Diagnostic;
use crate::keys::{Absent, Key, Kind, key};
use crate::model::{AppLimits, MemoryWatch};
use crate::reader::{Fault, Section};
use crate::{duration, size};

/// With less memory hardly anything starts.
const MEMORY_MIN: u64 = 1 << 20;
/// Shortest time between two looks at memory.
const OVER_MIN: Duration = Duration::from_secs(1);
/// Longest time that a process may use much memory.
const OVER_MAX: Duration = Duration::from_secs(7 * 86_400);

/// `limits`
pub(super) static LIMITS: &[Key] = &[
    key("memory", Kind::Size, Absent::Means("none"), "Memory; beyond it the kernel kills it.")
        .example("\"256MiB\""),
    key(
        "cpu",
        Kind::CoreShare,
        Absent::Means("none"),
        "Time on processors; `\"100%\"` is one core.",
    ),
    key("files", Kind::Number(16, 1_048_576), Absent::Means("that of Evergate"), "Open files.")
        .example("4096"),
    key("tasks", Kind::Number(1, 4_194_304), Absent::Means("none"), "Processes and threads.")
        .example("256"),
];

/// `memory_watch`
pub(super) static MEMORY_WATCH: &[Key] = &[
    key("rss", Kind::Size, Absent::Error, "Resident memory of all its processes.")
        .example("\"200MiB\""),
    key("for", Kind::Duration, Absent::Is("5m"), "How long it may use more."),
];

/// Decodes `limits`.
pub(super) fn limits(section: &Section<'_>) -> AppLimits {
    AppLimits {
        memory: section.parsed("memory", memory),
        cpu_percent: section.parsed("cpu", size::core_percent),
        files: section.number_if_written("files"),
        tasks: section.number_if_written("tasks"),
    }
}

/// Decodes `memory_watch` of an app.
pub(super) fn memory_watch(app: &Section<'_>, limits: &AppLimits) -> Option<MemoryWatch> {
    let section = app.section("memory_watch")?;
    let over = section.parsed_or_default("for", duration::between(OVER_MIN, OVER_MAX));
    let rss = section.parsed("rss", memory)?;
    if let Some(limit) = limits.memory.filter(|limit| rss >= *limit) {
        let value = section.get("rss").expect("it was just read");
        let limit = size::show(limit);
        value.report(
            Diagnostic::warning(
                "unused-key",
                format!("`{}` is never reached: `limits.memory` is {limit}", value.path),
            )
            .help("make it less than the limit, at which the kernel kills the process"),
        );
    }
    Some(MemoryWatch { rss, over })
}

fn memory(text: &str) -> Result<u64, Fault> {
    match size::parse(text)? {
        bytes if bytes >= MEMORY_MIN => Ok(bytes),
        _ => {
            let complaint = format!("is too small; the least is {}", size::show(MEMORY_MIN));
            Err(Fault::new("bad-size", complaint))
        }
    }
}
