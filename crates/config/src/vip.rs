//! `[vip.NAME]`: addresses that move between machines.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use evergate_core::handover::PASS_MAX;
use evergate_core::vrrp::{PRIORITY_OWNER, Policy, Version};
use ipnet::IpNet;

use crate::diagnostic::Diagnostic;
use crate::keys::{Absent, Key, Kind, key, words};
use crate::model::{Secret, Vip, VipAuth, VipChecksum};
use crate::peer::{distinct, warn_if_short};
use crate::reader::{Fault, Section};
use crate::{duration, node, peer, presence, track};

/// Most addresses of one virtual router, so that an advert fits any link.
pub(crate) const ADDRESSES_MAX: usize = 20;
/// Most machines that adverts are sent to.
pub(crate) const PEERS_MAX: usize = 16;
/// Most programs that are called when a role changes.
const HOOKS_MAX: usize = 8;
/// Bytes of a password of version 2 (RFC 2338 section 5.3.10).
const PASS_BYTES_MAX: usize = 8;
/// Longest delay before a claim.
pub(crate) const DELAY_MAX: Duration = Duration::from_secs(3600);
/// In what version 3 counts its intervals (RFC 9568 section 5.2.7).
const CENTISECOND: Duration = Duration::from_millis(10);
/// Longest interval of version 3: 4095 centiseconds.
const V3_INTERVAL_MAX: Duration = Duration::from_millis(40_950);
/// Interval of version 3, if none is written.
const V3_INTERVAL: Duration = Duration::from_millis(30);
/// Longest interval of version 2, and the shortest one: whole seconds (RFC 3768 section 5.3.7).
const V2_INTERVAL_MAX: Duration = Duration::from_secs(255);
const V2_INTERVAL: Duration = Duration::from_secs(1);
/// Longest time between two refreshes.
pub(crate) const REFRESH_MAX: Duration = Duration::from_secs(86_400);
/// Most announcements after a claim.
pub(crate) const REPEAT_MAX: u64 = 20;
/// Shortest time for connections after a move: until the network has turned, and all that is done has
/// ended.
const DRAIN_MIN: Duration = Duration::from_secs(1);
/// Longest time that a hook may take.
const HOOK_MAX: Duration = Duration::from_secs(600);

/// `checksum`
pub(crate) const CHECKSUMS: [(&str, VipChecksum); 3] = [
    ("auto", VipChecksum::Auto),
    ("message", VipChecksum::Message),
    ("pseudo-header", VipChecksum::PseudoHeader),
];

/// `[vip.NAME]`
pub(crate) static KEYS: &[Key] = &[
    key(
        "address",
        Kind::List(&Kind::Prefixed),
        Absent::Error,
        "The addresses, all IPv4 or all IPv6; of IPv6 ones the first should be link-local.",
    )
    .example("[\"10.0.0.100/24\"]"),
    key("interface", Kind::Text, Absent::Error, "Where they are put, and adverts sent.")
        .example("\"eth0\""),
    key(
        "router_id",
        Kind::Number(1, 255),
        Absent::Error,
        "VRID: the same on all machines, and no other virtual router's in this network.",
    )
    .example("51"),
    key(
        "priority",
        Kind::Number(1, 254),
        Absent::Is("254"),
        "The greatest has the address. 255 would say that the address is this machine's own for ever, \
         so it could not be given up.",
    ),
    key(
        "interval",
        Kind::Duration,
        Absent::Means("`\"30ms\"`; `\"1s\"` with version 2"),
        "Time between adverts: steps of 10 ms up to 40.95 s; with version 2 whole seconds up to 255.",
    )
    .example("\"1s\""),
    key("version", Kind::NumberOf(&[3, 2]), Absent::Is("3"), "Version of VRRP; 2 is IPv4 only."),
    key(
        "peers",
        Kind::List(&Kind::Ip),
        Absent::Means("adverts go to all by multicast"),
        "Machines that adverts are sent to instead, where there is no multicast.",
    )
    .example("[\"10.0.0.12\"]"),
    key(
        "auth",
        Kind::Table(AUTH),
        Absent::Means("adverts are believed as they are"),
        "How adverts are told from forged ones; exactly one of these keys.",
    )
    .example("{ hmac = \"${file:/etc/evergate/vrrp}\" }"),
    key(
        "checksum",
        Kind::Choice(&words(&CHECKSUMS)),
        Absent::Is("auto"),
        "What the checksum of version 3 over IPv4 covers: the message (RFC 9568), a pseudo-header too \
         (keepalived), or what others were heard to send. Both are understood.",
    ),
    key(
        "preempt",
        Kind::Flag,
        Absent::Is("false"),
        "Whether the address is taken from a machine of lower priority that holds it.",
    ),
    key(
        "preempt_delay",
        Kind::Delay,
        Absent::Is("5s"),
        "How long this machine must have been well before it does that.",
    ),
    key(
        "startup_delay",
        Kind::Delay,
        Absent::Is("0s"),
        "How long after its start it claims nothing by itself.",
    ),
    key(
        "track",
        Kind::Table(track::KEYS),
        Absent::Means("nothing but its interface"),
        "What this machine must have to be worth the address.",
    )
    .example("{ pool = { api = \"fault\" } }"),
    key(
        "announce",
        Kind::Table(ANNOUNCE),
        Absent::Means("the defaults below"),
        "How the network is told where the address is (ARP, neighbour discovery).",
    )
    .example("{ repeat = 5, refresh = \"60s\" }"),
    key(
        "on_change",
        Kind::List(&Kind::Path),
        Absent::Means("none"),
        "Programs called, one after the other, whenever its role changes.",
    )
    .example("[\"/etc/evergate/notify\"]"),
    key("on_change_timeout", Kind::Duration, Absent::Is("10s"), "How long such a program may take."),
    key(
        "sync",
        Kind::Text,
        Absent::Means("it moves alone"),
        "Those with the same word move together.",
    )
    .example("\"pair\""),
    key(
        "drain",
        Kind::Duration,
        Absent::Is("10m"),
        "How long connections that are open here may go on once it has moved as planned, from 1 s to \
         1 h; a route's `drain_timeout` may be shorter, and whoever wants another move leaves them \
         10 s.",
    ),
];

/// `auth`
static AUTH: &[Key] = &[
    key(
        "pass",
        Kind::Secret,
        Absent::Means("none"),
        "Password of version 2, up to 8 letters, sent in clear text: it keeps mistakes out, nobody \
         else.",
    ),
    key(
        "hmac",
        Kind::Secret,
        Absent::Means("none"),
        "Secret of version 3: adverts get an HMAC-SHA-256 trailer, as keepalived's `auth_hmac`.",
    ),
];

/// `announce`
static ANNOUNCE: &[Key] = &[
    key(
        "repeat",
        Kind::Number(1, REPEAT_MAX),
        Absent::Is("5"),
        "How often it is told after a claim.",
    ),
    key(
        "refresh",
        Kind::Delay,
        Absent::Is("60s"),
        "How often it is told again while nothing changes; `\"0s\"` is never.",
    ),
];

/// Decodes one virtual router; nothing if it is too wrong to be compared with others.
pub(crate) fn decode(section: &Section<'_>) -> Option<Vip> {
    let version = match section.number::<u64>("version") {
        2 => Version::V2,
        _ => Version::V3,
    };
    let addresses = addresses(section);
    let interface = section.parsed("interface", track::interface);
    let track = section.section_or_empty("track");
    let track = track::decode(&track, interface.as_deref().unwrap_or_default());
    let announce = section.section_or_empty("announce");
    let refresh =
        announce.parsed_or_default("refresh", duration::between(Duration::ZERO, REFRESH_MAX));
    let delay =
        |name| section.parsed_or_default(name, duration::between(Duration::ZERO, DELAY_MAX));
    let policy = Policy {
        version,
        router_id: section.number_if_written("router_id").unwrap_or_default(),
        priority: priority(section),
        interval: interval(section, version),
        preempt: section.flag("preempt"),
        preempt_delay: delay("preempt_delay"),
        startup_delay: delay("startup_delay"),
        announce_repeat: announce.number("repeat"),
        announce_refresh: Some(refresh).filter(|refresh| !refresh.is_zero()),
    };
    let vip = Vip {
        peers: peers(section, &addresses),
        addresses,
        interface: interface.unwrap_or_default(),
        policy,
        auth: auth(section, version),
        checksum: section.choice("checksum", &CHECKSUMS),
        track,
        on_change: hooks(section),
        on_change_timeout: section.parsed_or_default(
            "on_change_timeout",
            duration::between(Duration::from_millis(1), HOOK_MAX),
        ),
        sync: section.parsed("sync", node::not_empty),
        drain: section.parsed_or_default("drain", duration::between(DRAIN_MIN, PASS_MAX)),
    };
    check_version(section, &vip);
    let is_whole = !vip.addresses.is_empty() && policy.router_id > 0;
    is_whole.then_some(vip)
}

fn addresses(section: &Section<'_>) -> Vec<IpNet> {
    let addresses = distinct(section, "address", ADDRESSES_MAX, prefixed);
    let is_v6 = |net: &IpNet| net.addr().is_ipv6();
    if addresses.iter().any(is_v6)
        && addresses.iter().any(|net| !is_v6(net))
        && let Some(value) = section.get("address")
    {
        let message = format!("`{}` mixes IPv4 and IPv6", value.path);
        value.report(Diagnostic::error("mixed-families", message).help(
            "a virtual router has addresses of one family: make two `[vip.NAME]` with the same `sync`",
        ));
    }
    let is_local = |net: &IpNet| matches!(net.addr(), IpAddr::V6(ip) if ip.is_unicast_link_local());
    if addresses.first().is_some_and(|net| is_v6(net) && !is_local(net))
        && let Some(value) = section.get("address")
    {
        // RFC 9568 section 5.2.9.
        let message =
            format!("the first of `{}` is not link-local: other makes may refuse it", value.path);
        value.report(
            Diagnostic::warning("not-link-local", message)
                .help("put one before it, the same on all machines: \"fe80::100/64\""),
        );
    }
    addresses
}

/// An address with the length of its prefix.
pub(crate) fn prefixed(text: &str) -> Result<IpNet, Fault> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        let length = if ip.is_ipv4() { 24 } else { 64 };
        return Err(Fault::new("bad-address", "has no prefix length")
            .help(format!("write \"{ip}/{length}\" if its network has {length} bits")));
    }
    let Ok(net) = text.parse::<IpNet>() else {
        return Err(Fault::new("bad-address", "is not an address with the length of its prefix")
            .help("write \"10.0.0.100/24\" or \"fd00::100/64\""));
    };
    let ip = net.addr();
    let is_of_no_machine = ip.is_unspecified() || ip.is_multicast() || ip.is_loopback();
    if is_of_no_machine || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(Fault::new("bad-address", "cannot move between machines")
            .help("write an address of the network that both machines are in"));
    }
    if net.prefix_len() == 0 {
        return Err(Fault::new("bad-address", "says that every address there is is on this link")
            .help("write the length of its network's prefix behind it"));
    }
    let is_wide = net.max_prefix_len() - net.prefix_len() > 1;
    if ip.is_ipv4() && is_wide && (ip == net.network() || ip == net.broadcast()) {
        let complaint = format!("is no address of a machine in {}", net.trunc());
        return Err(Fault::new("bad-address", complaint)
            .help("the first and the last address of a network are for the network itself"));
    }
    Ok(net)
}

fn priority(section: &Section<'_>) -> u8 {
    let owner = i64::from(PRIORITY_OWNER);
    if let Some(value) = section.get("priority")
        && value.value.get_ref().as_integer().is_some_and(|written| {
            i64::from_str_radix(written.as_str(), written.radix()) == Ok(owner)
        })
    {
        let message = format!("`{}` of 255 is for an address that never moves", value.path);
        value.report(
            Diagnostic::error("out-of-range", message)
                .help("write 254: it wins as well, and the address can be given up"),
        );
        return PRIORITY_OWNER - 1;
    }
    section.number("priority")
}

fn interval(section: &Section<'_>, version: Version) -> Duration {
    let parse = |text: &str| {
        let interval = duration::positive(text)?;
        let (step, least, most, steps) = match version {
            Version::V2 => {
                (V2_INTERVAL, V2_INTERVAL, V2_INTERVAL_MAX, "whole seconds from 1s to 255s")
            }
            Version::V3 => {
                (CENTISECOND, CENTISECOND, V3_INTERVAL_MAX, "steps of 10ms up to 40.95s")
            }
        };
        let is_whole = interval.as_millis().is_multiple_of(step.as_millis());
        if is_whole && (least..=most).contains(&interval) {
            return Ok(interval);
        }
        let number = if version == Version::V2 { 2 } else { 3 };
        let complaint = format!("is no interval of VRRP version {number}");
        Err(Fault::new("bad-interval", complaint).help(format!("it has {steps}")))
    };
    let default = match version {
        Version::V2 => V2_INTERVAL,
        Version::V3 => V3_INTERVAL,
    };
    section.parsed("interval", parse).unwrap_or(default)
}

fn peers(section: &Section<'_>, addresses: &[IpNet]) -> Vec<IpAddr> {
    // An empty list is the default, written out.
    let is_default = section.get("peers").is_none_or(|value| value.is_empty_list());
    if is_default {
        return Vec::new();
    }
    let peers = distinct(section, "peers", PEERS_MAX, peer::machine);
    let Some(family) = addresses.first().map(IpNet::addr) else { return peers };
    for (item, peer) in section.items("peers").iter().zip(&peers) {
        if peer.is_ipv4() != family.is_ipv4() {
            let wanted = if family.is_ipv4() { "IPv4" } else { "IPv6" };
            let message = format!("{peer} is not of the family of `address`");
            item.report(
                Diagnostic::error("mixed-families", message)
                    .help(format!("adverts of {wanted} addresses go to {wanted} addresses")),
            );
        } else if addresses.iter().any(|net| net.addr() == *peer) {
            let message = format!("{peer} is a virtual address itself");
            item.report(
                Diagnostic::error("bad-address", message)
                    .help("name the machine's own address: the virtual one may be here"),
            );
        }
    }
    peers
}

fn hooks(section: &Section<'_>) -> Vec<PathBuf> {
    if !section.has("on_change") {
        return Vec::new();
    }
    let hooks = distinct(section, "on_change", HOOKS_MAX, program);
    presence::warn_of_hooks(section, &hooks);
    hooks
}

fn auth(section: &Section<'_>, version: Version) -> VipAuth {
    let Some(auth) = section.section("auth") else { return VipAuth::None };
    let pass = auth.parsed("pass", password);
    let hmac = auth.parsed("hmac", node::secret);
    warn_if_short(&auth, "hmac", hmac.as_ref());
    let refuse = |name: &str, message: String, help: &str| {
        if let Some(value) = auth.get(name) {
            value.report(Diagnostic::error("wrong-protocol", message).help(help));
        }
    };
    match (auth.has("pass"), auth.has("hmac"), version) {
        (true, true, _) => auth.fail(
            "no-kind",
            format!("`{}` has both `pass` and `hmac`", auth.path),
            "keep `pass` for version 2, `hmac` for version 3",
        ),
        (false, false, _) => auth.fail(
            "no-kind",
            format!("`{}` has neither `pass` nor `hmac`", auth.path),
            "write `hmac = \"${file:/etc/evergate/vrrp}\"`, or remove it",
        ),
        (true, false, Version::V3) => refuse(
            "pass",
            format!("`{}.pass` is for version 2: version 3 has no passwords", auth.path),
            "write `hmac`, or `version = 2` beside it",
        ),
        (false, true, Version::V2) => refuse(
            "hmac",
            format!("`{}.hmac` is for version 3", auth.path),
            "write `pass`, or remove `version = 2`",
        ),
        (true, false, Version::V2) | (false, true, Version::V3) => {}
    }
    match (pass, hmac) {
        (Some(pass), _) => VipAuth::Pass(pass),
        (None, Some(hmac)) => VipAuth::Hmac(hmac),
        (None, None) => VipAuth::None,
    }
}

/// A password of version 2.
fn password(text: &str) -> Result<Secret, Fault> {
    let secret = node::secret(text)?;
    if text.len() > PASS_BYTES_MAX {
        let complaint = format!("is longer than {PASS_BYTES_MAX} bytes");
        return Err(Fault::new("bad-secret", complaint));
    }
    Ok(secret)
}

/// A program by its absolute path.
fn program(text: &str) -> Result<PathBuf, Fault> {
    if text.contains(char::is_whitespace) && text.starts_with('/') {
        return Err(Fault::new("bad-command", "has spaces: it is called without arguments")
            .help("put the arguments into a script; what changed is told in its environment"));
    }
    node::directory(text)
}

/// What only one of the versions has.
fn check_version(section: &Section<'_>, vip: &Vip) {
    if vip.policy.version == Version::V2 && vip.is_v6() {
        section.fail(
            "wrong-protocol",
            format!("`{}` has IPv6 addresses, which version 2 of VRRP does not know", section.path),
            "remove `version = 2`",
        );
    }
    let has_choice = vip.policy.version == Version::V3 && !vip.is_v6();
    if let Some(value) =
        section.get("checksum").filter(|_| !has_choice && !vip.addresses.is_empty())
    {
        value.report(
            Diagnostic::warning("unused-key", format!("`{}` has no effect", value.path))
                .help("remove it: only version 3 over IPv4 has two checksums"),
        );
    }
}
