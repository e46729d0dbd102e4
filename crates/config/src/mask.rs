//! Blots secrets out of the text that diagnostics show.
//!
//! The blotted text is byte for byte as long as the real one, so that carets stay where they are.
//! Where the file can be parsed, the described keys say what is secret. Where it cannot, names do:
//! too much is blotted out rather than too little.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::keys::{Key, Kind, ROOT, find};

/// Parts of names behind which secrets are suspected.
const SUSPECT_PARTS: [&str; 8] =
    ["apikey", "authorization", "credential", "hmac", "passphrase", "password", "secret", "token"];
/// Whole names, or the last words of names, behind which secrets are suspected.
const SUSPECT_ENDS: [&str; 6] = ["auth", "cookie", "key", "keys", "pass", "passwd"];
/// The one name of another proxy that ends so and is harmless, and often written here.
const HARMLESS: &str = "proxy_pass";
/// Names behind which they are known, if the file cannot be parsed.
const KNOWN: [&str; 2] = ["operator", "viewer"];

/// What each section of PEM begins and ends with.
const PEM_BEGIN: &str = "-----BEGIN ";
const PEM_END: &str = "-----END ";

/// What is never a secret: `credentials` of CORS is one of these.
const SWITCHES: [&str; 6] = ["true", "false", "yes", "no", "on", "off"];

/// The text without its secrets.
pub(crate) fn blot(text: &str) -> Arc<str> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    let mut spans = Vec::new();
    if errors.is_empty() {
        walk(tree.get_ref(), ROOT, &mut spans);
    } else {
        suspect_lines(text, &mut spans);
    }
    let mut bytes = text.as_bytes().to_vec();
    for byte in spans.into_iter().flat_map(|span| bytes_of(text, span)) {
        if !bytes[byte].is_ascii_whitespace() {
            bytes[byte] = b'*';
        }
    }
    // Whole characters are replaced, so it is UTF-8 as before.
    String::from_utf8(bytes).unwrap_or_default().into()
}

/// Whether a name suggests that its value is secret.
pub(crate) fn is_suspect(name: &str) -> bool {
    let lower = name.to_lowercase();
    let last = lower.rsplit(|c: char| !c.is_alphanumeric()).find(|word| !word.is_empty());
    lower != HARMLESS
        && (SUSPECT_PARTS.iter().any(|part| lower.contains(part))
            || last.is_some_and(|word| SUSPECT_ENDS.contains(&word)))
}

/// The span, cut to whole characters of the text.
fn bytes_of(text: &str, span: Range<usize>) -> Range<usize> {
    let legal = text.is_char_boundary(span.start) && text.is_char_boundary(span.end);
    if legal { span } else { 0..text.len() }
}

fn walk(table: &DeTable<'_>, keys: &'static [Key], spans: &mut Vec<Range<usize>>) {
    let secrets_here = keys.iter().any(|key| matches!(key.kind, Kind::Secret));
    for (name, value) in table.iter() {
        match find(keys, name.get_ref()).map(|key| &key.kind) {
            Some(Kind::Secret | Kind::List(Kind::Secret)) => scalars(value, spans),
            Some(Kind::Table(keys) | Kind::List(Kind::Table(keys))) => {
                each_table(value, &mut |table| walk(table, keys, spans))
            }
            Some(Kind::Named(_, keys)) => each_table(value, &mut |names| {
                for (_, child) in names.iter() {
                    each_table(child, &mut |table| walk(table, keys, spans));
                }
            }),
            Some(Kind::Path) if holds_pem(value) => scalars(value, spans),
            Some(Kind::Map(..) | Kind::Later) => suspects(value, spans),
            None if secrets_here || is_suspect(name.get_ref()) => scalars(value, spans),
            None => suspects(value, spans),
            Some(_) => {}
        }
    }
}

/// Whether it is a certificate or a key where its path should stand.
fn holds_pem(value: &Spanned<DeValue<'_>>) -> bool {
    value.get_ref().as_str().is_some_and(|text| text.contains(PEM_BEGIN))
}

/// The table itself, or those in a list.
fn each_table(value: &Spanned<DeValue<'_>>, act: &mut dyn FnMut(&DeTable<'_>)) {
    match value.get_ref() {
        DeValue::Table(table) => act(table),
        DeValue::Array(items) => items.iter().for_each(|item| each_table(item, act)),
        _ => {}
    }
}

/// Whatever has a suspect name, at any depth.
fn suspects(value: &Spanned<DeValue<'_>>, spans: &mut Vec<Range<usize>>) {
    each_table(value, &mut |table| {
        for (name, child) in table.iter() {
            if is_suspect(name.get_ref()) { scalars(child, spans) } else { suspects(child, spans) }
        }
    });
}

/// Every text and number, except `${…}`.
fn scalars(value: &Spanned<DeValue<'_>>, spans: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::Table(table) => table.iter().for_each(|(_, child)| scalars(child, spans)),
        DeValue::Array(items) => items.iter().for_each(|item| scalars(item, spans)),
        DeValue::String(text) if text.starts_with("${") => {}
        DeValue::String(_) => {
            let span = value.span();
            spans.push(span.start + 1..(span.end - 1).max(span.start + 1));
        }
        _ => spans.push(value.span()),
    }
}

/// What follows a suspect name on the same line, or up to the bracket that closes it.
fn suspect_lines(text: &str, spans: &mut Vec<Range<usize>>) {
    let mut start = 0;
    let mut open = false;
    let mut in_section = false;
    let mut in_pem = false;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start();
        in_pem |= line.contains(PEM_BEGIN);
        if in_pem {
            spans.push(start..start + line.len());
            in_pem = !line.contains(PEM_END);
        } else if trimmed.starts_with('[') && !open {
            in_section = is_suspect(trimmed);
        } else if let Some(at) = suspect_value(line, in_section || open) {
            let value = &line[at..];
            quoted(value, start + at, spans);
            let opened = value.matches(['[', '{']).count();
            let closed = value.matches([']', '}']).count();
            open = if open { closed <= opened } else { opened > closed };
        }
        start += line.len();
    }
}

/// Where on the line a secret may begin.
fn suspect_value(line: &str, everywhere: bool) -> Option<usize> {
    if everywhere {
        return Some(line.find('=').map_or(0, |equals| equals + 1));
    }
    line.match_indices('=').map(|(equals, _)| equals).find_map(|equals| {
        let before = line[..equals].trim_end();
        let word_start = before
            .rfind(|c: char| !c.is_alphanumeric() && c != '_' && c != '-')
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let word = &before[word_start..];
        (is_suspect(word) || KNOWN.contains(&word)).then_some(equals + 1)
    })
}

/// What stands in quotes, or would have to.
fn quoted(value: &str, offset: usize, spans: &mut Vec<Range<usize>>) {
    if SWITCHES.contains(&value.trim()) {
        return;
    }
    let mut quote = None;
    for (at, c) in value.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, '[' | ']' | '{' | '}' | ',' | '=') => {}
            (None | Some(_), c) => spans.push(offset + at..offset + at + c.len_utf8()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn described_secrets_are_blotted_out_and_nothing_else() {
        let text = "[admin.tokens]\nviewer = \"hush\"\noperator = \"${file:x}\"\n\
            [middleware.k]\napi_key = { header = \"x-k\", keys = [\"a\", 'b'] }\n\
            [pool.p]\nhash_key = \"{client_ip}\"\n";
        let expected = text.replace("hush", "****").replace("\"a\"", "\"*\"").replace("'b'", "'*'");
        assert_eq!(&*blot(text), expected);
    }

    #[test]
    fn secrets_under_wrong_keys_are_blotted_out_too() {
        for line in ["tokens = { viewr = \"hush\" }", "tokens = { viewer = [\"hush\"] }"] {
            let text = format!("[admin]\n{line}\n");
            assert!(!blot(&text).contains("hush"), "{line}");
        }
        let later = "[middleware.j]\njwt = { secret = \"hush\", audience = \"api\" }\n";
        assert!(!blot(later).contains("hush") && blot(later).contains("api"));
        let number = "[admin.tokens]\nviewer = 12345\n";
        assert!(!blot(number).contains("12345"));
    }

    #[test]
    fn broken_files_are_blotted_out_by_name() {
        for text in [
            "tokens = { viewer = \"hush }\n",
            "operator = hush\n",
            "keys = [\n\"hush\",\n\"more hush\n",
            "[admin.tokens]\nviewr = \"hush\n",
            "tokens = { viewer = 'hush\n",
        ] {
            let blotted = blot(text);
            assert!(!blotted.contains("hush"), "{blotted}");
            assert_eq!(blotted.len(), text.len());
        }
        let pem = "[listener.web]\nkey = \"\"\"\n-----BEGIN PRIVATE KEY-----\nhush\n\
            -----END PRIVATE KEY-----\n\"\"\"\n[pool.a\n";
        assert!(!blot(pem).contains("hush") && blot(pem).contains("pool"), "{}", blot(pem));
        for text in ["[pool.a\nservers = \"seen\"\n", "credentials = yes\n"] {
            assert_eq!(&*blot(text), text);
        }
    }
}
