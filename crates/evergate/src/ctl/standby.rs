//! Virtual addresses and peers in `evergate status`.

use evergate_console::{when, words};
use evergate_control::snapshot::{PeerStatus, Status, VipStatus};

use super::screen::{Paint, Palette};
use super::table::{Table, plain};

/// A table of each, and whether the node is out of service; nothing without any.
pub(super) fn render(status: &Status, palette: Palette) -> String {
    let mut text = addresses(status, palette);
    for problem in &status.vip_problems {
        text.push_str(&palette.lines(Paint::Warn, "  ", problem));
    }
    if !status.vips.is_empty() && !status.peers.is_empty() {
        text.push('\n');
    }
    text.push_str(&peers(&status.peers).render(palette));
    text
}

/// The virtual addresses alone, and whether the node is out of service; nothing without any.
pub(super) fn addresses(status: &Status, palette: Palette) -> String {
    let mut text = String::new();
    if status.is_in_maintenance {
        let line = "in maintenance: this node takes no virtual address until `evergate \
                    maintenance off`";
        text.push_str(&palette.lines(Paint::Warn, "", line));
    }
    text.push_str(&vips(&status.vips).render(palette));
    text
}

fn vips(vips: &[VipStatus]) -> Table {
    let heads = ["vip", "addresses", "role", "since", "master", ">priority", ">epoch", "why"];
    let mut table = Table::new("", &heads);
    for vip in vips {
        let addresses: Vec<&str> = vip.addresses.iter().map(|one| one.address.as_str()).collect();
        let paint = match vip.role.as_str() {
            _ if vip.rival.is_some() => Paint::Bad,
            "master" | "backup" => Paint::Good,
            "fault" => Paint::Bad,
            _ => Paint::Warn,
        };
        table.row([
            plain(&vip.name),
            plain(format!("{} on {}", addresses.join(", "), vip.interface)),
            (paint, vip.role.clone()),
            plain(format!("{} UTC", when::utc(vip.since_ms))),
            plain(words::master(vip)),
            plain(words::priority(vip)),
            plain(vip.epoch),
            (Paint::Dim, words::role(vip)),
        ]);
    }
    table
}

fn peers(peers: &[PeerStatus]) -> Table {
    let mut table = Table::new("", &["peer", "state", "paths", "evidence", "it says"]);
    for peer in peers {
        let paint = match peer.state.as_str() {
            "alive" => Paint::Good,
            "host dead" => Paint::Bad,
            _ => Paint::Warn,
        };
        let paths: Vec<String> = peer.paths.iter().map(words::path).collect();
        table.row([
            plain(&peer.name),
            (paint, peer.state.clone()),
            plain(paths.join("; ")),
            (Paint::Dim, words::evidence(peer)),
            plain(words::claims(peer)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use evergate_control::snapshot::{PathStatus, VipAddressStatus, VipMaster};

    use super::*;

    #[test]
    fn a_pair_is_seen_at_a_glance() {
        let vip = VipStatus {
            name: "web".into(),
            interface: "eth0".into(),
            addresses: vec![VipAddressStatus { address: "10.0.0.100/24".into(), is_here: false }],
            role: "backup".into(),
            reason: "10.0.0.11 is master".into(),
            since_ms: 0,
            epoch: 12,
            priority: 253,
            effective_priority: 253,
            master: Some(VipMaster { address: "10.0.0.11".into(), priority: 254 }),
            ..VipStatus::default()
        };
        let heard = PathStatus {
            address: "10.0.0.11".into(),
            is_heard: true,
            hears_us: true,
            ..PathStatus::default()
        };
        let peer = PeerStatus {
            name: "edge-a".into(),
            state: "alive".into(),
            paths: vec![heard],
            evidence: vec![],
            roles: vec![("web".into(), "master".into())],
        };
        let status = Status { vips: vec![vip], peers: vec![peer], ..Status::default() };
        let text = render(&status, Palette::Plain);
        for words in [
            "10.0.0.100/24 on eth0  backup",
            "10.0.0.11 (254)",
            "edge-a  alive  10.0.0.11 heard, hears us",
            "web master",
        ] {
            assert!(text.contains(words), "no {words} in\n{text}");
        }
        assert_eq!(render(&Status::default(), Palette::Plain), "");
        let out = Status { is_in_maintenance: true, ..Status::default() };
        assert!(render(&out, Palette::Plain).contains("evergate maintenance off"));
    }
}
