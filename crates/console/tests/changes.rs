//! Changes beside the file through the admin API, before a fake control plane.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod fake;

use evergate_console::Peer;
use evergate_control::command::{ChangeFault, ChangeRefusal};
use fake::Fake;

const LOCAL: Peer = Peer::Tcp(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

#[tokio::test]
async fn routes_and_servers_are_put_and_deleted_by_name() {
    let fake = Fake::start();
    let body = r#"{"match": "/v2/*", "pool": "shop"}"#;
    for (line, body, expected) in [
        (
            "PUT /api/v1/routes/api",
            body,
            r#"Put { subject: "route.api", body: "{\"match\": \"/v2/*\", \"pool\": \"shop\"}" } dry_run=false"#,
        ),
        (
            "DELETE /api/v1/routes/a%20b?dry_run=true",
            "",
            r#"Delete { subject: "route.a b" } dry_run=true"#,
        ),
        (
            "PUT /api/v1/pools/shop/servers/b?dry_run=false",
            "{}",
            r#"Put { subject: "pool.shop/b", body: "{}" } dry_run=false"#,
        ),
        (
            "DELETE /api/v1/pools/shop/servers/shop/0",
            "",
            r#"Delete { subject: "pool.shop/shop/0" } dry_run=false"#,
        ),
        (
            "POST /api/v1/changes/drop",
            r#"{"names": ["route.api", "pool.shop/b"], "dry_run": true}"#,
            r#"Drop { subjects: ["route.api", "pool.shop/b"] } dry_run=true"#,
        ),
    ] {
        let answer = fake.send(Peer::Unix, line, body).await;
        assert_eq!((answer.status, fake.done().last().unwrap().as_str()), (200, expected));
        let json = answer.json();
        assert_eq!(json["change"]["changed"][0], "route.all");
        assert_eq!(json["applied"], expected.ends_with("false"));
    }
}

#[tokio::test]
async fn only_operators_change_anything() {
    let fake = Fake::start();
    fake.tokens(Some("see"), Some("do"));
    for line in [
        "PUT /api/v1/routes/api",
        "DELETE /api/v1/routes/api",
        "PUT /api/v1/pools/shop/servers/b",
        "DELETE /api/v1/pools/shop/servers/b",
        "POST /api/v1/changes/drop",
    ] {
        let see = [("authorization", "Bearer see")];
        assert_eq!(fake.send(LOCAL, line, "{}").await.status, 401, "{line}");
        assert_eq!(fake.send_with(LOCAL, line, &see, "{}").await.status, 403, "{line}");
    }
    assert!(fake.done().is_empty());
    let line = "DELETE /api/v1/routes/api";
    let may = [("authorization", "Bearer do")];
    assert_eq!(fake.send_with(LOCAL, line, &may, "").await.status, 200);
}

#[tokio::test]
async fn refusals_say_who_is_at_fault_where_and_how_to_mend_it() {
    let fake = Fake::start();
    for (fault, status, code) in [
        (ChangeFault::Invalid, 422, "change_invalid"),
        (ChangeFault::NotFound, 404, "not_found"),
        (ChangeFault::Conflict, 409, "conflict"),
        (ChangeFault::NotKept, 507, "not_kept"),
    ] {
        fake.state.lock().unwrap().change = Err(ChangeRefusal {
            fault,
            message: "there is no pool `x`".into(),
            path: "route.api.pool".into(),
            help: "did you mean `y`?".into(),
        });
        let answer = fake.send(Peer::Unix, "PUT /api/v1/routes/api", "{}").await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
        let error = &answer.json()["error"];
        assert_eq!(error["message"], "there is no pool `x`");
        assert_eq!(
            (error["path"].as_str(), error["help"].as_str()),
            (Some("route.api.pool"), Some("did you mean `y`?"))
        );
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_it_gets_anywhere() {
    let fake = Fake::start();
    let long = "x".repeat(1024 * 1024 + 1);
    for (line, body, status) in [
        ("PUT /api/v1/routes/api?dry_run=yes", "{}", 400),
        ("PUT /api/v1/routes/api?dry-run=true", "{}", 400),
        ("PUT /api/v1/routes/api", long.as_str(), 413),
        ("POST /api/v1/changes/drop", "{\"names\": []}", 400),
        ("POST /api/v1/changes/drop", "{\"name\": \"route.api\"}", 400),
        ("POST /api/v1/routes/api", "{}", 405),
        ("PUT /api/v1/routes/", "{}", 404),
    ] {
        assert_eq!(fake.send(Peer::Unix, line, body).await.status, status, "{line}");
    }
    assert!(fake.done().is_empty());
}

#[tokio::test]
async fn changes_are_listed_and_readiness_counts_them() {
    let fake = Fake::start();
    let json = fake.get("/api/v1/changes").await.json();
    assert_eq!(json["changes"][0]["does"], "replaces");
    assert_eq!(json["changes"][1]["file"], "e.toml:3");
    assert_eq!(json["refused"], serde_json::Value::Null);
    fake.state.lock().unwrap().status.config.changes = 2;
    let ready = fake.get("/readyz?verbose").await.body;
    assert!(ready.contains("[+] changes: 2 beside the file\n"), "{ready}");
    fake.state.lock().unwrap().status.config.changes_refused = Some("it is damaged".into());
    let ready = fake.get("/readyz?verbose").await.body;
    assert!(ready.contains("[!] changes: not in force: it is damaged\n"), "{ready}");
}
