//! What there is of one run: its process and all that came of it, where it listens, what it prints.

mod carried;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use evergate_control::link::{self, KillScope, Socket, StopRule};
use evergate_core::supervise::fleet;
use evergate_core::time::Instant;
use evergate_sys::cgroup::Group;
use evergate_sys::exit::Exit;
use evergate_sys::listen;
use evergate_sys::notify_socket::NotifySocket;
use evergate_sys::process;
use evergate_sys::signal::Signal;
use evergate_sys::tree::{Scope, Tree};

pub(super) use self::carried::CarriedProcess;
use super::folder::Folder;
use super::output::Pipe;
use super::revision::Revision;
use crate::holder;
use crate::ports::Ports;

/// What the kernel kills with.
const SIGKILL: i32 = 9;

/// One run.
#[derive(Debug)]
pub(super) struct Process {
    /// Its first process has exited.
    is_over: bool,
    is_killed: bool,
    tree: Tree,
    revision: Rc<Revision>,
    place: Place,
    pub(super) talk: Talk,
}

/// What a run can say.
#[derive(Debug)]
pub(super) struct Talk {
    /// What it prints.
    pub(super) pipe: Option<Pipe>,
    /// How far it is.
    pub(super) notify: Option<NotifySocket>,
}

/// Where a run listens.
#[derive(Debug)]
pub(super) enum Place {
    /// On `127.0.0.1` and this port.
    Port(u16),
    /// On the socket in this directory.
    Unix(Folder),
}

/// Under which its first process exited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// It was not ready yet.
    pub(super) is_starting: bool,
    /// The kernel has killed somebody because memory ran out.
    pub(super) machine_kills: bool,
}

/// How the first process of a run ended.
#[derive(Debug)]
pub(super) struct End {
    /// As far as it matters.
    pub(super) exit: fleet::Exit,
    /// For people.
    pub(super) how: String,
    /// Whether other processes of the run are still there.
    pub(super) has_rest: bool,
}

impl Place {
    /// Gives it back.
    pub(super) fn leave(self, now: Instant, ports: &mut Ports) {
        match self {
            Self::Port(port) => ports.release(port, now),
            Self::Unix(folder) => drop(folder),
        }
    }
}

impl Process {
    /// A run whose first process has just started.
    pub(super) fn new(tree: Tree, revision: Rc<Revision>, place: Place, talk: Talk) -> Self {
        Self { is_over: false, is_killed: false, tree, revision, place, talk }
    }

    /// Its first process, until that has exited.
    pub(super) fn pid(&self) -> Option<u32> {
        (!self.is_over).then(|| self.tree.pid())
    }

    /// Where it listens.
    pub(super) fn place(&self) -> link::Place {
        match &self.place {
            Place::Port(port) => link::Place::Port(*port),
            Place::Unix(folder) => link::Place::Unix(folder.socket().to_owned()),
        }
    }

    /// What is to be given back when nothing is left of it.
    pub(super) fn dissolve(self) -> (Place, Option<Pipe>, Option<Group>) {
        (self.place, self.talk.pipe, self.tree.into_group())
    }

    /// Takes in that its first process exited, which is not reaped yet.
    pub(super) fn end(&mut self, exit: Exit, rule: StopRule, around: Circumstances) -> End {
        self.tree.main_ended();
        self.is_over = true;
        let has_rest = self.has_rest(rule);
        if let Some(end) = self.starved(exit, has_rest, around.machine_kills) {
            return end;
        }
        let mut how = exit.to_string();
        // Its own child may be what listens there.
        if around.is_starting
            && !has_rest
            && let Some(holder) = self.port_holder()
        {
            how.push_str(&format!(": {holder}"));
            return End { exit: fleet::Exit::Blameless, how, has_rest };
        }
        let exit = match exit {
            Exit::Status(status) => fleet::Exit::Status(status),
            Exit::Signal { number, core: _ } => fleet::Exit::Signal(number),
        };
        End { exit, how, has_rest }
    }

    /// Whether of what is to end with it somebody runs beside the first process.
    pub(super) fn has_rest(&mut self, rule: StopRule) -> bool {
        match rule.kill {
            KillScope::Main => false,
            KillScope::Tree | KillScope::Group => !self.tree.is_empty(scope(rule)),
        }
    }

    /// Whether the process `pid`, which said something, is not known to be another's. One that is
    /// gone by now, as the program that shell scripts use for it always is, cannot be asked.
    pub(super) fn may_be_its(&mut self, pid: u32) -> bool {
        self.tree.has(pid) || process::kin(pid).is_err()
    }

    /// Resident bytes of all its processes.
    pub(super) fn rss(&mut self) -> u64 {
        self.tree.resident_bytes()
    }

    /// Asks its first process to end.
    pub(super) fn ask(&mut self, rule: StopRule) {
        let signal = Signal::from_number(rule.signal).unwrap_or(Signal::Terminate);
        self.tree.ask(Scope::Main, signal);
    }

    /// Asks everything to end that is to end with it.
    pub(super) fn ask_all(&mut self, rule: StopRule) {
        self.tree.ask(scope(rule), Signal::Terminate);
    }

    /// Kills everything that is to end with it.
    pub(super) fn kill(&mut self, rule: StopRule) {
        self.is_killed = true;
        self.tree.kill(scope(rule));
    }

    /// Kills again whoever was not there the first time.
    pub(super) fn kill_again(&mut self, rule: StopRule) {
        if self.is_killed {
            self.tree.kill(scope(rule));
        }
    }

    /// Kills its first process.
    pub(super) fn kill_main(&mut self) {
        self.tree.kill(Scope::Main);
    }

    /// How it ended if the kernel killed it for want of memory.
    fn starved(&self, exit: Exit, has_rest: bool, machine_kills: bool) -> Option<End> {
        let is_killed = matches!(exit, Exit::Signal { number: SIGKILL, .. });
        // Where nobody counts for the run alone, the machine's count has to do.
        let (kills, limit) = match self.tree.oom_kills() {
            Some(kills) => (kills, self.revision.app.limits.memory),
            None => (u64::from(machine_kills && is_killed), None),
        };
        if kills == 0 {
            return None;
        }
        let what = match limit {
            Some(bytes) => format!("out of memory (limit {} MiB)", bytes >> 20),
            None => "the machine was out of memory".to_owned(),
        };
        let end = match (exit, limit) {
            (Exit::Signal { number: SIGKILL, .. }, Some(_)) => fleet::Exit::OutOfMemory,
            (Exit::Signal { number: SIGKILL, .. }, None) => fleet::Exit::Blameless,
            (Exit::Status(status), _) => fleet::Exit::Status(status),
            (Exit::Signal { number, .. }, _) => fleet::Exit::Signal(number),
        };
        let how = match exit {
            Exit::Signal { number: SIGKILL, .. } => format!("killed: {what}"),
            Exit::Status(_) | Exit::Signal { .. } => {
                format!("{exit}; {kills} of its processes had been killed: {what}")
            }
        };
        Some(End { exit: end, how, has_rest })
    }

    /// Who listens on its port now that it does not, in words.
    fn port_holder(&self) -> Option<String> {
        let (Place::Port(port), Socket::Port) = (&self.place, self.revision.app.socket) else {
            return None;
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        let probed = listen::probe(address);
        let is_taken = probed.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
        is_taken.then(|| {
            let holder = holder::of_port(*port);
            let holder = holder.unwrap_or_else(|| "another program".to_owned());
            format!("{holder} has port {port}, which it was given")
        })
    }
}

fn scope(rule: StopRule) -> Scope {
    match rule.kill {
        KillScope::Tree => Scope::Tree,
        KillScope::Group => Scope::Group,
        KillScope::Main => Scope::Main,
    }
}
