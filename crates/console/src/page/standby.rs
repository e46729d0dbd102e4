//! Virtual addresses and the nodes that share them.

use std::fmt;

use evergate_control::snapshot::{PeerStatus, Status, VipStatus};

use super::Text;
use crate::{when, words};

pub(super) fn show(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    if status.vips.is_empty() && status.peers.is_empty() {
        return Ok(());
    }
    let maintenance =
        if status.is_in_maintenance { " <small><b>in maintenance</b></small>" } else { "" };
    write!(
        f,
        "<h2>Virtual addresses{maintenance}</h2>\n<div class=\"card\"><table>\
         <tr><th>name</th><th>addresses</th><th>role</th><th>why</th><th>master</th><th class=\"n\">priority</th>\
         <th class=\"n\">epoch</th></tr>\n"
    )?;
    for vip in &status.vips {
        row(f, vip)?;
    }
    f.write_str("</table></div>\n")?;
    for problem in &status.vip_problems {
        writeln!(f, "<p class=\"dim\">{}</p>", Text(problem))?;
    }
    peers(f, &status.peers)
}

fn row(f: &mut fmt::Formatter<'_>, vip: &VipStatus) -> fmt::Result {
    let addresses: Vec<&str> = vip.addresses.iter().map(|one| one.address.as_str()).collect();
    let class = match vip.role.as_str() {
        _ if vip.rival.is_some() => "bad",
        "master" | "backup" => "good",
        "fault" => "bad",
        _ => "warn",
    };
    writeln!(
        f,
        "<tr><td class=\"k\">{}</td><td class=\"dim mono\">{} on {}</td>\
         <td><span class=\"pill {class}\">{}</span> <span class=\"dim\">since {} UTC</span></td>\
         <td>{}</td><td data-l=\"master\">{}</td><td class=\"n\" data-l=\"priority\">{}</td>\
         <td class=\"n\" data-l=\"epoch\">{}</td></tr>",
        Text(&vip.name),
        Text(addresses.join(", ")),
        Text(&vip.interface),
        Text(&vip.role),
        when::utc(vip.since_ms),
        Text(words::role(vip)),
        Text(words::master(vip)),
        Text(words::priority(vip)),
        vip.epoch,
    )
}

fn peers(f: &mut fmt::Formatter<'_>, peers: &[PeerStatus]) -> fmt::Result {
    if peers.is_empty() {
        return Ok(());
    }
    f.write_str(
        "<h2>Peers</h2>\n<div class=\"card\"><table><tr><th>name</th><th>state</th>\
         <th>paths</th><th>evidence</th><th>it says</th></tr>\n",
    )?;
    for peer in peers {
        let class = match peer.state.as_str() {
            "alive" => "good",
            "host dead" => "bad",
            _ => "warn",
        };
        let paths: Vec<String> = peer.paths.iter().map(words::path).collect();
        writeln!(
            f,
            "<tr><td class=\"k\">{}</td><td><span class=\"pill {class}\">{}</span></td>\
             <td data-l=\"paths\">{}</td><td data-l=\"evidence\">{}</td>\
             <td data-l=\"it says\">{}</td></tr>",
            Text(&peer.name),
            Text(&peer.state),
            Text(paths.join("; ")),
            Text(words::evidence(peer)),
            Text(words::claims(peer)),
        )?;
    }
    f.write_str("</table></div>\n")
}
