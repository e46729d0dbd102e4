//! `[node]`, `[admin]` and `[log]`.

use std::path::PathBuf;

use crate::address;
use crate::keys::{Absent, Key, Kind, key, words};
use crate::model::{AccessLog, Admin, Level, Log, LogFormat, Node, Reload, Secret};
use crate::reader::{Fault, Section};

/// Bytes of a token or key; longer ones are files named by mistake.
const SECRET_BYTES_MAX: usize = 4096;

/// Where the admin socket is, unless the configuration says otherwise.
pub(crate) const RUN_DIR_DEFAULT: &str = "/run/evergate";

/// `log.level`
pub(crate) const LEVELS: [(&str, Level); 5] = [
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
    ("trace", Level::Trace),
];

/// `log.format`
pub(crate) const FORMATS: [(&str, LogFormat); 2] =
    [("json", LogFormat::Json), ("text", LogFormat::Text)];

/// `log.access`
pub(crate) const ACCESS_LOGS: [(&str, AccessLog); 3] =
    [("json", AccessLog::Json), ("combined", AccessLog::Combined), ("off", AccessLog::Off)];

/// `node.reload`
pub(crate) const RELOADS: [(&str, Reload); 2] =
    [("on-change", Reload::OnChange), ("on-request", Reload::OnRequest)];

/// `[node]`
pub(crate) static NODE: &[Key] = &[
    key(
        "name",
        Kind::Text,
        Absent::Means("the host name"),
        "Name in logs, metrics and the console.",
    )
    .example("\"edge-a\""),
    key(
        "state_dir",
        Kind::Path,
        Absent::Is("/var/lib/evergate"),
        "What must outlive a restart of the machine: certificates, and what apps print.",
    ),
    key(
        "run_dir",
        Kind::Path,
        Absent::Is(RUN_DIR_DEFAULT),
        "What need not: `admin.sock`; made if it is missing.",
    ),
    key(
        "log_dir",
        Kind::Path,
        Absent::Means("`log` in `state_dir`"),
        "Where what apps print is kept; made if it is missing.",
    ),
    key(
        "threads",
        Kind::NumberOr("auto", 1, 1024),
        Absent::Is("auto"),
        "Threads that serve requests; `\"auto\"` is one per core.",
    ),
    key(
        "user",
        Kind::Text,
        Absent::Is("nobody"),
        "Whom the part that talks to clients becomes when Evergate is started by root.",
    )
    .example("\"evergate\""),
    key(
        "reload",
        Kind::Choice(&words(&RELOADS)),
        Absent::Is("on-change"),
        "When the configuration is read again: by itself when a file that it was read from changes, \
         or only when that is asked for (`evergate reload`, SIGHUP).",
    ),
];

/// `[admin]`
pub(crate) static ADMIN: &[Key] = &[
    key(
        "bind",
        Kind::List(&Kind::Address),
        Absent::Means("none"),
        "Addresses beside the socket `run_dir/admin.sock`, which is always there.",
    )
    .example("[\"127.0.0.1:9180\"]"),
    key(
        "allow",
        Kind::List(&Kind::Network),
        Absent::Is("127.0.0.0/8 ::1/128"),
        "Who may connect to `bind`.",
    ),
    key(
        "tokens",
        Kind::Table(TOKENS),
        Absent::Means("none"),
        "Bearer tokens for `bind`; without them everybody in `allow` may read and nobody may \
         change anything.",
    ),
];

static TOKENS: &[Key] = &[
    key("viewer", Kind::Secret, Absent::Means("none"), "May read."),
    key("operator", Kind::Secret, Absent::Means("none"), "May read and change things."),
];

/// `[log]`
pub(crate) static LOG: &[Key] = &[
    key(
        "level",
        Kind::Choice(&words(&LEVELS)),
        Absent::Is("info"),
        "Least severity that is written.",
    ),
    key(
        "format",
        Kind::Choice(&words(&FORMATS)),
        Absent::Is("json"),
        "Shape of event lines: JSON for programs, text for people.",
    ),
    key(
        "access",
        Kind::Choice(&words(&ACCESS_LOGS)),
        Absent::Is("json"),
        "Shape of the line for each request: JSON, as Apache and nginx write it, or none.",
    ),
];

/// Decodes `[node]`.
pub(crate) fn node(section: &Section<'_>, host_name: String) -> Node {
    let threads = section.get("threads").and_then(|value| match value.is_word("auto") {
        true => None,
        false => value.number().and_then(|number| u16::try_from(number).ok()),
    });
    let state_dir = section.parsed_or_default("state_dir", directory);
    Node {
        name: section.parsed("name", not_empty).unwrap_or(host_name),
        log_dir: section.parsed("log_dir", directory).unwrap_or_else(|| state_dir.join("log")),
        state_dir,
        run_dir: section.parsed_or_default("run_dir", directory),
        threads,
        user: section.parsed_or_default("user", not_empty),
        reload: section.choice("reload", &RELOADS),
    }
}

/// Decodes `[admin]`.
pub(crate) fn admin(section: &Section<'_>) -> Admin {
    let tokens = section.section_or_empty("tokens");
    Admin {
        bind: section.list("bind", address::socket),
        allow: section.list("allow", address::network),
        viewer: tokens.parsed("viewer", secret),
        operator: tokens.parsed("operator", secret),
    }
}

/// Decodes `[log]`.
pub(crate) fn log(section: &Section<'_>) -> Log {
    Log {
        level: section.choice("level", &LEVELS),
        format: section.choice("format", &FORMATS),
        access: section.choice("access", &ACCESS_LOGS),
    }
}

/// A token or key: visible ASCII, so that it can stand in a header field.
pub(crate) fn secret(text: &str) -> Result<Secret, Fault> {
    if text.is_empty() {
        return Err(Fault::new("bad-secret", "is empty"));
    }
    if text.len() > SECRET_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Fault::new(
            "bad-secret",
            "must be up to 4096 letters of ASCII, without spaces",
        ));
    }
    Ok(Secret::new(text.to_owned()))
}

/// An absolute path.
pub(crate) fn directory(text: &str) -> Result<PathBuf, Fault> {
    if text.starts_with('/') {
        return Ok(PathBuf::from(text));
    }
    let fault = Fault::new("bad-path", "is not an absolute path");
    Err(fault.help("begin it with `/`: where Evergate is started from can change"))
}

/// A name that is not empty.
pub(crate) fn not_empty(text: &str) -> Result<String, Fault> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err(
            Fault::new("bad-name", "is not a name").help("leave the key out for the default")
        );
    }
    Ok(text.to_owned())
}
