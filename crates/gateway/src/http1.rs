//! HTTP/1 on sockets: the client's side, the server's side, and bodies between them.

pub(crate) mod forward;
pub(crate) mod incoming;
pub(crate) mod outgoing;
pub(crate) mod server;
pub(crate) mod upstream;
