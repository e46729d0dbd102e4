//! The example configurations, booted as they stand but for addresses.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use evergate_e2e::program::python;
use evergate_e2e::{Client, Node, Origin, Setup, wait_until};
use evergate_sys::privilege;

fn example(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    std::fs::read_to_string(&path).expect("the example is there")
}

/// The text with each of `places` put in place of what the example says. Each must be there.
fn moved(text: &str, places: &[(&str, String)]) -> String {
    places.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the example no longer says {from}");
        text.replace(from, to)
    })
}

#[test]
fn the_quickstart_serves_both_backends() {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let config = moved(
        &example("quickstart/evergate.toml"),
        &[
            ("0.0.0.0:8080", "127.0.0.1:0".to_owned()),
            ("127.0.0.1:9001", a.address().to_string()),
            ("127.0.0.1:9002", b.address().to_string()),
        ],
    );
    let node = Setup::new().threads(1).start(&config);
    let mut seen: Vec<String> = (0..4)
        .map(|_| {
            let response = Client::ask(node.web(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            response.text().to_owned()
        })
        .collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, ["a", "b"]);
}

#[test]
fn the_full_example_serves() {
    let text = example("full-gateway/evergate.toml");
    // The harness writes `include` and `[node]` itself.
    let rest = text.find("[admin]").expect("the example has an admin section");
    let config = moved(
        &text[rest..],
        &[
            ("127.0.0.1:9180", "127.0.0.1:0".to_owned()),
            ("0.0.0.0:8080", "127.0.0.1:0".to_owned()),
            (", \"[::]:8080\"", String::new()),
            ("127.0.0.1:8081", "127.0.0.1:0".to_owned()),
        ],
    );
    let secret = |name: &str| example(&format!("full-gateway/secrets/{name}"));
    let node: Node = Setup::new()
        .file("conf.d/status.toml", &example("full-gateway/conf.d/status.toml"))
        .include("conf.d/*.toml")
        .private_file("secrets/viewer", &secret("viewer"))
        .private_file("secrets/operator", &secret("operator"))
        .private_file("secrets/partners", &secret("partners"))
        .start(&config);
    assert_eq!(node.status()["config"]["generation"], 1);
}

/// As its README says: two releases, and a link that changes between them.
#[test]
fn the_apps_example_runs_and_rolls_out_its_next_release() {
    let Some(python) = python(&["http.server"]) else { return };
    let permissions = fs::Permissions::from_mode(0o755);
    let folder = tempfile::Builder::new().prefix("evergate-").permissions(permissions).tempdir();
    let folder = folder.expect("there is room for a directory");
    let path = |name: &str| folder.path().join(name);
    let script = example("apps/hello.py");
    for (release, script) in [("1", script.clone()), ("2", script.replace("hello\"", "morning\""))]
    {
        fs::create_dir_all(path(release)).expect("the folder is ours");
        fs::write(path(release).join("hello.py"), script).expect("the folder is ours");
    }
    symlink("1", path("current")).expect("the folder is ours");
    // Where root runs the tests, its Python may lie where nobody else looks.
    let user = if privilege::is_root() { "user = \"root\"\n" } else { "" };
    let config = moved(
        &example("apps/evergate.toml"),
        &[
            ("0.0.0.0:8080", "127.0.0.1:0".to_owned()),
            ("run = [", format!("{user}run = [")),
            ("\"python3\"", format!("{:?}", python.get_program())),
            ("/srv/hello/current", path("current").display().to_string()),
            ("canary_for = \"10s\"", "canary_for = \"200ms\"".to_owned()),
        ],
    );
    let node = Setup::new().start(&config);
    for instance in 0..3 {
        node.wait_for_state("hello", &format!("hello/{instance}"), "up");
    }
    assert_eq!(
        answers(&node, 3),
        ["hello from hello/0", "hello from hello/1", "hello from hello/2"]
    );
    wait_until("what they print is kept", || {
        let printed = fs::read_to_string(node.path("state/log/hello.log")).unwrap_or_default();
        printed.contains("listening on 127.0.0.1:")
    });
    symlink("2", path("next")).expect("the folder is ours");
    fs::rename(path("next"), path("current")).expect("the folder is ours");
    let (code, answer) = node.api("POST", "/api/v1/apps/hello/deploy", None);
    assert!(code < 300, "{code} {answer}");
    node.wait_for("the deploy is done", |status| {
        status["deploys"].as_array().is_some_and(|deploys| {
            deploys.iter().any(|deploy| deploy["app"] == "hello" && deploy["phase"] == "done")
        })
    });
    assert_eq!(
        answers(&node, 3),
        ["morning from hello/0", "morning from hello/1", "morning from hello/2"]
    );
}

/// What so many servers answer, sorted.
fn answers(node: &Node, servers: usize) -> Vec<String> {
    let asked = (0..2 * servers).map(|_| {
        let answer = Client::ask(node.web(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        answer.text().trim_end().to_owned()
    });
    let mut answers: Vec<String> = asked.collect();
    answers.sort_unstable();
    answers.dedup();
    answers
}
