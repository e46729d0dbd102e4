//! The addresses that are on interfaces because of us.
//!
//! What is to be there follows from which virtual routers hold their addresses; what was put there
//! is remembered, also across an exec of the keeper. The difference is made good each time something
//! changes, so a takeover, a reload and a removal by somebody else are one and the same.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use evergate_core::standby::{RouterKey, Severity};
use evergate_core::time::Instant;
use evergate_core::vrrp::PRIORITY_OWNER;
use evergate_sys::netlink::Author;

use super::Running;
use super::interface::Interfaces;
use super::vip::{Vip, Vips};

/// How long a virtual router whose addresses cannot be put on its interface takes no part.
const BLOCKED_FOR: Duration = Duration::from_secs(5);

/// The number of an interface, and an address there.
pub(super) type Spot = (u32, IpAddr);

/// What was put on interfaces, each with the length of its prefix.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    owned: BTreeMap<Spot, u8>,
}

impl Addresses {
    /// What the image before had put there.
    pub(super) fn resume(owned: BTreeMap<Spot, u8>) -> Self {
        Self { owned }
    }

    /// All that was put there.
    pub(super) fn owned(&self) -> &BTreeMap<Spot, u8> {
        &self.owned
    }

    /// When to look again for what was removed.
    pub(super) fn deadline(vips: &Vips) -> Option<Instant> {
        vips.values().filter_map(|vip| vip.fight.deadline()).min()
    }

    /// The addresses of a virtual router, and whether each is on its interface.
    pub(super) fn shown(vip: &Vip, interfaces: &Interfaces) -> Vec<(String, bool)> {
        let number = interfaces.find(&vip.wish().interface).map(|link| link.index);
        let is_here = |ip| number.is_some_and(|number| interfaces.has(number, ip));
        let all = vip.addresses().iter();
        all.map(|&(ip, prefix)| (format!("{ip}/{prefix}"), is_here(ip))).collect()
    }
}

impl Running {
    /// Puts on interfaces what is to be there, and removes what is not.
    pub(super) fn settle(&mut self, now: Instant) {
        let mut wanted: BTreeMap<Spot, (RouterKey, u8)> = BTreeMap::new();
        for (&key, vip) in self.vips.iter().filter(|(_, vip)| vip.is_held()) {
            if let Some(link) = self.network.interfaces().find(&vip.wish().interface) {
                let all = vip.addresses().iter();
                wanted.extend(all.map(|&(ip, prefix)| ((link.index, ip), (key, prefix))));
            }
        }
        let [removed, added] = self.network.take_authors();
        // New ones first: a router of which every address is replaced is never without one.
        let mut new = Vec::new();
        for (&spot, &(key, prefix)) in &wanted {
            if !self.addresses.owned.contains_key(&spot) {
                self.put(now, spot, key, prefix);
                new.push(spot);
            }
        }
        new.extend(self.put_back(now, &wanted, &removed));
        self.network.finish(&new);
        let owned = self.addresses.owned.iter().map(|(&spot, &prefix)| (spot, prefix));
        let surplus = owned.filter(|(spot, _)| !wanted.contains_key(spot));
        for (spot, prefix) in surplus.collect::<Vec<_>>() {
            self.take_away(spot, prefix);
        }
        self.sweep();
        self.tell_foreign(&wanted, &added);
        self.watch_claims();
    }

    /// Puts one there for the first time.
    pub(super) fn put(&mut self, now: Instant, spot: Spot, key: RouterKey, prefix: u8) {
        let (interface, ip) = spot;
        let Some(vip) = self.vips.get_mut(&key) else { return };
        match self.network.add(interface, ip, prefix) {
            Ok((prefix, is_new)) => {
                // What the owner of an address has anyway stays when the role goes.
                if is_new || vip.priority() != PRIORITY_OWNER {
                    self.addresses.owned.insert(spot, prefix);
                }
            }
            Err(error) => {
                vip.block(now + BLOCKED_FOR, error.to_string());
                self.is_stale = true;
            }
        }
    }

    /// Puts back what somebody else has removed; what that was.
    fn put_back(
        &mut self,
        now: Instant,
        wanted: &BTreeMap<Spot, (RouterKey, u8)>,
        removed: &BTreeMap<Spot, Author>,
    ) -> Vec<Spot> {
        let mut added = Vec::new();
        let interfaces = self.network.interfaces();
        let is_missing = |(spot, _): &(&Spot, _)| {
            self.addresses.owned.contains_key(spot) && !interfaces.has(spot.0, spot.1)
        };
        let mut missing: BTreeMap<RouterKey, Vec<(Spot, u8)>> = BTreeMap::new();
        for (&spot, &(key, prefix)) in wanted.iter().filter(is_missing) {
            missing.entry(key).or_default().push((spot, prefix));
        }
        for (&key, vip) in &mut self.vips {
            let Some(spots) = missing.get(&key) else {
                vip.fight.pause();
                continue;
            };
            if !vip.fight.is_due(now) {
                continue;
            }
            let mut put_back = Vec::new();
            for &((interface, ip), prefix) in spots {
                match self.network.add(interface, ip, prefix) {
                    Ok((prefix, true)) => {
                        vip.counts().put_back += 1;
                        added.push((interface, ip));
                        self.addresses.owned.insert((interface, ip), prefix);
                        let who = removed.get(&(interface, ip));
                        let who = who.map_or("somebody".to_owned(), Author::to_string);
                        put_back.push(format!("{who} removed {ip}; it was put back"));
                    }
                    // It was known too late that it is there again.
                    Ok((_, false)) => {}
                    Err(error) => {
                        vip.block(now + BLOCKED_FOR, error.to_string());
                        self.is_stale = true;
                    }
                }
            }
            if !put_back.is_empty() {
                vip.fight.note(now);
                let reason = put_back.join(", ");
                self.notes.push(vip.note(Severity::Warn, "vip_put_back", reason));
                self.to_announce.insert(key);
                self.telling.mark();
            }
        }
        added
    }

    /// Removes one that is not to be there any more.
    fn take_away(&mut self, spot: Spot, prefix: u8) {
        let (interface, ip) = spot;
        self.addresses.owned.remove(&spot);
        if let Err(error) = self.network.remove(interface, ip, prefix) {
            let (kind, subject) = ("vip_unremoved", "node".to_owned());
            self.note(Severity::Error, kind, subject, error.to_string());
        }
    }

    /// Removes every one.
    pub(super) fn take_all_away(&mut self) {
        for (spot, prefix) in self.addresses.owned.clone() {
            self.take_away(spot, prefix);
        }
    }

    /// Removes what was on interfaces before this keeper: of virtual routers that were just
    /// configured, once their interface is there.
    fn sweep(&mut self) {
        let unswept = self.vips.values_mut().filter(|vip| !vip.is_swept && !vip.is_held());
        let mut left_over = Vec::new();
        for vip in unswept {
            let interfaces = self.network.interfaces();
            let Some(link) = interfaces.find(&vip.wish().interface) else { continue };
            vip.is_swept = true;
            if vip.priority() == PRIORITY_OWNER {
                continue;
            }
            let here = interfaces.addresses().iter().filter(|one| one.interface == link.index);
            let is_ours = |ip| vip.addresses().iter().any(|&(own, _)| own == ip);
            for one in here.filter(|one| is_ours(one.ip)) {
                let by = if one.is_marked { "by Evergate" } else { "by somebody" };
                let reason = format!("{}/{} was left on {} {by}", one.ip, one.prefix, link.name);
                let note = vip.note(Severity::Warn, "vip_left_over", reason);
                left_over.push(((one.interface, one.ip), one.prefix, note));
            }
        }
        for (spot, prefix, note) in left_over {
            self.take_away(spot, prefix);
            self.notes.push(note);
            self.telling.mark();
        }
    }

    /// Tells of addresses that others put here, though we do not hold them: somebody else may.
    fn tell_foreign(
        &mut self,
        wanted: &BTreeMap<Spot, (RouterKey, u8)>,
        added: &BTreeMap<Spot, Author>,
    ) {
        for (spot, author) in added.iter().filter(|(spot, _)| !wanted.contains_key(spot)) {
            let has = |vip: &&Vip| {
                let link = self.network.interfaces().find(&vip.wish().interface);
                link.is_some_and(|link| link.index == spot.0)
                    && vip.addresses().iter().any(|&(ip, _)| ip == spot.1)
            };
            if let Some(vip) = self.vips.values().find(has) {
                let reason = format!("{author} added {}, which this node does not hold", spot.1);
                self.notes.push(vip.note(Severity::Warn, "vip_foreign", reason));
            }
        }
    }
}
