//! HTTP/2 on sockets, to servers and with clients.
//!
//! The protocol itself is the `h2` crate's. On the client's side a pipe batches writes and reads along
//! for floods, each connection is a task, and so is each stream, which is a [`Client`] like an HTTP/1
//! connection is.
//!
//! [`Client`]: crate::client::Client

mod forward;
mod pipe;
pub(crate) mod probe;
mod request;
mod response;
pub(crate) mod server;
pub(crate) mod session;
mod stream;
mod transport;
pub(crate) mod upstream;
mod vigil;
pub(crate) mod workers;

#[cfg(test)]
mod tests;
