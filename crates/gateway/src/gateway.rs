//! The gateway as the control plane holds it: the plan in force, the threads that serve it, and the
//! health of the servers.
//!
//! One owner, no locks: whoever runs the control plane calls these methods from one task, and
//! awaits [`Gateway::turn`] in between, which does whatever is due.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use evergate_config::{Config, Level};
use evergate_control::command::{Adjustment, Question};
use evergate_control::link::{Observed, Run, Sample};
use evergate_control::snapshot::{
    CertificateStatus, Event, Explanation, ListenerStatus, PlanChange,
};
use evergate_control::state::Open;
use evergate_core::rng::Rng;
use evergate_core::time::Instant;
use evergate_pki::Tickets;
use evergate_sys::{clock, random};
use tokio::sync::{broadcast, mpsc};

use crate::access_log::LogWriter;
use crate::data_plane::{DataPlane, SocketKey};
use crate::difference;
use crate::events::Events;
use crate::explain;
use crate::farewell::Farewell;
use crate::issuance::SharedIssuance;
use crate::listener::Gate;
use crate::plan::{Plan, RouteAction};
use crate::resolve::Addresses;
use crate::runs::{Change, Runs};
use crate::shard::{REPORTS_QUEUED_MAX, Report};
use crate::tls::expiry::{self, Expiry};
use crate::tls::termination::Common;
use crate::wards::{Checked, Checks, Wards};

mod carried;
mod counts;
mod pools;
#[cfg(test)]
mod tests;

/// The data plane with its control.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    plan: Arc<Plan>,
    addresses: Addresses,
    runs: Runs,
    data: DataPlane,
    log: LogWriter,
    common: Common,
    gates: BTreeMap<String, Arc<Gate>>,
    /// What is open to other workers, by generation.
    elsewhere: BTreeMap<u32, Open>,
    bound: BTreeMap<SocketKey, String>,
    wards: Wards,
    expiry: Expiry,
    events: Events,
    reports: mpsc::Receiver<Report>,
    checked: mpsc::Receiver<Checked>,
    rng: Rng,
}

/// A configuration that was compiled and can be put in force.
#[derive(Debug)]
pub struct Prepared {
    config: Config,
    addresses: Addresses,
    plan: Plan,
}

impl Gateway {
    /// Starts `threads` data-plane threads that serve `config`, without a socket yet. Access log
    /// lines go to `log`; TLS sessions can go on under `tickets`.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(
        config: Config,
        addresses: Addresses,
        threads: usize,
        log: LogWriter,
        events: broadcast::Sender<Event>,
        tickets: Tickets,
    ) -> io::Result<Self> {
        let common = Common { issuance: SharedIssuance::default(), tickets: Arc::new(tickets) };
        let plan = Plan::compile(&config, &addresses, &BTreeMap::new(), &common, None)
            .map_err(io::Error::other)?;
        let plan = Arc::new(plan);
        let (report, reports) = mpsc::channel(REPORTS_QUEUED_MAX);
        let data = DataPlane::start(threads, &plan, &log, &common.issuance, &report)?;
        let (wards, checked) = Wards::new();
        let mut gateway = Self {
            events: Events::new(events, config.log),
            config,
            plan,
            addresses,
            runs: Runs::default(),
            data,
            log,
            common,
            gates: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            bound: BTreeMap::new(),
            wards,
            expiry: Expiry::default(),
            reports,
            checked,
            rng: Rng::seeded(random::seed()),
        };
        gateway.wards.sync(&gateway.plan, clock::now(), &mut gateway.rng, &mut gateway.events);
        gateway.look_at_files();
        Ok(gateway)
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Certificates that come and go while we serve.
    pub fn issuance(&self) -> &SharedIssuance {
        &self.common.issuance
    }

    /// How many data-plane threads there are.
    pub fn threads(&self) -> usize {
        self.data.len()
    }

    /// What has happened.
    pub fn events(&mut self) -> &mut Events {
        &mut self.events
    }

    /// Compiles `config` whole, without changing anything; [`Gateway::enforce`] puts it in force.
    ///
    /// # Errors
    /// Says why it cannot be compiled.
    pub fn prepare(&self, config: Config, addresses: Addresses) -> Result<Prepared, String> {
        let before = Some(&*self.plan);
        let members = self.runs.members();
        let plan = Plan::compile(&config, &addresses, &members, &self.common, before)?;
        Ok(Prepared { config, addresses, plan })
    }

    /// Puts a configuration in force. Nothing else may have changed since it was prepared.
    pub async fn enforce(&mut self, prepared: Prepared) {
        let Prepared { config, addresses, plan } = prepared;
        debug_assert!(plan.generation == self.plan.generation + 1, "prepared from this plan");
        self.events.set_log(config.log);
        self.config = config;
        self.addresses = addresses;
        self.swap(plan).await;
        self.look_at_files();
    }

    /// What would change if `config` were applied.
    pub fn difference(&self, config: &Config) -> PlanChange {
        difference::between(&self.config, config)
    }

    /// Follows what the keeper says of the apps. Runs that are not ready any more get no request
    /// from here on; what is in flight to one that has died fails at once.
    pub async fn set_instances(&mut self, observed: &Observed) {
        let changes = self.runs.follow(&self.plan, observed, clock::now());
        if !changes.look_at.is_empty() {
            self.data.look_at(changes.look_at).await;
        }
        for (endpoint, change, why) in changes.left {
            let (level, kind) = match change {
                Change::Left => (Level::Info, "server_draining"),
                Change::Died => (Level::Warn, "server_down"),
            };
            let subject = format!("pool.{}/{}", endpoint.pool, endpoint.name);
            self.events.push(level, kind, &subject, &why);
        }
        if changes.members {
            self.recompile().await;
        }
    }

    /// Draining runs that nothing is in flight to any more, each once. To be asked after every
    /// [`Gateway::turn`] and [`Gateway::set_instances`].
    pub fn take_idle(&mut self) -> Vec<Run> {
        self.runs.take_idle(&self.plan)
    }

    /// How the canaries of apps fare beside their other runs, while they are watched: the name of
    /// the app, the canary, the others.
    pub fn samples(&self) -> Vec<(String, Sample, Sample)> {
        self.runs.samples()
    }

    /// Requests in flight to `run` and tunnels, over all pools.
    pub fn in_flight(&self, run: &Run) -> u32 {
        self.runs.in_flight(&self.plan, run)
    }

    /// Follows names that resolve to other addresses now.
    pub async fn set_addresses(&mut self, addresses: Addresses) {
        if addresses != self.addresses {
            self.addresses = addresses;
            self.events.push(Level::Info, "resolved", "dns", "a server's name has a new address");
            self.recompile().await;
        }
    }

    /// What the names of the servers resolved to.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Accepts connections of `listener` on `sockets`, all bound to `actual`. `address` is the
    /// address in the configuration.
    pub async fn listen(
        &mut self,
        listener: &str,
        address: &str,
        actual: &str,
        sockets: Vec<OwnedFd>,
    ) {
        let key = (listener.to_owned(), address.to_owned());
        let gate = Arc::clone(self.gates.entry(listener.to_owned()).or_default());
        self.data.close(&key).await;
        self.data.accept(&key, sockets, &gate).await;
        self.bound.insert(key, actual.to_owned());
    }

    /// Stops accepting on an address.
    pub async fn close(&mut self, listener: &str, address: &str) {
        let key = (listener.to_owned(), address.to_owned());
        self.data.close(&key).await;
        self.bound.remove(&key);
    }

    /// Every listener and address that is accepted on.
    pub fn listening(&self) -> impl Iterator<Item = &(String, String)> {
        self.bound.keys()
    }

    /// Waits for the next thing to do and does it. Cancel safe while it waits.
    pub async fn turn(&mut self) {
        let deadline = self.wards.deadline();
        tokio::select! {
            Some(report) = self.reports.recv() => self.hear(report),
            Some(checked) = self.checked.recv() => {
                self.wards.hear(checked, &self.plan, clock::now(), &mut self.events);
            }
            () = self.runs.emptied() => {}
            () = self.data.emptier() => {}
            () = sleep_until(deadline) => {}
        }
        self.wards.turn(&self.plan, clock::now(), &mut self.rng, &mut self.events);
    }

    /// Begins or ends to check servers. It begins with the start; whoever wants none says so before
    /// the first [`Gateway::turn`].
    pub fn set_checks(&mut self, checks: Checks) {
        self.wards.set_checks(checks, clock::now());
    }

    /// Changes one server, until it is changed back or leaves the configuration.
    ///
    /// # Errors
    /// If there is no such pool or server.
    pub fn adjust(&mut self, pool: &str, server: &str, to: Adjustment) -> Result<(), String> {
        self.wards.adjust(&self.plan, pool, server, to, clock::now(), &mut self.events)
    }

    /// What would happen to a request.
    ///
    /// # Errors
    /// Says what is wrong with the question.
    pub fn explain(&self, question: &Question) -> Result<Explanation, String> {
        let now = clock::now();
        let servers = |pool: &str| self.wards.status(&self.plan, pool, now);
        explain::explain(&self.plan, question, servers, &self.runs)
    }

    /// The state of every listener, in order of name.
    pub fn listeners(&self) -> Vec<ListenerStatus> {
        let listeners = self.plan.listeners.values().map(|listener| {
            let gate = self.gates.get(&listener.name).map(|gate| gate.counts());
            let bound = self.bound.iter().filter(|((name, _), _)| *name == listener.name);
            ListenerStatus {
                name: listener.name.clone(),
                protocol: match &listener.tls {
                    Some(termination) => termination.in_words(),
                    None => "http".to_owned(),
                },
                addresses: bound.map(|(_, actual)| actual.clone()).collect(),
                connections: gate.unwrap_or_default().open,
                connections_max: u64::from(listener.limits.connections),
            }
        });
        listeners.collect()
    }

    /// Whether [`Gateway::warn_of_certificates`] has something to do; `now` is in seconds of Unix
    /// time. That is so once a minute.
    pub fn is_warning_due(&mut self, now: u64) -> bool {
        self.expiry.is_due(now)
    }

    /// Tells which of `certificates` end soon, once a day; `now` is in seconds of Unix time.
    pub fn warn_of_certificates(&mut self, now: u64, certificates: Vec<CertificateStatus>) {
        for ending in self.expiry.tell(now, certificates) {
            let subject = format!("listener.{}", ending.listener);
            let reason = expiry::in_words(now, &ending);
            self.events.push(Level::Warn, "certificate_expiring", &subject, &reason);
        }
    }

    /// The keys under which TLS sessions can go on, for the process that comes after this one.
    pub fn ticket_keys(&self) -> Vec<u8> {
        self.common.tickets.handed_on()
    }

    /// Makes a new ticket key if it is time; then the keys are to be kept again. `now` is in
    /// seconds of Unix time.
    pub fn turn_tickets(&self, now: u64) -> Option<Vec<u8>> {
        self.common.tickets.turn(now).then(|| self.ticket_keys())
    }

    /// Whatever is connected to one of these addresses begins to end politely: they have moved to
    /// another machine, where clients are to connect again, and packets come here for `within` yet.
    /// In place of what was said before; of none, nothing more ends. Everything else is served as
    /// ever.
    pub async fn retreat(&self, addresses: Vec<IpAddr>, within: Duration) {
        self.data.retreat(addresses, Farewell::moving(clock::now(), within)).await;
    }

    /// Accepts no more, not even who is waiting already: another process accepts from the same
    /// sockets. Everything open begins to end politely; what may take long, like a WebSocket, goes
    /// on for as long as its route allows.
    pub async fn retire(&mut self) {
        self.bound.clear();
        self.data.retire().await;
    }

    /// Waits, after [`Gateway::retire`], until no client's connection is left. Cancel safe.
    pub async fn drained(&mut self) {
        self.data.retired().await;
        loop {
            let emptied = self.data.emptied();
            if self.connections() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Whether, after [`Gateway::retire`], no client's connection is left; [`Gateway::turn`] ends
    /// whenever that may have become so.
    pub fn is_drained(&mut self) -> bool {
        self.data.has_retired() && self.connections() == 0
    }

    /// Takes [`Gateway::retire`] back: what is open goes on, but for connections that were told of
    /// their end already, and [`Gateway::listen`] brings new ones.
    pub async fn resume(&mut self) {
        self.data.resume().await;
    }

    /// Connections of clients that are open, over all listeners.
    pub fn connections(&self) -> u64 {
        self.gates.values().map(|gate| gate.open()).sum()
    }

    /// Responses since the start, over all threads, and those of them with a status from 500.
    pub async fn served(&self) -> (u64, u64) {
        self.data.served().await
    }

    /// Answers one HTTP/1 request on `stream`, a connected stream of TCP or Unix, with 200 and
    /// `token`, by way of every data-plane thread. Returns at once; no answer comes if a thread is
    /// stuck.
    pub async fn answer_probe(&self, stream: OwnedFd, token: &str) {
        self.data.prove(stream, token);
    }

    /// Serves who is waiting to be accepted, lets requests in flight finish within `grace`, and
    /// ends the threads. What takes longer is for the caller to cut, by dropping this.
    pub async fn stop(&mut self, grace: Duration) {
        self.data.stop(clock::now() + grace).await;
    }

    /// Waits until every line of the access log was printed.
    pub async fn finish_log(&self) {
        self.log.finish().await;
    }

    async fn recompile(&mut self) {
        let before = Some(&*self.plan);
        let members = self.runs.members();
        let compiled = Plan::compile(&self.config, &self.addresses, &members, &self.common, before);
        match compiled {
            Ok(plan) => self.swap(plan).await,
            Err(error) => self.events.push(Level::Error, "plan_failed", "config", &error),
        }
    }

    async fn swap(&mut self, plan: Plan) {
        let before = std::mem::replace(&mut self.plan, Arc::new(plan));
        self.runs.follow_plan(&before, &self.plan);
        // First the shares, so that no thread sees a plan whose servers are all out.
        self.wards.sync(&self.plan, clock::now(), &mut self.rng, &mut self.events);
        self.data.set_plan(&self.plan).await;
    }

    /// Tells of every folder of files that cannot be opened; it may come later.
    fn look_at_files(&mut self) {
        for route in &self.plan.routes {
            if let RouteAction::Files(files) = &route.action
                && let Some(fault) = files.fault()
            {
                let subject = format!("route.{}", route.name);
                self.events.push(Level::Warn, "files_unreadable", &subject, &fault);
            }
        }
    }

    fn hear(&mut self, report: Report) {
        match report {
            Report::Failing { pool, endpoint, in_a_row } => {
                let now = clock::now();
                let wards = &mut self.wards;
                wards.failing(&self.plan, &pool, &endpoint, in_a_row, now, &mut self.events);
            }
            Report::Panicked { route } => self.events.push(
                Level::Error,
                "panic",
                &format!("route.{route}"),
                "a request ended in an internal error; this is a fault of Evergate",
            ),
            Report::FileDenied { route, name } => {
                let (subject, name) = (format!("route.{route}"), String::from_utf8_lossy(&name));
                let reason = format!("`{name}` is there, but this process may not read it");
                self.events.push(Level::Warn, "file_denied", &subject, &reason);
            }
            Report::Flood { listener, kind, peer } => self.events.push(
                Level::Warn,
                "http2_flood",
                &format!("listener.{listener}"),
                &format!("{peer} was sent away for a flood of HTTP/2 frames: {kind}"),
            ),
            Report::HandshakesFail { listener, fault, count } => {
                let why = format!("{count} TLS handshakes failed so far: {}", fault.reason());
                let subject = format!("listener.{listener}");
                self.events.push(Level::Warn, "handshakes_fail", &subject, &why);
            }
            Report::UpstreamTls { endpoint, why } => {
                let mut pools = self.plan.pools.iter();
                if let Some(pool) = pools.find(|pool| pool.holds(endpoint.uid)) {
                    let subject = format!("pool.{}/{}", pool.name, endpoint.name);
                    self.events.push(Level::Warn, "upstream_tls", &subject, &why);
                }
            }
            Report::AcceptFailed { listener, error } => {
                let subject = format!("listener.{listener}");
                self.events.push(Level::Error, "accept_failed", &subject, &error);
            }
            Report::ProxyRefused { listener, peer, refusal } => {
                let subject = format!("listener.{listener}");
                let reason = format!("{} {}", peer.to_canonical(), refusal.explain());
                self.events.push(Level::Warn, "proxy_header_refused", &subject, &reason);
            }
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep(at.since(clock::now())).await,
        None => std::future::pending().await,
    }
}
