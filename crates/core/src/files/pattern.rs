//! Patterns of paths below a root.

use alloc::string::String;

/// A pattern in which `*` stands for any text, slashes too.
///
/// With a slash in it, it is for the whole path, which begins with `/`; without one, for the
/// file's name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern {
    text: String,
    is_of_name: bool,
}

impl Pattern {
    /// The pattern written as `text`; a slash in front may be left out.
    pub fn new(text: &str) -> Self {
        let is_of_name = !text.contains('/');
        let mut whole = String::with_capacity(text.len() + 1);
        if !is_of_name && !text.starts_with(['/', '*']) {
            whole.push('/');
        }
        whole.push_str(text);
        Self { text: whole, is_of_name }
    }

    /// Whether it fits the file called `name` below the root, without a slash in front.
    pub fn fits(&self, name: &[u8]) -> bool {
        let pattern = self.text.as_bytes();
        if self.is_of_name {
            let file = name.rsplit(|&byte| byte == b'/').next().unwrap_or(name);
            return fits(pattern, file);
        }
        match pattern {
            [b'/', rest @ ..] => fits(rest, name),
            // Whatever `*` stands for may begin with the slash in front of the name.
            _ => fits(pattern, name) || fits(pattern.strip_prefix(b"*/").unwrap_or(pattern), name),
        }
    }
}

/// Goes back to the last `*` only: an earlier one could not do better. So the work is at most one
/// length times the other.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut of) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(of) {
            Some(b'*') => {
                star = Some((of, at));
                of += 1;
            }
            Some(&byte) if byte == text[at] => {
                at += 1;
                of += 1;
            }
            Some(_) | None => {
                let Some((star_of, star_at)) = &mut star else { return false };
                *star_at += 1;
                (at, of) = (*star_at, *star_of + 1);
            }
        }
    }
    pattern[of..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names_or_paths() {
        let table = [
            ("*.html", "index.html", true),
            ("*.html", "a/b/index.html", true),
            ("*.html", "a.html/b", false),
            ("*", "a/b", true),
            ("index.html", "a/index.html", true),
            ("/index.html", "a/index.html", false),
            ("/index.html", "index.html", true),
            ("/assets/*", "assets/a/b.js", true),
            ("assets/*", "assets/b.js", true),
            ("/assets/*", "assets", false),
            ("/assets/*", "my/assets/b.js", false),
            ("*/fonts/*", "a/fonts/b", true),
            ("*/fonts/*", "fonts/b", true),
            ("/a*b*c", "axbxxbyc", true),
            ("/a*b*c", "axbxxby", false),
            ("*.*", "a", false),
        ];
        for (pattern, name, fits) in table {
            assert_eq!(Pattern::new(pattern).fits(name.as_bytes()), fits, "{pattern} {name}");
        }
    }
}
