//! The addresses of the old node in a planned move: it still has them, and nobody is told.
//!
//! What is set for that on the machine outlives a keeper that is killed. So the watcher is told of it
//! before it is done, and for the case that nobody is left, the addresses themselves say what was set
//! before ([`Hidden`]).

use std::io;
use std::net::IpAddr;

use evergate_sys::flow::shade::{Manners, Shade};
use evergate_sys::netlink::Hidden;

use super::super::network::Network;
use super::Link;
use crate::will::Shaded;

/// What is hidden, interface by interface.
#[derive(Debug, Default)]
pub(super) struct Veil {
    folds: Vec<Fold>,
}

/// The addresses of one interface.
#[derive(Debug)]
struct Fold {
    interface: u32,
    name: String,
    /// How it was before; nothing where it need not be shaded, for it never tells (IPv6).
    before: Option<Manners>,
    shade: Option<Shade>,
    addresses: Vec<IpAddr>,
}

impl Veil {
    /// One for these interfaces, which hides nothing yet; why not for all of their addresses.
    pub(super) fn new(links: &[Link]) -> (Self, Result<(), String>) {
        let (mut folds, mut outcome) = (Vec::new(), Ok(()));
        for link in links {
            let (ipv4, ipv6): (Vec<IpAddr>, Vec<IpAddr>) =
                link.place.addresses.iter().partition(|address| address.is_ipv4());
            let mut fold = |before, addresses| {
                let (interface, name) = (link.place.interface, link.name.clone());
                folds.push(Fold { interface, name, before, shade: None, addresses });
            };
            if !ipv6.is_empty() {
                fold(None, ipv6);
            }
            match (ipv4.is_empty(), Manners::of(&link.name)) {
                (true, _) => {}
                (false, Ok(before)) => fold(Some(before), ipv4),
                (false, Err(error)) => outcome = Err(untold(&link.name, &error)),
            }
        }
        (Self { folds }, outcome)
    }

    /// Hides everything; why not all of it.
    pub(super) fn hang(&mut self, network: &Network) -> Result<(), String> {
        let mut outcome = Ok(());
        for fold in &mut self.folds {
            if let Err(why) = fold.hang(network) {
                outcome = Err(why);
            }
        }
        outcome
    }

    /// What is hidden, and what is set so that nobody tells of it, for whoever has to undo it.
    pub(super) fn told(&self) -> (Vec<IpAddr>, Vec<Shaded>) {
        let hidden = self.folds.iter().flat_map(|fold| &fold.addresses).copied();
        let shaded = self.folds.iter().filter_map(|fold| {
            let Manners { ignore, announce } = fold.before?;
            Some(Shaded { interface: fold.name.clone(), ignore, announce })
        });
        (hidden.collect(), shaded.collect())
    }

    /// Has none of it any more.
    pub(super) fn take_off(self, network: &Network) -> io::Result<()> {
        let mut outcome = Ok(());
        for &ip in self.folds.iter().flat_map(|fold| &fold.addresses) {
            outcome = outcome.and(network.unhide(ip));
        }
        // The shades go with this, and not before, or it would be told of for a moment.
        outcome
    }

    /// Takes off what a keeper that was killed has left, and its watcher with it.
    pub(super) fn sweep(network: &Network) -> io::Result<()> {
        let left = network.hidden()?;
        left.iter().try_for_each(|hidden| network.unhide(hidden.ip))?;
        for (interface, before) in left.iter().filter_map(|hidden| hidden.shaded) {
            if let Some(link) = network.interfaces().get(interface) {
                before.restore(&link.name)?;
            }
        }
        Ok(())
    }
}

impl Fold {
    fn hang(&mut self, network: &Network) -> Result<(), String> {
        if let Some(before) = self.before {
            // Hidden without a shade it would be told to whoever asks.
            match Shade::cast(&self.name, before) {
                Ok(shade) => self.shade = Some(shade),
                Err(error) => {
                    (self.before, self.addresses) = (None, Vec::new());
                    return Err(untold(&self.name, &error));
                }
            }
        }
        let shaded = self.before.map(|before| (self.interface, before));
        let mut outcome = Ok(());
        for &ip in &self.addresses {
            outcome = outcome.and(network.hide(Hidden { ip, shaded }));
        }
        // Or whoever comes from this host finds nobody when the address goes from its interface.
        network.finish_hidden(&self.addresses);
        outcome.map_err(|error| error.to_string())
    }
}

fn untold(name: &str, error: &io::Error) -> String {
    format!("{name} cannot be kept from telling: {error}")
}
