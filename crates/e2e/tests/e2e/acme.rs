//! Certificates from an authority: pebble, which refuses every other nonce.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::process::Command;

use evergate_e2e::{Node, Pebble, Setup, free_address, skip};
use evergate_sys::privilege;
use serde_json::Value;

use crate::load::Traffic;
use crate::processes::kill_worker;

/// So long that nothing is renewed within a test.
const LONG: u64 = 90 * 24 * 3600;
/// So short that with `renew_before` renewals come within seconds.
const SHORT: u64 = 16;

/// An authority, and where it looks for proofs.
struct Stage {
    pebble: Pebble,
    http: SocketAddr,
    tls: SocketAddr,
}

impl Stage {
    fn new(life_seconds: u64) -> Option<Self> {
        let (http, tls) = (free_address(), free_address());
        Some(Self { pebble: Pebble::start(http, tls, life_seconds)?, http, tls })
    }

    fn config(&self, challenge: &str, domains: &str) -> String {
        let Self { pebble, http, tls } = self;
        format!(
            "[log]\naccess = \"off\"\n[listener.web]\nbind = [\"{http}\"]\n\
             limits = {{ connections_per_ip = 5000, requests = 100000 }}\n\
             [listener.safe]\nbind = [\"{tls}\"]\ntls = {{ acme = \"test\" }}\n\
             [acme.test]\ndirectory = \"{}\"\nca = \"authority.pem\"\nemail = \"ops@example.org\"\n\
             domains = [{domains}]\nchallenge = \"{challenge}\"\nrenew_before = \"30d\"\n\
             [route.hello]\nmatch = \"/*\"\nrespond = {{ body = \"hello\" }}\n",
            pebble.url()
        )
    }

    fn start(&self, challenge: &str, domains: &str) -> Node {
        let setup = Setup::new().file("authority.pem", self.pebble.ca());
        setup.start(&self.config(challenge, domains))
    }
}

fn certificate(status: &Value) -> &Value {
    let all = status["certificates"].as_array().unwrap();
    all.iter().find(|one| one["source"] == "acme.test").unwrap()
}

/// Waits until a certificate is served that is not `before`; returns when it ends.
fn wait_for_certificate(node: &Node, before: u64) -> u64 {
    let status = node.wait_for("a certificate is issued", |status| {
        certificate(status)["not_after"].as_u64().unwrap() > before
    });
    certificate(&status)["not_after"].as_u64().unwrap()
}

fn orders(node: &Node, outcome: &str) -> f64 {
    let name = format!("evergate_acme_orders_total{{acme=\"test\",outcome=\"{outcome}\"}}");
    *node.metrics().get(&name).unwrap_or(&0.0)
}

/// The certificate that is shown for `name`, as openssl prints it.
fn shown(tls: SocketAddr, name: &str) -> String {
    let script = format!(
        "openssl s_client -connect {tls} -servername {name} </dev/null 2>/dev/null | \
         openssl x509 -noout -ext subjectAltName -serial -issuer"
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn issues(challenge: &str) {
    let Some(stage) = Stage::new(LONG) else { return };
    let domains = r#""a.example.org", "b.example.org""#;
    let node = stage.start(challenge, domains);
    let traffic = Traffic::start(stage.http, "/", 200);
    let not_after = wait_for_certificate(&node, 0);
    let status = node.status();
    let names = certificate(&status)["names"].as_array().unwrap();
    assert!(names.iter().any(|name| name == "a.example.org") && names.len() == 2, "{names:?}");
    let first = shown(stage.tls, "b.example.org");
    assert!(first.contains("DNS:b.example.org") && first.contains("Pebble"), "{first}");
    assert_eq!(orders(&node, "issued"), 1.0);
    node.stderr.wait_for(1, "acme_renewal_planned");

    // The next worker has it from the disk and orders nothing.
    kill_worker(&node);
    assert_eq!(certificate(&node.status())["not_after"], not_after);
    assert_eq!(shown(stage.tls, "b.example.org"), first);
    assert_eq!(node.stderr.wait_for(1, "acme_ordered").len(), 1);
    let failures = traffic.finish();
    eprintln!("{challenge}: {failures}");
    assert!(failures.completed() > 0);

    // Other names need another certificate.
    let (code, answer) = node.reload(&stage.config(challenge, r#""c.example.org""#));
    assert_eq!(code, 200, "{answer}");
    node.wait_for("the other name is there", |status| {
        certificate(status)["names"] == serde_json::json!(["c.example.org"])
    });
    assert!(shown(stage.tls, "c.example.org").contains("DNS:c.example.org"));
}

#[test]
fn a_certificate_is_issued_over_http_and_survives_the_worker() {
    issues("http-01");
}

#[test]
fn a_certificate_is_issued_in_handshakes_and_survives_the_worker() {
    issues("tls-alpn-01");
}

#[test]
fn a_renewal_fails_no_request_and_an_authority_that_is_gone_takes_nothing_away() {
    let Some(mut stage) = Stage::new(SHORT) else { return };
    let node = stage.start("http-01", r#""a.example.org""#);
    let first = wait_for_certificate(&node, 0);
    let before = shown(stage.tls, "a.example.org");
    let traffic = Traffic::start(stage.http, "/", 500);
    let second = wait_for_certificate(&node, first);
    // Before more orders have begun than are made in an hour.
    stage.pebble.end();
    traffic.wait_for(200);
    let report = traffic.finish();
    assert_eq!(report.failures(), 0, "{report}");
    let after = shown(stage.tls, "a.example.org");
    assert!(after.contains("DNS:a.example.org") && after != before, "{before}{after}");

    let status = node.wait_for("a renewal fails", |status| {
        certificate(status)["failure"].as_str().is_some_and(|why| why.starts_with("unreachable: "))
    });
    let one = certificate(&status);
    assert!(one["not_after"].as_u64().unwrap() >= second, "{one}");
    assert!(one["renew_at"].as_u64().unwrap() > second - SHORT, "{one}");
    let told = node.stderr.wait_for(1, "acme_failed");
    assert!(told[0].contains("the certificate that is served ends 20"), "{told:?}");
    assert!(told[0].contains("next try 20"), "{told:?}");
    assert!(shown(stage.tls, "a.example.org").contains("DNS:a.example.org"), "still served");
    assert!(orders(&node, "unreachable") >= 1.0);
}

#[test]
fn what_the_authority_says_against_a_name_is_shown() {
    let Some(stage) = Stage::new(LONG) else { return };
    // No listener answers where the authority looks: the ports are swapped.
    let config = stage.config("http-01", r#""a.example.org""#);
    let elsewhere = config.replace(&stage.http.to_string(), "127.0.0.1:0");
    let setup = Setup::new().file("authority.pem", stage.pebble.ca());
    let node = setup.start(&elsewhere);
    let told = node.stderr.wait_for(1, "acme_failed");
    assert!(told[0].contains("unproven: a.example.org: connection"), "{told:?}");
    assert!(told[0].contains("there is no certificate yet"), "{told:?}");
    let status = node.status();
    assert_eq!(status["health"], "degraded", "{status:#}");
    assert!(shown(stage.tls, "a.example.org").is_empty(), "nothing stands in for it");
}

#[test]
fn a_damaged_certificate_is_set_aside_and_ordered_again() {
    let Some(stage) = Stage::new(LONG) else { return };
    let node = stage.start("http-01", r#""a.example.org""#);
    wait_for_certificate(&node, 0);
    node.stderr.wait_for(1, "acme_renewal_planned");
    let below = std::fs::read_dir(node.path("state/acme/test")).unwrap().next().unwrap().unwrap();
    let file = below.path().join("certificate.pem");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    kill_worker(&node);
    let told = node.stderr.wait_for(1, "acme_damaged");
    assert!(told[0].contains("certificate.pem.corrupt"), "{told:?}");
    node.stderr.wait_for(2, "acme_issued");
    assert!(shown(stage.tls, "a.example.org").contains("DNS:a.example.org"));
    assert_eq!(
        std::fs::read(below.path().join("certificate.pem.corrupt")).unwrap(),
        whole[..whole.len() / 2]
    );
}

#[test]
fn a_reload_with_nowhere_to_keep_certificates_is_refused() {
    if !privilege::is_root() {
        return skip("only a worker that gave rights away has nowhere to write");
    }
    let plain = "[listener.web]\nbind = [\"127.0.0.1:0\"]\n\
                 [route.hello]\nmatch = \"/*\"\nrespond = { body = \"hello\" }\n";
    let node = Node::start(plain);
    let (code, answer) = node.reload(&format!(
        "{plain}[acme.test]\ndirectory = \"https://127.0.0.1:1/dir\"\n\
         domains = [\"a.example.org\"]\nchallenge = \"http-01\"\n"
    ));
    let text = answer.to_string();
    assert!(code >= 400 && text.contains("acme.test: ") && text.contains("install -d"), "{text}");
    assert_eq!(node.status()["config"]["generation"], 1);
}
