//! `evergate upgrade`, run as a user would, before a fake node.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../../console/tests/fake/mod.rs"]
mod fake;
mod node;

use evergate_control::snapshot::{Status, UpgradeStatus, UpgradeStepStatus};
use node::Node;

/// An upgrade after the one that the fake node has behind it.
fn upgrade(steps: &[(&str, Option<u64>)], outcome: &str, reason: Option<&str>) -> Status {
    let steps = steps.iter().map(|(phase, took_ms)| UpgradeStepStatus {
        phase: (*phase).to_owned(),
        at_ms: 1,
        took_ms: *took_ms,
    });
    let upgrade = UpgradeStatus {
        number: 2,
        binary: "/usr/bin/evergate".into(),
        version: "0.2.0".into(),
        steps: steps.collect(),
        outcome: outcome.to_owned(),
        reason: reason.map(str::to_owned),
    };
    Status { upgrade: Some(upgrade), ..fake::status() }
}

async fn run(node: &Node, line: &str) -> (i32, String, String) {
    let output = node.command(line).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn node_after(looks: Vec<Status>) -> Node {
    let node = Node::start();
    let mut state = node.fake.state.lock().unwrap();
    state.plan = Ok(vec!["check /usr/bin/evergate".into()]);
    state.after_wish = looks.into();
    drop(state);
    node
}

#[tokio::test]
async fn phases_are_shown_as_they_begin_and_end() {
    let node = node_after(vec![
        // The upgrade before this one is not taken for it.
        fake::status(),
        upgrade(&[("check", None)], "under way", None),
        upgrade(&[("check", Some(31)), ("load", Some(40)), ("soak", None)], "under way", None),
        upgrade(&[("check", Some(31)), ("load", Some(40)), ("soak", Some(2000))], "done", None),
    ]);
    let (code, out, err) = run(&node, "upgrade /usr/bin/evergate --soak 2s").await;
    let expected = "check /usr/bin/evergate\n\
        check                 the new binary is asked whether it could go on from here ...\n\
        check          31 ms  the new binary is asked whether it could go on from here\n\
        load           40 ms  the new worker loads what is in force\n\
        soak                  the new worker is watched; the old one finishes, ready to come \
        back ...\n\
        soak         2000 ms  the new worker is watched; the old one finishes, ready to come \
        back\n\
        done: evergate 0.2.0 serves\n";
    assert_eq!((code, out.as_str(), err.as_str()), (0, expected, ""));
    let [done] = &node.fake.done()[..] else { panic!("asked once") };
    assert!(done.contains("Some(\"/usr/bin/evergate\")"), "{done}");
    assert!(done.contains("soak_ms: Some(2000)"), "{done}");
}

#[tokio::test]
async fn one_that_goes_back_says_why_and_exits_with_one() {
    let why = "the new worker did not answer a request within 5 s";
    let end = upgrade(&[("check", Some(31)), ("probe", Some(5000))], "refused", Some(why));
    let (code, out, _) = run(&node_after(vec![end.clone()]), "upgrade").await;
    let expected = format!("refused: {why}\nnothing was changed; the old one serves\n");
    assert!(code == 1 && out.ends_with(&expected), "{out}");
    let (code, out, _) = run(&node_after(vec![end]), "upgrade --json").await;
    let shown: UpgradeStatus = serde_json::from_str(&out).unwrap();
    assert_eq!((code, shown.reason.as_deref()), (1, Some(why)));
}

#[tokio::test]
async fn what_is_refused_at_once_is_told_with_its_reason() {
    let node = Node::start();
    node.fake.state.lock().unwrap().plan = Err("an upgrade is under way".into());
    let (code, out, err) = run(&node, "upgrade").await;
    let expected = (1, "", "evergate: an upgrade is under way\n");
    assert_eq!((code, out.as_str(), err.as_str()), expected);
    for line in
        ["upgrade --soak 2", "upgrade --soak 0s", "upgrade --worker --keeper", "upgrade a b"]
    {
        assert_eq!(run(&node, line).await.0, 64, "{line}");
    }
}

#[tokio::test]
async fn status_tells_of_an_upgrade_that_went_wrong() {
    let node = Node::start();
    let why = "the new worker crashed";
    node.fake.state.lock().unwrap().status = upgrade(&[], "returned", Some(why));
    let (_, out, _) = run(&node, "status").await;
    let line = "  upgrade #2 to /usr/bin/evergate was returned: the new worker crashed; the old \
        one serves again\n";
    assert!(out.contains(line), "{out}");
}
