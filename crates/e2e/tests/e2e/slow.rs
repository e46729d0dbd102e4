//! Clients that are slow on purpose: slowhttptest in its modes, while others are served.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use evergate_e2e::program::{command, printed};
use evergate_e2e::{Node, Origin, wait_until};

use crate::scene::{Scene, ok};

/// Slow clients at once.
const CLIENTS: usize = 100;
/// No other client may wait longer: far longer than on a slow machine, and it is not for ever.
const PROBE_SECONDS: &str = "30";

/// What the slow clients are slow at.
#[derive(Clone, Copy, Debug)]
enum Mode {
    /// Sending a head.
    Header,
    /// Sending a body.
    Body,
    /// Taking a response.
    Read,
}

impl Mode {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Header => &["-H"],
            Self::Body => &["-B", "-s", "8192"],
            Self::Read => &["-X", "-w", "1", "-y", "64", "-n", "1", "-z", "8"],
        }
    }

    /// Why the log says that we ended it.
    fn reason(self) -> &'static str {
        match self {
            Self::Header => "header_timeout",
            Self::Body | Self::Read => "body_timeout",
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Security {
    Plain,
    Tls,
}

#[test]
fn slow_heads_take_nothing_away() {
    withstand(Mode::Header, Security::Plain);
}

#[test]
fn slow_bodies_take_nothing_away() {
    withstand(Mode::Body, Security::Plain);
}

#[test]
fn slow_readers_take_nothing_away() {
    withstand(Mode::Read, Security::Plain);
}

#[test]
fn slow_heads_over_tls_take_nothing_away() {
    withstand(Mode::Header, Security::Tls);
}

#[test]
fn slow_bodies_over_tls_take_nothing_away() {
    withstand(Mode::Body, Security::Tls);
}

#[test]
fn slow_readers_over_tls_take_nothing_away() {
    withstand(Mode::Read, Security::Tls);
}

/// Lets slow clients loose on a node; whoever else asks is answered meanwhile, and the slow ones
/// are closed on.
fn withstand(mode: Mode, security: Security) {
    let Some(mut attack) = command("slowhttptest") else { return };
    let Some(curl) = command("curl") else { return };
    let curl = curl.get_program().to_owned();
    // More than the sockets on the way hold.
    let origin = Origin::answering(ok(&"x".repeat(8 * 1024 * 1024)));
    let scene = Scene::to(&origin)
        .limits("header_timeout = \"1s\"\nbody_grace = \"1s\"\nconnections_per_ip = 1000")
        .more("[route.probe]\nmatch = \"/probe\"\nrespond = { body = \"here\" }");
    let (node, scheme) = match security {
        Security::Plain => (scene.start(), "http"),
        Security::Tls => (scene.start_secure(), "https"),
    };
    let url = format!("{scheme}://{}", node.web());
    let count = CLIENTS.to_string();
    attack.args(mode.arguments()).args(["-c", &count, "-r", &count, "-u", &format!("{url}/")]);
    attack.args(["-i", "1", "-l", "8", "-p", PROBE_SECONDS]);
    let over = AtomicBool::new(false);
    let (said, probes) = std::thread::scope(|scope| {
        let attacking = scope.spawn(|| {
            let said = printed(&mut attack);
            over.store(true, Relaxed);
            said
        });
        let mut probes = 0;
        while !over.load(Relaxed) {
            probe(&mut Command::new(&curl), &format!("{url}/probe"));
            probes += 1;
            // Asks often, and leaves the processor to those who are tested.
            std::thread::park_timeout(Duration::from_millis(50));
        }
        (attacking.join().unwrap(), probes)
    });
    assert!(said.contains("service available:") && !said.contains("NO"), "{said}");
    eprintln!("{probes} others were answered");
    assert!(probes > 0);
    closed_on(&node, mode);
}

fn probe(curl: &mut Command, url: &str) {
    assert_eq!(printed(curl.args(["-sS", "--insecure", "--max-time", PROBE_SECONDS, url])), "here");
}

/// The node has ended the slow connections, and nothing is left of them.
fn closed_on(node: &Node, mode: Mode) {
    let reason = format!("\"reason\":\"{}\"", mode.reason());
    node.stdout.wait_for(CLIENTS / 4, &reason);
    wait_until("all slow connections are gone", || {
        node.metrics()["evergate_listener_connections{listener=\"web\"}"] == 0.0
    });
}
