//! What the keeper keeps for the worker that comes after this one.

use std::os::fd::AsFd;

use evergate_control::link::{KEPT_TICKETS, ToKeeper};
use evergate_sys::{clock, memfd};

use super::ControlPlane;

impl ControlPlane {
    /// Has the keeper keep `bytes` for the worker that comes after this one; without them it only
    /// does less well.
    pub(in crate::worker) fn keep(&self, name: &str, bytes: &[u8]) {
        if let Ok(file) = memfd::seal("evergate-kept", bytes) {
            let _ = self.link.send(&ToKeeper::Keep { name: name.to_owned() }, &[file.as_fd()]);
        }
    }

    /// Does what is due by the calendar: other ticket keys, words about certificates.
    pub(super) fn look_at_calendar(&mut self) {
        let now = clock::unix_seconds();
        if let Some(keys) = self.gateway.turn_tickets(now) {
            self.keep(KEPT_TICKETS, &keys);
        }
        if self.gateway.is_warning_due(now) {
            let certificates = self.certificates();
            self.gateway.warn_of_certificates(now, certificates);
        }
    }
}
