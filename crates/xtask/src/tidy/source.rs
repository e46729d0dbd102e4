//! Rust as the rules see it: code without comments and literals, and where its tests are.

use std::ops::Range;

/// A Rust file.
#[derive(Clone, Debug)]
pub(super) struct Source<'a> {
    /// Relative to the workspace.
    pub(super) path: &'a str,
    /// The text with comments, strings and characters blanked out, byte for byte as long.
    pub(super) code: String,
    /// The bytes of modules that exist in tests only.
    tests: Vec<Range<usize>>,
}

/// A function with a body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Function {
    pub(super) name: String,
    /// Where `fn` stands.
    pub(super) at: usize,
    /// Lines from `fn` to the closing brace.
    pub(super) lines: usize,
}

impl<'a> Source<'a> {
    pub(super) fn read(path: &'a str, text: &str) -> Self {
        let code = mask(text);
        let tests = if is_test_file(path) { whole(&code) } else { test_modules(&code) };
        Self { path, code, tests }
    }

    /// The line of the byte at `at`, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        1 + self.code[..at].bytes().filter(|&byte| byte == b'\n').count()
    }

    pub(super) fn is_test(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }

    /// Where `pattern` stands as whole words: its ends touch no other identifier.
    pub(super) fn find_words(&self, pattern: &str) -> impl Iterator<Item = usize> {
        let ends_open = !pattern.ends_with(is_word);
        self.code.match_indices(pattern).map(|(at, _)| at).filter(move |&at| {
            let before = self.code[..at].chars().next_back();
            let after = self.code[at + pattern.len()..].chars().next();
            !before.is_some_and(is_word) && (ends_open || !after.is_some_and(is_word))
        })
    }

    /// Every function that has a body, nested ones too.
    pub(super) fn functions(&self) -> Vec<Function> {
        self.find_words("fn").filter_map(|at| self.function(at)).collect()
    }

    fn function(&self, at: usize) -> Option<Function> {
        let rest = &self.code[at + "fn".len()..];
        let name: String = rest.trim_start().chars().take_while(|&c| is_word(c)).collect();
        if name.is_empty() {
            // A type such as `fn(u8) -> u8`.
            return None;
        }
        let open = body_start(&self.code, at)?;
        let close = closing_brace(&self.code, open)?;
        Some(Function { name, at, lines: self.line(close) - self.line(at) + 1 })
    }
}

pub(super) fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Where the body of the function at `at` opens; `None` if a `;` ends it without one.
fn body_start(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (offset, byte) in code[at..].bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'{' if depth == 0 => return Some(at + offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The brace that closes the one at `open`.
fn closing_brace(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (offset, byte) in code[open..].bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(open + offset);
                }
            }
            _ => {}
        }
    }
    None
}

/// How deep in braces the byte at `at` stands.
pub(super) fn depth(code: &str, at: usize) -> usize {
    let opened = code[..at].matches('{').count();
    opened.saturating_sub(code[..at].matches('}').count())
}

fn whole(code: &str) -> Vec<Range<usize>> {
    std::iter::once(0..code.len()).collect()
}

/// A program that tests run is none itself.
fn is_test_file(path: &str) -> bool {
    let is_program = path.contains("/src/bin/");
    let is_harness = path.starts_with("crates/e2e/") && !is_program;
    path.contains("/tests/") || path.ends_with("/tests.rs") || is_harness
}

/// The bodies of modules under `#[cfg(test)]`.
fn test_modules(code: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, attribute) in code.match_indices("#[cfg(test)]") {
        let Some(open) = body_start(code, at + attribute.len()) else { continue };
        let Some(close) = closing_brace(code, open) else { continue };
        found.push(at..close);
    }
    found
}

/// Blanks comments and literals; newlines stay, so that lines and bytes keep their numbers.
fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let before = text[..at].chars().next_back();
        let length = literal_or_comment(rest, before);
        if length > 0 {
            masked.extend(rest[..length].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }));
            at += length;
        } else {
            let c = rest.chars().next().expect("at < text.len()");
            if c.is_ascii() {
                masked.push(c);
            } else {
                // Keeps byte offsets; identifiers here are ASCII.
                masked.extend(std::iter::repeat_n(' ', c.len_utf8()));
            }
            at += c.len_utf8();
        }
    }
    masked
}

/// How many bytes of `rest` belong to a comment or literal that begins it; 0 if none does.
fn literal_or_comment(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    match rest.as_bytes()[0] {
        b'"' => 1 + quoted(&rest[1..], b'"'),
        b'\'' => character(rest),
        b'r' | b'b' | b'c' if !before.is_some_and(is_word) => prefixed(rest),
        _ => 0,
    }
}

/// `/* … */`, which nests in Rust.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0usize;
    let bytes = rest.as_bytes();
    let mut at = 0;
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

/// Bytes up to and with the closing quote.
fn quoted(rest: &str, quote: u8) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A character, or nothing if the quote begins a lifetime.
fn character(rest: &str) -> usize {
    let mut inside = rest[1..].chars();
    match (inside.next(), inside.next()) {
        (Some('\\'), Some(_)) => 1 + quoted(&rest[1..], b'\''),
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 0,
    }
}

/// `r"…"`, `r#"…"#`, `b"…"`, `b'…'`, `br"…"`, `c"…"`.
fn prefixed(rest: &str) -> usize {
    let prefix = rest.bytes().take_while(|b| matches!(b, b'r' | b'b' | b'c')).count();
    if prefix > 2 {
        return 0;
    }
    let raw = rest[..prefix].contains('r');
    let after = &rest[prefix..];
    let hashes = after.bytes().take_while(|&b| b == b'#').count();
    let body = &after[hashes..];
    if raw && body.starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let length = body[1..].find(&end).map_or(body.len(), |at| 1 + at + end.len());
        return prefix + hashes + length;
    }
    match after.as_bytes().first() {
        Some(b'"') => prefix + 1 + quoted(&after[1..], b'"'),
        Some(b'\'') if &rest[..prefix] == "b" => prefix + 1 + quoted(&after[1..], b'\''),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blank_and_code_stays() {
        let text = r####"a /* x /* y */ z */ b // c
"d \" e" f r#"g " h"# 'i' '\'' 'static b'j' br"k" rust r#type é l"####;
        let code = mask(text);
        assert_eq!(code.len(), text.len());
        let words: Vec<&str> = code.split_whitespace().collect();
        assert_eq!(words, ["a", "b", "f", "'static", "rust", "r#type", "l"]);
        assert_eq!(code.find('\n'), text.find('\n'));
    }

    #[test]
    fn an_unfinished_literal_ends_with_the_file() {
        for text in ["\"abc", "r#\"abc", "/* abc", "\"abc\\"] {
            assert!(mask(text).trim().is_empty(), "{text}");
        }
    }

    #[test]
    fn words_are_found_whole() {
        let source = Source::read("a.rs", "unsafe_code unsafe {} not_unsafe; sleep(1); x.sleep(2)");
        assert_eq!(source.find_words("unsafe").collect::<Vec<_>>(), [12]);
        assert_eq!(source.find_words("sleep(").count(), 2);
    }

    #[test]
    fn functions_know_their_length() {
        let text = "fn one() -> [u8; 2] { [1, 2] }\n\
                    trait T { fn none(&self); }\n\
                    fn three(f: fn(u8)) {\n if x { y }\n}\n";
        let source = Source::read("a.rs", text);
        let found: Vec<(String, usize)> =
            source.functions().into_iter().map(|f| (f.name, f.lines)).collect();
        assert_eq!(found, [("one".to_owned(), 1), ("three".to_owned(), 3)]);
    }

    #[test]
    fn test_code_is_told_from_the_rest() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\nfn c() {}\n";
        let source = Source::read("crates/x/src/a.rs", text);
        let is_test = |word: &str| source.is_test(text.find(word).expect("in the fixture"));
        assert!(!is_test("fn a"));
        assert!(is_test("fn b"));
        assert!(!is_test("fn c"));
        assert!(Source::read("crates/x/src/a/tests.rs", text).is_test(0));
        assert!(Source::read("crates/x/tests/boot.rs", text).is_test(0));
    }

    #[test]
    fn a_test_module_in_another_file_does_not_reach_past_its_line() {
        let text = "#[cfg(test)]\nmod tests;\nfn a() { b }\n";
        let source = Source::read("crates/x/src/a.rs", text);
        assert!(!source.is_test(text.find("fn a").expect("in the fixture")));
    }
}
