//! Files as the tests see them.

use std::io;
use std::path::{Path, PathBuf};

use evergate_config::{Disk, Files};

mod certificates;

/// 2026-11-21 12:00 UTC: the time at which the fixtures' certificates are looked at.
const NOW: u64 = 1_795_262_400;

/// The disk below a directory, and a made-up `/etc/evergate`, `tls` and environment beside it.
#[derive(Debug)]
pub(crate) struct Fixture {
    directory: PathBuf,
}

impl Fixture {
    /// A directory below `tests`.
    pub(crate) fn new(name: &str) -> Self {
        Self { directory: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name) }
    }

    /// The files of the directory that end in `.toml`, without that ending, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.directory).expect("the directory is there");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("it can be listed").path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
            .map(|path| path.file_stem().expect("it has a name").to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// A file of the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Files for Fixture {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path.strip_prefix("/etc/evergate") {
            Ok(name) if name == Path::new("public") => Ok(b"a-token\n".to_vec()),
            Ok(name) if name == Path::new("keys") => {
                Ok(b"# partners\nkey-one\n\nkey-two\n".to_vec())
            }
            Ok(name) if name == Path::new("denied") => Err(io::Error::from_raw_os_error(13)),
            Ok(_) => Err(io::Error::from_raw_os_error(2)),
            Err(_) if path.starts_with("tls") => certificates::read(path),
            Err(_) => Disk.read(&self.directory.join(path)),
        }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let paths = Disk.list(&self.directory.join(directory))?;
        let relative = |path: &PathBuf| path.strip_prefix(&self.directory).map(Path::to_owned);
        Ok(paths.iter().filter_map(|path| relative(path).ok()).collect())
    }

    fn env(&self, name: &str) -> Option<String> {
        match name {
            "TIMEOUT" => Some("soon".to_owned()),
            "COMMAND" => Some("/bin/hush not to be shown".to_owned()),
            "PROGRAM" => Some("/opt/shop/absent-hush".to_owned()),
            "SITE" => Some("site-a.example.org/*".to_owned()),
            _ => None,
        }
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        if is_program(path) {
            let name = path.file_name()?.to_string_lossy();
            let mode = match &*name {
                name if name.contains("inert") => 0o644,
                name if name.contains("open") => 0o777,
                _ => 0o755,
            };
            return (!name.contains("absent")).then_some(mode);
        }
        let path = path.to_string_lossy();
        Some(match path.rsplit('/').next().unwrap_or_default() {
            name if name.contains("public") => 0o644,
            name if name.contains("shared") => 0o660,
            name if name.contains("open") => 0o666,
            name if name.contains("group") => 0o640,
            _ => 0o600,
        })
    }

    fn is_directory(&self, path: &Path) -> Option<bool> {
        Some(!path.ends_with("missing") && !is_program(path))
    }

    fn interpreter(&self, path: &Path) -> Option<String> {
        Some(match path.file_name()?.to_str()? {
            "by-path" => "/usr/bin/python3 -u".to_owned(),
            "by-lost-path" => " /usr/local/absent/perl-absent -w".to_owned(),
            "by-name" => "/usr/bin/env node".to_owned(),
            "by-lost-name" => "/usr/bin/env node-absent".to_owned(),
            _ => return None,
        })
    }

    fn is_user(&self, name: &str) -> Option<bool> {
        match name {
            "unknowable" => None,
            "shop" | "nobody" => Some(true),
            _ => Some(false),
        }
    }

    fn now(&self) -> Option<u64> {
        Some(NOW)
    }

    fn host_name(&self) -> String {
        "edge-a".to_owned()
    }
}

/// Programs are files, and everything else that apps name is a directory.
fn is_program(path: &Path) -> bool {
    let is_below = |directory| path.starts_with(directory) && path != Path::new(directory);
    let is_hook = path.ends_with("notify") || path.ends_with("page");
    let is_below = ["/bin", "/usr", "/opt/shop"].into_iter().any(is_below);
    (is_below && !path.ends_with("current")) || is_hook
}
