//! Whether the programs that are to be run are on this machine. They need not be yet, so these are
//! warnings.

use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostic;
use crate::files::Files;
use crate::model::App;
use crate::reader::Section;
use crate::value::Value;

/// Where programs are looked for if there is no PATH; as the keeper does.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bits of a mode that let somebody execute a file.
const EXECUTABLE: u32 = 0o111;
/// Bits of a mode that let others than the owner write to a file.
const OPEN: u32 = 0o022;

/// What is at a path, as far as a program is concerned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Found {
    /// A file with this mode, which somebody may execute.
    Program(u32),
    Directory,
    /// A file with this mode, which nobody may execute.
    Inert(u32),
    Nothing,
    /// We may not look.
    Unknown,
}

/// What a program is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Purpose {
    /// An app.
    App,
    /// To be called when a role changes.
    Hook,
}

/// Warns of programs of `on_change` that are not there, or would not be called.
pub(crate) fn warn_of_hooks(section: &Section<'_>, hooks: &[PathBuf]) {
    let files = section.reader.files;
    let path = files.env("PATH").unwrap_or_else(|| PATH_DEFAULT.to_owned());
    let items = section.items("on_change");
    if items.len() != hooks.len() {
        // What is wrong with them was told.
        return;
    }
    for (value, program) in items.iter().zip(hooks) {
        match find(files, program) {
            Found::Program(mode) if mode & OPEN != 0 => {
                let message = format!(
                    "{} would not be called: others can write to it, its mode is {mode:o}",
                    shown(value)
                );
                let help = format!("run `chmod go-w {}`", program.display());
                value.report(Diagnostic::warning("exposed-program", message).help(help));
            }
            _ => warn_of_file(files, value, program, &path, Purpose::Hook),
        }
    }
}

/// Warns of a program or directory of an app that is not there.
pub(crate) fn warn_of_app(section: &Section<'_>, app: &App) {
    let files = section.reader.files;
    if let (Some(cwd), Some(value)) = (&app.cwd, section.get("cwd"))
        && files.is_directory(cwd) == Some(false)
    {
        let message = format!("{} is no directory", shown(&value));
        let help = "make it before the app starts, or mend the path";
        value.report(Diagnostic::warning("missing-directory", message).help(help));
    }
    let Some(value) = section.items("run").into_iter().next() else { return };
    let Some(program) = app.run.first() else { return };
    let path = app.env.get("PATH").cloned().or_else(|| files.env("PATH"));
    let path = path.as_deref().unwrap_or(PATH_DEFAULT);
    if program.starts_with('/') {
        warn_of_file(files, &value, Path::new(program), path, Purpose::App);
    } else if !program.contains(['/', ' ']) && look_up(files, program, path) == Found::Nothing {
        let message = format!("{} was not found in PATH", shown(&value));
        let help = "install it, or write where it is: PATH of a service is not that of your shell";
        value.report(Diagnostic::warning("missing-program", message).help(help));
    }
}

fn warn_of_file(
    files: &dyn Files,
    value: &Value<'_>,
    program: &Path,
    path: &str,
    purpose: Purpose,
) {
    let shown = shown(value);
    let (message, help) = match find(files, program) {
        Found::Program(_) => return warn_of_interpreter(files, value, program, path),
        Found::Unknown => return,
        Found::Nothing => (
            format!("{shown} is not there"),
            match purpose {
                Purpose::App => "put it there before the app starts, or mend the path".to_owned(),
                Purpose::Hook => "put it there before a role changes, or mend the path".to_owned(),
            },
        ),
        Found::Directory => {
            (format!("{shown} is a directory"), "name the program in it".to_owned())
        }
        Found::Inert(mode) => (
            format!("{shown} is not executable: its mode is {mode:o}"),
            match purpose {
                Purpose::App => "`chmod +x` lets it be; of a script, name the interpreter first: \
                                 `run = [\"python3\", …]`"
                    .to_owned(),
                Purpose::Hook => format!("run `chmod +x {}`", program.display()),
            },
        ),
    };
    value.report(Diagnostic::warning("missing-program", message).help(help));
}

/// A script names in its first line what runs it; without that, the kernel says that the script
/// itself is not there.
fn warn_of_interpreter(files: &dyn Files, value: &Value<'_>, script: &Path, path: &str) {
    let Some(line) = files.interpreter(script) else { return };
    let mut words = line.split_whitespace();
    let Some(interpreter) = words.next() else { return };
    let by_name = interpreter.ends_with("/env").then(|| words.next()).flatten();
    let missing = match by_name {
        _ if find(files, Path::new(interpreter)) == Found::Nothing => interpreter,
        Some(name) if !name.starts_with('-') && look_up(files, name, path) == Found::Nothing => {
            name
        }
        Some(_) | None => return,
    };
    let message = format!("what runs {}, `{}`, is not there", shown(value), missing.escape_debug());
    let help = "install it, or mend the first line of the script";
    value.report(Diagnostic::warning("missing-program", message).help(help));
}

/// The best that is found for `name` in the directories of `path`.
fn look_up(files: &dyn Files, name: &str, path: &str) -> Found {
    let mut best = Found::Nothing;
    for directory in path.split(':').filter(|directory| directory.starts_with('/')) {
        match find(files, &PathBuf::from(directory).join(name)) {
            Found::Program(mode) => return Found::Program(mode),
            Found::Unknown => best = Found::Unknown,
            Found::Directory | Found::Inert(_) | Found::Nothing => {}
        }
    }
    best
}

fn find(files: &dyn Files, path: &Path) -> Found {
    match (files.is_directory(path), files.mode(path)) {
        (Some(true), _) => Found::Directory,
        (Some(false), Some(mode)) if mode & EXECUTABLE != 0 => Found::Program(mode),
        (Some(false), Some(mode)) => Found::Inert(mode),
        (Some(false), None) => Found::Nothing,
        (None, _) => Found::Unknown,
    }
}

/// The value as it may be shown: what comes from elsewhere may be a secret.
fn shown(value: &Value<'_>) -> String {
    match value.words() {
        Some(words) => match words.from {
            Some(from) => format!("the value of `{from}`"),
            None => format!("`{}`", words.text.escape_debug()),
        },
        None => format!("`{}`", value.path),
    }
}
