//! The commands about apps, run as a user would, before a fake node.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../../console/tests/fake/mod.rs"]
mod fake;
mod node;

use std::process::Stdio;

use evergate_control::snapshot::{DeployStatus, InstanceStatus, Status};
use fake::{deploy, instance, line};
use node::Node;
use tokio::io::{AsyncBufReadExt, BufReader};

impl Node {
    /// Exit code, standard output and standard error.
    async fn run(&self, line: &str) -> (i32, String, String) {
        let output = self.command(line).output().await.unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    /// What the node is like from now on.
    fn is(&self, apps: Vec<InstanceStatus>, deploys: Vec<DeployStatus>) {
        let mut state = self.fake.state.lock().unwrap();
        state.status = node(apps, deploys);
        state.is_wished = false;
    }

    /// What the node is like after the next wish, look by look.
    fn then(&self, looks: Vec<(Vec<InstanceStatus>, Vec<DeployStatus>)>) {
        let looks = looks.into_iter().map(|(apps, deploys)| node(apps, deploys));
        self.fake.state.lock().unwrap().after_wish = looks.collect();
    }
}

fn node(apps: Vec<InstanceStatus>, deploys: Vec<DeployStatus>) -> Status {
    Status { apps, deploys, ..fake::status() }
}

fn both(first: &str, second: &str) -> Vec<InstanceStatus> {
    vec![instance(0, 2, first), instance(1, 2, second)]
}

#[tokio::test]
async fn apps_is_a_table_that_does_not_change_unseen() {
    let node = Node::start();
    let expected = include_str!("data/apps.expected");
    assert_eq!(node.run("apps").await, (0, expected.to_owned(), String::new()));
    let (code, out, _) = node.run("apps sync").await;
    assert_eq!((code, out.lines().count()), (0, 2), "{out}");
    let (_, out, _) = node.run("apps shop/0 --json").await;
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["apps"].as_array().unwrap().len(), 1);
    assert_eq!(answer["deploys"][0]["number"], 3);
    assert!(answer["app_limits"][0]["kept"][1].as_str().unwrap().starts_with("cpu unsupported"));
    node.is(Vec::new(), Vec::new());
    let (_, out, _) = node.run("apps").await;
    assert_eq!(out, "there are no apps: the configuration has no `[app.NAME]`\n");
}

#[tokio::test]
async fn a_deploy_prints_its_plan_and_then_how_far_it_is() {
    let node = Node::start();
    node.is(both("ready", "ready"), Vec::new());
    let going = |phase: &str, done, message: &str| vec![deploy(phase, done, message)];
    let rolling = |done, message: &str| (both("ready", "ready"), going("rolling", done, message));
    let mut old = deploy("done", 2, "replaced 2 of 2");
    old.number = 2;
    node.is(both("ready", "ready"), vec![old.clone()]);
    node.then(vec![
        // The deploy before this one is not taken for it.
        (both("ready", "ready"), vec![old]),
        rolling(0, "waits until the new run of shop/0 is ready"),
        rolling(0, "waits until the new run of shop/0 is ready"),
        (both("ready", "ready"), going("soaking", 0, "watches shop/0, the canary: 5 requests")),
        (both("ready", "ready"), going("soaking", 0, "watches shop/0, the canary: 9 requests")),
        rolling(1, "drains and stops the old run of shop/1"),
        (both("ready", "ready"), going("done", 2, "replaced 2 of 2")),
    ]);
    let (code, out, err) = node.run("deploy shop").await;
    let (text, took) = out.rsplit_once(" in ").unwrap();
    let expected = "replace shop/0\nreplace shop/1\n\
        rolling, 0 of 2 instances replaced: waits until the new run of shop/0 is ready\n\
        soaking, 0 of 2 instances replaced\n\
        rolling, 1 of 2 instances replaced: drains and stops the old run of shop/1\n\
        done, 2 of 2 instances replaced\n\
        done: 2 of 2 instances replaced";
    assert_eq!((code, text, err.as_str()), (0, expected, ""));
    assert!(took.ends_with(" s\n"), "{took}");
    assert_eq!(node.fake.done(), ["Deploy shop None"]);
}

#[tokio::test]
async fn a_deploy_that_fails_says_why_and_exits_with_one() {
    let node = Node::start();
    let why = "shop/0 exited: exit status 1; every instance has its old revision";
    let failed = (both("ready", "ready"), vec![deploy("failed", 0, why)]);
    node.is(both("ready", "ready"), Vec::new());
    let mut third = deploy("done", 2, "");
    third.number = 2;
    node.is(both("ready", "ready"), vec![third]);
    node.then(vec![failed.clone()]);
    let (code, out, _) = node.run("deploy shop").await;
    assert_eq!(code, 1);
    assert!(out.ends_with(&format!("\nfailed: {why}\n")), "{out}");

    node.is(both("ready", "ready"), Vec::new());
    node.then(vec![failed]);
    let (code, out, _) = node.run("restart shop --json").await;
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    // It is the third deploy, but none was known before: somebody else's came in between.
    assert_eq!(
        (code, answer["outcome"].as_str(), answer["applied"].as_bool()),
        (1, Some("failed"), Some(true))
    );
    assert_eq!(answer["message"], "deploy #3 came after it; see `evergate apps`");
    assert_eq!(answer["plan"][1], "replace shop/1");
}

#[tokio::test]
async fn a_dry_run_prints_the_plan_and_no_wait_does_not_wait() {
    let node = Node::start();
    let plan = "replace shop/0\nreplace shop/1\n";
    assert_eq!(node.run("deploy shop --dry-run").await.1, format!("{plan}nothing was done\n"));
    assert_eq!(node.run("restart shop --dry-run").await.1, format!("{plan}nothing was done\n"));
    assert_eq!(node.run("deploy shop --no-wait").await, (0, plan.to_owned(), String::new()));
    let (_, out, _) = node.run("restart shop/1 --no-wait --json").await;
    let expected = "{\"plan\":[\"replace shop/0\",\"replace shop/1\"],\"applied\":true}\n";
    assert_eq!(out, expected);
    let done = [
        "PlanDeploy shop None",
        "PlanRestart shop None",
        "Deploy shop None",
        "Restart shop Some(1)",
    ];
    assert_eq!(node.fake.done(), done);
}

#[tokio::test]
async fn a_deploy_is_given_up() {
    let node = Node::start();
    node.then(vec![
        (both("ready", "ready"), vec![deploy("reverting", 1, "drains the new run of shop/0")]),
        (both("ready", "ready"), vec![deploy("failed", 0, "given up by the operator")]),
    ]);
    let (code, out, _) = node.run("deploy shop --abort").await;
    assert_eq!(code, 0);
    assert!(out.ends_with("\ndone: deploy #3: given up by the operator\n"), "{out}");
    assert_eq!(node.fake.done(), ["Abort shop None"]);
}

#[tokio::test]
async fn an_app_is_started_and_stopped_and_waited_for() {
    let node = Node::start();
    node.is(both("stopped", "stopped"), Vec::new());
    node.then(vec![
        (both("starting", "stopped"), Vec::new()),
        (both("ready", "starting"), Vec::new()),
        (both("ready", "ready"), Vec::new()),
    ]);
    let (code, out, _) = node.run("start shop").await;
    let expected = "replace shop/0\nreplace shop/1\n\
        shop/0 #2: starting\nshop/1 #2: stopped\nshop/0 #2: ready\nshop/1 #2: starting\n\
        shop/1 #2: ready\ndone: shop is ready, after ";
    assert!(out.starts_with(expected), "{out}");
    assert_eq!(code, 0);

    node.is(both("ready", "ready"), Vec::new());
    node.then(vec![
        (both("ready", "draining"), Vec::new()),
        (both("ready", "stopped"), Vec::new()),
    ]);
    let (code, out, _) = node.run("stop shop/1").await;
    assert_eq!(code, 0);
    assert!(
        out.contains("\nshop/1 #2: draining\nshop/1 #2: stopped\ndone: shop/1 is stopped, "),
        "{out}"
    );
    assert_eq!(node.fake.done(), ["Start shop None", "Stop shop Some(1)"]);
}

#[tokio::test]
async fn what_is_so_already_is_no_failure() {
    let node = Node::start();
    node.fake.state.lock().unwrap().plan = Err("app shop is started already".into());
    node.is(both("ready", "ready"), Vec::new());
    assert_eq!(node.run("start shop").await, (0, "shop is ready already\n".into(), String::new()));
    node.is(both("ready", "starting"), Vec::new());
    let (code, _, err) = node.run("start shop").await;
    assert_eq!((code, err.as_str()), (1, "evergate: app shop is started already\n"));
    node.is(both("ready", "stopped"), Vec::new());
    let (code, out, _) = node.run("stop shop/1 --json").await;
    assert_eq!(code, 0);
    assert!(out.contains("\"message\":\"shop/1 is stopped already\""), "{out}");
}

#[tokio::test]
async fn a_start_that_fails_says_how() {
    let node = Node::start();
    let mut fatal = instance(0, 2, "fatal");
    (fatal.exits, fatal.last_exit) = (1, Some("command not found: /srv/shp".into()));
    let stopped = InstanceStatus { state: "stopped".into(), exits: 0, ..fatal.clone() };
    node.is(vec![stopped], Vec::new());
    node.then(vec![(vec![fatal], Vec::new())]);
    let (code, out, _) = node.run("start shop/0").await;
    assert_eq!(code, 1);
    assert!(out.ends_with("\nfailed: shop/0: command not found: /srv/shp\n"), "{out}");
}

#[tokio::test]
async fn what_is_not_there_or_refused_is_told_with_help() {
    let node = Node::start();
    let table = [
        ("deploy shp", "evergate: there is no app `shp`\n  help: did you mean `shop`?\n"),
        ("stop warehouse", "evergate: there is no app `warehouse`\n  help: there is: shop, sync\n"),
        ("restart shop/7", "evergate: there is no instance `shop/7`\n  help: it has: 0, 1\n"),
        ("apps sync/3", "evergate: there is no instance `sync/3`\n  help: it has: 0\n"),
    ];
    for (line, expected) in table {
        assert_eq!(node.run(line).await, (1, String::new(), expected.to_owned()), "{line}");
    }
    assert!(node.fake.done().is_empty());
    node.fake.state.lock().unwrap().plan = Err("a deploy of shop is under way".into());
    let expected = (1, String::new(), "evergate: a deploy of shop is under way\n".to_owned());
    assert_eq!(node.run("deploy shop").await, expected);
    for line in ["deploy shop/1", "start", "stop shop/x", "deploy shop --abort --dry-run"] {
        assert_eq!(node.run(line).await.0, 64, "{line}");
    }
    for line in ["apps", "start a", "stop a/0", "restart a", "deploy a"] {
        let mut command = node::command(line);
        let output = command.args(["--socket", "/nowhere/admin.sock"]).output().await.unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{line}");
        assert!(err.starts_with("evergate: no answer at /nowhere/admin.sock: "), "{err}");
    }
}

#[tokio::test]
async fn ctrl_c_ends_watching_and_not_the_deploy() {
    let node = Node::start();
    node.is(both("ready", "ready"), Vec::new());
    let mut going = deploy("rolling", 0, "starts the new run of shop/0");
    going.number = 1;
    node.then(vec![(both("ready", "ready"), vec![going])]);
    let mut child = node.command("deploy shop").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().unwrap().starts_with("rolling") {}
    let pid = child.id().unwrap();
    evergate_sys::signal::send(pid, evergate_sys::signal::Signal::Interrupt).unwrap();
    let mut rest = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        rest.push(line);
    }
    let expected = "it goes on; see `evergate apps shop`, give it up with `evergate deploy shop \
                    --abort`";
    assert_eq!(rest, ["", expected]);
    assert_eq!(child.wait().await.unwrap().code(), Some(130));
    assert_eq!(node.fake.done(), ["Deploy shop None"]);
}

#[tokio::test]
async fn logs_shows_whose_lines_they_are_and_follows() {
    let node = Node::start();
    node.fake.state.lock().unwrap().lines = vec![line(0, "one"), line(1, "two")];
    let out = "shop/0.3 | one\nshop/1.3 | two\n".to_owned();
    assert_eq!(node.run("logs").await, (0, out, String::new()));
    let timed = "2026-11-21 03:05:00.123 shop/1.3 | two\n".to_owned();
    assert_eq!(node.run("logs shop -n 1 --time").await, (0, timed, String::new()));
    let (_, json, _) = node.run("logs shop/1 -n 1 --json").await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["text"], "two");
    let told = "evergate: there is no app `shp`\n  help: there is: shop, sync\n".to_owned();
    assert_eq!(node.run("logs shp").await, (1, String::new(), told));

    let printed = node.fake.state.lock().unwrap().printed.clone();
    let mut command = node.command("logs shop -f");
    let mut running = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    for expected in ["shop/0.3 | one", "shop/1.3 | two"] {
        assert_eq!(lines.next_line().await.unwrap().unwrap(), expected);
    }
    printed.send(line(0, "three")).unwrap();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "shop/0.3 | three");
    // Nobody reads any more: it ends, and says nothing.
    drop(lines);
    while running.try_wait().unwrap().is_none() {
        let _ = printed.send(line(0, "four"));
        tokio::task::yield_now().await;
    }
    assert!(running.wait().await.unwrap().success());
}
