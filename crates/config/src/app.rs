//! `[app.NAME]`: processes that the keeper runs.

use crate::address;
use crate::keys::{Absent, Key, Kind, Noun, key, words};
use crate::model::{App, Hidden};
use crate::node;
use crate::presence;
use crate::reader::Section;

mod deploy;
mod identity;
mod limits;
mod order;
mod output;
mod probes;
mod program;
mod restart;
mod stop;

pub(crate) use deploy::ON_FAILURE;
pub(crate) use order::check_order;
pub(crate) use output::PLACES;
pub(crate) use program::{SOCKETS, check_sockets};
pub(crate) use restart::RESTARTS;
pub(crate) use stop::{KILLS, SIGNALS};

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
    key(
        "cwd",
        Kind::Path,
        Absent::Means("that of Evergate"),
        "Directory that it starts in; a symbolic link in it is followed once for each deploy.",
    )
    .example("\"/opt/shop/current\""),
    key(
        "user",
        Kind::Text,
        Absent::Means("`node.user` when Evergate is started by root"),
        "Whom it runs as.",
    )
    .example("\"shop\""),
    key(
        "umask",
        Kind::Octal,
        Absent::Means("that of Evergate"),
        "Permissions that files it makes do not get.",
    ),
    key(
        "ports",
        Kind::Ports,
        Absent::Is("20000-20999"),
        "Ports to hand out as PORT, one for each process.",
    ),
    key(
        "socket",
        Kind::Choice(&words(&SOCKETS)),
        Absent::Is("port"),
        "How it learns where to listen: by PORT, by a listening socket that it inherits \
         (LISTEN_FDS), or by SOCKET, the path of a Unix socket.",
    ),
    key(
        "after",
        Kind::List(&Kind::Name(Noun::App)),
        Absent::Means("no order"),
        "Apps that must be ready before it starts, and that stop after it.",
    )
    .example("[\"db\"]"),
    key(
        "ready",
        Kind::Table(probes::READY),
        Absent::Means("the defaults below"),
        "When a process that starts may have requests.",
    )
    .example("{ http = \"/health\", within = \"30s\" }"),
    key(
        "alive",
        Kind::Table(probes::ALIVE),
        Absent::Means("never asked"),
        "When a process that was ready counts as hanging.",
    )
    .example("{ http = \"/health\", every = \"10s\" }"),
    key(
        "restart",
        Kind::Choice(&words(&RESTARTS)),
        Absent::Is("always"),
        "Which ends that nobody asked for are followed by another start: all, those that are not \
         status 0, or none.",
    ),
    key(
        "backoff",
        Kind::Table(restart::BACKOFF),
        Absent::Means("the defaults below"),
        "How long a start waits after a failure, and how many failures are too many.",
    )
    .example("{ base = \"250ms\", cap = \"30s\" }"),
    key(
        "stop",
        Kind::Table(stop::KEYS),
        Absent::Means("the defaults below"),
        "How a process is ended.",
    )
    .example("{ signal = \"TERM\", timeout = \"10s\" }"),
    key(
        "limits",
        Kind::Table(limits::LIMITS),
        Absent::Means("none"),
        "Bounds on what each process, with those that it starts, may use.",
    )
    .example("{ memory = \"256MiB\", cpu = \"50%\" }"),
    key(
        "memory_watch",
        Kind::Table(limits::MEMORY_WATCH),
        Absent::Means("never replaced"),
        "Replaces a process that leaks, after its requests are done.",
    )
    .example("{ rss = \"200MiB\", for = \"5m\" }"),
    key(
        "output",
        Kind::Table(output::KEYS),
        Absent::Means("the defaults below"),
        "What becomes of what it prints.",
    )
    .example("{ max = \"16MiB\", keep = 3 }"),
    key(
        "deploy",
        Kind::Table(deploy::KEYS),
        Absent::Means("the defaults below"),
        "How processes are replaced in turn: on a deploy, a restart, or a changed configuration.",
    )
    .example("{ surge = 1, unavailable = 0 }"),
];

/// Decodes one app.
pub(crate) fn decode(section: &Section<'_>) -> App {
    let limits = limits::limits(&section.section_or_empty("limits"));
    let mut hidden = Hidden::default();
    let app = App {
        run: program::run(section, &mut hidden.run),
        instances: section.number("instances"),
        env: program::env(section, &mut hidden.env),
        cwd: section.parsed("cwd", node::directory),
        ports: section.parsed_or_default("ports", address::ports),
        user: identity::user(section),
        umask: section.parsed("umask", identity::umask),
        socket: section.choice("socket", &SOCKETS),
        after: order::after(section),
        ready: probes::ready(&section.section_or_empty("ready")),
        alive: section.section("alive").map(|alive| probes::alive(&alive)),
        restart: section.choice("restart", &RESTARTS),
        backoff: restart::backoff(&section.section_or_empty("backoff")),
        stop: stop::decode(&section.section_or_empty("stop")),
        memory_watch: limits::memory_watch(section, &limits),
        limits,
        output: output::decode(&section.section_or_empty("output")),
        deploy: deploy::decode(&section.section_or_empty("deploy")),
        hidden,
    };
    program::check_ports(section, &app);
    presence::warn_of_app(section, &app);
    deploy::warn_if_alone(section, &app);
    app
}
