//! Every path of the admin API, asked in-process before a fake control plane.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod fake;

use evergate_console::Peer;
use evergate_control::snapshot::{Health, LogLine, Status};
use fake::Fake;

const LOCAL: Peer = Peer::Tcp(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

#[tokio::test]
async fn status_comes_back_as_it_was() {
    let fake = Fake::start();
    let answer = fake.get("/api/v1/status").await;
    assert_eq!(answer.status, 200);
    assert_eq!(serde_json::from_str::<Status>(&answer.body).unwrap(), fake::status());
    for part in ["routes", "pools", "apps"] {
        let answer = fake.get(&format!("/api/v1/{part}")).await.json();
        assert_eq!(answer[part], serde_json::to_value(fake::status()).unwrap()[part]);
    }
    assert_eq!(fake.get("/api/v1/config").await.body, "[node]\nname = \"edge\"\n");
}

#[tokio::test]
async fn health_answers_follow_the_node() {
    let fake = Fake::start();
    for (health, ready) in [(Health::Healthy, 200), (Health::Degraded, 200), (Health::Down, 503)] {
        fake.state.lock().unwrap().status.health = health;
        assert_eq!(fake.get("/readyz").await.status, ready);
        assert_eq!(fake.get("/healthz").await.status, ready);
        assert_eq!(fake.get("/livez").await.status, 200);
    }
}

#[tokio::test]
async fn verbose_readiness_shows_each_part_and_a_failed_reload() {
    let fake = Fake::start();
    fake.state.lock().unwrap().status.config.failed_reload = Some("e.toml:3:1: no\n  help".into());
    let answer = fake.get("/readyz?verbose").await;
    let expected = "[!] config: the last reload failed, the one before holds: e.toml:3:1: no\n      \
                    help\n\
                    [+] listener.web: 0.0.0.0:8080\n\
                    [!] pool.shop: 1 of 2 servers up\n\
                    [!] node: pool.shop: 1 of 2 servers is down\n\
                    ready\n";
    assert_eq!((answer.status, answer.body.as_str()), (200, expected));
    assert_eq!(fake.get("/readyz").await.body, "ready\n");
}

#[tokio::test]
async fn a_worker_that_stops_is_alive_but_not_ready() {
    let mut fake = Fake::start();
    let (commands, inbox) = tokio::sync::mpsc::channel(1);
    drop(inbox);
    fake.control.commands = commands;
    let (_, access) = tokio::sync::watch::channel(Default::default());
    fake.router = evergate_console::router(fake.control.clone(), access);
    assert_eq!(fake.get("/livez").await.status, 200);
    for path in ["/readyz", "/healthz", "/api/v1/status", "/metrics", "/"] {
        let answer = fake.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "stopping"), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_hangs_is_given_up_on() {
    let mut fake = Fake::start();
    let (commands, mut inbox) = tokio::sync::mpsc::channel(1);
    fake.control.commands = commands;
    let (_, access) = tokio::sync::watch::channel(Default::default());
    fake.router = evergate_console::router(fake.control.clone(), access);
    let (first, second) = tokio::join!(fake.get("/api/v1/status"), fake.get("/api/v1/status"));
    let mut codes = [first.code(), second.code()];
    codes.sort();
    assert_eq!(codes, ["busy", "timeout"]);
    assert!(inbox.recv().await.is_some());
}

#[tokio::test]
async fn metrics_speak_both_formats() {
    let fake = Fake::start();
    let text = fake.get("/metrics").await;
    assert_eq!(text.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(text.body.contains("\nevergate_build_info{version=\"9.9.9\"} 1\n"), "{}", text.body);
    let accept = [("accept", "application/openmetrics-text; version=1.0.0")];
    let open = fake.send_with(Peer::Unix, "GET /metrics", &accept, "").await;
    assert!(open.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics"));
    assert!(open.body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn events_after_a_number_leave_out_the_earlier_ones() {
    let fake = Fake::start();
    let sequences = |answer: fake::Answer| -> Vec<u64> {
        let events = answer.json()["events"].as_array().unwrap().clone();
        events.iter().map(|event| event["sequence"].as_u64().unwrap()).collect()
    };
    assert_eq!(sequences(fake.get("/api/v1/events").await), [1, 2, 3]);
    assert_eq!(sequences(fake.get("/api/v1/events?after=2").await), [3]);
    let answer = fake.get("/api/v1/events?after=x").await;
    assert_eq!((answer.status, answer.json()["error"]["path"].as_str()), (400, Some("after")));
}

#[tokio::test]
async fn explain_passes_the_whole_question_on() {
    let fake = Fake::start();
    let target = "/api/v1/explain?method=POST&url=http%3A%2F%2Fa%2Fb%3Fc%3Dd&header=x-a:%201&\
                  header=x-b:2:3&client=10.0.0.9";
    assert_eq!(fake.get(target).await.status, 200);
    let expected =
        "explain POST http://a/b?c=d [(\"x-a\", \"1\"), (\"x-b\", \"2:3\")] Some(10.0.0.9)";
    assert_eq!(fake.done(), [expected]);
    for (query, at) in [
        ("", "url"),
        ("?url=http://a&header=none", "header"),
        ("?url=http://a&client=me", "client"),
        ("?url=http://a&wat=1", "wat"),
        ("?url=nonsense", "/api/v1/explain"),
    ] {
        let answer = fake.get(&format!("/api/v1/explain{query}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{query}");
        assert_eq!(answer.json()["error"]["path"], at, "{query}");
    }
}

#[tokio::test]
async fn a_reload_reports_the_difference_or_the_errors() {
    let fake = Fake::start();
    let answer = fake.send(Peer::Unix, "POST /api/v1/reload", "").await.json();
    assert_eq!(
        (&answer["applied"], &answer["change"]["added"][0]),
        (&true.into(), &"route.new".into())
    );
    let answer = fake.send(Peer::Unix, "POST /api/v1/reload", "{\"dry_run\":true}").await.json();
    assert_eq!(answer["applied"], false);
    fake.state.lock().unwrap().reload = Err("e.toml:1:1: unknown key".into());
    let answer = fake.send(Peer::Unix, "POST /api/v1/reload", "{}").await;
    assert_eq!((answer.status, answer.code().as_str()), (422, "config_invalid"));
    assert_eq!(answer.json()["error"]["message"], "e.toml:1:1: unknown key");
    let expected = ["reload dry_run=false", "reload dry_run=true", "reload dry_run=false"];
    assert_eq!(fake.done(), expected);
}

#[tokio::test]
async fn a_server_is_changed_and_shown() {
    let fake = Fake::start();
    let body = "{\"weight\":7,\"state\":\"drain\"}";
    for name in ["shop/0", "shop%2F0"] {
        let line = format!("PATCH /api/v1/pools/shop/servers/{name}");
        let answer = fake.send(Peer::Unix, &line, body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.json()["weight"], 7);
        assert_eq!(answer.json()["state"], "draining");
    }
    let line = "PATCH /api/v1/pools/shop/servers/shop/0";
    assert_eq!(fake.send(Peer::Unix, line, "{\"state\":\"ready\"}").await.json()["state"], "up");
    assert_eq!(fake.done()[..2], ["shop shop/0 Weight(7)", "shop shop/0 Drain"]);
    assert_eq!(fake.done().last().unwrap(), "shop shop/0 Undrain");
}

#[tokio::test]
async fn a_change_that_makes_no_sense_is_refused_with_help() {
    let fake = Fake::start();
    let good = "/api/v1/pools/shop/servers/shop/0";
    let table = [
        ("/api/v1/pools/nope/servers/a", "{\"weight\":1}", 404, "there is: shop"),
        ("/api/v1/pools/shop/servers/a", "{\"weight\":1}", 404, "it has: shop/0, shop/1"),
        (good, "{}", 400, "give `weight` or `state`"),
        (good, "", 400, "send JSON like {\"weight\": 2, \"state\": \"drain\"}"),
        (good, "{\"weight\":65536}", 400, "send JSON like {\"weight\": 2, \"state\": \"drain\"}"),
        (good, "{\"weight\":-1}", 400, "send JSON like {\"weight\": 2, \"state\": \"drain\"}"),
        (good, "{\"wieght\":1}", 400, "send JSON like {\"weight\": 2, \"state\": \"drain\"}"),
        (good, "{\"state\":\"up\"}", 400, "send JSON like {\"weight\": 2, \"state\": \"drain\"}"),
    ];
    for (path, body, status, help) in table {
        let answer = fake.send(Peer::Unix, &format!("PATCH {path}"), body).await;
        assert_eq!(
            (answer.status, answer.json()["error"]["help"].as_str()),
            (status, Some(help)),
            "{body}"
        );
    }
    assert!(fake.done().is_empty(), "{:?}", fake.done());
    let answer = fake.send(Peer::Unix, &format!("PATCH {good}"), "{\"weight\":13}").await;
    assert_eq!((answer.status, answer.code().as_str()), (409, "conflict"));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_what_there_is() {
    let fake = Fake::start();
    let answer = fake.get("/api/v2/status").await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"));
    let error = &answer.json()["error"];
    assert_eq!(error["path"], "/api/v2/status");
    assert!(error["help"].as_str().unwrap().contains("GET /api/v1/status, "), "{error}");
    let answer = fake.send(Peer::Unix, "DELETE /api/v1/status", "").await;
    assert_eq!((answer.status, answer.code().as_str()), (405, "method_not_allowed"));
    assert_eq!(answer.headers["allow"], "GET,HEAD");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let fake = Fake::start();
    let body = " ".repeat(1024 * 1024 + 1);
    let answer = fake.send(Peer::Unix, "POST /api/v1/reload", &body).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
    assert!(fake.done().is_empty());
}

#[tokio::test]
async fn tokens_guard_every_path_and_may_change_while_serving() {
    let fake = Fake::start();
    fake.tokens(None, None);
    assert_eq!(fake.send(LOCAL, "GET /api/v1/status", "").await.status, 200);
    let answer = fake.send(LOCAL, "POST /api/v1/reload", "").await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden"));
    assert!(answer.json()["error"]["help"].as_str().unwrap().contains("admin.tokens"));
    fake.tokens(Some("see"), Some("do"));
    for path in ["/", "/livez", "/metrics", "/events", "/api/v1/status", "/console.js", "/nothing"]
    {
        let answer = fake.send(LOCAL, &format!("GET {path}"), "").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"), "{path}");
        assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Basic "));
    }
    let bearer = [("authorization", "Bearer do")];
    assert_eq!(fake.send_with(LOCAL, "POST /api/v1/reload", &bearer, "").await.status, 200);
    assert_eq!(fake.send_with(LOCAL, "GET /api/v1/status", &bearer, "").await.status, 200);
    assert_eq!(fake.done(), ["reload dry_run=false"]);
}

#[tokio::test]
async fn the_page_is_whole_without_scripts() {
    let fake = Fake::start();
    let answer = fake.get("/").await;
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    for words in [
        "edge-a",
        "degraded",
        "shop/1",
        "connection refused",
        "signal 9 (KILL)",
        "reason 3",
        "1 of 2 ready",
        "aria-valuenow=\"1\"",
        "cut in 22s",
        "cpu unsupported",
    ] {
        assert!(answer.body.contains(words), "no {words}");
    }
    for outside in ["://", "\"//", "'//", "(//"] {
        assert!(!answer.body.contains(outside), "the page must not point outside");
    }
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
}

#[tokio::test]
async fn what_apps_printed_is_json_a_line() {
    let fake = Fake::start();
    fake.state.lock().unwrap().lines = vec![fake::line(0, "one"), fake::line(1, "two\u{1f600}")];
    let answer = fake.get("/api/v1/apps/shop/logs?instance=1&lines=7").await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let lines: Vec<LogLine> =
        answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, fake.state.lock().unwrap().lines);
    assert_eq!(fake.get("/api/v1/logs?lines=0").await.body, "");
    let asked = ["logs Some(\"shop\") Some(1) 7 false", "logs None None 0 false"];
    assert_eq!(fake.done(), asked);
    for (target, status, at) in [
        ("/api/v1/apps/shp/logs", 404, "/api/v1/apps/shp/logs"),
        ("/api/v1/apps/shop/logs?instance=9", 404, "/api/v1/apps/shop/logs"),
        ("/api/v1/apps/shop/logs?instance=x", 400, "instance"),
        ("/api/v1/logs?instance=0", 400, "instance"),
        ("/api/v1/logs?lines=-1", 400, "lines"),
        ("/api/v1/logs?follow=1", 400, "follow"),
    ] {
        let answer = fake.get(target).await;
        let told = answer.json()["error"]["path"].as_str().unwrap().to_owned();
        assert_eq!((answer.status, told.as_str()), (status, at), "{target}");
    }
}

#[tokio::test]
async fn the_api_description_is_honest() {
    let fake = Fake::start();
    let document = fake.get("/api/v1/openapi.json").await.json();
    let help = fake.get("/nothing").await.json()["error"]["help"].as_str().unwrap().to_owned();
    let listed: Vec<&str> = help.trim_start_matches("there is: ").split(", ").collect();
    let mut described = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            described.push(format!("{} {path}", method.to_uppercase()));
            let path = path.replace("{pool}", "shop").replace("{server}", "shop/0");
            let path = path.replace("{app}", "shop").replace("{name}", "all");
            let line = format!("{} {path}", method.to_uppercase());
            if path != "/events" {
                let status = fake.send(Peer::Unix, &line, "").await.status;
                assert!(status != 404 && status != 405, "{line}: {status}");
            }
        }
    }
    let mut sorted = listed.clone();
    sorted.sort_by_key(|line| described.iter().position(|known| known == line));
    assert_eq!(sorted, described);

    let status = serde_json::to_value(fake::status()).unwrap();
    let keys = |value: &serde_json::Value| -> Vec<String> {
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    for (schema, sample) in [
        ("Status", &status),
        ("ConfigStatus", &status["config"]),
        ("Changes", &serde_json::to_value(fake::changes()).unwrap()),
        ("ChangeStatus", &serde_json::to_value(fake::changes()).unwrap()["changes"][0]),
        ("History", &serde_json::to_value(fake::history()).unwrap()),
        ("AppliedStatus", &serde_json::to_value(fake::history()).unwrap()["configurations"][0]),
        ("TrialStatus", &serde_json::to_value(fake::history()).unwrap()["trial"]),
        ("ListenerStatus", &status["listeners"][0]),
        ("CertificateStatus", &status["certificates"][0]),
        ("RouteStatus", &status["routes"][0]),
        ("PoolStatus", &status["pools"][0]),
        ("ServerStatus", &status["pools"][0]["servers"][0]),
        ("InstanceStatus", &status["apps"][0]),
        ("DeployStatus", &status["deploys"][0]),
        ("AppLimitsStatus", &status["app_limits"][0]),
        ("OutputCounts", &status["apps"][0]["output"]),
        ("AppPlan", &fake.send(Peer::Unix, "POST /api/v1/apps/shop/start", "").await.json()),
        ("WorkerStatus", &status["workers"][0]),
        ("UpgradeStatus", &status["upgrade"]),
        ("UpgradeStepStatus", &status["upgrade"]["steps"][0]),
        ("UpgradeState", &fake.get("/api/v1/upgrade").await.json()),
        ("VipStatus", &status["vips"][0]),
        ("VipAddressStatus", &status["vips"][0]["addresses"][0]),
        ("VipMaster", &status["vips"][0]["master"]),
        ("VipCountsStatus", &status["vips"][0]["counts"]),
        ("TrackStatus", &status["vips"][0]["tracked"][0]),
        ("PeerStatus", &status["peers"][0]),
        ("PathStatus", &status["peers"][0]["paths"][0]),
        ("EvidenceStatus", &status["peers"][0]["evidence"][0]),
        ("StandbyState", &fake.get("/api/v1/vips").await.json()),
        ("Event", &serde_json::to_value(fake::event(1)).unwrap()),
        ("LogLine", &serde_json::to_value(fake::line(0, "")).unwrap()),
        ("Explanation", &fake.get("/api/v1/explain?url=http://a/").await.json()),
        ("PlanChange", &fake.send(Peer::Unix, "POST /api/v1/reload", "").await.json()["change"]),
    ] {
        assert_eq!(
            keys(&document["components"]["schemas"][schema]["properties"]),
            keys(sample),
            "{schema}"
        );
    }
}
