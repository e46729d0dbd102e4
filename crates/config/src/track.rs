//! `vip.NAME.track`: what a machine must have to be worth an address.

use std::net::IpAddr;
use std::time::Duration;

use evergate_core::track::{Effect, RULES_MAX, Rule, Subject};
use toml::de::DeValue;

use crate::diagnostic::Diagnostic;
use crate::duration;
use crate::keys::{Absent, Key, Kind, Noun, WEIGHT_MAX, find, key};
use crate::reader::{Fault, Section};
use crate::value::Value;

/// Longest that a failure or a recovery may be doubted.
const DOUBT_MAX: Duration = Duration::from_secs(3600);
/// Bytes of the name of an interface (IFNAMSIZ, without the zero at its end).
const INTERFACE_BYTES_MAX: usize = 15;

/// `track`
pub(crate) static KEYS: &[Key] = &[
    key(
        "listener",
        Kind::Map("listener", &Kind::Tracked(TRACKED)),
        Absent::Means("none"),
        "Fails while one of its sockets is not open.",
    )
    .example("{ web = \"fault\" }"),
    key(
        "pool",
        Kind::Map("pool", &Kind::Tracked(TRACKED)),
        Absent::Means("none"),
        "Fails while no server of it is up.",
    )
    .example("{ api = \"fault\" }"),
    key(
        "app",
        Kind::Map("app", &Kind::Tracked(TRACKED)),
        Absent::Means("none"),
        "Fails when no instance is ready and none is being brought back.",
    )
    .example("{ shop = -50 }"),
    key(
        "link",
        Kind::TrackedLinks(TRACKED),
        Absent::Means("`\"fault\"` for `interface`: adverts cannot be sent without it"),
        "The `interface`, or others by name; fails while one is down or has no carrier.",
    ),
    key(
        "gateway",
        Kind::Table(GATEWAY),
        Absent::Means("none"),
        "A router that must answer echo requests.",
    )
    .example("{ ping = \"10.0.0.1\", weight = -50 }"),
];

/// A table in place of an effect.
static TRACKED: &[Key] = &[
    key("effect", Kind::Effect, Absent::Is("fault"), "What its failure does."),
    key("fall", Kind::Delay, Absent::Is("0s"), "How long it must have failed before that counts."),
    key(
        "rise",
        Kind::Delay,
        Absent::Is("1s"),
        "How long it must be well again before that counts.",
    ),
];

/// What stands behind the name of an interface.
static ONE: Kind = Kind::Tracked(TRACKED);

/// `track.gateway`
static GATEWAY: &[Key] = &[
    key("ping", Kind::Ip, Absent::Error, "Address that is asked."),
    key(
        "weight",
        Kind::Weight,
        Absent::Means("the machine gives the address up"),
        "Added to the priority while it does not answer; a positive one while it does. With 0 the \
         answer is only shown.",
    ),
    key("fall", Kind::Delay, Absent::Is("0s"), "How long it must have failed before that counts."),
    key("rise", Kind::Delay, Absent::Is("1s"), "How long it must answer again before that counts."),
];

/// What a name stands for.
type Named = fn(String) -> Subject;

/// Decodes `track` of a virtual address on `interface`.
pub(crate) fn decode(section: &Section<'_>, interface: &str) -> Vec<Rule> {
    let mut rules = Vec::new();
    let kinds: [(&str, Noun, Named); 3] = [
        ("listener", Noun::Listener, Subject::Listener),
        ("pool", Noun::Pool, Subject::Pool),
        ("app", Noun::App, Subject::App),
    ];
    for (key, noun, subject) in kinds {
        for (name, value) in section.entries(key) {
            value.refer_by_key(noun, &name);
            rules.extend(tracked(&value, subject(name)));
        }
    }
    rules.extend(section.get("link").map(|value| links(&value, interface)).unwrap_or_default());
    rules.extend(section.section("gateway").and_then(|section| gateway(&section)));
    if rules.len() > RULES_MAX {
        let message =
            format!("`{}` has {} rules; the most is {RULES_MAX}", section.path, rules.len());
        section.fail("too-many", message, "track what matters most");
    }
    rules.sort_by(|a, b| a.subject.cmp(&b.subject));
    rules
}

/// One thing that is tracked.
fn tracked(value: &Value<'_>, subject: Subject) -> Option<Rule> {
    let DeValue::Table(table) = value.value.get_ref() else {
        let effect = effect(value)?;
        let rise = duration::parse(default("rise")).unwrap_or_default();
        return Some(Rule { subject, effect, fall: Duration::ZERO, rise });
    };
    let section = Section::new(value, table, TRACKED, "");
    let effect = match section.get("effect") {
        Some(value) => effect(&value)?,
        None => Effect::Fault,
    };
    let (fall, rise) = (doubt(&section, "fall"), doubt(&section, "rise"));
    Some(Rule { subject, effect, fall, rise })
}

/// The described default of a key of a table in place of an effect.
fn default(name: &str) -> &'static str {
    match find(TRACKED, name).map(|key| key.absent) {
        Some(Absent::Is(text)) => text,
        Some(Absent::Error | Absent::Means(_)) | None => "",
    }
}

fn doubt(section: &Section<'_>, name: &str) -> Duration {
    section.parsed_or_default(name, duration::between(Duration::ZERO, DOUBT_MAX))
}

/// The interface of the address, or others.
fn links(value: &Value<'_>, interface: &str) -> Vec<Rule> {
    let own = || tracked(value, Subject::Link(interface.to_owned()));
    let DeValue::Table(table) = value.value.get_ref() else { return own().into_iter().collect() };
    // A name such as `fall` would be an odd one for an interface.
    if table.keys().any(|key| is_key(key.get_ref())) {
        return own().into_iter().collect();
    }
    let named = value.children(table, &ONE);
    named
        .filter_map(|(written, value)| {
            let name = value.check_key(&written, self::interface)?;
            tracked(&value, Subject::Link(name))
        })
        .collect()
}

fn gateway(section: &Section<'_>) -> Option<Rule> {
    let address = section.parsed("ping", ping);
    let effect = match section.get("weight") {
        Some(value) => effect(&value).unwrap_or(Effect::Fault),
        None => Effect::Fault,
    };
    let (fall, rise) = (doubt(section, "fall"), doubt(section, "rise"));
    Some(Rule { subject: Subject::Gateway(address?), effect, fall, rise })
}

/// `"fault"`, or a weight; of a [`Kind::Weight`] only the latter.
fn effect(value: &Value<'_>) -> Option<Effect> {
    match value.value.get_ref() {
        DeValue::String(_) if !matches!(value.kind, Kind::Weight) => {
            value.parsed(|text| {
                match text {
            "fault" => Ok(Effect::Fault),
            _ => Err(Fault::new("bad-choice", "is no effect of a failure").help(
                "write \"fault\" to give the address up, or a number such as -50 for the priority",
            )),
        }
            })
        }
        DeValue::Integer(written) => {
            let number = i64::from_str_radix(written.as_str(), written.radix()).ok();
            let fits = |weight: &i64| (-WEIGHT_MAX..=WEIGHT_MAX).contains(weight);
            match number.filter(fits) {
                // A gateway may be asked only for the answer to be shown.
                Some(0) if !matches!(value.kind, Kind::Weight) => {
                    let message = format!("`{}` of 0 changes nothing", value.path);
                    value.report(Diagnostic::error("out-of-range", message).help(ZERO_HELP));
                    None
                }
                Some(weight) => i16::try_from(weight).ok().map(Effect::Weight),
                None => {
                    let message = format!(
                        "the weight `{}` must be from -{WEIGHT_MAX} to {WEIGHT_MAX}, not {written}",
                        value.path
                    );
                    let help = "priorities are from 1 to 254";
                    value.report(Diagnostic::error("out-of-range", message).help(help));
                    None
                }
            }
        }
        DeValue::String(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => {
            value.wrong_type();
            None
        }
    }
}

/// What a weight of 0 means to others.
const ZERO_HELP: &str =
    "write \"fault\" to give the address up, as keepalived does with a weight of 0";

/// An IP address that can be asked.
fn ping(text: &str) -> Result<IpAddr, Fault> {
    let ip = address(text)?;
    match ip.is_unspecified() || ip.is_multicast() {
        true => Err(Fault::new("bad-address", "is no address that answers for itself")
            .help("write the address of a router: \"10.0.0.1\"")),
        false => Ok(ip),
    }
}

/// An IP address.
pub(crate) fn address(text: &str) -> Result<IpAddr, Fault> {
    if let Ok(ip) = text.parse() {
        return Ok(ip);
    }
    let fault = Fault::new("bad-address", "is not an IP address");
    if let Some(ip) = text.split('/').next().and_then(|ip| ip.parse::<IpAddr>().ok()) {
        return Err(fault.help(format!("write \"{ip}\", without a prefix")));
    }
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        return Err(fault.help(format!("write \"{}\", without a port", socket.ip())));
    }
    Err(fault.help("write an address such as \"10.0.0.1\"; names are not looked up here"))
}

/// Whether a word has a meaning of its own in `track.link`, so that no interface there can have it
/// for a name.
pub(crate) fn is_key(word: &str) -> bool {
    find(TRACKED, word).is_some()
}

/// Name of an interface.
pub(crate) fn interface(text: &str) -> Result<String, Fault> {
    let fault = |complaint: String| {
        Err(Fault::new("bad-interface", complaint).help("`ip link` shows the names: \"eth0\""))
    };
    if text.len() > INTERFACE_BYTES_MAX {
        let complaint = format!(
            "is no interface: a name has at most {INTERFACE_BYTES_MAX} bytes, this has {}",
            text.len()
        );
        return fault(complaint);
    }
    let is_legal = |c: char| !c.is_whitespace() && !c.is_control() && c != '/';
    if text.is_empty() || text == "." || text == ".." || !text.chars().all(is_legal) {
        return fault("is not the name of an interface".to_owned());
    }
    Ok(text.to_owned())
}
