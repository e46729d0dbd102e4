//! The path part of a route, taken apart.

use alloc::borrow::{Cow, ToOwned};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::path::normalise;

/// The most parameters that one path may have.
pub const PARAMS_MAX: usize = 16;

/// The most segments that one path may have; it bounds the depth of the search too.
pub const SEGMENTS_MAX: usize = 64;

/// A path as a list of segments, and the names of its parameters from left to right.
#[derive(Debug, Default)]
pub(super) struct Pattern {
    pub(super) segments: Vec<Segment>,
    pub(super) names: Vec<Box<str>>,
}

#[derive(Debug)]
pub(super) enum Segment {
    Literal(Vec<u8>),
    /// A parameter with this text before and after it.
    Param {
        prefix: Vec<u8>,
        suffix: Vec<u8>,
    },
    /// All that is left.
    Rest,
}

impl Pattern {
    /// Takes `path` apart; the error says what to write instead.
    pub(super) fn parse(path: &str) -> Result<Self, String> {
        let Some(segments) = path.strip_prefix('/') else {
            return Err(format!("the path `{path}` must start with `/`"));
        };
        let mut pattern = Self::default();
        for segment in segments.split('/') {
            if let Some(Segment::Rest) = pattern.segments.last() {
                return Err(format!("in `{path}` a wildcard must be the last segment"));
            }
            pattern.parse_segment(segment).map_err(|why| format!("in `{path}` {why}"))?;
        }
        pattern.check(path)?;
        Ok(pattern)
    }

    fn parse_segment(&mut self, segment: &str) -> Result<(), String> {
        let mut texts = [Vec::new(), Vec::new()];
        let mut name = None;
        let mut rest = segment;
        while let Some(at) = rest.find(['{', '}']) {
            let (text, brace) = rest.split_at(at);
            let side = &mut texts[usize::from(name.is_some())];
            side.extend_from_slice(text.as_bytes());
            if brace.starts_with("{{") || brace.starts_with("}}") {
                side.push(brace.as_bytes()[0]);
                rest = &brace[2..];
                continue;
            }
            let Some((inside, after)) = brace.strip_prefix('{').and_then(|b| b.split_once('}'))
            else {
                return Err(format!("a brace of `{segment}` has no partner; `{{{{` means `{{`"));
            };
            if name.replace(inside).is_some() {
                return Err(format!("`{segment}` has two parameters; a segment may hold one"));
            }
            rest = after;
        }
        texts[usize::from(name.is_some())].extend_from_slice(rest.as_bytes());
        let [prefix, suffix] = texts;
        let Some(name) = name else {
            self.segments.push(Segment::Literal(prefix));
            return Ok(());
        };
        match name.strip_prefix('*') {
            Some(name) if prefix.is_empty() && suffix.is_empty() => {
                self.add_name(name)?;
                self.segments.push(Segment::Rest);
            }
            Some(_) => return Err(format!("the wildcard of `{segment}` must stand alone")),
            None => {
                self.add_name(name)?;
                self.segments.push(Segment::Param { prefix, suffix });
            }
        }
        Ok(())
    }

    fn add_name(&mut self, name: &str) -> Result<(), String> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if name.is_empty() || !name.bytes().all(is_word) {
            return Err(format!(
                "the parameter `{name}` needs a name of letters, digits, `_`, `-`"
            ));
        }
        if self.names.iter().any(|known| **known == *name) {
            return Err(format!("two parameters are called `{name}`"));
        }
        self.names.push(name.to_owned().into_boxed_str());
        Ok(())
    }

    fn check(&self, path: &str) -> Result<(), String> {
        if self.segments.len() > SEGMENTS_MAX {
            return Err(format!("the path has more than {SEGMENTS_MAX} segments"));
        }
        if self.names.len() > PARAMS_MAX {
            return Err(format!("the path has more than {PARAMS_MAX} parameters"));
        }
        // Braces and names are their own spelling, so the pattern may be judged as a path.
        match normalise(path.as_bytes()) {
            Ok(Cow::Borrowed(_)) => Ok(()),
            Ok(Cow::Owned(spelled)) => Err(format!(
                "`{path}` can never match, because paths are normalised first; write `{spelled}`"
            )),
            Err(error) => Err(format!("`{path}` can never match: {error}")),
        }
    }
}
