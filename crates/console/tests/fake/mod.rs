//! A control plane that answers from a fixed state and remembers what it was asked to do.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use evergate_console::{Access, Peer, Token, router};
use evergate_control::command::{
    Adjustment, COMMANDS_QUEUED_MAX, ChangeRefusal, Command, Control, Logs, Question,
};
use evergate_control::snapshot::{
    AppLimitsStatus, AppliedStatus, CertificateStatus, ChangeStatus, Changes, ConfigStatus,
    DeployStatus, Event, EvidenceStatus, Explanation, Health, History, InstanceStatus,
    ListenerStatus, LogLine, OutputCounts, PathStatus, PeerStatus, PlanChange, PoolStatus,
    RouteStatus, ServerStatus, Stats, Status, TrackStatus, TrialStatus, UpgradeStatus,
    UpgradeStepStatus, VipAddressStatus, VipCountsStatus, VipMaster, VipStatus, WorkerStatus,
};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{broadcast, mpsc, watch};

/// A fake node and the console in front of it.
pub(crate) struct Fake {
    pub(crate) control: Control,
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) access: watch::Sender<Access>,
    pub(crate) router: axum::Router,
}

/// What the fake node is like.
pub(crate) struct State {
    pub(crate) status: Status,
    pub(crate) events: Vec<Event>,
    pub(crate) reload: Result<PlanChange, String>,
    /// The answer to every change.
    pub(crate) change: Result<PlanChange, ChangeRefusal>,
    pub(crate) changes: Changes,
    /// The answer to every question whose URL has a scheme.
    pub(crate) explanation: Option<Explanation>,
    /// The answer to every wish about an app.
    pub(crate) plan: Result<Vec<String>, String>,
    /// What the node is like after a wish, one look after another; the last one stays.
    pub(crate) after_wish: VecDeque<Status>,
    /// Whether there was a wish.
    pub(crate) is_wished: bool,
    /// What apps printed.
    pub(crate) lines: Vec<LogLine>,
    /// What they print.
    pub(crate) printed: broadcast::Sender<LogLine>,
    /// What it was asked to change, in words.
    pub(crate) done: Vec<String>,
}

/// A response, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }
}

impl Fake {
    /// Must be made inside a runtime, which then runs the control plane.
    pub(crate) fn start() -> Self {
        let (commands, inbox) = mpsc::channel(COMMANDS_QUEUED_MAX);
        let (events, _) = broadcast::channel(16);
        let control = Control { commands, events };
        let state = Arc::new(Mutex::new(State {
            status: status(),
            events: vec![event(1), event(2), event(3)],
            reload: Ok(PlanChange { added: vec!["route.new".into()], ..PlanChange::default() }),
            change: Ok(PlanChange { changed: vec!["route.all".into()], ..PlanChange::default() }),
            changes: changes(),
            explanation: None,
            plan: Ok(vec!["replace shop/0".into(), "replace shop/1".into()]),
            after_wish: VecDeque::new(),
            is_wished: false,
            lines: Vec::new(),
            printed: broadcast::Sender::new(4),
            done: Vec::new(),
        }));
        tokio::spawn(answer_all(inbox, Arc::clone(&state)));
        let (access, watched) = watch::channel(Access::default());
        let router = router(control.clone(), watched);
        Self { control, state, access, router }
    }

    /// Sends a request as `peer` would, without a socket.
    pub(crate) async fn send(&self, peer: Peer, line: &str, body: &str) -> Answer {
        self.send_with(peer, line, &[], body).await
    }

    pub(crate) async fn send_with(
        &self,
        peer: Peer,
        line: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let (method, target) = line.split_once(' ').unwrap();
        let mut request = axum::http::Request::builder().method(method).uri(target).extension(peer);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(axum::body::Body::from(body.to_owned())).unwrap();
        let service = TowerToHyperService::new(self.router.clone());
        let response = hyper::service::Service::call(&service, request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send(Peer::Unix, &format!("GET {target}"), "").await
    }

    pub(crate) fn done(&self) -> Vec<String> {
        self.state.lock().unwrap().done.clone()
    }

    pub(crate) fn tokens(&self, viewer: Option<&str>, operator: Option<&str>) {
        self.access.send_replace(Access {
            allow: vec!["127.0.0.0/8".parse().unwrap()],
            viewer: viewer.map(Token::new),
            operator: operator.map(Token::new),
        });
    }
}

async fn answer_all(mut inbox: mpsc::Receiver<Command>, state: Arc<Mutex<State>>) {
    while let Some(command) = inbox.recv().await {
        answer(command, &mut state.lock().unwrap());
    }
}

/// A caller that has gone away is no error, so what `send` says does not matter.
fn answer(command: Command, state: &mut State) {
    match command {
        Command::Status { reply } => {
            if state.is_wished
                && let Some(next) = state.after_wish.pop_front()
            {
                state.status = next;
            }
            drop(reply.send(state.status.clone()));
        }
        Command::Stats { reply } => {
            drop(reply.send(Stats { version: "9.9.9".into(), ..Stats::default() }));
        }
        Command::Events { reply } => drop(reply.send(state.events.clone())),
        Command::Reload { dry_run, confirm_within, reply } => {
            let within = confirm_within.map(|within| format!(" confirm={within:?}"));
            state.done.push(format!("reload dry_run={dry_run}{}", within.unwrap_or_default()));
            drop(reply.send(state.reload.clone()));
        }
        Command::Change { order, dry_run, reply } => {
            state.done.push(format!("{order:?} dry_run={dry_run}"));
            drop(reply.send(state.change.clone()));
        }
        Command::Rollback { to, dry_run, reply } => {
            state.done.push(format!("rollback to={to:?} dry_run={dry_run}"));
            drop(reply.send(state.change.clone()));
        }
        Command::Confirm { reply } => {
            state.done.push("confirm".to_owned());
            let answer = state.change.clone().map(|_| "configuration #12 stays".to_owned());
            drop(reply.send(answer));
        }
        Command::History { reply } => drop(reply.send(history())),
        Command::Changes { reply } => drop(reply.send(state.changes.clone())),
        Command::Upgrade { order, reply } => {
            state.is_wished = true;
            state.done.push(format!("upgrade {order:?}"));
            drop(reply.send(state.plan.clone()));
        }
        Command::Standby { order, reply } => {
            state.is_wished = true;
            state.done.push(format!("standby {order:?}"));
            drop(reply.send(state.plan.clone()));
        }
        Command::Explain { question, reply } => {
            let Question { method, url, headers, client } = question;
            state.done.push(format!("explain {method} {url} {headers:?} {client:?}"));
            let answer = match url.starts_with("http://") {
                true => Ok(state.explanation.clone().unwrap_or_default()),
                false => Err("the URL needs a scheme".to_owned()),
            };
            drop(reply.send(answer));
        }
        Command::Adjust { pool, server, adjustment, reply } => {
            state.done.push(format!("{pool} {server} {adjustment:?}"));
            let servers = state.status.pools.iter_mut().flat_map(|pool| &mut pool.servers);
            for known in servers.filter(|known| known.name == server) {
                match adjustment {
                    Adjustment::Drain => known.state = "draining".into(),
                    Adjustment::Undrain => known.state = "up".into(),
                    Adjustment::Weight(weight) => known.weight = weight.into(),
                }
            }
            let gone = adjustment == Adjustment::Weight(13);
            drop(reply.send(if gone { Err("the server just left".into()) } else { Ok(()) }));
        }
        Command::Config { reply } => drop(reply.send("[node]\nname = \"edge\"\n".into())),
        Command::App { app, instance, verb, reply } => {
            state.done.push(format!("{verb:?} {app} {instance:?}"));
            state.is_wished = true;
            drop(reply.send(state.plan.clone()));
        }
        Command::Logs { app, instance, lines, follow, reply } => {
            state.done.push(format!("logs {app:?} {instance:?} {lines} {follow}"));
            let past = state.lines[state.lines.len().saturating_sub(lines)..].to_vec();
            let follow = follow.then(|| state.printed.subscribe());
            drop(reply.send(Ok(Logs { lines: past, follow })));
        }
        Command::Kill { app, instance, reply } => {
            state.done.push(format!("kill {app}/{instance}"));
            drop(reply.send(Ok(())));
        }
    }
}

pub(crate) fn changes() -> Changes {
    let one = |name: &str, does: &str| ChangeStatus {
        name: name.into(),
        does: does.into(),
        since: 1_790_000_000,
        ..ChangeStatus::default()
    };
    let place = Some("e.toml:3".to_owned());
    let body = Some("[route.api]\nmatch = \"/v2/*\"\npool = \"shop\"\n".to_owned());
    Changes {
        changes: vec![
            ChangeStatus { file: place.clone(), body, ..one("route.api", "replaces") },
            ChangeStatus { file: place, ..one("pool.shop/b", "hides") },
        ],
        refused: None,
        journal: "/var/lib/evergate/changes/journal".into(),
    }
}

pub(crate) fn history() -> History {
    let one = |id: u64, in_force| AppliedStatus {
        id,
        at: 1_790_000_000 + id,
        why: "reload".into(),
        what: "changed route.api".into(),
        in_force,
    };
    History {
        configurations: vec![one(12, true), one(11, false)],
        held: None,
        trial: Some(TrialStatus { back_to: 11, seconds_left: 42, failure: None }),
        path: "/var/lib/evergate/history/configurations".into(),
        unkept: None,
    }
}

pub(crate) fn line(instance: u16, text: &str) -> LogLine {
    LogLine {
        at_ms: 1_795_230_300_123,
        app: "shop".into(),
        instance,
        generation: 3,
        text: text.into(),
    }
}

pub(crate) fn status() -> Status {
    let server = |name: &str, state: &str, reason: &str| ServerStatus {
        name: name.into(),
        address: "127.0.0.1:20000".into(),
        state: state.into(),
        reason: reason.into(),
        since_seconds: 75,
        weight: 1,
        weight_percent: 100,
        requests: 1200,
        latency_seconds: 0.0042,
        ..ServerStatus::default()
    };
    let ready = instance(0, 2, "ready");
    let mut old = instance(1, 1, "draining");
    old.next_seconds = Some(22.4);
    old.exits = 1;
    old.failures = 1;
    old.last_exit = Some("signal 9 (KILL)".into());
    let mut new = InstanceStatus { generation: 3, ..old.clone() };
    (new.state, new.next_seconds, new.revision) = ("starting".into(), None, 2);
    (new.pid, new.port, new.address) = (Some(102), Some(20002), Some("127.0.0.1:20002".into()));
    let fatal = InstanceStatus {
        app: "sync".into(),
        state: "fatal".into(),
        reason: "10 failures within 10 min".into(),
        since_seconds: 49.0,
        next_seconds: Some(250.6),
        generation: 10,
        revision: 1,
        exits: 10,
        failures: 10,
        failures_max: 10,
        last_exit: Some("exit status 1".into()),
        ..InstanceStatus::default()
    };
    Status {
        workers: vec![WorkerStatus {
            generation: 1,
            pid: 11,
            version: "0.1.0".into(),
            state: "primary".into(),
            since_seconds: 3699,
            connections: None,
        }],
        upgrade: Some(UpgradeStatus {
            number: 1,
            binary: "/usr/bin/evergate".into(),
            version: "0.1.0".into(),
            steps: vec![UpgradeStepStatus { phase: "check".into(), at_ms: 1, took_ms: Some(12) }],
            outcome: "done".into(),
            reason: None,
        }),
        keeper_version: "0.1.0".into(),
        keeper_execs: 0,
        vips: vec![VipStatus {
            name: "web".into(),
            router_id: 51,
            version: 3,
            interface: "eth0".into(),
            addresses: vec![VipAddressStatus { address: "10.0.0.100/24".into(), is_here: true }],
            role: "master".into(),
            since_ms: 1_790_000_000_000,
            reason: "no advert within 90 ms".into(),
            epoch: 1_790_000_000,
            priority: 254,
            effective_priority: 204,
            interval_ms: 30,
            master: Some(VipMaster { address: "10.0.0.11".into(), priority: 204 }),
            tracked: vec![TrackStatus {
                subject: "gateway 10.0.0.1".into(),
                effect: "-50".into(),
                failure: Some("no answer for 300 ms".into()),
            }],
            rival: Some("10.0.0.12 (priority 253)".into()),
            holding_back: Some("a move to edge-b is under way".into()),
            sync: Some("pair".into()),
            hooks_waiting: 1,
            counts: VipCountsStatus { turns: 3, splits: 1, ..VipCountsStatus::default() },
        }],
        peers: vec![PeerStatus {
            name: "edge-b".into(),
            state: "link dead".into(),
            paths: vec![PathStatus { address: "10.0.0.12".into(), ..PathStatus::default() }],
            evidence: vec![EvidenceStatus {
                question: "tcp 10.0.0.12:443".into(),
                answers: Some(true),
                detail: "connected in 1 ms".into(),
            }],
            roles: vec![("web".into(), "master".into())],
        }],
        is_in_maintenance: false,
        vip_problems: vec!["no real-time priority".into()],
        timer_lateness_us: 0,
        certificates: vec![CertificateStatus {
            listener: "web".into(),
            source: "acme.le".into(),
            names: vec!["shop.example".into()],
            issuer: "CN=Authority".into(),
            not_after: 1_800_000_000,
            warn_from: 1_798_790_400,
            renew_at: Some(1_799_000_000),
            failure: None,
        }],
        node: "edge-a".into(),
        version: "0.1.0".into(),
        health: Health::Degraded,
        reasons: vec!["pool.shop: 1 of 2 servers is down".into()],
        keeper_pid: 10,
        worker_pid: 11,
        worker_generation: 1,
        uptime_seconds: 3700,
        worker_uptime_seconds: 3699,
        config: ConfigStatus {
            file: "/etc/evergate/evergate.toml".into(),
            generation: 2,
            applied_at: 1_790_000_000,
            failed_reload: None,
            changes: 0,
            changes_refused: None,
            id: 12,
            held: None,
            trial: None,
        },
        listeners: vec![ListenerStatus {
            name: "web".into(),
            protocol: "https (TLS 1.2+)".into(),
            addresses: vec!["0.0.0.0:8080".into()],
            connections: 12,
            connections_max: 20_000,
        }],
        routes: vec![RouteStatus {
            name: "all".into(),
            pattern: "/*".into(),
            action: "pool shop".into(),
            middleware: vec!["office".into()],
            requests: 2400,
            errors: 3,
        }],
        pools: vec![PoolStatus {
            name: "shop".into(),
            balance: "round-robin".into(),
            health: Health::Degraded,
            expected: 2,
            servers: vec![
                server("shop/0", "up", "checks pass"),
                server("shop/1", "down", "check failed: connection refused"),
            ],
        }],
        deploys: vec![deploy("rolling", 1, "waits until the new run of shop/1 is ready")],
        app_limits: vec![AppLimitsStatus {
            app: "shop".into(),
            kept: vec![
                "memory 256 MiB by cgroup v1".into(),
                "cpu unsupported: there is no cpu controller here".into(),
            ],
        }],
        admin: vec!["/run/evergate/admin.sock".into(), "127.0.0.1:9180".into()],
        apps: vec![ready, old, new, fatal],
    }
}

/// A run of the app `shop` in its first revision.
pub(crate) fn instance(number: u16, generation: u32, state: &str) -> InstanceStatus {
    let port = 20000 + number;
    InstanceStatus {
        app: "shop".into(),
        number,
        state: state.into(),
        since_seconds: 75.3,
        pid: Some(100 + u32::from(number)),
        port: Some(port),
        address: Some(format!("127.0.0.1:{port}")),
        generation,
        revision: generation,
        failures_max: 10,
        resident_bytes: Some(35_900_000),
        memory_limit_bytes: Some(256 << 20),
        cpu_seconds: Some(12.54),
        in_flight: 3,
        output: OutputCounts { lines: 120, bytes: 8400, dropped_bytes: 0 },
        ..InstanceStatus::default()
    }
}

/// The third deploy of the app `shop`.
pub(crate) fn deploy(phase: &str, done: u16, message: &str) -> DeployStatus {
    DeployStatus {
        app: "shop".into(),
        number: 3,
        revision: 2,
        phase: phase.into(),
        cause: "deploy".into(),
        done,
        of: 2,
        message: message.into(),
        since_seconds: 12.0,
    }
}

pub(crate) fn event(sequence: u64) -> Event {
    Event {
        sequence,
        at_ms: 1_790_000_000_000 + sequence,
        level: "warn".into(),
        kind: "server_down".into(),
        subject: "pool.shop/shop/1".into(),
        reason: format!("reason {sequence}"),
    }
}
