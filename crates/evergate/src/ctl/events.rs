//! `evergate events`: what happened, and with `-f` what happens.

use std::io::BufRead;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use evergate_console::when;
use evergate_control::snapshot::Event;
use serde::Deserialize;

use super::Node;
use super::client::{Client, Failure};
use super::screen::{Paint, Palette, paint_of, show, show_json};

/// Time before a stream that ended is opened again.
const REST: Duration = Duration::from_secs(1);
/// Failed attempts in a row after which following ends.
const ATTEMPTS_MAX: u32 = 10;

/// Lists the latest events, oldest first.
#[derive(clap::Args)]
pub(crate) struct Events {
    /// Go on with what happens from now on.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    node: Node,
}

#[derive(Deserialize)]
struct Answer {
    events: Vec<Event>,
}

impl Events {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.node.client()?;
        let view = View { json: self.node.json, palette: Palette::of_stdout() };
        let Answer { events } = client.get("/api/v1/events")?;
        for event in &events {
            view.show(event)?;
        }
        if self.follow {
            let mut seen = events.last().map_or(0, |event| event.sequence);
            follow(&client, &mut seen, view)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Shows events until the node is gone for good; a worker that is replaced only makes a pause.
fn follow(client: &Client, seen: &mut u64, view: View) -> anyhow::Result<()> {
    let mut failed = 0;
    loop {
        match client.open("/events", &format!("last-event-id: {seen}\r\n")) {
            Ok(stream) => {
                failed = 0;
                read(stream, seen, view)?;
            }
            Err(failure) if failed + 1 == ATTEMPTS_MAX => return Err(failure.into()),
            Err(Failure::Unreachable { .. } | Failure::Cut(_) | Failure::Refused { .. }) => {
                failed += 1;
            }
            Err(failure @ Failure::Garbled(_)) => return Err(failure.into()),
        }
        sleep(REST);
    }
}

/// Shows what comes over one stream until that ends.
fn read(mut stream: impl BufRead, seen: &mut u64, view: View) -> anyhow::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        match stream.read_line(&mut line) {
            Ok(0) | Err(_) => return Ok(()),
            Ok(_) => {}
        }
        // Only events have a sequence; the notice of lost ones is data without.
        let Some(data) = line.strip_prefix("data:") else { continue };
        let Ok(event) = serde_json::from_str::<Event>(data.trim()) else { continue };
        if event.sequence > 0 {
            *seen = event.sequence;
            view.show(&event)?;
        }
    }
}

#[derive(Clone, Copy)]
struct View {
    json: bool,
    palette: Palette,
}

impl View {
    fn show(self, event: &Event) -> anyhow::Result<()> {
        if self.json {
            show_json(event)?
        } else {
            show(&line(event, self.palette))?
        }
        Ok(())
    }
}

/// The event on a line; what else its reason says is indented below.
fn line(event: &Event, palette: Palette) -> String {
    let (reason, rest) = event.reason.split_once('\n').unwrap_or((&event.reason, ""));
    format!(
        "{}  {}  {}  {}\n{}",
        palette.paint(Paint::Dim, &when::utc(event.at_ms)),
        palette.paint(paint_of(&event.level), &event.kind),
        palette.paint(Paint::Bold, &event.subject),
        palette.paint(Paint::Normal, reason),
        palette.lines(Paint::Normal, "    ", rest.trim_end()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_of_several_lines_is_indented_below() {
        let event = Event {
            sequence: 1,
            at_ms: 0,
            level: "error".into(),
            kind: "config_refused".into(),
            subject: "config".into(),
            reason: "nothing was changed:\nerror: no\n\n  help\n\n".into(),
        };
        assert_eq!(
            line(&event, Palette::Plain),
            "1970-01-01 00:00:00  config_refused  config  nothing was changed:\n    error: no\n\n      \
             help\n"
        );
    }

    #[test]
    fn a_stream_is_read_past_comments_and_notices() {
        let stream = "retry: 2000\n\nid: 7\ndata: {\"sequence\":7,\"kind\":\"x\"}\n\n:\n\n\
                      event: lost\ndata: {\"lost\":3}\n\n";
        let mut seen = 0;
        let view = View { json: true, palette: Palette::Plain };
        read(stream.as_bytes(), &mut seen, view).unwrap();
        assert_eq!(seen, 7);
    }
}
