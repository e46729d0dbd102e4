//! What the gateway knows, on its way from one worker to the next.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use evergate_control::state::{Open, REPORTS_MAX, State};
use evergate_sys::clock;

use super::Gateway;

impl Gateway {
    /// What is known of servers and connections, and what happened, for the worker that comes after
    /// this one, which is number `generation`. The rest is for others to say.
    pub fn carry(&mut self, generation: u32) -> State {
        let (servers, wishes) = self.wards.carry(&self.plan);
        let (open, history) = (self.open(generation), self.events.carry());
        State { servers, wishes, open, history, ..State::default() }
    }

    /// Goes on from what another worker knew of servers, and from what happened there. Of
    /// connections it takes only what is open to `others`: workers that are still there. To be done
    /// before anybody is accepted, or in a process that serves already, in place of what it knows.
    pub fn inherit(&mut self, state: State, others: &[u32]) {
        let now = clock::now();
        self.wards.inherit(&self.plan, state.servers, state.wishes, now);
        self.events.inherit(state.history);
        if others.contains(&state.open.generation) {
            self.set_elsewhere(state.open.generation, Some(state.open));
        }
    }

    /// What is open to this worker, which is number `generation`.
    pub fn open(&self, generation: u32) -> Open {
        let listeners = self.gates.iter().map(|(name, gate)| gate.connections(name));
        let listeners = listeners.filter(|one| one.open > 0).collect();
        Open { generation, listeners }.bounded()
    }

    /// What is open to other workers, by generation.
    pub fn elsewhere(&self) -> impl Iterator<Item = &Open> {
        self.elsewhere.values()
    }

    /// Counts what is open to another worker against the bounds of listeners, in place of what
    /// was known before; nothing any more if there is nothing.
    pub fn set_elsewhere(&mut self, generation: u32, open: Option<Open>) {
        match open {
            Some(open) => drop(self.elsewhere.insert(generation, open)),
            None => drop(self.elsewhere.remove(&generation)),
        }
        while self.elsewhere.len() > REPORTS_MAX {
            self.elsewhere.pop_first();
        }
        let mut sums: HashMap<&str, (u64, HashMap<IpAddr, u32>)> = HashMap::new();
        for listener in self.elsewhere.values().flat_map(|open| &open.listeners) {
            let (open, by_address) = sums.entry(&listener.listener).or_default();
            *open = open.saturating_add(listener.open);
            for (address, count) in &listener.by_address {
                let sum = by_address.entry(*address).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
        for name in self.plan.listeners.keys() {
            // It may be that nobody listens yet.
            let gate = Arc::clone(self.gates.entry(name.clone()).or_default());
            let (open, by_address) = sums.remove(&**name).unwrap_or_default();
            gate.set_elsewhere(open, by_address);
        }
    }
}
