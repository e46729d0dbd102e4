//! Why there is no child, and how the copy says so to its parent.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use super::Spec;

/// Length of what a failing copy writes: the stage and the error number.
pub(super) const REPORT_BYTES: usize = 5;

/// Why there is no child.
#[derive(Debug)]
pub enum SpawnError {
    /// What is asked for cannot be said to the kernel; the sentence says why.
    Malformed(&'static str),
    /// No copy of this process could be made.
    Fork(io::Error),
    /// The copy could not be prepared; the words say at what.
    Setup(&'static str, io::Error),
    /// The copy could not join its control groups.
    Cgroup(io::Error),
    /// The copy could not become the user with this id.
    User(u32, io::Error),
    /// The directory to run in cannot be entered.
    Cwd(PathBuf, io::Error),
    /// No directory of `PATH` has a program of this name.
    NotInPath(OsString),
    /// The program is there, but not what is to run it: the program of its `#!` line, or the
    /// loader of a dynamically linked one.
    Interpreter(OsString),
    /// The program cannot be run.
    Program(OsString, io::Error),
    /// The program did not run within [`super::EXEC_WITHIN`].
    Slow(OsString),
}

/// What of a [`Spec`] may be to blame.
#[derive(Debug)]
pub(super) struct Blame {
    program: OsString,
    cwd: PathBuf,
    uid: u32,
}

impl Blame {
    pub(super) fn of(spec: &Spec<'_>) -> Self {
        Self {
            program: spec.program.clone(),
            cwd: spec.cwd.clone().unwrap_or_default(),
            uid: spec.user.as_ref().map_or(0, |user| user.uid),
        }
    }
}

impl SpawnError {
    pub(super) fn new(stage: Stage, error: io::Error, blame: Blame) -> Self {
        match stage {
            Stage::Session => Self::Setup("lead a session of its own", error),
            Stage::Cgroup => Self::Cgroup(error),
            Stage::Oom => Self::Setup("reset its oom_score_adj", error),
            Stage::Schedule => Self::Setup("reset its scheduling policy", error),
            Stage::Descriptors => Self::Setup("place its descriptors", error),
            Stage::Files => Self::Setup("limit its open files", error),
            Stage::Data => Self::Setup("limit its memory", error),
            Stage::Tasks => Self::Setup("limit its processes", error),
            Stage::User => Self::User(blame.uid, error),
            Stage::Privileges => Self::Setup("forgo privileges", error),
            Stage::Cwd => Self::Cwd(blame.cwd, error),
            Stage::NotInPath => Self::NotInPath(blame.program),
            Stage::Interpreter => Self::Interpreter(blame.program),
            Stage::Program => Self::Program(blame.program, error),
        }
    }

    /// Whether another try would fail alike unless somebody mends something: a fault of the
    /// configuration rather than of the moment.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Malformed(_) | Self::NotInPath(_) | Self::Interpreter(_) => true,
            Self::Fork(_) | Self::Cgroup(_) | Self::Slow(_) => false,
            Self::Setup(_, error)
            | Self::User(_, error)
            | Self::Cwd(_, error)
            | Self::Program(_, error) => !is_passing(error),
        }
    }
}

/// Errors of a machine that is short of something, or of a file that is just being replaced.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EAGAIN
                | libc::EBUSY
                | libc::EINTR
                | libc::EIO
                | libc::EMFILE
                | libc::ENFILE
                | libc::ENOBUFS
                | libc::ENOMEM
                | libc::ESTALE
                | libc::ETIMEDOUT
                | libc::ETXTBSY
        )
    )
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |program| Path::new(program).display();
        match self {
            Self::Malformed(why) => write!(f, "cannot run: {why}"),
            Self::Fork(error) => write!(f, "cannot start a process: {}", reason(error)),
            Self::Setup(what, error) => write!(f, "cannot {what}: {}", reason(error)),
            Self::Cgroup(error) => write!(f, "cannot join its control group: {}", reason(error)),
            Self::User(uid, error) => write!(f, "cannot become user {uid}: {}", reason(error)),
            Self::Cwd(path, error) => {
                write!(f, "cannot run in {}: {}", path.display(), reason(error))
            }
            Self::NotInPath(program) => {
                write!(f, "cannot run {}: no such program in PATH", shown(program))
            }
            Self::Interpreter(program) => write!(
                f,
                "cannot run {}: the interpreter or loader that it names is missing",
                shown(program)
            ),
            Self::Program(program, error) => match error.raw_os_error() {
                Some(libc::ENOEXEC) => write!(
                    f,
                    "cannot run {}: neither a binary for this machine nor a script with a #! line",
                    shown(program)
                ),
                _ => write!(f, "cannot run {}: {}", shown(program), reason(error)),
            },
            Self::Slow(program) => write!(
                f,
                "cannot run {}: it could not be loaded within {:?}",
                shown(program),
                super::EXEC_WITHIN
            ),
        }
    }
}

impl std::error::Error for SpawnError {}

/// What went wrong, in words without the number behind them.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => {
            let text = error.to_string();
            let end = text.find(" (os error").unwrap_or(text.len());
            text[..end].to_lowercase()
        }
    }
}

/// The steps of a copy on its way to the program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    Session,
    Cgroup,
    Oom,
    Schedule,
    Descriptors,
    Files,
    Data,
    Tasks,
    User,
    Privileges,
    Cwd,
    NotInPath,
    Interpreter,
    Program,
}

impl Stage {
    const ALL: [Self; 14] = [
        Self::Session,
        Self::Cgroup,
        Self::Oom,
        Self::Schedule,
        Self::Descriptors,
        Self::Files,
        Self::Data,
        Self::Tasks,
        Self::User,
        Self::Privileges,
        Self::Cwd,
        Self::NotInPath,
        Self::Interpreter,
        Self::Program,
    ];
}

/// What a copy says that failed in `stage`. Allocates nothing.
pub(super) fn encode(stage: Stage, error: &io::Error) -> [u8; REPORT_BYTES] {
    let [a, b, c, d] = error.raw_os_error().unwrap_or(libc::EINVAL).to_ne_bytes();
    [stage as u8, a, b, c, d]
}

/// What a copy said.
pub(super) fn decode([stage, a, b, c, d]: [u8; REPORT_BYTES]) -> (Stage, io::Error) {
    let stage = Stage::ALL.get(usize::from(stage)).copied().unwrap_or(Stage::Program);
    (stage, io::Error::from_raw_os_error(i32::from_ne_bytes([a, b, c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_copy_says_is_understood() {
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, index);
            let error = io::Error::from_raw_os_error(libc::ENOMEM);
            let (told, why) = decode(encode(stage, &error));
            assert_eq!((told, why.raw_os_error()), (stage, Some(libc::ENOMEM)));
        }
    }

    #[test]
    fn faults_of_the_configuration_last_and_those_of_the_moment_pass() {
        let os = io::Error::from_raw_os_error;
        let program = |number| SpawnError::Program("shop".into(), os(number));
        for lasting in [
            SpawnError::NotInPath("shop".into()),
            SpawnError::Interpreter("shop".into()),
            SpawnError::Malformed("no program is given"),
            SpawnError::Cwd("/srv".into(), os(libc::ENOENT)),
            SpawnError::User(7, os(libc::EPERM)),
            program(libc::EACCES),
            program(libc::ENOENT),
            program(libc::ENOEXEC),
        ] {
            assert!(lasting.is_lasting(), "{lasting}");
        }
        for passing in [
            SpawnError::Fork(os(libc::EAGAIN)),
            SpawnError::Cgroup(os(libc::ENODEV)),
            SpawnError::Slow("shop".into()),
            program(libc::ENOMEM),
            program(libc::ETXTBSY),
            SpawnError::Cwd("/srv".into(), os(libc::ESTALE)),
        ] {
            assert!(!passing.is_lasting(), "{passing}");
        }
        let text = program(libc::ENOEXEC).to_string();
        assert!(text.contains("neither a binary for this machine"), "{text}");
    }
}
