//! Watching what a wish about an app leads to, until that has come about or failed.
//!
//! Nothing depends on the watcher: the keeper carries the wish out, whether or not anybody looks.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use evergate_console::{when, words};
use evergate_control::snapshot::{DeployStatus, InstanceStatus, Status};
use evergate_core::time::Instant;
use evergate_sys::clock;
use evergate_sys::signal::Signals;

use super::EXIT_INTERRUPTED;
use super::app::{AppName, apps};
use super::client::{Client, Failure};
use super::screen::{Block, Paint, Palette, bar, is_terminal, paint_of, show};
use super::table::{Table, plain};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a node may not answer, as while its worker is replaced, before watching ends.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// How long what was wished for may not show. A wish that changes nothing never does.
const SHOW_MAX: Duration = Duration::from_secs(2);

/// What is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Goal {
    /// Every instance is ready.
    Ready,
    /// No instance runs.
    Stopped,
    /// The runs were replaced.
    Replaced,
    /// No deploy is under way any more, whatever came of it.
    GivenUp,
}

impl Goal {
    /// What an app is when this is reached.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Ready => "is ready",
            Self::Stopped => "is stopped",
            Self::Replaced => "is replaced",
            Self::GivenUp => "is not being deployed",
        }
    }
}

/// How it ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// What was waited for has come about.
    Done(String),
    /// It will not.
    Failed(String),
    /// Ctrl-C.
    Left,
}

impl End {
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Done(_) => ExitCode::SUCCESS,
            Self::Failed(_) => ExitCode::FAILURE,
            Self::Left => ExitCode::from(EXIT_INTERRUPTED),
        }
    }
}

/// How things stood before the wish, and what is to become of them.
#[derive(Debug)]
pub(super) struct Follow {
    name: AppName,
    goal: Goal,
    /// Number of the app's last deploy.
    deploy: u32,
    /// Exits of each instance.
    exits: BTreeMap<u16, u32>,
}

/// What a look shows.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Verdict {
    /// What was wished for has not begun to show.
    Unseen,
    Going,
    Over(End),
}

impl Follow {
    /// To be made from a look before the wish.
    pub(super) fn new(name: &AppName, goal: Goal, before: &Status) -> Self {
        let meant = before.apps.iter().filter(|one| name.means(one));
        let exits = meant.map(|one| (one.number, one.exits)).collect();
        let deploy = before.deploys.iter().find(|deploy| deploy.app == name.app);
        let deploy = deploy.map_or(0, |deploy| match goal {
            // The one that is under way is what this is about.
            Goal::GivenUp => deploy.number.saturating_sub(1),
            Goal::Ready | Goal::Stopped | Goal::Replaced => deploy.number,
        });
        Self { name: name.clone(), goal, deploy, exits }
    }

    /// Looks until it is over or one of `signals` comes. Shows how far it is, unless `quiet`.
    pub(super) fn watch(
        &self,
        client: &Client,
        signals: &Signals,
        quiet: bool,
    ) -> anyhow::Result<End> {
        let began = clock::now();
        let mut answered = began;
        let mut screen = Screen::new(quiet);
        loop {
            sleep(LOOK_EVERY);
            if matches!(signals.next(), Ok(Some(_))) {
                return Ok(End::Left);
            }
            let status = match apps(client) {
                Ok(status) => status,
                Err(failure @ Failure::Garbled(_)) => return Err(failure.into()),
                Err(failure) if clock::now() - answered > SILENCE_MAX => return Err(failure.into()),
                Err(_) => continue,
            };
            answered = clock::now();
            screen.show(self, &status)?;
            match self.judge(&status, began, answered) {
                Verdict::Over(end) => return Ok(end),
                Verdict::Unseen if answered - began > SHOW_MAX => {
                    return Ok(End::Done("there is nothing to replace".to_owned()));
                }
                Verdict::Unseen | Verdict::Going => {}
            }
        }
    }

    /// Whether what is wished for is so without a wish. A replacement never is.
    pub(super) fn is_so(&self, status: &Status) -> bool {
        match self.goal {
            Goal::Ready => self.meant(status).all(|one| one.state == "ready"),
            Goal::Stopped => self.meant(status).all(|one| one.state == "stopped"),
            Goal::Replaced | Goal::GivenUp => false,
        }
    }

    fn meant<'a>(&self, status: &'a Status) -> impl Iterator<Item = &'a InstanceStatus> {
        status.apps.iter().filter(|one| self.name.means(one))
    }

    /// The deploy that the wish led to, if there is one.
    fn deploy<'a>(&self, status: &'a Status) -> Option<&'a DeployStatus> {
        status.deploys.iter().find(|one| one.app == self.name.app && one.number > self.deploy)
    }

    fn judge(&self, status: &Status, began: Instant, now: Instant) -> Verdict {
        let took = spent(now - began);
        if self.meant(status).next().is_none() {
            let why = format!("{} is no longer in the configuration", self.name);
            return Verdict::Over(End::Failed(why));
        }
        match self.goal {
            Goal::Ready => self.judge_start(status, &took),
            Goal::Stopped if self.is_so(status) => self.reached(&took),
            Goal::Stopped => Verdict::Going,
            Goal::Replaced => match self.deploy(status) {
                Some(deploy) => self.judge_deploy(deploy, &took),
                None => Verdict::Unseen,
            },
            Goal::GivenUp => match self.deploy(status) {
                Some(deploy) if words::is_under_way(deploy) => Verdict::Going,
                Some(deploy) => {
                    let words = format!("{}: {}", words::name(deploy), deploy.message);
                    Verdict::Over(End::Done(words))
                }
                None => Verdict::Unseen,
            },
        }
    }

    fn judge_start(&self, status: &Status, took: &str) -> Verdict {
        let exited = |one: &&InstanceStatus| {
            let before = self.exits.get(&one.number).copied().unwrap_or_default();
            one.exits > before && matches!(one.state.as_str(), "backoff" | "fatal" | "stopped")
        };
        if let Some(one) = self.meant(status).find(exited) {
            let words = format!("{}/{}: {}", one.app, one.number, words::cause(one));
            return Verdict::Over(End::Failed(words));
        }
        if self.is_so(status) { self.reached(took) } else { Verdict::Going }
    }

    fn reached(&self, took: &str) -> Verdict {
        Verdict::Over(End::Done(format!("{} {}, after {took}", self.name, self.goal.words())))
    }

    fn judge_deploy(&self, deploy: &DeployStatus, took: &str) -> Verdict {
        let DeployStatus { done, of, number, message, .. } = deploy;
        if *number > self.deploy + 1 {
            let why = format!("{} came after it; see `evergate apps`", words::name(deploy));
            return Verdict::Over(End::Failed(why));
        }
        match deploy.phase.as_str() {
            "done" => {
                let noun = if *of == 1 { "instance" } else { "instances" };
                let words = format!("{done} of {of} {noun} replaced in {took}");
                Verdict::Over(End::Done(words))
            }
            "failed" => Verdict::Over(End::Failed(message.clone())),
            _ => Verdict::Going,
        }
    }

    /// On a terminal: how far it is, and every instance.
    fn view(&self, status: &Status, palette: Palette) -> String {
        let mut text = String::new();
        if let Some(deploy) = self.deploy(status) {
            let bar = bar(deploy.done, deploy.of);
            let line = format!("{bar}  {} of {}  ", deploy.done, deploy.of);
            text.push_str(&palette.paint(Paint::Normal, &line));
            text.push_str(&palette.paint(paint_of(&deploy.phase), &deploy.phase));
            let since = format!("  {}", when::span(deploy.since_seconds as u64));
            text.push_str(&palette.paint(Paint::Dim, &since));
            text.push('\n');
            text.push_str(&palette.lines(Paint::Normal, "", &deploy.message));
        }
        let mut table = Table::new("", &["instance", "state", ">since", ">pid", ">start", "why"]);
        for one in self.meant(status) {
            table.row([
                plain(format!("{}/{}", one.app, one.number)),
                (paint_of(&one.state), one.state.clone()),
                plain(when::span(one.since_seconds as u64)),
                plain(one.pid.map(|pid| pid.to_string()).unwrap_or_default()),
                plain(one.generation),
                (Paint::Dim, words::why(one)),
            ]);
        }
        text.push_str(&table.render(palette));
        text
    }

    /// Elsewhere: what there is to say, a line each; what was said before is not said again.
    fn lines(&self, status: &Status) -> Vec<String> {
        if let Some(deploy) = self.deploy(status) {
            let mut line = words::progress(deploy);
            // While it soaks the message counts requests.
            if words::is_under_way(deploy) && deploy.phase != "soaking" {
                line.push_str(&format!(": {}", deploy.message));
            }
            return vec![line];
        }
        match self.goal {
            Goal::Replaced | Goal::GivenUp => Vec::new(),
            Goal::Ready | Goal::Stopped => self
                .meant(status)
                .map(|one| {
                    // A run beside another is told apart by its number.
                    format!("{}/{} #{}: {}", one.app, one.number, one.generation, one.state)
                })
                .collect(),
        }
    }
}

/// `0.8 s`, `31 s` or `2 min 5 s`.
fn spent(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// Where progress is shown.
enum Screen {
    Nowhere,
    /// The lines said last.
    Lines(Vec<String>),
    Terminal(Block, Palette),
}

impl Screen {
    fn new(quiet: bool) -> Self {
        match (quiet, is_terminal()) {
            (true, _) => Self::Nowhere,
            (false, true) => Self::Terminal(Block::default(), Palette::of_stdout()),
            (false, false) => Self::Lines(Vec::new()),
        }
    }

    fn show(&mut self, follow: &Follow, status: &Status) -> std::io::Result<()> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Lines(said) => {
                let lines = follow.lines(status);
                for line in lines.iter().filter(|line| !said.contains(line)) {
                    show(&Palette::Plain.lines(Paint::Normal, "", line))?;
                }
                *said = lines;
                Ok(())
            }
            Self::Terminal(block, palette) => block.draw(&follow.view(status, *palette)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deploy_on_a_terminal_has_a_bar_and_its_instances() {
        let name: AppName = "shop".parse().unwrap();
        let instance = |app: &str, state: &str| InstanceStatus {
            app: app.into(),
            state: state.into(),
            since_seconds: 3.9,
            pid: Some(7),
            generation: 2,
            ..InstanceStatus::default()
        };
        let deploy = DeployStatus {
            app: "shop".into(),
            number: 1,
            phase: "rolling".into(),
            done: 1,
            of: 4,
            message: "starts the new run of shop/1".into(),
            since_seconds: 65.0,
            ..DeployStatus::default()
        };
        let follow = Follow::new(&name, Goal::Replaced, &Status::default());
        let status = Status {
            apps: vec![instance("api", "ready"), instance("shop", "draining")],
            deploys: vec![deploy],
            ..Status::default()
        };
        let expected = "██████░░░░░░░░░░░░░░░░░░  1 of 4  rolling  1m05s\n\
                        starts the new run of shop/1\n\
                        INSTANCE  STATE     SINCE  PID  START  WHY\n\
                        shop/0    draining     3s    7      2\n";
        assert_eq!(follow.view(&status, Palette::Plain), expected);
    }

    #[test]
    fn times_spent_are_told_in_units_that_fit() {
        let table = [(840, "0.8 s"), (9_999, "10.0 s"), (31_200, "31 s"), (125_000, "2 min 5 s")];
        for (millis, expected) in table {
            assert_eq!(spent(Duration::from_millis(millis)), expected);
        }
    }
}
