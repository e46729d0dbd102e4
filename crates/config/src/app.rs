//! `[app.NAME]`: processes that the keeper runs.

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::keys::{Absent, Key, Kind, key, later};
use crate::model::{App, AppLimits, Backoff, Deploy, Output, Ready, Restart, Socket, Stop};
use crate::reader::{Fault, Section};
use crate::{address, node};

/// Variables that Evergate sets for each instance.
const OURS: [&str; 5] = ["PORT", "HOST", "APP", "INSTANCE", "GENERATION"];

/// `[app.NAME]`
pub(crate) static KEYS: &[Key] = &[
    key(
        "run",
        Kind::List(&Kind::Text),
        Absent::Error,
        "Program and arguments, without a shell; an absolute path, or a name found in PATH.",
    )
    .example("[\"/opt/shop/server\", \"--quiet\"]"),
    key("instances", Kind::Number(1, 256), Absent::Is("1"), "How many run at once."),
    key(
        "env",
        Kind::Map("variable", &Kind::Text),
        Absent::Means("nothing added"),
        "Added to the environment of Evergate itself.",
    )
    .example("{ MODE = \"production\" }"),
    key("cwd", Kind::Path, Absent::Means("that of Evergate"), "Directory that it starts in.")
        .example("\"/opt/shop\""),
    later("user", "running as another user"),
    later("after", "the order of starting"),
    key(
        "ports",
        Kind::Ports,
        Absent::Is("20000-20999"),
        "Ports to hand out as PORT, one for each instance.",
    ),
    later("ready", "waiting until an instance can serve"),
    later("alive", "restarting an instance that hangs"),
    later("restart", "not restarting what ended"),
    later("backoff", "the pause before a restart"),
    later("stop", "how an instance is asked to stop"),
    later("limits", "bounds on memory and CPU"),
    later("memory_watch", "restarting what leaks"),
    later("output", "keeping what instances print"),
    later("deploy", "rolling restarts"),
];

/// Decodes one app.
pub(crate) fn decode(section: &Section<'_>) -> App {
    let app = App {
        run: section.list("run", argument),
        instances: section.number("instances"),
        env: decode_env(section),
        cwd: section.parsed("cwd", node::directory),
        ports: section.parsed_or_default("ports", address::ports),
        user: None,
        umask: None,
        socket: Socket::default(),
        after: Vec::new(),
        ready: Ready::default(),
        alive: None,
        restart: Restart::default(),
        backoff: Backoff::default(),
        stop: Stop::default(),
        limits: AppLimits::default(),
        memory_watch: None,
        output: Output::default(),
        deploy: Deploy::default(),
    };
    check_run(section, &app.run);
    let ports = usize::from(*app.ports.end() - *app.ports.start()) + 1;
    if ports < usize::from(app.instances) {
        section.fail(
            "too-few-ports",
            format!("`{}` has {} instances but {ports} ports", section.path, app.instances),
            "widen `ports`: each instance needs one, and a restart takes another",
        );
    }
    app
}

fn check_run(section: &Section<'_>, run: &[String]) {
    let Some(value) = section.get("run") else { return };
    if value.is_empty_list() {
        value.report(
            Diagnostic::error("empty-list", format!("`{}` names no program", value.path))
                .help("write program and arguments: `run = [\"/opt/shop/server\", \"--quiet\"]`"),
        );
    }
    let Some(program) = run.first() else { return };
    if run.len() == 1 && program.contains(' ') {
        let words: Vec<_> = program.split_whitespace().map(|word| format!("{word:?}")).collect();
        value.report(
            Diagnostic::error(
                "bad-command",
                format!("`{}` is one word with spaces: there is no shell to split it", value.path),
            )
            .help(format!("write `run = [{}]`", words.join(", "))),
        );
    } else if program.contains('/') && !program.starts_with('/') {
        value.report(
            Diagnostic::error(
                "bad-command",
                format!("the program of `{}` is a relative path", section.path),
            )
            .help("begin it with `/`: where Evergate is started from can change"),
        );
    }
}

fn argument(text: &str) -> Result<String, Fault> {
    if text.contains('\0') {
        return Err(Fault::new("bad-command", "holds a NUL"));
    }
    Ok(text.to_owned())
}

fn decode_env(section: &Section<'_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for (written, value) in section.entries("env") {
        let name = value.check_key(&written, variable);
        let text = value.parsed(argument);
        env.extend(name.zip(text));
    }
    env
}

fn variable(name: &str) -> Result<String, Fault> {
    if OURS.contains(&name) {
        return Err(Fault::new("bad-variable", "is set by Evergate for each instance")
            .help("leave it out; the program reads it from its environment"));
    }
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(Fault::new("bad-variable", "cannot be the name of a variable"));
    }
    Ok(name.to_owned())
}
