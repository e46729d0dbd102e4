//! What the keeper says.

use std::io;
use std::time::Duration;

use evergate_config::Level;
use evergate_control::link::{ToKeeper, ToWorker};
use evergate_sys::clock;

use super::{ControlPlane, Next};
use crate::worker::link::Packet;

impl ControlPlane {
    /// Handles every message of the keeper that is here.
    pub(super) async fn hear_keeper(&mut self) -> Next {
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
