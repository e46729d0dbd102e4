//! Changing roles: what is let go and what is taken when the keeper wants another worker to serve.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use evergate_config::Level;
use evergate_control::link::{KEPT_TICKETS, ToKeeper};
use evergate_core::state::BYTES_MAX;
use evergate_gateway::Checks;
use evergate_sys::memfd;

use super::{ControlPlane, Next};
use crate::fault;
use crate::worker::role::{Before, Deed, Order, Role};
use crate::worker::sockets::{self, ADMIN, Bound, Key};
use crate::worker::upgrades;

impl ControlPlane {
    /// Does what follows from an order; `beside` is the descriptor that came with it. One that
    /// makes no sense now is told and ignored.
    pub(super) async fn follow(&mut self, order: Order, beside: Option<OwnedFd>) -> Next {
        fault::in_order(order.phase());
        match self.role.follow(order) {
            Ok(Deed::Nothing) => {}
            Ok(Deed::Accept) => self.accept().await,
            Ok(Deed::LetGo) => self.let_go().await,
            Ok(Deed::TakeOver(before)) => self.take_over(before, beside).await,
            Ok(Deed::Confirm) => self.tell_keeper(&ToKeeper::Acquired),
            Ok(Deed::Drain) => {
                // Sockets that one holds who never was primary would go on to queue clients whom
                // nobody accepts.
                self.held.clear();
                self.gateway.retire().await;
            }
            Ok(Deed::Exit) => return Next::Exit,
            Err(nonsense) => self.ignored(nonsense.order.in_words()),
        }
        Next::Go
    }

    /// Says that an order of the keeper made no sense.
    pub(super) fn ignored(&mut self, what: &str) {
        let reason = format!("{what} was ignored: this worker is {}", self.role.in_words());
        self.event(Level::Warn, "order_ignored", "worker", &reason);
    }

    /// Accepts on every listener, beside the worker that does already.
    async fn accept(&mut self) {
        let admin = self.held.extract_if(.., |(name, _), _| name == ADMIN).collect();
        let mut bound = std::mem::replace(&mut self.held, admin);
        self.take_sockets(&mut bound).await;
        self.tell_keeper(&ToKeeper::Activated);
    }

    /// Lets go of everything that only one worker may have.
    async fn let_go(&mut self) {
        self.admin.let_go();
        self.rest().await;
        self.keep_last_state().await;
        self.tell_keeper(&ToKeeper::Released);
    }

    /// Does nothing that only one worker may do. The other one tells people what happens, too.
    pub(super) async fn rest(&mut self) {
        self.gateway.events().limit(Level::Warn);
        self.gateway.set_checks(Checks::Off);
        self.probes.follow(&[], self.gateway.config());
        self.evidence.rest();
        self.verdicts.forget();
        self.agents.rest().await;
        self.output.let_go().await;
    }

    /// Takes everything that only one worker may have; accepts, if that is not done yet.
    async fn take_over(&mut self, before: Before, state: Option<OwnedFd>) {
        if let Some(state) = state {
            // In place of what was there when we started, or what we knew when we let go.
            self.inherit(&memfd::read(state, BYTES_MAX).unwrap_or_default());
        }
        let (mut bound, is_short) = match before {
            Before::New => (std::mem::take(&mut self.held), std::mem::take(&mut self.is_short)),
            Before::Released | Before::Retired => {
                let bound = self.had_again();
                let is_short = sockets::are_missing(&self.desired, &bound);
                (bound, is_short)
            }
        };
        if before == Before::Retired {
            self.gateway.resume().await;
        }
        self.take_sockets(&mut bound).await;
        self.gateway.events().limit(Level::Trace);
        self.gateway.set_checks(Checks::On);
        self.probes.follow(&self.observed.instances, self.gateway.config());
        self.evidence.follow(self.gateway.config());
        self.agents.wake().await;
        if before == Before::New {
            fault::after_commit();
            self.keep(KEPT_TICKETS, &self.gateway.ticket_keys());
            self.tell_changes();
        }
        self.catch_up_with_trial(before != Before::New).await;
        // What another worker was told of it is not known here.
        self.is_file_unread = true;
        self.tell_keeper(&ToKeeper::Acquired);
        if is_short {
            // Only for the primary worker is anything bound that is not yet.
            let mut bound = self.had_again();
            for failure in sockets::failures(&bound) {
                self.event(Level::Error, "listen_failed", "listener", &failure);
            }
            self.take_sockets(&mut bound).await;
        }
        self.tell_ready();
        self.settle_down();
    }

    /// The sockets of everything that is in force, as the keeper has them. One that does not answer
    /// leaves us with those that are open.
    fn had_again(&mut self) -> BTreeMap<Key, Bound> {
        let desired = self.desired.clone();
        match self.settle(&desired) {
            Ok(bound) => bound,
            Err(error) => {
                let reason = format!("the keeper does not answer: {error}");
                self.event(Level::Error, "listen_failed", "listener", &reason);
                BTreeMap::new()
            }
        }
    }

    /// Tells the keeper how requests went, while it has to choose between two workers.
    pub(super) async fn tell_served(&self) {
        if self.role != Role::Candidate && upgrades::is_under_way(&self.node) {
            let (requests, errors) = self.gateway.served().await;
            self.tell_keeper(&ToKeeper::Served { requests, errors });
        }
    }

    /// Tells people what became of workers and upgrades, if we are whom they listen to. What the
    /// keeper says first is what was before us, and others have told it.
    pub(super) fn tell_node(&mut self) {
        let told = match self.role {
            Role::Primary => self.told.replace(self.node.clone()),
            Role::Candidate | Role::Standby => {
                self.told = Some(self.node.clone());
                return;
            }
            // It may be called back, and then has the rest to tell.
            Role::Released | Role::Draining(_) | Role::Drained | Role::Finished => return,
        };
        let Some(told) = told else { return };
        for (level, kind, subject, reason) in upgrades::news(&told, &self.node) {
            self.event(level, kind, &subject, &reason);
        }
        if upgrades::is_under_way(&told) && !upgrades::is_under_way(&self.node) {
            self.settle_down();
        }
    }
}
