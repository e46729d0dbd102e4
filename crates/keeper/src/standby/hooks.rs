//! Programs of the operator that are called when a role changes (`on_change`).
//!
//! Each virtual address has a queue of its own: every change is told to every program of it, one
//! after the other, in order of its number, so what a program does is never overtaken. A change is
//! told at least once: the queue goes along when the keeper becomes another binary, and a program
//! that runs then is still waited for. What a keeper that was killed had not told yet is lost, but not
//! what became of it: the next one begins with `init`, under a number that is greater than all before.
//!
//! A program runs as whoever the worker is, without a way to more rights, and learns what happened
//! from its environment and, as one line of JSON, from its standard input. What it prints goes to
//! where the keeper prints. The loop never waits for one.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use evergate_core::standby::{Note, Severity, Turn};
use evergate_core::time::{Instant, Spoken};
use evergate_sys::child::{self, Spec, Starting};
use evergate_sys::exit::Exit;
use evergate_sys::privilege::{self, User};
use evergate_sys::signal::{self, Signal};
use evergate_sys::{memfd, process};

use crate::{LINK_VARIABLE, files, notify};

mod carried;

pub(crate) use self::carried::Carried;

/// Most changes of one virtual address that wait to be told. Beyond that the oldest one is dropped,
/// and that is told.
const WAITING_MAX: usize = 64;
/// Bits of permissions: that group or others may write.
const WRITTEN_BY_OTHERS: u32 = 0o022;

/// Every queue.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    /// Name of this node.
    node: String,
    queues: BTreeMap<String, Queue>,
    notes: Vec<Note>,
}

/// What is told to the programs of one virtual address.
#[derive(Debug, Default)]
struct Queue {
    /// Programs with their arguments.
    programs: Vec<Vec<String>>,
    /// How long each may take.
    within: Duration,
    waiting: VecDeque<Turn>,
    telling: Option<Telling>,
    /// How many programs failed or took too long.
    failed: u64,
    /// Whether it is configured; one that is not goes once all is told.
    is_wanted: bool,
}

/// A change that is being told.
#[derive(Debug)]
struct Telling {
    turn: Turn,
    /// Programs still to be called, as they were when its turn came.
    ahead: VecDeque<Vec<String>>,
    running: Option<Running>,
}

/// A program that runs.
#[derive(Debug)]
struct Running {
    pid: u32,
    started_ticks: u64,
    program: String,
    kill_at: Instant,
    is_killed: bool,
    /// Nothing in a keeper that has become another binary since.
    starting: Option<Starting>,
}

impl Hooks {
    /// From now on these are called: of each virtual address its name, its programs, and how long
    /// each of them may take. What waits for others is still told to theirs.
    pub(crate) fn apply<'a>(
        &mut self,
        node: &str,
        vips: impl Iterator<Item = (&'a str, &'a [Vec<String>], Duration)>,
    ) {
        node.clone_into(&mut self.node);
        self.queues.values_mut().for_each(|queue| queue.is_wanted = false);
        for (name, programs, within) in vips {
            let queue = self.queues.entry(name.to_owned()).or_default();
            queue.programs = programs.to_vec();
            queue.within = within;
            queue.is_wanted = true;
        }
        self.forget();
    }

    /// A role has changed.
    pub(crate) fn push(&mut self, turn: Turn) {
        let Some(queue) = self.queues.get_mut(&turn.vip) else {
            return;
        };
        if queue.programs.is_empty() {
            return;
        }
        if queue.waiting.len() >= WAITING_MAX
            && let Some(dropped) = queue.waiting.pop_front()
        {
            queue.failed = queue.failed.saturating_add(1);
            let Turn { sequence, vip, .. } = dropped;
            self.notes.push(Note {
                severity: Severity::Warn,
                kind: "hook_dropped",
                subject: format!("vip.{vip}"),
                reason: format!(
                    "change {sequence} is not told to on_change: {WAITING_MAX} later ones wait"
                ),
            });
        }
        queue.waiting.push_back(turn);
    }

    /// Starts what is to be started, as `user` if that is another than we are, and kills what has
    /// had time enough.
    pub(crate) fn act(&mut self, now: Instant, user: Option<&User>) {
        for queue in self.queues.values_mut() {
            queue.cut(now);
            queue.go_on(now, (&self.node, user), &mut self.notes);
        }
        self.forget();
    }

    /// Takes in the exit of a child that is not reaped yet; whether it was one of these.
    pub(crate) fn exited(&mut self, pid: u32, exit: Exit) -> bool {
        self.queues.values_mut().any(|queue| queue.exited(pid, exit, &mut self.notes))
    }

    /// When somebody has had time enough.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let running = self.queues.values().filter_map(Queue::running);
        running.filter(|running| !running.is_killed).map(|running| running.kill_at).min()
    }

    /// How many programs of this virtual address wait or run.
    pub(crate) fn waiting(&self, vip: &str) -> u32 {
        self.queues.get(vip).map_or(0, Queue::count)
    }

    /// How many of its programs failed or took too long.
    pub(crate) fn failed(&self, vip: &str) -> u64 {
        self.queues.get(vip).map_or(0, |queue| queue.failed)
    }

    /// Whether everything was told.
    pub(crate) fn is_idle(&self) -> bool {
        self.queues.values().all(Queue::is_idle)
    }

    /// What happened, for the operator; each is returned once.
    pub(crate) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    fn forget(&mut self) {
        self.queues.retain(|_, queue| queue.is_wanted || !queue.is_idle());
    }
}

impl Queue {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.telling.is_none()
    }

    fn running(&self) -> Option<&Running> {
        self.telling.as_ref()?.running.as_ref()
    }

    fn count(&self) -> u32 {
        let telling = self
            .telling
            .as_ref()
            .map_or(0, |telling| telling.ahead.len() + usize::from(telling.running.is_some()));
        (telling + self.waiting.len() * self.programs.len()) as u32
    }

    fn cut(&mut self, now: Instant) {
        let running = self.telling.as_mut().and_then(|telling| telling.running.as_mut());
        if let Some(running) =
            running.filter(|running| !running.is_killed && running.kill_at <= now)
        {
            running.is_killed = true;
            // Not reaped yet, so the number is its own; gone already is as good.
            let _ = signal::send_group(running.pid, Signal::Kill);
        }
    }

    /// Starts the next program, unless one runs.
    fn go_on(&mut self, now: Instant, of: (&str, Option<&User>), notes: &mut Vec<Note>) {
        while self.running().is_none() {
            let next = self.telling.as_mut().and_then(|telling| telling.ahead.pop_front());
            match (&mut self.telling, next) {
                (Some(telling), Some(program)) => match start(&program, &telling.turn, of) {
                    Ok((starting, started_ticks)) => {
                        telling.running = Some(Running {
                            pid: starting.pid(),
                            started_ticks,
                            program: shown(&program),
                            kill_at: now + self.within,
                            is_killed: false,
                            starting: Some(starting),
                        });
                    }
                    Err(why) => {
                        self.failed = self.failed.saturating_add(1);
                        notes.push(failure(&telling.turn, why));
                    }
                },
                (telling, _) => match self.waiting.pop_front() {
                    Some(turn) => {
                        let ahead = self.programs.iter().cloned().collect();
                        *telling = Some(Telling { turn, ahead, running: None });
                    }
                    None => {
                        *telling = None;
                        return;
                    }
                },
            }
        }
    }

    fn exited(&mut self, pid: u32, exit: Exit, notes: &mut Vec<Note>) -> bool {
        let Some(telling) = &mut self.telling else {
            return false;
        };
        let Some(running) = telling.running.take_if(|running| running.pid == pid) else {
            return false;
        };
        let Running { program, is_killed, starting, .. } = running;
        let fault = starting.and_then(Starting::into_fault);
        let note = match (fault, exit) {
            (Some(fault), _) => failure(&telling.turn, fault.to_string()),
            (None, Exit::Status(0)) => done(&telling.turn, &program),
            (None, _) if is_killed => {
                let why =
                    format!("{program} was killed: it took longer than {}", Spoken(self.within));
                failure(&telling.turn, why)
            }
            (None, exit) => failure(&telling.turn, format!("{program} ended: {exit}")),
        };
        if note.severity != Severity::Info {
            self.failed = self.failed.saturating_add(1);
        }
        notes.push(note);
        true
    }
}

fn failure(turn: &Turn, why: String) -> Note {
    Note {
        severity: Severity::Warn,
        kind: "hook_failed",
        subject: format!("vip.{}", turn.vip),
        reason: format!("change {} to {}: {why}", turn.sequence, turn.role.word()),
    }
}

fn done(turn: &Turn, program: &str) -> Note {
    Note {
        severity: Severity::Info,
        kind: "hook_done",
        subject: format!("vip.{}", turn.vip),
        reason: format!(
            "change {} to {}: {program} ended: exit status 0",
            turn.sequence,
            turn.role.word()
        ),
    }
}

/// The program without its arguments: those may be secrets.
fn shown(program: &[String]) -> String {
    program.first().cloned().unwrap_or_default()
}

/// Starts a program; returns it and when it started. The loop does not wait for its exec.
fn start(
    program: &[String],
    turn: &Turn,
    (node, user): (&str, Option<&User>),
) -> Result<(Starting, u64), String> {
    let Some((path, args)) = program.split_first() else {
        return Err("no program is given".to_owned());
    };
    refuse_changeable(path)?;
    let unprepared = |error: io::Error| format!("cannot prepare {path}: {error}");
    let told = memfd::seal("evergate-turn", json(turn, node).as_bytes()).map_err(unprepared)?;
    let stderr = io::stderr();
    let starting = child::start(&Spec {
        program: path.into(),
        args: args.iter().map(Into::into).collect(),
        env: environment(turn, node),
        stdin: Some(told.as_fd()),
        stdout: Some(stderr.as_fd()),
        user: user.cloned(),
        no_new_privileges: true,
        ..Spec::default()
    });
    let starting = starting.map_err(|error| error.to_string())?;
    // It is not reaped yet, so this is it.
    let started = process::Known::now(starting.pid()).map_or(0, |known| known.started_ticks);
    Ok((starting, started))
}

/// Whether nobody but root and we can change the program at `path` or put another in its place: else
/// whoever can would decide what runs each time a role changes. An error names what they can change.
pub(crate) fn refuse_changeable(path: &str) -> Result<(), String> {
    let refused = |why: String| format!("{path} is not run: {why}");
    if !path.starts_with('/') {
        return Err(refused("its path is not absolute".to_owned()));
    }
    let found = files::trusted(path).map_err(refused)?;
    let file = rustix::fs::stat(&found).map_err(|error| refused(error.to_string()))?;
    let shown = Path::new(&found).display();
    if ![0, privilege::current_uid()].contains(&file.st_uid) {
        let why = format!("{shown} belongs to another user than root; `chown root {shown}`");
        return Err(refused(why));
    }
    if file.st_mode & WRITTEN_BY_OTHERS != 0 {
        let why = format!("others than root can write to {shown}; `chmod go-w {shown}`");
        return Err(refused(why));
    }
    Ok(())
}

fn environment(turn: &Turn, node: &str) -> Vec<(OsString, Option<OsString>)> {
    let withheld = notify::variables().chain([LINK_VARIABLE]).map(|name| (name.into(), None));
    let set = |name: &str, value: String| (OsString::from(name), Some(OsString::from(value)));
    let told = [
        set("EVERGATE_NODE", node.to_owned()),
        set("EVERGATE_VIP", turn.vip.clone()),
        set("EVERGATE_ROLE", turn.role.word().to_owned()),
        set("EVERGATE_BEFORE", turn.before.word().to_owned()),
        set("EVERGATE_EPOCH", turn.epoch.to_string()),
        set("EVERGATE_SEQUENCE", turn.sequence.to_string()),
        // A variable ends where a NUL byte is.
        set("EVERGATE_REASON", turn.reason.replace('\0', " ")),
    ];
    withheld.chain(told).collect()
}

/// What happened, as one line.
fn json(turn: &Turn, node: &str) -> String {
    let Turn { sequence, vip, role, before, epoch, reason } = turn;
    let (node, vip, reason) = (quoted(node), quoted(vip), quoted(reason));
    let (role, before) = (role.word(), before.word());
    format!(
        "{{\"node\":{node},\"vip\":{vip},\"role\":\"{role}\",\"before\":\"{before}\",\
         \"epoch\":{epoch},\"sequence\":{sequence},\"reason\":{reason}}}\n"
    )
}

/// A string of RFC 8259 section 7.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            control if control < ' ' => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
