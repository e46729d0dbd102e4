//! Configurations that come back, through the admin API, before a fake control plane.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod fake;

use evergate_console::Peer;
use evergate_control::command::{ChangeFault, ChangeRefusal};
use evergate_control::snapshot::TrialStatus;
use fake::Fake;

const LOCAL: Peer = Peer::Tcp(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

#[tokio::test]
async fn what_is_asked_for_is_passed_on() {
    let fake = Fake::start();
    for (line, body, expected) in [
        ("POST /api/v1/rollback", "", "rollback to=None dry_run=false"),
        (
            "POST /api/v1/rollback",
            r#"{"to": 3, "dry_run": true}"#,
            "rollback to=Some(3) dry_run=true",
        ),
        ("POST /api/v1/confirm", "", "confirm"),
        ("POST /api/v1/reload", r#"{"confirm_seconds": 60}"#, "reload dry_run=false confirm=60s"),
        ("POST /api/v1/reload", r#"{"confirm_seconds": null}"#, "reload dry_run=false"),
    ] {
        let answer = fake.send(Peer::Unix, line, body).await;
        assert_eq!(answer.status, 200, "{line}: {}", answer.body);
        assert_eq!(fake.done().last().unwrap(), expected);
    }
    let json = fake.send(Peer::Unix, "POST /api/v1/confirm", "").await.json();
    assert_eq!(json["confirmed"], "configuration #12 stays");
    let json = fake.get("/api/v1/history").await.json();
    assert_eq!(json["configurations"][0]["in_force"], true);
    assert_eq!(json["trial"]["back_to"], 11);
}

#[tokio::test]
async fn who_may_only_read_turns_nothing_and_nonsense_is_refused() {
    let fake = Fake::start();
    fake.tokens(None, Some("operator"));
    for line in ["POST /api/v1/rollback", "POST /api/v1/confirm"] {
        let answer = fake.send(LOCAL, line, "").await;
        assert!(matches!(answer.status, 401 | 403), "{line}: {}", answer.status);
    }
    for body in [r#"{"to": "one"}"#, r#"{"id": 3}"#, "3"] {
        let answer = fake.send(Peer::Unix, "POST /api/v1/rollback", body).await;
        assert_eq!(answer.status, 400, "{body}");
    }
    assert!(fake.done().is_empty());
}

#[tokio::test]
async fn refusals_say_why_and_what_to_do() {
    let fake = Fake::start();
    for (fault, status) in [
        (ChangeFault::Conflict, 409),
        (ChangeFault::NotFound, 404),
        (ChangeFault::Invalid, 422),
        (ChangeFault::NotKept, 507),
    ] {
        let refusal = ChangeRefusal {
            fault,
            message: "it is too late".into(),
            path: String::new(),
            help: "see `evergate status`".into(),
        };
        fake.state.lock().unwrap().change = Err(refusal);
        for line in ["POST /api/v1/rollback", "POST /api/v1/confirm"] {
            let answer = fake.send(Peer::Unix, line, "").await;
            assert_eq!(answer.status, status, "{line}");
            let json = answer.json();
            assert_eq!(json["error"]["message"], "it is too late");
            assert_eq!(json["error"]["help"], "see `evergate status`");
        }
    }
}

#[tokio::test]
async fn what_is_to_be_confirmed_is_shown_wherever_one_looks() {
    let fake = Fake::start();
    let show = async |trial: TrialStatus| {
        fake.state.lock().unwrap().status.config.trial = Some(trial);
        (fake.get("/readyz?verbose").await.body, fake.get("/").await.body)
    };
    let open = TrialStatus { back_to: 11, seconds_left: 42, failure: None };
    let table = [
        (open.clone(), "not confirmed: #11 comes back in 42 s; `evergate confirm` keeps this one"),
        (TrialStatus { seconds_left: 0, ..open.clone() }, "not confirmed: #11 is coming back"),
        (
            TrialStatus { failure: Some("the port is taken".into()), ..open },
            "not confirmed, and #11 cannot come back; it is tried again and again",
        ),
    ];
    for (trial, words) in table {
        let (ready, page) = show(trial).await;
        assert!(ready.contains(&format!("[!] config: {words}")), "{ready}");
        assert!(page.contains(words), "{page}");
    }
}

#[tokio::test]
async fn there_is_one_number_of_the_configuration_wherever_one_looks() {
    let fake = Fake::start();
    let (ready, page) = (fake.get("/readyz?verbose").await.body, fake.get("/").await.body);
    let line = "[+] config: /etc/evergate/evergate.toml, configuration #12\n";
    assert!(ready.contains(line), "{ready}");
    assert!(page.contains("<b>#12</b><span>configuration</span>"), "{page}");
}
