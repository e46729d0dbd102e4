//! Where handlers ask the control plane.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use evergate_control::command::{Command, Control};
use evergate_control::snapshot::{Event, Stats, Status};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::access::Access;
use crate::problem::Problem;

/// Longest wait for an answer of the control plane.
pub(crate) const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);
/// Most readers of the event stream at once; more are answered 503.
pub(crate) const EVENT_STREAMS_MAX: usize = 8;

/// Most readers that follow the output of apps at once; more are answered 503.
pub(crate) const LOG_STREAMS_MAX: usize = 8;

/// What every handler shares.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) control: Control,
    pub(crate) access: watch::Receiver<Access>,
    pub(crate) event_streams: Arc<Semaphore>,
    pub(crate) log_streams: Arc<Semaphore>,
}

impl Desk {
    pub(crate) fn new(control: Control, access: watch::Receiver<Access>) -> Self {
        let event_streams = Arc::new(Semaphore::new(EVENT_STREAMS_MAX));
        let log_streams = Arc::new(Semaphore::new(LOG_STREAMS_MAX));
        Self { control, access, event_streams, log_streams }
    }

    /// Sends the command that `command` makes around the place for its answer, and waits for that.
    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        match self.control.commands.try_send(command(reply)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Err(unavailable("busy", "too many commands wait already")
                    .help("try again in a second"));
            }
            Err(TrySendError::Closed(_)) => return Err(stopping()),
        }
        match tokio::time::timeout(ANSWER_WAIT_MAX, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(stopping()),
            Err(_) => {
                let seconds = ANSWER_WAIT_MAX.as_secs();
                let message = format!("the control plane did not answer within {seconds} s");
                Err(unavailable("timeout", message).help("look for errors in the log"))
            }
        }
    }

    pub(crate) async fn status(&self) -> Result<Status, Problem> {
        self.ask(|reply| Command::Status { reply }).await
    }

    pub(crate) async fn stats(&self) -> Result<Stats, Problem> {
        self.ask(|reply| Command::Stats { reply }).await
    }

    pub(crate) async fn events(&self) -> Result<Vec<Event>, Problem> {
        self.ask(|reply| Command::Events { reply }).await
    }
}

fn stopping() -> Problem {
    unavailable("stopping", "this worker is stopping").help("try again: another takes over")
}

fn unavailable(code: &'static str, message: impl Into<String>) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
}
