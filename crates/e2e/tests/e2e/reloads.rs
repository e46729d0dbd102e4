//! Changing the configuration under traffic, well and badly.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::TcpStream;

use evergate_e2e::{Client, Node, Origin, Setup, wait_until};
use evergate_sys::signal::Signal;
use rustix::fs::{CWD, Mode, mkfifoat};

use crate::load::Traffic;
use crate::processes::kill_worker;

/// A node that forwards, and what a reload changes about it.
fn config(origin: &Origin, weight: u32, more: &str) -> String {
    format!(
        r#"
[log]
access = "off"
[listener.web]
bind = ["127.0.0.1:0"]
[route.all]
match = "/*"
pool = "api"
[pool.api]
servers = {{ a = {{ url = "{0}", weight = {weight} }}, b = {{ url = "{0}" }} }}
{more}
"#,
        origin.url()
    )
}

const EXTRA: &str = r#"
check.tcp = { every = "1s", timeout = "1s", fall = 1000 }
[listener.extra]
bind = ["127.0.0.1:0"]
[route.extra]
match = "/extra"
listeners = ["extra"]
respond = { body = "extra" }
"#;

fn generation(node: &Node) -> u64 {
    node.status()["config"]["generation"].as_u64().unwrap()
}

#[test]
fn twenty_reloads_cost_no_request() {
    let origin = Origin::saying("hello");
    let node = Setup::new().threads(2).start(&config(&origin, 1, ""));
    let traffic = Traffic::start(node.web(), "/", 400);
    traffic.wait_for(100);
    for round in 1..=20 {
        let before = generation(&node);
        let has_extra = round % 2 == 1;
        let next = config(&origin, round, if has_extra { EXTRA } else { "" });
        match round {
            // The files are looked at once a second, so a few rounds will do.
            5 | 10 | 15 => node.rewrite(&next),
            _ if round % 3 == 0 => {
                node.rewrite(&next);
                node.signal(Signal::Hangup);
            }
            _ => {
                let (code, answer) = node.reload(&next);
                assert_eq!(code, 200, "{answer}");
            }
        }
        wait_until("it is applied", || generation(&node) > before);
        let status = node.status();
        assert_eq!(status["listeners"].as_array().unwrap().len(), if has_extra { 2 } else { 1 });
        assert_eq!(node.server("api", "a")["weight"], round);
        if has_extra {
            let extra = node.address("extra");
            let answer = Client::ask(extra, "GET /extra HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(answer.text(), "extra");
        }
        traffic.wait_for(20);
    }
    let report = traffic.finish();
    eprintln!("20 reloads: {report}");
    report.expect_no_failure();
}

#[test]
fn a_listener_that_goes_serves_who_has_come_and_refuses_the_rest() {
    let origin = Origin::saying("hello");
    let node = Node::start(&config(&origin, 1, EXTRA));
    let extra = node.address("extra");
    let mut client = Client::connect(extra);
    client.send("GET /extra HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(node.reload(&config(&origin, 1, "")).0, 200);
    assert_eq!(client.read_response().text(), "extra");
    assert!(TcpStream::connect(extra).is_err());
}

#[test]
fn a_listener_under_another_name_loses_nobody() {
    let origin = Origin::saying("hello");
    let port = evergate_e2e::free_address();
    let named = |name: &str| {
        let text = config(&origin, 1, "").replace("listener.web", &format!("listener.{name}"));
        text.replace("127.0.0.1:0", &port.to_string())
    };
    let node = Node::start(&named("one"));
    let traffic = Traffic::start(port, "/", 400);
    for round in 0..10 {
        traffic.wait_for(40);
        let (code, answer) = node.reload(&named(["two", "one"][round % 2]));
        assert_eq!(code, 200, "{answer}");
    }
    traffic.finish().expect_no_failure();
}

#[test]
fn a_bad_file_changes_nothing_and_is_told_until_it_is_mended() {
    let origin = Origin::saying("hello");
    let good = config(&origin, 1, "");
    let node = Node::start(&good);
    let traffic = Traffic::start(node.web(), "/", 100);
    traffic.wait_for(20);
    let (code, answer) = node.reload(&good.replace("weight", "wieght"));
    assert!((400..500).contains(&code), "{code} {answer}");
    assert!(answer.to_string().contains("did you mean `weight`?"), "{answer}");
    let is_told = || {
        let status = node.status();
        let failure = status["config"]["failed_reload"].to_string();
        assert!(failure.contains("did you mean `weight`?"), "{status:#}");
        assert_eq!(status["health"], "degraded");
        let (code, text) = node.admin("GET", "/readyz?verbose", None);
        assert_eq!(code, 200, "it serves: {text}");
        assert!(text.contains("[!]") && text.contains("reload"), "{text}");
    };
    is_told();
    let events = node.api("GET", "/api/v1/events", None).1.to_string();
    assert!(events.contains("config_refused"), "{events}");
    assert_eq!(generation(&node), 1);
    traffic.wait_for(20);
    traffic.finish().expect_no_failure();

    // A worker that comes now has only what was applied before to go by.
    kill_worker(&node);
    is_told();
    let answer = Client::ask(node.web(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.text(), "hello");

    // Nobody says that it is mended; it is noticed.
    node.rewrite(&good);
    node.wait_for("it is well again", |status| {
        status["health"] == "healthy" && status["config"]["failed_reload"].is_null()
    });
}

/// A pipe would wait for somebody who writes, and with it everything that is asked of the node.
#[test]
fn a_pipe_in_place_of_a_file_is_refused_and_holds_nobody_up() {
    let good = "[listener.web]\nbind = [\"127.0.0.1:0\"]\n\
                [route.all]\nmatch = \"/*\"\nrespond = { body = \"all\" }\n";
    let node =
        Setup::new().include("conf.d/*.toml").start(&format!("reload = \"on-request\"\n{good}"));
    let pipe = node.path("conf.d/pipe.toml");
    std::fs::create_dir_all(pipe.parent().unwrap()).unwrap();
    // For everybody to read, so that the worker opens it itself.
    mkfifoat(CWD, &pipe, Mode::from_raw_mode(0o644)).unwrap();
    let (code, answer) = node.api("POST", "/api/v1/reload", None);
    let answer = answer.to_string();
    assert!(
        code == 422 && answer.contains("pipe.toml cannot be read: it is not a reg"),
        "{answer}"
    );
    std::fs::remove_file(&pipe).unwrap();
    let (code, answer) = node.api("POST", "/api/v1/reload", None);
    assert_eq!(code, 200, "{answer}");
}

#[test]
fn a_new_file_in_an_included_directory_is_noticed() {
    let route = |name: &str, body: &str| {
        format!("[route.{name}]\nmatch = \"/{name}\"\nrespond = {{ body = \"{body}\" }}\n")
    };
    let config = "[listener.web]\nbind = [\"127.0.0.1:0\"]\n";
    let node = Setup::new()
        .include("conf.d/*.toml")
        .file("conf.d/one.toml", &route("one", "1"))
        .start(config);
    let ask = |path: &str| {
        Client::ask(node.web(), format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .text()
            .to_owned()
    };
    assert_eq!(ask("one"), "1");
    node.write("conf.d/two.toml", &route("two", "2"));
    wait_until("the new file is applied", || ask("two") == "2");
    // A file that is bad when it comes is read again when it is mended.
    node.write("conf.d/three.toml", "[route.three]\n");
    node.stderr.wait_for(1, "config_refused");
    node.write("conf.d/three.toml", &route("three", "3"));
    wait_until("the mended file is applied", || ask("three") == "3");
}

#[test]
fn a_key_that_needs_a_new_start_says_so() {
    let origin = Origin::saying("hello");
    let node = Node::start(&config(&origin, 1, ""));
    let text = std::fs::read_to_string(node.path("evergate.toml")).unwrap();
    node.write("evergate.toml", &text.replace("threads = 1", "threads = 2"));
    let (code, answer) = node.api("POST", "/api/v1/reload", None);
    assert_eq!(code, 200);
    assert!(answer["change"]["warnings"].to_string().contains("node.threads"), "{answer}");
    node.stderr.wait_for(1, "started anew");
}
