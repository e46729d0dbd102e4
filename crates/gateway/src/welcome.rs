//! From an accepted socket to the protocol that is spoken on it.
//!
//! In this order: the PROXY header, the TLS handshake, the choice between HTTP/1 and HTTP/2. Each
//! step that the listener does not want costs nothing.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::caller::Caller;
use crate::http1::server::{self, Http2};
use crate::http2;
use crate::listener::{self, Admission};
use crate::plan::Listener;
use crate::proxy_header;
use crate::shard::Shard;
use crate::tls::accept::accept;
use crate::tls::termination::ALPN_HTTP2;
use crate::wire::Wire;

/// Serves a connection to its end.
pub(crate) async fn serve(
    shard: Rc<Shard>,
    tcp: TcpStream,
    name: &str,
    settings: Arc<Listener>,
    peer: SocketAddr,
    admission: &mut Admission,
) {
    let mut caller = Caller::plain(peer);
    caller.destination = tcp.local_addr().ok();
    caller.local = caller.destination.map(|local| local.ip().to_canonical());
    let mut wire = Wire::new(tcp);
    if settings.proxy_protocol {
        // Boxed, so that it takes no room in the futures of those who do not want it.
        let announcing = announce(&shard, wire, &settings, admission, &mut caller);
        match Box::pin(announcing).await {
            Some(announced) => wire = announced,
            None => return,
        }
    }
    if let Some(tls) = &settings.tls {
        let handshakes = admission.gate().handshakes();
        // Boxed: a handshake is larger than what a connection keeps while it is served.
        let Some(secured) = Box::pin(accept(&shard, &mut wire, name, tls, handshakes)).await else {
            return;
        };
        caller.tls = Some(Rc::new(secured));
    }
    let gate = admission.gate();
    if agreed_on_http2(&wire) {
        let (gate, early) = (Arc::clone(gate), Vec::new());
        return Box::pin(http2::server::serve(shard, wire, early, name, settings, gate, caller))
            .await;
    }
    // A client may begin with HTTP/2 and not have asked (RFC 9113, 3.3): the first bytes tell.
    let http1 = server::serve(Rc::clone(&shard), wire, name, Arc::clone(&settings), gate, &caller);
    if let Some(Http2 { wire, early }) = http1.await {
        // Its future must not take room in that of every connection.
        let gate = Arc::clone(gate);
        Box::pin(http2::server::serve(shard, wire, early, name, settings, gate, caller)).await;
    }
}

/// Whether the TLS handshake has chosen HTTP/2.
fn agreed_on_http2(wire: &Wire) -> bool {
    wire.tls().and_then(|session| session.state().alpn_protocol()) == Some(ALPN_HTTP2)
}

/// Lets the proxy in front say who the caller is; none if the connection ends here.
async fn announce(
    shard: &Shard,
    mut wire: Wire,
    settings: &Listener,
    admission: &mut Admission,
    caller: &mut Caller,
) -> Option<Wire> {
    let received = match proxy_header::receive(shard, &mut wire).await {
        Ok(received) => received?,
        Err(refusal) => {
            admission.gate().refuse(shard, &settings.name, caller.peer.ip(), refusal);
            return None;
        }
    };
    if let Some(ends) = received.ends {
        (caller.peer, caller.destination) = (ends.source, Some(ends.destination));
    }
    caller.announced = received.announced;
    if !admission.count_for(caller.peer.ip(), settings) {
        if let Some(tcp) = wire.plaintext() {
            listener::turn_away(tcp, settings);
        }
        return None;
    }
    Some(wire.with_early(received.early))
}
