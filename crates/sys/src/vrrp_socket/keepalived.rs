//! What keepalived sends, if it is installed: its envelopes and announcements as they arrive here.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{MESSAGE_BYTES_MAX, VrrpSocket, group};
use crate::family::Family;
use crate::namespace::lab::{Far, Patience, alone, await_readable, index, ip};
use crate::neighbour::{Claim, ClaimWatch, Manner};
use crate::netlink::Netlink;
use crate::signal::{self, Signal};

/// A keepalived in the network of whoever starts it. Ends, with what it has put there, when dropped.
struct Keepalived {
    child: Child,
    folder: PathBuf,
}

impl Keepalived {
    fn is_installed() -> bool {
        let is_there =
            |program| Command::new(program).arg("--version").stderr(Stdio::null()).output().is_ok();
        ["keepalived", "setpriv"].into_iter().all(is_there)
    }

    fn start(name: &str, configuration: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("evergate-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("keepalived.conf");
        std::fs::write(&file, configuration).unwrap();
        let child = Command::new("setpriv")
            // Ends with a test that fails, too.
            .args(["--pdeathsig", "TERM", "keepalived"])
            // In the foreground, quiet, VRRP only, with files of its own.
            .args(["-n", "-G", "-P", "-f"])
            .arg(&file)
            .arg("-p")
            .arg(folder.join("parent.pid"))
            .arg("-r")
            .arg(folder.join("vrrp.pid"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, folder }
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        // It ends its children itself.
        let _ = signal::send(self.child.id(), Signal::Terminate);
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn configuration(version: u8, vip: &str) -> String {
    let interval = if version == 2 { "1" } else { "0.1" };
    format!(
        "global_defs {{\n vrrp_version {version}\n}}\n\
         vrrp_instance test {{\n state MASTER\n interface far\n virtual_router_id 51\n \
         priority 150\n advert_int {interval}\n virtual_ipaddress {{\n {vip}\n }}\n}}\n"
    )
}

/// Hears an advert and an announcement of a keepalived with this configuration, and its end.
fn hear(version: u8, [near, far]: [&'static str; 2], prefix: u8, vip: &'static str) {
    if !Keepalived::is_installed() {
        eprintln!("skipped: no keepalived");
        return;
    }
    let family = Family::of(vip.parse().unwrap());
    let (end, is_over) = std::sync::mpsc::channel::<()>();
    let (tell_mac, mac) = std::sync::mpsc::channel();
    let there = Far::start(move || {
        // No other address that could be spoken from.
        ip("link set far addrgenmode none");
        ip(&format!("addr add {far}/{prefix} dev far nodad"));
        ip("link set far up");
        let links = Netlink::open().unwrap().links().unwrap();
        tell_mac.send(links.iter().find(|link| link.name == "far").unwrap().mac.unwrap()).unwrap();
        let name = format!("keepalived-{version}-{prefix}");
        let keepalived = Keepalived::start(&name, &configuration(version, vip));
        let _ = is_over.recv();
        drop(keepalived);
    });
    ip(&format!("addr add {near}/{prefix} dev near nodad"));
    let socket = VrrpSocket::open(index("near"), family).unwrap();
    socket.listen_to(&[51]).unwrap();
    let watch = ClaimWatch::open(index("near"), family).unwrap();
    watch.look_for(crate::mac::Mac([2, 0, 0, 0, 0, 9]), &[vip.parse().unwrap()]).unwrap();
    ip("link set near up");

    let priority = next_priority(&socket, version, far);
    assert_eq!(priority, 150);
    let claim = loop {
        await_readable(&watch);
        if let Some(claim) = watch.receive().unwrap() {
            break claim;
        }
    };
    let manner = match family {
        Family::V4 => Manner::ArpRequest,
        Family::V6 => Manner::NeighbourAdvertisement,
    };
    let mac = mac.recv().unwrap();
    assert_eq!(claim, Claim { address: vip.parse().unwrap(), mac, manner });

    drop(end);
    let patience = Patience::new();
    while next_priority(&socket, version, far) != 0 {
        patience.check();
    }
    there.join();
}

/// The priority of the next advert, which is in order.
fn next_priority(socket: &VrrpSocket, version: u8, far: &str) -> u8 {
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    loop {
        await_readable(socket);
        let Some(heard) = socket.receive(&mut buffer).unwrap() else { continue };
        assert_eq!(heard.source, far.parse::<IpAddr>().unwrap());
        assert_eq!((heard.destination, heard.hop_limit), (group(socket.family()), 255));
        assert_eq!(heard.message[..2], [version << 4 | 1, 51]);
        return heard.message[2];
    }
}

#[test]
fn version_2_arrives_as_it_is_meant_to() {
    alone(|| hear(2, ["10.77.0.11", "10.77.0.12"], 24, "10.77.0.100"));
}

#[test]
fn version_3_over_ipv4_arrives_as_it_is_meant_to() {
    alone(|| hear(3, ["10.77.0.11", "10.77.0.12"], 24, "10.77.0.100"));
}

#[test]
fn version_3_over_ipv6_arrives_as_it_is_meant_to() {
    alone(|| hear(3, ["fe80::11", "fe80::12"], 64, "fe80::100"));
}
