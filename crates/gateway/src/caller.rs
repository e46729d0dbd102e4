//! What is known of a client's connection before it has asked for anything.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use evergate_pki::Particulars;

/// Who is connected to us, and how.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The other end of the connection, or whom its PROXY header names.
    pub(crate) peer: SocketAddr,
    /// Where it connected to: the same end of the same connection. None if nobody can tell.
    pub(crate) destination: Option<SocketAddr>,
    /// The address here that it is connected to, whatever a PROXY header says.
    pub(crate) local: Option<IpAddr>,
    /// What the proxy in front says of the connection, besides its ends.
    pub(crate) announced: Option<Rc<Announced>>,
    /// How it is secured; none over plain TCP.
    pub(crate) tls: Option<Rc<Secured>>,
}

/// What the TLVs of a PROXY header say; there if any of it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Announced {
    /// What the proxy calls the connection.
    pub(crate) unique_id: Option<Vec<u8>>,
    /// The name that the client asked the proxy for.
    pub(crate) authority: Option<Vec<u8>>,
    /// The connection's id, as long as no request has taken it for its own.
    pub(crate) request_id: Cell<Option<[u8; 32]>>,
}

/// What a TLS handshake came to.
#[derive(Clone, Debug)]
pub(crate) struct Secured {
    /// The name that the client asked for (SNI), lower case.
    pub(crate) server_name: Option<String>,
    /// What our certificate says.
    pub(crate) certificate: Arc<Particulars>,
    /// The client's certificate, verified (DER).
    pub(crate) client_certificate: Option<Vec<u8>>,
}

impl Caller {
    /// A client over plain TCP.
    pub(crate) fn plain(peer: SocketAddr) -> Self {
        Self { peer, destination: None, local: None, announced: None, tls: None }
    }

    /// The scheme of URLs that it asks for.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}
