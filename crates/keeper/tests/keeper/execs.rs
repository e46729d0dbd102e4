//! The keeper becomes another binary in place.
//!
//! The new binary is a copy of this one; a line at its end says what is wrong with it, if anything.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::time::Duration;

use evergate_control::link::{
    Backoff, DeployPhase, Desired, Instance, InstanceState, Place, Ready, ReadyBy, Restart, Run,
    Socket, ToKeeper, ToWorker, UpgradeOrder, UpgradeParts, Verb,
};
use evergate_sys::signal::{self, Signal};
use evergate_sys::{clock, process};
use rustix::fs::{CWD, Mode, mkfifoat};

use crate::apps::running;
use crate::stage::{Pace, Stage, Worker, all_ready, app, apps, knock, listener};

/// How long a new image may take to go on.
pub(crate) const WITHIN: Duration = Duration::from_secs(8);
/// What the line at the end of a binary begins with, and how long that is at most.
const MARK: &str = "\nSTAGE:";
const LINE_BYTES_MAX: i64 = 32;
/// How often an app exits just when the keeper becomes another binary; with `EVERGATE_FULL` set,
/// as often as is promised.
const EXITS: u32 = 24;
const EXITS_FULL: u32 = 1000;
/// How long after the order the first app exits, and by what part of that it is put off, or brought
/// forward, for the next: whoever is told of by the old image was too early, and the other way round,
/// so the exits gather around the moment between both.
const EXITS_AFTER: Duration = Duration::from_millis(30);
const SHIFT_PART: u32 = 3;

pub(crate) const TESTS: &[crate::Test] = &[
    ("a_keeper_becomes_another_binary_and_nobody_notices", nobody_notices),
    ("an_exit_during_an_exec_is_told_exactly", an_exit_is_told_exactly),
    ("a_new_binary_that_fails_makes_the_old_one_come_back", the_old_one_comes_back),
    ("a_binary_that_failed_twice_is_not_tried_again", not_tried_again),
    ("what_is_no_program_changes_nothing", no_program),
    ("what_was_begun_goes_on_after_an_exec", what_was_begun_goes_on),
    ("what_apps_have_is_theirs_after_an_exec", what_apps_have_is_theirs),
    ("the_service_manager_waits_for_a_reload_across_an_exec", a_reload_goes_on),
];

/// Goes wrong as the last line of this binary says. Called when the image before has left its word
/// and nothing was done about it yet. Whether it is to leave.
pub(crate) fn fails() -> bool {
    let mut file = File::open("/proc/self/exe").unwrap();
    file.seek(SeekFrom::End(-LINE_BYTES_MAX)).unwrap();
    let mut end = Vec::new();
    file.read_to_end(&mut end).unwrap();
    let end = String::from_utf8_lossy(&end).into_owned();
    match end.rsplit_once(MARK).map(|(_, line)| line) {
        Some("crash") => drop(overflow(1)),
        Some("panic") => panic!("as the test wants it"),
        Some("hang") => loop {
            std::thread::park();
        },
        Some("leave") => return true,
        Some(_) | None => {}
    }
    false
}

#[expect(unconditional_recursion, reason = "so that the stack overflows")]
fn overflow(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    overflow(depth + 1) + room[63]
}

/// A copy of this binary with a line at its end.
pub(crate) fn binary(stage: &Stage, line: &str) -> String {
    let path = stage.path(&format!("binary-{line}"));
    fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    write!(file, "{MARK}{line}").unwrap();
    path
}

/// Has the keeper become the binary at `path`, or try to.
pub(crate) fn order(stage: &Stage, worker: &Worker, path: &str) {
    let order = UpgradeOrder {
        binary: Some(path.to_owned()),
        parts: UpgradeParts::Keeper,
        ..UpgradeOrder::default()
    };
    worker.say(&ToKeeper::Upgrade { request: 9, order });
    await_heard(stage, worker);
}

fn await_heard(stage: &Stage, worker: &Worker) {
    loop {
        if let (ToWorker::Heard { request: 9, error, .. }, _) = stage.next(worker) {
            assert_eq!(error, None);
            return;
        }
    }
}

pub(crate) fn become_binary(stage: &Stage, worker: &Worker, path: &str) {
    let execs = worker.node.borrow().keeper_execs;
    order(stage, worker, path);
    stage.await_node(worker, |news| news.keeper_execs == execs + 1);
}

pub(crate) fn await_said(stage: &mut Stage, text: &str, times: usize) {
    stage.await_true(|stage| (stage.stderr().matches(text).count() >= times).then_some(()));
}

fn runs(instances: &[Instance]) -> Vec<(u32, u16)> {
    instances.iter().map(running).collect()
}

fn image_of(stage: &Stage) -> String {
    fs::read_link(format!("/proc/{}/exe", stage.keeper_pid())).unwrap().to_str().unwrap().to_owned()
}

fn nobody_notices() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    worker.say(&ToKeeper::Ready);
    let mut wanted = apps(&[app("shop", &["sleep", "1000"], 3)]);
    wanted.listeners = vec![listener("web", "127.0.0.1:0", 2)];
    let before = stage.desire(&worker, &wanted);
    let address = before.address(0);
    let mut instances = stage.observe(&worker, all_ready);
    let fds = || process::usage(stage.keeper_pid()).unwrap().fds;
    let fds_before = fds();
    for turn in ["one", "two"] {
        let path = binary(&stage, turn);
        knock(address);
        let begun = clock::now();
        become_binary(&stage, &worker, &path);
        println!("on again after {:.1?}", clock::now() - begun);
        assert_eq!(image_of(&stage), path);
        let comm = fs::read_to_string(format!("/proc/{}/comm", stage.keeper_pid())).unwrap();
        assert!(comm.starts_with("keeper-"), "{comm}");
        // The same link, the same sockets, and nothing is done again.
        let after = stage.desire(&worker, &wanted);
        assert_eq!(after.listening, before.listening);
        assert_eq!(runs(&after.instances), runs(&instances));
        knock(address);
        // It is the parent of all as ever.
        signal::send(running(&instances[2]).0, Signal::Kill).unwrap();
        let told = stage.await_event_of(&worker, "app_exited");
        assert!(told.reason.contains("signal 9"), "{told:?}");
        let healed = stage.observe(&worker, all_ready);
        assert_ne!(healed[2].pid, instances[2].pid);
        assert_eq!(runs(&healed[..2]), runs(&instances[..2]));
        instances = healed;
        assert_eq!(fds(), fds_before, "nothing that only the way back needed is left");
    }
}

/// Apps of one instance each, told to exit by closing what they read from, while the keeper execs.
fn an_exit_is_told_exactly() {
    let exits = if std::env::var_os("EVERGATE_FULL").is_some() { EXITS_FULL } else { EXITS };
    let stage = Stage::new(Pace::Quick);
    let worker = stage.worker();
    worker.say(&ToKeeper::Ready);
    let paths = [binary(&stage, "even"), binary(&stage, "odd")];
    let (mut after, mut by_old) = (EXITS_AFTER, 0);
    for turn in 1..=exits {
        let status = turn % 250 + 1;
        let gate = stage.path(&format!("gate-{turn}"));
        mkfifoat(CWD, &gate, Mode::RWXU).unwrap();
        let mut one = app("shop", &["sh", "-c", &format!("read line <{gate}; exit {status}")], 1);
        one.restart = Restart::Never;
        stage.run(&worker, &[one]);
        let execs = worker.node.borrow().keeper_execs;
        // Opened when the app has, so it waits in between.
        let held = OpenOptions::new().write(true).open(&gate).unwrap();
        let next = &paths[turn as usize % 2];
        let parts = UpgradeParts::Keeper;
        let order = UpgradeOrder { binary: Some(next.clone()), parts, ..UpgradeOrder::default() };
        worker.say(&ToKeeper::Upgrade { request: 9, order });
        std::thread::park_timeout(after);
        drop(held);
        await_heard(&stage, &worker);
        let told = stage.await_event_of(&worker, "app_exited");
        let is_early = image_of(&stage) != *next;
        let reason = format!("exit status {status}");
        assert_eq!(told.reason.split(';').next(), Some(&*reason), "{turn}: {told:?}");
        stage.await_node(&worker, |news| news.keeper_execs == execs + 1);
        stage.desire(&worker, &apps(&[]));
        by_old += u32::from(is_early);
        let shift = after / SHIFT_PART;
        after = if is_early { after + shift } else { after - shift };
    }
    eprintln!("{exits} of {exits} reasons are exact, {by_old} of them told by the image before");
    if !(1..exits).contains(&by_old) {
        println!("skipped: on this machine the exits met no exec");
    }
}

fn the_old_one_comes_back() {
    let mut stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    worker.say(&ToKeeper::Ready);
    let before = stage.run(&worker, &[app("shop", &["sleep", "1000"], 2)]);
    let image = image_of(&stage);
    let table = [
        ("crash", "the new keeper crashed: signal 11 (SEGV)"),
        ("panic", "the new keeper crashed: signal 6 (ABRT)"),
        ("hang", "the new keeper did not go on within 8s"),
        ("leave", "it ended before it went on"),
    ];
    for (line, why) in table {
        order(&stage, &worker, &binary(&stage, line));
        await_said(&mut stage, &format!("the upgrade was refused: {why}"), 1);
        assert_eq!(image_of(&stage), image);
        let after = stage.desire(&worker, &apps(&[app("shop", &["sleep", "1000"], 2)]));
        assert_eq!(runs(&after.instances), runs(&before), "{line}");
        assert_eq!(worker.node.borrow().keeper_execs, 0);
    }
    // It is the parent of all as ever, and another binary gets its chance.
    signal::send(running(&before[0]).0, Signal::Kill).unwrap();
    stage.await_event_of(&worker, "app_exited");
    stage.observe(&worker, all_ready);
    become_binary(&stage, &worker, &binary(&stage, "good"));
}

fn not_tried_again() {
    let mut stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    worker.say(&ToKeeper::Ready);
    let path = binary(&stage, "panic");
    for times in 1..=2 {
        order(&stage, &worker, &path);
        await_said(&mut stage, "the new keeper crashed: signal 6 (ABRT)", times);
    }
    order(&stage, &worker, &path);
    await_said(&mut stage, "failed 2 times to go on from here", 1);
    assert_eq!(stage.stderr().matches("as the test wants it").count(), 2);
    become_binary(&stage, &worker, &binary(&stage, "good"));
    // What has worked in between makes it worth a try again.
    order(&stage, &worker, &path);
    await_said(&mut stage, "the new keeper crashed: signal 6 (ABRT)", 3);
}

fn no_program() {
    let mut stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    worker.say(&ToKeeper::Ready);
    let before = stage.run(&worker, &[app("shop", &["sleep", "1000"], 1)]);
    let path = stage.path("broken");
    fs::write(&path, b"\x7fELF and nothing else").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    order(&stage, &worker, &path);
    await_said(&mut stage, "neither a binary for this machine nor a script", 1);
    assert_eq!(runs(&stage.run(&worker, &[app("shop", &["sleep", "1000"], 1)])), runs(&before));
    become_binary(&stage, &worker, &binary(&stage, "good"));
}

/// One app waits for its next start, one drains, one is being deployed and waits for its probe.
fn what_was_begun_goes_on() {
    let stage = Stage::new(Pace::Production);
    let mut worker = stage.worker();
    worker.say(&ToKeeper::Ready);
    let mut broken = app("broken", &["sh", "-c", "exit 3"], 1);
    broken.backoff = Backoff { base_ms: 1500, cap_ms: 1500, ..Backoff::default() };
    let mut shop = app("shop", &["sleep", "1000"], 2);
    shop.stop.drain_ms = 60_000;
    let wanted = [broken, shop];
    stage.desire(&worker, &apps(&wanted));
    let is_begun = |all: &[Instance]| {
        matches!(all[0].state, InstanceState::Backoff { .. }) && all_ready(&all[1..])
    };
    let before = stage.observe(&worker, is_begun);
    worker.probes = false;
    stage.wish(&worker, ("shop", None), Verb::Restart).unwrap();
    let is_moving = |all: &[Instance]| all.iter().any(|one| one.state == InstanceState::Starting);
    let moving = stage.observe(&worker, is_moving);
    become_binary(&stage, &worker, &binary(&stage, "good"));
    let after = stage.desire(&worker, &apps(&wanted)).instances;
    let states = |all: &[Instance]| {
        let shops = all.iter().filter(|one| one.run.app == "shop");
        shops.map(|one| (one.run.clone(), one.state, one.pid)).collect::<Vec<_>>()
    };
    assert_eq!(states(&after), states(&moving));
    let of_broken = |all: &[Instance]| (all[0].run.clone(), all[0].exits);
    assert_eq!(of_broken(&after).0.app, "broken");
    assert!(of_broken(&after).1 >= of_broken(&before).1, "{after:?}");
    // The new run passes its probe now, the old one drains, and so on to the end.
    worker.probes = true;
    worker.pass(&after);
    let (deploy, shops) = stage.observe_deploy(&worker, |deploy| deploy.phase == DeployPhase::Done);
    assert_eq!((deploy.done, deploy.of), (2, 2));
    assert!(shops.iter().all(|one| one.run.app != "shop" || one.run.generation > 1));
    // And the other one is started again when its time has come.
    let exits = of_broken(&after).1;
    stage.observe(&worker, |all| all[0].run.app == "broken" && all[0].exits > exits);
}

/// What they print, their notify sockets, the directories of their Unix sockets.
fn what_apps_have_is_theirs() {
    let mut stage = Stage::new(Pace::Quick);
    let worker = stage.worker();
    worker.say(&ToKeeper::Ready);
    let gate = stage.path("gate");
    mkfifoat(CWD, &gate, Mode::RWXU).unwrap();
    let own = std::env::current_exe().unwrap();
    let own = own.to_str().unwrap();
    let script = format!("echo one; read word <>{gate}; exec {own} run-app notify READY=1");
    let mut shop = app("shop", &["sh", "-c", &script], 1);
    shop.keeps_output = true;
    shop.ready = Ready { by: ReadyBy::Notify, ..Ready::default() };
    let mut unix = app("unix", &[own, "run-app", "unix"], 1);
    unix.socket = Socket::Unix;
    let wanted =
        Desired { apps: vec![shop, unix], run_dir: Some(stage.path("")), ..Desired::default() };
    stage.desire(&worker, &wanted);
    let is_begun = |all: &[Instance]| {
        all[0].state == InstanceState::Starting && all[1].state == InstanceState::Ready
    };
    let before = stage.observe(&worker, is_begun);
    let Some(Place::Unix(socket)) = before[1].place.clone() else { panic!("{before:?}") };
    become_binary(&stage, &worker, &binary(&stage, "good"));
    stage.await_true(|_| UnixStream::connect(&socket).ok());
    // It says only now that it is ready, and is believed.
    fs::write(&gate, "go\n").unwrap();
    let after = stage.observe(&worker, all_ready);
    assert_eq!(runs_of(&after), runs_of(&before));
    let folder = Path::new(&socket).parent().unwrap().to_owned();
    assert!(folder.exists());
    // The next worker reads where this one stopped.
    worker.crash();
    let next = stage.worker();
    stage.desire(&next, &wanted);
    let run = after[0].run.clone();
    let mut printed = File::from(next.outputs.borrow_mut().remove(&run).unwrap());
    let mut line = [0; 16];
    assert_eq!((printed.read(&mut line).unwrap(), &line[..4]), (4, &b"one\n"[..]));
    stage.desire(&next, &Desired::default());
    stage.observe(&next, <[Instance]>::is_empty);
    assert!(!folder.exists(), "gone with its run");
}

fn a_reload_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(crate::stage::PATIENCE)).unwrap();
    let told = || {
        let mut text = [0; 128];
        let length = manager.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    let env = [("NOTIFY_SOCKET", path.to_str().unwrap().to_owned())];
    let stage = Stage::with(Pace::Production, std::env::current_exe().unwrap(), &env);
    let worker = stage.worker();
    worker.say(&ToKeeper::Ready);
    assert_eq!(told(), "READY=1");
    become_binary(&stage, &worker, &binary(&stage, "one"));
    assert_eq!(told(), "READY=1", "as after any start");
    stage.signal(Signal::Hangup);
    assert!(told().starts_with("RELOADING=1\n"));
    while !matches!(stage.next(&worker), (ToWorker::Reload, _)) {}
    become_binary(&stage, &worker, &binary(&stage, "two"));
    worker.say(&ToKeeper::Reloaded { is_applied: true });
    assert_eq!(told(), "READY=1\nSTATUS=the configuration is in force");
}

fn runs_of(instances: &[Instance]) -> Vec<(Run, Option<u32>)> {
    instances.iter().map(|one| (one.run.clone(), one.pid)).collect()
}
