//! How many descriptors this process may open.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit on open files before and after [`raise_files`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Files {
    /// What it was; programs that use select(2) rely on a low one, so children get it back.
    pub before: u64,
    /// What it is.
    pub now: u64,
}

/// Raises the limit on open files as far as an unprivileged process may.
pub fn raise_files() -> io::Result<Files> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let unlimited = u64::MAX;
    Ok(Files { before: current.unwrap_or(unlimited), now: maximum.unwrap_or(unlimited) })
}

/// Most files that this process and its children may have open; `None` for no bound. Only root may
/// raise it.
pub fn files_hard() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_goes_as_far_as_it_may() {
        let first = raise_files().unwrap();
        assert!(first.now >= first.before);
        assert_eq!(files_hard().unwrap_or(u64::MAX), first.now);
        assert_eq!(raise_files().unwrap(), Files { before: first.now, now: first.now });
    }
}
