//! Which file answers a request, told in a way that `explain` can repeat.

use std::io;
use std::rc::Rc;

use evergate_core::files::{NotThere, below, takes_html};
use evergate_core::head::RequestHead;
use evergate_core::time::Instant;

use super::Files;
use super::opened::{OpenFile, OpenFiles, Opened};

/// What a path comes to.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// This file.
    File(Rc<OpenFile>, How),
    /// A folder that has an index, asked for without the slash behind it: relative links of the
    /// page would lead elsewhere.
    AddSlash,
    /// Nothing.
    Missing(Why),
    /// It is there and may not be read; the name is below the root.
    Denied(Vec<u8>),
    /// The system does not give it.
    Failed(io::Error),
}

/// Why a file answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum How {
    /// It was asked for.
    Asked,
    /// It is the folder's index.
    Index,
    /// There is no such file, and the application finds its way by itself.
    Fallback,
}

/// Why nothing answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Why {
    /// The path could not be a file's.
    Path(NotThere),
    /// No regular file has that name, or the way to it is not followed.
    NoFile,
    /// The folder has no index.
    NoIndex,
}

impl Why {
    /// In words.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Path(not_there) => not_there.text(),
            Self::NoFile => "no regular file has this name, or links lead out of the root",
            Self::NoIndex => "the folder has no index",
        }
    }
}

/// Looks up `path`, the part of a request's path that is below the root.
pub(crate) fn look(
    files: &Files,
    opened: &OpenFiles,
    path: &str,
    head: &RequestHead,
    now: Instant,
) -> Lookup {
    let name = match below(path, files.dotfiles()) {
        Ok(name) => name,
        Err(not_there) => return Lookup::Missing(Why::Path(not_there)),
    };
    let index = || {
        let slash: &[u8] = if name.name.is_empty() { b"" } else { b"/" };
        [&*name.name, slash, files.settings.index.as_bytes()].concat()
    };
    let found = if name.is_folder {
        direct(opened.open(files, &index(), now), &name.name, How::Index)
    } else {
        match opened.open(files, &name.name, now) {
            Opened::Folder => match opened.open(files, &index(), now) {
                Opened::File(_) => Lookup::AddSlash,
                Opened::Folder | Opened::Missing | Opened::Denied | Opened::Failed(_) => {
                    Lookup::Missing(Why::NoIndex)
                }
            },
            other => direct(other, &name.name, How::Asked),
        }
    };
    match (found, &files.settings.spa) {
        (Lookup::Missing(_), Some(page)) if is_of_application(path, head) => {
            let page = page.as_bytes();
            direct(opened.open(files, page, now), page, How::Fallback)
        }
        (found, _) => found,
    }
}

fn direct(opened: Opened, name: &[u8], how: How) -> Lookup {
    match opened {
        Opened::File(file) => Lookup::File(file, how),
        Opened::Folder => Lookup::Missing(Why::NoFile),
        Opened::Missing if how == How::Index => Lookup::Missing(Why::NoIndex),
        Opened::Missing => Lookup::Missing(Why::NoFile),
        Opened::Denied => Lookup::Denied(name.to_vec()),
        Opened::Failed(error) => Lookup::Failed(error),
    }
}

/// Whether the path may be one of a single-page application's own: its last part has no dot, and
/// who asks takes a page.
fn is_of_application(path: &str, head: &RequestHead) -> bool {
    let last = path.rsplit('/').next().unwrap_or(path);
    !last.contains('.') && takes_html(&head.fields)
}
