//! What operators want.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Order, RouterKey, Severity, Standby};
use crate::time::Instant;
use crate::vrrp::Role;
use crate::vrrp::router;

impl Standby {
    pub(super) fn follow(&mut self, now: Instant, order: Order) -> Result<Vec<String>, String> {
        match order {
            Order::Failover { vip: Some(name) } => {
                let key = self.named(&name)?;
                let role = self.members[&key].router.role();
                if role != Role::Master {
                    let word = role.word();
                    return Err(format!("vip.{name} is not on this node: its role is {word}"));
                }
                let keys = core::iter::once(key).chain(self.mates(key)).collect();
                self.fail_over(now, keys)
            }
            Order::Failover { vip: None } => {
                let masters = self.members.iter().filter(|(_, member)| member.is_master());
                let keys: BTreeSet<RouterKey> = masters.map(|(key, _)| *key).collect();
                if keys.is_empty() {
                    return Err(String::from("no virtual address is on this node"));
                }
                self.fail_over(now, keys)
            }
            Order::Maintenance { is_on } => Ok(self.set_maintenance(is_on)),
        }
    }

    fn named(&self, name: &str) -> Result<RouterKey, String> {
        let found = self.members.iter().find(|(_, member)| member.setup.name == name);
        found.map(|(key, _)| *key).ok_or_else(|| {
            let known: Vec<&str> =
                self.members.values().map(|member| member.setup.name.as_str()).collect();
            match known.as_slice() {
                [] => String::from("no virtual address is configured"),
                known => format!("vip.{name} does not exist; there are: {}", known.join(", ")),
            }
        })
    }

    fn fail_over(
        &mut self,
        now: Instant,
        keys: BTreeSet<RouterKey>,
    ) -> Result<Vec<String>, String> {
        let mut steps = Vec::new();
        for &key in &keys {
            let member = &self.members[&key];
            if !member.is_master() {
                continue;
            }
            let within = member.router.down_time().as_millis();
            steps.push(format!(
                "{}: given up to whoever follows; kept if nobody does within {within} ms",
                member.subject()
            ));
        }
        for key in keys {
            let why = String::from("an operator gave it to another node");
            let input = router::Input::Resign { why, hold_off: Duration::ZERO, is_lasting: true };
            self.feed(now, key, input);
        }
        Ok(steps)
    }

    fn set_maintenance(&mut self, is_on: bool) -> Vec<String> {
        let mut steps = Vec::new();
        if self.is_in_maintenance == is_on {
            let word = if is_on { "on" } else { "off" };
            steps.push(format!("maintenance is {word} already"));
            return steps;
        }
        self.is_in_maintenance = is_on;
        let (kind, reason) = if is_on {
            for member in self.members.values().filter(|member| member.is_master()) {
                steps.push(format!("{}: given up to whoever follows", member.subject()));
            }
            steps.push(String::from("this node takes no part until maintenance is off"));
            ("maintenance_on", "an operator took this node out of service")
        } else {
            steps.push(String::from("this node takes part again"));
            ("maintenance_off", "an operator put this node into service again")
        };
        self.note(Severity::Info, kind, String::from("node"), String::from(reason));
        steps
    }
}
