//! What a client of the addresses sees.

use std::vec::Vec;

use super::super::*;
use super::{Life, Node, World};

/// Somebody who talks to the addresses of a virtual router all the time.
#[derive(Clone, Debug, Default)]
pub(in crate::standby::tests) struct Client {
    pub(super) believes: Option<usize>,
    unserved_since: Option<Instant>,
    pub(in crate::standby::tests) gap_max: Duration,
    pub(in crate::standby::tests) gaps: Vec<(Instant, Duration)>,
}

impl World {
    /// Whether each client is served now.
    pub(super) fn observe(&mut self) {
        self.is_news = false;
        for (&key, client) in &mut self.clients {
            let holds = |node: &&Node| {
                node.life == Life::Up && node.held.contains(&key) && !node.frozen.contains(&key)
            };
            let serves = |node: usize| {
                let node = &self.nodes[node];
                // Whoever passes on does so to the others.
                let passes = node.life == Life::Up && node.passes_on.contains_key(&key);
                holds(&node) || passes && self.nodes.iter().any(|node| holds(&node))
            };
            if client.believes.is_none() {
                // It asks, and any holder answers.
                client.believes = (0..self.nodes.len()).find(|&node| serves(node));
            }
            let is_served = client.believes.is_some_and(serves);
            match (is_served, client.unserved_since) {
                (true, Some(since)) => {
                    let gap = self.now.since(since);
                    client.gap_max = client.gap_max.max(gap);
                    client.gaps.push((self.now, gap));
                    client.unserved_since = None;
                }
                (false, None) => client.unserved_since = Some(self.now),
                (true, None) | (false, Some(_)) => {}
            }
        }
    }

    /// Forgets gaps until now.
    pub(in crate::standby::tests) fn watch(&mut self) {
        self.observe();
        for client in self.clients.values_mut() {
            client.gap_max = Duration::ZERO;
            client.gaps.clear();
            client.unserved_since = client.unserved_since.map(|_| self.now);
        }
    }

    /// The longest time that a client was not served, also one that has not ended.
    pub(in crate::standby::tests) fn gap(&self) -> Duration {
        self.clients.keys().map(|key| self.gap_of(*key)).max().unwrap_or_default()
    }

    /// The longest time that the client of one virtual router was not served.
    pub(in crate::standby::tests) fn gap_of(&self, key: RouterKey) -> Duration {
        let client = &self.clients[&key];
        let open = client.unserved_since.map_or(Duration::ZERO, |since| self.now.since(since));
        client.gap_max.max(open)
    }

    pub(in crate::standby::tests) fn is_served(&self) -> bool {
        self.clients.values().all(|client| client.unserved_since.is_none())
    }
}
