//! Virtual addresses and other machines against each other and the rest of the configuration.

use std::collections::BTreeMap;
use std::net::IpAddr;

use evergate_core::peer::PEERS_MAX;
use evergate_core::standby::ROUTERS_MAX;
use evergate_core::track::Effect;

use crate::diagnostic::Diagnostic;
use crate::keys::Noun;
use crate::model::{Config, Vip};
use crate::reader::{Place, Reader};

/// Refuses what cannot be together.
pub(crate) fn check(reader: &Reader<'_>, config: &Config) {
    check_router_ids(reader, config);
    check_addresses(reader, config);
    check_peers(reader, config);
    check_counts(reader, config);
}

/// Warns of what cannot have been meant.
pub(crate) fn warn(reader: &Reader<'_>, config: &Config) {
    warn_lone_groups(reader, config);
    warn_idle_weights(reader, config);
    warn_listeners(reader, config);
    warn_heartbeats(reader, config);
}

fn place(reader: &Reader<'_>, noun: Noun, name: &str) -> Option<Place> {
    reader.places.borrow().get(&(noun, name.to_owned())).copied()
}

/// Reports something about two sections of one kind, at the later of them.
fn report_pair(
    reader: &Reader<'_>,
    noun: Noun,
    (one, other): (&str, &str),
    diagnostic: impl Fn(&str, &str) -> Diagnostic,
) {
    let (Some(first), Some(second)) = (place(reader, noun, one), place(reader, noun, other)) else {
        return;
    };
    let ((earlier, first), (later, second)) = match first < second {
        true => ((one, first), (other, second)),
        false => ((other, second), (one, first)),
    };
    reader.report(
        diagnostic(later, earlier)
            .at(reader.locate(second))
            .about(format!("{}.{later}", noun.word()))
            .see(reader.locate(first), "the other one"),
    );
}

/// The keeper names a virtual router by VRID and family.
fn check_router_ids(reader: &Reader<'_>, config: &Config) {
    let mut taken: BTreeMap<(u8, bool), &str> = BTreeMap::new();
    for (name, vip) in &config.vips {
        let id = vip.policy.router_id;
        let Some(earlier) = taken.insert((id, vip.is_v6()), name) else { continue };
        report_pair(reader, Noun::Vip, (earlier, name), |later, earlier| {
            let family = if vip.is_v6() { "IPv6" } else { "IPv4" };
            let message =
                format!("`vip.{later}` and `vip.{earlier}` are both router {id} of {family}");
            Diagnostic::error("duplicate-router", message)
                .help("give one of them another `router_id`, or make one of the two")
        });
    }
}

fn check_addresses(reader: &Reader<'_>, config: &Config) {
    let mut taken: BTreeMap<IpAddr, &str> = BTreeMap::new();
    for (name, vip) in &config.vips {
        for ip in vip.addresses.iter().map(|net| net.addr()) {
            let Some(earlier) = taken.insert(ip, name) else { continue };
            if earlier == name {
                let section = place(reader, Noun::Vip, name);
                let Some(here) = section else { continue };
                reader.report(
                    Diagnostic::error(
                        "address-conflict",
                        format!("`vip.{name}` has {ip} twice, with different prefixes"),
                    )
                    .at(reader.locate(here))
                    .about(format!("vip.{name}.address"))
                    .help("keep one of them"),
                );
                continue;
            }
            report_pair(reader, Noun::Vip, (earlier, name), |later, earlier| {
                let message = format!("`vip.{later}` and `vip.{earlier}` both have {ip}");
                Diagnostic::error("address-conflict", message)
                    .help("an address belongs to one virtual router: remove it from one of them")
            });
        }
    }
}

fn check_peers(reader: &Reader<'_>, config: &Config) {
    let mut taken: BTreeMap<IpAddr, &str> = BTreeMap::new();
    for (name, peer) in &config.peers {
        let Some(here) = place(reader, Noun::Peer, name) else { continue };
        let about = |diagnostic: Diagnostic| {
            diagnostic.at(reader.locate(here)).about(format!("peer.{name}"))
        };
        if *name == config.node.name {
            let message = format!("`peer.{name}` has the name of this machine");
            reader.report(about(Diagnostic::error("own-name", message).help(
                "a peer has the `node.name` of the other machine; this one's is in `[node]`, or its \
                 host name",
            )));
        }
        for ip in &peer.addresses {
            if let Some(vip) = holder(config, *ip) {
                let message =
                    format!("{ip} of `peer.{name}` is an address of `vip.{vip}`, which moves");
                reader.report(about(
                    Diagnostic::error("address-conflict", message)
                        .help("name an address that stays with the machine"),
                ));
            }
            let Some(earlier) = taken.insert(*ip, name).filter(|earlier| earlier != name) else {
                continue;
            };
            report_pair(reader, Noun::Peer, (earlier, name), |later, earlier| {
                let message = format!("`peer.{later}` and `peer.{earlier}` both have {ip}");
                Diagnostic::error("address-conflict", message).help("each machine has its own")
            });
        }
    }
}

/// The virtual router that an address belongs to.
fn holder(config: &Config, ip: IpAddr) -> Option<&str> {
    let has = |vip: &Vip| vip.addresses.iter().any(|net| net.addr() == ip);
    config.vips.iter().find(|(_, vip)| has(vip)).map(|(name, _)| name.as_str())
}

fn check_counts(reader: &Reader<'_>, config: &Config) {
    let counts = [
        (Noun::Vip, config.vips.len(), ROUTERS_MAX, "put several addresses into one of them"),
        (
            Noun::Peer,
            config.peers.len(),
            PEERS_MAX,
            "name those that share addresses with this one",
        ),
    ];
    for (noun, count, most, help) in counts.into_iter().filter(|(_, count, most, _)| count > most) {
        let word = noun.word();
        let message = format!("there are {count} sections `[{word}.NAME]`; the most is {most}");
        reader.report(
            Diagnostic::error("too-many", message)
                .in_file(&reader.texts[0].name)
                .about(word)
                .help(help),
        );
    }
}

fn warn_vip(reader: &Reader<'_>, name: &str, key: &str, diagnostic: Diagnostic) {
    let Some(here) = place(reader, Noun::Vip, name) else { return };
    reader.report(diagnostic.at(reader.locate(here)).about(format!("vip.{name}.{key}")));
}

fn warn_lone_groups(reader: &Reader<'_>, config: &Config) {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, vip) in &config.vips {
        if let Some(sync) = &vip.sync {
            groups.entry(sync).or_default().push(name);
        }
    }
    for (sync, names) in groups {
        let [name] = names[..] else { continue };
        let message =
            format!("`vip.{name}` moves together with nothing: no other has `sync = {sync:?}`");
        let diagnostic = Diagnostic::warning("lone-group", message)
            .help("write the same word in those that should move with it, or remove it");
        warn_vip(reader, name, "sync", diagnostic);
    }
}

/// A lower priority moves the address only if somebody takes it, and the other machine is most
/// likely configured as this one is.
fn warn_idle_weights(reader: &Reader<'_>, config: &Config) {
    for (name, vip) in config.vips.iter().filter(|(_, vip)| !vip.policy.preempt) {
        let weighs = vip
            .track
            .iter()
            .any(|rule| matches!(rule.effect, Effect::Weight(weight) if weight != 0));
        if weighs {
            let message = format!(
                "a weight in `vip.{name}.track` moves nothing without `preempt`: it counts only when \
                 the next master is chosen"
            );
            let diagnostic = Diagnostic::warning("idle-weight", message).help(
                "write `preempt = true` on both machines, so that a lower priority loses the \
                 address; or \"fault\" for the weight",
            );
            warn_vip(reader, name, "track", diagnostic);
        }
    }
}

/// A listener on an address that is not here most of the time could not be opened.
fn warn_listeners(reader: &Reader<'_>, config: &Config) {
    for (name, listener) in &config.listeners {
        for address in &listener.bind {
            let Some(vip) = holder(config, address.ip()) else { continue };
            let Some(here) = place(reader, Noun::Listener, name) else { continue };
            let any = if address.is_ipv4() { "0.0.0.0" } else { "[::]" };
            let message = format!(
                "`listener.{name}` cannot listen on {address} while another machine has `vip.{vip}`"
            );
            reader.report(
                Diagnostic::warning("address-moves", message)
                    .at(reader.locate(here))
                    .about(format!("listener.{name}.bind"))
                    .help(format!(
                        "write \"{any}:{}\", which serves it whenever it is here",
                        address.port()
                    )),
            );
        }
    }
}

fn warn_heartbeats(reader: &Reader<'_>, config: &Config) {
    let warning = |code, about: &str, message: String, help: &str| {
        reader.report(
            Diagnostic::warning(code, message)
                .in_file(&reader.texts[0].name)
                .about(about)
                .help(help),
        );
    };
    if !config.peers.is_empty() && config.heartbeat.secret.is_none() {
        let port = config.heartbeat.policy.port;
        let message = format!(
            "heartbeats are not sealed: whoever can send to UDP port {port} can speak for a peer"
        );
        let help = "write `secret = \"${file:/etc/evergate/heartbeat}\"` in `[heartbeat]`, the same \
             on all machines";
        warning("open-heartbeats", "heartbeat.secret", message, help);
    }
    if config.vips.is_empty() && !config.peers.is_empty() {
        let message = "there are peers but no `[vip.NAME]` that could move to them".to_owned();
        warning("unused", "peer", message, "add a virtual address, or remove them");
    }
}
