//! The loop: wait, hear, do, tell.
//!
//! It waits for the links of the workers, the signals, all that apps say, and what is asked aside
//! during an upgrade. SIGCHLD tells of every
//! child, the adopted orphans too, as fast as a descriptor for each would, and on kernels that have
//! none (before 5.3).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use evergate_control::link::{NodeNews, ToWorker};
use evergate_core::rng::Rng;
use evergate_core::supervise::worker::{End, Input};
use evergate_core::time::Instant;
use evergate_core::trial::Trial;
use evergate_sys::exit;
use evergate_sys::signal::{Signal, Signals};
use evergate_sys::timer::Timer;
use evergate_sys::{clock, random, rlimit};
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::apps::Apps;
use crate::binary::Binary;
use crate::carried::Failed;
use crate::notify::Notify;
use crate::sockets::Sockets;
use crate::standby::Standby;
use crate::upgrades::Upgrades;
use crate::workers::{Kept, Worker, Workers};
use crate::{Error, Options, Outcome, report};

mod execute;
mod exits;
mod messages;
mod moment;
mod order;
mod primary;
mod reload;
mod standby;
mod stop;
mod trial;
mod upgrade;
mod watchdog;

use self::moment::Waiting;
pub(crate) use self::reload::Reload;
use self::upgrade::Due;
use self::watchdog::Watchdog;

/// Messages read from a worker before the rest of the loop has its turn.
const MESSAGES_PER_TURN: usize = 64;
/// Signals taken in before the rest of the loop has its turn.
const SIGNALS_PER_TURN: usize = 16;
/// Names of what is waited for.
const SIGNALS: EventData = EventData::new_u64(0);
const LINK: EventData = EventData::new_u64(1);
const APPS: EventData = EventData::new_u64(2);
const ASIDE: EventData = EventData::new_u64(3);
const STANDBY: EventData = EventData::new_u64(4);
const TIMER: EventData = EventData::new_u64(5);
/// Events taken in at once; the others come in the next turn.
const EVENTS_PER_TURN: usize = 16;

/// Everything that outlives a worker.
#[derive(Debug)]
pub(crate) struct Keeper {
    options: Options,
    events: OwnedFd,
    /// For the earliest of all deadlines.
    timer: Timer,
    signals: Signals,
    notify: Notify,
    sockets: Sockets,
    apps: Apps,
    workers: Workers,
    /// What a worker had kept for the next.
    kept: Kept,
    stopping: Stopping,
    /// Whether any worker has been ready.
    is_settled: bool,
    /// Whether children may have exited that were not taken in.
    has_exits: bool,
    end: Option<End>,
    upgrades: Upgrades,
    reload: Option<Reload>,
    watchdog: Option<Watchdog>,
    /// While virtual addresses are given up, before everything else ends: how long that may take.
    giving_up_until: Option<Instant>,
    /// When the service manager is to be told again that the end takes longer.
    extend_at: Option<Instant>,
    /// What workers were told last of keeper and workers.
    told: NodeNews,
    /// How often the keeper became another binary.
    execs: u32,
    /// Which binary it failed to become.
    failed: Option<Failed>,
    /// What of an upgrade is to be done once all else is.
    due: Option<Due>,
    /// Whether virtual addresses were told that no worker can be brought back; nothing if this image
    /// has told them nothing yet.
    is_helpless: Option<bool>,
    /// For the moment to become another binary.
    waiting: Option<Waiting>,
    standby: Standby,
    /// Whether the configuration in force is on trial.
    trial: Trial,
}

/// What every image of a keeper makes anew.
struct Bare {
    events: OwnedFd,
    timer: Timer,
    signals: Signals,
    files_before: u64,
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
        let Bare { events, timer, signals, files_before } = Bare::new()?;
        let binary = Binary::open(&options.program)
            .map_err(|error| Error::Program(options.program.clone(), error))?;
        let apps = Apps::new(Rng::seeded(random::seed()), files_before).map_err(Error::Events)?;
        epoll::add(&events, &apps, APPS, EventFlags::IN)
            .map_err(|error| Error::Events(error.into()))?;
        let started_at = clock::unix_seconds();
        let notify = Notify::from_env();
        Ok(Self {
            events,
            timer,
            signals,
            upgrades: Upgrades::default(),
            reload: None,
            watchdog: notify.watchdog().map(|within| Watchdog::new(within, clock::now())),
            giving_up_until: None,
            extend_at: None,
            notify,
            is_settled: false,
            has_exits: false,
            sockets: Sockets::default(),
            apps,
            workers: Workers::new(options.worker_policy, Rc::new(binary), started_at),
            kept: Kept::new(),
            stopping: Stopping::No,
            end: None,
            told: NodeNews::default(),
            execs: 0,
            failed: None,
            due: None,
            is_helpless: None,
            waiting: None,
            standby: Standby::default(),
            trial: Trial::default(),
            options,
        })
    }

    /// Runs from the beginning.
    pub(crate) fn run(mut self) -> Result<Outcome, Error> {
        self.feed(clock::now(), Input::Start);
        self.go()
    }

    /// Runs from wherever it is.
    pub(crate) fn go(mut self) -> Result<Outcome, Error> {
        loop {
            if let Some(end) = self.end
                && self.apps.is_empty()
                && self.workers.is_empty()
                && self.standby.has_told()
            {
                self.standby.close();
                self.sockets.close_all();
                self.apps.close();
                return Ok(match end {
                    End::Stopped => Outcome::Stopped,
                    End::Hopeless => Outcome::Hopeless,
                });
            }
            let has_notices = self.wait()?;
            // What others said while this one was away must be known before anything is due.
            self.attend();
            let now = clock::now();
            self.read_links(now);
            self.look_aside(now);
            if has_notices {
                self.apps.hear_notices(now);
            }
            self.handle_signals(now)?;
            // An app that is gone is not waited for.
            self.attend();
            self.tick(now);
            self.act(now);
            self.attend();
            self.tell(now);
            self.tell_standby();
            self.look_for_moment();
            while let Some(due) = self.due.take() {
                self.do_due(now, due);
            }
        }
    }

    /// Waits for something to do; whether runs have said something. The others are looked at in
    /// every turn.
    fn wait(&mut self) -> Result<bool, Error> {
        let failed = |error: rustix::io::Errno| Error::Events(io::Error::from(error));
        for link in self.workers.iter().filter_map(|(_, worker)| worker.link.as_ref()) {
            let mut interest = EventFlags::IN;
            interest.set(EventFlags::OUT, link.is_waiting());
            epoll::modify(&self.events, link, LINK, interest).map_err(failed)?;
        }
        let deadlines = [
            self.workers.deadline(),
            self.workers.machine.helpless_at(clock::now()),
            self.apps.deadline(),
            self.upgrades.deadline(),
            self.reload_deadline(),
            self.trial.deadline(),
            self.watchdog.map(|watchdog| watchdog.deadline()),
            self.extend_at,
            self.giving_up_until,
            self.standby.deadline(),
            self.waiting.map(Waiting::deadline),
        ];
        self.timer.set(deadlines.into_iter().flatten().min()).map_err(Error::Events)?;
        let at_once = self.has_exits.then(Timespec::default);
        let mut fired: Vec<epoll::Event> = Vec::with_capacity(EVENTS_PER_TURN);
        match epoll::wait(
            &self.events,
            rustix::buffer::spare_capacity(&mut fired),
            at_once.as_ref(),
        ) {
            Ok(_) => Ok(fired.iter().any(|event| ({ event.data }) == APPS)),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    fn handle_signals(&mut self, now: Instant) -> Result<(), Error> {
        for _ in 0..SIGNALS_PER_TURN {
            let Some(signal) = self.signals.next().map_err(Error::Signals)? else { break };
            match signal {
                Signal::Child => self.has_exits = true,
                Signal::Hangup => self.reload(now),
                Signal::Interrupt | Signal::Terminate => self.stop(now),
                Signal::User2 => self.upgrade_by_signal(now),
                Signal::Quit
                | Signal::Kill
                | Signal::User1
                | Signal::Continue
                | Signal::Stop
                | Signal::Window => {
                    unreachable!("not among those that were blocked")
                }
            }
        }
        if self.has_exits { self.handle_exits(now) } else { Ok(()) }
    }

    fn tick(&mut self, now: Instant) {
        if self.workers.machine.deadline().is_some_and(|at| at <= now) {
            self.feed(now, Input::Tick);
        }
        self.workers.cut(now);
        if self.upgrades.deadline().is_some_and(|at| at <= now) {
            self.drive(now, evergate_core::upgrade::Input::Tick);
        }
        self.tick_reload(now);
        self.tick_trial(now);
        self.tick_watchdog(now);
        self.tick_stop(now);
        self.judge_worker(now);
        self.apps.tick(now);
    }

    /// Tells the workers what happened to apps, does what is to be done about it, and tells what
    /// came of that. In this order: a crash must be known before its replacement is started.
    fn act(&mut self, now: Instant) {
        self.tell(now);
        // To start a process takes a while, and adverts must not wait for that.
        while self.apps.act(now, &mut || self.standby.keep_time(clock::now())) {
            self.attend();
        }
        self.tell(now);
        while let Some((generation, broken)) = self.workers.take_broken() {
            self.part(now, generation, broken);
            self.tell(now);
        }
    }

    fn tell(&mut self, now: Instant) {
        for (message, fds) in self.apps.take_messages(now) {
            match message {
                // Whoever serves must know where apps listen.
                ToWorker::Observed(ref observed) => {
                    self.workers.forget_idle(observed);
                    self.send_to_all(&message);
                }
                _ => self.send_to_primary(&message, fds),
            }
        }
        let news = self.news();
        if news != self.told {
            self.told = news.clone();
            self.send_to_all(&ToWorker::Node(news));
        }
    }

    /// How keeper and workers are.
    fn news(&self) -> NodeNews {
        let (upgrade, ended) = self.upgrades.news();
        NodeNews {
            keeper_version: env!("CARGO_PKG_VERSION").to_owned(),
            keeper_execs: self.execs,
            workers: self.workers.news(),
            upgrade,
            ended,
            trial: Some(self.trial_news()),
        }
    }

    /// Sends to every worker that has introduced itself.
    fn send_to_all(&mut self, message: &ToWorker) {
        for generation in self.workers.generations() {
            let has_met = |worker: &Worker| worker.version.is_some();
            if self.workers.get(generation).is_some_and(has_met) {
                self.send(generation, message, vec![]);
            }
        }
    }

    /// Without a primary worker nobody listens; the next one will ask.
    fn send_to_primary(&mut self, message: &ToWorker, fds: Vec<Rc<OwnedFd>>) {
        if let Some(primary) = self.workers.primary() {
            self.send(primary, message, fds);
        }
    }

    /// What comes of a link that does not work any more is seen at the end of the turn.
    fn send(&mut self, to: u32, message: &ToWorker, fds: Vec<Rc<OwnedFd>>) {
        if let Some(worker) = self.workers.get_mut(to) {
            worker.send(message, fds);
        }
    }

    fn close_link(&mut self, of: u32) {
        let link = self.workers.get_mut(of).and_then(|worker| worker.link.take());
        if let Some(link) = link {
            let _ = epoll::delete(&self.events, link.as_fd());
        }
    }
}

impl Bare {
    fn new() -> Result<Self, Error> {
        let caught =
            [Signal::Child, Signal::Hangup, Signal::Interrupt, Signal::Terminate, Signal::User2];
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
        let timer = Timer::new().map_err(Error::Events)?;
        epoll::add(&events, &signals, SIGNALS, EventFlags::IN)
            .and_then(|()| epoll::add(&events, &timer, TIMER, EventFlags::IN))
            .map_err(|error| Error::Events(error.into()))?;
        Ok(Self { events, timer, signals, files_before })
    }
}
