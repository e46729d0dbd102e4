//! The end.

use std::time::Duration;

use evergate_config::Level;
use evergate_control::link::ToKeeper;
use evergate_sys::clock;
use tokio::time::timeout;

use super::ControlPlane;

/// How long the last lines of the access log may take to be printed when all ends.
const LOG_GRACE: Duration = Duration::from_millis(500);

impl ControlPlane {
    /// Exits: nothing is open any more.
    pub(super) async fn leave(mut self) {
        // Each thread has lines of the access log that it has not handed over.
        let _ = timeout(LOG_GRACE, self.gateway.stop(Duration::ZERO)).await;
        // What the disk did not take while another worker read the pipes.
        self.output.finish(Duration::ZERO).await;
        self.finish_log().await;
    }

    /// Drains for as long as `grace` and tells the keeper.
    pub(super) async fn stop(mut self, grace: Duration) {
        let until = clock::now() + grace;
        self.event(Level::Info, "stopping", "worker", "requests in flight are finished");
        if timeout(grace, self.gateway.stop(grace)).await.is_err() {
            self.event(Level::Warn, "drain_cut", "worker", "the grace is over; the rest is cut");
        }
        // A keeper that is gone need not be told. Now it ends the apps; they have last words.
        let _ = self.link.send(&ToKeeper::Drained, &[]);
        self.output.finish(until - clock::now()).await;
        self.finish_log().await;
    }

    async fn finish_log(&mut self) {
        if timeout(LOG_GRACE, self.gateway.finish_log()).await.is_err() {
            self.event(Level::Warn, "log_cut", "worker", "nobody reads standard output");
        }
    }
}
