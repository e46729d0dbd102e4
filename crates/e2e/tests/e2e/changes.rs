//! Routes and servers changed beside the file, while a node serves and after it was gone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Command;

use evergate_e2e::{Client, Node, Origin, Setup, binary, wait_until};
use evergate_sys::signal::{self, Signal};
use serde_json::{Value, json};

use crate::processes::{kill_worker, pid};

/// A pool of one server, and a fixed answer.
fn config(origin: &Origin, more: &str) -> String {
    format!(
        r#"
[listener.web]
bind = ["127.0.0.1:0"]
[route.api]
match = "/api"
pool = "api"
[route.file]
match = "/file"
respond = {{ body = "from the file" }}
[pool.api]
servers = {{ a = {{ url = "{}" }} }}
{more}
"#,
        origin.url()
    )
}

fn fixed(path: &str, body: &str) -> Value {
    json!({ "match": path, "respond": { "body": body } })
}

/// Status and text of what is at `path`.
fn ask(node: &Node, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = Client::ask(node.web(), request);
    (answer.status, answer.text().to_owned())
}

fn expect(node: &Node, path: &str, body: &str) {
    assert_eq!(ask(node, path), (200, body.to_owned()), "{path}");
}

/// Does a change that must go well.
fn change(node: &Node, method: &str, path: &str, body: Option<Value>) -> Value {
    let (status, answer) = node.api(method, path, body);
    assert_eq!(status, 200, "{method} {path}: {answer}");
    answer
}

/// Kinds and subjects of all events.
fn events(node: &Node) -> Vec<(String, String)> {
    let (_, events) = node.api("GET", "/api/v1/events", None);
    let events = events["events"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    events.map(|event| (text(&event["kind"]), text(&event["subject"]))).collect()
}

/// Exit code, standard output and error of a command that asks the node.
fn command(node: &Node, line: &str) -> (i32, String, String) {
    let socket = node.path("run/admin.sock");
    let mut command = Command::new(binary::path());
    command.args(line.split_whitespace()).arg("--socket").arg(socket);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn what_is_put_is_served_at_once_and_after_the_whole_node_was_gone() {
    let (one, two) = (Origin::saying("one"), Origin::saying("two"));
    let mut node = Setup::new().start(&config(&one, ""));
    let answer = change(&node, "PUT", "/api/v1/routes/new", Some(fixed("/new", "put")));
    assert_eq!(answer["applied"], true);
    assert_eq!(answer["change"]["added"], json!(["route.new"]));
    expect(&node, "/new", "put");
    change(&node, "PUT", "/api/v1/routes/file", Some(fixed("/file", "replaced")));
    change(&node, "PUT", "/api/v1/pools/api/servers/b", Some(json!({ "url": two.url() })));
    change(&node, "DELETE", "/api/v1/pools/api/servers/a", None);
    for restarts in 0..2 {
        expect(&node, "/new", "put");
        expect(&node, "/file", "replaced");
        expect(&node, "/api", "two");
        let (_, changes) = node.api("GET", "/api/v1/changes", None);
        let does = changes["changes"].as_array().unwrap().iter();
        let does = does.map(|one| {
            format!("{} {}", one["does"].as_str().unwrap(), one["name"].as_str().unwrap())
        });
        let expected =
            ["replaces route.file", "adds route.new", "hides pool.api/a", "adds pool.api/b"];
        assert_eq!(does.collect::<Vec<_>>(), expected, "after {restarts} restarts");
        if restarts == 0 {
            node.stop();
            node.start_again();
        }
    }
    let (_, text) = node.admin("GET", "/api/v1/config", None);
    assert!(text.contains("# route.new comes from a change\n[route.new]"), "{text}");
    assert!(text.contains("# pool.api/a is hidden by a change"), "{text}");
    let (code, shown, _) = command(&node, "status");
    assert!(code == 0 && shown.contains("4 changes beside the file"), "{shown}");

    // Taken away in both ways: what was put goes, and what the file has comes back.
    change(&node, "DELETE", "/api/v1/routes/new", None);
    assert_eq!(ask(&node, "/new").0, 404);
    change(&node, "DELETE", "/api/v1/routes/file", None);
    expect(&node, "/file", "from the file");
    change(&node, "DELETE", "/api/v1/routes/file", None);
    assert_eq!(ask(&node, "/file").0, 404);
    let (status, answer) = node.api("DELETE", "/api/v1/routes/file", None);
    assert_eq!(
        (status, &answer["error"]["message"]),
        (404, &json!("`route.file` is hidden already"))
    );
    let (code, shown, told) = command(&node, "changes drop pool.api/a pool.api/b route.file");
    assert!(code == 0 && shown.ends_with("applied\n"), "{shown}{told}");
    expect(&node, "/api", "one");
    expect(&node, "/file", "from the file");
    let (_, shown, _) = command(&node, "changes");
    assert_eq!(shown, "there are no changes: all is as in the file\n");
    let told = events(&node);
    for subject in ["route.new", "route.file", "pool.api/a"] {
        let event = ("change_applied".to_owned(), subject.to_owned());
        assert!(told.contains(&event), "{subject}: {told:?}");
    }
}

#[test]
fn a_change_that_does_not_fit_is_refused_whole_and_told_where() {
    let origin = Origin::saying("one");
    let node = Setup::new().start(&config(&origin, ""));
    let before = node.status()["config"]["generation"].clone();
    let wrong = json!({ "match": "/new", "pol": "api" });
    let (status, answer) = node.api("PUT", "/api/v1/routes/new", Some(wrong));
    assert_eq!((status, &answer["error"]["code"]), (422, &json!("change_invalid")));
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("unknown key `pol` in `route.new`\n --> change route.new:"),
        "{message}"
    );
    let wrong = json!({ "match": "/new", "pool": "apj" });
    let (_, answer) = node.api("PUT", "/api/v1/routes/new", Some(wrong));
    assert_eq!(answer["error"]["path"], "route.new.pool");
    assert_eq!(answer["error"]["help"], "did you mean \"api\"?");
    let (status, answer) = node.api("PUT", "/api/v1/routes/twin", Some(fixed("/file", "twice")));
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(status == 422 && message.contains("`route.file` and `route.twin`"), "{message}");
    let (status, _) = node.api("DELETE", "/api/v1/pools/api/servers/a", None);
    assert_eq!(status, 422, "a pool needs a server");
    let (status, answer) = node.api("DELETE", "/api/v1/routes/none", None);
    assert_eq!((status, &answer["error"]["path"]), (404, &json!("route.none")));
    assert_eq!(node.status()["config"]["generation"], before);
    assert!(!node.path("state/changes/journal").exists(), "nothing was written");

    let tried = change(&node, "PUT", "/api/v1/routes/new?dry_run=true", Some(fixed("/new", "x")));
    assert_eq!(
        (&tried["applied"], &tried["change"]["added"]),
        (&json!(false), &json!(["route.new"]))
    );
    assert_eq!(tried["change"]["from_changes"], json!(["route.new adds to the file"]));
    assert_eq!(ask(&node, "/new").0, 404);
    assert_eq!(node.status()["config"]["changes"], 0);
}

#[test]
fn a_worker_that_is_killed_right_after_its_answer_forgets_nothing() {
    let origin = Origin::saying("one");
    let node = Setup::new().start(&config(&origin, ""));
    for round in 0..3 {
        let worker = pid(&node.status()["worker_pid"]);
        let path = format!("/api/v1/routes/new-{round}");
        change(&node, "PUT", &path, Some(fixed(&format!("/new-{round}"), "put")));
        signal::send(worker, Signal::Kill).unwrap();
        wait_until("there is another worker", || {
            let status = std::panic::catch_unwind(|| node.status());
            status.is_ok_and(|status| pid(&status["worker_pid"]) != worker)
        });
        for earlier in 0..=round {
            expect(&node, &format!("/new-{earlier}"), "put");
        }
    }
    assert_eq!(node.status()["config"]["changes"], 3);
}

#[test]
fn the_file_goes_on_beside_changes_and_one_that_conflicts_names_both_and_the_way_out() {
    let origin = Origin::saying("one");
    let node = Setup::new().start(&config(&origin, ""));
    change(&node, "PUT", "/api/v1/routes/new", Some(fixed("/new", "put")));
    let more = "[route.more]\nmatch = \"/more\"\nrespond = { body = \"more\" }\n";
    let (status, answer) = node.reload(&config(&origin, more));
    assert_eq!((status, &answer["change"]["added"]), (200, &json!(["route.more"])), "{answer}");
    assert_eq!(answer["change"]["from_changes"], json!(["route.new adds to the file"]));
    expect(&node, "/more", "more");
    expect(&node, "/new", "put");

    let twin = "[route.twin]\nmatch = \"/new\"\nrespond = { body = \"twin\" }\n";
    let (status, answer) = node.reload(&config(&origin, twin));
    let message = answer["error"]["message"].as_str().unwrap();
    assert_eq!(status, 422);
    for part in [
        "`route.twin` and `route.new`",
        "change route.new:1:8",
        "evergate.toml:",
        "run `evergate changes drop route.new`",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    // The plan before holds, ready all the same, and everybody is told.
    expect(&node, "/new", "put");
    expect(&node, "/more", "more");
    let (status, ready) = node.admin("GET", "/readyz?verbose", None);
    assert!(status == 200 && ready.contains("[!] config: the last reload failed"), "{ready}");
    let reasons = node.status()["reasons"].to_string();
    assert!(reasons.contains("the last reload was refused"), "{reasons}");
    assert_eq!(node.metrics()["evergate_config_last_reload_successful"], 0.0);
    // Changes go on too: they are tried with the file as it was.
    change(&node, "PUT", "/api/v1/routes/third", Some(fixed("/third", "third")));
    assert!(node.status()["config"]["failed_reload"].is_string(), "the file is still bad");
    expect(&node, "/third", "third");

    let (code, _, told) = command(&node, "changes drop route.new");
    assert_eq!(code, 0, "{told}");
    let (code, shown, told) = command(&node, "reload");
    assert!(code == 0 && shown.contains("+ route.twin"), "{shown}{told}");
    expect(&node, "/new", "twin");
    expect(&node, "/third", "third");
    assert_eq!(node.metrics()["evergate_config_last_reload_successful"], 1.0);
}

#[test]
fn a_damaged_journal_is_told_left_alone_and_can_be_moved_away() {
    let origin = Origin::saying("one");
    let mut node = Setup::new().start(&config(&origin, ""));
    change(&node, "PUT", "/api/v1/routes/new", Some(fixed("/new", "put")));
    node.stop();
    let journal = node.path("state/changes/journal");
    let mut bytes = std::fs::read(&journal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&journal, &bytes).unwrap();
    node.start_again();
    expect(&node, "/file", "from the file");
    assert_eq!(ask(&node, "/new").0, 404, "never half applied");
    let status = node.status();
    let why = status["config"]["changes_refused"].as_str().unwrap().to_owned();
    assert!(why.contains("it is damaged") && why.contains("evergate reload"), "{why}");
    assert_eq!(status["health"], "degraded");
    assert!(events(&node).contains(&("changes_refused".to_owned(), "changes".to_owned())));
    let (status, answer) = node.api("PUT", "/api/v1/routes/other", Some(fixed("/other", "x")));
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("conflict")));
    assert_eq!(std::fs::read(&journal).unwrap(), bytes, "it is left for whoever wants to look");

    std::fs::rename(&journal, node.path("state/changes/journal.bad")).unwrap();
    assert_eq!(command(&node, "reload").0, 0);
    assert_eq!(node.status()["config"]["changes_refused"], Value::Null);
    change(&node, "PUT", "/api/v1/routes/other", Some(fixed("/other", "other")));
    expect(&node, "/other", "other");
}

#[test]
fn changes_that_do_not_fit_at_a_start_wait_beside_the_file() {
    let origin = Origin::saying("one");
    let mut node = Setup::new().start(&config(&origin, ""));
    change(&node, "PUT", "/api/v1/routes/new", Some(fixed("/new", "put")));
    change(&node, "PUT", "/api/v1/routes/third", Some(fixed("/third", "third")));
    node.stop();
    let twin = "[route.twin]\nmatch = \"/new\"\nrespond = { body = \"twin\" }\n";
    node.rewrite(&config(&origin, twin));
    node.start_again();
    expect(&node, "/new", "twin");
    assert_eq!(ask(&node, "/third").0, 404, "all or nothing");
    let (code, shown, _) = command(&node, "changes");
    assert_eq!(code, 0);
    for part in ["not in force", "run `evergate changes drop route.new`", "route.third"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let (code, shown, told) = command(&node, "changes drop route.new");
    assert!(code == 0 && shown.contains("+ route.third"), "{shown}{told}");
    expect(&node, "/third", "third");
    expect(&node, "/new", "twin");
    let config = &node.status()["config"];
    assert_eq!((&config["changes"], &config["changes_refused"]), (&json!(1), &Value::Null));
}

#[test]
fn a_change_reads_no_more_than_the_node_may() {
    if !evergate_sys::privilege::is_root() {
        return evergate_e2e::skip("only root has files that the worker may not read");
    }
    let origin = Origin::saying("one");
    let node = Setup::new().private_file("theirs", "beside the file\n").start(&config(&origin, ""));
    // The keeper opens what lies beside the configuration, and nothing else.
    let body = |path: &str| json!({ "match": "/secret", "respond": { "body": format!("${{file:{path}}}") } });
    change(&node, "PUT", "/api/v1/routes/secret", Some(body("theirs")));
    expect(&node, "/secret", "beside the file");
    let (status, answer) = node.api("PUT", "/api/v1/routes/secret", Some(body("/etc/shadow")));
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(status == 422 && message.contains("/etc/shadow cannot be used"), "{message}");
    let (_, changes) = node.admin("GET", "/api/v1/changes", None);
    assert!(
        changes.contains("${file:theirs}") && !changes.contains("beside the file"),
        "{changes}"
    );
}

#[test]
fn a_crash_of_the_worker_loses_nothing_although_the_journal_is_damaged() {
    let origin = Origin::saying("one");
    let node = Setup::new().start(&config(&origin, ""));
    change(&node, "PUT", "/api/v1/routes/new", Some(fixed("/new", "put")));
    let journal = node.path("state/changes/journal");
    let good = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &good[..good.len() - 1]).unwrap();
    kill_worker(&node);
    expect(&node, "/new", "put");
    assert_eq!(std::fs::read(&journal).unwrap(), good, "it is written anew");
    assert!(events(&node).contains(&("changes_restored".to_owned(), "changes".to_owned())));
    assert_eq!(node.status()["config"]["changes_refused"], Value::Null);
}

#[test]
fn a_change_that_cannot_be_kept_is_not_made() {
    let origin = Origin::saying("one");
    let node = Setup::new().start(&config(&origin, ""));
    change(&node, "PUT", "/api/v1/routes/new", Some(fixed("/new", "put")));
    // Where a directory stands nothing can be written, whoever tries.
    let beside = node.path("state/changes/journal.new");
    std::fs::create_dir(&beside).unwrap();
    let (status, answer) = node.api("PUT", "/api/v1/routes/more", Some(fixed("/more", "more")));
    assert_eq!((status, &answer["error"]["code"]), (507, &json!("not_kept")), "{answer}");
    assert_eq!(ask(&node, "/more").0, 404);
    expect(&node, "/new", "put");
    std::fs::remove_dir(&beside).unwrap();
    change(&node, "PUT", "/api/v1/routes/more", Some(fixed("/more", "more")));
    expect(&node, "/more", "more");
}

#[test]
fn a_state_directory_that_the_worker_may_not_enter_matters_only_to_who_changes_something() {
    use std::os::unix::fs::PermissionsExt;
    if !evergate_sys::privilege::is_root() {
        return evergate_e2e::skip("only root has directories that the worker may not enter");
    }
    let origin = Origin::saying("one");
    let mut node = Setup::new().start(&config(&origin, ""));
    node.stop();
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(node.path("state"), private).unwrap();
    node.start_again();
    assert_eq!(node.status()["health"], "healthy");
    let (status, answer) = node.api("PUT", "/api/v1/routes/new", Some(fixed("/new", "put")));
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(status == 507 && message.contains("install -d -m 700 -o "), "{message}");
    assert_eq!(ask(&node, "/new").0, 404);
}
