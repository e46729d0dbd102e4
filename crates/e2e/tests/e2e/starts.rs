//! Starts that go wrong, and who the processes of a start that goes well are.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use evergate_e2e::{Client, Node, Setup, binary, skip};
use evergate_sys::privilege;

use crate::processes::{HELLO, kill_worker, pid};

const NOBODY: u32 = 65534;

/// A configuration below `directory` that would do.
fn good(directory: &Path) -> String {
    format!("[node]\nrun_dir = {:?}\n{HELLO}", directory.join("run"))
}

/// Exit code and standard error of `evergate run` with that configuration.
fn run(directory: &Path, config: &str, as_nobody: bool) -> (Option<i32>, String) {
    let file = directory.join("evergate.toml");
    fs::write(&file, config).unwrap();
    run_file(&file, as_nobody)
}

fn run_file(file: &Path, as_nobody: bool) -> (Option<i32>, String) {
    let mut command = Command::new(binary::path());
    command.args(["run", "--config"]).arg(file);
    if as_nobody {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let text = String::from_utf8(output.stderr).unwrap();
    eprintln!("{text}");
    (output.status.code(), text)
}

fn directory() -> tempfile::TempDir {
    let permissions = Permissions::from_mode(0o755);
    tempfile::Builder::new().permissions(permissions).tempdir().unwrap()
}

/// The message holds each of `parts` and nothing about workers and exit statuses.
fn expect((code, text): (Option<i32>, String), parts: &[&str]) {
    assert_eq!(code, Some(1), "{text}");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(!text.contains("worker"), "{text}");
}

#[test]
fn a_configuration_that_cannot_be_used_is_explained() {
    let directory = directory();
    let path = directory.path();
    let bad = good(path).replace("bind", "bnid");
    expect(run(path, &bad, false), &["did you mean `bind`?", "evergate.toml:", "^^^^", "1 error,"]);
    expect(run_file(&path.join("none.toml"), false), &["none.toml", "no such file", "help"]);
    expect(run_file(path, false), &["is a directory", "name a file"]);
    let user = good(path).replace("[node]", "[node]\nuser = \"nosuchuser\"");
    if privilege::is_root() {
        expect(run(path, &user, false), &["node.user", "`nosuchuser`", "/etc/passwd"]);
    } else {
        skip("only root becomes another user");
    }
}

#[test]
fn an_address_that_cannot_be_had_is_explained() {
    let directory = directory();
    let path = directory.path();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    // This process, or one that another test has just forked off it.
    let holder = "(process ";
    let taken = good(path).replace("127.0.0.1:0", &address);
    expect(run(path, &taken, false), &["listener.web", &address, holder, "choose another port"]);
    let far = good(path).replace("127.0.0.1:0", "192.0.2.1:8080");
    expect(
        run(path, &far, false),
        &["listener.web", "192.0.2.1", "not an address of this machine"],
    );
    let nowhere = good(path).replace("/run\"", "/evergate.toml\"");
    expect(run(path, &nowhere, false), &["admin", "node.run_dir"]);
}

#[test]
fn what_a_user_may_not_is_explained() {
    if !privilege::is_root() {
        return skip("only root can try as somebody else");
    }
    let directory = directory();
    let path = directory.path();
    let file = path.join("evergate.toml");
    if Command::new(binary::path()).arg("--version").uid(NOBODY).gid(NOBODY).output().is_err() {
        return skip("the binary lies where nobody may look");
    }
    // The run directory cannot be made either: the temporary one is root's.
    let config = good(path);
    expect(run(path, &config, true), &["admin.sock", "not allowed", "node.run_dir"]);
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first.trim().parse::<u16>().unwrap() > 80 {
        let low = config.replace("127.0.0.1:0", "127.0.0.1:80");
        expect(run(path, &low, true), &["listener.web", "127.0.0.1:80", "CAP_NET_BIND_SERVICE"]);
    } else {
        skip("everybody may use port 80 here");
    }
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    expect(run_file(&file, true), &["evergate.toml", "permission denied", "help"]);
}

#[test]
fn a_second_node_in_the_same_place_is_refused() {
    let node = Node::start(HELLO);
    let (code, text) = run_file(&node.path("evergate.toml"), false);
    let holder = format!("(process {})", node.pid());
    expect((code, text), &["admin.sock", "evergate", "listens on it already", "node.run_dir"]);
    let answer = Client::ask(node.web(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.text(), "hello", "{holder} is not disturbed");
    assert_eq!(node.status()["health"], "healthy");
}

#[test]
fn the_worker_has_no_rights_and_still_gets_its_secrets() {
    if !privilege::is_root() {
        return skip("only root has rights to give away");
    }
    let config = |body: &str| {
        format!(
            r#"
[listener.web]
bind = ["127.0.0.1:0"]
[route.all]
match = "/*"
use = ["key"]
respond = {{ body = "{body}" }}
[middleware.key]
api_key = {{ header = "x-key", keys = ["${{file:secret}}"] }}
"#
        )
    };
    let node = Setup::new().private_file("secret", "first-secret-of-all").start(&config("one"));
    let ask = |key: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Key: {key}\r\n\r\n");
        let answer = Client::ask(node.web(), request);
        (answer.status, answer.text().to_owned())
    };
    let expect_no_rights = || {
        let worker = pid(&node.status()["worker_pid"]);
        let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let nobody = NOBODY.to_string();
        assert_eq!(line("Uid:"), [nobody.as_str(); 4]);
        assert_eq!(line("NoNewPrivs:"), ["1"]);
        for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
            assert_eq!(line(set), ["0000000000000000"], "{set}");
        }
    };
    expect_no_rights();
    assert_eq!(ask("first-secret-of-all"), (200, "one".to_owned()));
    node.write("secret", "another-secret-of-all");
    fs::set_permissions(node.path("secret"), Permissions::from_mode(0o600)).unwrap();
    assert_eq!(node.reload(&config("two")).0, 200);
    assert_eq!(ask("another-secret-of-all"), (200, "two".to_owned()));
    assert_eq!(ask("first-secret-of-all").0, 401);
    kill_worker(&node);
    expect_no_rights();
    assert_eq!(ask("another-secret-of-all"), (200, "two".to_owned()));

    // A directory that only root may look into: noticed and read with the keeper's help.
    fs::set_permissions(node.path("."), Permissions::from_mode(0o700)).unwrap();
    node.rewrite(&config("three"));
    node.stderr.wait_for(1, "changed route.all");
    node.wait_for("the change is noticed", |_| ask("another-secret-of-all").1 == "three");
    fs::set_permissions(node.path("."), Permissions::from_mode(0o755)).unwrap();
}
