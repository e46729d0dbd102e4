//! What the keeper says.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use evergate_config::Level;
use evergate_control::link::{Observed, ToKeeper, ToWorker, UpgradePhase};
use evergate_sys::clock;

use super::{Cause, ControlPlane, Next};
use crate::fault;
use crate::worker::link::Packet;
use crate::worker::role::Order;

impl ControlPlane {
    /// Handles every message of the keeper that is here, and what else bears on our role.
    pub(super) async fn hear_keeper(&mut self) -> Next {
        while let Some((message, fds)) = self.next_message() {
            match self.hear(message, fds).await {
                Next::Go => {}
                other => return other,
            }
        }
        if self.role.is_draining() && self.gateway.is_drained() {
            self.tell_shared().await;
            self.tell_keeper(&ToKeeper::Drained);
            return self.follow(Order::Emptied, None).await;
        }
        if self.keeper_is_gone() && !std::mem::replace(&mut self.is_orphaned, true) {
            return self.follow(Order::Orphaned, None).await;
        }
        Next::Go
    }

    async fn hear(&mut self, message: ToWorker, fds: Vec<OwnedFd>) -> Next {
        let order = match message {
            ToWorker::Activate => Order::Activate,
            ToWorker::Release => Order::Release,
            ToWorker::Acquire => Order::Acquire,
            ToWorker::Retire => Order::Retire,
            ToWorker::Finish => Order::Finish,
            ToWorker::Stop { grace_ms } => {
                return Next::Stop { grace: Duration::from_millis(u64::from(grace_ms)) };
            }
            ToWorker::Observed(observed) => {
                self.follow_apps(observed).await;
                return Next::Go;
            }
            ToWorker::Probe { token } => {
                fault::in_order(Some(UpgradePhase::Probing));
                if let Some(stream) = fds.into_iter().next() {
                    let token = fault::in_answer(token);
                    self.gateway.answer_probe(stream, &token).await;
                }
                return Next::Go;
            }
            ToWorker::Reload => {
                self.reload_for_keeper().await;
                return Next::Go;
            }
            ToWorker::GoBack { why } => {
                self.go_back(why).await;
                return Next::Go;
            }
            ToWorker::Retreat { addresses, within_ms } => {
                let within = Duration::from_millis(u64::from(within_ms));
                self.gateway.retreat(addresses, within).await;
                return Next::Go;
            }
            news => {
                self.take_news(news, fds);
                return Next::Go;
            }
        };
        self.follow(order, fds.into_iter().next()).await
    }

    /// Takes what the keeper says without wanting anything.
    fn take_news(&mut self, message: ToWorker, fds: Vec<OwnedFd>) {
        match message {
            // A pipe that comes too late is for whoever is primary now.
            ToWorker::Output { run } if self.role.is_primary() => self.take_output(run, fds),
            ToWorker::Happened(happening) if self.role.is_primary() => {
                self.tell_happening(&happening);
            }
            ToWorker::Output { .. } | ToWorker::Happened(_) => {}
            ToWorker::Heard { request, error, plan } => {
                self.wishes.answer(request, error.map_or(Ok(plan), Err));
            }
            ToWorker::Ping { number } => self.tell_keeper(&ToKeeper::Pong { number }),
            ToWorker::Node(news) => {
                self.node = news;
                self.follow_workers();
                self.tell_node();
                self.tell_trial();
            }
            ToWorker::Standby(news) => self.standby = news,
            ToWorker::Shared { generation } => self.take_shared(generation, &fds),
            ToWorker::Gone { generation } => self.forget_shared(generation),
            // Answers to questions that are no longer waited for.
            ToWorker::Welcome { .. }
            | ToWorker::Listening { .. }
            | ToWorker::Settled
            | ToWorker::Opened { .. }
            | ToWorker::Tried { .. }
            | ToWorker::Noted => {}
            // Orders, which were followed.
            ToWorker::Activate
            | ToWorker::Release
            | ToWorker::Acquire
            | ToWorker::Retire
            | ToWorker::Finish
            | ToWorker::Stop { .. }
            | ToWorker::Observed(_)
            | ToWorker::Probe { .. }
            | ToWorker::Retreat { .. }
            | ToWorker::GoBack { .. }
            | ToWorker::Reload => {}
        }
    }

    /// Handles what the keeper has said of apps so far, before all else.
    pub(super) async fn hear_of_apps(&mut self) {
        for (message, fds) in std::mem::take(&mut self.inbox) {
            match message {
                ToWorker::Observed(observed) => self.follow_apps(observed).await,
                other => self.inbox.push_back((other, fds)),
            }
        }
    }

    async fn follow_apps(&mut self, observed: Observed) {
        self.gateway.set_instances(&observed).await;
        self.tell_idle();
        self.observed = observed;
        self.verdicts.instances_are_known();
        self.observed_at = clock::now();
        if self.role.is_primary() {
            self.probes.follow(&self.observed.instances, self.gateway.config());
        }
    }

    async fn reload_for_keeper(&mut self) {
        let is_applied = if self.role.is_primary() {
            self.reload_and_tell(Cause::Signal).await
        } else {
            self.ignored("a reload");
            false
        };
        self.tell_keeper(&ToKeeper::Reloaded { is_applied });
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
}
