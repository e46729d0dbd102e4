//! `output`: what becomes of what a process prints.

use crate::diagnostic::Diagnostic;
use crate::keys::{Absent, Key, Kind, key, words};
use crate::model::{Output, OutputTo};
use crate::reader::Section;
use crate::size;

/// Least bytes of each file: less would hold no trace of a crash.
const FILE_MIN: u64 = 64 << 10;

/// `output.to`
pub(crate) const PLACES: [(&str, OutputTo); 3] =
    [("files", OutputTo::Files), ("stdout", OutputTo::Stdout), ("nowhere", OutputTo::Nowhere)];

/// `output`
pub(super) static KEYS: &[Key] = &[
    key(
        "to",
        Kind::Choice(&words(&PLACES)),
        Absent::Is("files"),
        "Where it goes: to `NAME.log` in `node.log_dir`, to the standard output of Evergate, or \
         nowhere.",
    ),
    key("max", Kind::Size, Absent::Is("16MiB"), "Most bytes of all files of the app together.")
        .example("\"16MiB\""),
    key(
        "keep",
        Kind::Number(1, 100),
        Absent::Is("3"),
        "Older files that are kept beside the one that is written.",
    ),
];

/// Decodes `output`.
pub(super) fn decode(section: &Section<'_>) -> Output {
    let output = Output {
        to: section.choice("to", &PLACES),
        max: section.parsed_or_default("max", size::parse),
        keep: section.number("keep"),
    };
    match output.to {
        OutputTo::Files => refuse_crumbs(section, output),
        OutputTo::Stdout | OutputTo::Nowhere => warn_fileless(section),
    }
    output
}

fn refuse_crumbs(section: &Section<'_>, output: Output) {
    let files = u64::from(output.keep) + 1;
    if output.max / files >= FILE_MIN {
        return;
    }
    let value = section.get("max").or_else(|| section.get("keep"));
    let value = value.expect("the defaults are enough");
    value.report(
        Diagnostic::error(
            "bad-size",
            format!(
                "`{}.max` is {} for {files} files: each needs {}",
                section.path,
                size::show(output.max),
                size::show(FILE_MIN)
            ),
        )
        .help(format!("write `max = \"{}\"` or more, or keep fewer", size::show(files * FILE_MIN))),
    );
}

fn warn_fileless(section: &Section<'_>) {
    for name in ["max", "keep"] {
        let Some(value) = section.get(name) else { continue };
        value.report(
            Diagnostic::warning("unused-key", format!("`{}` has no effect", value.path))
                .help("remove it: it is for `to = \"files\"`"),
        );
    }
}
