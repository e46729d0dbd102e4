//! What is wished for becomes what there is, by difference: a virtual router that stays as it was
//! is not touched, one that is master stays that whatever else changes about it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use evergate_control::link;
use evergate_core::standby::{Input, Order, RouterKey, Severity};
use evergate_core::time::Instant;
use evergate_sys::family::Family;

use super::adverts::Where;
use super::vip::Vip;
use super::{Running, maintenance};

/// How often it is tried again to open what could not be opened.
const RETRY_EVERY: Duration = Duration::from_secs(1);

impl Running {
    /// Has it be like this.
    pub(super) fn apply(&mut self, now: Instant, wish: link::Standby) {
        if self.wish == wish {
            return;
        }
        let is_first = self.wish.plan.routers.is_empty() && self.vips.is_empty();
        let mut plan = wish.plan.clone();
        let mut vips = BTreeMap::new();
        self.problems.retain(|subject, _| !subject.starts_with("vip."));
        plan.routers.retain(|setup| {
            let wished = wish.vips.iter().find(|vip| vip.key == setup.key);
            let before = self.vips.remove(&setup.key);
            let lasting = before.as_ref().map(|vip| vip.lasting().clone());
            let made = match (wished, before) {
                (None, _) => Err("nothing is known of its addresses".to_owned()),
                (Some(wished), Some(before)) if before.is(wished, &setup.policy) => Ok(before),
                (Some(wished), _) => {
                    Vip::new(setup.name.clone(), wished.clone(), setup.policy, lasting)
                        .map_err(|unfit| unfit.to_string())
                }
            };
            let is_made = made.is_ok();
            match made {
                Ok(vip) => drop(vips.insert(setup.key, vip)),
                Err(why) => drop(self.problems.insert(format!("vip.{}", setup.name), why)),
            }
            is_made
        });
        // Those that are not wished for any more stay until the machine has given them up.
        let leaving = std::mem::take(&mut self.vips).into_iter().filter(|(_, vip)| vip.is_held());
        for (key, mut vip) in leaving.collect::<Vec<_>>() {
            vip.is_leaving = true;
            vips.entry(key).or_insert(vip);
        }
        self.vips = vips;
        self.verdicts.apply(&plan);
        let hooks = plan.routers.iter().filter_map(|setup| {
            let vip = self.vips.get(&setup.key)?.wish();
            Some((setup.name.as_str(), vip.hooks.as_slice(), vip.hook_within))
        });
        self.hooks.apply(&wish.node, hooks);
        self.machine.apply(now, plan);
        self.wish = wish;
        self.apply_peers(now);
        if is_first {
            self.recall_maintenance(now);
        }
        self.refresh(now);
        self.telling.mark();
    }

    /// A keeper before this one may have been taken out of service.
    fn recall_maintenance(&mut self, now: Instant) {
        if self.run_dir.as_deref().is_some_and(maintenance::is_on)
            && let Err(why) = self.machine.order(now, Order::Maintenance { is_on: true })
        {
            self.note(Severity::Warn, "maintenance_lost", "node".to_owned(), why);
        }
    }

    /// Has sockets where there are to be some, and tells the machine what can be sent from where.
    pub(super) fn refresh(&mut self, now: Instant) {
        if self.is_closed {
            return;
        }
        let mut wanted: BTreeMap<Where, Vec<u8>> = BTreeMap::new();
        for vip in self.vips.values() {
            if let Some(link) = self.network.interfaces().find(&vip.wish().interface) {
                wanted.entry((link.index, vip.family())).or_default().push(vip.router_id());
            }
        }
        let failed = self.speakers.set(&wanted, self.events.as_fd());
        let mut news = Vec::new();
        let mut retry_at = (!failed.is_empty()).then(|| now + RETRY_EVERY);
        let virtual_ones: BTreeSet<IpAddr> = self
            .vips
            .values()
            .flat_map(|vip| vip.addresses().iter().map(|&(address, _)| address))
            .collect();
        for (&key, vip) in &mut self.vips {
            let (interfaces, is_ipv6) = (self.network.interfaces(), vip.family() == Family::V6);
            let name = vip.wish().interface.clone();
            let mut source = interfaces.source(&name, is_ipv6, &virtual_ones);
            let number = interfaces.find(&name).map(|link| link.index);
            if let Some(error) = number.and_then(|number| failed.get(&(number, vip.family()))) {
                source = Err(explain(error));
            }
            if let Some((until, why)) = vip.blocked(now) {
                source = Err(why.to_owned());
                retry_at = Some(retry_at.map_or(until, |at| at.min(until)));
            }
            if vip.source.as_ref() != Some(&source) {
                vip.source = Some(source.clone());
                news.push((key, source));
            }
        }
        self.retry_at = retry_at;
        self.set_problems(&news);
        for (router, source) in news {
            self.feed(now, Input::Interface { router, source });
            self.telling.mark();
        }
        self.settle(now);
    }

    /// What cannot be sent from is a problem, and an event.
    fn set_problems(&mut self, news: &[(RouterKey, Result<IpAddr, String>)]) {
        for (key, source) in news {
            let Some(vip) = self.vips.get(key) else { continue };
            let subject = format!("vip.{}", vip.name());
            match source {
                Ok(_) => drop(self.problems.remove(&subject)),
                Err(why) => {
                    let told = self.problems.insert(subject.clone(), why.clone());
                    if told.as_ref() != Some(why) {
                        let why = why.clone();
                        self.note(Severity::Error, "vip_unable", subject, why);
                    }
                }
            }
        }
    }
}

/// Why adverts cannot be sent and heard, and what helps.
fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "{error}; virtual addresses need the rights CAP_NET_RAW and CAP_NET_ADMIN, or root"
        ),
        _ => error.to_string(),
    }
}
