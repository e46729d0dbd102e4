//! Opening files for a worker that may not: certificates and keys, mostly.
//!
//! The worker faces the network, so it is not believed. Two kinds of files are opened for it: those
//! below the directory of the configuration file, wherever links lead, and those that it named
//! before it gave its rights away, if nobody but us can change what those paths mean (see
//! `docs/decisions/013-certificates-outside-the-folder.md`).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Metadata, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;

/// Most files that a worker may name.
const NAMED_MAX: usize = 4096;
/// Most links on the way to a file, as in Linux.
const LINKS_MAX: u32 = 40;

/// What is opened for a worker.
#[derive(Debug)]
pub(crate) struct Readable {
    directory: PathBuf,
    named: BTreeSet<String>,
}

impl Readable {
    /// What lies below `directory`.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, named: BTreeSet::new() }
    }

    /// What was named.
    pub(crate) fn named(&self) -> Vec<String> {
        self.named.iter().cloned().collect()
    }

    /// These too. Beyond [`NAMED_MAX`] they are dropped: opening them will say so.
    pub(crate) fn name(&mut self, paths: Vec<String>) {
        let room = NAMED_MAX.saturating_sub(self.named.len());
        self.named.extend(paths.into_iter().take(room));
    }

    /// Opens the file at `path` for reading, or says why not.
    pub(crate) fn open(&self, path: &str) -> Result<OwnedFd, String> {
        if !path.starts_with('/') {
            return Err("the path must be absolute".to_owned());
        }
        let failed = |error: io::Error| error.to_string();
        let directory = fs::canonicalize(&self.directory).map_err(failed)?;
        let found = match fs::canonicalize(path) {
            Ok(found) if found.starts_with(&directory) => found,
            Ok(_) if self.named.contains(path) => trusted(path)?,
            Ok(_) => {
                let allowed = directory.display();
                return Err(format!(
                    "it lies outside {allowed} and was not named when Evergate started; move it \
                     there, let the user that Evergate runs as read it, or start Evergate again"
                ));
            }
            Err(error) => return Err(failed(error)),
        };
        // Neither a link nor a pipe that took the file's place since may lead astray or block.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits() as i32)
            .open(found)
            .map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() && !found.is_dir() {
            return Err("neither a regular file nor a directory".to_owned());
        }
        Ok(file.into())
    }
}

/// Where `path` leads, if nobody but root and us can make it lead elsewhere: else whoever became
/// the worker could have it lead to a secret of ours, or have us make what it likes where it likes.
pub(crate) fn trusted(path: &str) -> Result<PathBuf, String> {
    let mut at = PathBuf::from("/");
    let mut ahead: Vec<OsString> = steps(Path::new(path));
    let mut links = 0;
    while let Some(step) = ahead.pop() {
        if step == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&step);
        let found = fs::symlink_metadata(&next).map_err(|error| error.to_string())?;
        refuse_changeable(&next, &found)?;
        if !found.is_symlink() {
            at = next;
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err("too many symbolic links".to_owned());
        }
        let target = fs::read_link(&next).map_err(|error| error.to_string())?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        ahead.extend(steps(&target));
    }
    Ok(at)
}

/// The steps of a path, the first one last.
fn steps(path: &Path) -> Vec<OsString> {
    let step = |part: Component<'_>| match part {
        Component::Normal(_) | Component::ParentDir => Some(part.as_os_str().to_owned()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    path.components().rev().filter_map(step).collect()
}

fn refuse_changeable(path: &Path, found: &Metadata) -> Result<(), String> {
    const WRITTEN_BY_OTHERS: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    let shown = path.display();
    let ours = [0, rustix::process::geteuid().as_raw()];
    if !ours.contains(&found.uid()) {
        return Err(format!("{shown} belongs to another user than root, who could exchange it"));
    }
    // What is ours in a sticky directory only we can exchange.
    let mode = found.mode();
    if found.is_dir() && mode & WRITTEN_BY_OTHERS != 0 && mode & STICKY == 0 {
        return Err(format!(
            "others than root can exchange what is in {shown}; `chmod go-w {shown}` would mend that"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn text(file: OwnedFd) -> String {
        let mut text = String::new();
        fs::File::from(file).read_to_string(&mut text).unwrap();
        text
    }

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
        let readable = Readable::new(inside);
        let good = ["config/tls/key.pem", "config/tls/../good", "link-to-config/good"];
        for name in good {
            assert_eq!(text(readable.open(&path(name)).unwrap()), "secret", "{name}");
        }
        let bad = [
            ("config/bad", "outside"),
            ("config/../outside", "outside"),
            ("config-other", "outside"),
            ("config/none", "No such file"),
        ];
        for (name, reason) in bad {
            let error = readable.open(&path(name)).unwrap_err();
            assert!(error.contains(reason), "{name}: {error}");
        }
        let directory = fs::File::from(readable.open(&path("config/tls")).unwrap());
        assert!(directory.metadata().unwrap().is_dir());
        assert!(readable.open("good").unwrap_err().contains("absolute"));
        let devices = Readable::new("/dev".into());
        assert!(devices.open("/dev/null").unwrap_err().contains("regular"));
    }

    /// As certbot lays it out: a link that each renewal sets anew.
    #[test]
    fn a_named_file_is_opened_wherever_its_link_leads_now() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
        for folder in ["config", "live", "archive"] {
            fs::create_dir(path(folder)).unwrap();
        }
        fs::write(path("archive/key1.pem"), "old").unwrap();
        fs::write(path("archive/key2.pem"), "new").unwrap();
        symlink("../archive/./key1.pem", path("live/key.pem")).unwrap();
        let mut readable = Readable::new(path("config").into());
        assert!(readable.open(&path("live/key.pem")).unwrap_err().contains("not named"));
        readable.name(vec![path("live/key.pem")]);
        assert_eq!(text(readable.open(&path("live/key.pem")).unwrap()), "old");
        fs::remove_file(path("live/key.pem")).unwrap();
        symlink(path("archive/key2.pem"), path("live/key.pem")).unwrap();
        assert_eq!(text(readable.open(&path("live/key.pem")).unwrap()), "new");
        // The same file by a name that was not said is another.
        assert!(readable.open(&path("archive/key2.pem")).unwrap_err().contains("not named"));
    }

    #[test]
    fn a_named_file_that_others_could_exchange_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
        for folder in ["config", "open", "good"] {
            fs::create_dir(path(folder)).unwrap();
        }
        fs::write(path("open/key.pem"), "secret").unwrap();
        symlink(path("open/key.pem"), path("good/key.pem")).unwrap();
        symlink(path("good/round.pem"), path("good/round.pem")).unwrap();
        let mut readable = Readable::new(path("config").into());
        readable.name(vec![path("open/key.pem"), path("good/key.pem"), path("good/round.pem")]);
        assert_eq!(text(readable.open(&path("good/key.pem")).unwrap()), "secret");
        for (mode, is_opened) in [(0o755, true), (0o775, false), (0o757, false), (0o1777, true)] {
            fs::set_permissions(path("open"), fs::Permissions::from_mode(mode)).unwrap();
            for name in ["open/key.pem", "good/key.pem"] {
                let opened = readable.open(&path(name));
                assert_eq!(opened.is_ok(), is_opened, "{mode:o} {name}: {opened:?}");
            }
        }
        assert!(readable.open(&path("good/round.pem")).is_err());
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(path("open/key.pem"), Some(65_534), None).unwrap();
            let refused = readable.open(&path("good/key.pem")).unwrap_err();
            assert!(refused.contains("another user"), "{refused}");
        }
    }
}
