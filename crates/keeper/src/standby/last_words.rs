//! What is to be done if the keeper dies: kept up to date for the watcher.

use evergate_core::standby::{RouterKey, View};
use evergate_core::time::Instant;
use evergate_core::vrrp::{INTERVALS_DOWN, PRIORITY_STOP, Role};

use super::Running;
use crate::will::{Held, Will, Words};

impl Running {
    /// Has a watcher while there is something to lose.
    pub(super) fn look_after_watcher(&mut self, now: Instant) {
        self.watch.want(now, !self.is_closed && !self.vips.is_empty());
        self.watch.tick(now);
        let changes = self.neighbours.changes() + self.passing.changes();
        let (neighbours, passing) = (&self.neighbours, &self.passing);
        self.watch.keep(changes, || neighbours.sockets().chain(passing.sockets()));
        self.notes.extend(self.watch.take_notes());
        const SUBJECT: &str = "watcher";
        let told = self.problems.get(SUBJECT);
        let problem = self.watch.problem();
        if told != problem.as_ref() {
            self.telling.mark();
            match problem {
                Some(problem) => drop(self.problems.insert(SUBJECT.to_owned(), problem)),
                None => drop(self.problems.remove(SUBJECT)),
            }
        }
    }

    /// Writes down what is to be done from now on. A seal grows old with each advert, so this follows
    /// each of them.
    pub(super) fn bequeath(&mut self) {
        if !self.watch.is_wanted() {
            return;
        }
        let held = |(&(interface, address), &prefix)| Held { interface, address, prefix };
        let addresses = self.addresses.owned().iter().map(held).collect();
        let masters = self.machine.views().into_iter().filter(|view| view.role == Role::Master);
        let masters: Vec<RouterKey> = masters.map(|View { key, .. }| key).collect();
        let words = masters.into_iter().flat_map(|key| self.words(key)).collect();
        let held = self.vips.values().filter(|vip| vip.is_held());
        let patience = held.map(|vip| vip.interval() * INTERVALS_DOWN).min();
        let (hidden, shaded) = self.passing.veil();
        self.watch.write(&Will { patience, words, addresses, hidden, shaded });
    }

    /// What is said in the name of one virtual router.
    fn words(&mut self, key: RouterKey) -> Vec<Words> {
        let Some(vip) = self.vips.get_mut(&key) else {
            return Vec::new();
        };
        let link = self.network.interfaces().find(&vip.wish().interface);
        let (Some(link), Some(Ok(source))) = (link, vip.source.clone()) else {
            return Vec::new();
        };
        let mut words: Vec<Words> = Vec::new();
        for (to, message) in vip.adverts(PRIORITY_STOP) {
            // The same to everybody, unless its checksum covers whom it is for.
            match words.last_mut().filter(|last| **last.message == *message) {
                Some(last) => last.to.push(to),
                None => words.push(Words {
                    interface: link.index,
                    source,
                    to: vec![to],
                    message: message.into(),
                }),
            }
        }
        words
    }
}
