//! A section as the API sends it, JSON, in the words of the file, TOML.

use serde_json::{Map, Value};

use super::{Subject, name};
use crate::diagnostic::Diagnostic;
use crate::effective::{self, list, named, text};
use crate::reader::join;

/// Bytes of one section.
const SECTION_BYTES_MAX: usize = 256 * 1024;

/// The section of `subject` with the keys of `json`.
pub(super) fn section(subject: &Subject, json: &str) -> Result<String, Box<Diagnostic>> {
    let refuse = |code, message: String, help: &str| {
        let refusal = Diagnostic::error(code, message).in_file(name(subject));
        Box::new(refusal.about(subject.to_string()).help(help))
    };
    let example = match subject {
        Subject::Route(_) => "send, for example, {\"match\": \"/v1/*\", \"pool\": \"api\"}",
        Subject::Server { .. } => "send, for example, {\"url\": \"http://10.0.0.7:8080\"}",
    };
    let keys: Map<String, Value> = match serde_json::from_str(json) {
        Ok(Value::Object(keys)) => keys,
        Ok(other) => {
            let message = format!("the body must be an object, not {}", type_of(&other));
            return Err(refuse("wrong-type", message, example));
        }
        Err(error) => {
            // The parser's words hold a place and no part of the text.
            return Err(refuse("syntax", format!("the body is not JSON: {error}"), example));
        }
    };
    let mut out = format!("[{}]\n", header(subject));
    for (key, value) in &keys {
        let path = join(&path(subject), key);
        let value = toml(value, &path).map_err(|path| {
            let message = format!("`{path}` is null, which stands for nothing");
            let refusal = Diagnostic::error("wrong-type", message).in_file(name(subject));
            Box::new(refusal.about(path).help("leave the key out to have its default"))
        })?;
        out.push_str(&format!("{} = {value}\n", effective::key(key)));
    }
    if out.len() > SECTION_BYTES_MAX {
        let message = format!("the body is longer than {} KiB", SECTION_BYTES_MAX / 1024);
        return Err(refuse("too-long", message, "serve what is large from files, with `static`"));
    }
    Ok(out)
}

/// The header of the section in TOML.
fn header(subject: &Subject) -> String {
    let key = effective::key;
    match subject {
        Subject::Route(name) => format!("route.{}", key(name)),
        Subject::Server { pool, server } => format!("pool.{}.servers.{}", key(pool), key(server)),
    }
}

/// The section as diagnostics name it.
fn path(subject: &Subject) -> String {
    match subject {
        Subject::Route(name) => join("route", name),
        Subject::Server { pool, server } => join(&join(&join("pool", pool), "servers"), server),
    }
}

/// The value in TOML; the path of a null if there is one.
fn toml(value: &Value, path: &str) -> Result<String, String> {
    Ok(match value {
        Value::Null => return Err(path.to_owned()),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(written) => text(written),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            let items: Result<Vec<_>, _> =
                items.map(|(at, item)| toml(item, &format!("{path}[{at}]"))).collect();
            list(items?.into_iter())
        }
        Value::Object(keys) => {
            let keys: Result<Vec<_>, _> = keys
                .iter()
                .map(|(key, value)| Ok((key.clone(), toml(value, &join(path, key))?)))
                .collect::<Result<_, String>>();
            named(keys?.into_iter())
        }
    })
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::*;

    fn route(name: &str, json: &str) -> Result<String, Box<Diagnostic>> {
        section(&Subject::Route(name.to_owned()), json)
    }

    #[test]
    fn json_is_put_into_the_words_of_the_file() {
        let json = r#"{"match": "/a", "methods": ["GET"], "headers": {"x y": "1\n\""}, "n": -1.5,
                       "respond": {}, "flag": true}"#;
        let expected = "[route.api]\nflag = true\nheaders = { \"x y\" = \"1\\n\\\"\" }\n\
                        match = \"/a\"\nmethods = [\"GET\"]\nn = -1.5\nrespond = {}\n";
        let mut lines: Vec<_> = expected.lines().collect();
        let section = route("api", json).expect("it is an object");
        let mut written: Vec<_> = section.lines().collect();
        lines.sort_unstable();
        written.sort_unstable();
        assert_eq!(written, lines);
        let subject = Subject::Server { pool: "a".into(), server: "b/0".into() };
        assert_eq!(section_of(&subject), "[pool.a.servers.\"b/0\"]\n");
    }

    fn section_of(subject: &Subject) -> String {
        section(subject, "{}").expect("it is an object")
    }

    #[test]
    fn no_body_and_no_name_becomes_another_section() {
        for (name, json) in [
            ("a]\n[admin", "{}"),
            ("a\"]\n[admin]\nx=\"", "{}"),
            ("", "{}"),
            ("a", r#"{"x]\n[admin": "\"\n[admin]\n", "": {"\u0000\"": [{}, []]}}"#),
            ("a", r#"{"}": 1, "{ ": " }", " }": "\\"}"#),
            ("a", r#"{"x": 1e300, "y": 18446744073709551615}"#),
        ] {
            let section = route(name, json).expect("it is an object");
            let (tree, errors) = DeTable::parse_recoverable(&section);
            assert!(errors.is_empty(), "{section}: {errors:?}");
            let names: Vec<_> = tree.get_ref().keys().map(|key| key.get_ref().clone()).collect();
            assert_eq!(names, ["route"], "{section}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused_with_an_example() {
        for (json, message) in [
            ("[]", "the body must be an object, not a list"),
            ("\"hush\"", "the body must be an object, not text"),
            ("{", "the body is not JSON: EOF while parsing an object at line 1 column 1"),
            ("{\"a\": {\"b\": [1, null]}}", "`route.api.a.b[1]` is null, which stands for nothing"),
        ] {
            let refusal = route("api", json).expect_err(json);
            assert_eq!(refusal.message, message);
            assert_eq!(refusal.file, "change route.api");
            assert!(refusal.help.is_some() && refusal.path.starts_with("route.api"), "{json}");
        }
        let long = format!("{{\"match\": {:?}}}", "x".repeat(SECTION_BYTES_MAX));
        assert_eq!(route("api", &long).expect_err("it is long").code, "too-long");
    }
}
