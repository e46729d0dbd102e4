//! The directory in which what apps print is kept.
//!
//! The worker makes it while it is still root, for the user that it becomes. One that is there
//! already is left as it is; if nothing can be written to it, the operator is told what to do.

use std::fs;
use std::io;
use std::path::Path;

use evergate_config::{Config, OutputTo};
use evergate_sys::directory::{self, Opened};
use evergate_sys::privilege::{self, User};

/// Who may look: its owner writes, its group reads.
const MODE: u32 = 0o750;

/// Makes `node.log_dir` if an app of `config` prints to files: for `user` if we are root, else for
/// ourselves. Safe to call again.
///
/// # Errors
/// Says what to do if nothing can be kept there.
pub(super) fn prepare(config: &Config, user: Option<&User>) -> Result<(), String> {
    let path = &config.node.log_dir;
    let Some((name, _)) = config.apps.iter().find(|(_, app)| app.output.to == OutputTo::Files)
    else {
        return Ok(());
    };
    let uid = user.map_or_else(privilege::current_uid, |user| user.uid);
    let shown = path.display();
    let told = |why: String| format!("app.{name}: what it prints cannot be kept in {shown}: {why}");
    let unusable = |error: io::Error| {
        told(format!(
            "{error}; make it with `install -d -m 750 -o {uid} {shown}`, choose another \
             node.log_dir, or write `output = {{ to = \"stdout\" }}`"
        ))
    };
    let own = open(path, user).map_err(unusable)?;
    if own.is_new || may_write(&own, user) {
        return Ok(());
    }
    Err(told(format!(
        "it belongs to user {}, and Evergate serves as user {uid}: `chown -R {uid} {shown}` if it \
         is Evergate's, or choose another node.log_dir",
        own.uid
    )))
}

/// Opens the directory; makes it, and those above it, if it is not there.
fn open(path: &Path, user: Option<&User>) -> io::Result<Opened> {
    match directory::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
    else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    fs::create_dir_all(parent)?;
    let parent = directory::open(parent)?;
    let own = directory::open_or_make(&parent.directory, name)?;
    if own.is_new {
        if let Some(user) = user {
            directory::give(&own.directory, user.uid, user.gid)?;
        }
        directory::set_mode(&own.directory, MODE)?;
    }
    Ok(own)
}

fn may_write(own: &Opened, user: Option<&User>) -> bool {
    let Some(user) = user else {
        // The kernel knows better than the mode says.
        return directory::is_writable(&own.directory);
    };
    own.uid == user.uid && own.mode & 0o200 != 0
        || user.groups.contains(&own.gid) && own.mode & 0o020 != 0
        || own.mode & 0o002 != 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::PathBuf;

    use super::*;

    /// Two files in memory: nothing else is asked for.
    struct Memory(String);

    impl evergate_config::Files for Memory {
        fn read(&self, _path: &Path) -> io::Result<Vec<u8>> {
            Ok(self.0.clone().into_bytes())
        }

        fn list(&self, _directory: &Path) -> io::Result<Vec<PathBuf>> {
            Ok(Vec::new())
        }

        fn env(&self, _name: &str) -> Option<String> {
            None
        }
    }

    fn config(log_dir: &Path, output: &str) -> Config {
        let text = format!(
            "[node]\nlog_dir = {log_dir:?}\n[listener.web]\nbind = [\"127.0.0.1:0\"]\n\
             [route.all]\nmatch = \"/*\"\nrespond = {{}}\n\
             [app.shop]\nrun = [\"/bin/true\"]\noutput.to = \"{output}\"\n"
        );
        let loaded = evergate_config::load_with(Path::new("evergate.toml"), &Memory(text));
        loaded.expect("it is right").config
    }

    fn nobody() -> Option<User> {
        let nobody = User { uid: 65534, gid: 65534, groups: vec![65534] };
        privilege::is_root().then_some(nobody)
    }

    #[test]
    fn the_directory_is_made_for_the_user_and_only_if_an_app_needs_it() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("lib/log");
        let user = nobody();
        for output in ["stdout", "nowhere"] {
            assert_eq!(prepare(&config(&path, output), user.as_ref()), Ok(()));
            assert!(!path.exists(), "nothing is kept");
        }
        for _ in 0..2 {
            assert_eq!(prepare(&config(&path, "files"), user.as_ref()), Ok(()));
        }
        let metadata = fs::metadata(&path).unwrap();
        let uid = user.map_or_else(privilege::current_uid, |user| user.uid);
        assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o750, uid));
    }

    #[test]
    fn a_directory_of_somebody_else_is_left_alone_and_told() {
        let Some(nobody) = nobody() else {
            eprintln!("skipped: only root has directories of two users");
            return;
        };
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("log");
        fs::create_dir(&path).unwrap();
        let config = config(&path, "files");
        let why = prepare(&config, Some(&nobody)).unwrap_err();
        assert!(why.starts_with("app.shop: what it prints cannot be kept in /"), "{why}");
        assert!(why.contains("chown -R 65534 ") && why.contains("node.log_dir"), "{why}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(prepare(&config, Some(&nobody)), Ok(()), "it can be written to");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_told_with_the_command_that_makes_it() {
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("file");
        fs::write(&file, "").unwrap();
        let why = prepare(&config(&file.join("log"), "files"), nobody().as_ref()).unwrap_err();
        assert!(why.contains("install -d -m 750 -o ") && why.contains("stdout"), "{why}");
    }
}
