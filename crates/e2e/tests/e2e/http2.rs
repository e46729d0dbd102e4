//! HTTP/2 from clients, by Python that writes frames itself: right ones, wrong ones, too many.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use evergate_e2e::program::{printed, python};
use evergate_e2e::{Client, Node, Origin, wait_until};
use evergate_sys::signal::Signal;

use crate::scene::{Scene, get};

/// Cases of h2spec where the connection may end with another reason than the RFC names; see
/// `docs/http2.md`. For some it depends on whether the response has ended before.
const OTHER_REASON: [&str; 14] = [
    "http2/4.3/1",
    "http2/5.1/5",
    "http2/5.1/6",
    "http2/5.1/9",
    "http2/5.1/12",
    "http2/6.1/2",
    "http2/6.3/2",
    "http2/6.4/3",
    "http2/6.5/1",
    "http2/6.5/3",
    "http2/6.5.2/2",
    "http2/6.7/4",
    "http2/6.9/3",
    "http2/6.9.2/3",
];

/// Cases of h2spec where we take what is an error.
const TAKEN: [&str; 1] = ["http2/8.1.2.1/3"];

/// Python with one of our scripts; none if it cannot run here.
fn script(name: &str) -> Option<Command> {
    let mut command = python(&["hpack"])?;
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name));
    Some(command)
}

/// What came of a scene of `http2.py`; none if it cannot run here.
fn play(node: &Node, scene: &str) -> Option<String> {
    let mut command = script("http2.py")?;
    let (host, port) = (node.web().ip().to_string(), node.web().port().to_string());
    Some(printed(command.args([scene, &host, &port])).trim().to_owned())
}

#[test]
fn the_cases_of_h2spec_pass() {
    let origin = Origin::saying("hello");
    let node = Scene::to(&origin).start();
    let Some(mut command) = script("h2spec.py") else { return };
    let (host, port) = (node.web().ip().to_string(), node.web().port().to_string());
    let output = command.args([host, port]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let verdicts: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.split_once(' ')).collect();
    let with = |verdict: &str| -> Vec<&str> {
        let those = verdicts.iter().filter(|(said, _)| *said == verdict);
        those.filter_map(|(_, rest)| rest.split(' ').next()).collect()
    };
    assert_eq!(with("FAILED"), TAKEN, "{text}");
    let closed = with("closed");
    assert!(closed.iter().all(|id| OTHER_REASON.contains(id)), "{text}");
    assert_eq!(with("passed").len() + closed.len() + TAKEN.len(), 147, "{text}");
}

#[test]
fn floods_end_their_connection_and_no_other() {
    let origin = Origin::saying("hello");
    let node = Scene::to(&origin).start();
    let mut other = Client::connect(node.web());
    for kind in [
        "ping",
        "settings",
        "empty_data",
        "window_update",
        "priority",
        "rst_stream",
        "glitch",
        "continuation",
    ] {
        let Some(came) = play(&node, kind) else { return };
        assert_eq!(came, "GOAWAY 11", "{kind}");
        let name = format!("evergate_http2_floods_total{{listener=\"web\",kind=\"{kind}\"}}");
        wait_until(&name, || node.metrics().get(&name) == Some(&1.0));
        other.send(get("/", ""));
        assert_eq!(other.read_response().status, 200, "{kind}");
    }
    let events = node.stderr.wait_for(1, "http2_flood");
    assert_eq!(events.len(), 1, "eight floods are one event");
}

#[test]
fn a_header_block_that_does_not_end_ends_the_connection() {
    let origin = Origin::saying("hello");
    let node = Scene::to(&origin).limits("header_timeout = \"300ms\"").start();
    let Some(came) = play(&node, "slow_block") else { return };
    assert_eq!(came, "GOAWAY 11");
}

#[test]
fn a_window_that_stays_shut_ends_the_stream_only() {
    let origin = Origin::saying(&"x".repeat(100_000));
    let node = Scene::to(&origin).limits("body_grace = \"1s\"\nbody_rate_min = \"1KiB/s\"").start();
    let Some(came) = play(&node, "stalled") else { return };
    assert_eq!(came, "RST_STREAM, alive");
    let line = &node.stdout.wait_for(1, "\"statusCode\":200")[0];
    assert!(line.contains("\"reason\":\"body_timeout\""), "{line}");
}

#[test]
fn a_request_looks_to_the_server_like_one_of_http1() {
    let origin = Origin::saying("hello");
    let node = Scene::to(&origin).start();
    let Some(came) = play(&node, "fields") else { return };
    assert_eq!(came, "200 b'hello'");
    let request = origin.next_request();
    assert_eq!(request.all("cookie"), ["a=1; b=2"]);
    assert_eq!((request.field("host"), request.field("x-a")), (Some("a"), Some("1")));
    assert_eq!(request.field("via"), Some("2.0 edge-e2e"));
    assert_eq!((request.field("te"), request.field("connection")), (Some("trailers"), Some("TE")));
}

#[test]
fn trailers_pass_both_ways() {
    let origin = Origin::scripted(|served| {
        let Some(request) = served.read_request() else { return };
        served.record(request);
        served.write(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Out\r\n\r\n\
             5\r\nworld\r\n0\r\nX-Out: 7\r\n\r\n",
        );
        served.wait_for_end();
    });
    let node = Scene::to(&origin).start();
    let Some(came) = play(&node, "trailers") else { return };
    assert_eq!(came, "200 world 7");
    let sent = String::from_utf8_lossy(&origin.bytes()).to_lowercase();
    assert!(sent.contains("0\r\nx-sum: 5\r\n\r\n"), "{sent}");
}

#[test]
fn what_is_refused_is_answered() {
    let origin = Origin::saying("hello");
    let node = Scene::to(&origin).start();
    let Some(came) = play(&node, "refusals") else { return };
    assert_eq!(came, "400 431 414 405 400 400 417 400 405");
}

#[test]
fn a_client_that_leaves_takes_its_exchange_with_it() {
    let origin = Origin::scripted(|served| {
        served.read_request();
        served.wait_for_end();
    });
    let node = Scene::to(&origin).start();
    let Some(came) = play(&node, "cancelled") else { return };
    assert_eq!(came, "alive");
    let line = &node.stdout.wait_for(1, "\"statusCode\":499")[0];
    assert!(line.contains("\"reason\":\"client_gone\""), "{line}");
    origin.wait_for_ends(1);
}

#[test]
fn a_websocket_runs_over_a_stream() {
    let origin = Origin::scripted(|served| {
        let Some(request) = served.read_head() else { return };
        served.record(request);
        served.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: x\r\n\r\n",
        );
        while let Some(bytes) = served.read_some() {
            served.write(bytes);
        }
        served.end();
    });
    let node = Scene::to(&origin).start();
    let Some(came) = play(&node, "websocket") else { return };
    assert_eq!(came, "True 200 False pinglast");
    let request = origin.next_request();
    assert_eq!(request.field("upgrade"), Some("websocket"));
    assert_eq!(request.field("sec-websocket-key").map(str::len), Some(24));
}

#[test]
fn draining_says_goaway_and_loses_nothing() {
    let origin = Origin::saying("hello");
    let node = Scene::to(&origin).start();
    let Some(mut command) = script("http2.py") else { return };
    let (host, port) = (node.web().ip().to_string(), node.web().port().to_string());
    let mut client =
        command.args(["draining", &host, &port]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    node.reload(&Scene::to(&origin).route("timeout = \"7s\"").config());
    for _ in 0..20 {
        origin.next_request();
    }
    node.signal(Signal::Terminate);
    assert_eq!(lines.next().unwrap().unwrap(), "nothing lost, told");
    assert!(client.wait().unwrap().success());
}
