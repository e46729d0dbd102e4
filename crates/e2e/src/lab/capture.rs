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

    /// Ends it; a line for each packet.
    pub fn stop(mut self) -> Vec<String> {
        self.end();
        let lines = self.lines.take().and_then(|lines| lines.join().ok());
        lines.unwrap_or_default()
    }

    fn end(&mut self) {
        let _ = signal::send(self.child.id(), Signal::Interrupt);
        let _ = self.child.wait();
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.end();
    }
}
