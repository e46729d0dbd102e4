//! HTTP/2 to servers.

mod forward;
pub(crate) mod session;
mod transport;
pub(crate) mod upstream;
mod vigil;

#[cfg(test)]
mod tests;
