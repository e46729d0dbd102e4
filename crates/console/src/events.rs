//! The event stream: server-sent events (WHATWG HTML, 9.2), resumable by `Last-Event-ID`.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use evergate_control::snapshot::Event;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::desk::{Desk, EVENT_STREAMS_MAX};
use crate::problem::{Problem, text_response};
use crate::stream::{KEEPALIVE, Source, Stopping, Stream, stopped};

/// Tells browsers when to come back, in milliseconds.
const GREETING: Bytes = Bytes::from_static(b"retry: 2000\n\n");

/// Sends what happens from now on; with `Last-Event-ID`, first what was missed and is still known.
pub(crate) async fn follow(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Problem> {
    let Ok(place) = Arc::clone(&desk.event_streams).try_acquire_owned() else {
        let message = format!("{EVENT_STREAMS_MAX} readers follow the events already");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
            .help("close one, or poll /api/v1/events?after=SEQUENCE"));
    };
    // Subscribed before the list is asked for: an event in both is dropped by its number.
    let receiver = desk.control.events.subscribe();
    let known = desk.events().await?;
    let newest = known.last().map_or(0, |event| event.sequence);
    let (backlog, seen) = match last_event_id(request.headers()) {
        // A number from the future is one of an earlier worker, so everything here is new.
        Some(id) if id > newest => (known.into(), 0),
        Some(id) => (known.into_iter().filter(|event| event.sequence > id).collect(), id),
        None => (VecDeque::new(), newest),
    };
    let stopping = Stopping::of(&request);
    let source = Happenings { backlog, receiver, seen, stopping, _place: place };
    let body = Body::new(Stream::new(GREETING, source));
    Ok(text_response(StatusCode::OK, "text/event-stream", body))
}

fn last_event_id(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.trim().parse().ok()
}

/// Events for one reader.
struct Happenings {
    backlog: VecDeque<Event>,
    receiver: broadcast::Receiver<Event>,
    /// Number of the last event that the reader has.
    seen: u64,
    stopping: Option<Stopping>,
    _place: OwnedSemaphorePermit,
}

impl Source for Happenings {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            let event = match self.backlog.pop_front() {
                Some(event) => event,
                None => tokio::select! {
                    received = self.receiver.recv() => match received {
                        Ok(event) => event,
                        Err(RecvError::Lagged(lost)) => {
                            let text = format!("event: lost\ndata: {{\"lost\":{lost}}}\n\n");
                            return Some((text.into(), self));
                        }
                        Err(RecvError::Closed) => return None,
                    },
                    () = stopped(&mut self.stopping) => return None,
                    () = tokio::time::sleep(KEEPALIVE) => {
                        return Some((Bytes::from_static(b":\n\n"), self));
                    }
                },
            };
            if event.sequence > self.seen {
                self.seen = event.sequence;
                return Some((encode(&event).into(), self));
            }
        }
    }
}

fn encode(event: &Event) -> String {
    let data = serde_json::to_string(event).expect("plain data has no map keys but strings");
    let mut text = String::with_capacity(data.len() + 32);
    write!(text, "id: {}\ndata: {data}\n\n", event.sequence).expect("a string takes every byte");
    text
}
