//! Samples of virtual addresses and of other nodes.

use evergate_control::snapshot::{PathStatus, Stats, VipCountsStatus, VipStatus};

use super::text::Samples;

/// Every role of a virtual address, as `VipStatus` names them.
const ROLES: [&str; 4] = ["init", "backup", "master", "fault"];
/// Every state of a peer, as `PeerStatus` names them.
const STATES: [&str; 4] = ["alive", "link dead", "host dead", "unknown"];

/// 1 for the role that each virtual address has, 0 for the others.
pub(super) fn roles(stats: &Stats, out: &mut Samples<'_>) {
    for vip in &stats.vips {
        for role in ROLES {
            out.put(&[("vip", &vip.name), ("state", role)], u64::from(vip.role == role));
        }
    }
}

/// A number of each virtual address.
pub(super) fn each(stats: &Stats, out: &mut Samples<'_>, number: impl Fn(&VipStatus) -> u64) {
    for vip in &stats.vips {
        out.put(&[("vip", &vip.name)], number(vip));
    }
}

/// A count of each virtual address.
pub(super) fn count(
    stats: &Stats,
    out: &mut Samples<'_>,
    number: impl Fn(&VipCountsStatus) -> u64,
) {
    each(stats, out, |vip| number(&vip.counts));
}

/// Adverts that were refused: forged or of another key, and for every other reason.
pub(super) fn refused(stats: &Stats, out: &mut Samples<'_>) {
    for vip in &stats.vips {
        let counts = &vip.counts;
        out.put(&[("vip", &vip.name), ("reason", "auth")], counts.refused_auth);
        out.put(&[("vip", &vip.name), ("reason", "form")], counts.refused);
    }
}

/// Whether each address is on its interface.
pub(super) fn addresses(stats: &Stats, out: &mut Samples<'_>) {
    for vip in &stats.vips {
        for one in &vip.addresses {
            out.put(&[("vip", &vip.name), ("address", &one.address)], u64::from(one.is_here));
        }
    }
}

/// Whether each thing that is tracked fails.
pub(super) fn tracked(stats: &Stats, out: &mut Samples<'_>) {
    for vip in &stats.vips {
        for one in &vip.tracked {
            let labels = [("vip", &*vip.name), ("subject", &one.subject)];
            out.put(&labels, u64::from(one.failure.is_some()));
        }
    }
}

/// 1 for the state that each peer has, 0 for the others.
pub(super) fn peers(stats: &Stats, out: &mut Samples<'_>) {
    for peer in &stats.peers {
        for state in STATES {
            out.put(&[("peer", &peer.name), ("state", state)], u64::from(peer.state == state));
        }
    }
}

/// A number of each path to a peer.
pub(super) fn paths(stats: &Stats, out: &mut Samples<'_>, number: impl Fn(&PathStatus) -> u64) {
    for peer in &stats.peers {
        for path in &peer.paths {
            out.put(&[("peer", &peer.name), ("address", &path.address)], number(path));
        }
    }
}
