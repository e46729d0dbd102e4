//! Children, in a test process of their own: reaping is for all children of a process, so nothing
//! else may start any here.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{Read, pipe};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use evergate_core::rng::Rng;
use evergate_sys::child::{SpawnError, Spec, spawn};
use evergate_sys::exit::{self, Exit};
use evergate_sys::image::Image;
use evergate_sys::signal::{self, Signal, Signals};
use evergate_sys::{privilege, random};

fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shell(script: &str) -> Spec<'static> {
    Spec { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()], ..Spec::default() }
}

/// Runs `spec` with a pipe as descriptor 5 and returns what it writes there, and its exit.
fn run(spec: Spec<'_>) -> (String, Exit) {
    let (mut reader, writer) = pipe().unwrap();
    let mut fds = spec.fds.clone();
    fds.push((writer.as_fd(), 5));
    let pid = spawn(&Spec { fds, ..spec }).unwrap();
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    (text, end_of(pid))
}

/// Waits for the end of the only child.
fn end_of(pid: u32) -> Exit {
    loop {
        if let Some((exited, exit)) = exit::next().unwrap() {
            assert_eq!(exited, pid);
            assert_eq!(exit::next().unwrap(), Some((pid, exit)), "not let go of yet");
            exit::reap(pid).unwrap();
            return exit;
        }
        std::thread::yield_now();
    }
}

#[test]
fn every_way_to_end_is_reported_exactly() {
    let _turn = alone();
    for status in [0, 1, 78, 255] {
        assert_eq!(run(shell(&format!("exit {status}"))).1, Exit::Status(status));
    }
    for number in [9, 15] {
        let exit = run(shell(&format!("kill -{number} $$"))).1;
        assert_eq!(exit, Exit::Signal { number, core: false });
    }
    assert_eq!(exit::next().unwrap(), None);
}

#[test]
fn a_thousand_random_exits_are_told_apart_exactly() {
    const EXITS: usize = 1000;
    const AT_A_TIME: usize = 8;
    // Those that stop a process, continue it, or do nothing by default.
    const HARMLESS: [i32; 8] = [17, 18, 19, 20, 21, 22, 23, 28];
    const DUMPING: [i32; 10] = [3, 4, 5, 6, 7, 8, 11, 24, 25, 31];

    let _turn = alone();
    let folder = tempdir("cores");
    let seed = random::seed();
    let mut rng = Rng::seeded(seed);
    let mut expected: BTreeMap<u32, (Exit, bool)> = BTreeMap::new();
    let (mut started, mut signals) = (0, 0);
    while started < EXITS || !expected.is_empty() {
        if started < EXITS && expected.len() < AT_A_TIME {
            started += 1;
            let number = 1 + rng.below(31) as i32;
            let (script, exit, dumps) = if rng.below(2) == 0 || HARMLESS.contains(&number) {
                let status = rng.below(256) as i32;
                (format!("exit {status}"), Exit::Status(status), false)
            } else {
                signals += 1;
                let dumps = rng.below(4) == 0;
                let limit = if dumps { "unlimited" } else { "0" };
                let exit = Exit::Signal { number, core: false };
                let may_dump = dumps && DUMPING.contains(&number);
                (format!("ulimit -c {limit}; kill -{number} $$"), exit, may_dump)
            };
            let pid = spawn(&Spec { cwd: Some(folder.clone()), ..shell(&script) }).unwrap();
            expected.insert(pid, (exit, dumps));
        }
        if let Some((pid, exit)) = exit::next().unwrap() {
            exit::reap(pid).unwrap();
            let (wanted, may_dump) = expected.remove(&pid).unwrap();
            // Where a core goes, if anywhere, is the machine's business.
            let exit = match exit {
                Exit::Signal { number, core: true } if may_dump => {
                    Exit::Signal { number, core: false }
                }
                exit => exit,
            };
            assert_eq!(exit, wanted, "seed {seed:#x}");
        }
    }
    assert!(signals > EXITS / 4, "{signals} by a signal");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_core_that_was_written_is_told() {
    let _turn = alone();
    let folder = tempdir("core");
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if pattern.trim().contains(['/', '|']) {
        eprintln!("skipped: cores go to {}", pattern.trim());
        return;
    }
    let script = "ulimit -c unlimited; kill -SEGV $$";
    let (_, exit) = run(Spec { cwd: Some(folder.clone()), ..shell(script) });
    let written = fs::read_dir(&folder).unwrap().count() == 1;
    assert_eq!(exit, Exit::Signal { number: 11, core: written });
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_program_that_cannot_run_is_an_error_and_leaves_no_child() {
    let _turn = alone();
    let missing = Spec { program: "/no/such/program".into(), ..Spec::default() };
    assert_eq!(
        spawn(&missing).unwrap_err().to_string(),
        "cannot run /no/such/program: no such file"
    );
    let forbidden = Spec { program: "/etc/passwd".into(), ..Spec::default() };
    let error = spawn(&forbidden).unwrap_err();
    assert_eq!(error.to_string(), "cannot run /etc/passwd: permission denied");
    let lost = Spec { cwd: Some("/no/such/place".into()), ..shell("exit 0") };
    let error = spawn(&lost).unwrap_err();
    assert_eq!(error.to_string(), "cannot run in /no/such/place: no such file");
    assert!(matches!(error, SpawnError::Cwd(..)));
    // Also when the number that it gets would have been the one that carries the error.
    let null = fs::File::open("/dev/null").unwrap();
    for number in 3..12 {
        let missing = Spec {
            fds: vec![(null.as_fd(), number)],
            program: "/no/such".into(),
            ..Spec::default()
        };
        assert!(spawn(&missing).is_err(), "{number}");
    }
    assert_eq!(exit::next().unwrap(), None);
}

#[test]
fn a_program_is_looked_up_in_the_childs_path_with_its_rights() {
    use std::os::unix::fs::PermissionsExt;

    let _turn = alone();
    let folder = tempdir("path");
    let write = |name: &str, mode, text: &str| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    write("one/shop", 0o644, "not for running");
    write("two/shop", 0o755, "#!/bin/sh\necho two >&5\n");
    write("two/broken", 0o755, "#!/no/such/shell\n");
    write("two/garbage", 0o755, "neither this nor that\n");
    let path = format!("/no/such:{0}/one:{0}/two", folder.display());
    let program = |name: &str| Spec {
        program: name.into(),
        env: vec![("PATH".into(), Some(path.clone().into()))],
        ..Spec::default()
    };
    assert_eq!(run(program("shop")), ("two\n".to_owned(), Exit::Status(0)));
    let table = [
        ("shops", "cannot run shops: no such program in PATH"),
        ("broken", "cannot run broken: the interpreter or loader that it names is missing"),
        (
            "garbage",
            "cannot run garbage: neither a binary for this machine nor a script with a #! line",
        ),
    ];
    for (name, text) in table {
        let error = spawn(&program(name)).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.is_lasting()), (text, true));
    }
    fs::remove_file(folder.join("two/shop")).unwrap();
    let error = spawn(&program("shop")).unwrap_err();
    assert_eq!(error.to_string(), "cannot run shop: permission denied", "what is there is told");
    // Held open for writing, it is just being replaced.
    let busy = write("two/busy", 0o755, "#!/bin/sh\n");
    let _writer = fs::OpenOptions::new().write(true).open(busy).unwrap();
    match spawn(&program("busy")) {
        Err(error) => assert!(!error.is_lasting(), "{error}"),
        // Some releases of Linux have no objection (6.11 and 6.12).
        Ok(pid) => assert_eq!(end_of(pid), Exit::Status(0)),
    }
    assert_eq!(exit::next().unwrap(), None);
    fs::remove_dir_all(folder).unwrap();
}

fn tempdir(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("evergate-{name}-{}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn output_and_errors_go_where_they_are_sent() {
    let _turn = alone();
    let (mut reader, writer) = pipe().unwrap();
    let spec = Spec { stdout: Some(writer.as_fd()), ..shell("echo out; echo err >&2; cat") };
    let pid = spawn(&spec).unwrap();
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), end_of(pid)), ("out\nerr\n", Exit::Status(0)));
    let (mut reader, writer) = pipe().unwrap();
    let null = fs::File::create("/dev/null").unwrap();
    let (stdout, stderr) = (Some(writer.as_fd()), Some(null.as_fd()));
    let pid = spawn(&Spec { stdout, stderr, ..shell("echo out; echo err >&2") }).unwrap();
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), end_of(pid)), ("out\n", Exit::Status(0)), "apart");
}

#[test]
fn a_child_learns_its_own_number_before_it_runs() {
    let _turn = alone();
    let spec = Spec {
        listen_pid: true,
        env: vec![("LISTEN_PID".into(), Some("1".into()))],
        ..shell("[ $LISTEN_PID = $$ ] && env | grep -c LISTEN_PID >&5")
    };
    assert_eq!(run(spec), ("1\n".to_owned(), Exit::Status(0)));
    let (text, _) = run(shell("env | grep -c LISTEN_PID >&5"));
    assert_eq!(text, "0\n", "only when asked for");
}

#[test]
fn limits_and_the_umask_are_in_force_when_the_program_starts() {
    let _turn = alone();
    let spec = Spec {
        umask: Some(0o027),
        files_max: Some(99),
        data_bytes_max: Some(256 << 20),
        tasks_max: Some(77),
        ..shell("umask >&5; cat /proc/self/limits >&5")
    };
    let (text, _) = run(spec);
    assert!(text.starts_with("0027\n"), "{text}");
    let words = |name: &str| -> Vec<String> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).map(str::to_owned).collect()
    };
    assert_eq!(words("Max open files")[0], "99");
    assert_ne!(words("Max open files")[1], "99", "the program may raise its own limit");
    assert_eq!(words("Max data size"), ["268435456", "268435456"]);
    assert_eq!(words("Max processes"), ["77", "77"]);
}

#[test]
fn a_child_does_not_inherit_what_spares_us() {
    let _turn = alone();
    // Root may lack the right to do some of it, in a container for example.
    let before = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let spared = fs::write("/proc/self/oom_score_adj", "-500").is_ok();
    let realtime = set_real_time(true);
    // Of the thread, which is the one that forks.
    let first = rustix::process::setpriority_process(None, -5).is_ok();
    let (text, _) =
        run(shell("cat /proc/self/oom_score_adj >&5; cut -d' ' -f19,41 /proc/self/stat >&5"));
    if first {
        rustix::process::setpriority_process(None, 0).unwrap();
    }
    set_real_time(false);
    if spared {
        fs::write("/proc/self/oom_score_adj", before.trim()).unwrap();
        assert!(text.starts_with("0\n"), "{text}");
    }
    if first && realtime {
        assert!(text.ends_with("\n0 0\n"), "{text}");
    }
    for (done, what) in [(spared, "oom_score_adj"), (first, "nice"), (realtime, "real time")] {
        if !done {
            eprintln!("skipped: {what} cannot be set here");
        }
    }
}

/// Sets the scheduling policy of this thread; whether that is allowed.
#[expect(unsafe_code, reason = "rustix has no scheduling policies")]
fn set_real_time(yes: bool) -> bool {
    let (policy, priority) = if yes { (libc::SCHED_FIFO, 1) } else { (libc::SCHED_OTHER, 0) };
    // SAFETY: `priority` is a live local that the call only reads.
    unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) == 0 }
}

#[test]
fn a_child_is_in_its_control_group_from_the_start_and_one_that_hangs_there_is_given_up() {
    let _turn = alone();
    let group = std::path::Path::new("/sys/fs/cgroup/freezer/evergate-test-child");
    if fs::create_dir(group).is_err() {
        eprintln!("skipped: no freezer control group can be made here");
        return;
    }
    let procs = fs::OpenOptions::new().write(true).open(group.join("cgroup.procs")).unwrap();
    let grouped = |script| Spec { cgroups: vec![procs.as_fd()], ..shell(script) };
    let (text, _) = run(grouped("grep freezer /proc/self/cgroup >&5"));
    // Wherever the root of what we see of them is.
    assert!(text.ends_with("/evergate-test-child\n"), "{text}");

    fs::write(group.join("freezer.state"), "FROZEN").unwrap();
    let error = spawn(&grouped("exit 0")).unwrap_err();
    assert!(matches!(error, SpawnError::Slow(_)) && !error.is_lasting(), "{error}");
    assert_eq!(exit::next().unwrap(), None);
    fs::write(group.join("freezer.state"), "THAWED").unwrap();
    let pid = loop {
        match exit::next().unwrap() {
            Some((pid, _)) => break pid,
            None => std::thread::yield_now(),
        }
    };
    assert_eq!(end_of(pid), Exit::Signal { number: 9, core: false });

    let shut = fs::OpenOptions::new().read(true).open(group.join("cgroup.procs")).unwrap();
    let error = spawn(&Spec { cgroups: vec![shut.as_fd()], ..shell("exit 0") }).unwrap_err();
    assert!(matches!(error, SpawnError::Cgroup(_)), "{error}");
    fs::remove_dir(group).unwrap();
}

#[test]
fn a_child_gets_the_descriptors_it_was_given_and_no_others() {
    let _turn = alone();
    let directory = std::env::temp_dir().join(format!("evergate-fds-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let file = |name: &str| {
        fs::write(directory.join(name), name).unwrap();
        fs::File::open(directory.join(name)).unwrap()
    };
    let (a, b) = (file("a"), file("b"));
    // One that leaks: open across exec, as a careless parent of ours may have left it.
    let leak = file("leak");
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    // Crosswise, so that placing one in turn would overwrite the other.
    let ends = [a.as_raw_fd(), b.as_raw_fd()];
    let (low, high) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
    for (x, y) in [(high, low), (low, high), (40, 41)] {
        // The number of the pipe of `run` is spoken for.
        if [x, y].contains(&5) {
            continue;
        }
        // In a shell of its own, and not the last one: neither a pipe nor a saved output may show.
        let list = "(ls /proc/$$/fd) >&5; :";
        let script = format!("cat /dev/fd/{x} /dev/fd/{y} >&5; {list}");
        let (text, exit) =
            run(Spec { fds: vec![(a.as_fd(), x), (b.as_fd(), y)], ..shell(&script) });
        let mut open = [0, 1, 2, 5, x, y];
        open.sort_unstable();
        let mut listed: Vec<i32> =
            text[2..].split_whitespace().map(|n| n.parse().unwrap()).collect();
        listed.sort_unstable();
        assert_eq!((&text[..2], exit), ("ab", Exit::Status(0)), "{x} {y}");
        assert_eq!(listed, open, "{x} {y}");
    }
    let wrong = Spec { fds: vec![(a.as_fd(), 2)], ..shell("exit 0") };
    assert!(spawn(&wrong).is_err(), "standard error is no number to give away");
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_child_starts_in_a_clean_state() {
    let _turn = alone();
    let signals = Signals::block(&[Signal::User1]).unwrap();
    ignore_hangups();
    let spec = Spec {
        env: vec![("GIVEN".into(), Some("yes".into())), ("PATH".into(), None)],
        cwd: Some("/".into()),
        no_new_privileges: true,
        files_max: Some(64),
        ..shell(
            "/bin/cat /proc/self/status >&5; echo given=$GIVEN cwd=$PWD files=$(ulimit -n) >&5
             echo session=$(/usr/bin/cut -d' ' -f5,6 /proc/$$/stat) self=$$ >&5
             [ \"$(/bin/readlink /proc/$$/fd/0)\" = /dev/null ] && echo stdin=null >&5",
        )
    };
    let (text, _) = run(spec);
    drop(signals);
    let value = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap_or_else(|| panic!("no {name} in {text}")).trim()
    };
    // Signals 32 and 33 belong to the C library, which lets nobody change them.
    let mask = |name: &str| u64::from_str_radix(value(name), 16).unwrap() & !(0b11 << 31);
    assert_eq!((mask("SigBlk:"), mask("SigIgn:")), (0, 0));
    assert_eq!(value("NoNewPrivs:"), "1");
    assert_eq!(value("given="), "yes cwd=/ files=64");
    assert_eq!(value("stdin="), "null");
    let session = value("session=");
    let own = session.split("self=").nth(1).unwrap();
    assert_eq!(session, format!("{own} {own} self={own}"), "leads its group and its session");
}

#[expect(unsafe_code, reason = "as nohup leaves it behind")]
fn ignore_hangups() {
    // SAFETY: SIG_IGN installs no code.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
}

#[test]
fn a_child_becomes_the_user_asked_for_if_that_is_allowed() {
    let _turn = alone();
    let nobody = privilege::User { uid: 65534, gid: 65534, groups: vec![65534, 20] };
    let spec = Spec { user: Some(nobody), ..shell("cat /proc/self/status >&5") };
    if !privilege::is_root() {
        assert!(spawn(&spec).is_err());
        return;
    }
    let (text, _) = run(spec);
    assert!(text.contains("Uid:\t65534\t65534\t65534\t65534"), "{text}");
    assert!(text.contains("Gid:\t65534\t65534\t65534\t65534"), "{text}");
    assert!(text.contains("Groups:\t20 65534"), "{text}");
}

#[test]
fn the_rest_of_a_group_is_reached_before_its_leader_is_let_go_of() {
    let _turn = alone();
    exit::adopt_orphans().unwrap();
    let (mut reader, writer) = pipe().unwrap();
    let spec = Spec { fds: vec![(writer.as_fd(), 5)], ..shell("sleep 1000 & exit 3") };
    let leader = spawn(&spec).unwrap();
    drop(writer);
    let mut exits = BTreeMap::new();
    while exits.len() < 2 {
        let Some((pid, exit)) = exit::next().unwrap() else {
            std::thread::yield_now();
            continue;
        };
        if pid == leader {
            signal::send_group(leader, Signal::Kill).unwrap();
        }
        exit::reap(pid).unwrap();
        exits.insert(pid, exit);
    }
    assert_eq!(exits.remove(&leader), Some(Exit::Status(3)));
    let orphan = exits.into_values().next();
    assert_eq!(orphan, Some(Exit::Signal { number: 9, core: false }));
    // Nobody is left who could write.
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    assert_ne!(random::seed(), 0);
}

#[test]
fn a_child_goes_by_the_name_it_is_given() {
    let _turn = alone();
    let spec = shell("tr '\\0' ' ' </proc/$$/cmdline >&5");
    assert!(run(Spec { argv0: Some("shop".into()), ..spec }).0.starts_with("shop -c "));
}

#[test]
fn a_child_is_started_from_an_open_file_whatever_its_path_means_by_now() {
    let _turn = alone();
    let folder = tempdir("image");
    let path = folder.join("program");
    fs::copy("/bin/sh", &path).unwrap();
    let image = Image::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let spec = || Spec { image: Some(image.as_fd()), ..shell("echo $0 >&5; exit 7") };
    // Also where a descriptor that it gets has the number that the program is open under.
    let null = fs::File::open("/dev/null").unwrap();
    let fds = vec![(null.as_fd(), image.as_fd().as_raw_fd())];
    for fds in [vec![], fds] {
        let (text, exit) = run(Spec { fds, argv0: Some("given".into()), ..spec() });
        assert_eq!((text.as_str(), exit), ("given\n", Exit::Status(7)));
    }
    // What it could not be started as is an error here, as ever.
    fs::write(&path, b"\x7fELF and nothing else").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    let broken = Image::open(&path).unwrap();
    let error = spawn(&Spec { image: Some(broken.as_fd()), ..shell("") }).unwrap_err();
    assert!(error.to_string().contains("neither a binary for this machine"), "{error}");
    fs::remove_dir_all(folder).unwrap();
}
