//! Faults on demand, for tests of upgrades: a binary that misbehaves as the end of its own file says.
//!
//! A test makes a "new binary" by copying the one under test and appending a line such as
//! `EVGFAULT:probe-fails`; any other line makes a file that is new and good. Only debug builds and
//! builds with the feature `faults` look: in all others nothing here is more than a constant.

use evergate_config::{Action, Config};
use evergate_control::link::{Role, UpgradePhase};

/// What goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// The new worker exits at once.
    WorkerExits,
    /// It crashes while it loads.
    WorkerCrashes,
    /// It answers the request through it wrongly.
    ProbeFails,
    /// It answers every request with 500.
    Errors,
    /// It crashes a second after it became the primary one.
    CrashAfterCommit,
    /// The new keeper crashes before it goes on.
    ResumeCrashes,
    /// It panics.
    ResumePanics,
    /// It stands still.
    ResumeHangs,
    /// The binary says that it cannot go on from here.
    PreflightRefuses,
    /// Whoever does the work of this phase stands still in it, and says so on standard error. Other
    /// threads go on.
    Pause(UpgradePhase),
}

#[cfg(any(debug_assertions, feature = "faults"))]
mod words {
    use std::fs::File;
    use std::io::{self, Read, Seek, SeekFrom};
    use std::sync::OnceLock;

    use super::{Fault, UpgradePhase};

    const MARK: &str = "\nEVGFAULT:";
    /// The line and its mark lie within so many bytes of the end.
    const TAIL_BYTES: i64 = 256;

    const WORDS: [(&str, Fault); 18] = [
        ("worker-exits", Fault::WorkerExits),
        ("worker-crashes", Fault::WorkerCrashes),
        ("worker-hangs", Fault::Pause(UpgradePhase::Loading)),
        ("probe-fails", Fault::ProbeFails),
        ("errors", Fault::Errors),
        ("crash-after-commit", Fault::CrashAfterCommit),
        ("resume-crashes", Fault::ResumeCrashes),
        ("resume-panics", Fault::ResumePanics),
        ("resume-hangs", Fault::ResumeHangs),
        ("preflight-refuses", Fault::PreflightRefuses),
        ("pause-at-check", Fault::Pause(UpgradePhase::Checking)),
        ("pause-at-load", Fault::Pause(UpgradePhase::Loading)),
        ("pause-at-activate", Fault::Pause(UpgradePhase::Activating)),
        ("pause-at-probe", Fault::Pause(UpgradePhase::Probing)),
        ("pause-at-release", Fault::Pause(UpgradePhase::Releasing)),
        ("pause-at-acquire", Fault::Pause(UpgradePhase::Acquiring)),
        ("pause-at-soak", Fault::Pause(UpgradePhase::Soaking)),
        ("pause-at-rehearse", Fault::Pause(UpgradePhase::Rehearsing)),
    ];

    static FAULTS: OnceLock<Vec<Fault>> = OnceLock::new();

    pub(super) fn is(fault: Fault) -> bool {
        FAULTS.get_or_init(|| read_own().unwrap_or_default()).contains(&fault)
    }

    fn read_own() -> io::Result<Vec<Fault>> {
        let mut file = File::open("/proc/self/exe")?;
        file.seek(SeekFrom::End(-TAIL_BYTES))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        Ok(parse(&tail))
    }

    /// Faults in the last line of `tail`; of words that nobody knows it is told.
    pub(super) fn parse(tail: &[u8]) -> Vec<Fault> {
        let at = tail.windows(MARK.len()).rposition(|part| part == MARK.as_bytes());
        let line = at.and_then(|at| tail[at + MARK.len()..].strip_suffix(b"\n"));
        let line = line.and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
        let found = line.split_whitespace().filter_map(|word| {
            let known = WORDS.iter().find(|(name, _)| *name == word);
            if known.is_none() {
                super::say(&format!("there is no fault {word}"));
            }
            known.map(|(_, fault)| *fault)
        });
        found.collect()
    }
}

/// Whether this binary has `fault`. Asks the file once in the life of the process, as soon as
/// anything is asked.
pub(crate) fn is(fault: Fault) -> bool {
    #[cfg(any(debug_assertions, feature = "faults"))]
    return words::is(fault);
    #[cfg(not(any(debug_assertions, feature = "faults")))]
    {
        let _ = fault;
        false
    }
}

/// Does what is wrong with a worker that was just welcomed. One that is alone has no faults: what
/// is tested is an upgrade.
pub(crate) fn in_welcome(role: Role) {
    if role == Role::Primary {
        return;
    }
    if is(Fault::WorkerExits) {
        #[expect(clippy::exit, reason = "the fault is that it ends anywhere")]
        std::process::exit(1);
    }
    if is(Fault::WorkerCrashes) {
        crash();
    }
}

/// Makes `config` answer every request with 500, if that is the fault.
pub(crate) fn in_config(role: Role, mut config: Config) -> Config {
    if role == Role::Candidate && is(Fault::Errors) {
        for route in config.routes.values_mut() {
            route.action = Action::Respond {
                status: 500,
                body: "fault".to_owned(),
                content_type: "text/plain".to_owned(),
            };
        }
    }
    config
}

/// Stands still if the phase that begins is where that is to happen, until somebody kills the
/// process.
pub(crate) fn in_order(phase: Option<UpgradePhase>) {
    if let Some(phase) = phase.filter(|phase| is(Fault::Pause(*phase))) {
        say(&format!("process {} stands still in {phase:?}", std::process::id()));
        hang();
    }
}

/// What a request through this worker is answered with.
pub(crate) fn in_answer(token: String) -> String {
    if is(Fault::ProbeFails) { "something else".to_owned() } else { token }
}

/// Crashes in a while, if that is the fault.
pub(crate) fn after_commit() {
    if is(Fault::CrashAfterCommit) {
        std::thread::spawn(|| {
            std::thread::park_timeout(std::time::Duration::from_secs(1));
            std::process::abort();
        });
    }
}

/// Does what is wrong with a keeper that is to go on from the state of another.
pub(crate) fn in_resume() {
    if is(Fault::ResumeCrashes) {
        crash();
    }
    if is(Fault::ResumePanics) {
        panic!("the fault is a panic");
    }
    if is(Fault::ResumeHangs) {
        hang();
    }
}

/// Why this binary refuses to go on, if that is the fault.
pub(crate) fn in_preflight() -> Option<String> {
    is(Fault::PreflightRefuses).then(|| "the fault is a refusal".to_owned())
}

fn say(what: &str) {
    evergate_sys::stderr::print(format!("fault: {what}\n").as_bytes());
}

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

/// Ends by SIGSEGV: the stack is used up, so that whoever handles the signal needs another.
fn crash() {
    #[inline(never)]
    fn deeper(depth: u64) -> u64 {
        let page = std::hint::black_box([depth; 512]);
        if std::hint::black_box(true) { deeper(depth + 1) + page[0] } else { page[1] }
    }
    std::hint::black_box(deeper(0));
}

#[cfg(all(test, any(debug_assertions, feature = "faults")))]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_the_file_names_the_faults() {
        let tail = b"\nEVGFAULT:errors\n....\nEVGFAULT:probe-fails pause-at-check\n";
        let faults = [Fault::ProbeFails, Fault::Pause(UpgradePhase::Checking)];
        assert_eq!(words::parse(tail), faults);
        for none in ["", "\n", "\nEVGFAULT:errors", "EVGFAULT:errors\n", "\nEVGFAULT:errors\nx"] {
            assert_eq!(words::parse(none.as_bytes()), [], "{none:?}");
        }
        assert!(!is(Fault::Errors), "the test's own binary is good");
    }
}
