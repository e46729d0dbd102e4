//! A node with a keeper, a worker and a disk, in which a worker does its part step by step, and any
//! of them may crash between two steps.
//!
//! What must hold, whatever crashes: a configuration that nobody confirmed does not stay, one whose
//! confirmation was answered does, and without a trial nothing goes back.

use super::*;

/// Which configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Config {
    Base,
    New,
}

/// What is written down.
#[derive(Clone, Debug)]
struct Book {
    trial: Option<Journaled>,
    /// Whether the file is set aside.
    is_held: bool,
    trials: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Crash {
    Worker,
    Node,
    /// With another boot.
    Machine,
}

/// One step of what a worker does; the next one may never come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Journal,
    Tell,
    Apply,
    TellConfirm,
    JournalConfirm,
    Answer,
    ApplyBase,
    JournalBase,
    TellReturned,
}

const BEGIN: [Step; 3] = [Step::Journal, Step::Tell, Step::Apply];
const CONFIRM: [Step; 3] = [Step::TellConfirm, Step::JournalConfirm, Step::Answer];
const RETURN: [Step; 3] = [Step::ApplyBase, Step::JournalBase, Step::TellReturned];

struct World {
    now: Instant,
    boot: u32,
    keeper: Trial,
    /// On the disk.
    disk: Book,
    /// What the worker knows.
    worker: Book,
    in_force: Config,
    is_answered: bool,
    steps: u32,
    crash: Option<(u32, Crash)>,
}

impl World {
    fn new(crash: Option<(u32, Crash)>) -> Self {
        let book = Book { trial: None, is_held: false, trials: 0 };
        let mut world = Self {
            now: at(1_000),
            boot: 1,
            keeper: Trial::default(),
            disk: book.clone(),
            worker: book,
            in_force: Config::Base,
            is_answered: false,
            steps: 0,
            crash,
        };
        world.start_worker();
        // The operator edits the file only now.
        world.in_force = Config::Base;
        world
    }

    fn clocks<'a>(&self, boot: &'a str) -> Clocks<'a> {
        // Each boot begins at zero; the clock on the wall goes on.
        let since = Duration::from_secs(100_000 * u64::from(self.boot - 1));
        let now = Instant::from_nanos((self.now - (Instant::EPOCH + since)).as_nanos() as u64);
        Clocks { now, boot, unix: self.now.since_epoch().as_secs() }
    }

    /// A worker starts, and does what the keeper and the journal say.
    fn start_worker(&mut self) {
        self.worker = self.disk.clone();
        let is_fresh = *self.keeper.state() == State::Untold;
        let boot = std::format!("{}", self.boot);
        let is_news = is_fresh
            || matches!(self.keeper.state(), State::Settled)
                && self.worker.trial.as_ref().is_some_and(|one| one.number > self.keeper.number());
        let mut is_over = matches!(self.keeper.state(), State::Returning { .. });
        let mut told = Input::Told { number: self.worker.trials, left: None };
        match self.worker.trial.clone().filter(|_| is_news) {
            Some(trial) => match trial.resume(self.clocks(&boot)) {
                Ok(left) => {
                    told = Input::Told { number: trial.number, left: Some(left) };
                    let starts = trial.starts + 1;
                    self.worker.trial = Some(Journaled { starts, ..trial });
                }
                Err(_) => is_over = true,
            },
            None if matches!(self.keeper.state(), State::Settled | State::Untold) => {
                self.worker.trial = None;
            }
            None => {}
        }
        if is_over {
            self.worker = Book { trial: None, is_held: true, ..self.worker };
            self.in_force = Config::Base;
        } else {
            // The file is the new one all the time.
            self.in_force = if self.worker.is_held { Config::Base } else { Config::New };
        }
        self.disk = self.worker.clone();
        self.keeper.handle(self.now, told).unwrap();
        if is_over {
            self.keeper.handle(self.now, Input::Returned).unwrap();
        }
    }

    /// Does `steps` until something crashes; whether it came to the end.
    fn perform(&mut self, steps: &[Step]) -> bool {
        for &step in steps {
            self.perform_one(step);
            self.steps += 1;
            if let Some((_, crash)) = self.crash.filter(|(at, _)| *at == self.steps) {
                self.crash(crash);
                return false;
            }
        }
        true
    }

    fn perform_one(&mut self, step: Step) {
        let boot = std::format!("{}", self.boot);
        match step {
            Step::Journal => {
                self.worker.trials += 1;
                let trial = Journaled::new(self.worker.trials, MINUTE, self.clocks(&boot));
                self.worker.trial = Some(trial);
                self.disk = self.worker.clone();
            }
            Step::Tell => {
                let number = self.worker.trials;
                self.keeper.handle(self.now, Input::Begin { number, within: MINUTE }).unwrap();
            }
            Step::Apply => self.in_force = Config::New,
            Step::TellConfirm => self.keeper.handle(self.now, Input::Confirm).unwrap(),
            Step::JournalConfirm => {
                self.worker.trial = None;
                self.disk = self.worker.clone();
            }
            Step::Answer => self.is_answered = true,
            Step::ApplyBase => self.in_force = Config::Base,
            Step::JournalBase => {
                self.worker.trial = None;
                self.worker.is_held = true;
                self.disk = self.worker.clone();
            }
            Step::TellReturned => self.keeper.handle(self.now, Input::Returned).unwrap(),
        }
    }

    fn crash(&mut self, crash: Crash) {
        self.now = self.now + Duration::from_secs(1);
        match crash {
            Crash::Worker => self.keeper.handle(self.now, Input::Crashed).unwrap(),
            Crash::Node => self.keeper = Trial::default(),
            Crash::Machine => {
                self.keeper = Trial::default();
                self.boot += 1;
                self.now = at(100_000 * u64::from(self.boot - 1) + 10);
            }
        }
        self.start_worker();
    }

    /// Lets time pass; the keeper asks, the worker goes back.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now = self.now + Duration::from_secs(1);
            self.keeper.handle(self.now, Input::Tick).unwrap();
            if self.keeper.ask(self.now).is_some() {
                self.perform(&RETURN);
            }
        }
    }
}

#[test]
fn whatever_crashes_an_unconfirmed_configuration_does_not_stay() {
    for crash in [Crash::Worker, Crash::Node, Crash::Machine] {
        // Steps 4 to 6 are those of going back.
        for at in 1..=6 {
            let mut world = World::new(Some((at, crash)));
            world.perform(&BEGIN);
            world.pass(100);
            assert_eq!(world.in_force, Config::Base, "{crash:?} after step {at}");
            assert!(world.worker.is_held && world.disk.trial.is_none());
            world.pass(100);
            assert_eq!(*world.keeper.state(), State::Settled, "{crash:?} after step {at}");
        }
    }
}

#[test]
fn whatever_crashes_what_was_answered_as_confirmed_stays() {
    for crash in [Crash::Worker, Crash::Node, Crash::Machine] {
        for at in 1..=7 {
            let mut world = World::new(Some((at, crash)));
            if world.perform(&BEGIN) {
                world.pass(30);
                world.perform(&CONFIRM);
            }
            world.pass(200);
            let stays = world.in_force == Config::New;
            assert!(stays || !world.is_answered, "{crash:?} after step {at}");
            // Who has no answer may find either; but a worker that crashes alone undoes nothing.
            assert_eq!(stays, at > 4 || at == 4 && crash == Crash::Worker, "{crash:?}, {at}");
        }
    }
}

#[test]
fn a_node_that_is_started_again_and_again_goes_back_before_its_time() {
    let mut world = World::new(None);
    world.perform(&BEGIN);
    for _ in 0..STARTS_MAX {
        world.crash(Crash::Node);
        assert_eq!(world.in_force, Config::New);
    }
    world.crash(Crash::Node);
    assert_eq!((world.in_force, world.keeper.state()), (Config::Base, &State::Settled));
    world.crash(Crash::Machine);
    assert_eq!(world.in_force, Config::Base, "it holds over starts");
}

#[test]
fn a_worker_that_crashes_again_and_again_takes_the_configuration_with_it() {
    let mut world = World::new(None);
    world.perform(&BEGIN);
    for _ in 1..CRASHES_MAX {
        world.crash(Crash::Worker);
        assert_eq!(world.in_force, Config::New);
    }
    world.crash(Crash::Worker);
    assert_eq!((world.in_force, world.keeper.state()), (Config::Base, &State::Settled));
}
