//! Sockets: had from the keeper, accepted from, and let go.

use std::collections::BTreeMap;
use std::io;

use evergate_config::Level;
use evergate_control::link::{Desired, Outcome, ToKeeper, ToWorker};

use super::ControlPlane;
use crate::worker::sockets::{self, ADMIN, Bound, Key};

impl ControlPlane {
    /// Has the keeper make it so; says what became of each address. Messages about other things
    /// are kept for later.
    pub(super) fn settle(&mut self, desired: &Desired) -> io::Result<BTreeMap<Key, Bound>> {
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
                | ToWorker::Standby(_)
                | ToWorker::Retreat { .. }
                | ToWorker::Ping { .. }
                | ToWorker::Reload
                | ToWorker::GoBack { .. }
                | ToWorker::Tried { .. }
                | ToWorker::Stop { .. } => self.inbox.push_back((message, fds)),
            }
        }
    }

    /// Accepts on every new socket.
    pub(super) async fn take_sockets(&mut self, bound: &mut BTreeMap<Key, Bound>) {
        for ((name, address), bound) in std::mem::take(bound) {
            let Outcome::Bound(actual) = bound.outcome else { continue };
            let key = (name.clone(), sockets::text(&address));
            if name != ADMIN {
                let count = bound.sockets.len();
                let is_open = self.gateway.listening().any(|open| *open == key);
                // The kernel spreads clients over all of them, so none may be left out.
                if !is_open || self.accepted.get(&key) != Some(&count) {
                    let actual = sockets::text(&actual);
                    self.gateway.listen(&name, &key.1, &actual, bound.sockets).await;
                    self.accepted.insert(key, count);
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
    pub(super) async fn forget_sockets(&mut self, wanted: &Desired) {
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
                self.accepted.remove(&(name, address));
            }
        }
        let admin = wanted.listeners.iter().filter(|one| one.name == ADMIN);
        self.admin.keep_only(&admin.map(|one| &one.address).collect::<Vec<_>>());
    }
}
