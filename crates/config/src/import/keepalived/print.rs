//! What was read, as TOML.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::globals::Globals;
use super::instance::{Draft, is_literal};
use super::tracking::effect;
use crate::duration;
use crate::effective::{key, list, named, text};

/// What to do about the speed of keepalived.
const KEEPALIVED_AS_PEER: &str = "# `version` and `interval` are for a keepalived as the peer. Once \
                                  every machine runs Evergate,\n# leave both out: the address then \
                                  moves within a tenth of a second.\n";
/// Of a file without what is carried.
const NOTHING: &str = "# There is no `vrrp_instance` with an address in it: nothing was carried.\n";

/// The whole configuration.
pub(super) fn toml(path: &Path, globals: &Globals, drafts: &[Draft]) -> String {
    let mut out = format!(
        "# Made from {} by `evergate import keepalived`, which also told what it could not carry.\n\
         # Read it, then ask `evergate check`.\n{}",
        harmless(&path.display().to_string()),
        if drafts.is_empty() { NOTHING } else { KEEPALIVED_AS_PEER }
    );
    let mut line = |text: String| writeln!(out, "{text}").expect("a String takes everything");
    let is_name =
        |name: &&String| !name.is_empty() && !name.contains(char::is_control) && is_literal(name);
    if let Some(node) = globals.node.as_ref().filter(is_name) {
        line("\n[node]".to_owned());
        line(format!("name = {} # each machine needs one of its own", text(node)));
    }
    // Several may have tracked the same.
    let mut proposed = BTreeSet::new();
    for draft in drafts {
        vip(draft, &mut proposed, &mut line);
    }
    out
}

fn vip<'d>(draft: &'d Draft, proposed: &mut BTreeSet<&'d [String]>, line: &mut impl FnMut(String)) {
    line(format!("\n[vip.{}]", draft.name));
    line(format!("address = {}", list(draft.addresses.iter().map(|net| text(&net.to_string())))));
    match &draft.interface {
        Some(interface) => line(format!("interface = {}", text(interface))),
        None => line("# interface = \"eth0\"".to_owned()),
    }
    match draft.router_id {
        Some(id) => line(format!("router_id = {id}")),
        None => line("# router_id = 51".to_owned()),
    }
    line(format!("priority = {}", draft.priority));
    line(format!("interval = {}", time(draft.interval)));
    line(format!("version = {}", draft.version));
    if !draft.peers.is_empty() {
        line(format!("peers = {}", list(draft.peers.iter().map(|ip| text(&ip.to_string())))));
    }
    if let Some((kind, secret)) = &draft.auth {
        line(format!("auth = {{ {kind} = {} }}", text(secret)));
    }
    if draft.checksum_of_message {
        line("checksum = \"message\"".to_owned());
    }
    line(format!("preempt = {}", draft.preempt));
    if draft.preempt {
        line(format!("preempt_delay = {}", time(draft.preempt_delay)));
    }
    if let Some(delay) = draft.startup_delay.filter(|delay| !delay.is_zero()) {
        line(format!("startup_delay = {}", time(delay)));
    }
    let repeat = draft.repeat.map(|repeat| ("repeat", repeat.to_string()));
    let refresh = draft.refresh.map(|refresh| ("refresh", time(refresh)));
    let announce: Vec<_> =
        repeat.into_iter().chain(refresh).map(|(key, value)| (key.to_owned(), value)).collect();
    if !announce.is_empty() {
        line(format!("announce = {}", named(announce.into_iter())));
    }
    if let Some(sync) = &draft.sync {
        line(format!("sync = {}", text(sync)));
    }
    hooks(draft, line);
    track(draft, proposed, line);
}

fn hooks(draft: &Draft, line: &mut impl FnMut(String)) {
    if draft.hooks.is_empty() {
        return;
    }
    line(String::new());
    for (keyword, program) in &draft.hooks {
        line(format!("# {keyword} was `{}`.", harmless(program)));
    }
    line("# Evergate calls one program for all changes, without arguments; it reads".to_owned());
    line("# EVERGATE_VIP, EVERGATE_ROLE, EVERGATE_EPOCH and EVERGATE_REASON:".to_owned());
    line("# on_change = [\"/etc/evergate/notify\"]".to_owned());
}

fn track<'d>(
    draft: &'d Draft,
    proposed: &mut BTreeSet<&'d [String]>,
    line: &mut impl FnMut(String),
) {
    if draft.links.is_empty() && draft.advice.is_empty() {
        return;
    }
    line(format!("\n[vip.{}.track]", draft.name));
    let links =
        draft.links.iter().map(|(name, weight)| format!("{} = {}", key(name), effect(*weight)));
    let links: Vec<_> = links.collect();
    if !links.is_empty() {
        line(format!("link = {{ {} }}", links.join(", ")));
    }
    let mut comment = |text: &String| line(format!("# {}", harmless(text)));
    for advice in &draft.advice {
        advice.track.iter().for_each(&mut comment);
    }
    for section in draft.advice.iter().map(|advice| &advice.section[..]) {
        if !section.is_empty() && proposed.insert(section) {
            comment(&String::new());
            section.iter().for_each(&mut comment);
        }
    }
}

/// Without what would end a comment.
fn harmless(text: &str) -> String {
    text.replace(char::is_control, "?")
}

fn time(time: Duration) -> String {
    text(&duration::show(time))
}
