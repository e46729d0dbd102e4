//! What testssl.sh finds to say about our TLS.

use std::path::Path;

use evergate_e2e::Origin;
use evergate_e2e::program::{command, printed};
use serde_json::Value;

use crate::scene::Scene;

/// What is true of a certificate that a test made for this machine, and of no real one.
const OF_THE_TEST: [(&str, &str); 1] =
    [("cert_revocation", "the authority lives as long as the test, and publishes nothing")];

/// From harmless to worst.
const HARMLESS: [&str; 5] = ["OK", "INFO", "LOW", "DEBUG", "WARN"];

#[test]
fn testssl_finds_nothing_above_low() {
    let Some(mut testssl) = command("testssl") else { return };
    let origin = Origin::saying("hello");
    let node = Scene::to(&origin).start_secure();
    let report = node.path("report.json");
    testssl.current_dir(node.path(""));
    testssl.args(["--quiet", "--color", "0", "--warnings", "off", "--ip", "one"]);
    testssl.args(["--protocols", "--std", "--fs", "--server-preference", "--server-defaults"]);
    testssl.args(["--vulnerable", "--add-ca"]).arg(node.path("ca.pem"));
    testssl.arg("--jsonfile").arg(&report).arg(format!("localhost:{}", node.web().port()));
    printed(&mut testssl);
    let findings = findings(&report);
    assert!(findings.len() > 50, "it looked at all: {findings:#?}");
    let bad: Vec<_> = findings.iter().filter(|finding| !is_harmless(finding)).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

fn findings(report: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(report).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn is_harmless(finding: &Value) -> bool {
    let (id, severity) = (&finding["id"], &finding["severity"]);
    HARMLESS.iter().any(|harmless| severity == harmless)
        || OF_THE_TEST.iter().any(|(known, _)| id == known)
}
