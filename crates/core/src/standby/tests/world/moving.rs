//! What a planned move has nodes do, and what must never happen in one.

use std::collections::BTreeSet;
use std::string::ToString;
use std::vec::Vec;

use super::super::*;
use super::World;
use super::net::{Flight, Packet};

impl World {
    pub(super) fn freeze(&mut self, index: usize, routers: Vec<RouterKey>) {
        self.is_news = true;
        let seed = self.seed;
        let node = &mut self.nodes[index];
        assert!(node.frozen.is_empty() && node.passes_on.is_empty(), "seed {seed:#x}");
        assert!(routers.iter().all(|key| node.held.contains(key)), "seed {seed:#x}");
        node.frozen.extend(routers);
        let flow = handover::Flow {
            client: IpAddr::from([10, 0, 0, 200]),
            client_port: 40_000,
            local: IpAddr::from([10, 0, 0, 100]),
            local_port: 443,
        };
        let flows =
            if self.net.freezes { Ok(std::vec![flow; 30]) } else { Err("not here".to_string()) };
        node.standby.handle(self.now, Input::Frozen { flows });
    }

    pub(super) fn pass_on(&mut self, index: usize, routers: Vec<(RouterKey, IpAddr)>) {
        self.is_news = true;
        let node = &mut self.nodes[index];
        let keys: BTreeSet<RouterKey> = routers.iter().map(|(key, _)| *key).collect();
        assert_eq!(node.frozen, keys, "seed {:#x}", self.seed);
        node.frozen.clear();
        node.passes_on.extend(routers);
        let at = self.now + Duration::from_millis(self.net.drains_ms);
        self.numbered += 1;
        let flight = Flight { to: Some(index), packet: Packet::Drained };
        self.flights.insert((at, self.numbered), flight);
    }

    pub(super) fn pass_back(
        &mut self,
        index: usize,
        routers: Vec<(RouterKey, IpAddr)>,
        flows: &[handover::Flow],
    ) {
        let seed = self.seed;
        let node = &mut self.nodes[index];
        assert_eq!(flows.len(), 1, "seed {seed:#x}: one connection, said often");
        assert!(node.passes_back.is_empty(), "seed {seed:#x}");
        assert!(routers.iter().all(|(key, _)| !node.held.contains(key)), "seed {seed:#x}");
        node.passes_back.extend(routers);
    }

    pub(super) fn pass_none(&mut self, index: usize, routers: &[RouterKey]) {
        self.is_news = true;
        let node = &mut self.nodes[index];
        for key in routers {
            let is_known = node.frozen.remove(key)
                | node.passes_on.remove(key).is_some()
                | node.passes_back.remove(key).is_some();
            assert!(is_known, "seed {:#x}: {key:?} was not moving", self.seed);
        }
    }
}
