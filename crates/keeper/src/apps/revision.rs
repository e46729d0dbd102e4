//! What is run: everything about an app that a running process cannot be given later.
//!
//! Where the paths lead is found out once for each revision, so that a crash in the middle of an
//! exchange of release directories starts the code that ran before and not half of the next.

use std::cell::OnceCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{env, fs};

use evergate_control::link::App;
use rustix::fs::Access;

/// Where programs are looked for if no variable says so.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One revision of an app.
#[derive(Debug)]
pub(super) struct Revision {
    /// As it was desired then. Only what [`App::restarts_for`] compares is meant by it.
    pub(super) app: App,
    pinned: OnceCell<Pinned>,
}

/// Where the paths of a revision led when it was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Pinned {
    /// The directory part is what links led to. The last part is as written: a program may go by
    /// the name it is called by, as those of virtual environments and multi-call binaries do.
    pub(super) program: PathBuf,
    pub(super) cwd: Option<PathBuf>,
}

impl Revision {
    /// What `app` runs, where its paths lead now.
    pub(super) fn new(app: App) -> Self {
        let revision = Self { app, pinned: OnceCell::new() };
        revision.pinned();
        revision
    }

    /// Where the paths led. One that leads nowhere yet is tried again the next time.
    pub(super) fn pinned(&self) -> Option<&Pinned> {
        if self.pinned.get().is_none()
            && let Some(found) = pin(&self.app)
        {
            let _ = self.pinned.set(found);
        }
        self.pinned.get()
    }

    /// What is run where, for people; nothing as long as that leads nowhere.
    pub(super) fn describe(&self) -> Option<String> {
        let pinned = self.pinned()?;
        let cwd = pinned.cwd.as_deref().map(|cwd| format!(" in {}", cwd.display()));
        Some(format!("run {}{}", pinned.program.display(), cwd.unwrap_or_default()))
    }
}

fn pin(app: &App) -> Option<Pinned> {
    let program = app.run.first()?;
    let cwd = match &app.cwd {
        Some(cwd) => Some(fs::canonicalize(cwd).ok()?),
        None => None,
    };
    let written = if program.contains('/') {
        // As the kernel would take it: a relative one from the working directory.
        cwd.as_deref().unwrap_or(Path::new("")).join(program)
    } else {
        look_up(program, app)?
    };
    let directory = fs::canonicalize(std::path::absolute(written.parent()?).ok()?).ok()?;
    Some(Pinned { program: directory.join(written.file_name()?), cwd })
}

/// The program of this name in the `PATH` of the app, or else in ours.
fn look_up(name: &str, app: &App) -> Option<PathBuf> {
    let given = app.env.iter().find(|(variable, _)| variable == "PATH").map(|(_, path)| path);
    let path = given.map(Into::into).or_else(|| env::var_os("PATH"));
    let path = path.unwrap_or_else(|| PATH_DEFAULT.into());
    let folders = path.as_bytes().split(|&byte| byte == b':');
    let mut candidates = folders.map(|folder| Path::new(OsStr::from_bytes(folder)).join(name));
    candidates.find(|file| {
        let is_file = fs::metadata(file).is_ok_and(|found| found.is_file());
        is_file && rustix::fs::access(file, Access::EXEC_OK).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn app(run: &str, cwd: Option<&Path>) -> App {
        let cwd = cwd.map(|path| path.to_str().unwrap().to_owned());
        App { name: "shop".into(), run: vec![run.into()], cwd, ..App::default() }
    }

    #[test]
    fn links_are_followed_once_and_the_name_of_the_program_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        for release in ["1", "2"] {
            fs::create_dir_all(root.join(release).join("bin")).unwrap();
            symlink("/bin/busybox", root.join(release).join("bin/server")).unwrap();
        }
        let current = root.join("current");
        symlink("1", &current).unwrap();
        let written = current.join("bin/server");
        for run in [written.to_str().unwrap(), "bin/server", "./bin/server"] {
            let revision = Revision::new(app(run, Some(&current)));
            fs::remove_file(&current).unwrap();
            symlink("2", &current).unwrap();
            let expected = Pinned { program: root.join("1/bin/server"), cwd: Some(root.join("1")) };
            assert_eq!(revision.pinned(), Some(&expected), "{run}");
            let next = Revision::new(app(run, Some(&current)));
            assert_eq!(next.pinned().unwrap().cwd, Some(root.join("2")));
            fs::remove_file(&current).unwrap();
            symlink("1", &current).unwrap();
        }
    }

    #[test]
    fn a_name_is_looked_up_in_the_path_of_the_app() {
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        let mut shop = app("server-of-the-shop", None);
        assert_eq!(pin(&shop), None, "nowhere to be found");
        shop.env = vec![("PATH".into(), format!("/no/such/place:{}", root.display()))];
        let file = root.join("server-of-the-shop");
        fs::write(&file, "").unwrap();
        assert_eq!(pin(&shop), None, "no program");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(pin(&shop), Some(Pinned { program: file, cwd: None }));
        let sleep = pin(&app("sleep", None)).unwrap();
        assert!(sleep.program.is_absolute() && sleep.program.ends_with("sleep"), "{sleep:?}");
    }

    #[test]
    fn what_leads_nowhere_is_tried_again() {
        let root = tempfile::tempdir().unwrap();
        let late = root.path().join("late");
        let revision = Revision::new(app("/bin/true", Some(&late)));
        assert_eq!(revision.pinned(), None);
        fs::create_dir(&late).unwrap();
        assert_eq!(revision.pinned().unwrap().cwd, Some(fs::canonicalize(&late).unwrap()));
    }
}
