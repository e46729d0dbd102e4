//! The JSON Schema of the file, for editors.

use serde_json::{Map, Value, json};

use crate::keys::{Absent, Key, Kind, ROOT, WEIGHT_MAX};

/// What `${…}` looks like.
const REFERENCE: &str = r"^\$\{(env|file):[^{}]+\}$";

/// The configuration's JSON Schema, draft 2020-12: what `evergate schema` prints.
///
/// It knows keys, types and bounds. What only the whole file shows (names that resolve, exactly
/// one action) is left to `evergate check`.
pub fn schema() -> Value {
    let mut schema = table(ROOT);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Evergate configuration");
    schema
}

fn table(keys: &'static [Key]) -> Value {
    let ready = || keys.iter().filter(|key| key.is_ready());
    let properties: Map<_, _> = ready().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<_> = ready()
        .filter(|key| matches!(key.absent, Absent::Error))
        // Another file may have them.
        .filter(|key| !matches!(key.kind, Kind::Named(noun, _) if noun.is_section()))
        .map(|key| key.name)
        .collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn property(key: &'static Key) -> Value {
    let mut schema = kind(&key.kind);
    schema["description"] = json!(key.doc);
    if let Some(default) = default(key) {
        schema["default"] = default;
    }
    schema
}

/// The described default as JSON.
fn default(key: &Key) -> Option<Value> {
    let toml = format!("x = {}", key.default_toml()?);
    let table: toml::Table = toml.parse().expect("described defaults are TOML");
    Some(json(&table["x"]))
}

/// A TOML value as JSON.
pub(crate) fn json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => json!(text),
        toml::Value::Integer(number) => json!(number),
        toml::Value::Float(number) => json!(number),
        toml::Value::Boolean(flag) => json!(flag),
        toml::Value::Datetime(date) => json!(date.to_string()),
        toml::Value::Array(items) => items.iter().map(json).collect(),
        toml::Value::Table(table) => {
            Value::Object(table.iter().map(|(key, value)| (key.clone(), json(value))).collect())
        }
    }
}

fn kind(kind: &'static Kind) -> Value {
    match kind {
        Kind::Text
        | Kind::Secret
        | Kind::Path
        | Kind::Pattern
        | Kind::Template
        | Kind::Field
        | Kind::Name(_) => json!({ "type": "string" }),
        Kind::Duration | Kind::Delay => text(r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$"),
        Kind::Size => text(r"^\d+\s*(B|KiB|MiB|GiB)$"),
        Kind::Rate => text(r"^\d+\s*(B|KiB|MiB|GiB)/s$"),
        Kind::Percent => text(r"^(100|[1-9]?\d)\s*%$"),
        Kind::CoreShare => text(r"^[1-9]\d*\s*%$"),
        Kind::Octal => text(r"^[0-7]{1,4}$"),
        Kind::Address => text(r"^(\d+(\.\d+){3}|\[[0-9a-fA-F:.]+\]):\d+$"),
        Kind::Ip => text(r"^[0-9a-fA-F:.]+$"),
        Kind::Prefixed => text(r"^[0-9a-fA-F:.]+/\d+$"),
        Kind::Weight => weight(),
        Kind::Effect => json!({ "anyOf": [{ "const": "fault" }, weight()] }),
        Kind::Tracked(keys) => tracked(keys),
        Kind::TrackedLinks(keys) => {
            let by_name = json!({ "type": "object", "additionalProperties": tracked(keys) });
            json!({ "anyOf": [{ "const": "fault" }, weight(), table(keys), by_name] })
        }
        Kind::Network => text(r"^[0-9a-fA-F:.]+(/\d+)?$"),
        Kind::Url => text(r"^https?://[^/?#@]+/?$"),
        Kind::Ports => text(r"^\d+(-\d+)?$"),
        Kind::Method => text(r"^[^a-z\s]+$"),
        Kind::Statuses => text(r"^[1-5]\d\d(-[1-5]\d\d)?$"),
        Kind::Number(least, most) => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Kind::NumberOr(word, least, most) => json!({
            "oneOf": [
                { "const": word },
                { "type": "integer", "minimum": least, "maximum": most },
            ],
        }),
        Kind::NumberOf(numbers) => json!({ "enum": numbers }),
        Kind::Status(least, most) => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Choice(words) => json!({
            "anyOf": [{ "enum": words }, { "type": "string", "pattern": REFERENCE }],
        }),
        Kind::List(item) => json!({ "type": "array", "items": self::kind(item) }),
        Kind::Table(keys) => table(keys),
        Kind::Named(_, keys) => json!({
            "type": "object",
            "patternProperties": { "^[A-Za-z0-9_-]{1,64}$": table(keys) },
            "additionalProperties": false,
        }),
        Kind::Map(_, value) => {
            json!({ "type": "object", "additionalProperties": self::kind(value) })
        }
        Kind::Later => json!(false),
    }
}

/// An effect, or a table of one.
fn tracked(keys: &'static [Key]) -> Value {
    json!({ "anyOf": [{ "const": "fault" }, weight(), table(keys)] })
}

/// What is added to a priority.
fn weight() -> Value {
    json!({ "type": "integer", "minimum": -WEIGHT_MAX, "maximum": WEIGHT_MAX })
}

/// Text of this form, or `${…}`.
fn text(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": format!("{pattern}|{REFERENCE}") })
}
