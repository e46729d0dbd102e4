//! Files that are answered with.

use std::path::PathBuf;

use super::Coding;

/// `static`: files from a folder, or from the binary.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Static {
    /// Where they are.
    pub root: Root,
    /// What they are compressed to on the way, best first. Default: nothing.
    pub compress: Vec<Coding>,
    /// Whether `FILE.zst`, `FILE.br` and `FILE.gz` beside a file are sent in its place to whoever
    /// takes them. Default: true.
    pub precompressed: bool,
    /// What a folder answers with. Default: `index.html`.
    pub index: String,
    /// What is answered where there is no file and the path's last part has no dot (single-page
    /// applications); relative to the root.
    pub spa: Option<String>,
    /// Whether files and folders whose names begin with a dot are there. Default: false.
    /// `.well-known` always is.
    pub dotfiles: bool,
    /// What becomes of symbolic links. Default: within.
    pub symlinks: Symlinks,
    /// `Cache-Control` by pattern of the path below the root, the first that fits in order of
    /// length, longest first: `*.html`, `/assets/*`.
    pub cache_control: Vec<(String, String)>,
}

/// Where files are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Root {
    /// In this folder; an absolute path.
    Folder(PathBuf),
    /// In the binary, which was built with them.
    Embedded,
}

/// What becomes of symbolic links below a root.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Symlinks {
    /// They are not there.
    Never,
    /// They are followed while they stay below the root.
    Within,
    /// They are followed.
    Anywhere,
}
