//! The commands about apps, before a node with real processes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::os::unix::fs::symlink;
use std::process::Command;

use evergate_e2e::{Client, Node, Setup, binary};
use serde_json::Value;

use crate::load::Traffic;
use crate::processes::HELLO;

/// The app that does what the words of its release say.
const APP: &str = env!("CARGO_BIN_EXE_e2e-app");

/// What a command showed.
#[derive(Debug)]
struct Shown {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Shown {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn run(node: &Node, line: &str) -> Shown {
    let mut command = Command::new(binary::path());
    command.args(line.split_whitespace()).arg("--socket").arg(node.path("run/admin.sock"));
    let output = command.output().unwrap();
    Shown {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Has `current` lead to a release of these words, from one moment to the next.
fn release(node: &Node, name: &str, words: &str) {
    node.write(&format!("{name}/words"), words);
    symlink(name, node.path("new")).unwrap();
    std::fs::rename(node.path("new"), node.path("current")).unwrap();
}

/// A node with two instances of release 1 behind `/`.
fn shop() -> Node {
    // The link to the release must be there before the app, and the folder comes with the node.
    let node = Setup::new().start(HELLO);
    release(&node, "one", "release=1");
    let (status, answer) = node.reload(&format!(
        r#"
[log]
access = "off"
[listener.web]
bind = ["127.0.0.1:0"]
limits = {{ connections_per_ip = 5000, requests = 100000 }}
[route.all]
match = "/*"
pool = "shop"
[pool.shop]
servers = {{ shop = {{ app = "shop" }} }}
[app.shop]
run = [{APP:?}]
cwd = {:?}
instances = 2
ready.http = "/health"
deploy = {{ canary_for = "300ms" }}
output.to = "nowhere"
"#,
        node.path("current"),
    ));
    assert_eq!(status, 200, "{answer}");
    node.wait_for("both are ready", |status| {
        let apps = status["apps"].as_array().unwrap();
        apps.len() == 2 && apps.iter().all(|one| one["state"] == "ready")
    });
    node
}

/// The words of the release that answers.
fn words(node: &Node) -> String {
    let mut client = Client::connect(node.web());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer: Value = serde_json::from_str(client.read_response().text()).unwrap();
    answer["words"].as_str().unwrap().to_owned()
}

#[test]
fn a_deploy_is_planned_carried_out_and_told() {
    let node = shop();
    let traffic = Traffic::start(node.web(), "/", 200);
    release(&node, "two", "release=2");
    let shown = run(&node, "deploy shop --dry-run");
    assert_eq!((shown.code, shown.err.as_str()), (Some(0), ""), "{shown:?}");
    let two = node.path("two");
    assert!(shown.out.starts_with(&format!("run {APP} in {}\n", two.display())), "{shown:?}");
    assert!(shown.out.contains("\n1. shop/0: start the new run beside the old one"), "{shown:?}");
    assert!(shown.out.ends_with("\nnothing was done\n"), "{shown:?}");
    assert_eq!(node.status()["deploys"], serde_json::json!([]));

    let shown = run(&node, "deploy shop");
    assert_eq!((shown.code, shown.err.as_str()), (Some(0), ""), "{shown:?}");
    assert!(shown.out.contains("\ndone: 2 of 2 instances replaced in "), "{shown:?}");
    traffic.wait_for(50);
    traffic.finish().expect_no_failure();
    assert_eq!(words(&node), "release=2");
    let apps = run(&node, "apps shop --json").json();
    assert_eq!(apps["deploys"][0]["phase"], "done");
    for one in apps["apps"].as_array().unwrap() {
        assert_eq!((&one["state"], &one["exits"]), (&"ready".into(), &0.into()), "{one}");
    }
    node.stderr.wait_for(1, "\"deploy_done\"");
}

#[test]
fn a_deploy_that_fails_exits_with_one_and_leaves_what_ran() {
    let node = shop();
    let before: Vec<Value> = pids(&node);
    release(&node, "bad", "exit=3");
    let shown = run(&node, "deploy shop");
    assert_eq!(shown.code, Some(1), "{shown:?}");
    let last = shown.out.lines().last().unwrap();
    assert!(last.starts_with("failed: ") && last.contains("exit status 3"), "{shown:?}");
    node.wait_for("only the old runs are there", |_| pids(&node) == before);
    assert_eq!(words(&node), "release=1");
    assert_eq!(run(&node, "status").code, Some(0), "a deploy that failed is told, not degraded");
}

#[test]
fn instances_are_stopped_started_and_restarted_by_name() {
    let node = shop();
    let traffic = Traffic::start(node.web(), "/", 200);
    let before = pids(&node);
    let shown = run(&node, "restart shop/0");
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.out.contains("\ndone: 1 of 1 instance replaced in "), "{shown:?}");
    let after = pids(&node);
    assert!(after[0] != before[0] && after[1] == before[1], "{before:?} {after:?}");

    let shown = run(&node, "stop shop/1");
    assert!(shown.out.contains("\ndone: shop/1 is stopped, after "), "{shown:?}");
    assert_eq!(node.status()["apps"][1]["state"], "stopped");
    assert_eq!(run(&node, "stop shop/1").out, "shop/1 is stopped already\n");
    let shown = run(&node, "start shop/1");
    assert!(shown.out.contains("\ndone: shop/1 is ready, after "), "{shown:?}");
    traffic.finish().expect_no_failure();

    let shown = run(&node, "restart shp");
    let help = "evergate: there is no app `shp`\n  help: did you mean `shop`?\n";
    assert_eq!((shown.code, shown.err.as_str()), (Some(1), help));
}

#[test]
fn apps_run_without_any_listener() {
    let node = Node::start(&format!(
        "[app.sync]\nrun = [{APP:?}]\nready.by = \"tcp\"\noutput.to = \"nowhere\"\n"
    ));
    node.wait_for("it is ready", |status| status["apps"][0]["state"] == "ready");
    let shown = run(&node, "status");
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert_eq!(run(&node, "restart sync").code, Some(0));
}

#[test]
fn an_app_that_fails_for_good_degrades_its_node_with_a_reason() {
    let node = Node::start(&format!(
        "{HELLO}[app.bad]\nrun = [\"/bin/false\"]\nready.by = \"none\"\n\
         backoff = {{ failures = 2, base = \"10ms\" }}\noutput.to = \"nowhere\"\n",
    ));
    node.wait_for("it is fatal", |status| status["apps"][0]["state"] == "fatal");
    let shown = run(&node, "status");
    assert!(shown.out.contains("\n  app.bad/0 is fatal: 2 failures within "), "{shown:?}");
    assert!(shown.out.contains("exit status 1; tried again in "), "{shown:?}");
    assert!(shown.out.contains("\n  app.bad: no instance is ready\n"), "{shown:?}");
    let metrics = node.metrics();
    let state = "evergate_app_instance_state{app=\"bad\",instance=\"0\",state=\"fatal\"}";
    assert_eq!(metrics[state], 1.0);
    assert_eq!(metrics["evergate_app_exits_total{app=\"bad\",instance=\"0\"}"], 2.0);
}

fn pids(node: &Node) -> Vec<Value> {
    let status = node.status();
    status["apps"].as_array().unwrap().iter().map(|one| one["pid"].clone()).collect()
}
