//! What changed, in order, for people and for the admin API.

use std::collections::VecDeque;

use evergate_config::{Level, Log, LogFormat};
use evergate_control::snapshot::Event;
use evergate_control::state::History;
use evergate_sys::{clock, stderr};
use tokio::sync::broadcast;

/// Events kept for those who ask later; the oldest go first.
const EVENTS_KEPT_MAX: usize = 512;

/// The latest events, and those who listen.
#[derive(Debug)]
pub struct Events {
    kept: VecDeque<Event>,
    sequence: u64,
    /// The last event that another worker may have been told of.
    carried: u64,
    listeners: broadcast::Sender<Event>,
    log: Log,
    /// Nothing less severe is printed, whatever `log` says.
    printed_max: Level,
    unprinted: u64,
}

impl Events {
    /// No events yet; each one goes to `listeners`, and to standard error as `log` says.
    pub fn new(listeners: broadcast::Sender<Event>, log: Log) -> Self {
        Self {
            kept: VecDeque::new(),
            sequence: 0,
            carried: 0,
            listeners,
            log,
            printed_max: Level::Trace,
            unprinted: 0,
        }
    }

    /// Follows another configuration of the log.
    pub fn set_log(&mut self, log: Log) {
        self.log = log;
    }

    /// Prints nothing less severe than `printed_max`, whatever the log is to have: of two processes
    /// that serve, one tells people what happens.
    pub fn limit(&mut self, printed_max: Level) {
        self.printed_max = printed_max;
    }

    /// Records that something happened.
    pub fn push(&mut self, level: Level, kind: &str, subject: &str, reason: &str) {
        self.sequence = self.sequence.saturating_add(1);
        let event = Event {
            sequence: self.sequence,
            at_ms: clock::unix_millis(),
            level: word(level).to_owned(),
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            reason: reason.to_owned(),
        };
        if level <= self.log.level.min(self.printed_max) && !print(&event, self.log.format) {
            self.unprinted += 1;
        }
        if self.kept.len() == EVENTS_KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(event.clone());
        // Nobody has to listen.
        let _ = self.listeners.send(event);
    }

    /// How many standard error did not take, because nobody reads it.
    pub(crate) fn unprinted(&self) -> u64 {
        self.unprinted
    }

    /// What happened so far, for the worker that comes after this one.
    pub(crate) fn carry(&mut self) -> History {
        self.carried = self.sequence;
        History { sequence: self.sequence, latest: self.latest() }
    }

    /// Goes on from what happened in another worker: what this one has seen beside it gets the
    /// numbers after it.
    pub(crate) fn inherit(&mut self, history: History) {
        let own = std::mem::take(&mut self.kept);
        let carried = std::mem::replace(&mut self.carried, history.sequence);
        self.sequence = history.sequence;
        self.kept = history.latest.into();
        for event in own.into_iter().filter(|event| event.sequence > carried) {
            self.sequence = self.sequence.saturating_add(1);
            self.kept.push_back(Event { sequence: self.sequence, ..event });
        }
        self.kept.drain(..self.kept.len().saturating_sub(EVENTS_KEPT_MAX));
    }

    /// The events kept, oldest first.
    pub fn latest(&self) -> Vec<Event> {
        self.kept.iter().cloned().collect()
    }
}

const fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// Whether standard error took the line.
fn print(event: &Event, format: LogFormat) -> bool {
    let mut line = match format {
        LogFormat::Json => serde_json::to_string(event).unwrap_or_default(),
        LogFormat::Text => format!(
            "{} {} {}: {}",
            event.level.to_uppercase(),
            event.subject,
            event.kind.replace('_', " "),
            event.reason
        ),
    };
    line.push('\n');
    stderr::print(line.as_bytes())
}
