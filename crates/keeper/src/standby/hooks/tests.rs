//! Programs run as they should, in order, one at a time, and not for ever.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use evergate_core::vrrp::Role;
use evergate_sys::clock;
use rustix::process::{Pid, WaitOptions, waitpid};

use super::*;

const WITHIN: Duration = Duration::from_secs(60);
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(90);

/// A directory to write to, and queues that call the shell.
struct Stage {
    directory: tempfile::TempDir,
    hooks: Hooks,
}

impl Stage {
    /// Runs each of `scripts`; `$1` is a file to write to.
    fn new(scripts: &[&str], within: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out").to_str().unwrap().to_owned();
        let shell = |script: &&str| ["/bin/sh", "-c", *script, "hook", &out].map(str::to_owned);
        let programs: Vec<Vec<String>> =
            scripts.iter().map(|script| shell(script).to_vec()).collect();
        let mut stage = Self { directory, hooks: Hooks::default() };
        stage.call(&programs, within);
        stage
    }

    fn call(&mut self, programs: &[Vec<String>], within: Duration) {
        self.hooks.apply("edge-a", [("web", programs, within)].into_iter());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn out(&self) -> String {
        fs::read_to_string(self.path("out")).unwrap()
    }

    fn pid(&self) -> Option<u32> {
        self.hooks.queues["web"].running().map(|running| running.pid)
    }

    /// Waits for the end of what runs, as the loop would.
    fn await_exit(&mut self) -> Exit {
        let pid = self.pid().unwrap();
        let raw = Pid::from_raw(pid as i32);
        let until = clock::now() + PATIENCE;
        let status = loop {
            assert!(clock::now() < until, "it does not end");
            match waitpid(raw, WaitOptions::NOHANG).unwrap() {
                Some((_, status)) => break status,
                None => std::thread::yield_now(),
            }
        };
        let exit = match (status.exit_status(), status.terminating_signal()) {
            (Some(status), _) => Exit::Status(status),
            (None, Some(number)) => Exit::Signal { number, core: false },
            (None, None) => panic!("{status:?}"),
        };
        assert!(self.hooks.exited(pid, exit));
        exit
    }

    /// Lets everything run to its end.
    fn finish(&mut self) {
        self.hooks.act(clock::now(), None);
        while self.pid().is_some() {
            self.await_exit();
            self.hooks.act(clock::now(), None);
        }
    }
}

fn turn(sequence: u64) -> Turn {
    Turn {
        sequence,
        vip: "web".to_owned(),
        role: Role::Master,
        before: Role::Backup,
        epoch: 1_700_000_000,
        reason: "no \"master\" was heard\\\n".to_owned(),
    }
}

#[test]
fn every_program_learns_of_every_change_in_order_and_one_at_a_time() {
    let one = "echo \"one $EVERGATE_SEQUENCE $EVERGATE_VIP $EVERGATE_BEFORE $EVERGATE_ROLE \
               $EVERGATE_EPOCH $EVERGATE_NODE\" >> $1";
    let mut stage = Stage::new(&[one, "echo two $EVERGATE_SEQUENCE >> $1"], WITHIN);
    stage.hooks.push(turn(1));
    stage.hooks.push(turn(2));
    stage.hooks.push(Turn { vip: "other".to_owned(), ..turn(3) });
    assert_eq!(stage.hooks.waiting("web"), 4);
    stage.hooks.act(clock::now(), None);
    let first = stage.pid();
    stage.hooks.act(clock::now(), None);
    assert_eq!(stage.pid(), first, "one at a time");
    assert_eq!(stage.hooks.waiting("web"), 4);
    assert!(stage.hooks.deadline().is_some());
    stage.await_exit();
    stage.finish();
    let told = |number| format!("one {number} web backup master 1700000000 edge-a\ntwo {number}\n");
    assert_eq!(stage.out(), told(1) + &told(2));
    assert!(stage.hooks.is_idle() && stage.hooks.deadline().is_none());
    let notes = stage.hooks.take_notes();
    assert!(notes.iter().all(|note| note.kind == "hook_done"), "{notes:?}");
    assert_eq!((notes.len(), stage.hooks.failed("web")), (4, 0));
}

#[test]
fn a_program_reads_what_happened_as_one_line_of_json() {
    let mut stage = Stage::new(&["cat >> $1"], WITHIN);
    stage.hooks.push(turn(7));
    stage.finish();
    let expected = "{\"node\":\"edge-a\",\"vip\":\"web\",\"role\":\"master\",\"before\":\"backup\",\
                    \"epoch\":1700000000,\"sequence\":7,\
                    \"reason\":\"no \\\"master\\\" was heard\\\\\\u000a\"}\n";
    assert_eq!(stage.out(), expected);
}

#[test]
fn a_program_that_fails_or_cannot_run_is_told_and_does_not_stop_the_others() {
    let mut stage = Stage::new(&["exit 3", "echo last >> $1"], WITHIN);
    let mut programs = stage.hooks.queues["web"].programs.clone();
    // One that is not there, and one that is no program.
    programs.insert(1, vec!["/no/such/hook".to_owned(), "secret".to_owned()]);
    programs.insert(2, vec!["/etc/passwd".to_owned()]);
    stage.call(&programs, WITHIN);
    stage.hooks.push(turn(1));
    stage.finish();
    assert_eq!(stage.out(), "last\n");
    let notes = stage.hooks.take_notes();
    let told: Vec<_> = notes.iter().map(|note| (note.kind, note.reason.as_str())).collect();
    let expected = [
        ("hook_failed", "change 1 to master: /bin/sh ended: exit status 3"),
        (
            "hook_failed",
            "change 1 to master: /no/such/hook is not run: No such file or directory (os error 2)",
        ),
        ("hook_failed", "change 1 to master: cannot run /etc/passwd: permission denied"),
        ("hook_done", "change 1 to master: /bin/sh ended: exit status 0"),
    ];
    assert_eq!(told, expected);
    assert_eq!(stage.hooks.failed("web"), 3);
}

#[test]
fn a_program_that_takes_too_long_is_killed_with_all_it_started() {
    let script = "sleep 1000 & echo $! >> $1; wait";
    let mut stage = Stage::new(&[script], Duration::from_secs(5));
    stage.hooks.push(turn(1));
    let begun = clock::now();
    stage.hooks.act(begun, None);
    let until = clock::now() + PATIENCE;
    while fs::read_to_string(stage.path("out")).unwrap_or_default().is_empty() {
        assert!(clock::now() < until, "it did not begin");
        std::thread::yield_now();
    }
    stage.hooks.act(begun + Duration::from_secs(4), None);
    assert!(!stage.hooks.queues["web"].running().unwrap().is_killed);
    stage.hooks.act(begun + Duration::from_secs(5), None);
    assert_eq!(stage.hooks.deadline(), None, "it is killed once");
    assert_eq!(stage.await_exit(), Exit::Signal { number: 9, core: false });
    let reason = stage.hooks.take_notes().remove(0).reason;
    assert!(reason.ends_with("was killed: it took longer than 5 s"), "{reason}");
    let sleeper: u32 = stage.out().trim().parse().unwrap();
    let is_gone = || process::kin(sleeper).map_or(true, |kin| kin.is_zombie);
    while !is_gone() {
        assert!(clock::now() < until, "the rest of its group lives");
        std::thread::yield_now();
    }
}

#[test]
fn only_when_the_queue_is_full_a_change_is_left_out_and_that_is_told() {
    let mut stage = Stage::new(&["echo $EVERGATE_SEQUENCE >> $1"], WITHIN);
    let last = WAITING_MAX as u64 + 1;
    (1..=last).for_each(|sequence| stage.hooks.push(turn(sequence)));
    let notes = stage.hooks.take_notes();
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].kind, "hook_dropped");
    assert!(notes[0].reason.starts_with("change 1 is not told"), "{notes:?}");
    stage.finish();
    let expected: String = (2..=last).map(|sequence| format!("{sequence}\n")).collect();
    assert_eq!(stage.out(), expected);
}

#[test]
fn what_waits_is_told_and_what_runs_is_waited_for_by_the_next_image() {
    let mut stage = Stage::new(&["echo $EVERGATE_SEQUENCE >> $1; exit 4"], WITHIN);
    stage.hooks.push(turn(1));
    stage.hooks.push(turn(2));
    stage.hooks.act(clock::now(), None);
    let carried = minicbor::to_vec(stage.hooks.carry()).unwrap();
    let carried: Carried = minicbor::decode(&carried).unwrap();
    assert_eq!(carried.children().map(|(pid, _)| Some(pid)).collect::<Vec<_>>(), [stage.pid()]);
    stage.hooks = Hooks::resume(carried);
    stage.await_exit();
    stage.finish();
    assert_eq!((stage.out().as_str(), stage.hooks.failed("web")), ("1\n2\n", 2));
}

#[test]
fn what_is_configured_no_more_is_told_to_the_end_and_then_forgotten() {
    let mut stage = Stage::new(&["echo $EVERGATE_SEQUENCE >> $1"], WITHIN);
    stage.hooks.push(turn(1));
    stage.hooks.apply("edge-a", [].into_iter());
    stage.hooks.act(clock::now(), None);
    stage.await_exit();
    stage.hooks.act(clock::now(), None);
    assert_eq!(stage.out(), "1\n");
    assert!(stage.hooks.queues.is_empty());
}

#[test]
fn a_program_that_others_could_change_is_refused_and_the_path_is_named() {
    let stage = Stage::new(&["true"], WITHIN);
    let path = stage.path("hook").to_str().unwrap().to_owned();
    fs::write(&path, "").unwrap();
    let set = |path: PathBuf, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    assert_eq!(refuse_changeable(&path), Ok(()));
    set(stage.path("hook"), 0o775);
    let refused = refuse_changeable(&path).unwrap_err();
    assert!(refused.ends_with(&format!("`chmod go-w {path}`")), "{refused}");
    set(stage.path("hook"), 0o755);
    set(stage.path(""), 0o777);
    let refused = refuse_changeable(&path).unwrap_err();
    let folder = stage.directory.path().display();
    assert!(refused.contains(&format!("chmod go-w {folder}")), "{refused}");
    assert!(refuse_changeable("moved").unwrap_err().contains("not absolute"));
}
