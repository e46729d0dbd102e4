//! `evergate demo`: a node of its own, load on it, an app instance killed every few seconds, and at
//! last another release of the app rolled out.
//!
//! Load is open-loop: requests are sent when their time comes, whether or not earlier ones were
//! answered, and latency counts from that time. So a gap shows, instead of slowing the load down.

pub(crate) mod app;
mod load;
mod node;
mod rollout;
mod tally;
mod view;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use evergate_control::snapshot::Status;
use evergate_core::time::Instant;
use evergate_sys::clock;
use evergate_sys::signal::{Signal, Signals};

use crate::ctl::screen::{Palette, is_terminal, redraw, show, show_json};
use crate::ctl::time::parse_time;
use load::Load;
use node::{APP, INSTANCES, Node};
use rollout::Rollout;
use tally::Tally;
use view::{Verdict, View};

/// Time between two kills.
const KILL_EVERY: Duration = Duration::from_millis(2500);
/// No kill within this time of the start and the end, so that each one has load around it.
const KILL_MARGIN: Duration = Duration::from_millis(1500);
/// A kill waits until this many servers are up: the demo is about one crash at a time.
const UP_MIN: usize = 2;
/// Time between two looks at the node.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Time between two lines where nothing can be drawn over.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// Load that there is at least from a look at a deploy that goes on.
const LOAD_AHEAD: Duration = Duration::from_secs(1);
/// Most requests a second.
const RATE_MAX: i64 = 20_000;

/// Shows what Evergate does: three instances of a small app under load, one killed every 2.5 s, then
/// all of them replaced by the next release.
///
/// Everything is temporary and on loopback. Exits with 0 when no request and no deploy failed.
#[derive(clap::Args)]
pub(crate) struct Demo {
    /// How long, such as 20s or 2m.
    #[arg(long = "for", value_name = "TIME", default_value = "20s", value_parser = parse_time)]
    time: Duration,
    /// Requests a second.
    #[arg(long, value_name = "N", default_value_t = 1500, allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..=RATE_MAX))]
    rate: u32,
    /// Show only the verdict, as JSON.
    #[arg(long)]
    json: bool,
}

impl Demo {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let mut node = Node::start(Rollout::canary_for(self.time))?;
        // After the child, which would inherit what is blocked, and before any other thread.
        let signals = Signals::block(&[Signal::Interrupt, Signal::Terminate, Signal::Hangup])?;
        let Some(ready) = node.wait_until_ready(|| interrupted(&signals))? else {
            return Ok(ExitCode::FAILURE);
        };
        if !self.json {
            show(&view::opening(&ready, self.time, self.rate))?;
        }
        let tally = Arc::new(Mutex::new(Tally::default()));
        let load = Load::start(ready.web, self.rate, self.time, Arc::clone(&tally))?;
        let mut show_run = self.watch(&tally);
        let began = clock::now();
        let mut rollout = Rollout::of(began, self.time);
        let mut killer = Killer::new(began, rollout.due().unwrap_or(began + self.time));
        let mut goes_on = true;
        while !load.is_finished() {
            if interrupted(&signals) {
                goes_on = false;
                load.stop();
            }
            node.ensure_running()?;
            let status = node.status();
            let now = clock::now();
            if let Some(status) = status.as_ref().filter(|_| goes_on) {
                killer.act(now, &node, status);
                rollout.act(now, &node, status);
                if rollout.is_pending() {
                    load.extend(now - began + LOAD_AHEAD);
                }
            }
            show_run(now - began, status.as_ref(), &killer, &rollout)?;
            sleep(LOOK_EVERY);
        }
        let tally = tally.lock().expect("no holder panics");
        let exits = node.status().map(|status| status.apps.iter().map(|one| one.exits).sum());
        let verdict = Verdict::of(&tally, killer.kills, exits, &rollout);
        if self.json {
            show_json(&verdict.json())?;
        } else {
            show(&verdict.render(Palette::of_stdout()))?;
        }
        node.stop()?;
        Ok(if verdict.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// What shows the run: a view that is redrawn, a line each second, or nothing.
    fn watch(
        &self,
        tally: &Arc<Mutex<Tally>>,
    ) -> impl FnMut(Duration, Option<&Status>, &Killer, &Rollout) -> std::io::Result<()> + use<>
    {
        let (tally, whole, json) = (Arc::clone(tally), self.time, self.json);
        let in_place = is_terminal();
        let palette = Palette::of_stdout();
        let mut next_line = LINE_EVERY;
        let mut first = true;
        move |elapsed, status, killer, rollout| {
            if json || (!in_place && elapsed < next_line) {
                return Ok(());
            }
            let tally = tally.lock().expect("no holder panics");
            let view = View { elapsed, whole, status, tally: &tally, killer, rollout };
            if !in_place {
                next_line += LINE_EVERY;
                return show(&view.line());
            }
            if std::mem::take(&mut first) {
                show("\x1b[2J")?;
            }
            redraw(&view.render(palette))
        }
    }
}

/// Kills instances, one after another.
struct Killer {
    next: Instant,
    last: Instant,
    instance: u16,
    kills: u64,
    /// The last one killed, and when.
    latest: Option<(u16, Instant)>,
}

impl Killer {
    /// From a while after `began` until a while before `end`.
    fn new(began: Instant, end: Instant) -> Self {
        let time = end - began;
        let last = began + time.saturating_sub(KILL_MARGIN);
        Self { next: began + KILL_MARGIN, last, instance: 0, kills: 0, latest: None }
    }

    fn act(&mut self, now: Instant, node: &Node, status: &Status) {
        if now < self.next || now > self.last {
            return;
        }
        let up = status.pools.iter().flat_map(|pool| &pool.servers);
        if up.filter(|server| server.state == "up").count() < UP_MIN {
            return;
        }
        let running = |number: u16| {
            status
                .apps
                .iter()
                .any(|one| one.app == APP && one.number == number && one.state == "ready")
        };
        let order = (0..INSTANCES).map(|offset| (self.instance + offset) % INSTANCES);
        let Some(number) = order.into_iter().find(|number| running(*number)) else { return };
        // If it is refused, the next look tries again.
        if node.kill(number).is_ok() {
            self.kills += 1;
            self.latest = Some((number, now));
            self.instance = (number + 1) % INSTANCES;
            self.next = now + KILL_EVERY;
        }
    }
}

fn interrupted(signals: &Signals) -> bool {
    matches!(signals.next(), Ok(Some(_)))
}
