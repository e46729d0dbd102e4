//! `[middleware.NAME]`: filters that routes name in `use`.

use crate::keys::{Absent, Key, Kind, Noun, key, later};
use crate::model::{ApiKey, Cors, HeaderEdits, Headers, IpRules, Middleware, Secret, Template};
use crate::node::secret;
use crate::reader::Section;
use crate::route::template_of;
use crate::{Diagnostic, address, duration, field, template};

/// Keys of one `api_key`.
const API_KEYS_MAX: usize = 10_000;

/// `[middleware.NAME]`
pub(crate) static KEYS: &[Key] = &[
    key("headers", Kind::Table(HEADERS), Absent::Means("another kind"), "Changes header fields.")
        .example("{ response = { set = { x-served-by = \"edge\" } } }"),
    key(
        "ip",
        Kind::Table(IP),
        Absent::Means("another kind"),
        "Lets addresses in or keeps them out; 403.",
    )
    .example("{ allow = [\"10.0.0.0/8\"] }"),
    key(
        "api_key",
        Kind::Table(API_KEY),
        Absent::Means("another kind"),
        "Lets in who sends a key; 401.",
    )
    .example("{ keys = [\"${file:/etc/evergate/keys}\"] }"),
    key(
        "cors",
        Kind::Table(CORS),
        Absent::Means("another kind"),
        "Lets scripts of other origins in (CORS), preflights included.",
    )
    .example("{ origins = [\"https://hmi.example.org\"] }"),
    later("jwt", "signed tokens"),
    later("basic", "users with passwords"),
    later("rate", "limits of requests a second"),
    later("concurrency", "limits of requests at once"),
    later("compress", "compressed responses"),
    later("shed", "turning requests away under load"),
];

static HEADERS: &[Key] = &[
    key("request", Kind::Table(EDITS), Absent::Means("no changes"), "On the way to the server.")
        .example("{ set = { x-tenant = \"{header:x-user}\" } }"),
    key("response", Kind::Table(EDITS), Absent::Means("no changes"), "On the way to the client.")
        .example("{ remove = [\"server\"] }"),
];

static EDITS: &[Key] = &[
    key(
        "set",
        Kind::Map("field", &Kind::Template),
        Absent::Means("none"),
        "Put in place of any field of that name.",
    ),
    key(
        "add",
        Kind::Map("field", &Kind::Template),
        Absent::Means("none"),
        "Added beside fields of that name.",
    ),
    key(
        "remove",
        Kind::List(&Kind::Field),
        Absent::Means("none"),
        "Taken out, before `set` and `add`.",
    )
    .example("[\"x-powered-by\"]"),
];

static IP: &[Key] = &[
    key("allow", Kind::List(&Kind::Network), Absent::Means("everybody"), "Only these are let in."),
    key(
        "deny",
        Kind::List(&Kind::Network),
        Absent::Means("nobody"),
        "These are kept out, even if `allow` has them.",
    ),
];

static API_KEY: &[Key] = &[
    key("header", Kind::Field, Absent::Is("x-api-key"), "The field that holds the key."),
    key(
        "keys",
        Kind::List(&Kind::Secret),
        Absent::Error,
        "Any of these opens; a `${file:…}` has one a line, empty lines and `#` comments aside.",
    ),
];

static CORS: &[Key] = &[
    key(
        "origins",
        Kind::List(&Kind::Text),
        Absent::Error,
        "Origins let in, exact; `\"*\"` is any.",
    )
    .example("[\"https://hmi.example.org\"]"),
    key("methods", Kind::List(&Kind::Method), Absent::Is("GET HEAD POST"), "Methods let in."),
    key(
        "headers",
        Kind::List(&Kind::Field),
        Absent::Means("none"),
        "Request fields let in beside those that always are.",
    ),
    key(
        "expose",
        Kind::List(&Kind::Field),
        Absent::Means("none"),
        "Response fields that scripts may read.",
    ),
    key("credentials", Kind::Flag, Absent::Is("false"), "Whether cookies go along."),
    key("max_age", Kind::Delay, Absent::Is("10m"), "How long browsers may remember a preflight."),
];

/// Decodes one middleware; `None` if it has not exactly one kind.
pub(crate) fn decode(section: &Section<'_>) -> Option<Middleware> {
    let written: Vec<_> =
        KEYS.iter().map(|key| key.name).filter(|name| section.has(name)).collect();
    match written.as_slice() {
        [] => section.fail(
            "no-kind",
            format!("`{}` does nothing: it has no kind", section.path),
            "write one of `headers`, `ip`, `api_key`, `cors`",
        ),
        [_] => {}
        [first, .., last] => section.fail(
            "two-kinds",
            format!("`{}` has both `{first}` and `{last}`", section.path),
            "make two of it: a route can name several in `use`, and their order counts",
        ),
    }
    let owner = (Noun::Middleware, section.name.as_str());
    let headers = section.section("headers").map(|headers| {
        Middleware::Headers(Headers {
            request: decode_edits(&headers.section_or_empty("request"), owner),
            response: decode_edits(&headers.section_or_empty("response"), owner),
        })
    });
    let ip = section.section("ip").map(|ip| Middleware::Ip(decode_ip(&ip)));
    let api_key = section.section("api_key").map(|api_key| {
        Middleware::ApiKey(ApiKey {
            header: api_key.parsed_or_default("header", field::name),
            keys: decode_keys(&api_key),
        })
    });
    let cors = section.section("cors").map(|cors| Middleware::Cors(decode_cors(&cors)));
    headers.or(ip).or(api_key).or(cors)
}

fn decode_edits(section: &Section<'_>, owner: (Noun, &str)) -> HeaderEdits {
    let mut names: Vec<String> = Vec::new();
    let mut fields = |key: &str| -> Vec<(String, Template)> {
        let mut fields = Vec::new();
        for (written, value) in section.entries(key) {
            let name = value.check_key(&written, field::editable);
            let template = template_of(&value, owner, template::parse);
            fields.extend(name.zip(template));
        }
        names.extend(fields.iter().map(|(name, _)| name.clone()));
        fields
    };
    let (set, add) = (fields("set"), fields("add"));
    if let Some(host) = add.iter().find(|(name, _)| name == "host") {
        let name = &host.0;
        section.fail(
            "bad-header",
            format!("`{}.add` would make a second `{name}`", section.path),
            "write it under `set`: a request has exactly one",
        );
    }
    HeaderEdits { set, add, remove: section.list("remove", removable) }
}

fn removable(text: &str) -> Result<String, crate::reader::Fault> {
    let name = field::editable(text)?;
    if name == "host" {
        return Err(crate::reader::Fault::new("bad-header", "cannot be taken out")
            .help("every request has a Host; to change it use `set`"));
    }
    Ok(name)
}

fn decode_ip(section: &Section<'_>) -> IpRules {
    if !section.has("allow") && !section.has("deny") {
        section.fail(
            "missing-key",
            format!("`{}` has neither `allow` nor `deny`", section.path),
            "write, for example, `ip = { allow = [\"10.0.0.0/8\"] }`",
        );
    }
    if let Some(allow) = section.get("allow")
        && allow.is_empty_list()
    {
        allow.report(
            Diagnostic::warning("empty-list", format!("`{}` is empty: everybody may", allow.path))
                .help("to keep everybody out, write `deny = [\"0.0.0.0/0\", \"::/0\"]`"),
        );
    }
    IpRules {
        allow: section.list("allow", address::network),
        deny: section.list("deny", address::network),
    }
}

fn decode_keys(section: &Section<'_>) -> Vec<Secret> {
    let mut keys = Vec::new();
    let items = section.items("keys");
    for item in &items {
        let Some(words) = item.words() else { continue };
        let is_comment = |line: &str| words.from.is_some() && line.starts_with('#');
        let lines =
            words.text.lines().map(str::trim).filter(|line| !line.is_empty() && !is_comment(line));
        let before = keys.len();
        for line in lines {
            match secret(line) {
                Ok(key) => keys.push(key),
                Err(fault) => {
                    item.refuse(&words, fault);
                    break;
                }
            }
        }
        if keys.len() == before && words.text.lines().all(|line| line.trim().is_empty()) {
            item.refuse(&words, crate::reader::Fault::new("bad-secret", "holds no key"));
        }
    }
    if keys.is_empty() && items.is_empty() && section.has("keys") {
        section.fail(
            "empty-list",
            format!("`{}` has no keys: nobody could pass", section.path),
            "write `keys = [\"${file:/etc/evergate/keys}\"]`, one key a line in the file",
        );
    }
    if keys.len() > API_KEYS_MAX {
        section.fail(
            "too-long",
            format!("`{}` has {} keys; the most is {API_KEYS_MAX}", section.path, keys.len()),
            "keep many keys in the service itself, or in tokens",
        );
    }
    keys
}

fn decode_cors(section: &Section<'_>) -> Cors {
    let cors = Cors {
        origins: section.list("origins", field::origin),
        methods: section.list("methods", field::method),
        headers: section.list("headers", field::name),
        expose: section.list("expose", field::name),
        credentials: section.flag("credentials"),
        max_age: section.parsed_or_default("max_age", duration::parse),
    };
    let any = cors.origins.iter().any(|origin| origin == "*");
    if any && cors.credentials {
        section.fail(
            "bad-cors",
            format!("`{}` lets every origin use cookies; browsers refuse that", section.path),
            "name the origins, or write `credentials = false`",
        );
    }
    if any && cors.origins.len() > 1 {
        section.fail(
            "bad-cors",
            format!("`{}` names origins beside `\"*\"`, which is any", section.path),
            "keep `\"*\"` alone, or remove it",
        );
    }
    cors
}
