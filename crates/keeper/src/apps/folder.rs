//! The directory in which a run makes its Unix socket.
//!
//! Each run has its own, which its user may write to, so that one app cannot take the place of
//! another. Besides that user only the worker's group may look into it.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use evergate_core::supervise::fleet::Run;
use evergate_sys::privilege::{self, User};

use crate::files;

/// Directory of those of all runs, in the directory of the node.
const ALL: &str = "apps";
/// Name of the socket.
const SOCKET: &str = "socket";
/// Longest path of a Unix socket, in bytes.
const PATH_BYTES_MAX: usize = 107;

/// The directory of one run; removed when this is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    socket: String,
}

impl Folder {
    /// Makes the directory of `run` below `run_dir`. It belongs to `user`, and the group of
    /// `worker` may look into it; without them to whoever we are.
    pub(super) fn new(
        run_dir: &str,
        run: &Run,
        user: Option<&User>,
        worker: Option<&User>,
    ) -> Result<Self, String> {
        let path = of_all(run_dir)?.join(name(run));
        let socket = path.join(SOCKET).to_str().map(str::to_owned);
        let socket = socket.filter(|socket| socket.len() <= PATH_BYTES_MAX);
        let Some(socket) = socket else {
            let path = path.display();
            return Err(refused(&format!("{path}/{SOCKET} is too long for a socket")));
        };
        let failed = |error: io::Error| refused(&error.to_string());
        make(&path, 0o700).map_err(failed)?;
        let folder = Self { path, socket };
        folder.hand_over(user, worker).map_err(failed)?;
        Ok(folder)
    }

    /// The one that this process made at `path` before it became another program.
    pub(super) fn resume(path: PathBuf) -> Self {
        let socket = path.join(SOCKET).to_string_lossy().into_owned();
        Self { path, socket }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &str {
        self.path.to_str().expect("the path of its socket is text")
    }

    /// Where the socket is to be.
    pub(super) fn socket(&self) -> &str {
        &self.socket
    }

    fn hand_over(&self, user: Option<&User>, worker: Option<&User>) -> io::Result<()> {
        remove_socket(&self.path)?;
        if !privilege::is_root() {
            return Ok(());
        }
        let owner = user.map_or(0, |user| user.uid);
        let group = worker.or(user).map_or(0, |user| user.gid);
        lchown(&self.path, Some(owner), Some(group))?;
        // What is made in it gets the group too, so that the worker may be let in by a umask.
        fs::set_permissions(&self.path, Permissions::from_mode(0o2750))
    }
}

/// The directory in which all that runs share with us has its place; makes it if need be.
pub(super) fn of_all(run_dir: &str) -> Result<PathBuf, String> {
    let all = files::trusted(run_dir).map_err(|why| refused(&why))?.join(ALL);
    make(&all, 0o755).map_err(|error| refused(&format!("{}: {error}", all.display())))?;
    Ok(all)
}

/// What files of `run` are called.
pub(super) fn name(run: &Run) -> String {
    format!("{}.{}.{}", run.app, run.number, run.generation)
}

fn refused(why: &str) -> String {
    format!("cannot make a place for its socket: {why}; choose another node.run_dir")
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Whatever else the app put there is its own, and stays.
        let _ = remove_socket(&self.path);
        let _ = fs::remove_dir(&self.path);
    }
}

fn make(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            match fs::symlink_metadata(path)?.is_dir() {
                true => Ok(()),
                false => Err(error),
            }
        }
        Err(error) => Err(error),
        // The umask may have taken too much.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode)),
    }
}

fn remove_socket(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(SOCKET)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn run(app: &str) -> Run {
        Run { app: app.into(), number: 0, generation: 3 }
    }

    #[test]
    fn a_folder_comes_and_goes_with_its_run() {
        let root = tempfile::tempdir().unwrap();
        let run_dir = root.path().to_str().unwrap();
        let nobody = User { uid: 65_534, gid: 65_534, groups: vec![65_534] };
        let worker = User { uid: 1, gid: 1, groups: vec![1] };
        let path = root.path().join("apps/shop.0.3");
        // Twice: what is left of a keeper that was killed is in nobody's way.
        for _ in 0..2 {
            let folder = Folder::new(run_dir, &run("shop"), Some(&nobody), Some(&worker)).unwrap();
            assert_eq!(folder.socket(), path.join("socket").to_str().unwrap());
            let found = fs::metadata(&path).unwrap();
            if privilege::is_root() {
                assert_eq!((found.uid(), found.gid()), (65_534, 1));
                assert_eq!(found.mode() & 0o7777, 0o2750);
            } else {
                assert_eq!(found.mode() & 0o777, 0o700);
            }
            UnixListener::bind(folder.socket()).unwrap();
            std::mem::forget(folder);
        }
        drop(Folder::new(run_dir, &run("shop"), None, None).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_is_made_only_where_nobody_else_can_move_it() {
        let root = tempfile::tempdir().unwrap();
        let run_dir = root.path().to_str().unwrap();
        let long = Folder::new(run_dir, &run(&"x".repeat(64)), None, None).map(drop);
        assert!(long.is_ok() || long.unwrap_err().contains("too long"));
        let too_long = Folder::new(run_dir, &run(&"x".repeat(120)), None, None).unwrap_err();
        assert!(too_long.contains("too long for a socket"), "{too_long}");
        fs::set_permissions(root.path(), Permissions::from_mode(0o777)).unwrap();
        let refused = Folder::new(run_dir, &run("shop"), None, None).unwrap_err();
        assert!(
            refused.contains("others than root") && refused.contains("node.run_dir"),
            "{refused}"
        );
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
        fs::remove_dir(root.path().join("apps")).unwrap();
        fs::write(root.path().join("apps"), "").unwrap();
        assert!(Folder::new(run_dir, &run("shop"), None, None).is_err());
    }
}
