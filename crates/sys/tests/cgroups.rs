//! Control groups with real processes, in a test process of their own: reaping is for all children
//! of a process. What this machine does not have is skipped, and said so.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::File;
use std::io::{Read, pipe};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evergate_sys::cgroup::{Bounds, Cgroups, Group, Version};
use evergate_sys::child::{Spec, spawn};
use evergate_sys::clock;
use evergate_sys::exit::{self, Exit};
use evergate_sys::process;
use evergate_sys::signal::Signal;

fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    exit::adopt_orphans().unwrap();
    turn
}

/// What this machine has of `version`, if processes can be told apart with it.
fn cgroups(version: Version) -> Option<Cgroups> {
    let mut cgroups = Cgroups::detect().only(version);
    if let Err(why) = &cgroups.support().tree {
        eprintln!("skipped: {why}");
        return None;
    }
    for problem in cgroups.claim() {
        eprintln!("{problem}");
    }
    Some(cgroups)
}

fn make(cgroups: &mut Cgroups, name: &str, bounds: Bounds) -> Group {
    let made = cgroups.make(name, &bounds);
    assert_eq!(made.problems, [""; 0]);
    made.group.unwrap()
}

fn shell(group: &Group, script: &str) -> u32 {
    spawn(&spec(group, script)).unwrap()
}

fn spec<'a>(group: &'a Group, script: &str) -> Spec<'a> {
    Spec {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        cgroup: group.home(),
        cgroups: group.procs().collect(),
        ..Spec::default()
    }
}

/// Runs a script in `group` and returns what it writes to descriptor 5, and its exit.
fn run(group: &Group, script: &str) -> (String, Exit) {
    let (mut reader, writer) = pipe().unwrap();
    let pid = spawn(&Spec { fds: vec![(writer.as_fd(), 5)], ..spec(group, script) }).unwrap();
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    loop {
        if let Some(exit) = reap_all().into_iter().find(|&(one, _)| one == pid) {
            return (text, exit.1);
        }
        std::thread::yield_now();
    }
}

fn reap_all() -> Vec<(u32, Exit)> {
    let mut exits = Vec::new();
    while let Some((pid, exit)) = exit::next().unwrap() {
        exit::reap(pid).unwrap();
        exits.push((pid, exit));
    }
    exits
}

/// Reaps until `done`; whether it ever was.
fn within(bound: Duration, mut done: impl FnMut() -> bool) -> bool {
    let started = clock::now();
    while (clock::now() - started) < bound {
        reap_all();
        if done() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

/// Longest wait for anything.
const SECONDS: Duration = Duration::from_secs(60);

#[test]
fn a_child_is_born_in_its_group_or_joins_it() {
    let _turn = alone();
    for version in [Version::V2, Version::V1] {
        let Some(mut cgroups) = cgroups(version) else { continue };
        let group = make(&mut cgroups, "shop.0.1", Bounds::default());
        // Nobody can be born in a group of version 1: it is joined after the fork.
        let directory = File::open(group.path()).unwrap();
        let home = group.home().unwrap_or(directory.as_fd());
        let (mut reader, writer) = pipe().unwrap();
        let spec = Spec {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), "cat /proc/self/cgroup >&5".into()],
            cgroup: Some(home),
            fds: vec![(writer.as_fd(), 5)],
            ..Spec::default()
        };
        spawn(&spec).unwrap();
        drop(writer);
        let mut memberships = String::new();
        reader.read_to_string(&mut memberships).unwrap();
        let name = group.path().file_name().unwrap().to_str().unwrap();
        assert!(memberships.contains(name), "{version}: not in {name}: {memberships}");
        assert!(within(SECONDS, || group.is_empty()));
        cgroups.retire(group);
        cgroups.close();
    }
}

#[test]
fn nobody_escapes_a_group_and_nobody_survives_its_end() {
    let _turn = alone();
    for version in [Version::V1, Version::V2] {
        let Some(mut cgroups) = cgroups(version) else { continue };
        let group = make(&mut cgroups, "shop.0.1", Bounds::default());
        let other = make(&mut cgroups, "shop.0.10", Bounds::default());
        assert!(group.is_empty() && group.members().is_empty());
        // A grandchild in a session of its own whose parents are gone, without an environment, and
        // deaf to requests.
        let script = "trap '' TERM; (env -i setsid sh -c 'trap \"\" TERM; sleep 1000; sleep 1000' \
                      >/dev/null &) ; sleep 1000";
        let main = shell(&group, script);
        let bystander = shell(&other, "sleep 1000");
        assert!(within(SECONDS, || group.members().len() >= 4), "{:?}", group.members());
        assert!(group.members().contains(&main) && !group.members().contains(&bystander));
        assert!(!group.signal_one(bystander, Signal::Kill), "not its own");
        group.signal(Signal::Terminate);
        assert!(!within(Duration::from_millis(50), || group.is_empty()), "all are deaf");
        assert!(within(SECONDS, || {
            group.kill();
            group.is_empty()
        }));
        assert!(process::kin(bystander).is_ok_and(|kin| !kin.is_zombie));
        other.kill();
        let path = group.path().to_owned();
        cgroups.retire(group);
        assert!(!path.exists());
        // One that is retired too early is removed later.
        cgroups.retire(other);
        assert!(within(SECONDS, || !cgroups.sweep()));
        cgroups.close();
        assert!(!path.parent().unwrap().exists(), "nothing is left of {version}");
    }
}

#[test]
fn a_fork_bomb_is_bounded_and_ends() {
    let _turn = alone();
    for version in [Version::V1, Version::V2] {
        let Some(mut cgroups) = cgroups(version) else { continue };
        if let Err(why) = &cgroups.support().pids {
            eprintln!("skipped: {why}");
            continue;
        }
        let bounds = Bounds { tasks: Some(50), ..Bounds::default() };
        let group = make(&mut cgroups, "bomb.0.1", bounds);
        let bomb = "import os\nwhile True:\n try: os.fork()\n except OSError: pass";
        shell(&group, &format!("exec python3 -c '{bomb}'"));
        assert!(within(SECONDS, || group.members().len() > 20), "it grows");
        assert!(group.members().len() <= 50);
        assert!(within(SECONDS, || {
            group.kill();
            group.is_empty()
        }));
        cgroups.retire(group);
        cgroups.close();
    }
}

#[test]
fn bounds_hold_and_a_kill_for_want_of_memory_is_counted() {
    let _turn = alone();
    let Some(mut cgroups) = cgroups(Version::V1) else { return };
    let support = cgroups.support().clone();
    let bounds = Bounds {
        memory: support.memory.is_ok().then_some(48 << 20),
        cpu_percent: support.cpu.is_ok().then_some(20),
        tasks: support.pids.is_ok().then_some(10),
        counts_memory: true,
    };
    let group = make(&mut cgroups, "shop.1.1", bounds);
    if support.memory.is_ok() {
        assert_eq!(group.oom_kills(), Some(0));
        let (text, exit) = run(&group, "python3 -c 'x = bytearray(20 << 20)' && echo fits >&5");
        assert_eq!((text.as_str(), exit), ("fits\n", Exit::Status(0)));
        // A reader that holds what it reads; `exec`, so that the main process is the one.
        let (_, exit) = run(&group, "exec python3 -c 'x = bytearray(200 << 20)'");
        assert_eq!(exit, Exit::Signal { number: 9, core: false });
        assert_eq!(group.oom_kills(), Some(1));
        let holder = shell(
            &group,
            "exec python3 -c 'import time; x = bytearray(30 << 20); time.sleep(1000)'",
        );
        let resident = || group.resident_bytes().unwrap();
        // Both together, for it is still growing; a group counts in steps for each core.
        let agree = || process::own_bytes(holder).unwrap().abs_diff(resident()) < 8 << 20;
        assert!(within(SECONDS, || resident() > 30 << 20 && agree()), "{}", resident());
        group.kill();
        assert!(within(SECONDS, || group.is_empty()));
    } else {
        eprintln!("skipped: {:?}", support.memory);
    }
    if support.pids.is_ok() {
        let (text, _) =
            run(&group, "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1000 & done 2>&5");
        assert!(text.to_lowercase().contains("fork"), "{text}");
        group.kill();
        assert!(within(SECONDS, || group.is_empty()));
    }
    if support.cpu.is_ok() {
        let group = make(&mut cgroups, "shop.2.1", bounds);
        let busy = shell(&group, "while :; do :; done");
        let started = clock::now();
        within(Duration::from_millis(600), || false);
        let used = process::usage(busy).unwrap().cpu;
        assert!(used < (clock::now() - started) / 2, "{used:?}");
        group.kill();
        assert!(within(SECONDS, || group.is_empty()));
        cgroups.retire(group);
    }
    cgroups.retire(group);
    cgroups.close();
}

#[test]
fn a_group_that_was_carried_over_is_the_same_group() {
    let _turn = alone();
    for version in [Version::V1, Version::V2] {
        let Some(mut cgroups) = cgroups(version) else { continue };
        let group = make(&mut cgroups, "carried", Bounds::default());
        // In place of the shell: one process, however fast the shell is.
        let pid = shell(&group, "exec sleep 100");
        let again = Group::resume(group.carry()).unwrap();
        assert_eq!((again.members(), again.carry()), (vec![pid], group.carry()));
        again.kill();
        assert!(within(SECONDS, || again.is_empty()));
        let carried = again.carry();
        cgroups.retire(again);
        assert!(Group::resume(carried).is_none(), "it is gone");
        cgroups.close();
    }
}

#[test]
fn a_machine_without_groups_says_why() {
    let mut cgroups = Cgroups::none("switched off");
    assert_eq!(cgroups.support().memory, Err("switched off".to_owned()));
    assert!(cgroups.claim().is_empty());
    let made = cgroups.make("shop.0.1", &Bounds::default());
    assert!(made.group.is_none() && made.problems.is_empty());
    assert!(!cgroups.sweep());
    cgroups.close();
}
