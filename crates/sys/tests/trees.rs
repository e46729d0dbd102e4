//! Process trees with real processes, with a control group and without, in a test process of their
//! own: reaping is for all children of a process.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evergate_sys::cgroup::{Bounds, Cgroups, Version};
use evergate_sys::child::{Spec, spawn};
use evergate_sys::clock;
use evergate_sys::exit;
use evergate_sys::process::{self, Known};
use evergate_sys::signal::{self, Signal};
use evergate_sys::tree::{Scope, Tree, VARIABLE, strays};

/// Longest wait for anything.
const SECONDS: Duration = Duration::from_secs(60);
/// Children reaped before anything else is done.
const REAPED_AT_ONCE: usize = 1024;
/// Long enough for a signal that somebody heeds.
const MOMENT: Duration = Duration::from_millis(50);

/// Starts runs and reaps what comes of them, as a keeper does.
struct Nursery {
    _turn: MutexGuard<'static, ()>,
    cgroups: Cgroups,
    runs: u32,
}

impl Nursery {
    /// One without control groups, and one with each version that this machine has.
    fn each(test: impl Fn(&mut Self)) {
        static TURN: Mutex<()> = Mutex::new(());
        let detect = |version| Cgroups::detect().only(version);
        let kinds =
            [Cgroups::none("without"), detect(Version::V1), detect(Version::V2)].into_iter();
        for (index, mut cgroups) in kinds.enumerate() {
            if let (1.., Err(why)) = (index, &cgroups.support().tree) {
                eprintln!("skipped: {why}");
                continue;
            }
            let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
            exit::adopt_orphans().unwrap();
            cgroups.claim();
            let mut nursery = Self { _turn: turn, cgroups, runs: 0 };
            test(&mut nursery);
            let none = || strays(&BTreeSet::new()).unwrap().is_empty();
            assert!(nursery.within(SECONDS, None, none), "somebody got away");
            assert!(nursery.within(SECONDS, None, || exit::next().unwrap().is_none()));
            std::mem::replace(&mut nursery.cgroups, Cgroups::none("over")).close();
        }
    }

    fn start(&mut self, program: &str, script: &str) -> Tree {
        self.runs += 1;
        let name = format!("test.0.{}", self.runs);
        let token = format!("{}-{name}", std::process::id());
        let made = self.cgroups.make(&name, &Bounds::default());
        assert_eq!(made.problems, [""; 0]);
        // Whoever outlives a test that fails must not hold what the test writes to.
        let null = File::options().write(true).open("/dev/null").unwrap();
        let pid = spawn(&Spec {
            stdout: Some(null.as_fd()),
            program: program.into(),
            args: vec!["-c".into(), script.into()],
            env: vec![(VARIABLE.into(), Some(token.clone().into()))],
            cgroup: made.group.as_ref().and_then(|group| group.home()),
            cgroups: made.group.iter().flat_map(|group| group.procs()).collect(),
            ..Spec::default()
        });
        Tree::new(pid.unwrap(), token, made.group)
    }

    /// Reaps until `done`; whether it ever was.
    fn within(
        &mut self,
        bound: Duration,
        mut tree: Option<&mut Tree>,
        mut done: impl FnMut() -> bool,
    ) -> bool {
        let started = clock::now();
        while (clock::now() - started) < bound {
            // Not all there are: whoever forks on and on would keep us from anything else.
            for _ in 0..REAPED_AT_ONCE {
                let Some((pid, _)) = exit::next().unwrap() else { break };
                if let Some(tree) = tree.as_deref_mut().filter(|tree| tree.pid() == pid) {
                    tree.main_ended();
                }
                exit::reap(pid).unwrap();
            }
            if done() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    /// Waits until `count` processes are in `tree`.
    fn grows(&mut self, tree: &mut Tree, count: usize) {
        let started = clock::now();
        while tree.look().len() < count {
            assert!((clock::now() - started) < SECONDS, "{:?}", tree.look());
            self.within(Duration::ZERO, None, || true);
            std::thread::yield_now();
        }
    }

    /// Waits until nobody of `scope` is left, doing `meanwhile` to the tree each time.
    fn ends(&mut self, tree: &mut Tree, scope: Scope, meanwhile: impl Fn(&mut Tree)) {
        let started = clock::now();
        loop {
            meanwhile(tree);
            self.within(Duration::from_millis(1), Some(tree), || false);
            if tree.is_empty(scope) {
                return;
            }
            assert!((clock::now() - started) < SECONDS, "{:?}", tree.look());
        }
    }

    fn retire(&mut self, tree: Tree) {
        if let Some(group) = tree.into_group() {
            self.cgroups.retire(group);
        }
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        for stray in strays(&BTreeSet::new()).unwrap_or_default() {
            let _ = stray.signal(Signal::Kill);
        }
    }
}

#[test]
fn a_double_fork_into_another_session_that_is_deaf_does_not_survive() {
    Nursery::each(|nursery| {
        let deaf = "trap '' TERM; sleep 1000; sleep 1000";
        let script = format!("trap '' TERM; (setsid sh -c \"{deaf}\" &); sleep 1000");
        let mut tree = nursery.start("/bin/sh", &script);
        nursery.grows(&mut tree, 4);
        let mut other = nursery.start("/bin/sh", "sleep 1000; :");
        nursery.grows(&mut other, 2);
        tree.ask(Scope::Tree, Signal::Terminate);
        nursery.within(MOMENT, None, || false);
        assert!(!tree.is_empty(Scope::Tree) && !tree.is_empty(Scope::Main), "they are deaf");
        nursery.ends(&mut tree, Scope::Tree, |tree| tree.kill(Scope::Tree));
        assert_eq!(other.look().len(), 2, "the neighbour lives");
        assert!(!other.has(tree.pid()) && other.has(other.pid()));
        nursery.ends(&mut other, Scope::Tree, |tree| tree.ask(Scope::Tree, Signal::Terminate));
        nursery.retire(tree);
        nursery.retire(other);
    });
}

#[test]
fn what_a_crash_leaves_behind_is_known_although_its_parents_are_gone() {
    Nursery::each(|nursery| {
        // One in the session of the run, one with only the token; and one that was seen in time has
        // neither.
        let bare = "(env -i setsid sh -c \"read x < /dev/zero\" & wait) &";
        let script = format!("{bare} sleep 1000 & setsid sleep 1000 & sleep 1000; :");
        let mut tree = nursery.start("/bin/sh", &script);
        nursery.grows(&mut tree, 6);
        let sessions = |tree: &mut Tree| -> BTreeSet<u32> {
            tree.look().iter().map(|kin| kin.session).collect()
        };
        assert!(nursery.within(SECONDS, None, || sessions(&mut tree).len() == 3));
        signal::send(tree.pid(), Signal::Kill).unwrap();
        let pid = tree.pid();
        assert!(nursery.within(SECONDS, Some(&mut tree), || process::kin(pid).is_err()));
        assert!(tree.is_empty(Scope::Main) && !tree.is_empty(Scope::Group));
        assert!(!tree.is_empty(Scope::Tree));
        let before = tree.look().len();
        assert!(before >= 4, "{:?}", tree.look());
        // Its number is nobody's any more, and still its group is reached.
        nursery.ends(&mut tree, Scope::Group, |tree| tree.kill(Scope::Group));
        assert!(tree.look().len() < before && !tree.is_empty(Scope::Tree));
        nursery.ends(&mut tree, Scope::Tree, |tree| tree.kill(Scope::Tree));
        nursery.retire(tree);
    });
}

#[test]
fn a_narrow_scope_spares_what_is_outside() {
    Nursery::each(|nursery| {
        let script = "setsid sleep 1000 & sleep 1000 & sleep 1000; :";
        let mut tree = nursery.start("/bin/sh", script);
        nursery.grows(&mut tree, 4);
        let pid = tree.pid();
        let one_left = || tree.look().iter().any(|kin| kin.group != pid);
        assert!(nursery.within(SECONDS, None, one_left));
        nursery.ends(&mut tree, Scope::Main, |tree| tree.kill(Scope::Main));
        assert_eq!(tree.look().len(), 3);
        nursery.ends(&mut tree, Scope::Group, |tree| tree.ask(Scope::Group, Signal::Terminate));
        assert_eq!(tree.look().len(), 1);
        nursery.ends(&mut tree, Scope::Tree, |tree| tree.kill(Scope::Tree));
        nursery.retire(tree);
    });
}

#[test]
fn who_forks_faster_than_we_look_dies_too() {
    // Sixty at a time, each of which is replaced as soon as it ends; every other one in a session
    // of its own. Should they survive, then not for good.
    const BOMB: &str = "
import os, time
end = time.monotonic() + 300
for number in range(60):
    if os.fork() == 0:
        if number % 2: os.setsid()
        while time.monotonic() < end:
            if os.fork() > 0: os._exit(0)
        os._exit(0)
";
    Nursery::each(|nursery| {
        // Without a control group it is a race, which the sweeps win most of the time, not always.
        if nursery.cgroups.support().tree.is_err() {
            return;
        }
        let mut tree = nursery.start("python3", BOMB);
        nursery.grows(&mut tree, 20);
        nursery.ends(&mut tree, Scope::Tree, |tree| tree.kill(Scope::Tree));
        nursery.retire(tree);
    });
}

#[test]
fn memory_of_all_processes_is_counted_together() {
    Nursery::each(|nursery| {
        let hold = "import os, time; os.fork(); x = bytearray(20 << 20); time.sleep(1000)";
        let mut tree = nursery.start("python3", hold);
        nursery.grows(&mut tree, 2);
        let started = clock::now();
        while tree.resident_bytes() < 40 << 20 {
            assert!((clock::now() - started) < SECONDS, "{}", tree.resident_bytes());
            std::thread::yield_now();
        }
        nursery.ends(&mut tree, Scope::Tree, |tree| tree.kill(Scope::Tree));
        // Not nothing: a control group counts in steps for each core.
        assert!(tree.resident_bytes() < 20 << 20, "{}", tree.resident_bytes());
        nursery.retire(tree);
    });
}

#[test]
fn whoever_got_away_from_all_trees_is_a_stray() {
    Nursery::each(|nursery| {
        let mut tree = nursery.start("/bin/sh", "sleep 1000; :");
        let stray = nursery.start("/bin/sh", "sleep 1000 & :");
        let pid = stray.pid();
        // Forgotten before its orphan was seen.
        assert!(nursery.within(SECONDS, None, || process::kin(pid).is_err()));
        let known = BTreeSet::from([tree.pid()]);
        let mut found: Vec<Known> = Vec::new();
        assert!(nursery.within(SECONDS, None, || {
            found = strays(&known).unwrap();
            found.len() == 1
        }));
        assert!(found[0].signal(Signal::Kill).unwrap());
        nursery.ends(&mut tree, Scope::Tree, |tree| tree.kill(Scope::Tree));
        nursery.retire(tree);
        nursery.retire(stray);
    });
}
