//! Starting: the gateway, and everything that is taken over from the keeper.

use std::collections::{BTreeMap, VecDeque};

use evergate_config::{Level, Loaded};
use evergate_control::command::{COMMANDS_QUEUED_MAX, Control, EVENTS_QUEUED_MAX};
use evergate_control::link::{
    self, Desired, KEPT_TICKETS, NodeNews, Observed, StandbyNews, ToKeeper, UpgradePhase,
};
use evergate_gateway::{Addresses, Gateway, LogWriter};
use evergate_pki::Tickets;
use evergate_sys::{clock, cpus};
use tokio::sync::{broadcast, mpsc};

use super::{ControlPlane, Refused, Reloads};
use crate::fault;
use crate::worker::admin::AdminServers;
use crate::worker::carried::Carried;
use crate::worker::configurations::Configurations;
use crate::worker::kept_changes::KeptChanges;
use crate::worker::link::Link;
use crate::worker::output::Output;
use crate::worker::probes::Probes;
use crate::worker::role::Role;
use crate::worker::sockets::{self, Bound, Key};
use crate::worker::standby::{Evidence, Verdicts};
use crate::worker::users::Users;
use crate::worker::watch::Watch;
use crate::worker::wishes::Wishes;
use crate::worker::{Birth, Start, certificates, stdout};

impl ControlPlane {
    /// Starts the gateway and has the sockets from the keeper. A worker that is alone takes
    /// everything over at once; a candidate waits for an order.
    pub(in crate::worker) async fn start(
        link: Link,
        birth: Birth,
        start: Start,
        kept: (KeptChanges, Configurations),
        users: Users,
        tickets: Tickets,
    ) -> anyhow::Result<Result<Self, Refused>> {
        let is_first = birth.is_first;
        let mut control = Self::new(link, birth, &start, kept, users, tickets)?;
        let Start { loaded, file_errors, seen, state, is_held, .. } = start;
        control.watch.set(seen);
        if control.role == Role::Candidate {
            control.rest().await;
        }
        match certificates::root(&loaded.config) {
            // What is stored is served before anybody is let in.
            Ok(root) => control.follow_authorities(root).await,
            Err(message) if is_first => {
                return Ok(Err(control.refused(format!("evergate: {message}"))));
            }
            Err(message) => control.event(Level::Error, "acme_failed", "acme", &message),
        }
        let threads = u16::try_from(control.gateway.threads()).unwrap_or(u16::MAX);
        let desired = sockets::desired(&loaded.config, threads);
        let bound = control.settle(&desired)?;
        control.desired = desired;
        if let Some(state) = state {
            control.inherit(&state);
        }
        if control.role == Role::Candidate {
            control.is_short = sockets::are_missing(&control.desired, &bound);
            control.held = bound;
            control.in_force(&loaded);
            if let Some(order) = control.configurations.started.order.take() {
                let known = control.link.order_trial(order)?;
                debug_assert!(known.is_ok(), "everybody may say that");
            }
            fault::in_order(Some(UpgradePhase::Loading));
            control.link.send(&ToKeeper::Ready, &[])?;
            return Ok(Ok(control));
        }
        let failures = sockets::failures(&bound);
        if !failures.is_empty() && is_first {
            let lines: Vec<_> = failures.iter().map(|why| format!("evergate: {why}")).collect();
            return Ok(Err(control.refused(lines.join("\n"))));
        }
        control.serve_alone(bound, &loaded, file_errors, is_held).await?;
        Ok(Ok(control))
    }

    /// The gateway with nothing to accept from yet.
    fn new(
        link: Link,
        birth: Birth,
        start: &Start,
        (changes, configurations): (KeptChanges, Configurations),
        users: Users,
        tickets: Tickets,
    ) -> anyhow::Result<Self> {
        let config = &start.loaded.config;
        let threads = config.node.threads.map_or_else(|| cpus::available().get(), usize::from);
        let (sender, commands) = mpsc::channel(COMMANDS_QUEUED_MAX);
        let events = broadcast::Sender::new(EVENTS_QUEUED_MAX);
        let control = Control { commands: sender, events: events.clone() };
        let addresses = Addresses::default().resolve(config);
        let log = LogWriter::start(stdout::whole_lines())?;
        let output = Output::new(config, log.clone());
        let served = fault::in_config(birth.role, config.clone());
        let gateway = Gateway::start(served, addresses, threads, log, events, tickets)?;
        let agents = certificates::agents(gateway.issuance());
        let role = match birth.role {
            link::Role::Primary => Role::Primary,
            link::Role::Candidate => Role::Candidate,
        };
        Ok(Self {
            birth,
            gateway,
            reloads: Reloads::default(),
            observed: Observed::default(),
            observed_at: clock::now(),
            node: NodeNews::default(),
            standby: StandbyNews::default(),
            verdicts: Verdicts::default(),
            evidence: Evidence::default(),
            told: None,
            wishes: Wishes::default(),
            probes: Probes::new(),
            output,
            file: start.file.clone(),
            started_at: clock::unix_seconds(),
            carried: Carried::new(clock::unix_seconds()),
            link_events: Some(link.events()?),
            link,
            inbox: VecDeque::new(),
            admin: AdminServers::new(control, &config.admin),
            agents,
            desired: Desired::default(),
            users,
            basis: start.loaded.basis(),
            changes,
            configurations,
            file_mark: start.mark,
            commands,
            watch: Watch::default(),
            role,
            held: BTreeMap::new(),
            is_short: false,
            accepted: BTreeMap::new(),
            is_orphaned: false,
            settles_at: None,
            is_file_unread: false,
        })
    }

    /// Takes everything, as nobody else serves.
    async fn serve_alone(
        &mut self,
        mut bound: BTreeMap<Key, Bound>,
        loaded: &Loaded,
        file_errors: Option<String>,
        is_held: bool,
    ) -> anyhow::Result<()> {
        for failure in sockets::failures(&bound) {
            self.event(Level::Error, "listen_failed", "listener", &failure);
        }
        // Those who waited while nobody served are let in to servers that are there.
        self.hear_of_apps().await;
        self.take_sockets(&mut bound).await;
        self.applied(loaded);
        self.tell_started(loaded, is_held, file_errors.is_none()).await;
        self.keep(KEPT_TICKETS, &self.gateway.ticket_keys());
        if let Some(errors) = file_errors {
            let reason = "the file is bad; serving the configuration applied before";
            self.event(Level::Error, "config_refused", "config", reason);
            self.reloads.failure = Some(errors);
        }
        self.tell_changes();
        self.link.send(&ToKeeper::Ready, &[])?;
        self.tell_ready();
        self.settle_down();
        Ok(())
    }

    fn refused(self, message: String) -> Refused {
        Refused { link: self.link, message }
    }

    /// One event that says that, where and for whom we serve.
    pub(super) fn tell_ready(&mut self) {
        let listeners = self.gateway.listeners().into_iter().flat_map(|listener| {
            let name = listener.name;
            listener.addresses.into_iter().map(move |address| format!("{name} on {address}"))
        });
        let admin = self.admin.addresses().into_iter().map(|address| format!("admin on {address}"));
        let places: Vec<_> = listeners.chain(admin).collect();
        self.event(Level::Info, "ready", "worker", &places.join(", "));
    }
}
