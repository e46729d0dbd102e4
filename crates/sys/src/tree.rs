//! All that came of one child: its process tree, however far its branches got away.
//!
//! A control group knows its processes exactly. Without one they are found by what cannot easily be
//! shaken off: this process adopts orphans ([`crate::exit::adopt_orphans`]), so all of them descend
//! from it; those of one run descend from its main process, are in its session or group, or were
//! started with its token in their environment; and whoever was found once stays found. Only a
//! process that does all of this between two looks goes unnoticed: forget its environment, lead a
//! session of its own, and lose every parent it had in the run.
//!
//! Nothing here waits, and no number is trusted that may be another's by now.

mod carried;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

pub use self::carried::Carried;
use crate::cgroup::Group;
use crate::clock;
use crate::process::{self, Kin, Known};
use crate::signal::{self, Signal};

/// The variable that every process of a run is started with; its value is the run's token.
pub const VARIABLE: &str = "EVERGATE_RUN";
/// Most processes of the machine that are looked at.
const PROCESSES_MAX: usize = 32_768;
/// How often [`Tree::kill`] looks for processes that were not there before.
const SWEEPS_MAX: usize = 32;
/// Longest time for that; who is left then is met by the next call.
const SWEEPING_MAX: Duration = Duration::from_millis(50);
/// After so many sweeps somebody forks faster than we look, and is met by whole process groups.
const SWEEPS_PATIENT: usize = 2;

/// How much of a tree.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Every process of it.
    Tree,
    /// The process group of the main process.
    Group,
    /// The main process.
    Main,
}

/// The processes of one run.
///
/// Make it right after the spawn; call [`Self::main_ended`] after the main process ended and before
/// it is reaped.
#[derive(Debug)]
pub struct Tree {
    main: Known,
    main_is_reaped: bool,
    token: String,
    group: Option<Group>,
    /// Who was in it at the last look, without a group.
    seen: BTreeSet<Known>,
    /// The sessions they were in.
    sessions: BTreeSet<u32>,
}

/// Every process at about one time.
#[derive(Debug, Default)]
struct Census {
    all: Vec<Kin>,
    /// The tokens of our own children, born or adopted, if they have one. Taken down in passing:
    /// some do not live to the end of the count.
    tokens: BTreeMap<Known, Vec<u8>>,
}

impl Census {
    fn take() -> Self {
        let own = std::process::id();
        let mut census = Self::default();
        // One that cannot be taken finds nobody, like on a machine without /proc.
        let _ = process::visit(PROCESSES_MAX, |kin| {
            if kin.parent == own
                && let Ok(Some(token)) = process::variable(kin.known.pid, VARIABLE)
            {
                census.tokens.insert(kin.known, token);
            }
            census.all.push(kin);
        });
        census
    }
}

impl Tree {
    /// The tree of the child `pid`, which was started with `token` as [`VARIABLE`] and in `group`.
    pub fn new(pid: u32, token: String, group: Option<Group>) -> Self {
        // It is not reaped yet, so this is it; without /proc only the main process is known.
        let main = Known::now(pid).unwrap_or(Known { pid, started_ticks: 0 });
        let sessions = BTreeSet::from([pid]);
        Self { main, main_is_reaped: false, token, group, seen: BTreeSet::new(), sessions }
    }

    /// Number of its main process.
    pub fn pid(&self) -> u32 {
        self.main.pid
    }

    /// Takes in that the main process ended, while its number is still its own.
    pub fn main_ended(&mut self) {
        self.look();
        self.main_is_reaped = true;
    }

    /// Asks `scope` to do what `signal` means.
    pub fn ask(&mut self, scope: Scope, signal: Signal) {
        self.send(scope, signal);
    }

    /// Kills `scope`. What it starts meanwhile dies, too, or at the next call: call it again while
    /// [`Self::is_empty`] says no.
    pub fn kill(&mut self, scope: Scope) {
        match (scope, &self.group) {
            (Scope::Tree, Some(group)) => group.kill(),
            (Scope::Tree, None) => self.sweep(SWEEPING_MAX),
            (Scope::Group | Scope::Main, _) => self.send(scope, Signal::Kill),
        }
    }

    /// Whether nobody of `scope` runs any more. Zombies do not count.
    pub fn is_empty(&mut self, scope: Scope) -> bool {
        match (scope, &self.group) {
            (Scope::Main, _) => self.main_is_over(),
            (Scope::Group, _) => self.main_is_over() && self.grouped().is_empty(),
            (Scope::Tree, Some(group)) => group.is_empty(),
            (Scope::Tree, None) => self.look().is_empty(),
        }
    }

    /// Whether the process `pid` is one of it.
    pub fn has(&mut self, pid: u32) -> bool {
        self.look().iter().any(|kin| kin.known.pid == pid)
    }

    /// Memory of all its processes that is their own and in use, in bytes.
    pub fn resident_bytes(&mut self) -> u64 {
        match self.group.as_ref().and_then(Group::resident_bytes) {
            Some(bytes) => bytes,
            None => {
                let members = self.look();
                members.iter().filter_map(|kin| process::own_bytes(kin.known.pid).ok()).sum()
            }
        }
    }

    /// How many of its processes the kernel killed because the run had no memory left; `None` if
    /// nobody counts.
    pub fn oom_kills(&self) -> Option<u64> {
        self.group.as_ref()?.oom_kills()
    }

    /// Its control group, for [`crate::cgroup::Cgroups::retire`].
    pub fn into_group(self) -> Option<Group> {
        self.group
    }

    /// Everybody in it who is not a zombie. Without a control group each look also remembers who
    /// is there: a look now and then finds those who are about to get away.
    pub fn look(&mut self) -> Vec<Kin> {
        if let Some(group) = &self.group {
            let members = group.members().into_iter().filter_map(|pid| process::kin(pid).ok());
            return members.filter(|kin| !kin.is_zombie).collect();
        }
        let members = self.find(&Census::take());
        self.seen = members.iter().map(|kin| kin.known).collect();
        self.sessions = members.iter().map(|kin| kin.session).chain([self.main.pid]).collect();
        members
    }

    /// Who of all processes is in it, zombies left out.
    fn find(&self, census: &Census) -> Vec<Kin> {
        let mut children: BTreeMap<u32, Vec<&Kin>> = BTreeMap::new();
        for kin in &census.all {
            children.entry(kin.parent).or_default().push(kin);
        }
        // A session keeps its number as long as somebody is in it; then the number may become
        // another process's, and that one's session.
        let mut sessions = self.sessions.clone();
        for kin in &census.all {
            if kin.known != self.main && !self.seen.contains(&kin.known) {
                sessions.remove(&kin.known.pid);
            }
        }
        // Whoever descends from us without descending from somebody of the run is our own child, or
        // is about to be: its parent was gone before it could be counted.
        let own = std::process::id();
        let there: BTreeSet<u32> = census.all.iter().map(|kin| kin.known.pid).collect();
        let adopted =
            census.all.iter().filter(|kin| kin.parent == own || !there.contains(&kin.parent));
        let claimed = adopted.filter(|kin| self.claims(kin, census, &sessions));
        let mut left: Vec<&Kin> = claimed.collect();
        let mut members = Vec::new();
        while let Some(kin) = left.pop() {
            left.extend(children.remove(&kin.known.pid).into_iter().flatten());
            if !kin.is_zombie {
                members.push(*kin);
            }
        }
        members
    }

    /// Whether a child of ours, born or adopted, is one of this run.
    fn claims(&self, kin: &Kin, census: &Census, sessions: &BTreeSet<u32>) -> bool {
        if kin.known == self.main || self.seen.contains(&kin.known) {
            return true;
        }
        match census.tokens.get(&kin.known) {
            Some(token) => *token == self.token.as_bytes(),
            None => sessions.contains(&kin.session),
        }
    }

    /// Those in the group of the main process.
    fn grouped(&mut self) -> Vec<Kin> {
        let number = self.main.pid;
        let mut members = self.look();
        members.retain(|kin| kin.group == number);
        members
    }

    fn main_is_over(&self) -> bool {
        let is_over = || process::kin(self.main.pid).is_ok_and(|kin| kin.is_zombie);
        self.main_is_reaped || is_over()
    }

    fn send(&mut self, scope: Scope, signal: Signal) {
        // Whoever is gone already needs no signal, and who may not be signalled stays in sight.
        match scope {
            Scope::Main if self.main_is_reaped => {}
            Scope::Main => drop(signal::send(self.main.pid, signal)),
            // All at once, as long as the number is ours for certain.
            Scope::Group if !self.main_is_reaped => drop(signal::send_group(self.main.pid, signal)),
            Scope::Group => send_each(&self.grouped(), signal),
            Scope::Tree => send_each(&self.look(), signal),
        }
    }

    /// Stops everybody first, so that nobody forks while the others die, and kills them then. Whoever
    /// was found is killed, however long it took to look: on a slow machine one look may be too long.
    fn sweep(&mut self, sweeping_max: Duration) {
        let started = clock::now();
        let mut stopped: BTreeMap<Known, Kin> = BTreeMap::new();
        let mut groups: BTreeSet<u32> = BTreeSet::new();
        for sweep in 0..SWEEPS_MAX {
            let mut new = self.look();
            new.retain(|kin| !stopped.contains_key(&kin.known));
            if new.is_empty() {
                break;
            }
            groups.extend(new.iter().map(|kin| kin.group));
            if sweep < SWEEPS_PATIENT {
                send_each(&new, Signal::Stop);
            } else {
                kill_groups(&groups);
            }
            stopped.extend(new.into_iter().map(|kin| (kin.known, kin)));
            if clock::now() - started >= sweeping_max {
                break;
            }
        }
        send_each(&stopped.into_values().collect::<Vec<_>>(), Signal::Kill);
    }
}

/// Kills process groups in which somebody of a run was seen a moment ago: all at once, so that no
/// fork gets away. A group is part of a session, and a session that somebody of the run is in has
/// nobody else in it.
fn kill_groups(groups: &BTreeSet<u32>) {
    let own = rustix::process::getpgrp().as_raw_nonzero().get().unsigned_abs();
    for &number in groups.iter().filter(|&&number| number != own) {
        let _ = signal::send_group(number, Signal::Kill);
    }
}

fn send_each(members: &[Kin], signal: Signal) {
    for kin in members {
        let _ = kin.known.signal(signal);
    }
}

/// Children of this process, born or adopted, that still run and are not among `known`: whoever got
/// away from the tree it was in.
pub fn strays(known: &BTreeSet<u32>) -> io::Result<Vec<Known>> {
    let own = std::process::id();
    let mut children = process::all(PROCESSES_MAX)?;
    children.retain(|kin| kin.parent == own && !kin.is_zombie && !known.contains(&kin.known.pid));
    Ok(children.into_iter().map(|kin| kin.known).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kin(pid: u32, parent: u32, number: u32) -> Kin {
        let known = Known { pid, started_ticks: u64::from(pid) };
        Kin { known, parent, group: number, session: number, is_zombie: false }
    }

    /// What the numbers of processes are counted from.
    const MAIN: u32 = 3_000_000_000;

    fn tree() -> Tree {
        let main = Known { pid: MAIN, started_ticks: u64::from(MAIN) };
        let token = "1-1-shop.0.1".to_owned();
        let (seen, sessions) = (BTreeSet::new(), BTreeSet::from([MAIN]));
        Tree { main, main_is_reaped: false, token, group: None, seen, sessions }
    }

    fn found(tree: &Tree, all: &[Kin]) -> Vec<u32> {
        let census = Census { all: all.to_vec(), tokens: BTreeMap::new() };
        let members = tree.find(&census);
        let mut numbers: Vec<u32> = members.iter().map(|kin| kin.known.pid - MAIN).collect();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn a_run_has_its_descendants_its_session_and_whom_it_had_before() {
        let us = std::process::id();
        let mut tree = tree();
        let all = [
            kin(1, 0, 1),
            kin(MAIN, us, MAIN),
            kin(MAIN + 1, MAIN, MAIN),
            // A session of its own, below.
            kin(MAIN + 2, MAIN + 1, MAIN + 2),
            // Adopted, in the session of the run.
            kin(MAIN + 3, us, MAIN),
            // Adopted, below it another.
            kin(MAIN + 4, MAIN + 3, MAIN + 4),
            // Another run, and a stranger who happens to be in our session's number.
            kin(MAIN + 5, us, MAIN + 5),
            kin(MAIN + 6, MAIN + 5, MAIN + 5),
            kin(MAIN + 7, 1, MAIN),
            // About to be adopted.
            kin(MAIN + 8, MAIN + 99, MAIN),
        ];
        assert_eq!(found(&tree, &all), [0, 1, 2, 3, 4, 8]);
        tree.seen.insert(all[6].known);
        assert_eq!(found(&tree, &all), [0, 1, 2, 3, 4, 5, 6, 8], "found once, found for good");
    }

    #[test]
    fn a_token_says_more_than_a_session() {
        let us = std::process::id();
        let tree = tree();
        let (away, other) = (kin(MAIN + 1, us, MAIN + 1), kin(MAIN + 2, us, MAIN));
        let tokens = BTreeMap::from([
            (away.known, tree.token.clone().into_bytes()),
            (other.known, b"1-1-shop.0.2".to_vec()),
        ]);
        let members = tree.find(&Census { all: vec![away, other], tokens });
        assert_eq!(members, [away]);
    }

    #[test]
    fn whoever_is_found_is_killed_however_long_the_look_took() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let end = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        let mut tree = Tree::new(child.id(), "1-1-shop.0.1".to_owned(), None);
        tree.sweep(Duration::ZERO);
        let ended = crate::wait::readable(&end, 60_000);
        child.kill().unwrap();
        child.wait().unwrap();
        ended.unwrap();
    }

    #[test]
    fn a_number_that_is_used_again_is_no_relation() {
        let us = std::process::id();
        let mut tree = tree();
        tree.main_is_reaped = true;
        let mut successor = kin(MAIN, us, MAIN);
        successor.known.started_ticks += 1;
        let all = [successor, kin(MAIN + 1, MAIN, MAIN), kin(MAIN + 2, us, MAIN)];
        assert_eq!(found(&tree, &all), [0; 0]);
        let mut zombie = kin(MAIN, us, MAIN);
        zombie.is_zombie = true;
        let all = [zombie, kin(MAIN + 2, us, MAIN)];
        assert_eq!(found(&tree, &all), [2], "a zombie is not one who runs");
    }
}
