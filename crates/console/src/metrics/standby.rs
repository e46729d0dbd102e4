//! Samples of virtual addresses and of other nodes.

use evergate_control::snapshot::{PathStatus, Stats, VipCountsStatus, VipStatus};

use super::text::Samples;
use super::{Metric, counter, gauge};

/// Every role of a virtual address, as `VipStatus` names them.
const ROLES: [&str; 4] = ["init", "backup", "master", "fault"];
/// Every state of a peer, as `PeerStatus` names them.
const STATES: [&str; 4] = ["alive", "link dead", "host dead", "unknown"];

/// Every metric of them.
pub(super) const METRICS: &[Metric] = &[
    gauge("evergate_vrrp_state", "Role of a virtual address on this node.", roles),
    gauge(
        "evergate_vrrp_priority",
        "Priority in force; 0 while it takes no part.",
        |stats, out| {
            each(stats, out, |vip| vip.effective_priority.into());
        },
    ),
    gauge("evergate_vrrp_epoch", "Newest mastership known, over all nodes.", |stats, out| {
        each(stats, out, |vip| vip.epoch);
    }),
    gauge(
        "evergate_vrrp_split",
        "Whether another master is heard or seen while this node is one.",
        |stats, out| each(stats, out, |vip| u64::from(vip.rival.is_some())),
    ),
    counter("evergate_vrrp_splits_total", "Splits that were noticed.", |stats, out| {
        count(stats, out, |counts| counts.splits);
    }),
    counter("evergate_vrrp_transitions_total", "Changes of role.", |stats, out| {
        count(stats, out, |counts| counts.turns);
    }),
    counter("evergate_vrrp_adverts_sent_total", "Adverts sent.", |stats, out| {
        count(stats, out, |counts| counts.sent);
    }),
    counter(
        "evergate_vrrp_adverts_unsent_total",
        "Adverts that could not be sent.",
        |stats, out| {
            count(stats, out, |counts| counts.send_failures);
        },
    ),
    counter("evergate_vrrp_adverts_received_total", "Adverts in order.", |stats, out| {
        count(stats, out, |counts| counts.heard);
    }),
    counter("evergate_vrrp_adverts_refused_total", "Adverts refused, by reason.", refused),
    counter(
        "evergate_vrrp_announcements_total",
        "Announcements by ARP and neighbour discovery.",
        |stats, out| count(stats, out, |counts| counts.announced),
    ),
    gauge("evergate_vip_address_present", "Whether an address is here.", addresses),
    counter(
        "evergate_vip_address_put_back_total",
        "How often an address was put back that something else had removed.",
        |stats, out| count(stats, out, |counts| counts.put_back),
    ),
    gauge("evergate_vip_tracked_failed", "Whether what is tracked fails.", tracked),
    counter(
        "evergate_vip_hooks_failed_total",
        "Hooks that failed or were too slow.",
        |stats, out| {
            count(stats, out, |counts| counts.hooks_failed);
        },
    ),
    gauge("evergate_peer_state", "How another node is.", peers),
    gauge("evergate_peer_path_heard", "Whether heartbeats come in on a path.", |stats, out| {
        paths(stats, out, |path| u64::from(path.is_heard));
    }),
    counter("evergate_peer_heartbeats_total", "Heartbeats that came in.", |stats, out| {
        paths(stats, out, |path| path.received);
    }),
    counter("evergate_peer_heartbeats_lost_total", "Heartbeats known to be lost.", |stats, out| {
        paths(stats, out, |path| path.lost);
    }),
    counter("evergate_peer_heartbeats_refused_total", "Heartbeats refused.", |stats, out| {
        paths(stats, out, |path| path.refused);
    }),
    gauge("evergate_maintenance", "Whether the node is out of service by order.", |stats, out| {
        out.put(&[], u64::from(stats.is_in_maintenance));
    }),
    gauge(
        "evergate_keeper_timer_lateness_seconds",
        "How late timers of the keeper were in the last ten seconds: the worst.",
        |stats, out| out.put(&[], stats.timer_lateness_us as f64 / 1e6),
    ),
];

/// 1 for the role that each virtual address has, 0 for the others.
fn roles(stats: &Stats, out: &mut Samples<'_>) {
    for vip in &stats.vips {
        for role in ROLES {
            out.put(&[("vip", &vip.name), ("state", role)], u64::from(vip.role == role));
        }
    }
}

/// A number of each virtual address.
fn each(stats: &Stats, out: &mut Samples<'_>, number: impl Fn(&VipStatus) -> u64) {
    for vip in &stats.vips {
        out.put(&[("vip", &vip.name)], number(vip));
    }
}

/// A count of each virtual address.
fn count(stats: &Stats, out: &mut Samples<'_>, number: impl Fn(&VipCountsStatus) -> u64) {
    each(stats, out, |vip| number(&vip.counts));
}

/// Adverts that were refused: forged or of another key, and for every other reason.
fn refused(stats: &Stats, out: &mut Samples<'_>) {
    for vip in &stats.vips {
        let counts = &vip.counts;
        out.put(&[("vip", &vip.name), ("reason", "auth")], counts.refused_auth);
        out.put(&[("vip", &vip.name), ("reason", "form")], counts.refused);
    }
}

/// Whether each address is on its interface.
fn addresses(stats: &Stats, out: &mut Samples<'_>) {
    for vip in &stats.vips {
        for one in &vip.addresses {
            out.put(&[("vip", &vip.name), ("address", &one.address)], u64::from(one.is_here));
        }
    }
}

/// Whether each thing that is tracked fails.
fn tracked(stats: &Stats, out: &mut Samples<'_>) {
    for vip in &stats.vips {
        for one in &vip.tracked {
            let labels = [("vip", &*vip.name), ("subject", &one.subject)];
            out.put(&labels, u64::from(one.failure.is_some()));
        }
    }
}

/// 1 for the state that each peer has, 0 for the others.
fn peers(stats: &Stats, out: &mut Samples<'_>) {
    for peer in &stats.peers {
        for state in STATES {
            out.put(&[("peer", &peer.name), ("state", state)], u64::from(peer.state == state));
        }
    }
}

/// A number of each path to a peer.
fn paths(stats: &Stats, out: &mut Samples<'_>, number: impl Fn(&PathStatus) -> u64) {
    for peer in &stats.peers {
        for path in &peer.paths {
            out.put(&[("peer", &peer.name), ("address", &path.address)], number(path));
        }
    }
}
