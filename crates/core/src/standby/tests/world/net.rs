//! The link between the nodes: what is lost, doubled, late and cut.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use super::{World, name};

/// How the link is.
#[derive(Clone, Debug)]
pub(in crate::standby::tests) struct Net {
    /// Percent of adverts that are lost.
    pub(in crate::standby::tests) loss: u32,
    /// Percent of announcements that are lost.
    pub(in crate::standby::tests) loss_of_announcements: u32,
    /// Percent of packets that arrive twice.
    pub(in crate::standby::tests) doubled: u32,
    /// Longest time that a packet takes, in microseconds.
    pub(in crate::standby::tests) delay_us: u32,
    /// Longest time that a tick is late, in microseconds.
    pub(in crate::standby::tests) jitter_us: u32,
    /// From whom to whom nothing passes.
    pub(in crate::standby::tests) cuts: BTreeSet<(usize, usize)>,
    /// A virtual router whose adverts are all lost.
    pub(in crate::standby::tests) deaf_to: Option<RouterKey>,
    /// How many of the next adverts from one node to another are lost.
    pub(in crate::standby::tests) drops: BTreeMap<(usize, usize), u32>,
    /// Whether nodes see each other's announcements.
    pub(in crate::standby::tests) sees_rivals: bool,
    /// Percent of messages between peers that are lost.
    pub(in crate::standby::tests) loss_of_words: u32,
    /// Whether nodes can list their connections.
    pub(in crate::standby::tests) freezes: bool,
    /// How long it takes until connections have ended, in milliseconds.
    pub(in crate::standby::tests) drains_ms: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Packet {
    Advert {
        router: RouterKey,
        from: IpAddr,
        advert: Advert,
    },
    Announcement {
        router: RouterKey,
        from: usize,
    },
    Word {
        from: usize,
        path: usize,
        message: peer::Message,
    },
    /// To the node itself.
    Drained,
}

pub(super) struct Flight {
    /// Nothing: to the clients.
    pub(super) to: Option<usize>,
    pub(super) packet: Packet,
}

impl Default for Net {
    fn default() -> Self {
        Self {
            loss: 0,
            loss_of_announcements: 0,
            doubled: 0,
            delay_us: 300,
            jitter_us: 200,
            cuts: BTreeSet::new(),
            deaf_to: None,
            drops: BTreeMap::new(),
            sees_rivals: true,
            loss_of_words: 0,
            freezes: true,
            drains_ms: 150,
        }
    }
}

impl World {
    pub(super) fn say(
        &mut self,
        from: usize,
        peer: usize,
        path: Option<usize>,
        message: &peer::Message,
    ) {
        let setup = &self.nodes[from].standby.plan.peers[peer];
        let Some(to) = (0..self.nodes.len()).find(|to| name(*to) == setup.name) else { return };
        let paths =
            path.map_or_else(|| (0..setup.addresses.len()).collect(), |path| std::vec![path]);
        for path in paths {
            let is_lost = self.rng.below(100) < self.net.loss_of_words;
            if !is_lost && !self.net.cuts.contains(&(from, to)) {
                let message = message.clone();
                self.send(Some(to), Packet::Word { from, path, message });
            }
        }
    }

    pub(super) fn advertise(&mut self, from: usize, router: RouterKey, priority: u8) {
        let Some(interval) = self.nodes[from].interval(router) else { return };
        let advert = Advert { priority, interval };
        let packet = Packet::Advert { router, from: self.nodes[from].address_of(router), advert };
        for to in 0..self.nodes.len() {
            let is_cut = self.net.cuts.contains(&(from, to)) || self.net.deaf_to == Some(router);
            if to == from || is_cut {
                continue;
            }
            if let Some(left) = self.net.drops.get_mut(&(from, to)).filter(|left| **left > 0) {
                *left -= 1;
                continue;
            }
            if self.rng.below(100) < self.net.loss {
                continue;
            }
            self.send(Some(to), packet.clone());
        }
    }

    pub(super) fn announce(&mut self, from: usize, router: RouterKey) {
        let packet = Packet::Announcement { router, from };
        for to in 0..self.nodes.len() {
            let is_lost = self.rng.below(100) < self.net.loss_of_announcements;
            if to != from && !is_lost && !self.net.cuts.contains(&(from, to)) {
                self.send(Some(to), packet.clone());
            }
        }
        if self.rng.below(100) >= self.net.loss_of_announcements {
            self.send(None, packet);
        }
    }

    fn send(&mut self, to: Option<usize>, packet: Packet) {
        let copies = 1 + u32::from(self.rng.below(100) < self.net.doubled);
        for _ in 0..copies {
            let delay = Duration::from_micros((20 + self.rng.below(self.net.delay_us)).into());
            self.numbered += 1;
            let flight = Flight { to, packet: packet.clone() };
            self.flights.insert((self.now + delay, self.numbered), flight);
        }
    }
}
