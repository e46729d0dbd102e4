//! The directory in which everything of ours lies: `state_dir/acme`.
//!
//! The worker makes it while it is still root, for the user that it becomes. A directory that is
//! there already and belongs to somebody else is never taken over: the operator is told what to do.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use evergate_sys::directory::{self, Opened};
use evergate_sys::privilege::{self, User};

const NAME: &str = "acme";

/// Why there is no directory to keep certificates in.
#[derive(Debug)]
pub enum RootError {
    /// A directory cannot be made or entered.
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// As whom we need it.
        uid: u32,
    },
    /// Everybody may put things into `state_dir`.
    Open(PathBuf),
    /// It belongs to another user.
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        is: u32,
        /// Whose it should be.
        should_be: u32,
    },
}

impl fmt::Display for RootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable { path, source, uid } => {
                let path = path.display();
                write!(
                    f,
                    "{path} is needed for certificates: {source}; make it with `install -d -m 700 \
                     -o {uid} {path}`, or start Evergate anew as root"
                )
            }
            Self::Open(path) => {
                let path = path.display();
                write!(f, "everybody may write to {path}: `chmod o-w {path}`")
            }
            Self::Foreign { path, is, should_be } => {
                let path = path.display();
                write!(
                    f,
                    "{path} belongs to user {is}, and Evergate serves as user {should_be}: `chown \
                     -R {should_be} {path}` if it is Evergate's, or choose another node.state_dir"
                )
            }
        }
    }
}

impl std::error::Error for RootError {}

/// Makes `state_dir/acme` what it must be, for `user` if we are root, else for ourselves; returns
/// its path. Safe to call again.
///
/// # Errors
/// If that cannot be; nothing that was there is changed then.
pub fn prepare_root(state_dir: &Path, user: Option<&User>) -> Result<PathBuf, RootError> {
    let path = state_dir.join(NAME);
    let uid = user.map_or_else(privilege::current_uid, |user| user.uid);
    let unusable = |path: &Path, source| {
        let path = path.to_owned();
        RootError::Unusable { path, source, uid }
    };
    fs::create_dir_all(state_dir).map_err(|error| unusable(state_dir, error))?;
    let parent = directory::open(state_dir).map_err(|error| unusable(state_dir, error))?;
    let (is_open, is_sticky) = (parent.mode & 0o002 != 0, parent.mode & 0o1000 != 0);
    if is_open && !is_sticky {
        return Err(RootError::Open(state_dir.to_owned()));
    }
    let made = directory::open_or_make(&parent.directory, NAME);
    let own = made.map_err(|error| unusable(&path, error))?;
    take(&own, user, uid, &path).map_err(|error| unusable(&path, error))??;
    Ok(path)
}

fn take(
    own: &Opened,
    user: Option<&User>,
    uid: u32,
    path: &Path,
) -> io::Result<Result<(), RootError>> {
    match user {
        Some(user) if own.is_new => directory::give(&own.directory, user.uid, user.gid)?,
        Some(_) | None if own.uid != uid => {
            let path = path.to_owned();
            return Ok(Err(RootError::Foreign { path, is: own.uid, should_be: uid }));
        }
        Some(_) | None => {}
    }
    if own.mode & 0o077 != 0 {
        directory::make_private(&own.directory)?;
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn nobody() -> User {
        User { uid: 65534, gid: 65534, groups: vec![65534] }
    }

    #[test]
    fn the_directory_is_made_for_the_user_once() {
        let temporary = tempfile::tempdir().unwrap();
        let state = temporary.path().join("lib/evergate");
        let is_root = privilege::is_root();
        let user = is_root.then(nobody);
        let path = prepare_root(&state, user.as_ref()).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.mode() & 0o777, 0o700);
        assert_eq!(metadata.uid(), if is_root { 65534 } else { privilege::current_uid() });
        assert_eq!(prepare_root(&state, user.as_ref()).unwrap(), path, "again");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        prepare_root(&state, user.as_ref()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700, "it is ours to close");
    }

    #[test]
    fn what_belongs_to_somebody_else_is_left_alone() {
        if !privilege::is_root() {
            eprintln!("skipped: only root has directories of two users");
            return;
        }
        let temporary = tempfile::tempdir().unwrap();
        fs::create_dir(temporary.path().join(NAME)).unwrap();
        let error = prepare_root(temporary.path(), Some(&nobody())).unwrap_err();
        assert!(matches!(error, RootError::Foreign { is: 0, should_be: 65534, .. }), "{error}");
        assert!(error.to_string().contains("chown -R 65534 "), "{error}");
        assert_eq!(fs::metadata(temporary.path().join(NAME)).unwrap().uid(), 0);
    }

    #[test]
    fn links_and_open_directories_are_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), temporary.path().join(NAME)).unwrap();
        let error = prepare_root(temporary.path(), None).unwrap_err();
        assert!(matches!(error, RootError::Unusable { .. }), "{error}");
        fs::set_permissions(elsewhere.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = prepare_root(elsewhere.path(), None).unwrap_err();
        assert!(matches!(error, RootError::Open(_)), "{error}");
    }
}
