//! Virtual addresses and other machines in the effective configuration.

use std::time::Duration;

use evergate_core::track::{Effect, Rule, Subject};
use evergate_core::vrrp::Version;

use super::{HIDDEN, Line, list, named, path, table, text, text_of, time, word};
use crate::model::{Heartbeat, Peer, Vip, VipAuth};
use crate::vip::CHECKSUMS;

/// `[vip.NAME]`
pub(super) fn vip_keys(vip: &Vip) -> Vec<Line> {
    let Vip {
        addresses,
        interface,
        policy,
        peers,
        auth,
        checksum,
        track,
        on_change,
        on_change_timeout,
        sync,
        drain,
    } = vip;
    let version = match policy.version {
        Version::V2 => "2",
        Version::V3 => "3",
    };
    let mut lines = vec![
        ("address", list(addresses.iter().map(text_of))),
        ("interface", text(interface)),
        ("router_id", policy.router_id.to_string()),
        ("priority", policy.priority.to_string()),
        ("interval", time(policy.interval)),
        ("version", version.to_owned()),
        ("peers", list(peers.iter().map(text_of))),
    ];
    let auth = match auth {
        VipAuth::None => None,
        VipAuth::Pass(_) => Some("pass"),
        VipAuth::Hmac(_) => Some("hmac"),
    };
    lines.extend(auth.map(|kind| ("auth", table(&[(kind, HIDDEN.to_owned())]))));
    if policy.version == Version::V3 && !vip.is_v6() {
        lines.push(("checksum", word(&CHECKSUMS, *checksum)));
    }
    let refresh = policy.announce_refresh.unwrap_or(Duration::ZERO);
    let announce = [("repeat", policy.announce_repeat.to_string()), ("refresh", time(refresh))];
    lines.extend([
        ("preempt", policy.preempt.to_string()),
        ("preempt_delay", time(policy.preempt_delay)),
        ("startup_delay", time(policy.startup_delay)),
        ("announce", table(&announce)),
    ]);
    if !track.is_empty() {
        lines.push(("track", track_table(track)));
    }
    if !on_change.is_empty() {
        lines.push(("on_change", list(on_change.iter().map(|program| path(program)))));
    }
    lines.push(("on_change_timeout", time(*on_change_timeout)));
    lines.extend(sync.iter().map(|sync| ("sync", text(sync))));
    lines.push(("drain", time(*drain)));
    lines
}

fn track_table(rules: &[Rule]) -> String {
    let (mut listeners, mut pools, mut apps, mut links) = (vec![], vec![], vec![], vec![]);
    let mut gateway = None;
    for rule in rules {
        let one = |name: &str| (name.to_owned(), effect_table(rule));
        match &rule.subject {
            Subject::Listener(name) => listeners.push(one(name)),
            Subject::Pool(name) => pools.push(one(name)),
            Subject::App(name) => apps.push(one(name)),
            Subject::Link(name) => links.push(one(name)),
            Subject::Gateway(ip) => {
                let mut lines = vec![("ping", text_of(ip))];
                match rule.effect {
                    Effect::Fault => {}
                    Effect::Weight(weight) => lines.push(("weight", weight.to_string())),
                }
                lines.extend(doubts(rule));
                gateway = Some(table(&lines));
            }
        }
    }
    let kinds = [("listener", listeners), ("pool", pools), ("app", apps), ("link", links)];
    let kinds = kinds.into_iter().filter(|(_, entries)| !entries.is_empty());
    let mut lines: Vec<Line> =
        kinds.map(|(kind, entries)| (kind, named(entries.into_iter()))).collect();
    lines.extend(gateway.map(|gateway| ("gateway", gateway)));
    table(&lines)
}

fn effect_table(rule: &Rule) -> String {
    let effect = match rule.effect {
        Effect::Fault => text("fault"),
        Effect::Weight(weight) => weight.to_string(),
    };
    let mut lines = vec![("effect", effect)];
    lines.extend(doubts(rule));
    table(&lines)
}

fn doubts(rule: &Rule) -> [Line; 2] {
    [("fall", time(rule.fall)), ("rise", time(rule.rise))]
}

/// `[heartbeat]`
pub(super) fn heartbeat_keys(Heartbeat { policy, secret }: &Heartbeat) -> Vec<Line> {
    let mut lines = vec![
        ("port", policy.port.to_string()),
        ("interval", time(policy.interval)),
        ("missing", policy.missing.to_string()),
    ];
    lines.extend(secret.iter().map(|_| ("secret", HIDDEN.to_owned())));
    lines
}

/// `[peer.NAME]`
pub(super) fn peer_keys(Peer { addresses, tcp, http }: &Peer) -> Vec<Line> {
    let mut lines = vec![("addresses", list(addresses.iter().map(text_of)))];
    if !tcp.is_empty() {
        lines.push(("tcp", list(tcp.iter().map(text_of))));
    }
    if !http.is_empty() {
        lines.push(("http", list(http.iter().map(text_of))));
    }
    lines
}
