//! Files that are part of the binary.

use std::sync::OnceLock;

/// A file that was put into the binary when it was built.
#[derive(Debug)]
pub struct EmbeddedFile {
    /// Below the root, without a slash in front.
    pub path: &'static str,
    /// All of it.
    pub content: &'static [u8],
    /// Another one for other content; no quotes.
    pub tag: &'static str,
}

/// What stands under a name.
pub(super) enum Embedded {
    File(&'static EmbeddedFile),
    Folder,
}

static FILES: OnceLock<&[EmbeddedFile]> = OnceLock::new();

/// Says which files are in the binary, in order of their paths; the first to say so is right.
pub fn embed(files: &'static [EmbeddedFile]) {
    debug_assert!(files.is_sorted_by_key(|file| file.path), "they are searched by halves");
    FILES.get_or_init(|| files);
}

/// Whether there are any.
pub(super) fn are_there() -> bool {
    FILES.get().is_some_and(|files| !files.is_empty())
}

/// What `name` stands for.
pub(super) fn find(name: &[u8]) -> Option<Embedded> {
    let files = FILES.get()?;
    let at = match files.binary_search_by(|file| file.path.as_bytes().cmp(name)) {
        Ok(at) => return Some(Embedded::File(&files[at])),
        Err(at) => at,
    };
    // Names that go on with something before the slash stand between.
    let is_folder = files[at..]
        .iter()
        .map(|file| file.path.as_bytes())
        .map_while(|path| path.strip_prefix(name))
        .any(|rest| name.is_empty() || rest.first() == Some(&b'/'));
    is_folder.then_some(Embedded::Folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_are_found_by_name() {
        const fn file(path: &'static str) -> EmbeddedFile {
            EmbeddedFile { path, content: b"", tag: "0" }
        }
        static SOME: [EmbeddedFile; 4] =
            [file("a-b"), file("a.txt"), file("a/b.js"), file("index.html")];
        embed(&SOME);
        let kind = |name: &str| match find(name.as_bytes()) {
            Some(Embedded::File(file)) => file.path,
            Some(Embedded::Folder) => "/",
            None => "",
        };
        let table = [
            ("", "/"),
            ("a", "/"),
            ("a-b", "a-b"),
            ("a/b.js", "a/b.js"),
            ("index.html", "index.html"),
            ("a/b", ""),
            ("i", ""),
            ("z", ""),
            ("a/", ""),
        ];
        for (name, found) in table {
            assert_eq!(kind(name), found, "{name}");
        }
    }
}
