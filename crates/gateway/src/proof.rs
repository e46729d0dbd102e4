//! Proof that every thread serves.
//!
//! A connection on which the keeper asks something goes from thread to thread: each has to hear, by
//! its own event loop, that the request is there, and hands the connection on. The last one reads
//! the request and answers, with the same code that serves clients. So one thread that is stuck is
//! enough for no answer to come.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use evergate_config::Limits;
use evergate_core::http1;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::caller::Caller;
use crate::data_plane::ToShard;
use crate::http1::server;
use crate::plan::Listener;
use crate::shard::Shard;
use crate::wire::Wire;

/// How long a thread waits for the request; whoever asks has given up long before.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A connection that goes from thread to thread.
#[derive(Debug)]
pub(crate) struct Proof {
    /// A connected stream, which may be a Unix socket (see [`crate::dial`]).
    pub(crate) stream: OwnedFd,
    /// What is to be answered.
    pub(crate) token: String,
    /// Threads that it has not come by yet.
    pub(crate) rest: Vec<mpsc::Sender<ToShard>>,
}

/// Hands the connection on once the request is there, or answers it if nobody is left.
pub(crate) async fn give(shard: Rc<Shard>, proof: Proof) {
    // Whatever goes wrong, the connection ends, which proves that not all is well.
    let _ = tokio::time::timeout(WAIT_MAX, try_to_give(shard, proof)).await;
}

async fn try_to_give(shard: Rc<Shard>, mut proof: Proof) -> Option<()> {
    let stream = std::net::TcpStream::from(proof.stream);
    stream.set_nonblocking(true).ok()?;
    let stream = TcpStream::from_std(stream).ok()?;
    stream.readable().await.ok()?;
    if let Some(next) = proof.rest.pop() {
        proof.stream = stream.into_std().ok()?.into();
        // A thread whose queue is full does not serve.
        return next.try_send(ToShard::Prove(proof)).ok();
    }
    let caller = Caller::plain(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    server::answer_once(shard, Wire::new(stream), &listener(), &caller, &proof.token).await;
    Some(())
}

/// What the keeper is served by.
fn listener() -> Listener {
    let limits = Limits {
        connections: 1,
        connections_per_ip: 1,
        header: 8 * 1024,
        headers: 32,
        uri: 1024,
        body: 0,
        header_timeout: WAIT_MAX,
        idle_timeout: WAIT_MAX,
        requests: 1,
        body_rate_min: 0,
        body_grace: WAIT_MAX,
    };
    Listener {
        name: "keeper".to_owned(),
        tls: None,
        trusted_proxies: Vec::new(),
        proxy_protocol: false,
        http2: false,
        limits,
        heads: http1::Limits {
            head_bytes_max: limits.header as usize,
            fields_max: usize::from(limits.headers),
            uri_bytes_max: limits.uri as usize,
        },
    }
}
