//! What is told of apps and upgrades, in words: the same on the page and on the command line.

use evergate_control::snapshot::{
    AppLimitsStatus, ConfigStatus, DeployStatus, InstanceStatus, PathStatus, PeerStatus, Status,
    TrackStatus, TrialStatus, UpgradeStatus, VipStatus, WorkerStatus,
};

use crate::when;

/// Why an instance is in its state, and what happens next by itself.
pub fn why(instance: &InstanceStatus) -> String {
    let next = instance.next_seconds.map(|left| {
        let left = when::left(left);
        match instance.state.as_str() {
            "draining" => format!("cut in {left}"),
            "fatal" => format!("tried again in {left}"),
            _ => format!("started again in {left}"),
        }
    });
    let parts = [(!instance.reason.is_empty()).then(|| instance.reason.clone()), next];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Bytes of memory: `512 B`, `3.4 MiB`, `120 MiB`, `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut number, mut unit) = (bytes as f64 / 1024.0, 0);
    while number >= 1023.5 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    let places = usize::from(number < 9.95);
    format!("{number:.places$} {}", UNITS[unit])
}

/// What an instance has of memory, of how much it may: `34 MiB of 256 MiB`; nothing if unknown.
pub fn memory(instance: &InstanceStatus) -> String {
    let used = instance.resident_bytes.map(size);
    match (used, instance.memory_limit_bytes.map(size)) {
        (Some(used), Some(limit)) => format!("{used} of {limit}"),
        (Some(used), None) => used,
        (None, _) => String::new(),
    }
}

/// Time that a processor worked: `12.5s` below a minute, then like a span.
pub fn cpu(seconds: f64) -> String {
    if seconds < 59.95 { format!("{seconds:.1}s") } else { when::span(seconds as u64) }
}

/// Failures that count, of how many there may be: `3 of 10`; nothing without any.
pub fn failures(instance: &InstanceStatus) -> String {
    match instance.failures {
        0 => String::new(),
        failures => format!("{failures} of {}", instance.failures_max),
    }
}

/// A deploy as people call it: `deploy #3`, `restart #4`, `deploy #5 (the configuration changed)`.
pub fn name(deploy: &DeployStatus) -> String {
    let DeployStatus { cause, number, .. } = deploy;
    match cause.as_str() {
        "deploy" | "restart" => format!("{cause} #{number}"),
        cause => format!("deploy #{number} ({cause})"),
    }
}

/// Which configuration is in force, numbered as `evergate rollback --list` does: `edge.toml,
/// configuration #12`, or `configuration #9 in place of edge.toml`.
pub fn in_force(config: &ConfigStatus) -> String {
    let ConfigStatus { file, id, held, .. } = config;
    match (id, held) {
        // It was never written down: the file was bad at the start, and nobody knew of an earlier one.
        (0, _) => file.clone(),
        (id, None) => format!("{file}, configuration #{id}"),
        (id, Some(_)) => format!("configuration #{id} in place of {file}"),
    }
}

/// What becomes of a configuration that is to be confirmed.
pub fn on_trial(trial: &TrialStatus) -> String {
    let TrialStatus { back_to, seconds_left, failure } = trial;
    match (failure, seconds_left) {
        (Some(_), _) => format!(
            "not confirmed, and #{back_to} cannot come back; it is tried again and again: mend what \
             is wrong, or `evergate confirm`"
        ),
        (None, 0) => format!("not confirmed: #{back_to} is coming back"),
        (None, left) => format!(
            "not confirmed: #{back_to} comes back in {left} s; `evergate confirm` keeps this one"
        ),
    }
}

/// How far a deploy is: `rolling, 1 of 4 instances replaced`.
pub fn progress(deploy: &DeployStatus) -> String {
    let DeployStatus { phase, done, of, .. } = deploy;
    let noun = if *of == 1 { "instance" } else { "instances" };
    format!("{phase}, {done} of {of} {noun} replaced")
}

/// Whether the deploy is still under way.
pub fn is_under_way(deploy: &DeployStatus) -> bool {
    !matches!(deploy.phase.as_str(), "done" | "failed")
}

/// Limits that nothing enforces here, a line each, with the app that they are of.
pub fn unsupported(limits: &[AppLimitsStatus]) -> impl Iterator<Item = (&str, &str)> {
    let lines = limits
        .iter()
        .flat_map(|one| one.kept.iter().map(move |line| (one.app.as_str(), line.as_str())));
    lines.filter(|(_, line)| line.contains(" unsupported"))
}

/// What is wrong with the apps of a node, a line each, for the reasons of its health.
///
/// An instance that waits, starts or is being replaced is none of it; neither is a deploy that
/// failed, for it left the old runs where they were.
pub fn troubles(instances: &[InstanceStatus]) -> Vec<String> {
    let mut lines: Vec<String> = instances.iter().filter_map(trouble).collect();
    let mut apps: Vec<&str> = instances.iter().map(|one| one.app.as_str()).collect();
    apps.dedup();
    for app in apps {
        let of_app = || instances.iter().filter(|one| one.app == app);
        let is_wanted = of_app().any(|one| one.state != "stopped");
        if is_wanted && !of_app().any(|one| one.state == "ready") {
            lines.push(format!("app.{app}: no instance is ready"));
        }
    }
    lines
}

fn trouble(instance: &InstanceStatus) -> Option<String> {
    let name = format!("app.{}/{}", instance.app, instance.number);
    let sentence = match instance.state.as_str() {
        "fatal" => "is fatal",
        "stuck" => "was killed and does not end",
        "backoff" => "is down",
        "unhealthy" => "hangs",
        _ => return None,
    };
    match cause(instance) {
        cause if cause.is_empty() => Some(format!("{name} {sentence}")),
        cause => Some(format!("{name} {sentence}: {cause}")),
    }
}

/// Why an instance is down and what happens next: its reason, or else how it last ended.
pub fn cause(instance: &InstanceStatus) -> String {
    let how = if instance.reason.is_empty() { instance.last_exit.clone() } else { None };
    let words = [how.unwrap_or_default(), why(instance)];
    words.into_iter().filter(|one| !one.is_empty()).collect::<Vec<_>>().join("; ")
}

/// What happens in a phase of an upgrade.
pub fn phase(phase: &str) -> &'static str {
    match phase {
        "check" => "the new binary is asked whether it could go on from here",
        "load" => "the new worker loads what is in force",
        "activate" => "the new worker accepts beside the old one",
        "probe" => "a request goes through the new worker",
        "release" => "the old worker lets go and says what it knows",
        "acquire" => "the new worker takes over",
        "soak" => "the new worker is watched; the old one finishes, ready to come back",
        "rehearse" => "the new keeper is asked whether it could go on",
        "execute" => "the keeper becomes the new binary",
        _ => "",
    }
}

/// How an upgrade ended and who serves now, in one or two lines; or how far it is.
pub fn outcome(upgrade: &UpgradeStatus) -> String {
    let why = upgrade.reason.as_deref().unwrap_or("no reason was given");
    match upgrade.outcome.as_str() {
        "done" => format!("done: evergate {} serves", upgrade.version),
        "refused" => format!("refused: {why}\nnothing was changed; the old one serves"),
        "returned" => format!("returned: {why}\nthe old one serves again"),
        "partial" => format!("partial: {why}\nthe worker is new, the keeper is the old one"),
        _ => match upgrade.steps.last() {
            Some(step) => format!("{}: {}", step.phase, phase(&step.phase)),
            None => "it begins".to_owned(),
        },
    }
}

/// What there is to say of keeper, workers and upgrade beside that all is as usual, a line each.
pub fn replacement(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(upgrade) = &status.upgrade {
        let head = format!("upgrade #{} to {}", upgrade.number, upgrade.binary);
        match upgrade.outcome.as_str() {
            "done" => {}
            "under way" => lines.push(format!("{head}: {}", outcome(upgrade))),
            _ => {
                let text = outcome(upgrade).replace('\n', "; ");
                lines.push(format!("{head} was {text}"));
            }
        }
    }
    if !status.keeper_version.is_empty() && status.keeper_version != status.version {
        let (keeper, worker) = (&status.keeper_version, &status.version);
        lines.push(format!("the keeper is evergate {keeper}, the worker {worker}"));
    }
    let others = status.workers.iter().filter(|worker| worker.state != "primary");
    lines.extend(others.map(worker));
    lines
}

/// A worker that is not the one that serves: `worker 11 (#3) is draining for 12s, 4 connections`.
fn worker(worker: &WorkerStatus) -> String {
    let WorkerStatus { generation, pid, state, since_seconds, connections, .. } = worker;
    let since = when::span(*since_seconds);
    let connections = match connections {
        Some(1) => ", 1 connection".to_owned(),
        Some(number) => format!(", {number} connections"),
        None => String::new(),
    };
    format!("worker {pid} (#{generation}) is {state} for {since}{connections}")
}

/// Why a virtual address has its role, and what is in the way of another.
pub fn role(vip: &VipStatus) -> String {
    let rival = vip.rival.as_ref().map(|rival| format!("SPLIT: {rival} is master too"));
    let failures = vip.tracked.iter().filter_map(|one| {
        let TrackStatus { subject, effect, failure } = one;
        failure.as_ref().map(|why| format!("{subject} fails ({effect}): {why}"))
    });
    let parts = rival
        .into_iter()
        .chain((!vip.reason.is_empty()).then(|| vip.reason.clone()))
        .chain(vip.holding_back.clone().filter(|why| *why != vip.reason))
        .chain(failures);
    parts.collect::<Vec<_>>().join("; ")
}

/// Priority in force, and the configured one if that differs: `204 of 254`.
pub fn priority(vip: &VipStatus) -> String {
    match (vip.effective_priority, vip.priority) {
        (effective, own) if effective == own => own.to_string(),
        (effective, own) => format!("{effective} of {own}"),
    }
}

/// Who is master: `this node`, or its address and priority; nothing if nobody knows.
pub fn master(vip: &VipStatus) -> String {
    match &vip.master {
        Some(_) if vip.role == "master" => "this node".to_owned(),
        Some(master) => format!("{} ({})", master.address, master.priority),
        None => String::new(),
    }
}

/// A path to another node: `10.0.0.12 heard, hears us, answers echo`.
pub fn path(path: &PathStatus) -> String {
    let mut words = vec![if path.is_heard { "heard" } else { "not heard" }];
    if path.is_heard {
        words.push(if path.hears_us { "hears us" } else { "does not hear us" });
    }
    match path.answers_echo {
        Some(true) => words.push("answers echo"),
        Some(false) => words.push("does not answer echo"),
        None => {}
    }
    format!("{} {}", path.address, words.join(", "))
}

/// What else is known of another node: `tcp 10.0.0.12:443 answers (connected in 1 ms)`.
pub fn evidence(peer: &PeerStatus) -> String {
    let lines = peer.evidence.iter().map(|one| {
        let verb = match one.answers {
            Some(true) => "answers",
            Some(false) => "does not answer",
            None => "was not asked yet",
        };
        match one.detail.is_empty() {
            true => format!("{} {verb}", one.question),
            false => format!("{} {verb} ({})", one.question, one.detail),
        }
    });
    lines.collect::<Vec<_>>().join("; ")
}

/// What another node says of itself: `web backup`; or what it said before it was heard no more.
pub fn claims(peer: &PeerStatus) -> String {
    let claims = peer.roles.iter().map(|(vip, role)| format!("{vip} {role}"));
    let claims = claims.collect::<Vec<_>>().join(", ");
    let is_heard = peer.paths.iter().any(|path| path.is_heard);
    match is_heard || claims.is_empty() {
        true => claims,
        false => format!("before: {claims}"),
    }
}

#[cfg(test)]
mod tests {
    use evergate_control::snapshot::{EvidenceStatus, VipMaster};

    use super::*;

    fn instance(number: u16, state: &str) -> InstanceStatus {
        InstanceStatus { app: "shop".into(), number, state: state.into(), ..Default::default() }
    }

    #[test]
    fn sizes_keep_two_or_three_digits() {
        let table = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (3_500_000, "3.3 MiB"),
            (10_485_760, "10 MiB"),
            (1_073_741_823, "1.0 GiB"),
            (u64::MAX, "16777216 TiB"),
        ];
        for (bytes, expected) in table {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn an_instance_that_is_down_is_a_trouble_with_its_cause_and_what_comes_next() {
        let mut fatal = instance(1, "fatal");
        fatal.last_exit = Some("exit status 1".into());
        fatal.next_seconds = Some(250.2);
        let lines = troubles(&[instance(0, "ready"), fatal.clone()]);
        assert_eq!(lines, ["app.shop/1 is fatal: exit status 1; tried again in 4m10s"]);
        fatal.reason = "10 failures within 10 min".into();
        fatal.next_seconds = None;
        let lines = troubles(&[instance(0, "ready"), fatal]);
        assert_eq!(lines, ["app.shop/1 is fatal: 10 failures within 10 min"]);
        for (state, expected) in [
            ("stuck", Some("app.shop/1 was killed and does not end")),
            ("backoff", Some("app.shop/1 is down")),
            ("unhealthy", Some("app.shop/1 hangs")),
            ("waiting", None),
            ("starting", None),
            ("draining", None),
            ("stopping", None),
            ("stopped", None),
        ] {
            let lines = troubles(&[instance(0, "ready"), instance(1, state)]);
            assert_eq!(lines.first().map(String::as_str), expected, "{state}");
        }
    }

    #[test]
    fn an_app_that_should_serve_and_does_not_is_a_trouble() {
        let lines = troubles(&[instance(0, "starting"), instance(1, "stopped")]);
        assert_eq!(lines, ["app.shop: no instance is ready"]);
        assert!(troubles(&[instance(0, "stopped"), instance(1, "stopped")]).is_empty());
        assert!(troubles(&[]).is_empty());
    }

    #[test]
    fn deploys_are_called_by_number_and_cause() {
        let name = |cause: &str| {
            name(&DeployStatus { cause: cause.into(), number: 3, ..DeployStatus::default() })
        };
        assert_eq!((name("deploy"), name("restart")), ("deploy #3".into(), "restart #3".into()));
        assert_eq!(name("the configuration changed"), "deploy #3 (the configuration changed)");
    }

    #[test]
    fn the_configuration_in_force_has_the_number_that_one_goes_back_to() {
        let mut config =
            ConfigStatus { file: "edge.toml".into(), generation: 3, ..ConfigStatus::default() };
        assert_eq!(in_force(&config), "edge.toml");
        config.id = 12;
        assert_eq!(in_force(&config), "edge.toml, configuration #12");
        config.held = Some("the file differs".into());
        assert_eq!(in_force(&config), "configuration #12 in place of edge.toml");
    }

    #[test]
    fn a_virtual_address_says_who_has_it_and_why() {
        let mut vip = VipStatus {
            role: "backup".into(),
            reason: "10.0.0.11 has priority 254".into(),
            priority: 253,
            effective_priority: 253,
            master: Some(VipMaster { address: "10.0.0.11".into(), priority: 254 }),
            ..VipStatus::default()
        };
        assert_eq!((role(&vip), master(&vip)), (vip.reason.clone(), "10.0.0.11 (254)".into()));
        assert_eq!(priority(&vip), "253");
        vip.holding_back = Some(vip.reason.clone());
        assert_eq!(role(&vip), vip.reason, "nothing is said twice");
        vip.holding_back = None;
        vip.role = "master".into();
        vip.rival = Some("10.0.0.12 (priority 252)".into());
        vip.effective_priority = 203;
        vip.tracked.push(TrackStatus {
            subject: "pool.api".into(),
            effect: "-50".into(),
            failure: Some("no server is up".into()),
        });
        assert_eq!((master(&vip).as_str(), priority(&vip).as_str()), ("this node", "203 of 253"));
        let words = role(&vip);
        assert!(words.starts_with("SPLIT: 10.0.0.12 (priority 252) is master too; 10.0.0.11 has"));
        assert!(words.ends_with("pool.api fails (-50): no server is up"), "{words}");
    }

    #[test]
    fn a_peer_is_told_of_path_by_path_and_answer_by_answer() {
        let mut one = PathStatus { address: "10.0.0.12".into(), ..PathStatus::default() };
        assert_eq!(path(&one), "10.0.0.12 not heard");
        one.is_heard = true;
        one.answers_echo = Some(true);
        assert_eq!(path(&one), "10.0.0.12 heard, does not hear us, answers echo");
        let asked = |answers, detail: &str| EvidenceStatus {
            question: "tcp b:443".into(),
            answers,
            detail: detail.into(),
        };
        let peer = PeerStatus {
            evidence: vec![asked(Some(false), "connection refused"), asked(None, "")],
            ..PeerStatus::default()
        };
        let words = "tcp b:443 does not answer (connection refused); tcp b:443 was not asked yet";
        assert_eq!(evidence(&peer), words);
    }

    #[test]
    fn what_a_node_said_before_it_fell_silent_is_told_as_such() {
        let heard = PathStatus { is_heard: true, ..PathStatus::default() };
        let mut peer = PeerStatus {
            roles: vec![("web".into(), "master".into()), ("db".into(), "backup".into())],
            paths: vec![PathStatus::default(), heard],
            ..PeerStatus::default()
        };
        assert_eq!(claims(&peer), "web master, db backup");
        peer.paths.pop();
        assert_eq!(claims(&peer), "before: web master, db backup");
        peer.roles.clear();
        assert_eq!(claims(&peer), "");
    }

    #[test]
    fn limits_that_nothing_enforces_are_picked_out() {
        let kept = vec!["memory 256 MiB by cgroup v1".into(), "cpu unsupported: no".into()];
        let limits = [AppLimitsStatus { app: "shop".into(), kept }];
        assert_eq!(unsupported(&limits).collect::<Vec<_>>(), [("shop", "cpu unsupported: no")]);
    }
}
