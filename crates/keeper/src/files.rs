//! Opening files for a worker that may not: certificates and keys, mostly.
//!
//! The worker faces the network, so it is not believed: only plain files and directories below that of the
//! configuration file, wherever links lead.

use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens the file at `path` for reading, or says why not.
pub(crate) fn open(directory: &Path, path: &str) -> Result<OwnedFd, String> {
    if !path.starts_with('/') {
        return Err(format!("cannot open {path}: the path must be absolute"));
    }
    let failed = |error: std::io::Error| format!("cannot open {path}: {error}");
    let directory = fs::canonicalize(directory).map_err(failed)?;
    let found = fs::canonicalize(path).map_err(failed)?;
    if !found.starts_with(&directory) {
        let allowed = directory.display();
        return Err(format!("cannot open {path}: it lies outside {allowed}; move it there"));
    }
    // Neither a link nor a pipe that took the file's place since may lead astray or block.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(found)
        .map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() && !found.is_dir() {
        return Err(format!("cannot open {path}: neither a regular file nor a directory"));
    }
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_regular_files_below_the_directory_are_opened() {
        let root = tempfile::tempdir().unwrap();
        let inside = root.path().join("config");
        fs::create_dir_all(inside.join("tls")).unwrap();
        fs::write(inside.join("tls/key.pem"), "secret").unwrap();
        fs::write(root.path().join("config-other"), "other").unwrap();
        fs::write(root.path().join("outside"), "outside").unwrap();
        symlink(inside.join("tls/key.pem"), inside.join("good")).unwrap();
        symlink(root.path().join("outside"), inside.join("bad")).unwrap();
        symlink(&inside, root.path().join("link-to-config")).unwrap();
        let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
        let good = ["config/tls/key.pem", "config/tls/../good", "link-to-config/good"];
        for name in good {
            let mut text = String::new();
            fs::File::from(open(&inside, &path(name)).unwrap()).read_to_string(&mut text).unwrap();
            assert_eq!(text, "secret", "{name}");
        }
        let bad = [
            ("config/bad", "outside"),
            ("config/../outside", "outside"),
            ("config-other", "outside"),
            ("config/none", "No such file"),
        ];
        for (name, reason) in bad {
            let error = open(&inside, &path(name)).unwrap_err();
            assert!(error.contains(reason), "{name}: {error}");
        }
        let directory = fs::File::from(open(&inside, &path("config/tls")).unwrap());
        assert!(directory.metadata().unwrap().is_dir());
        assert!(open(&inside, "good").unwrap_err().contains("absolute"));
        assert!(open(Path::new("/dev"), "/dev/null").unwrap_err().contains("regular"));
    }
}
