//! Bodies without end, made piece by piece.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Request;
use hyper::body::{Body, Frame};
use tokio::sync::watch;

/// Something empty is sent after this long a silence, so that both ends notice a dead connection.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(15);

/// Says that the server is stopping; [`serve`](crate::serve) puts it into each request.
#[derive(Clone, Debug)]
pub(crate) struct Stopping(pub(crate) watch::Receiver<bool>);

impl Stopping {
    /// That of the server that the request came to.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        request.extensions().get::<Self>().cloned()
    }

    /// Returns once the server is stopping.
    pub(crate) async fn wait(&mut self) {
        // An error says that the sender is gone, which is as good as stopping.
        drop(self.0.wait_for(|stopping| *stopping).await);
    }
}

/// Returns once the server is stopping; never, if nobody is there to say so.
pub(crate) async fn stopped(stopping: &mut Option<Stopping>) {
    match stopping {
        Some(stopping) => stopping.wait().await,
        None => std::future::pending().await,
    }
}

/// Where the pieces come from.
pub(crate) trait Source: Sized + Send + 'static {
    /// The next piece, and whom to ask for the one after it; none at the end.
    fn next(self) -> impl Future<Output = Option<(Bytes, Self)>> + Send;
}

type Step<S> = Pin<Box<dyn Future<Output = Option<(Bytes, S)>> + Send>>;

/// The body of a response.
pub(crate) struct Stream<S> {
    next: Option<Step<S>>,
}

impl<S: Source> Stream<S> {
    /// `first`, which makes the response head go out at once, and what `source` yields.
    pub(crate) fn new(first: Bytes, source: S) -> Self {
        Self { next: Some(Box::pin(std::future::ready(Some((first, source))))) }
    }
}

impl<S: Source> Body for Stream<S> {
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
