//! What is run: everything about an app that a running process cannot be given later.
//!
//! Where the paths lead is found out once for each revision, so that a crash in the middle of an
//! exchange of release directories starts the code that ran before and not half of the next.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};

use evergate_control::link::App;
use minicbor::{Decode, Encode};

/// One revision of an app.
#[derive(Debug)]
pub(super) struct Revision {
    /// As it was desired then. Only what [`App::restarts_for`] compares is meant by it.
    pub(super) app: App,
    pinned: OnceCell<Pinned>,
}

/// A revision on its way into the next image of the keeper.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub(super) struct CarriedRevision {
    #[n(0)]
    app: App,
    /// What is run, and where.
    #[n(1)]
    pinned: Option<(String, Option<String>)>,
}

#[cfg(test)]
impl CarriedRevision {
    pub(super) fn sample(app: App) -> Self {
        let pinned = ("/srv/shop/1/serve".to_owned(), Some("/srv/shop/1".to_owned()));
        Self { app, pinned: Some(pinned) }
    }
}

/// Where the paths of a revision led when it was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Pinned {
    /// The directory part is what links led to. The last part is as written: a program may go by
    /// the name it is called by, as those of virtual environments and multi-call binaries do. A
    /// name without a directory stays one.
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

    /// All that is known of it. Paths that are no text are found anew.
    pub(super) fn carry(&self) -> CarriedRevision {
        let text = |path: &Path| path.to_str().map(str::to_owned);
        let pinned = self.pinned.get().and_then(|pinned| {
            let cwd = match &pinned.cwd {
                Some(cwd) => Some(text(cwd)?),
                None => None,
            };
            Some((text(&pinned.program)?, cwd))
        });
        CarriedRevision { app: self.app.clone(), pinned }
    }

    /// The revision that was carried.
    pub(super) fn resume(carried: CarriedRevision) -> Self {
        let pin = |(program, cwd): (String, Option<String>)| Pinned {
            program: program.into(),
            cwd: cwd.map(PathBuf::from),
        };
        let pinned = carried.pinned.map(pin).map_or_else(OnceCell::new, OnceCell::from);
        Self { app: carried.app, pinned }
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
    if !program.contains('/') {
        // Looked up at each start, with the rights of the app: they may be others than ours.
        return Some(Pinned { program: program.into(), cwd });
    }
    // As the kernel would take it: a relative one from the working directory.
    let written = cwd.as_deref().unwrap_or(Path::new("")).join(program);
    let directory = fs::canonicalize(std::path::absolute(written.parent()?).ok()?).ok()?;
    Some(Pinned { program: directory.join(written.file_name()?), cwd })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

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
    fn a_name_is_left_to_be_looked_up_with_the_rights_of_the_app() {
        let sleep = Pinned { program: "sleep".into(), cwd: None };
        assert_eq!(pin(&app("sleep", None)), Some(sleep));
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
