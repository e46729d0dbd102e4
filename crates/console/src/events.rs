//! The event stream: server-sent events (WHATWG HTML, 9.2), resumable by `Last-Event-ID`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use evergate_control::snapshot::Event;
use hyper::body::Frame;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::desk::{Desk, EVENT_STREAMS_MAX};
use crate::problem::{Problem, text_response};

/// A comment is sent after this long a silence, so that both ends notice a dead connection.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Says that the server is stopping; [`serve`](crate::serve) puts it into each request.
#[derive(Clone, Debug)]
pub(crate) struct Stopping(pub(crate) watch::Receiver<bool>);

impl Stopping {
    /// Returns once the server is stopping.
    pub(crate) async fn wait(&mut self) {
        // An error says that the sender is gone, which is as good as stopping.
        drop(self.0.wait_for(|stopping| *stopping).await);
    }
}

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
    let stopping = request.extensions().get::<Stopping>().cloned();
    let source = Source { backlog, receiver, seen, stopping, _place: place };
    let body = Stream { next: Some(Box::pin(source.greet())) };
    Ok(text_response(StatusCode::OK, "text/event-stream", Body::new(body)))
}

fn last_event_id(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.trim().parse().ok()
}

type Step = Pin<Box<dyn Future<Output = Option<(Bytes, Source)>> + Send>>;

/// The body of the response; each step yields a piece of text and whom to ask for the next.
struct Stream {
    next: Option<Step>,
}

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(step) = &mut self.next else { return Poll::Ready(None) };
        let Some((text, source)) = ready!(step.as_mut().poll(context)) else {
            self.next = None;
            return Poll::Ready(None);
        };
        self.next = Some(Box::pin(source.next()));
        Poll::Ready(Some(Ok(Frame::data(text))))
    }
}

struct Source {
    backlog: VecDeque<Event>,
    receiver: broadcast::Receiver<Event>,
    /// Number of the last event that the reader has.
    seen: u64,
    stopping: Option<Stopping>,
    _place: OwnedSemaphorePermit,
}

impl Source {
    /// Makes the response head go out at once, and tells browsers when to come back.
    async fn greet(self) -> Option<(Bytes, Self)> {
        Some((Bytes::from_static(b"retry: 2000\n\n"), self))
    }

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

async fn stopped(stopping: &mut Option<Stopping>) {
    match stopping {
        Some(stopping) => stopping.wait().await,
        None => std::future::pending().await,
    }
}

fn encode(event: &Event) -> String {
    let data = serde_json::to_string(event).expect("plain data has no map keys but strings");
    let mut text = String::with_capacity(data.len() + 32);
    write!(text, "id: {}\ndata: {data}\n\n", event.sequence).expect("a string takes every byte");
    text
}
