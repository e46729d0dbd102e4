//! What was said on the wire, as evidence: adverts and ARP, seen by the client.

use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use evergate_sys::signal::{self, Signal};

use super::network::Place;
use super::process::program;

/// How long it may take to begin.
const BEGINS_WITHIN: Duration = Duration::from_secs(5);

/// What is of interest: adverts, and who says where addresses are.
const FILTER: &str = "ip proto 112 or ip6 proto 112 or arp or icmp6";

/// A capture under way.
#[derive(Debug)]
pub struct Capture {
    /// Nothing once it has ended, and its number may be another's.
    child: Option<Child>,
    lines: Option<JoinHandle<Vec<String>>>,
}

/// An advert as it was on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Advert {
    /// When it came, since some moment in the past.
    pub at: Duration,
    /// Who sent it.
    pub from: IpAddr,
    /// To whom.
    pub to: IpAddr,
    /// With which priority.
    pub priority: u8,
    /// How long it was, without the header of IP.
    pub bytes: usize,
}

impl Capture {
    /// Begins one; none if there is no tcpdump here.
    pub fn start(place: &Place) -> Option<Self> {
        program("tcpdump")?;
        let mut command = place.command("tcpdump");
        command.args(["-tt", "-e", "-n", "-l", "-i", "eth0", FILTER]);
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
        Some(Self { child: Some(child), lines: Some(lines) })
    }

    /// Ends it; a line for each packet.
    pub fn stop(mut self) -> Vec<String> {
        self.end();
        let lines = self.lines.take().and_then(|lines| lines.join().ok());
        lines.unwrap_or_default()
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = signal::send(child.id(), Signal::Interrupt);
            let _ = child.wait();
        }
    }
}

impl Advert {
    /// Reads a line of a capture; nothing if that was something else.
    pub fn read(line: &str) -> Option<Self> {
        let (at, rest) = line.split_once(' ')?;
        let (head, advert) = rest.split_once(", Advertisement, ")?;
        // Behind the frame: `10.77.0.11 > 224.0.0.18: VRRPv3`.
        let mut ends = head.split(" > ").skip(1);
        let from = ends.next()?.rsplit(' ').next()?.parse().ok()?;
        let to = ends.next()?.rsplit_once(": ")?.0.parse().ok()?;
        let value = |name| advert.split(", ").find_map(|part| part.strip_prefix(name));
        let priority = value("prio ")?.parse().ok()?;
        let bytes = value("length ")?.parse().ok()?;
        let at = Duration::try_from_secs_f64(at.parse().ok()?).ok()?;
        Some(Self { at, from, to, priority, bytes })
    }
}

/// What remains of `lines`, which begin with their time, when repeats are only counted.
pub fn without_repeats(lines: &[String]) -> Vec<String> {
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
    fn adverts_are_read_and_nothing_else_is() {
        let v4 = "1795288069.829289 da:90:08:98:2d:f7 > 01:00:5e:00:00:12, ethertype IPv4 (0x0800), \
                  length 74: 10.9.9.1 > 224.0.0.18: VRRPv3, Advertisement, vrid 51, prio 254, intvl \
                  3cs, length 40";
        let at = Duration::from_micros(1_795_288_069_829_289);
        let read = Advert::read(v4).unwrap();
        assert_eq!((read.from, read.priority, read.bytes), ([10, 9, 9, 1].into(), 254, 40));
        assert!(read.at.abs_diff(at) < Duration::from_micros(2), "{read:?}");
        let v6 = "17.829352 da:90:08:98:2d:f7 > 33:33:00:00:00:12, ethertype IPv6 (0x86dd), length \
                  94: fe80::d890:8ff:fe98:2df7 > ff02::12: VRRPv3, Advertisement, vrid 51, prio 0, \
                  intvl 10cs, length 40";
        assert_eq!(read.to, IpAddr::from([224, 0, 0, 18]));
        let read = Advert::read(v6).unwrap();
        assert_eq!((read.from, read.priority), ("fe80::d890:8ff:fe98:2df7".parse().unwrap(), 0));
        let arp = "17.829352 da:90:08:98:2d:f7 > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length \
                   42: Request who-has 10.77.0.100 tell 10.77.0.2, length 28";
        assert_eq!(Advert::read(arp), None);
    }

    #[test]
    fn repeats_are_counted() {
        let lines = ["1.0 advert", "1.1 advert", "1.2 advert", "1.3 claim", "1.4 advert"];
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let more = "    and 2 more of these, the last at 1.2 advert";
        assert_eq!(without_repeats(&lines), ["1.0 advert", more, "1.3 claim", "1.4 advert"]);
    }
}
