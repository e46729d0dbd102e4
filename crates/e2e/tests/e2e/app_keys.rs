//! What the keys of an app lead to at a start and on a reload: users, permissions, places for what
//! it prints, and which runs are replaced.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use evergate_e2e::{Node, Setup, binary, skip, wait_until};
use evergate_sys::privilege;
use serde_json::Value;

use crate::processes::{HELLO, kill_worker, pid};

const NOBODY: u32 = 65534;
/// Prints who it is and which permissions it takes away, and stays.
const WHO: &str = r#"run = ["sh", "-c", "id -u; umask; exec sleep 1000"]"#;

fn config(rest: &str) -> String {
    format!("{HELLO}\n[app.who]\n{WHO}\nready.by = \"none\"\nstop.drain = \"0s\"\n{rest}\n")
}

/// The only instance of `app.who`, ready, with a process that `is_it`.
fn ready(node: &Node, what: &str, is_it: impl Fn(u32) -> bool) -> u32 {
    let instance = |status: &Value| {
        let apps = status["apps"].as_array().unwrap();
        apps.iter().find(|one| one["state"] == "ready").map(|one| pid(&one["pid"]))
    };
    let status = node.wait_for(what, |status| instance(status).is_some_and(&is_it));
    instance(&status).unwrap()
}

fn uid(pid: u32) -> u32 {
    fs::metadata(format!("/proc/{pid}")).map_or(u32::MAX, |found| found.uid())
}

#[test]
fn an_app_runs_as_its_user_and_a_new_one_waits_for_a_worker_that_can_name_it() {
    if !privilege::is_root() {
        return skip("only root becomes another user");
    }
    let node = Node::start(&config("user = \"daemon\"\numask = \"027\""));
    let first = ready(&node, "it runs", |_| true);
    assert_eq!(uid(first), 1, "daemon");
    let log = node.path("state/log");
    let found = fs::metadata(&log).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o777), (NOBODY, 0o750), "the worker writes");
    wait_until("it has said which permissions it takes away", || {
        fs::read_to_string(log.join("who.log")).is_ok_and(|printed| printed.contains("0027"))
    });

    let next = config("user = \"bin\"\numask = \"027\"");
    let (code, answer) = node.reload(&next);
    assert_eq!(code, 200, "{answer}");
    let change = &answer["change"];
    assert_eq!(change["warnings"][0], "app.who.user: takes effect when Evergate is started anew");
    assert_eq!(change["runs"][0], "app.who: no run is replaced (user changed)");
    assert_eq!(ready(&node, "it still runs", |_| true), first);
    kill_worker(&node);
    ready(&node, "the new worker has named the new user", |pid| uid(pid) == 2);
}

#[test]
fn a_reload_says_which_runs_are_replaced_and_replaces_no_others() {
    let node = Node::start(&config(""));
    let first = ready(&node, "it runs", |_| true);
    let steps = [
        ("backoff.base = \"1s\"", "app.who: no run is replaced (backoff changed)"),
        ("instances = 1\noutput.keep = 1", "app.who: no run is replaced (backoff, output changed)"),
    ];
    for (keys, expected) in steps {
        let (code, answer) = node.reload(&config(keys));
        assert_eq!((code, &answer["change"]["runs"][0]), (200, &expected.into()), "{answer}");
        assert_eq!(ready(&node, "it runs", |_| true), first);
    }
    let keys = "env = { A = \"b\" }\ndeploy.canary_for = \"0s\"";
    node.rewrite(&config(keys));
    let (code, answer) =
        node.api("POST", "/api/v1/reload", Some([("dry_run", true)].into_iter().collect()));
    let replaced = "app.who: its runs are replaced in turn (env changed)";
    assert_eq!((code, &answer["change"]["runs"][0]), (200, &replaced.into()), "{answer}");
    assert_eq!(ready(&node, "nothing was applied", |_| true), first);
    let (code, answer) = node.reload(&config(keys));
    assert_eq!((code, &answer["change"]["runs"][0]), (200, &replaced.into()), "{answer}");
    ready(&node, "its run was replaced", |pid| pid != first);
}

#[test]
fn a_place_for_output_that_cannot_be_had_is_explained() {
    let mut node = Setup::new().file("state", "in the way").launch(&config(""));
    assert_eq!(node.wait_for_exit().code(), Some(1));
    for told in ["app.who: what it prints cannot be kept in /", "install -d -m 750", "node.log_dir"]
    {
        node.stderr.wait_for(1, told);
    }
}

#[test]
fn without_root_only_our_own_user_will_do() {
    if !privilege::is_root() {
        return skip("only root becomes nobody");
    }
    let permissions = Permissions::from_mode(0o777);
    let folder = tempfile::Builder::new().permissions(permissions).tempdir().unwrap();
    let file = folder.path().join("evergate.toml");
    let node = format!("[node]\nrun_dir = {0:?}\nstate_dir = {0:?}\n", folder.path());
    fs::write(&file, format!("{node}{}", config("user = \"daemon\""))).unwrap();
    let mut command = Command::new(binary::path());
    command.args(["run", "--config"]).arg(&file).uid(NOBODY).gid(NOBODY);
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("app.who.user: only root can start processes as `daemon`"), "{told}");
}
