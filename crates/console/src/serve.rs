//! Carries the router over one listening socket.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::access::Peer;
use crate::stream::Stopping;

/// Most connections of one listener at once; others wait in the accept queue.
pub const CONNECTIONS_MAX: usize = 64;
/// Longest time for a request head, the silence before it included.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(10);
/// Most bytes of a request head.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Most header fields of a request.
const HEADERS_MAX: usize = 64;
/// How long a connection without a request may still bring one when stopping, so that whoever has
/// just asked is answered.
const LAST_REQUEST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait for requests in flight when stopping.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Rest after a failed accept, such as when descriptors ran out.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// A socket to serve the admin API on.
#[derive(Debug)]
pub enum Listening {
    /// Callers are judged by [`Access`](crate::Access).
    Tcp(TcpListener),
    /// Whoever can open it is operator.
    Unix(UnixListener),
}

/// Serves `router` until `stop` is ready, then ends event streams, waits for requests in flight
/// and those that are about to come (at most 5 s) and returns. Runs on the caller's runtime; dropping the future cuts everything.
pub async fn serve(listener: Listening, router: Router, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    let (stopper, stopping) = watch::channel(false);
    let stopping = Stopping(stopping);
    let mut connections = JoinSet::new();
    loop {
        let has_room = connections.len() < CONNECTIONS_MAX;
        let accepted = tokio::select! {
            biased;
            // Another process may accept from the same socket: whoever comes now is for that one.
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if has_room => accepted,
        };
        match accepted {
            Ok((Stream::Tcp(stream), peer)) => {
                connections.spawn(connection(stream, peer, router.clone(), stopping.clone()));
            }
            Ok((Stream::Unix(stream), peer)) => {
                connections.spawn(connection(stream, peer, router.clone(), stopping.clone()));
            }
            Err(_) => sleep(ACCEPT_REST).await,
        }
    }
    drop(listener);
    stopper.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    // What is left after that is cut when the set is dropped.
    drop(timeout(DRAIN_MAX, drained).await);
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

impl Listening {
    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Stream::Tcp(stream), Peer::Tcp(address.ip())))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), Peer::Unix))
            }
        }
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    mut stopping: Stopping,
) {
    let for_requests = stopping.clone();
    let asked = Arc::new(Notify::new());
    let tell_asked = Arc::clone(&asked);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(for_requests.clone());
        tell_asked.notify_waiters();
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // Both outcomes of a connection end it; what went wrong is the client's to see.
    tokio::select! {
        outcome = &mut connection => drop(outcome),
        () = stopping.wait() => {
            tokio::select! {
                biased;
                () = asked.notified() => {}
                outcome = &mut connection => return drop(outcome),
                () = sleep(LAST_REQUEST_WAIT) => {}
            }
            connection.as_mut().graceful_shutdown();
            drop(connection.await);
        }
    }
}
