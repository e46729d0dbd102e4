//! Deploys: what is run changes, instance by instance.

use std::fs;
use std::os::unix::fs::symlink;

use evergate_control::link::{
    App, DeployPhase, DeployRule, Instance, InstanceState, OnFailure, Sample, ToKeeper, Verb,
};
use evergate_sys::signal::{self, Signal};

use crate::apps::running;
use crate::stage::{Pace, Stage, Worker, all_ready, app, apps};

pub(crate) const TESTS: &[crate::Test] = &[
    ("a_release_is_pinned_until_the_next_deploy", a_release_is_pinned_until_the_next_deploy),
    ("a_deploy_of_what_does_not_run_keeps_the_old", a_deploy_of_what_does_not_run_keeps_the_old),
    ("a_deploy_outlives_the_worker", a_deploy_outlives_the_worker),
    ("a_canary_is_watched", a_canary_is_watched),
];

/// An app in a release directory that a link leads to, and that link.
fn released(stage: &Stage, instances: u16) -> (App, String) {
    for release in ["one", "two"] {
        fs::create_dir(stage.path(release)).unwrap();
    }
    let current = stage.path("current");
    symlink("one", &current).unwrap();
    let mut shop = app("shop", &["sleep", "1000"], instances);
    shop.cwd = Some(current.clone());
    (shop, current)
}

fn switch(link: &str, to: &str) {
    fs::remove_file(link).unwrap();
    symlink(to, link).unwrap();
}

fn release_of(instance: &Instance) -> String {
    let cwd = fs::read_link(format!("/proc/{}/cwd", instance.pid.unwrap())).unwrap();
    cwd.file_name().unwrap().to_str().unwrap().to_owned()
}

fn releases(instances: &[Instance]) -> Vec<String> {
    instances.iter().map(release_of).collect()
}

fn is_over(phase: DeployPhase) -> bool {
    matches!(phase, DeployPhase::Done | DeployPhase::Failed)
}

fn a_release_is_pinned_until_the_next_deploy() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    worker.say(&ToKeeper::Ready);
    let (shop, current) = released(&stage, 2);
    let wanted = std::slice::from_ref(&shop);
    let before = stage.run(&worker, wanted);
    assert_eq!(releases(&before), ["one", "one"]);
    switch(&current, "two");
    // A crash is followed by more of the same, and so is a restart.
    signal::send(running(&before[0]).0, Signal::Kill).unwrap();
    let healed = |all: &[Instance]| all[0].run.generation == 2 && all_ready(all);
    assert_eq!(releases(&stage.observe(&worker, healed)), ["one", "one"]);
    stage.run(&worker, wanted);
    stage.wish(&worker, ("shop", Some(1)), Verb::Restart).unwrap();
    let (deploy, after) = stage.observe_deploy(&worker, |deploy| is_over(deploy.phase));
    assert_eq!((deploy.phase, deploy.cause.as_str()), (DeployPhase::Done, "restart"));
    assert_eq!(releases(&after), ["one", "one"]);
    // Only a deploy looks where the link leads; what it would do is told first.
    let plan = stage.wish(&worker, ("shop", None), Verb::PlanDeploy).unwrap();
    assert!(plan[0].starts_with("run sleep in /") && plan[0].ends_with("/two"), "{plan:?}");
    assert_eq!(stage.wish(&worker, ("shop", None), Verb::Deploy).unwrap(), plan);
    let deployed =
        |deploy: &evergate_control::link::Deploy| deploy.number == 2 && is_over(deploy.phase);
    let (deploy, after) = stage.observe_deploy(&worker, deployed);
    assert_eq!((deploy.phase, deploy.done, deploy.of), (DeployPhase::Done, 2, 2));
    assert_eq!((deploy.cause.as_str(), deploy.revision), ("deploy", 2));
    assert_eq!(releases(&after), ["two", "two"]);
    assert!(after.iter().all(|one| one.revision == 2 && one.exits <= 1));
    // The same wish of the same worker is no other.
    assert_eq!(stage.run(&worker, wanted)[0].run, after[0].run);
}

fn a_deploy_of_what_does_not_run_keeps_the_old() {
    for on_failure in [OnFailure::Abort, OnFailure::Rollback] {
        let stage = Stage::new(Pace::Production);
        let worker = stage.worker();
        worker.say(&ToKeeper::Ready);
        let (mut shop, _) = released(&stage, 3);
        shop.deploy = DeployRule { canary_for_ms: 0, on_failure, ..DeployRule::default() };
        let before = stage.run(&worker, std::slice::from_ref(&shop));
        shop.run = vec!["/no/such/program".into()];
        // It is over as soon as it has begun.
        let mut settled = stage.desire(&worker, &apps(&[shop.clone()]));
        let (deploy, after) = (settled.deploys.remove(0), settled.instances);
        assert_eq!(deploy.phase, DeployPhase::Failed);
        assert_eq!(deploy.cause, "the configuration changed");
        assert!(deploy.message.contains("no such file"), "{}", deploy.message);
        let (runs, same): (Vec<_>, Vec<_>) =
            after.iter().zip(&before).map(|(one, before)| (running(one), running(before))).unzip();
        assert_eq!(runs, same, "nobody was touched");
        let told = stage.await_event_of(&worker, "deploy_failed");
        assert_eq!(told.subject, "app.shop");
        // Saying it again does not begin it again, and a crash brings back what ran.
        stage.desire(&worker, &apps(&[shop]));
        signal::send(running(&before[0]).0, Signal::Kill).unwrap();
        let healed = stage.observe(&worker, |all| all_ready(all) && all[0].exits > before[0].exits);
        assert!(healed.iter().all(|one| one.revision == 1), "{healed:?}");
    }
}

fn a_deploy_outlives_the_worker() {
    let mut stage = Stage::new(Pace::Quick);
    let mut worker = stage.worker();
    worker.say(&ToKeeper::Ready);
    let (shop, current) = released(&stage, 3);
    let wanted = std::slice::from_ref(&shop);
    stage.run(&worker, wanted);
    switch(&current, "two");
    // The first is replaced, the second is starting when the worker dies.
    worker.probes = false;
    stage.wish(&worker, ("shop", None), Verb::Deploy).unwrap();
    let new = |all: &[Instance]| all.iter().filter(|one| one.revision == 2).count();
    let all = stage.observe(&worker, |all| new(all) == 1 && starts(all));
    worker.pass(&all);
    let all = stage.observe(&worker, drains);
    worker.pass(&all);
    stage.observe(&worker, |all| new(all) == 2 && starts(all));
    worker.crash();
    stage.await_reaped(worker.pid);
    let next = stage.worker();
    let (paused, _) = stage.observe_deploy(&next, |_| true);
    assert_eq!((paused.phase, paused.done), (DeployPhase::Paused, 1), "{}", paused.message);
    stage.desire(&next, &apps(wanted));
    next.say(&ToKeeper::Ready);
    let (deploy, after) = stage.observe_deploy(&next, |deploy| is_over(deploy.phase));
    assert_eq!((deploy.phase, deploy.done), (DeployPhase::Done, 3), "{}", deploy.message);
    assert_eq!(releases(&after), ["two", "two", "two"]);
}

fn starts(all: &[Instance]) -> bool {
    all.iter().any(|one| one.state == InstanceState::Starting && one.pid.is_some())
}

fn drains(all: &[Instance]) -> bool {
    all.iter().any(|one| matches!(one.state, InstanceState::Draining { .. }))
}

fn a_canary_is_watched() {
    let stage = Stage::new(Pace::Production);
    let worker = stage.worker();
    worker.say(&ToKeeper::Ready);
    let (mut shop, _) = released(&stage, 2);
    shop.deploy.canary_for_ms = 300;
    stage.run(&worker, std::slice::from_ref(&shop));
    let sample = |worker: &Worker, errors| {
        let others = Sample { requests: 1000, errors: 0, p99_us: 900 };
        let canary = Sample { requests: 1000, errors, p99_us: 900 };
        worker.say(&ToKeeper::Sampled { app: "shop".into(), canary, others });
    };
    for (round, errors, phase) in [(1, 500, DeployPhase::Failed), (2, 0, DeployPhase::Done)] {
        stage.wish(&worker, ("shop", None), Verb::Deploy).unwrap();
        stage.observe_deploy(&worker, |deploy| {
            deploy.number == round && deploy.phase == DeployPhase::Soaking
        });
        sample(&worker, errors);
        let (deploy, after) =
            stage.observe_deploy(&worker, |deploy| deploy.number == round && is_over(deploy.phase));
        assert_eq!(deploy.phase, phase, "{}", deploy.message);
        let revision = if phase == DeployPhase::Done { 3 } else { 1 };
        assert!(after.iter().all(|one| one.revision == revision), "{after:?}");
    }
}
