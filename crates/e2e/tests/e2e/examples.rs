//! The example configurations, booted as they stand but for addresses.

use std::path::PathBuf;

use evergate_e2e::{Client, Node, Origin, Setup};

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
