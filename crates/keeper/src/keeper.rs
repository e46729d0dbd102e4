//! The loop: wait, hear, do, tell.
//!
//! It waits for three descriptors: the link, the signals, and all that apps say. SIGCHLD tells of every child, the
//! adopted orphans too, as fast as a descriptor for each would, and on kernels that have none
//! (before 5.3).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use evergate_control::link::{
    Desired, KEPT_MAX, Listener, Outcome as Bind, PROTOCOL, ToKeeper, ToWorker,
};
use evergate_core::rng::Rng;
use evergate_core::supervise::worker::{End, Fate, Input, Output};
use evergate_core::time::Instant;
use evergate_sys::exit::{self, Exit};
use evergate_sys::privilege::{self, User};
use evergate_sys::process as usage;
use evergate_sys::signal::{self, Signal, Signals};
use evergate_sys::{clock, code, random, rlimit};
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::apps::Apps;
use crate::files::Readable;
use crate::link::Broken;
use crate::notify::Notify;
use crate::process::{self, Worker};
use crate::sockets::Sockets;
use crate::{Error, HOPELESS_STATUS, Options, Outcome, print, report};

/// Messages read from the worker before the rest of the loop has its turn.
const MESSAGES_PER_TURN: usize = 64;
/// Exits taken in before the rest of the loop has its turn: an app may fork faster than its orphans
/// are reaped, and is to be killed all the same.
const EXITS_PER_TURN: usize = 1024;
/// Signals taken in before the rest of the loop has its turn.
const SIGNALS_PER_TURN: usize = 16;
/// Names of what is waited for.
const SIGNALS: EventData = EventData::new_u64(0);
const LINK: EventData = EventData::new_u64(1);
const APPS: EventData = EventData::new_u64(2);

/// Everything that outlives a worker.
#[derive(Debug)]
pub(crate) struct Keeper {
    options: Options,
    events: OwnedFd,
    signals: Signals,
    notify: Notify,
    sockets: Sockets,
    apps: Apps,
    worker: Worker,
    /// What a worker had kept for the next, by name.
    kept: BTreeMap<String, Rc<OwnedFd>>,
    readable: Readable,
    stopping: Stopping,
    /// Whether any worker has been ready.
    is_settled: bool,
    /// Whether children may have exited that were not taken in.
    has_exits: bool,
    end: Option<End>,
}

/// How urgently the operator wants an end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stopping {
    No,
    Asked,
    InAHurry,
}

impl Keeper {
    pub(crate) fn new(options: Options) -> Result<Self, Error> {
        let caught = [Signal::Child, Signal::Hangup, Signal::Interrupt, Signal::Terminate];
        let signals = Signals::block(&caught).map_err(Error::Signals)?;
        exit::adopt_orphans().map_err(Error::Children)?;
        let files_before = match rlimit::raise_files() {
            Ok(files) => files.before,
            Err(error) => {
                report(format_args!("cannot raise the limit on open files: {error}"));
                1024
            }
        };
        let events =
            epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| Error::Events(e.into()))?;
        epoll::add(&events, &signals, SIGNALS, EventFlags::IN)
            .map_err(|error| Error::Events(error.into()))?;
        let apps = Apps::new(Rng::seeded(random::seed()), files_before).map_err(Error::Events)?;
        epoll::add(&events, &apps, APPS, EventFlags::IN)
            .map_err(|error| Error::Events(error.into()))?;
        Ok(Self {
            events,
            signals,
            notify: Notify::from_env(),
            is_settled: false,
            has_exits: false,
            sockets: Sockets::default(),
            apps,
            worker: Worker::new(options.worker_policy, clock::unix_seconds()),
            kept: BTreeMap::new(),
            stopping: Stopping::No,
            end: None,
            readable: Readable::new(options.config_dir.clone()),
            options,
        })
    }

    pub(crate) fn run(mut self) -> Result<Outcome, Error> {
        self.feed(clock::now(), Input::Start);
        loop {
            if let Some(end) = self.end
                && self.apps.is_empty()
            {
                self.sockets.close_all();
                self.apps.close();
                return Ok(match end {
                    End::Stopped => Outcome::Stopped,
                    End::Hopeless => Outcome::Hopeless,
                });
            }
            let has_notices = self.wait()?;
            let now = clock::now();
            self.read_link(now, MESSAGES_PER_TURN);
            if has_notices {
                self.apps.hear_notices(now);
            }
            self.handle_signals(now)?;
            self.tick(now);
            self.act(now);
        }
    }

    /// Waits for something to do; whether runs have said something. The others are looked at in
    /// every turn.
    fn wait(&self) -> Result<bool, Error> {
        let failed = |error: rustix::io::Errno| Error::Events(io::Error::from(error));
        if let Some(link) = &self.worker.link {
            let mut interest = EventFlags::IN;
            interest.set(EventFlags::OUT, link.is_waiting());
            epoll::modify(&self.events, link, LINK, interest).map_err(failed)?;
        }
        let deadlines = [self.worker.machine.deadline(), self.apps.deadline()];
        let timeout = deadlines.into_iter().flatten().min().map(|at| {
            let left = at - clock::now();
            left.try_into().expect("deadlines are less than a lifetime away")
        });
        let timeout = if self.has_exits { Some(Timespec::default()) } else { timeout };
        let mut fired: Vec<epoll::Event> = Vec::with_capacity(3);
        match epoll::wait(
            &self.events,
            rustix::buffer::spare_capacity(&mut fired),
            timeout.as_ref(),
        ) {
            Ok(_) => Ok(fired.iter().any(|event| ({ event.data }) == APPS)),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// Takes in up to `messages_max` messages of the worker.
    fn read_link(&mut self, now: Instant, messages_max: usize) {
        for _ in 0..messages_max {
            let Some(link) = &mut self.worker.link else {
                return;
            };
            link.flush();
            match link.receive() {
                Ok(None) => return,
                Ok(Some((message, fds))) => self.hear(now, message, fds),
                Err(broken) => self.break_link(now, broken),
            }
        }
    }

    fn hear(&mut self, now: Instant, message: ToKeeper, mut fds: Vec<OwnedFd>) {
        match message {
            ToKeeper::Hello { protocol: PROTOCOL, version: _ } => self.apps.greet(),
            ToKeeper::Hello { protocol, version } => {
                report(format_args!(
                    "the worker (version {version}) speaks protocol {protocol}, not {PROTOCOL}"
                ));
                self.break_link(now, Broken::Nonsense);
            }
            ToKeeper::Desired(desired) => self.make(now, desired),
            ToKeeper::Ready => {
                self.feed(now, Input::Ready);
                self.apps.serve(now);
                self.notify.send("READY=1");
                if !std::mem::replace(&mut self.is_settled, true) {
                    // The start is over; where it cannot be given back it is only memory.
                    let _ = code::release();
                }
            }
            ToKeeper::Keep { name } => match fds.pop() {
                Some(file) if self.kept.len() < KEPT_MAX || self.kept.contains_key(&name) => {
                    self.kept.insert(name, Rc::new(file));
                }
                Some(_) | None => self.break_link(now, Broken::Nonsense),
            },
            ToKeeper::Open { request, path } => {
                let (error, fds) = match self.readable.open(&path) {
                    Ok(file) => (None, vec![Rc::new(file)]),
                    Err(sentence) => (Some(sentence), vec![]),
                };
                self.send(now, &ToWorker::Opened { request, error }, fds);
            }
            ToKeeper::Named { paths, users } => {
                if self.worker_has_our_rights() {
                    self.readable.name(paths);
                    self.apps.users().name(users);
                }
                self.send(now, &ToWorker::Noted, vec![]);
            }
            ToKeeper::Hopeless { message } => {
                if self.stopping == Stopping::No {
                    print(format_args!("{}", message.trim_end()));
                }
                self.feed(now, Input::Hopeless);
            }
            // No request needs an app any more. The worker stays for what they print at the end.
            ToKeeper::Drained => {
                if self.stopping != Stopping::No {
                    self.apps.end_drained(now);
                }
            }
            ToKeeper::Upgrade { request, order: _ } => {
                let error = Some("this keeper cannot be replaced while it runs".to_owned());
                self.send(now, &ToWorker::Heard { request, error, plan: vec![] }, vec![]);
            }
            // There is one worker, and nothing is handed over.
            ToKeeper::Activated
            | ToKeeper::Released
            | ToKeeper::Acquired
            | ToKeeper::Served { .. }
            | ToKeeper::Shared
            | ToKeeper::Reloaded { .. }
            | ToKeeper::Pong { .. } => {}
            ToKeeper::Probed { .. }
            | ToKeeper::Idle { .. }
            | ToKeeper::Sampled { .. }
            | ToKeeper::Wish { .. }
            | ToKeeper::Kill { .. } => self.apps.hear(now, message),
        }
    }

    fn make(&mut self, now: Instant, desired: Desired) {
        let wanted = desired.listeners.clone();
        // Once all is to end, a worker that does not know yet must not begin anything.
        let answers = if self.stopping == Stopping::No {
            // Listeners first, or an app might get the port of one.
            let answers = self.sockets.apply(&desired.listeners);
            match self.user_of_apps() {
                Ok(user) => {
                    self.apps.users().set_worker(user);
                    self.apps.apply(now, desired);
                }
                // Then it has ended, and the next one says the same.
                Err(error) => report(format_args!("cannot tell who the worker is: {error}")),
            }
            answers
        } else {
            let refused = || (Bind::Failed("the node is stopping".to_owned()), vec![]);
            desired.listeners.iter().map(|_| refused()).collect()
        };
        for (Listener { name: listener, address, .. }, (outcome, fds)) in
            wanted.into_iter().zip(answers)
        {
            self.send(now, &ToWorker::Listening { listener, address, outcome }, fds);
        }
        self.act(now);
        self.send(now, &ToWorker::Settled, vec![]);
    }

    /// Who apps are when we are root: whoever the worker became. It says what to run, so what it
    /// runs must not gain rights that it gave away.
    fn user_of_apps(&self) -> io::Result<Option<User>> {
        match self.worker.pid {
            Some(pid) if privilege::is_root() => usage::user(pid).map(Some),
            Some(_) | None => Ok(None),
        }
    }

    /// Whether the worker still may what we may: then it has not yet heard anybody from the
    /// network. Once it has given its rights away it cannot get them back.
    fn worker_has_our_rights(&self) -> bool {
        let user = self.worker.pid.and_then(|pid| usage::user(pid).ok());
        user.is_some_and(|user| user.uid == rustix::process::geteuid().as_raw())
    }

    fn handle_signals(&mut self, now: Instant) -> Result<(), Error> {
        for _ in 0..SIGNALS_PER_TURN {
            let Some(signal) = self.signals.next().map_err(Error::Signals)? else { break };
            match signal {
                Signal::Child => self.has_exits = true,
                Signal::Hangup => self.send(now, &ToWorker::Reload, vec![]),
                Signal::Interrupt | Signal::Terminate => self.stop(now),
                Signal::Quit
                | Signal::Kill
                | Signal::User1
                | Signal::User2
                | Signal::Continue
                | Signal::Stop
                | Signal::Window => {
                    unreachable!("not among those that were blocked")
                }
            }
        }
        if self.has_exits { self.handle_exits(now) } else { Ok(()) }
    }

    /// Takes in exits. Each child keeps its number until all that depends on it is done.
    fn handle_exits(&mut self, now: Instant) -> Result<(), Error> {
        let mut has_exited = false;
        for _ in 0..EXITS_PER_TURN {
            let Some((pid, exit)) = exit::next().map_err(Error::Children)? else {
                self.has_exits = false;
                break;
            };
            if self.worker.pid == Some(pid) {
                // What it said last explains its exit.
                self.read_link(now, usize::MAX);
                let _ = signal::send_group(pid, Signal::Kill);
                exit::reap(pid).map_err(Error::Children)?;
                self.handle_worker_exit(now, pid, exit);
            } else {
                // One of the apps, or an orphan that was adopted only to be reaped.
                self.apps.exited(now, pid, exit);
                exit::reap(pid).map_err(Error::Children)?;
                has_exited = true;
            }
        }
        if has_exited {
            self.apps.sweep(now);
        }
        Ok(())
    }

    fn handle_worker_exit(&mut self, now: Instant, pid: u32, exit: Exit) {
        self.close_link();
        self.apps.leave(now);
        self.worker.pid = None;
        let fate = match exit {
            Exit::Status(HOPELESS_STATUS) => Fate::Hopeless,
            Exit::Status(_) | Exit::Signal { .. } => Fate::Crashed,
        };
        // One without hope has said why.
        if self.stopping == Stopping::No && fate == Fate::Crashed {
            report(format_args!("the worker (process {pid}) ended: {exit}"));
        }
        self.feed(now, Input::Exited(fate));
    }

    fn stop(&mut self, now: Instant) {
        self.notify.send("STOPPING=1");
        let (next, input) = match self.stopping {
            Stopping::No => (Stopping::Asked, Input::Stop),
            Stopping::Asked | Stopping::InAHurry => (Stopping::InAHurry, Input::Hurry),
        };
        self.stopping = next;
        self.apps.refuse_wishes();
        self.feed(now, input);
        if next == Stopping::InAHurry && self.end.is_some() {
            self.apps.hurry(now);
        }
    }

    fn tick(&mut self, now: Instant) {
        if self.worker.machine.deadline().is_some_and(|at| at <= now) {
            self.feed(now, Input::Tick);
        }
        self.apps.tick(now);
    }

    /// Tells the worker what happened to apps, does what is to be done about it, and tells what
    /// came of that. In this order: a crash must be known before its replacement is started.
    fn act(&mut self, now: Instant) {
        self.tell(now);
        self.apps.act(now);
        self.tell(now);
    }

    fn tell(&mut self, now: Instant) {
        for (message, fds) in self.apps.take_messages(now) {
            self.send(now, &message, fds);
        }
    }

    fn send(&mut self, now: Instant, message: &ToWorker, fds: Vec<Rc<OwnedFd>>) {
        // Without a worker nobody listens; the next one will ask.
        let sent = self.worker.link.as_mut().map(|link| link.send(message, fds));
        if let Some(Err(broken)) = sent {
            self.break_link(now, broken);
        }
    }

    fn break_link(&mut self, now: Instant, broken: Broken) {
        self.close_link();
        self.apps.leave(now);
        let input = match broken {
            Broken::Closed => Input::Deaf,
            Broken::Full | Broken::Nonsense => Input::Hung,
        };
        self.feed(now, input);
    }

    fn close_link(&mut self) {
        if let Some(link) = self.worker.link.take() {
            let _ = epoll::delete(&self.events, link.as_fd());
        }
    }

    /// Tells the worker's machine what happened and does what follows.
    fn feed(&mut self, now: Instant, input: Input) {
        let mut output = self.worker.machine.handle(now, input);
        while let Some(todo) = output.take() {
            match todo {
                Output::Spawn => {
                    if let Err(sentence) = self.spawn_worker() {
                        report(format_args!("cannot start the worker: {sentence}"));
                        output = self.worker.machine.handle(now, Input::Exited(Fate::Hopeless));
                    }
                }
                Output::AskToStop => {
                    // The worker serves who has come so far. Who comes now had better be refused
                    // at once than wait for somebody who will not come.
                    self.sockets.close_all();
                    let grace_ms = self.options.worker_policy.grace.as_millis() as u32;
                    self.send(now, &ToWorker::Stop { grace_ms }, vec![]);
                }
                Output::Kill(reason) => {
                    let pid = self.worker.pid.expect("only a worker with a process is killed");
                    if let Some(why) = process::explain(reason, &self.options.worker_policy) {
                        report(format_args!("killing the worker (process {pid}): it {why}"));
                    }
                    let _ = signal::send_group(pid, Signal::Kill);
                }
                Output::End(end) => {
                    self.end = Some(end);
                    self.apps.end(now);
                    if self.stopping == Stopping::InAHurry {
                        self.apps.hurry(now);
                    }
                }
            }
        }
    }

    fn spawn_worker(&mut self) -> Result<(), String> {
        // Each worker names for itself.
        self.readable.forget_named();
        self.apps.users().expect_names();
        self.worker.spawn(&self.options, &self.kept)?;
        let link = self.worker.link.as_ref().expect("a new worker has a link");
        epoll::add(&self.events, link, LINK, EventFlags::IN).map_err(|error| error.to_string())
    }
}
