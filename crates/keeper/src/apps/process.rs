//! What there is of one run: its process and all that came of it, where it listens, what it prints.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use evergate_control::link::{self, KillScope, Socket, StopRule};
use evergate_core::supervise::fleet;
use evergate_core::time::Instant;
use evergate_sys::exit::Exit;
use evergate_sys::listen;
use evergate_sys::notify_socket::NotifySocket;
use evergate_sys::process;
use evergate_sys::signal::{self, Signal};

use super::folder::Folder;
use super::output::Pipe;
use super::revision::Revision;
use crate::holder;
use crate::ports::Ports;

/// One run.
#[derive(Debug)]
pub(super) struct Process {
    /// Its first process, until that has exited.
    pid: Option<u32>,
    revision: Rc<Revision>,
    place: Place,
    pub(super) pipe: Option<Pipe>,
    /// Where it says how far it is.
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
    pub(super) fn new(
        pid: u32,
        revision: Rc<Revision>,
        place: Place,
        pipe: Option<Pipe>,
        notify: Option<NotifySocket>,
    ) -> Self {
        Self { pid: Some(pid), revision, place, pipe, notify }
    }

    /// Its first process, until that has exited.
    pub(super) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Where it listens.
    pub(super) fn place(&self) -> link::Place {
        match &self.place {
            Place::Port(port) => link::Place::Port(*port),
            Place::Unix(folder) => link::Place::Unix(folder.socket().to_owned()),
        }
    }

    /// What is to be given back when nothing is left of it.
    pub(super) fn dissolve(self) -> (Place, Option<Pipe>) {
        (self.place, self.pipe)
    }

    /// Takes in that its first process exited, which is not reaped yet.
    pub(super) fn end(&mut self, exit: Exit, rule: StopRule, is_starting: bool) -> End {
        let has_rest = self.has_rest();
        if let Some(pid) = self.pid.take() {
            match rule.kill {
                KillScope::Tree | KillScope::Group => drop(signal::send_group(pid, Signal::Kill)),
                KillScope::Main => {}
            }
        }
        let how = exit.to_string();
        let exit = match exit {
            Exit::Status(status) => fleet::Exit::Status(status),
            Exit::Signal { number, core: _ } => fleet::Exit::Signal(number),
        };
        if is_starting
            && !has_rest
            && let Some(holder) = self.port_holder()
        {
            let how = format!("{how}: {holder}");
            return End { exit: fleet::Exit::Blameless, how, has_rest };
        }
        End { exit, how, has_rest }
    }

    /// Whether processes of it are still there beside the first.
    pub(super) fn has_rest(&self) -> bool {
        false
    }

    /// Whether the process `pid`, which said something, is not known to be another's. One that is
    /// gone by now, as the program that shell scripts use for it always is, cannot be asked.
    pub(super) fn may_be_its(&self, pid: u32) -> bool {
        let session = process::kin(pid).map(|kin| kin.session);
        self.pid == Some(pid) || session.is_err() || session.ok() == self.pid
    }

    /// Resident bytes of all its processes.
    pub(super) fn rss(&self) -> Option<u64> {
        process::own_bytes(self.pid?).ok()
    }

    /// Asks its first process to end.
    pub(super) fn ask(&self, rule: StopRule) {
        let signal = Signal::from_number(rule.signal).unwrap_or(Signal::Terminate);
        if let Some(pid) = self.pid {
            // Gone already is as good; it is not reaped yet, or it would not be here.
            let _ = signal::send(pid, signal);
        }
    }

    /// Asks everything to end that is ended with it.
    pub(super) fn ask_all(&self, rule: StopRule) {
        self.send_all(rule.kill, Signal::Terminate);
    }

    /// Kills everything that is ended with it.
    pub(super) fn kill(&self, rule: StopRule) {
        self.send_all(rule.kill, Signal::Kill);
    }

    /// Kills its first process.
    pub(super) fn kill_main(&self) {
        self.send_all(KillScope::Main, Signal::Kill);
    }

    fn send_all(&self, scope: KillScope, signal: Signal) {
        let Some(pid) = self.pid else { return };
        let _ = match scope {
            KillScope::Main => signal::send(pid, signal),
            KillScope::Tree | KillScope::Group => signal::send_group(pid, signal),
        };
    }

    /// Who listens on its port now that it does not, in words.
    fn port_holder(&self) -> Option<String> {
        let (Place::Port(port), Socket::Port) = (&self.place, self.revision.app.socket) else {
            return None;
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        let is_taken =
            listen::probe(address).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
        is_taken.then(|| {
            let holder = holder::of_port(*port);
            let holder = holder.unwrap_or_else(|| "another program".to_owned());
            format!("{holder} has port {port}, which it was given")
        })
    }
}
