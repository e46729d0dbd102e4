//! The operator has taken this node out of service: remembered in a file, so that another keeper
//! knows it too, but not after the machine was started anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Name of the file in the directory of what is there while the node runs.
const NAME: &str = "maintenance";

/// Whether this node was taken out of service.
pub(super) fn is_on(run_dir: &str) -> bool {
    path(run_dir).exists()
}

/// Remembers it, or forgets it; why not, for people.
pub(super) fn remember(run_dir: &str, is_on: bool) -> Result<(), String> {
    let path = path(run_dir);
    let done = match is_on {
        true => fs::write(&path, "evergate maintenance off ends this\n"),
        false => match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        },
    };
    done.map_err(|error| {
        let path = path.display();
        format!("a keeper that is started anew will not know: cannot write {path}: {error}")
    })
}

fn path(run_dir: &str) -> PathBuf {
    Path::new(run_dir).join(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maintenance_is_remembered_until_it_is_off() {
        let directory = tempfile::tempdir().unwrap();
        let run_dir = directory.path().to_str().unwrap();
        assert!(!is_on(run_dir));
        for is_wanted in [false, true, true, false, false] {
            assert_eq!(remember(run_dir, is_wanted), Ok(()));
            assert_eq!(is_on(run_dir), is_wanted);
        }
        let why = remember("/nowhere/at/all", true).unwrap_err();
        assert!(why.contains("/nowhere/at/all/maintenance"), "{why}");
    }
}
