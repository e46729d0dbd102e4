//! Which server of a pool gets the next request.
//!
//! Each data-plane thread owns a [`Picker`] per pool, so a pick takes no lock. What threads must
//! share (requests in flight, latency) is read through a function that the caller hands in.
//! A picker chooses among candidates only: who may be one is decided by [`crate::health`].

use alloc::vec::Vec;

use crate::id::EndpointId;
use crate::rng::Rng;

mod ewma;
mod hash;
mod least_conn;
mod p2c;
mod random;
mod smooth;

#[cfg(test)]
mod tests;

pub use ewma::{DECAY, Ewma, SEED, ewma_now, ewma_observe, ewma_seed};
pub use hash::hash_bytes;
pub use p2c::LATENCY_NANOS_MIN;

use hash::Rendezvous;
use least_conn::LeastConn;
use random::Wheel;
use smooth::Smooth;

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

/// A server that may be picked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Candidate {
    /// Which one; each at most once.
    pub endpoint: EndpointId,
    /// Its share, everything considered; above 0. Only the ratio to the others counts, so
    /// hundredths will do.
    pub weight: u32,
    /// Hash of what identifies it across reloads and nodes, for [`Policy::IpHash`] and
    /// [`Policy::Hash`].
    pub key: u64,
}

/// How busy a server is, all threads together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Load {
    /// Requests sent to it and not yet answered.
    pub in_flight: u32,
    /// Its peak EWMA now, see [`ewma_now`].
    pub latency_nanos: u64,
}

/// What is known about the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// [`hash_bytes`] of the client's address or of the hash key.
    pub key: u64,
    /// Servers to avoid unless nothing else is left.
    pub tried: &'a [EndpointId],
}

/// Picks servers by one policy.
#[derive(Clone, Debug)]
pub struct Picker {
    pool: Pool,
    chooser: Chooser,
    /// Positions of the candidates that were tried, ascending; kept for its memory.
    excluded: Vec<usize>,
    /// Whether the candidates may be no more what they were.
    is_stale: bool,
}

#[derive(Clone, Debug)]
enum Chooser {
    RoundRobin(Smooth),
    LeastConn(LeastConn),
    Random(Wheel),
    P2c(Wheel),
    IpHash(Rendezvous),
    Hash(Rendezvous),
}

impl Picker {
    /// A picker without candidates.
    pub fn new(policy: Policy) -> Self {
        let chooser = match policy {
            Policy::RoundRobin => Chooser::RoundRobin(Smooth::default()),
            Policy::LeastConn => Chooser::LeastConn(LeastConn::default()),
            Policy::Random => Chooser::Random(Wheel::default()),
            Policy::P2c => Chooser::P2c(Wheel::default()),
            Policy::IpHash => Chooser::IpHash(Rendezvous::default()),
            Policy::Hash => Chooser::Hash(Rendezvous::default()),
        };
        Self { pool: Pool::default(), chooser, excluded: Vec::new(), is_stale: false }
    }

    /// Tells that endpoints go by other ids from now on, or are gone: so that those which stay keep
    /// their state at the next [`Picker::set_candidates`], before which there is no pick.
    pub fn renumber(&mut self, renumbered: impl Fn(EndpointId) -> Option<EndpointId>) {
        let Pool { list, positions } = &mut self.pool;
        // Not by the list: what is gone since an earlier call stands there still.
        for (id, position) in (0..).zip(core::mem::take(positions)) {
            let Some(position) = position else { continue };
            let Some(endpoint) = renumbered(EndpointId(id)) else { continue };
            list[position as usize].endpoint = endpoint;
            positions.resize(positions.len().max(endpoint.index() + 1), None);
            positions[endpoint.index()] = Some(position);
        }
        self.is_stale = true;
    }

    /// Puts `candidates` in place of the ones so far; those that stay keep their state. Ties are
    /// resolved in the order given here.
    pub fn set_candidates(&mut self, candidates: &[Candidate]) {
        let candidates = &*reduced(candidates);
        if self.pool.list == candidates && !self.is_stale {
            return;
        }
        self.is_stale = false;
        let last = core::mem::replace(&mut self.pool, Pool::new(candidates));
        match &mut self.chooser {
            Chooser::RoundRobin(smooth) => smooth.set(candidates, &last),
            Chooser::LeastConn(least_conn) => least_conn.set(candidates, &last),
            Chooser::Random(wheel) | Chooser::P2c(wheel) => wheel.set(candidates),
            Chooser::IpHash(rendezvous) | Chooser::Hash(rendezvous) => rendezvous.set(candidates),
        }
    }

    /// The server for a request; `None` only if there are no candidates. `load` is asked at most
    /// once about each.
    ///
    /// Takes constant time for round robin, random and P2C while the weights are equal;
    /// logarithmic time for random and P2C otherwise; linear time in all other cases.
    pub fn pick(
        &mut self,
        ask: &Ask<'_>,
        load: impl Fn(EndpointId) -> Load,
        rng: &mut Rng,
    ) -> Option<EndpointId> {
        debug_assert!(!self.is_stale, "candidates are set after the endpoints were renumbered");
        if self.pool.list.is_empty() {
            return None;
        }
        self.exclude(ask.tried);
        let pool = &self.pool;
        let load = |position: usize| load(pool.list[position].endpoint);
        let among = Among { pool, excluded: &self.excluded };
        let position = match &mut self.chooser {
            Chooser::RoundRobin(smooth) => smooth.pick(among),
            Chooser::LeastConn(least_conn) => least_conn.pick(among, load),
            Chooser::Random(wheel) => wheel.draw(among.excluded, rng),
            Chooser::P2c(wheel) => p2c::pick(wheel, &pool.list, &mut self.excluded, load, rng),
            Chooser::IpHash(rendezvous) => rendezvous.pick(ask.key, among),
            Chooser::Hash(rendezvous) => rendezvous.pick_bounded(ask.key, among, load),
        };
        Some(pool.list[position].endpoint)
    }

    /// Tells that a request to this server failed: round robin and the ties of least connections
    /// pass it over until its share has grown back, one unit per pick.
    pub fn failed(&mut self, endpoint: EndpointId) {
        let Some(position) = self.pool.position(endpoint) else { return };
        match &mut self.chooser {
            Chooser::RoundRobin(smooth) => smooth.failed(position),
            Chooser::LeastConn(least_conn) => least_conn.failed(position),
            Chooser::Random(_) | Chooser::P2c(_) | Chooser::IpHash(_) | Chooser::Hash(_) => {}
        }
    }

    /// Notes which candidates are out; none if that would be all.
    fn exclude(&mut self, tried: &[EndpointId]) {
        self.excluded.clear();
        for position in tried.iter().filter_map(|&endpoint| self.pool.position(endpoint)) {
            if let Err(slot) = self.excluded.binary_search(&position) {
                self.excluded.insert(slot, position);
            }
        }
        if self.excluded.len() == self.pool.list.len() {
            self.excluded.clear();
        }
    }
}

/// The candidates, and where each endpoint stands among them.
#[derive(Clone, Debug, Default)]
struct Pool {
    list: Vec<Candidate>,
    /// By endpoint: its position in `list`.
    positions: Vec<Option<u32>>,
}

impl Pool {
    fn new(list: &[Candidate]) -> Self {
        let slots = list.iter().map(|candidate| candidate.endpoint.index() + 1).max();
        let mut positions = alloc::vec![None; slots.unwrap_or(0)];
        for (position, candidate) in (0..).zip(list) {
            let slot = &mut positions[candidate.endpoint.index()];
            debug_assert!(slot.is_none(), "{:?} is a candidate twice", candidate.endpoint);
            *slot = Some(position);
        }
        Self { list: list.to_vec(), positions }
    }

    fn position(&self, endpoint: EndpointId) -> Option<usize> {
        let position = *self.positions.get(endpoint.index())?;
        position.map(|position| position as usize)
    }
}

/// The candidates that one pick chooses from; at least one.
#[derive(Clone, Copy, Debug)]
struct Among<'a> {
    pool: &'a Pool,
    /// Ascending positions.
    excluded: &'a [usize],
}

impl Among<'_> {
    fn positions(&self) -> impl Iterator<Item = usize> {
        (0..self.pool.list.len()).filter(|position| !self.excluded.contains(position))
    }
}

/// The candidates with the smallest weights of the same ratio. A server that failed gets its share
/// back in steps of one, so {300, 200} must be {3, 2}.
fn reduced(candidates: &[Candidate]) -> Vec<Candidate> {
    let divisor = candidates.iter().fold(0, |divisor, candidate| gcd(candidate.weight, divisor));
    let reduce = |&candidate: &Candidate| {
        debug_assert!(candidate.weight > 0, "a server without share is no candidate");
        Candidate { weight: candidate.weight / divisor.max(1), ..candidate }
    };
    candidates.iter().map(reduce).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn are_equal(candidates: &[Candidate]) -> bool {
    candidates.iter().all(|candidate| candidate.weight == candidates[0].weight)
}
