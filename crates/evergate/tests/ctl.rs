//! The commands that ask a node, run as a user would, before a fake one.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../../console/tests/fake/mod.rs"]
mod fake;
mod node;

use std::process::{Output, Stdio};

use evergate_control::snapshot::{Candidate, Changes, Health, PlanChange};
use node::{Node, command};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStdout;

impl Node {
    async fn run(&self, line: &str) -> Shown {
        Shown::of(self.command(line).output().await.unwrap())
    }
}

/// What a command showed.
#[derive(Debug)]
struct Shown {
    code: i32,
    out: String,
    err: String,
}

impl Shown {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

#[tokio::test]
async fn status_is_a_table_that_does_not_change_unseen() {
    let shown = Node::start().run("status").await;
    assert_eq!(shown.out, include_str!("data/status.expected"));
    assert_eq!((shown.code, shown.err.as_str()), (2, ""));
}

#[tokio::test]
async fn status_exits_by_health() {
    let node = Node::start();
    for (health, code) in [(Health::Healthy, 0), (Health::Degraded, 2), (Health::Down, 3)] {
        node.fake.state.lock().unwrap().status.health = health;
        assert_eq!(node.run("status").await.code, code);
        let shown = node.run("status --json").await;
        assert_eq!(shown.code, code);
        assert_eq!(
            shown.json(),
            serde_json::to_value(node.fake.state.lock().unwrap().status.clone()).unwrap()
        );
    }
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_told_from_a_bad_command_line() {
    for line in
        ["status", "top", "events", "reload", "drain a/b", "weight a/b 1", "explain GET http://a/"]
    {
        let output =
            command(line).args(["--socket", "/nowhere/admin.sock"]).output().await.unwrap();
        let shown = Shown::of(output);
        assert_eq!((shown.code, shown.out.as_str()), (3, ""), "{line}");
        assert!(
            shown.err.starts_with("evergate: no answer at /nowhere/admin.sock: "),
            "{}",
            shown.err
        );
        assert!(shown.err.contains("\n  help: is evergate running? "), "{}", shown.err);
    }
    for line in ["", "statsu", "drain a", "weight a/b 65536", "demo --for 20"] {
        let shown = Shown::of(command(line).output().await.unwrap());
        assert_eq!((shown.code, shown.out.as_str()), (64, ""), "{line}: {}", shown.err);
    }
}

#[tokio::test]
async fn a_broken_configuration_leads_to_its_own_node_or_to_none() {
    let node = Node::start();
    let folder = node.socket.parent().unwrap();
    let file = folder.join("evergate.toml");
    let run = async |text: &str| {
        std::fs::write(&file, text).unwrap();
        Shown::of(command("status -c").arg(&file).output().await.unwrap())
    };
    let known = run(&format!("[node]\nrun_dir = {folder:?}\n[pool.a]\nserver = 5\n")).await;
    assert!(known.out.starts_with("edge-a  "), "{known:?}");
    let unknown = run("[node]\nrun_dir =\n").await;
    assert_eq!((unknown.code, unknown.out.as_str()), (1, ""), "{unknown:?}");
    assert!(unknown.err.contains("socket is cannot be told\n  help: "), "{unknown:?}");

    let shown = Shown::of(command("status -c /nowhere/e.toml").output().await.unwrap());
    assert_eq!(shown.code, 1);
    assert!(shown.err.contains("/nowhere/e.toml cannot be read: "), "{shown:?}");
}

#[tokio::test]
async fn a_server_is_drained_and_weighed_by_name() {
    let node = Node::start();
    let shown = node.run("drain shop/shop/0").await;
    assert_eq!(shown.out, "shop/0: draining, weight 1, 0 in flight\n");
    assert_eq!(node.run("weight shop/shop/0 9").await.code, 0);
    let shown = node.run("undrain shop/shop/0 --json").await;
    assert_eq!((&shown.json()["state"], &shown.json()["weight"]), (&"up".into(), &9.into()));
    let expected = ["shop shop/0 Drain", "shop shop/0 Weight(9)", "shop shop/0 Undrain"];
    assert_eq!(node.fake.done(), expected);
    let shown = node.run("drain shop/nope").await;
    let expected = "evergate: pool `shop` has no server `nope`\n  help: it has: shop/0, shop/1\n";
    assert_eq!((shown.code, shown.err.as_str()), (1, expected));
}

#[tokio::test]
async fn a_reload_shows_the_difference() {
    let node = Node::start();
    let shown = node.run("reload --dry-run").await;
    assert_eq!((shown.code, shown.out.as_str()), (0, "+ route.new\nnot applied\n"));
    assert_eq!(node.run("reload").await.out, "+ route.new\napplied\n");
    assert_eq!(node.run("reload --json").await.json()["change"]["added"][0], "route.new");
    node.fake.state.lock().unwrap().reload = Ok(PlanChange {
        changed: vec!["app.shop".into()],
        runs: vec!["app.shop: its runs are replaced in turn (env changed)".into()],
        ..PlanChange::default()
    });
    let expected =
        "~ app.shop\napp.shop: its runs are replaced in turn (env changed)\nnot applied\n";
    assert_eq!(node.run("reload --dry-run").await.out, expected);
    node.fake.state.lock().unwrap().reload = Err("e.toml:1:1: no\n1 error".into());
    let shown = node.run("reload").await;
    let expected = "evergate: e.toml:1:1: no\n1 error\n  help: nothing was changed; mend the file and reload again\n";
    assert_eq!((shown.code, shown.err.as_str()), (1, expected));
}

#[tokio::test]
async fn changes_are_listed_with_what_they_do_to_the_file_and_dropped_by_name() {
    let node = Node::start();
    let shown = node.run("changes").await;
    assert_eq!(shown.out, include_str!("data/changes.expected"));
    assert_eq!(node.run("changes list").await.out, shown.out);
    let json = node.run("changes --json").await.json();
    assert_eq!(json["changes"][1]["name"], "pool.shop/b");
    let shown = node.run("changes drop route.api pool.shop/b --dry-run").await;
    assert_eq!((shown.code, shown.out.as_str()), (0, "~ route.all\nnot applied\n"));
    let expected = r#"Drop { subjects: ["route.api", "pool.shop/b"] } dry_run=true"#;
    assert_eq!(node.fake.done(), [expected]);
    assert_eq!(node.run("changes drop").await.code, 64);
    node.fake.state.lock().unwrap().changes =
        Changes { refused: Some("it is damaged".into()), ..Changes::default() };
    let shown = node.run("changes").await.out;
    let expected = "the changes are not in force:\n  it is damaged\n";
    assert_eq!(shown, expected);
    node.fake.state.lock().unwrap().status.config.changes = 1;
    let shown = node.run("status").await.out;
    assert!(shown.contains("  1 change beside the file; see `evergate changes`\n"), "{shown}");
}

#[tokio::test]
async fn an_explanation_reads_from_top_to_bottom() {
    let node = Node::start();
    let explanation = evergate_control::snapshot::Explanation {
        request: "a.example/v1/x".into(),
        route: Some("api".into()),
        pattern: Some("a.example/v1/*".into()),
        params: vec![("rest".into(), "x".into())],
        origin: Some("evergate.toml:12".into()),
        because: vec!["an exact host beats any".into(), "route.all matches too".into()],
        middleware: vec![("office".into(), "lets it through".into())],
        action: "pool api".into(),
        upstream_path: Some("/x".into()),
        pool: Some("api".into()),
        balance: Some("p2c".into()),
        candidates: vec![Candidate {
            name: "a".into(),
            address: "10.0.0.7:80".into(),
            eligible: false,
            reason: "down: refused".into(),
            weight: 1,
            in_flight: 0,
        }],
        status: None,
    };
    node.fake.state.lock().unwrap().explanation = Some(explanation);
    let shown =
        node.run("explain GET http://a.example/v1/x?y=%20 -H x-a:1 --client 10.0.0.9").await;
    assert_eq!(shown.out, include_str!("data/explain.expected"));
    assert_eq!(shown.code, 0);
    let asked = node.fake.done().pop().unwrap();
    let expected = "explain GET http://a.example/v1/x?y=%20 [(\"x-a\", \"1\")] Some(10.0.0.9)";
    assert_eq!(asked, expected);
    let shown = node.run("explain GET nonsense").await;
    assert_eq!(
        (shown.code, shown.err.lines().next()),
        (1, Some("evergate: the URL needs a scheme"))
    );
}

#[tokio::test]
async fn events_are_listed_and_then_followed() {
    let node = Node::start();
    let shown = node.run("events").await;
    let first = "2026-09-21 14:13:20  server_down  pool.shop/shop/1  reason 1";
    assert_eq!((shown.out.lines().count(), shown.out.lines().next()), (3, Some(first)));
    let mut child = node.command("events -f --json").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for sequence in 1..=3 {
        assert_eq!(next_sequence(&mut lines).await, sequence);
    }
    // It follows as soon as it subscribed; before that, nobody hears what is sent.
    while node.fake.control.events.send(fake::event(4)).is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(next_sequence(&mut lines).await, 4);
    child.kill().await.unwrap();
}

async fn next_sequence(lines: &mut tokio::io::Lines<BufReader<ChildStdout>>) -> u64 {
    let line = lines.next_line().await.unwrap().unwrap();
    serde_json::from_str::<serde_json::Value>(&line).unwrap()["sequence"].as_u64().unwrap()
}

#[tokio::test]
async fn top_writes_a_line_each_second_where_it_cannot_draw() {
    let node = Node::start();
    let shown = node.run("top --count 1").await;
    let expected = "degraded 0 requests/s 0 errors/s 0 in flight 12 connections 1/2 servers up\n";
    assert_eq!((shown.code, shown.out.as_str()), (0, expected));
    assert_eq!(node.run("top --count 1 --json").await.json()["servers_up"], 1);
}

#[tokio::test]
async fn check_tells_good_files_from_bad_ones() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("evergate.toml");
    let good = "[listener.web]\nbind = [\"127.0.0.1:0\"]\n[route.all]\nmatch = \"/*\"\n\
                respond = { body = \"ok\" }\n";
    let run = async |text: &str, more: &str| {
        std::fs::write(&file, text).unwrap();
        Shown::of(
            command("check -c").arg(&file).args(more.split_whitespace()).output().await.unwrap(),
        )
    };
    let shown = run(good, "").await;
    let expected = format!("{}: no errors, no warnings\n", file.display());
    assert_eq!((shown.code, shown.out), (0, expected));
    assert_eq!(run(good, "--json").await.json()["ok"], true);
    let bad = good.replace("match", "mtach");
    let shown = run(&bad, "").await;
    assert_eq!(shown.code, 1);
    assert!(shown.out.contains("did you mean `match`"), "{}", shown.out);
    let found = run(&bad, "--json").await.json();
    assert_eq!(found["ok"], false);
    let lines: Vec<_> =
        found["diagnostics"].as_array().unwrap().iter().map(|d| &d["line"]).collect();
    assert!(lines.contains(&&4.into()), "{found}");
}

#[tokio::test]
async fn a_file_is_formatted_once_and_then_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("evergate.toml");
    let untidy = "[listener.web]\nbind=[ \"127.0.0.1:0\" ]\n\n\n\n[node]\nname   =   \"a\"\n";
    std::fs::write(&file, untidy).unwrap();
    let run = async |more: &str| {
        let output = command("fmt").arg(&file).args(more.split_whitespace()).output().await;
        Shown::of(output.unwrap())
    };
    assert_eq!(run("--check").await.code, 1);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), untidy);
    let shown = run("").await;
    assert_eq!((shown.code, shown.out), (0, format!("{}: formatted\n", file.display())));
    let shown = run("--check").await;
    assert_eq!((shown.code, shown.out.as_str()), (0, ""));
    assert_eq!(run("--json").await.json()["changed"], false);
    std::fs::write(&file, "[node\n").unwrap();
    let shown = run("").await;
    assert_eq!(shown.code, 1);
    assert!(shown.out.contains(&file.display().to_string()), "{}", shown.out);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "[node\n");
}

#[tokio::test]
async fn the_reference_and_the_schema_know_the_keys() {
    let shown = Shown::of(command("schema").output().await.unwrap());
    assert!(shown.json()["properties"]["pool"].is_object(), "{}", shown.out);
    let shown = Shown::of(command("reference").output().await.unwrap());
    assert!(shown.out.contains("connect_timeout"), "{}", shown.out);
}

/// The fake node is master: an order that waits for another node to be it would wait in vain.
#[tokio::test]
async fn maintenance_ends_without_waiting_for_anybody() {
    let node = Node::start();
    let shown = node.run("maintenance off --wait 1ms").await;
    assert_eq!((shown.code, shown.err.as_str()), (0, ""), "{shown:?}");
    let shown = node.run("maintenance off --json --wait 1ms").await;
    assert!(shown.json()["plan"].is_array(), "{shown:?}");
    let shown = node.run("maintenance on --wait 1ms").await;
    assert_eq!(shown.code, 1, "nobody else has taken it: {shown:?}");
    assert!(shown.out.contains("this node still has it"), "{shown:?}");
}
