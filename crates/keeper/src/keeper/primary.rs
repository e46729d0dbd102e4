//! The life of the primary worker, as its machine decides.

use std::io;
use std::rc::Rc;

use evergate_control::link::{Role, ToWorker};
use evergate_core::supervise::worker::{
    FAILURES_HELPLESS, Helpless, Input, Output, STARTS_HELPLESS,
};
use evergate_core::time::{Instant, Spoken};
use evergate_core::upgrade::Input::Lost;
use evergate_core::upgrade::Side;
use evergate_sys::clock;
use rustix::event::epoll::{self, EventFlags};

use super::{Keeper, LINK};
use crate::binary::Binary;
use crate::link::Broken;
use crate::report;
use crate::workers::{self, Known, Standing, Unstarted, Worker};

impl Keeper {
    /// Tells the machine what happened and does what follows.
    pub(super) fn feed(&mut self, now: Instant, input: Input) {
        let mut output = self.workers.machine.handle(now, input);
        while let Some(todo) = output.take() {
            match todo {
                Output::Spawn => {
                    // It names for itself.
                    self.apps.users().expect_names();
                    let binary = Rc::clone(&self.workers.binary);
                    if let Err(Unstarted { why, fate }) = self.spawn(Role::Primary, &binary) {
                        report(format_args!("cannot start the worker: {why}"));
                        output = self.workers.machine.handle(now, Input::Exited(fate));
                    }
                }
                Output::AskToStop => {
                    // The worker serves who has come so far. Who comes now had better be refused
                    // at once than wait for somebody who will not come.
                    self.sockets.close_all();
                    let grace_ms = self.options.worker_policy.grace.as_millis() as u32;
                    self.send_to_primary(&ToWorker::Stop { grace_ms }, vec![]);
                }
                Output::Kill(reason) => {
                    let worker = self.workers.get_primary();
                    let worker = worker.expect("only a worker with a process is killed");
                    if let Some(why) = workers::explain(reason, &self.options.worker_policy) {
                        let pid = worker.pid;
                        report(format_args!("killing the worker (process {pid}): it {why}"));
                    }
                    let generation = self.workers.primary();
                    generation.into_iter().for_each(|generation| self.workers.kill(generation));
                }
                Output::End(end) => {
                    self.end = Some(end);
                    self.end_apps(now);
                }
            }
        }
    }

    /// Tells virtual addresses whether there is somebody to serve them: without, another node had better
    /// have them.
    pub(super) fn judge_worker(&mut self, now: Instant) {
        let why = self.workers.machine.helpless(now);
        if self.is_helpless.replace(why.is_some()) == Some(why.is_some()) {
            return;
        }
        let why = why.map(|why| match why {
            Helpless::Hopeless => "the worker says that it cannot start".to_owned(),
            Helpless::Failing => format!("the worker failed {FAILURES_HELPLESS} times in a row"),
            Helpless::Unstarted => {
                format!("the worker failed to start {STARTS_HELPLESS} times in a row")
            }
            Helpless::Gone(within) => format!("no worker was ready for {}", Spoken(within)),
        });
        self.standby.set_helpless(clock::now(), why);
    }

    /// Starts a worker.
    pub(super) fn spawn(&mut self, role: Role, binary: &Rc<Binary>) -> Result<u32, Unstarted> {
        let now_ms = clock::unix_millis();
        let trial = self.trial_news();
        let Self { workers, standby, options, kept, .. } = self;
        let meanwhile = &mut || standby.keep_time(clock::now());
        let known = Known { kept, trial };
        let generation = workers.spawn(role, binary, options, known, now_ms, meanwhile)?;
        let link = self.workers.get(generation).and_then(|worker| worker.link.as_ref());
        let link = link.expect("a new worker has a link");
        match epoll::add(&self.events, link, LINK, EventFlags::IN) {
            Ok(()) => Ok(generation),
            Err(error) => {
                self.workers.kill(generation);
                Err(io::Error::from(error).into())
            }
        }
    }

    /// A link is of no use any more.
    pub(super) fn part(&mut self, now: Instant, from: u32, broken: Broken) {
        self.close_link(from);
        let (input, why) = match broken {
            Broken::Closed => (Input::Deaf, "it closed its link"),
            Broken::Full | Broken::Nonsense => (Input::Hung, "it no longer follows its link"),
        };
        // Its exit comes later, when it may be nobody's business any more whether it serves.
        if let (Broken::Closed, Some(worker)) = (&broken, self.workers.get_mut(from)) {
            worker.is_lost = match worker.standing() {
                Standing::Primary | Standing::Former | Standing::Retired => !worker.is_killed(),
                Standing::Candidate | Standing::Leaving => false,
            };
        }
        match self.upgrades.side(from) {
            // It is about to end, most likely, and its exit says better why than its link does.
            Some(Side::New) if matches!(broken, Broken::Closed) => return self.workers.kill(from),
            Some(side) => self.drive(now, Lost(side, why.to_owned())),
            None => {}
        }
        if self.workers.primary() == Some(from) {
            self.apps.leave(now);
            self.forget_reload("the worker was lost");
            return self.feed(now, input);
        }
        match self.workers.get(from).map(Worker::standing) {
            // Nobody can tell it any more what to do.
            Some(Standing::Candidate | Standing::Former | Standing::Retired) => {
                self.workers.kill(from);
            }
            // It knows what to do.
            Some(Standing::Leaving | Standing::Primary) | None => {}
        }
        self.tell_idle(now);
    }
}
