//! The app instances: what the loop tells of them and does about them.
//!
//! What is decided is decided by [`Fleet`]. Here is what it does not know: processes and all that
//! belongs to one, what a revision stands for, and whom to tell.
//!
//! Whoever calls this tells first and acts then: [`Apps::take_messages`], [`Apps::act`],
//! [`Apps::take_messages`] again. So the worker hears of a crash before anything else is done about
//! it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use evergate_control::link::{
    Desired, InstanceState, Observed, Severity, StopRule, ToKeeper, ToWorker,
};
use evergate_core::rng::Rng;
use evergate_core::supervise::fleet::{self, Event, Fleet, Input, Output, Revision as Number, Run};
use evergate_core::time::Instant;
use evergate_sys::cgroup::{Cgroups, Group};
use evergate_sys::exit::Exit;
use evergate_sys::oom;

mod audience;
mod carried;
mod folder;
mod known;
mod limits;
mod message;
mod news;
mod notices;
mod output;
mod policy;
mod process;
mod revision;
mod spawn;
mod standing;
mod users;
mod watch;
mod wish;

use self::audience::Audience;
#[cfg(test)]
pub(crate) use self::carried::sample_fleet;
pub(crate) use self::carried::{Carried, CarriedNews};
use self::known::{Known, admit};
use self::news::News;
use self::notices::Ears;
use self::output::Pipe;
use self::process::{Circumstances, End, Process};
use self::spawn::{Fault, Supplies};
pub(crate) use self::standing::Standing;
pub(crate) use self::users::NAMED_MAX as USERS_NAMED_MAX;
use self::users::Users;
use self::watch::Clocks;
use crate::ports::Ports;
use crate::report;

/// Most instances in all; more are refused, so that what is said about all of them fits in one
/// message.
pub(crate) const INSTANCES_MAX: usize = 256;
/// Most apps; more are refused for the same reason.
const APPS_MAX: usize = 100;
/// Longest name of an app, in bytes; one with a longer name is refused for the same reason.
const NAME_BYTES_MAX: usize = 64;
/// Most runs that ended while there was no worker and of which the output is kept for the next.
const LEFTOVERS_MAX: usize = 64;

/// A message and the descriptors beside it.
pub(crate) type Message = (ToWorker, Vec<Rc<OwnedFd>>);

/// Every instance of every app.
#[derive(Debug)]
pub(crate) struct Apps {
    fleet: Fleet,
    known: BTreeMap<String, Known>,
    processes: BTreeMap<Run, Process>,
    supplies: Supplies,
    oom_kills: oom::Kills,
    audience: Audience,
    news: News,
    outbox: Vec<Message>,
    /// Output of runs that ended while there was no worker.
    leftovers: VecDeque<(Run, Rc<OwnedFd>)>,
    /// Control groups of runs that are gone. To remove one takes the kernel a while, so that waits
    /// until all is told and done.
    retiring: Vec<Group>,
    /// Some could not be removed yet, because somebody is in them.
    has_retired: bool,
    /// What was told last.
    told: Observed,
    /// That may no longer be so.
    is_dirty: bool,
    /// It is to be told in any case.
    is_owed: bool,
    is_ending: bool,
    clocks: Clocks,
    /// Counts what may have changed how an app stands.
    changes: u64,
}

impl Apps {
    /// No app yet. Children get `files_max` as their limit on open files.
    pub(crate) fn new(mut rng: Rng, files_max: u64) -> io::Result<Self> {
        let ports = Ports::new(Rng::seeded(rng.next_u64()));
        let (users, ears) = (Users::default(), Ears::new()?);
        let mut cgroups = Cgroups::detect();
        for problem in cgroups.claim() {
            report(format_args!("{problem}"));
        }
        let oom_kills = cgroups.oom_kills_outside();
        let problems = Vec::new();
        let supplies = Supplies { ports, users, ears, files_max, run_dir: None, cgroups, problems };
        Ok(Self {
            fleet: Fleet::new(rng),
            known: BTreeMap::new(),
            processes: BTreeMap::new(),
            supplies,
            oom_kills,
            audience: Audience::Nobody,
            news: News::default(),
            outbox: Vec::new(),
            leftovers: VecDeque::new(),
            retiring: Vec::new(),
            has_retired: false,
            told: Observed::default(),
            is_dirty: false,
            is_owed: false,
            is_ending: false,
            clocks: Clocks::default(),
            changes: 0,
        })
    }

    /// Runs what is desired and nothing else. What is run as it was stays untouched.
    pub(crate) fn apply(&mut self, now: Instant, desired: Desired) {
        self.supplies.run_dir = desired.run_dir;
        let users = desired.apps.iter().filter_map(|app| app.user.as_deref());
        self.supplies.users.set_apps(users);
        for known in self.known.values_mut() {
            known.is_desired = false;
        }
        let mut wanted = Vec::with_capacity(desired.apps.len());
        for app in admit(desired.apps) {
            let (name, policy) = (app.name.clone(), policy::policy(&app));
            match self.known.get_mut(&name) {
                Some(known) => known.desire(app),
                None => drop(self.known.insert(name.clone(), Known::new(app))),
            }
            let known = self.known.get_mut(&name).expect("known by now");
            let (support, users) = (self.supplies.cgroups.support(), &self.supplies.users);
            let plan = limits::plan(&known.app, support, users);
            known.limits = plan.kept.iter().map(ToString::to_string).collect();
            known.prune(&self.fleet.revisions_in_use(&name));
            wanted.push(fleet::App { name, policy, revision: Number(known.newest) });
        }
        self.feed(now, Input::Desired(wanted));
        // Whoever said this wants to know, changed or not.
        self.is_owed = true;
    }

    /// Takes in what the worker says about apps.
    pub(crate) fn hear(&mut self, now: Instant, message: ToKeeper) {
        match message {
            ToKeeper::Desired(desired) => self.apply(now, desired),
            ToKeeper::Probed { run, probe, failure } => {
                let (run, probe) = (policy::run(run), policy::probe(probe));
                self.feed(now, Input::Probed { run, probe, failure });
            }
            ToKeeper::Idle { run } => self.feed(now, Input::Idle(policy::run(run))),
            ToKeeper::Sampled { app, canary, others } => {
                let (canary, others) = (policy::sample(canary), policy::sample(others));
                self.feed(now, Input::Sampled { app, canary, others });
            }
            ToKeeper::Wish { request, app, instance, verb } => {
                let heard = self.wish(now, request, (&app, instance), verb);
                self.outbox.push((heard, Vec::new()));
            }
            ToKeeper::Kill { app, instance } => self.kill(&app, instance),
            ToKeeper::Hello { .. }
            | ToKeeper::Trial { .. }
            | ToKeeper::Ready
            | ToKeeper::Keep { .. }
            | ToKeeper::Open { .. }
            | ToKeeper::Hopeless { .. }
            | ToKeeper::Drained
            | ToKeeper::Named { .. }
            | ToKeeper::Activated
            | ToKeeper::Released
            | ToKeeper::Acquired
            | ToKeeper::Served { .. }
            | ToKeeper::Shared
            | ToKeeper::Reloaded { .. }
            | ToKeeper::Pong { .. }
            | ToKeeper::Verdict { .. }
            | ToKeeper::Standby { .. }
            | ToKeeper::Upgrade { .. } => debug_assert!(false, "not about apps"),
        }
    }

    /// Whom apps may run as.
    pub(crate) fn users(&mut self) -> &mut Users {
        &mut self.supplies.users
    }

    /// There is a worker that wants to know everything.
    pub(crate) fn greet(&mut self) {
        self.audience = Audience::Greeted;
        self.is_owed = self.told != Observed::default();
        self.outbox.clear();
        self.outbox.extend(self.leftovers.drain(..).map(|(run, end)| output(&run, end)));
        let pipes =
            self.processes.iter().filter_map(|(run, one)| Some((run, one.talk.pipe.as_ref()?)));
        self.outbox.extend(pipes.map(|(run, pipe)| output(run, pipe.reader())));
    }

    /// What apps do, for a worker beside the one that serves; nothing if there is nothing to tell.
    pub(crate) fn told(&self) -> Option<Observed> {
        (self.told != Observed::default()).then(|| self.told.clone())
    }

    /// The worker serves.
    pub(crate) fn serve(&mut self, now: Instant) {
        self.audience = Audience::Serving;
        for (run, process) in &mut self.processes {
            let dropped = process.talk.pipe.as_mut().map_or(0, Pipe::resume);
            if dropped > 0 {
                let reason = format!("{dropped} bytes were dropped while nobody read them");
                self.news.push(Severity::Warn, "output_lost", subject(run), &reason);
            }
        }
        self.feed(now, Input::Gateway(true));
    }

    /// The worker has let go of what apps print, and goes on to serve; another one will come.
    pub(crate) fn change_hands(&mut self) {
        self.audience = Audience::Between;
        self.outbox.clear();
    }

    /// There is no worker any more.
    pub(crate) fn leave(&mut self, now: Instant) {
        self.audience = Audience::Nobody;
        self.outbox.clear();
        self.feed(now, Input::Gateway(false));
    }

    /// Takes in that a child exited, which is not reaped yet. It may be none of these.
    pub(crate) fn exited(&mut self, now: Instant, pid: u32, exit: Exit) {
        let Some(run) = self.run_of(pid) else {
            return;
        };
        let is_starting = self.is_starting(&run);
        // Looked at in any case, so that kills of long ago are not taken for this one.
        let machine_kills = self.oom_kills.have_grown();
        let rule = self.known.get(&run.app).map(|known| known.app.stop).unwrap_or_default();
        let process = self.processes.get_mut(&run).expect("just found");
        let End { exit, how, has_rest } =
            process.end(exit, rule, Circumstances { is_starting, machine_kills });
        if !has_rest {
            self.bury(now, &run);
        }
        self.feed(now, Input::Exited { run, exit, how, has_rest });
    }

    /// Looks which runs of which only a rest was there are gone.
    pub(crate) fn sweep(&mut self, now: Instant) {
        let known = &self.known;
        let rule = |run: &Run| known.get(&run.app).map(|known| known.app.stop).unwrap_or_default();
        let is_gone = |run: &Run, process: &mut Process| {
            process.pid().is_none() && !process.has_rest(rule(run))
        };
        let gone = self
            .processes
            .iter_mut()
            .filter_map(|(run, process)| is_gone(run, process).then(|| run.clone()));
        for run in gone.collect::<Vec<_>>() {
            self.bury(now, &run);
            self.feed(now, Input::Emptied(run));
        }
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.fleet.deadline().is_some_and(|at| at <= now) {
            self.feed(now, Input::Tick);
        }
        self.watch(now);
    }

    /// When to tick next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.fleet.deadline(), self.clocks.next()].into_iter().flatten().min()
    }

    /// Nothing new begins, and every instance ends, in order.
    pub(crate) fn end(&mut self, now: Instant) {
        self.is_ending = true;
        self.feed(now, Input::End);
    }

    /// The same, when the worker has no request in flight any more and takes no new ones. It still
    /// reads what is printed.
    pub(crate) fn end_drained(&mut self, now: Instant) {
        self.feed(now, Input::Gateway(false));
        self.end(now);
    }

    /// The operator asked for an end: no more wishes.
    pub(crate) fn refuse_wishes(&mut self) {
        self.is_ending = true;
    }

    /// Ends at once whatever is to end.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.feed(now, Input::Hurry);
    }

    /// Removes what no run needs any more.
    pub(crate) fn close(mut self) {
        self.retire();
        self.supplies.cgroups.close();
    }

    /// Whether all has ended that was told to.
    pub(crate) fn is_empty(&self) -> bool {
        self.fleet.is_empty()
    }

    /// Does what was decided, up to the first start of a process: that takes a while, and the caller
    /// may have something to do that does not wait. While it takes longer, `meanwhile` is called
    /// again and again. Whether there may be more to do.
    pub(crate) fn act(&mut self, now: Instant, meanwhile: &mut dyn FnMut()) -> bool {
        while let Some(output) = self.fleet.next_output() {
            match output {
                Output::Spawn { run, revision } => {
                    self.spawn(now, run, revision, meanwhile);
                    return true;
                }
                Output::Ask(run) => self.with_process(&run, |process, rule| process.ask(rule)),
                Output::AskTree(run) => {
                    self.with_process(&run, |process, rule| process.ask_all(rule));
                }
                Output::Kill(run) => self.with_process(&run, |process, rule| process.kill(rule)),
                Output::Tell(event) => self.tell(event),
            }
        }
        self.set_clocks(now);
        false
    }

    /// Has something told among what happens to apps, in order.
    pub(crate) fn note(&mut self, severity: Severity, kind: &str, subject: String, reason: &str) {
        self.news.push(severity, kind, subject, reason);
    }

    /// What is to be told: what apps do, if that changed, then what was asked, then what happened.
    /// Nothing while nobody listens; then all that matters is kept.
    pub(crate) fn take_messages(&mut self, now: Instant) -> Vec<Message> {
        let mut messages = Vec::new();
        if std::mem::take(&mut self.is_dirty) {
            let observed = self.observe(now);
            self.is_owed |= !message::is_same(&observed, &self.told);
            self.told = observed;
        }
        // Whoever serves must know that, the next worker too.
        if std::mem::take(&mut self.is_owed) {
            messages.push((ToWorker::Observed(self.told.clone()), Vec::new()));
        }
        if !self.audience.listens() {
            return messages;
        }
        messages.append(&mut self.outbox);
        let news = self.news.take();
        messages.extend(news.map(|happening| (ToWorker::Happened(happening), Vec::new())));
        messages
    }

    /// Tells the machine.
    fn feed(&mut self, now: Instant, input: Input) {
        self.fleet.handle(now, input);
        self.is_dirty = true;
        self.changes += 1;
    }

    fn spawn(&mut self, now: Instant, run: Run, revision: Number, meanwhile: &mut dyn FnMut()) {
        let known = self.known.get(&run.app);
        let revision = known.and_then(|known| Some((known, known.revisions.get(&revision.0)?)));
        let started = match revision {
            Some((known, revision)) => {
                spawn::start(now, &run, revision, &known.app, &mut self.supplies, meanwhile)
            }
            None => Err(Fault::lasting("what it would run is forgotten".to_owned())),
        };
        for (run, problem) in std::mem::take(&mut self.supplies.problems) {
            self.news.push(Severity::Warn, "limits_failed", subject(&run), &problem);
        }
        match started {
            Ok(process) => {
                if let (Some(pipe), true) = (&process.talk.pipe, self.audience.listens()) {
                    self.outbox.push(output(&run, pipe.reader()));
                }
                self.processes.insert(run, process);
                self.is_dirty = true;
            }
            Err(Fault { kind: fault, why }) => {
                self.feed(now, Input::SpawnFailed { run, fault, why });
            }
        }
    }

    /// Does something to a process, if it is still there.
    fn with_process(&mut self, run: &Run, act: impl FnOnce(&mut Process, StopRule)) {
        let known = self.known.get(&run.app);
        if let (Some(process), Some(known)) = (self.processes.get_mut(run), known) {
            act(process, known.app.stop);
        }
    }

    /// Lets go of what belonged to a run of which nothing is left.
    fn bury(&mut self, now: Instant, run: &Run) {
        let Some(process) = self.processes.remove(run) else {
            return;
        };
        let (place, pipe, group) = process.dissolve();
        place.leave(now, &mut self.supplies.ports);
        self.retiring.extend(group);
        // Whoever has its end reads the rest from that.
        if let (Some(pipe), false) = (pipe, self.audience.listens()) {
            if self.leftovers.len() == LEFTOVERS_MAX {
                self.leftovers.pop_front();
            }
            self.leftovers.push_back((run.clone(), pipe.reader()));
        }
    }

    /// Kills an instance, which then counts as crashed.
    fn kill(&mut self, app: &str, number: u16) {
        let meant = |run: &Run| run.app == app && run.number == number;
        for (_, process) in self.processes.iter_mut().filter(|(run, _)| meant(run)) {
            process.kill_main();
        }
    }

    fn tell(&mut self, event: Event) {
        let severity = match event.severity {
            fleet::Severity::Info => Severity::Info,
            fleet::Severity::Warn => Severity::Warn,
            fleet::Severity::Error => Severity::Error,
        };
        let subject = match event.number {
            Some(number) => format!("app.{}/{number}", event.app),
            None => format!("app.{}", event.app),
        };
        self.news.push(severity, event.kind, subject, &event.reason);
    }

    fn run_of(&self, pid: u32) -> Option<Run> {
        let mut processes = self.processes.iter();
        processes.find(|(_, process)| process.pid() == Some(pid)).map(|(run, _)| run.clone())
    }

    /// Whether a run was starting when that was last told.
    fn is_starting(&self, run: &Run) -> bool {
        let run = message::run(run);
        let told = self.told.instances.iter().find(|one| one.run == run);
        told.is_none_or(|one| one.state == InstanceState::Starting)
    }
}

impl AsFd for Apps {
    /// Can be read when [`Apps::hear_notices`] has something to hear.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.supplies.ears.as_fd()
    }
}

fn output(run: &Run, end: Rc<OwnedFd>) -> Message {
    (ToWorker::Output { run: message::run(run) }, vec![end])
}

fn subject(run: &Run) -> String {
    format!("app.{}/{}", run.app, run.number)
}

/// `text`, no longer than so many bytes.
fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}
