//! From an accepted socket to the protocol that is spoken on it.
//!
//! In this order: the PROXY header, the TLS handshake, the choice between HTTP/1 and HTTP/2. Each
//! step that the listener does not want costs nothing.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::caller::Caller;
use crate::http1::server;
use crate::plan::Listener;
use crate::shard::Shard;
use crate::wire::Wire;

/// Serves a connection to its end.
pub(crate) async fn serve(
    shard: Rc<Shard>,
    tcp: TcpStream,
    name: &str,
    settings: Arc<Listener>,
    peer: SocketAddr,
) {
    let caller = Caller::plain(peer);
    let wire = Wire::new(tcp);
    server::serve(shard, wire, name, settings, caller).await;
}
