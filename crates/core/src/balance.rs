//! Which server of a pool gets the next request.

/// How a pool chooses among its servers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Policy {
    /// Smooth weighted round robin, in nginx's exact sequence.
    #[default]
    RoundRobin,
    /// Fewest requests in flight for its weight.
    LeastConn,
    /// Any, in proportion to weight.
    Random,
    /// The cheaper of two distinct random servers, by peak EWMA of latency times load.
    P2c,
    /// Rendezvous hash of the client's whole address.
    IpHash,
    /// Rendezvous hash of the pool's `hash_key`, with bounded load.
    Hash,
}
