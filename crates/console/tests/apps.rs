//! What can be asked and wanted of apps, before a fake control plane.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod fake;

use evergate_console::Peer;
use fake::Fake;

#[tokio::test]
async fn apps_are_listed_as_in_the_state_of_the_node() {
    let fake = Fake::start();
    let answer = fake.get("/api/v1/apps").await.json();
    let status = serde_json::to_value(fake::status()).unwrap();
    for part in ["apps", "deploys", "app_limits"] {
        assert_eq!(answer[part], status[part], "{part}");
    }
}

#[tokio::test]
async fn wishes_are_passed_on_and_answered_with_a_plan() {
    let fake = Fake::start();
    let table = [
        ("start", "", "Start shop None", true),
        ("stop", "{}", "Stop shop None", true),
        ("restart", "{\"instance\": 1}", "Restart shop Some(1)", true),
        ("restart", "{\"dry_run\": true}", "PlanRestart shop None", false),
        ("deploy", "{\"instance\": null, \"dry_run\": false}", "Deploy shop None", true),
        ("deploy", "{\"dry_run\": true}", "PlanDeploy shop None", false),
        ("abort", "", "Abort shop None", true),
    ];
    for (verb, body, done, applied) in table {
        let line = format!("POST /api/v1/apps/shop/{verb}");
        let answer = fake.send(Peer::Unix, &line, body).await;
        assert_eq!(answer.status, 200, "{verb}: {}", answer.body);
        let expected = serde_json::json!({
            "plan": ["replace shop/0", "replace shop/1"],
            "applied": applied,
        });
        assert_eq!(answer.json(), expected, "{verb} {body}");
        assert_eq!(fake.done().last().unwrap(), done);
    }
}

#[tokio::test]
async fn a_wish_that_makes_no_sense_is_refused_with_help() {
    let fake = Fake::start();
    let table = [
        ("shp/stop", "", 404, "there is no app `shp`", "there is: shop, sync"),
        ("shop/stop", "{\"instance\": 7}", 404, "app `shop` has no instance 7", "it has: 0, 1"),
        (
            "shop/stop",
            "{\"dry_run\": true}",
            400,
            "there is no dry run of this",
            "`deploy` and `restart` have one",
        ),
    ];
    for (target, body, status, message, help) in table {
        let answer = fake.send(Peer::Unix, &format!("POST /api/v1/apps/{target}"), body).await;
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status, error["message"].as_str(), error["help"].as_str()),
            (status, Some(message), Some(help)),
            "{target} {body}"
        );
    }
    for body in ["{\"instance\": -1}", "{\"instance\": 65536}", "{\"number\": 1}", "nonsense"] {
        let answer = fake.send(Peer::Unix, "POST /api/v1/apps/shop/restart", body).await;
        let help = "send JSON like {\"instance\": 2, \"dry_run\": true}";
        assert_eq!((answer.status, answer.json()["error"]["help"].as_str()), (400, Some(help)));
    }
    assert!(fake.done().is_empty(), "{:?}", fake.done());
    assert_eq!(fake.send(Peer::Unix, "POST /api/v1/apps/shop/explode", "").await.status, 404);

    fake.state.lock().unwrap().plan = Err("a deploy is under way".into());
    let answer = fake.send(Peer::Unix, "POST /api/v1/apps/shop/deploy", "").await;
    assert_eq!((answer.status, answer.code().as_str()), (409, "conflict"));
    assert_eq!(answer.json()["error"]["message"], "a deploy is under way");
    fake.state.lock().unwrap().status.apps.clear();
    let answer = fake.send(Peer::Unix, "POST /api/v1/apps/shop/deploy", "").await;
    assert_eq!(answer.json()["error"]["help"], "the configuration has no `[app.NAME]`");
}

#[tokio::test]
async fn an_instance_is_killed_by_number() {
    let fake = Fake::start();
    let answer = fake.send(Peer::Unix, "POST /api/v1/apps/shop/kill?instance=1", "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(fake.done(), ["kill shop/1"]);
    for query in ["", "?instance=x", "?instance=-1", "?number=1"] {
        let line = format!("POST /api/v1/apps/shop/kill{query}");
        assert_eq!(fake.send(Peer::Unix, &line, "").await.status, 400, "{query}");
    }
    let answer = fake.send(Peer::Unix, "POST /api/v1/apps/shop/kill?instance=9", "").await;
    assert_eq!(
        (answer.status, answer.json()["error"]["help"].as_str()),
        (404, Some("it has: 0, 1"))
    );
}
