//! Files outside the folder of the configuration, such as certificates that certbot renews.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use evergate_e2e::{Client, Node, Setup, skip};
use evergate_sys::privilege;

use crate::processes::kill_worker;

fn config(secret: &Path, body: &str) -> String {
    let secret = secret.display();
    format!(
        r#"
[listener.web]
bind = ["127.0.0.1:0"]
[route.all]
match = "/*"
use = ["key"]
respond = {{ body = "{body}" }}
[middleware.key]
api_key = {{ header = "x-key", keys = ["${{file:{secret}}}"] }}
"#
    )
}

fn opens(node: &Node, key: &str) -> bool {
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Key: {key}\r\n\r\n");
    Client::ask(node.web(), request).status == 200
}

#[test]
fn what_is_named_at_the_start_can_be_read_anew_by_a_worker_without_rights() {
    if !privilege::is_root() {
        return skip("only root has rights to give away");
    }
    let elsewhere = tempfile::tempdir().unwrap();
    fs::set_permissions(elsewhere.path(), Permissions::from_mode(0o700)).unwrap();
    let (live, other) = (elsewhere.path().join("live"), elsewhere.path().join("other"));
    for (name, text) in [("one", "the-first-secret"), ("two", "the-second-secret")] {
        fs::write(elsewhere.path().join(name), text).unwrap();
    }
    symlink("one", &live).unwrap();
    symlink("two", &other).unwrap();
    let node = Setup::new().start(&config(&live, "hello"));
    assert!(opens(&node, "the-first-secret"));

    // As a renewal does it, and nobody tells the node.
    fs::remove_file(&live).unwrap();
    symlink("two", &live).unwrap();
    node.wait_for("the renewal is noticed", |_| opens(&node, "the-second-secret"));

    // What nobody named while that could be believed stays closed, and it is said why.
    let (status, answer) = node.reload(&config(&other, "hello"));
    let answer = answer.to_string();
    assert_ne!(status, 200, "{answer}");
    assert!(answer.contains("was not named when Evergate started"), "{answer}");
    assert!(opens(&node, "the-second-secret"));

    // The next worker starts with the rights to name it.
    fs::write(elsewhere.path().join("three"), "the-third-secret").unwrap();
    kill_worker(&node);
    fs::remove_file(&other).unwrap();
    symlink("three", &other).unwrap();
    node.wait_for("the new name is read", |_| opens(&node, "the-third-secret"));
}
