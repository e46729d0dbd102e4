//! Starting: the gateway, and everything that is taken over from the keeper.

use std::collections::VecDeque;
use std::io;

use evergate_config::Level;
use evergate_control::command::{COMMANDS_QUEUED_MAX, Control, EVENTS_QUEUED_MAX};
use evergate_control::link::{Desired, KEPT_TICKETS, NodeNews, Observed, ToKeeper};
use evergate_gateway::{Addresses, Gateway, LogWriter};
use evergate_pki::Tickets;
use evergate_sys::{clock, code, cpus};
use tokio::sync::{broadcast, mpsc};

use super::{ControlPlane, Refused, Reloads};
use crate::worker::admin::AdminServers;
use crate::worker::link::Link;
use crate::worker::output::Output;
use crate::worker::probes::Probes;
use crate::worker::users::Users;
use crate::worker::watch::Watch;
use crate::worker::wishes::Wishes;
use crate::worker::{Birth, Start, certificates, sockets};

impl ControlPlane {
    /// Starts the gateway and takes the sockets over from the keeper.
    pub(in crate::worker) async fn start(
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
}
