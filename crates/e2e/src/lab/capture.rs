//! What was said on the wire, as evidence: adverts and ARP, seen by the client.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use evergate_sys::signal::{self, Signal};

use super::network::Place;
use super::process::program;

/// How long it may take to begin.
const BEGINS_WITHIN: Duration = Duration::from_secs(5);

/// A capture under way.
#[derive(Debug)]
pub struct Capture {
    child: Child,
    lines: Option<JoinHandle<Vec<String>>>,
}

impl Capture {
    /// Begins one; none if there is no tcpdump here.
    pub fn start(place: &Place) -> Option<Self> {
        program("tcpdump")?;
        let mut command = place.command("tcpdump");
        command.args(["-tt", "-e", "-n", "-l", "-i", "eth0", "ip proto 112 or arp"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().ok()?;
        let stdout = child.stdout.take()?;
        let stderr = child.stderr.take()?;
        let lines = std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).collect()
        });
        let (began, begins) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.contains("listening on") {
                    let _ = began.send(());
                }
            }
        });
        // One that has not begun by then has less to show.
        let _ = begins.recv_timeout(BEGINS_WITHIN);
        Some(Self { child, lines: Some(lines) })
    }

    /// Ends it; a line for each packet, and a count for those that only repeat the one before.
    pub fn stop(mut self) -> Vec<String> {
        self.end();
        let lines = self.lines.take().and_then(|lines| lines.join().ok());
        without_repeats(&lines.unwrap_or_default())
    }

    fn end(&mut self) {
        let _ = signal::send(self.child.id(), Signal::Interrupt);
        let _ = self.child.wait();
    }
}

/// What remains of `lines`, which begin with their time, when repeats are only counted.
fn without_repeats(lines: &[String]) -> Vec<String> {
    let text = |line: &str| line.split_once(' ').map(|(_, text)| text.to_owned());
    let mut kept: Vec<String> = Vec::new();
    let mut repeats = 0;
    for (index, line) in lines.iter().enumerate() {
        if index > 0 && text(line) == text(&lines[index - 1]) {
            repeats += 1;
            continue;
        }
        if repeats > 0 {
            kept.push(format!("    and {repeats} more of these, the last at {}", lines[index - 1]));
            repeats = 0;
        }
        kept.push(line.clone());
    }
    kept
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_counted() {
        let lines = ["1.0 advert", "1.1 advert", "1.2 advert", "1.3 claim", "1.4 advert"];
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let more = "    and 2 more of these, the last at 1.2 advert";
        assert_eq!(without_repeats(&lines), ["1.0 advert", more, "1.3 claim", "1.4 advert"]);
    }
}
