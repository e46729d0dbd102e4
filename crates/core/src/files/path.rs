//! Which name below a root a path stands for.
//!
//! The path has one spelling already (`route::normalise`), but perhaps a template made it; so
//! nothing is taken for granted here. What comes out has no segment that leads up or is empty.

use alloc::borrow::Cow;
use alloc::vec::Vec;

/// Longest name of a file, in bytes; Linux has no longer ones.
const NAME_BYTES_MAX: usize = 255;
/// Longest path below a root, in bytes.
const PATH_BYTES_MAX: usize = 2048;

/// Whether files and folders whose names begin with a dot are there. `.well-known` always is
/// (RFC 8615).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dotfiles {
    /// They are not.
    Hidden,
    /// They are like any others.
    Shown,
}

/// A name below a root.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Below<'a> {
    /// Segments joined by `/`, decoded; neither begins nor ends with `/`. Empty is the root.
    pub name: Cow<'a, [u8]>,
    /// Whether the path ends with `/`, so that only a folder can be meant.
    pub is_folder: bool,
}

/// The path stands for nothing that could be there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotThere {
    /// It does not begin with `/`.
    NotAbsolute,
    /// A segment begins with a dot.
    Dotfile,
    /// A segment is empty, `.` or `..`, or holds a slash, a backslash or a zero byte.
    Unsafe,
    /// A segment or the whole is longer than the system has names for.
    TooLong,
    /// An escape is broken.
    BadEscape,
}

impl NotThere {
    /// Why, in words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotAbsolute => "the path does not begin with `/`",
            Self::Dotfile => "names that begin with a dot are hidden (dotfiles = false)",
            Self::Unsafe => "the path is no plain way down from the root",
            Self::TooLong => "the path is longer than any name of a file",
            Self::BadEscape => "the path holds a `%` without two hexadecimal digits",
        }
    }
}

/// What `path`, without its query, stands for below a root. Borrows unless something was encoded.
pub fn below(path: &str, dotfiles: Dotfiles) -> Result<Below<'_>, NotThere> {
    let rest = path.strip_prefix('/').ok_or(NotThere::NotAbsolute)?;
    let (rest, is_folder) = match rest.strip_suffix('/') {
        Some(rest) => (rest, true),
        None => (rest, rest.is_empty()),
    };
    let name = decode(rest)?;
    if name.len() > PATH_BYTES_MAX {
        return Err(NotThere::TooLong);
    }
    if !rest.is_empty() {
        // An encoded slash would make other segments of it than those that were routed.
        if name.iter().filter(|&&byte| byte == b'/').count() != rest.matches('/').count() {
            return Err(NotThere::Unsafe);
        }
        name.split(|&byte| byte == b'/').try_for_each(|segment| judge(segment, dotfiles))?;
    } else if path.len() > 1 {
        return Err(NotThere::Unsafe);
    }
    Ok(Below { name, is_folder })
}

fn judge(segment: &[u8], dotfiles: Dotfiles) -> Result<(), NotThere> {
    match segment {
        b"" | b"." | b".." => Err(NotThere::Unsafe),
        _ if segment.iter().any(|byte| matches!(byte, 0 | b'\\')) => Err(NotThere::Unsafe),
        _ if segment.len() > NAME_BYTES_MAX => Err(NotThere::TooLong),
        b".well-known" => Ok(()),
        [b'.', ..] if dotfiles == Dotfiles::Hidden => Err(NotThere::Dotfile),
        _ => Ok(()),
    }
}

fn decode(text: &str) -> Result<Cow<'_, [u8]>, NotThere> {
    let text = text.as_bytes();
    if !text.contains(&b'%') {
        return Ok(Cow::Borrowed(text));
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let [high, low, after @ ..] = after else { return Err(NotThere::BadEscape) };
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
            return Err(NotThere::BadEscape);
        };
        decoded.push((high << 4 | low) as u8);
        rest = after;
    }
    Ok(Cow::Owned(decoded))
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;
    use crate::rng::Rng;

    fn hidden(path: &str) -> Result<(Vec<u8>, bool), NotThere> {
        below(path, Dotfiles::Hidden).map(|below| (below.name.into_owned(), below.is_folder))
    }

    #[test]
    fn paths_become_names() {
        let table: [(&str, &[u8], bool); 9] = [
            ("/", b"", true),
            ("/a", b"a", false),
            ("/a/", b"a", true),
            ("/a/b.html", b"a/b.html", false),
            ("/a%20b", b"a b", false),
            ("/%C3%A4", b"\xc3\xa4", false),
            ("/a..b/c.", b"a..b/c.", false),
            ("/.well-known/security.txt", b".well-known/security.txt", false),
            ("/a;b=c", b"a;b=c", false),
        ];
        for (path, name, is_folder) in table {
            assert_eq!(hidden(path), Ok((name.to_vec(), is_folder)), "{path}");
        }
    }

    #[test]
    fn no_path_leads_up_or_to_two_places() {
        for path in [
            "/..",
            "/../etc",
            "/a/..",
            "/a/../b",
            "/.",
            "/a/./b",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/%2e%2e",
            "/%2e%2e/etc",
            "/%2E",
            "/a%2fb",
            "/a%2F..%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/%00",
            "/%2f",
            "/..%2f",
            "/a/%2e%2e",
        ] {
            assert_eq!(below(path, Dotfiles::Shown), Err(NotThere::Unsafe), "{path}");
        }
        assert_eq!(hidden("a"), Err(NotThere::NotAbsolute));
        assert_eq!(hidden(""), Err(NotThere::NotAbsolute));
        for path in ["/%", "/%2", "/%zz", "/a%4"] {
            assert_eq!(hidden(path), Err(NotThere::BadEscape), "{path}");
        }
    }

    #[test]
    fn dot_files_are_hidden_unless_they_are_shown() {
        for path in ["/.env", "/.git/config", "/a/.b", "/%2eenv", "/...", "/.well-known2"] {
            assert_eq!(hidden(path), Err(NotThere::Dotfile), "{path}");
            assert!(below(path, Dotfiles::Shown).is_ok(), "{path}");
        }
        assert_eq!(hidden("/.well-known/.b"), Err(NotThere::Dotfile));
    }

    #[test]
    fn names_that_no_system_has_are_not_asked_for() {
        let name = |bytes: usize| String::from("/") + &"a".repeat(bytes);
        assert!(hidden(&name(NAME_BYTES_MAX)).is_ok());
        assert_eq!(hidden(&name(NAME_BYTES_MAX + 1)), Err(NotThere::TooLong));
        assert_eq!(hidden(&"/a".repeat(PATH_BYTES_MAX)), Err(NotThere::TooLong));
    }

    #[test]
    fn whatever_comes_out_is_a_plain_way_down() {
        let pieces =
            ["a", "..", ".", "/", "%2e", "%2f", "%00", "\\", "%5c", "%41", ".b", "%", "%2"];
        let mut rng = Rng::seeded(3);
        for _ in 0..50_000 {
            let mut path = String::from("/");
            for _ in 0..rng.below(8) {
                path.push_str(pieces[rng.below(pieces.len() as u32) as usize]);
            }
            let Ok(found) = below(&path, Dotfiles::Shown) else { continue };
            assert!(!found.name.contains(&0) && !found.name.contains(&b'\\'), "{path}");
            let mut segments = found.name.split(|&byte| byte == b'/');
            let is_root = found.name.is_empty();
            assert!(
                is_root || segments.all(|one| !matches!(one, b"" | b"." | b"..")),
                "{path} became {found:?}"
            );
        }
    }
}
