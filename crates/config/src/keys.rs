//! What may stand in the file: every key with its type, default and meaning, said once.
//!
//! Each section's list stands beside the code that decodes it (`listener::KEYS`, `pool::KEYS` …);
//! this file has the words those lists are written in, and the top level. Decoding, "did you
//! mean", the reference and the JSON Schema all read the same lists, so they cannot drift.

use crate::{acme, app, listener, middleware, node, peer, pool, route, vip};

/// Most that is added to a priority, or taken from it: one more would be from end to end.
pub(crate) const WEIGHT_MAX: i64 = 253;

/// One key of a section.
#[derive(Debug)]
pub(crate) struct Key {
    /// As it is written.
    pub(crate) name: &'static str,
    /// What may stand behind it.
    pub(crate) kind: Kind,
    /// What holds when it is not written.
    pub(crate) absent: Absent,
    /// One sentence for the reference. Of a [`Kind::Later`]: what it will be, as a noun.
    pub(crate) doc: &'static str,
    /// A value as it could be written, where [`Kind::sample`] says too little; or empty.
    pub(crate) example: &'static str,
}

/// What holds when a key is not written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Absent {
    /// It has to be written.
    Error,
    /// This, as if it were written (without quotes; items of a list apart by spaces).
    Is(&'static str),
    /// This, said in words.
    Means(&'static str),
}

/// What may stand behind a key.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// Text that is never shown.
    Secret,
    /// Path of a file or directory.
    Path,
    /// A time longer than zero.
    Duration,
    /// A time; `"0s"` is none.
    Delay,
    /// Bytes.
    Size,
    /// Bytes a second.
    Rate,
    /// A share, from 0 % to 100 %.
    Percent,
    /// A share of one core, which may be more than 100 %.
    CoreShare,
    /// A mask of permissions, in octal.
    Octal,
    /// A whole number.
    Number(u64, u64),
    /// A whole number or this word.
    NumberOr(&'static str, u64, u64),
    /// One of these numbers.
    NumberOf(&'static [u64]),
    /// True or false.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// IP address and port.
    Address,
    /// IP address.
    Ip,
    /// IP address and the length of its prefix.
    Prefixed,
    /// IP address or network.
    Network,
    /// A server's URL.
    Url,
    /// First and last port.
    Ports,
    /// Host and path of a route.
    Pattern,
    /// Text with `{variables}`.
    Template,
    /// An HTTP method.
    Method,
    /// Name of a header field.
    Field,
    /// A status or a range of them.
    Statuses,
    /// An HTTP status within these bounds.
    Status(u16, u16),
    /// What is added to a priority.
    Weight,
    /// The word `fault`, or a weight.
    Effect,
    /// An effect, or a table with these keys.
    Tracked(&'static [Key]),
    /// The same, or a table of them by interface.
    TrackedLinks(&'static [Key]),
    /// Name of another section.
    Name(Noun),
    /// Any number of these.
    List(&'static Self),
    /// A table with these keys.
    Table(&'static [Key]),
    /// Tables with these keys, by names that the operator chose.
    Named(Noun, &'static [Key]),
    /// Values by names that the operator chose; the word says what the names are.
    Map(&'static str, &'static Self),
    /// Not in this version.
    Later,
}

/// What operators give names to.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "each variant is the section of the same name")]
pub(crate) enum Noun {
    Listener,
    Route,
    Middleware,
    Pool,
    App,
    Acme,
    Vip,
    Peer,
    Server,
}

impl Noun {
    /// The word in headers, paths and messages.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Route => "route",
            Self::Middleware => "middleware",
            Self::Pool => "pool",
            Self::App => "app",
            Self::Acme => "acme",
            Self::Vip => "vip",
            Self::Peer => "peer",
            Self::Server => "server",
        }
    }
}

impl Noun {
    /// Whether it is a section of the top level, so that any file of a configuration may have it.
    pub(crate) const fn is_section(self) -> bool {
        !matches!(self, Self::Server)
    }
}

/// The top level of the file.
pub(crate) static ROOT: &[Key] = &[
    key(
        "include",
        Kind::List(&Kind::Path),
        Absent::Means("no other files"),
        "Files read as if they stood here; `*` and `?` may stand in the last part of a path.",
    )
    .example(r#"["conf.d/*.toml"]"#),
    key("node", Kind::Table(node::NODE), Absent::Means("all defaults"), "This machine."),
    key("admin", Kind::Table(node::ADMIN), Absent::Means("all defaults"), "Console, API, metrics."),
    key("log", Kind::Table(node::LOG), Absent::Means("all defaults"), "What is written where."),
    key(
        "listener",
        Kind::Named(Noun::Listener, listener::KEYS),
        Absent::Error,
        "Where clients connect.",
    ),
    key(
        "acme",
        Kind::Named(Noun::Acme, acme::KEYS),
        Absent::Means("none"),
        "Where certificates are had from, and renewed, without anybody's doing (RFC 8555).",
    ),
    key(
        "route",
        Kind::Named(Noun::Route, route::KEYS),
        Absent::Error,
        "What to do with which request; the most specific match wins, whatever the order.",
    ),
    key(
        "middleware",
        Kind::Named(Noun::Middleware, middleware::KEYS),
        Absent::Means("none"),
        "Filters that routes name in `use`; each has exactly one of these keys.",
    ),
    key(
        "pool",
        Kind::Named(Noun::Pool, pool::KEYS),
        Absent::Means("none"),
        "Groups of servers that answer alike.",
    ),
    key(
        "app",
        Kind::Named(Noun::App, app::KEYS),
        Absent::Means("none"),
        "Processes that Evergate runs; they get PORT or SOCKET, HOST, APP, INSTANCE and GENERATION.",
    ),
    key(
        "vip",
        Kind::Named(Noun::Vip, vip::KEYS),
        Absent::Means("none"),
        "Addresses that move between machines: whichever is best has them (VRRP, RFC 9568, RFC 3768).",
    ),
    key(
        "heartbeat",
        Kind::Table(peer::HEARTBEAT),
        Absent::Means("all defaults"),
        "How the machines of `[peer.NAME]` tell each other that they live, beside VRRP.",
    ),
    key(
        "peer",
        Kind::Named(Noun::Peer, peer::KEYS),
        Absent::Means("none"),
        "The other machines; a name is the `node.name` of that machine.",
    ),
    later("cluster", "state shared between machines"),
    later("watchdog", "the hardware watchdog"),
];

/// A key, without an example.
pub(crate) const fn key(name: &'static str, kind: Kind, absent: Absent, doc: &'static str) -> Key {
    Key { name, kind, absent, doc, example: "" }
}

/// A key that this version does not have; `what` is a noun for messages.
pub(crate) const fn later(name: &'static str, what: &'static str) -> Key {
    key(name, Kind::Later, Absent::Means(""), what)
}

/// The words of a table of words and what they mean, for [`Kind::Choice`].
pub(crate) const fn words<T: Copy, const N: usize>(
    table: &[(&'static str, T); N],
) -> [&'static str; N] {
    let mut words = [""; N];
    let mut at = 0;
    while at < N {
        words[at] = table[at].0;
        at += 1;
    }
    words
}

impl Key {
    /// The key with an example, as TOML.
    pub(crate) const fn example(self, example: &'static str) -> Self {
        Self { example, ..self }
    }

    /// A value that could be written, as TOML.
    pub(crate) fn sample(&self) -> String {
        if self.example.is_empty() { self.kind.sample() } else { self.example.to_owned() }
    }

    /// The described default, as TOML.
    pub(crate) fn default_toml(&self) -> Option<String> {
        let Absent::Is(text) = self.absent else { return None };
        let quoted = |text: &str| format!("{text:?}");
        Some(match &self.kind {
            Kind::Number(..) | Kind::NumberOf(_) | Kind::Status(..) | Kind::Flag => text.to_owned(),
            Kind::List(_) => {
                let items: Vec<_> = text.split_whitespace().map(quoted).collect();
                format!("[{}]", items.join(", "))
            }
            _ => quoted(text),
        })
    }

    /// Whether this version has it.
    pub(crate) fn is_ready(&self) -> bool {
        !matches!(self.kind, Kind::Later)
    }
}

/// The key of that name.
pub(crate) fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}

impl Kind {
    /// What it is, for people: `a duration such as "5s"`.
    pub(crate) fn noun(&self) -> String {
        match self {
            Self::Text | Self::Secret => "text in quotes".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Number(least, most) => format!("a whole number from {least} to {most}"),
            Self::NumberOr(word, least, most) => {
                format!("\"{word}\" or a whole number from {least} to {most}")
            }
            Self::NumberOf(numbers) => format!("one of {}", comma(numbers)),
            Self::Status(least, most) => format!("a status from {least} to {most}"),
            Self::Choice(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                format!("one of {}", quoted.join(", "))
            }
            Self::List(item) => format!("a list such as [{}]", item.sample()),
            Self::Table(_) | Self::Map(..) => "a table".to_owned(),
            Self::Named(noun, _) => format!("tables [{}.NAME]", noun.word()),
            Self::Weight => format!("a whole number from -{WEIGHT_MAX} to {WEIGHT_MAX}"),
            Self::Effect => format!("\"fault\" or a number from -{WEIGHT_MAX} to {WEIGHT_MAX}"),
            Self::Tracked(_) => "\"fault\", a weight such as -50, or a table".to_owned(),
            Self::TrackedLinks(_) => {
                "\"fault\", a weight such as -50, or a table by interface".to_owned()
            }
            Self::Later => "nothing yet".to_owned(),
            Self::Path
            | Self::Duration
            | Self::Delay
            | Self::Size
            | Self::Rate
            | Self::Percent
            | Self::CoreShare
            | Self::Octal
            | Self::Address
            | Self::Ip
            | Self::Prefixed
            | Self::Network
            | Self::Url
            | Self::Ports
            | Self::Pattern
            | Self::Template
            | Self::Method
            | Self::Field
            | Self::Statuses
            | Self::Name(_) => format!("{} such as {}", self.word(), self.sample()),
        }
    }

    /// What it is called in the reference.
    pub(crate) fn word(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Secret => "secret".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Duration | Self::Delay => "a duration".to_owned(),
            Self::Size => "a size".to_owned(),
            Self::Rate => "a rate".to_owned(),
            Self::Percent => "a percentage".to_owned(),
            Self::CoreShare => "a percentage of one core".to_owned(),
            Self::Octal => "octal digits".to_owned(),
            Self::Number(least, most) => format!("number, {least}–{most}"),
            Self::NumberOr(word, least, most) => format!("`\"{word}\"` or number, {least}–{most}"),
            Self::NumberOf(numbers) => comma(numbers),
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Choice(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
                quoted.join(", ")
            }
            Self::Address => "an address with port".to_owned(),
            Self::Ip => "an IP address".to_owned(),
            Self::Prefixed => "an address with prefix".to_owned(),
            Self::Network => "an address or network".to_owned(),
            Self::Url => "a URL".to_owned(),
            Self::Ports => "a range of ports".to_owned(),
            Self::Pattern => "a pattern".to_owned(),
            Self::Template => "a template".to_owned(),
            Self::Method => "a method".to_owned(),
            Self::Field => "a field name".to_owned(),
            Self::Statuses => "a range of statuses".to_owned(),
            Self::Status(least, most) => format!("status, {least}–{most}"),
            Self::Weight => format!("number, -{WEIGHT_MAX}–{WEIGHT_MAX}"),
            Self::Effect => "`\"fault\"` or a weight".to_owned(),
            Self::Tracked(_) => "an effect".to_owned(),
            Self::TrackedLinks(_) => "an effect, or table: interface to an effect".to_owned(),
            Self::Name(Noun::App) => "the name of an app".to_owned(),
            Self::Name(Noun::Acme) => "the name of an acme section".to_owned(),
            Self::Name(noun) => format!("the name of a {}", noun.word()),
            Self::List(item) => format!("list: {}", item.word()),
            Self::Table(_) => "table".to_owned(),
            Self::Named(noun, _) => format!("tables by name of {}", noun.word()),
            Self::Map(names, value) => format!("table: {names} to {}", value.word()),
            Self::Later => "not in this version".to_owned(),
        }
    }

    /// A value that could be written, as TOML.
    pub(crate) fn sample(&self) -> String {
        match self {
            Self::Text => "\"text\"",
            Self::Secret => "\"${file:/etc/evergate/secret}\"",
            Self::Path => "\"/srv/file\"",
            Self::Duration | Self::Delay => "\"5s\"",
            Self::Size => "\"64KiB\"",
            Self::Rate => "\"1KiB/s\"",
            Self::Percent => "\"20%\"",
            Self::CoreShare => "\"50%\"",
            Self::Octal => "\"027\"",
            Self::Number(least, _) | Self::NumberOr(_, least, _) => {
                return (*least).max(2).to_string();
            }
            Self::NumberOf(numbers) => return numbers[0].to_string(),
            Self::Status(least, _) => return least.to_string(),
            Self::Flag => "true",
            Self::Choice(words) => return format!("\"{}\"", words[0]),
            Self::Address => "\"0.0.0.0:8080\"",
            Self::Ip => "\"10.0.0.1\"",
            Self::Prefixed => "\"10.0.0.100/24\"",
            Self::Network => "\"10.0.0.0/8\"",
            Self::Weight => "-50",
            Self::Effect | Self::Tracked(_) | Self::TrackedLinks(_) => "\"fault\"",
            Self::Url => "\"http://10.0.0.7:8080\"",
            Self::Ports => "\"20000-20999\"",
            Self::Pattern => "\"api.example.org/v1/*\"",
            Self::Template => "\"{client_ip}\"",
            Self::Method => "\"GET\"",
            Self::Field => "\"x-api-key\"",
            Self::Statuses => "\"200-299\"",
            Self::Name(noun) => return format!("\"{}\"", sample_name(*noun)),
            Self::List(item) => return format!("[{}]", item.sample()),
            Self::Table(_) | Self::Named(..) | Self::Later => "{}",
            Self::Map(_, value) => return format!("{{ x-name = {} }}", value.sample()),
        }
        .to_owned()
    }
}

fn comma(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

/// A name as an operator could choose it.
fn sample_name(noun: Noun) -> &'static str {
    match noun {
        Noun::Listener => "web",
        Noun::Route | Noun::Pool => "api",
        Noun::Middleware => "office",
        Noun::App => "shop",
        Noun::Acme => "le",
        Noun::Vip => "web",
        Noun::Peer => "edge-b",
        Noun::Server => "a",
    }
}

#[cfg(test)]
mod tests;
