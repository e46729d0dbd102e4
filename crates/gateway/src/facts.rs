//! What is known about a request once its route is: read by filters, templates and the log.

use std::net::IpAddr;

use evergate_core::head::RequestHead;
use evergate_core::route::Params;

use crate::caller::Caller;

/// A request and what we made out of it.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// The head as it was sent.
    pub(crate) head: &'a RequestHead,
    /// The path, normalised.
    pub(crate) path: &'a str,
    /// The client, as far as it is trusted to be told.
    pub(crate) client: IpAddr,
    /// Who is connected to us.
    pub(crate) caller: &'a Caller,
    /// Whether that is a trusted proxy.
    pub(crate) peer_is_trusted: bool,
    /// Name of the route; `-` if none matched.
    pub(crate) route: &'a str,
    /// What the parameters of the match stand for.
    pub(crate) params: Option<Params<'a, 'a>>,
    /// Sent to the server and logged, so that both logs can be joined.
    pub(crate) request_id: [u8; 32],
}

impl Facts<'_> {
    /// The host without its port.
    pub(crate) fn host(&self) -> &[u8] {
        host_of(self.head.authority())
    }

    /// The value of a match parameter, or nothing.
    pub(crate) fn param(&self, name: &str) -> &str {
        self.params.as_ref().and_then(|params| params.get(name)).unwrap_or_default()
    }
}

/// `authority` without its port.
pub(crate) fn host_of(authority: &[u8]) -> &[u8] {
    let end = match authority.first() {
        Some(b'[') => authority.iter().position(|&byte| byte == b']').map(|end| end + 1),
        Some(_) | None => authority.iter().position(|&byte| byte == b':'),
    };
    &authority[..end.unwrap_or(authority.len())]
}
