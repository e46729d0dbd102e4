//! The worker's control plane: one task that owns everything that is not on the request path.
//!
//! It listens to the keeper, to the admin API and to the clock, and carries out what they want. A
//! reload is applied whole or not at all: first the new sockets are had beside the old ones, then
//! the plan is swapped, then the old sockets are closed.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use evergate_acme::Agents;
use evergate_config::{Config, Level, Loaded, load_with, remember, render};
use evergate_control::command::{COMMANDS_QUEUED_MAX, Command, Control, EVENTS_QUEUED_MAX};
use evergate_control::link::{
    Desired, KEPT_CONFIG, KEPT_TICKETS, NodeNews, Observed, Outcome, ToKeeper, ToWorker,
};
use evergate_control::snapshot::PlanChange;
use evergate_core::time::Instant;
use evergate_gateway::{Addresses, Gateway, LogWriter};
use evergate_pki::Tickets;
use evergate_sys::{clock, code, cpus, memfd};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::admin::AdminServers;
use super::certificates;
use super::files::{self, Helped};
use super::link::{Link, LinkEvents, Packet};
use super::output::Output;
use super::probes::Probes;
use super::sockets::{self, ADMIN, Bound, Key};
use super::users::Users;
use super::watch::{LOOK_EVERY, Watch};
use super::wishes::Wishes;
use super::{Birth, Start, apps, log_dir};

/// How often names of servers are looked up again.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);

/// What is said of a key that a running worker cannot follow.
const LATE: &str = "takes effect when Evergate is started anew";
/// How long the last lines of the access log may take to be printed when all ends.
const LOG_GRACE: Duration = Duration::from_millis(500);

/// The control plane of one worker.
#[derive(Debug)]
pub(super) struct ControlPlane {
    pub(super) birth: Birth,
    pub(super) gateway: Gateway,
    pub(super) reloads: Reloads,
    /// What the keeper said last of the apps.
    pub(super) observed: Observed,
    /// When it said so.
    pub(super) observed_at: Instant,
    /// What the keeper said last of itself and of the workers.
    pub(super) node: NodeNews,
    pub(super) wishes: Wishes,
    probes: Probes,
    pub(super) output: Output,
    pub(super) file: PathBuf,
    /// In seconds of Unix time.
    pub(super) started_at: u64,
    pub(super) admin: AdminServers,
    pub(super) agents: Agents,
    pub(super) link: Link,
    /// None once the keeper is gone.
    link_events: Option<LinkEvents>,
    /// Messages that came while something else was waited for.
    inbox: VecDeque<Packet>,
    desired: Desired,
    users: Users,
    commands: mpsc::Receiver<Command>,
    watch: Watch,
}

/// How reloading went so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Reloads {
    /// When the configuration in force was applied, in seconds of Unix time.
    pub(super) applied_at: u64,
    /// Counts the configurations applied, from 1.
    pub(super) generation: u64,
    pub(super) refused: u64,
    /// Why the last one was refused; none if it was applied.
    pub(super) failure: Option<String>,
}

/// A start that failed for a reason that starting again does not mend.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) link: Link,
    pub(super) message: String,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    Go,
    Stop { grace: Duration },
}

impl ControlPlane {
    /// Starts the gateway and takes the sockets over from the keeper.
    pub(super) async fn start(
        link: Link,
        birth: Birth,
        start: Start,
        users: Users,
        tickets: Tickets,
    ) -> anyhow::Result<Result<Self, Refused>> {
        let Start { file, loaded, file_errors, seen } = start;
        let config = &loaded.config;
        let threads = config.node.threads.map_or_else(|| cpus::available().get(), usize::from);
        let (sender, commands) = mpsc::channel(COMMANDS_QUEUED_MAX);
        let events = broadcast::Sender::new(EVENTS_QUEUED_MAX);
        let control = Control { commands: sender, events: events.clone() };
        let addresses = Addresses::default().resolve(config);
        let log = LogWriter::start(io::stdout())?;
        let output = Output::new(config, log.clone());
        let gateway = Gateway::start(config.clone(), addresses, threads, log, events, tickets)?;
        let agents = certificates::agents(gateway.issuance());
        let desired = sockets::desired(config, u16::try_from(threads).unwrap_or(u16::MAX));
        let mut control_plane = Self {
            birth,
            gateway,
            reloads: Reloads::default(),
            observed: Observed::default(),
            observed_at: clock::now(),
            node: NodeNews::default(),
            wishes: Wishes::default(),
            probes: Probes::new(),
            output,
            file,
            started_at: clock::unix_seconds(),
            link_events: Some(link.events()?),
            link,
            inbox: VecDeque::new(),
            admin: AdminServers::new(control, &config.admin),
            agents,
            desired: Desired::default(),
            users,
            commands,
            watch: Watch::default(),
        };
        control_plane.watch.set(seen);
        match certificates::root(config) {
            // What is stored is served before anybody is let in.
            Ok(root) => control_plane.follow_authorities(root).await,
            Err(message) if control_plane.birth.generation == 1 => {
                let message = format!("evergate: {message}");
                return Ok(Err(Refused { link: control_plane.link, message }));
            }
            Err(message) => control_plane.event(Level::Error, "acme_failed", "acme", &message),
        }
        let mut bound = control_plane.settle(&desired)?;
        let failures = sockets::failures(&bound);
        // Whoever starts it for the first time can mend it; later it is better to serve the rest.
        if !failures.is_empty() && control_plane.birth.generation == 1 {
            let lines: Vec<_> = failures.iter().map(|why| format!("evergate: {why}")).collect();
            let message = lines.join("\n");
            return Ok(Err(Refused { link: control_plane.link, message }));
        }
        for failure in failures {
            control_plane.event(Level::Error, "listen_failed", "listener", &failure);
        }
        control_plane.take_sockets(&mut bound).await;
        control_plane.desired = desired;
        control_plane.applied(&loaded);
        control_plane.keep(KEPT_TICKETS, &control_plane.gateway.ticket_keys());
        if let Some(errors) = file_errors {
            let reason = "the file is bad; serving the configuration applied before";
            control_plane.event(Level::Error, "config_refused", "config", reason);
            control_plane.reloads.failure = Some(errors);
        }
        control_plane.link.send(&ToKeeper::Ready, &[])?;
        control_plane.tell_ready();
        // The start is over; where its code cannot be given back it is only memory.
        let _ = code::release();
        Ok(Ok(control_plane))
    }

    /// Serves until the keeper says stop.
    pub(super) async fn run(mut self) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut resolve = interval(RESOLVE_EVERY);
        resolve.reset();
        loop {
            let waiting = self.has_waiting();
            tokio::select! {
                () = self.gateway.turn() => self.tell_idle(),
                () = readable(self.link_events.as_ref(), waiting) => {}
                Some(command) = self.commands.recv() => self.answer(command).await,
                news = self.agents.next() => self.tell_certificate(&news),
                probed = self.probes.next() => self.tell_keeper(&probed),
                (level, kind, subject, reason) = self.output.next() => {
                    self.event(level, kind, &subject, &reason);
                }
                _ = look.tick() => {
                    self.tell_samples();
                    self.look_at_calendar();
                    self.look_at_files().await;
                }
                _ = resolve.tick() => self.resolve_again().await,
            }
            if let Next::Stop { grace } = self.hear_keeper().await {
                return self.stop(grace).await;
            }
        }
    }

    /// Reads the configuration again and applies it, or says everything that is wrong with it. With
    /// `dry_run` it only says what would change.
    pub(super) async fn reload(&mut self, dry_run: bool) -> Result<PlanChange, String> {
        let loaded = self.load(dry_run)?;
        let mut change = self.gateway.difference(&loaded.config);
        change.warnings =
            loaded.warnings.iter().map(|one| render(std::slice::from_ref(one), false)).collect();
        let wanted = self.wanted(&loaded.config);
        change.runs = apps::consequences(
            (self.gateway.config(), &self.desired.apps),
            (&loaded.config, &wanted.apps),
        );
        let late = self.late_keys(&loaded.config);
        let refusals = self.users.refusals(&loaded.config);
        if !refusals.is_empty() {
            return Err(refusals.join("\n"));
        }
        if !dry_run {
            log_dir::prepare(&loaded.config, None)?;
            let root = certificates::root(&loaded.config)?;
            self.apply(&loaded, wanted).await?;
            self.follow_authorities(root).await;
            self.applied(&loaded);
            for key in &late {
                self.event(Level::Warn, "config_warning", key, LATE);
            }
        }
        change.warnings.extend(late.iter().map(|key| format!("{key}: {LATE}")));
        Ok(change)
    }

    /// Keys that a running worker cannot follow and that `config` changes.
    fn late_keys(&self, config: &Config) -> Vec<String> {
        let (before, after) = (&self.gateway.config().node, &config.node);
        let changed = [
            ("node.threads", before.threads != after.threads),
            ("node.user", before.user != after.user),
        ];
        let changed = changed.into_iter().filter(|(_, is_changed)| *is_changed);
        changed.map(|(key, _)| key.to_owned()).chain(self.users.late_keys(config)).collect()
    }

    /// Reads the configuration; watches what it was read from, unless this is only a question.
    fn load(&mut self, dry_run: bool) -> Result<Loaded, String> {
        let files = Helped::new(&mut self.link);
        let loaded = load_with(&self.file, &files);
        let seen = files.into_asked();
        if !dry_run {
            self.watch.set(seen);
        }
        loaded.map_err(|errors| render(&errors, false))
    }

    /// Reloads if a file changed. A change that amounts to nothing is not worth an event.
    async fn look_at_files(&mut self) {
        let link = &mut self.link;
        if !self.watch.has_changed(|path| files::metadata(link, path)) {
            return;
        }
        let is_known = match self.load(false) {
            Ok(loaded) => self.reloads.failure.is_none() && loaded.config == *self.gateway.config(),
            Err(errors) => self.reloads.failure == Some(errors),
        };
        if !is_known {
            self.reload_and_tell().await;
        }
    }

    /// A reload that nobody waits for: its outcome is an event. Says whether it was applied.
    pub(super) async fn reload_and_tell(&mut self) -> bool {
        let outcome = self.reload(false).await;
        self.note_reload(&outcome);
        outcome.is_ok()
    }

    /// Keeps the outcome of a reload for status, metrics and events.
    pub(super) fn note_reload(&mut self, outcome: &Result<PlanChange, String>) {
        match outcome {
            Ok(change) => {
                let parts = [
                    ("added", &change.added),
                    ("changed", &change.changed),
                    ("removed", &change.removed),
                ];
                let parts = parts.iter().filter(|(_, names)| !names.is_empty());
                let parts = parts.map(|(what, names)| format!("{what} {}", names.join(", ")));
                let told: Vec<_> = parts.chain(change.runs.iter().cloned()).collect();
                let told =
                    if told.is_empty() { "nothing changed".to_owned() } else { told.join("; ") };
                self.event(Level::Info, "config_applied", "config", &told);
            }
            Err(errors) => {
                self.reloads.refused += 1;
                self.reloads.failure = Some(errors.clone());
                let reason = format!("nothing was changed:\n{errors}");
                self.event(Level::Error, "config_refused", "config", &reason);
            }
        }
    }

    pub(super) fn event(&mut self, level: Level, kind: &str, subject: &str, reason: &str) {
        self.gateway.events().push(level, kind, subject, reason);
    }

    /// What the keeper is to do for `config`.
    fn wanted(&self, config: &Config) -> Desired {
        let threads = u16::try_from(self.gateway.threads()).unwrap_or(u16::MAX);
        let mut wanted = sockets::desired(config, threads);
        self.users.hold_back(&mut wanted, &self.desired);
        wanted
    }

    async fn apply(&mut self, loaded: &Loaded, wanted: Desired) -> Result<(), String> {
        let config = loaded.config.clone();
        let addresses = self.resolve(&config).await;
        let next = self.gateway.prepare(config, addresses)?;
        if wanted == self.desired {
            self.gateway.enforce(next).await;
            return Ok(());
        }
        let gone = |error: io::Error| format!("the keeper does not answer: {error}");
        let mut bound = self.settle(&sockets::union(&wanted, &self.desired)).map_err(gone)?;
        let failures = sockets::failures(&bound);
        if !failures.is_empty() {
            let before = self.desired.clone();
            self.settle(&before).map_err(gone)?;
            return Err(failures.join("\n"));
        }
        // The keeper lets go first, so that whoever is still waiting on a socket that goes is
        // accepted below; apps change only once no request needs those of before.
        let sockets_only = Desired { listeners: wanted.listeners.clone(), ..self.desired.clone() };
        self.settle(&sockets_only).map_err(gone)?;
        self.forget_sockets(&wanted).await;
        self.gateway.enforce(next).await;
        bound.retain(|(name, address), _| {
            wanted.listeners.iter().any(|one| one.name == *name && one.address == *address)
        });
        self.take_sockets(&mut bound).await;
        self.settle(&wanted).map_err(gone)?;
        self.desired = wanted;
        Ok(())
    }

    /// One event that says that, where and for whom we serve.
    fn tell_ready(&mut self) {
        let listeners = self.gateway.listeners().into_iter().flat_map(|listener| {
            let name = listener.name;
            listener.addresses.into_iter().map(move |address| format!("{name} on {address}"))
        });
        let admin = self.admin.addresses().into_iter().map(|address| format!("admin on {address}"));
        let places: Vec<_> = listeners.chain(admin).collect();
        self.event(Level::Info, "ready", "worker", &places.join(", "));
    }

    /// Everything that follows from having applied a configuration.
    fn applied(&mut self, loaded: &Loaded) {
        self.reloads.generation += 1;
        self.reloads.applied_at = clock::unix_seconds();
        self.reloads.failure = None;
        self.admin.set_access(&loaded.config.admin);
        self.probes.follow(&self.observed.instances, &loaded.config);
        self.output.follow(&loaded.config);
        for warning in &loaded.warnings {
            let text = render(std::slice::from_ref(warning), false);
            self.event(Level::Warn, "config_warning", &warning.path, &text);
        }
        // Without it a worker that comes after a crash has only the file to go by.
        self.keep(KEPT_CONFIG, &remember(loaded));
    }

    /// Has the keeper keep `bytes` for the worker that comes after this one; without them it only
    /// does less well.
    fn keep(&self, name: &str, bytes: &[u8]) {
        if let Ok(file) = memfd::seal("evergate-kept", bytes) {
            let _ = self.link.send(&ToKeeper::Keep { name: name.to_owned() }, &[file.as_fd()]);
        }
    }

    /// Does what is due by the calendar: other ticket keys, words about certificates.
    fn look_at_calendar(&mut self) {
        let now = clock::unix_seconds();
        if let Some(keys) = self.gateway.turn_tickets(now) {
            self.keep(KEPT_TICKETS, &keys);
        }
        if self.gateway.is_warning_due(now) {
            let certificates = self.certificates();
            self.gateway.warn_of_certificates(now, certificates);
        }
    }

    /// Has the keeper make it so; says what became of each address. Messages about other things
    /// are kept for later.
    fn settle(&mut self, desired: &Desired) -> io::Result<BTreeMap<Key, Bound>> {
        self.link.send(&ToKeeper::Desired(desired.clone()), &[])?;
        let mut bound = BTreeMap::new();
        loop {
            let (message, fds) = self.link.receive()?;
            match message {
                ToWorker::Settled => return Ok(bound),
                ToWorker::Listening { listener, address, outcome } => {
                    bound.insert((listener, address), Bound { outcome, sockets: fds });
                }
                ToWorker::Welcome { .. }
                | ToWorker::Observed(_)
                | ToWorker::Opened { .. }
                | ToWorker::Noted
                | ToWorker::Heard { .. }
                | ToWorker::Output { .. }
                | ToWorker::Happened(_)
                | ToWorker::Activate
                | ToWorker::Probe { .. }
                | ToWorker::Release
                | ToWorker::Acquire
                | ToWorker::Retire
                | ToWorker::Finish
                | ToWorker::Shared { .. }
                | ToWorker::Gone { .. }
                | ToWorker::Node(_)
                | ToWorker::Ping { .. }
                | ToWorker::Reload
                | ToWorker::Stop { .. } => self.inbox.push_back((message, fds)),
            }
        }
    }

    /// Accepts on every new socket.
    async fn take_sockets(&mut self, bound: &mut BTreeMap<Key, Bound>) {
        for ((name, address), bound) in std::mem::take(bound) {
            let Outcome::Bound(actual) = bound.outcome else { continue };
            let key = (name.clone(), sockets::text(&address));
            if name != ADMIN {
                if !self.gateway.listening().any(|open| *open == key) {
                    let actual = sockets::text(&actual);
                    self.gateway.listen(&name, &key.1, &actual, bound.sockets).await;
                }
            } else if self.admin.is_served(&address) {
                // The server goes on: whoever asked for this may be waiting for its answer there.
            } else if let Some(socket) = bound.sockets.into_iter().next() {
                let served = self.admin.serve(&address, actual, socket);
                if let Err(error) = served {
                    self.event(Level::Error, "listen_failed", "admin", &error.to_string());
                }
            }
        }
    }

    /// Stops accepting on every socket that is not in `wanted`.
    async fn forget_sockets(&mut self, wanted: &Desired) {
        let wants = |name: &str, address: &str| {
            wanted
                .listeners
                .iter()
                .any(|one| one.name == name && sockets::text(&one.address) == address)
        };
        let open: Vec<_> = self.gateway.listening().cloned().collect();
        for (name, address) in open {
            if !wants(&name, &address) {
                self.gateway.close(&name, &address).await;
            }
        }
        let admin = wanted.listeners.iter().filter(|one| one.name == ADMIN);
        self.admin.keep_only(&admin.map(|one| &one.address).collect::<Vec<_>>());
    }

    /// Handles every message of the keeper that is here.
    async fn hear_keeper(&mut self) -> Next {
        while let Some((message, fds)) = self.next_message() {
            match message {
                ToWorker::Observed(observed) => {
                    self.gateway.set_instances(&observed).await;
                    self.tell_idle();
                    self.observed = observed;
                    self.observed_at = clock::now();
                    self.probes.follow(&self.observed.instances, self.gateway.config());
                }
                ToWorker::Output { run } => self.take_output(run, fds),
                ToWorker::Happened(happening) => self.tell_happening(&happening),
                ToWorker::Heard { request, error, plan } => {
                    self.wishes.answer(request, error.map_or(Ok(plan), Err));
                }
                ToWorker::Reload => {
                    let is_applied = self.reload_and_tell().await;
                    self.tell_keeper(&ToKeeper::Reloaded { is_applied });
                }
                ToWorker::Ping { number } => self.tell_keeper(&ToKeeper::Pong { number }),
                ToWorker::Node(news) => self.node = news,
                ToWorker::Stop { grace_ms } => {
                    return Next::Stop { grace: Duration::from_millis(u64::from(grace_ms)) };
                }
                // This worker is alone and stays it.
                ToWorker::Activate
                | ToWorker::Probe { .. }
                | ToWorker::Release
                | ToWorker::Acquire
                | ToWorker::Retire
                | ToWorker::Finish
                | ToWorker::Shared { .. }
                | ToWorker::Gone { .. } => {}
                // Answers to questions that are no longer waited for.
                ToWorker::Welcome { .. }
                | ToWorker::Listening { .. }
                | ToWorker::Settled
                | ToWorker::Opened { .. }
                | ToWorker::Noted => {}
            }
        }
        Next::Go
    }

    /// Tells the keeper what it can do without; one that is gone need not know.
    pub(super) fn tell_keeper(&self, message: &ToKeeper) {
        if !self.keeper_is_gone() {
            let _ = self.link.send(message, &[]);
        }
    }

    /// Whether a message is here that no event will announce.
    fn has_waiting(&self) -> bool {
        !self.inbox.is_empty() || self.link.has_backlog()
    }

    /// Whether there is nobody to restart us or to change sockets and apps.
    pub(super) fn keeper_is_gone(&self) -> bool {
        self.link_events.is_none()
    }

    fn next_message(&mut self) -> Option<Packet> {
        if let Some(packet) = self.inbox.pop_front() {
            return Some(packet);
        }
        self.link_events.as_ref()?;
        match self.link.try_receive() {
            Ok(packet) => Some(packet),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => {
                // Serving goes on: only listeners and apps cannot be changed any more.
                self.link_events = None;
                self.wishes.keeper_is_gone();
                self.event(Level::Error, "keeper_lost", "keeper", &error.to_string());
                None
            }
        }
    }

    async fn resolve_again(&mut self) {
        if !self.gateway.addresses().is_empty() {
            let config = self.gateway.config().clone();
            let addresses = self.resolve(&config).await;
            self.gateway.set_addresses(addresses).await;
        }
    }

    /// Looks names up beside the control plane, for a resolver may take seconds.
    async fn resolve(&self, config: &Config) -> Addresses {
        let known = self.gateway.addresses().clone();
        if !Addresses::has_names(config) {
            return Addresses::default();
        }
        let (config, before) = (config.clone(), known.clone());
        let looked_up = tokio::task::spawn_blocking(move || before.resolve(&config)).await;
        looked_up.unwrap_or(known)
    }

    /// Drains for as long as `grace` and tells the keeper.
    async fn stop(mut self, grace: Duration) {
        let until = clock::now() + grace;
        self.event(Level::Info, "stopping", "worker", "requests in flight are finished");
        if timeout(grace, self.gateway.drain()).await.is_err() {
            self.event(Level::Warn, "drain_cut", "worker", "the grace is over; the rest is cut");
        }
        // A keeper that is gone need not be told. Now it ends the apps; they have last words.
        let _ = self.link.send(&ToKeeper::Drained, &[]);
        self.output.finish(until - clock::now()).await;
        if timeout(LOG_GRACE, self.gateway.finish_log()).await.is_err() {
            self.event(Level::Warn, "log_cut", "worker", "nobody reads standard output");
        }
    }
}

/// Waits until the keeper has said something.
async fn readable(events: Option<&LinkEvents>, waiting: bool) {
    if waiting {
        return;
    }
    match events {
        Some(events) if events.readable().await.is_ok() => {}
        Some(_) | None => std::future::pending().await,
    }
}
