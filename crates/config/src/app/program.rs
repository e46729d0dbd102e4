//! What is run: program, arguments, environment, and where it listens.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::Diagnostic;
use crate::keys::Noun;
use crate::model::{App, Config, Socket};
use crate::reader::{Fault, Reader, Section};

/// Variables that Evergate sets for each process.
const OURS: [&str; 10] = [
    "PORT",
    "HOST",
    "APP",
    "INSTANCE",
    "GENERATION",
    "NOTIFY_SOCKET",
    "SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

/// Longest path of a Unix socket, in bytes (unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// `socket`
pub(crate) const SOCKETS: [(&str, Socket); 3] =
    [("port", Socket::Port), ("inherit", Socket::Inherit), ("unix", Socket::Unix)];

/// Decodes `run`.
pub(super) fn run(section: &Section<'_>, hidden: &mut BTreeSet<usize>) -> Vec<String> {
    let mut run = Vec::new();
    for item in section.items("run") {
        let Some(word) = item.parsed(argument) else { continue };
        if item.is_from_elsewhere() {
            hidden.insert(run.len());
        }
        run.push(word);
    }
    let Some(value) = section.get("run") else { return run };
    if value.is_empty_list() {
        value.report(
            Diagnostic::error("empty-list", format!("`{}` names no program", value.path))
                .help("write program and arguments: `run = [\"/opt/shop/server\", \"--quiet\"]`"),
        );
    }
    let Some(program) = run.first() else { return run };
    if run.len() == 1 && program.contains(' ') {
        let words: Vec<_> = program.split_whitespace().map(|word| format!("{word:?}")).collect();
        let help = match hidden.is_empty() {
            true => format!("write `run = [{}]`", words.join(", ")),
            false => "write the program and each argument as an item of its own".to_owned(),
        };
        value.report(
            Diagnostic::error(
                "bad-command",
                format!("`{}` is one word with spaces: there is no shell to split it", value.path),
            )
            .help(help),
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
    run
}

/// Decodes `env`.
pub(super) fn env(
    section: &Section<'_>,
    hidden: &mut BTreeSet<String>,
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for (written, value) in section.entries("env") {
        let name = value.check_key(&written, variable);
        let text = value.parsed(argument);
        if value.is_from_elsewhere() {
            hidden.extend(name.clone());
        }
        env.extend(name.zip(text));
    }
    env
}

/// Every process needs a port of its own, and while the app is deployed there are more of them.
pub(super) fn check_ports(section: &Section<'_>, app: &App) {
    if app.socket == Socket::Unix {
        if let Some(ports) = section.get("ports") {
            ports.report(
                Diagnostic::warning("unused-key", format!("`{}` has no effect", ports.path))
                    .help("remove it: with `socket = \"unix\"` no port is handed out"),
            );
        }
        return;
    }
    let ports = app.ports.len();
    let (instances, surge) = (usize::from(app.instances), usize::from(app.deploy.surge));
    if ports >= instances + surge {
        return;
    }
    let beside = match surge {
        0 => String::new(),
        surge => format!(" and {surge} more while they are replaced (`deploy.surge`)"),
    };
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    section.fail(
        "too-few-ports",
        format!(
            "`{}` has {instances} instance{}{beside}, but {ports} port{}",
            section.path,
            plural(instances),
            plural(ports)
        ),
        "widen `ports`: each process needs one of its own",
    );
}

/// An app that is told the path of a Unix socket needs one that is not too long for a socket.
pub(crate) fn check_sockets(reader: &Reader<'_>, config: &Config) {
    for (name, app) in config.apps.iter().filter(|(_, app)| app.socket == Socket::Unix) {
        // As the keeper names it; generations count starts.
        let longest = format!("apps/{name}.{}.{}/socket", app.instances - 1, u32::MAX);
        let path = config.node.run_dir.join(longest);
        let length = path.as_os_str().len();
        let place = reader.places.borrow().get(&(Noun::App, name.clone())).copied();
        let Some(place) = place.filter(|_| length > SOCKET_PATH_BYTES_MAX) else { continue };
        let message = format!(
            "the socket of `app.{name}` could be {}, {length} bytes long; {SOCKET_PATH_BYTES_MAX} \
             is the most",
            path.display()
        );
        reader.report(
            Diagnostic::error("long-path", message)
                .at(reader.locate(place))
                .about(format!("app.{name}.socket"))
                .help("choose a shorter `node.run_dir`, or a shorter name"),
        );
    }
}

fn argument(text: &str) -> Result<String, Fault> {
    if text.contains('\0') {
        return Err(Fault::new("bad-command", "holds a NUL"));
    }
    Ok(text.to_owned())
}

fn variable(name: &str) -> Result<String, Fault> {
    if OURS.contains(&name) {
        return Err(Fault::new("bad-variable", "is set by Evergate for each process")
            .help("leave it out; the program reads it from its environment"));
    }
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(Fault::new("bad-variable", "cannot be the name of a variable"));
    }
    Ok(name.to_owned())
}
