//! A fleet in hand: what happens is said by the test, and what follows is read off as text.

use core::time::Duration;
use std::borrow::ToOwned;
use std::string::ToString;
use std::vec;

use super::*;
use crate::deploy;
use crate::supervise::policy::{Backoff, Policy, Ready, ReadyBy, Restart, Stop};

mod carried;
mod life;
mod rolling;
mod rules;
mod simulation;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// One app's policy: ready when it says so, ten failures, everything else as configured by default.
fn policy(instances: u16) -> Policy {
    Policy {
        instances,
        after: vec![],
        ready: Ready { by: ReadyBy::Notice, within: 30 * SECOND },
        alive: None,
        restart: Restart::Always,
        backoff: Backoff {
            base: 250 * MS,
            cap: 30 * SECOND,
            failures: 10,
            within: 600 * SECOND,
            cooldown: 300 * SECOND,
            stable_after: 60 * SECOND,
        },
        stop: Stop { drain: 30 * SECOND, timeout: 10 * SECOND },
        memory: None,
        deploy: deploy::Policy {
            surge: 1,
            unavailable: 0,
            canary_for: Duration::ZERO,
            on_failure: deploy::OnFailure::Abort,
        },
    }
}

fn app(name: &str, policy: Policy) -> App {
    App { name: name.to_owned(), policy, revision: Revision(1) }
}

fn run(text: &str) -> Run {
    let (instance, generation) = text.split_once('.').expect("app/number.generation");
    let (app, number) = instance.split_once('/').expect("app/number");
    Run {
        app: app.to_owned(),
        number: number.parse().expect("a number"),
        generation: generation.parse().expect("a generation"),
    }
}

fn wish(target: &str, verb: Verb) -> Wish {
    let (app, number) = match target.split_once('/') {
        Some((app, number)) => (app, Some(number.parse().expect("a number"))),
        None => (target, None),
    };
    Wish { app: app.to_owned(), number, verb }
}

/// A fleet and its clock.
struct Hand {
    fleet: Fleet,
    now: Instant,
}

impl Hand {
    /// A fleet with a gateway that runs these apps. What it did at first is forgotten.
    fn new(apps: &[App]) -> Self {
        let mut hand = Self { fleet: Fleet::new(Rng::seeded(1)), now: Instant::EPOCH };
        hand.say(Input::Gateway(true));
        hand.say(Input::Desired(apps.to_vec()));
        hand
    }

    /// Everything that was to be done, such as "spawn shop/0.1 of 1", without what was told.
    fn say(&mut self, input: Input) -> Vec<String> {
        self.fleet.handle(self.now, input);
        self.done()
    }

    fn done(&mut self) -> Vec<String> {
        let outputs = core::iter::from_fn(|| self.fleet.next_output());
        outputs.filter_map(|output| worded(&output)).collect()
    }

    /// The events that an input leads to, such as "app_ready shop/0: it may have requests".
    fn told(&mut self, input: Input) -> Vec<String> {
        self.fleet.handle(self.now, input);
        let outputs = core::iter::from_fn(|| self.fleet.next_output());
        outputs
            .filter_map(|output| match output {
                Output::Tell(Event { kind, app, number, reason, .. }) => {
                    let number = number.map(|number| format!("/{number}")).unwrap_or_default();
                    Some(format!("{kind} {app}{number}: {reason}"))
                }
                _ => None,
            })
            .collect()
    }

    /// Lets time pass, ticking at every deadline.
    fn wait(&mut self, time: Duration) -> Vec<String> {
        let end = self.now + time;
        let mut done = vec![];
        while let Some(at) = self.fleet.deadline().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            done.extend(self.say(Input::Tick));
        }
        self.now = end;
        done
    }

    fn ready(&mut self, which: &str) -> Vec<String> {
        self.say(Input::Noticed { run: run(which), is_ready: true })
    }

    fn exits(&mut self, which: &str, status: i32) -> Vec<String> {
        self.say(exit(which, Exit::Status(status), false))
    }

    fn wish(&mut self, target: &str, verb: Verb) -> Result<Vec<String>, String> {
        self.fleet.wish(self.now, &wish(target, verb)).map(|_| self.done())
    }

    fn shown(&self) -> String {
        listed(&self.fleet.views(self.now))
    }

    fn view(&self, which: &str) -> View {
        let views = self.fleet.views(self.now);
        views.into_iter().find(|view| view.run == run(which)).expect("it is shown")
    }
}

/// Such as "shop/0.1 Ready, shop/1.3 Backoff"; times left out.
fn listed(views: &[View]) -> String {
    let words = views.iter().map(|View { run, state, .. }| {
        let state = format!("{state:?}");
        let state = state.split(' ').next().expect("a word");
        format!("{}/{}.{} {state}", run.app, run.number, run.generation)
    });
    words.collect::<Vec<_>>().join(", ")
}

fn exit(which: &str, exit: Exit, has_rest: bool) -> Input {
    let how = match exit {
        Exit::Status(status) => format!("exit status {status}"),
        Exit::Signal(signal) => format!("signal {signal}"),
        Exit::OutOfMemory | Exit::Blameless => "out of memory".to_owned(),
    };
    Input::Exited { run: run(which), exit, how, has_rest }
}

fn worded(output: &Output) -> Option<String> {
    let name = |run: &Run| format!("{}/{}.{}", run.app, run.number, run.generation);
    match output {
        Output::Spawn { run, revision } => Some(format!("spawn {} of {}", name(run), revision.0)),
        Output::Ask(run) => Some(format!("ask {}", name(run))),
        Output::AskTree(run) => Some(format!("ask all of {}", name(run))),
        Output::Kill(run) => Some(format!("kill {}", name(run))),
        Output::Tell(_) => None,
    }
}
