//! `evergate logs`: what apps printed, and with `-f` what they print.

use std::io::BufRead;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use evergate_console::when;
use evergate_control::snapshot::LogLine;
use serde::{Deserialize, Serialize};

use super::Node;
use super::app::AppName;
use super::client::{Client, Failure, percent};
use super::screen::{Paint, Palette, show, show_json};

/// Time before a stream that ended is opened again.
const REST: Duration = Duration::from_secs(1);
/// Failed attempts in a row after which following ends.
const ATTEMPTS_MAX: u32 = 10;
/// Lines of the past that are asked for after a pause, to find those that were missed.
const CAUGHT_UP_MAX: usize = 10_000;

/// Shows what apps print, oldest first.
#[derive(clap::Args)]
pub(crate) struct Logs {
    /// APP or APP/N [default: all apps].
    app: Option<AppName>,
    /// Go on with what is printed from now on.
    #[arg(short, long)]
    follow: bool,
    /// Most lines of the past, up to 10000.
    #[arg(short = 'n', long, value_name = "LINES", default_value_t = 100)]
    lines: usize,
    /// Show when each line was read, in UTC.
    #[arg(short, long)]
    time: bool,
    #[command(flatten)]
    node: Node,
}

impl Logs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.node.client()?;
        let view = View { json: self.node.json, time: self.time, palette: Palette::of_stdout() };
        let mut reader = Reader { view, last: Vec::new(), known: Vec::new() };
        // What is wrong with the question is an answer; later a node may be away for a moment.
        reader.read(client.open(&self.target(self.lines), "")?)?;
        if self.follow {
            self.go_on(&client, &mut reader)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Follows until the node is gone for good; a worker that is replaced only makes a pause.
    fn go_on(&self, client: &Client, reader: &mut Reader) -> anyhow::Result<()> {
        let mut failed = 0;
        loop {
            sleep(REST);
            match client.open(&self.target(CAUGHT_UP_MAX), "") {
                Ok(stream) => {
                    failed = 0;
                    reader.known.clone_from(&reader.last);
                    reader.read(stream)?;
                }
                Err(failure) if failed + 1 == ATTEMPTS_MAX => return Err(failure.into()),
                Err(Failure::Unreachable { .. } | Failure::Cut(_) | Failure::Refused { .. }) => {
                    failed += 1;
                }
                Err(failure @ Failure::Garbled(_)) => return Err(failure.into()),
            }
        }
    }

    fn target(&self, lines: usize) -> String {
        let path = match &self.app {
            Some(app) => format!("/api/v1/apps/{}/logs", percent(&app.app)),
            None => "/api/v1/logs".to_owned(),
        };
        let instance = self.app.as_ref().and_then(|app| app.instance);
        let instance = instance.map_or_else(String::new, |number| format!("&instance={number}"));
        format!("{path}?lines={lines}&follow={}{instance}", self.follow)
    }
}

/// What comes, a line each.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Told {
    /// So many lines were missed.
    Lost { lost: u64 },
    /// A line.
    Line(LogLine),
}

/// Shows each line once, also over streams that end.
#[derive(Debug)]
struct Reader {
    view: View,
    /// What was shown last: every line of the same millisecond.
    last: Vec<LogLine>,
    /// What was shown before this stream began, and may come again.
    known: Vec<LogLine>,
}

impl Reader {
    /// Shows what comes over one stream until that ends.
    fn read(&mut self, mut stream: impl BufRead) -> anyhow::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            match stream.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return Ok(()),
                Ok(_) => {}
            }
            // An empty line only says that the connection lives.
            match serde_json::from_slice(&line) {
                Ok(Told::Line(line)) if self.is_known(&line) => {}
                Ok(Told::Line(line)) => {
                    self.view.show(&line)?;
                    self.note(line);
                }
                Ok(Told::Lost { lost }) => self.view.show_lost(lost)?,
                Err(_) => {}
            }
        }
    }

    /// Whether the line was shown before this stream began.
    fn is_known(&mut self, line: &LogLine) -> bool {
        let Some(newest) = self.known.first().map(|known| known.at_ms) else { return false };
        if line.at_ms > newest {
            self.known.clear();
            return false;
        }
        match self.known.iter().position(|known| known == line) {
            Some(index) if self.known.len() > 1 => {
                self.known.remove(index);
                true
            }
            // The last one goes when a newer line comes.
            Some(_) => true,
            None => line.at_ms < newest,
        }
    }

    fn note(&mut self, line: LogLine) {
        if self.last.first().is_some_and(|last| last.at_ms != line.at_ms) {
            self.last.clear();
        }
        self.last.push(line);
    }
}

#[derive(Clone, Copy, Debug)]
struct View {
    json: bool,
    time: bool,
    palette: Palette,
}

impl View {
    fn show(self, line: &LogLine) -> anyhow::Result<()> {
        if self.json {
            show_json(line)?;
        } else {
            show(&self.text(line))?;
        }
        Ok(())
    }

    fn show_lost(self, lost: u64) -> anyhow::Result<()> {
        if self.json {
            show_json(&Told::Lost { lost })?;
        } else {
            let text = format!("[{lost} lines of all apps were missed here: this was too slow]");
            show(&format!("{}\n", self.palette.paint(Paint::Warn, &text)))?;
        }
        Ok(())
    }

    fn text(self, line: &LogLine) -> String {
        let LogLine { at_ms, app, instance, generation, text } = line;
        let time = self.time.then(|| {
            let time = format!("{}.{:03} ", when::utc(*at_ms), at_ms % 1000);
            self.palette.paint(Paint::Dim, &time)
        });
        // The same colour for every run of an instance.
        let seed = app.bytes().map(usize::from).sum::<usize>() + usize::from(*instance);
        format!(
            "{}{} {}\n",
            time.unwrap_or_default(),
            self.palette.tint(seed, &format!("{app}/{instance}.{generation} |")),
            self.palette.foreign(text)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_ms: u64, text: &str) -> LogLine {
        LogLine { at_ms, app: "shop".into(), instance: 0, generation: 3, text: text.into() }
    }

    fn view(palette: Palette) -> View {
        View { json: false, time: false, palette }
    }

    #[test]
    fn a_line_shows_whose_it_is_and_when_if_asked() {
        let line = line(1_795_230_300_123, "GET /\tok\x07");
        assert_eq!(view(Palette::Plain).text(&line), "shop/0.3 | GET /\tok\u{fffd}\n");
        let view = View { time: true, ..view(Palette::Plain) };
        assert_eq!(view.text(&line), "2026-11-21 03:05:00.123 shop/0.3 | GET /\tok\u{fffd}\n");
    }

    #[test]
    fn instances_have_different_colours() {
        let colour = |instance| {
            let text = view(Palette::Colour).text(&LogLine { instance, ..line(0, "") });
            text.split('m').next().map(str::to_owned)
        };
        assert_ne!(colour(0), colour(1));
        assert_eq!(colour(1), colour(1));
    }

    #[test]
    fn after_a_pause_only_what_was_missed_is_shown() {
        let view = View { json: true, ..view(Palette::Plain) };
        let shown = vec![line(2, "b"), line(2, "b"), line(2, "c")];
        let mut reader = Reader { view, last: shown.clone(), known: shown };
        let coming =
            [line(1, "a"), line(2, "b"), line(2, "b"), line(2, "c"), line(2, "d"), line(3, "b")];
        let new: Vec<_> = coming.into_iter().filter(|line| !reader.is_known(line)).collect();
        assert_eq!(new, [line(2, "d"), line(3, "b")]);
        assert!(!reader.is_known(&line(1, "a clock that was set back")));
    }

    #[test]
    fn a_stream_is_read_past_empty_lines_and_notices() {
        let text = |line: &LogLine| serde_json::to_string(line).unwrap();
        let (one, two) = (line(1, "a"), line(1, "b"));
        let stream = format!("\n{}\n{{\"lost\":3}}\n\nnonsense\n{}\n", text(&one), text(&two));
        let view = View { json: true, ..view(Palette::Plain) };
        let mut reader = Reader { view, last: Vec::new(), known: Vec::new() };
        reader.read(stream.as_bytes()).unwrap();
        assert_eq!(reader.last, [one, two]);
    }
}
