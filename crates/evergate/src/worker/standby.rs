//! Virtual addresses and other machines: what the keeper is to do about them.

use evergate_config::{self as config, Config, Secret};
use evergate_control::link::{Key, Standby, Vip, VipAuth, VipChecksum};
use evergate_core::peer;
use evergate_core::standby::{Plan, RouterKey, Setup};

mod evidence;
mod shown;
mod verdicts;

pub(super) use evidence::Evidence;
pub(super) use shown::{peers, troubles, vips};
pub(super) use verdicts::Verdicts;

/// What tells virtual routers of IPv6 from those of IPv4 with the same VRID.
const V6: u16 = 256;

/// Every virtual address of `config`, and the machines that it may move to.
pub(super) fn desired(config: &Config) -> Standby {
    let routers = config.vips.iter().map(|(name, vip)| Setup {
        key: key(vip),
        name: name.clone(),
        policy: vip.policy,
        sync: vip.sync.clone(),
        track: vip.track.clone(),
        drain: Some(vip.drain),
    });
    let peers = config.peers.iter();
    let peers: Vec<_> = peers
        .map(|(name, peer)| peer::Setup { name: name.clone(), addresses: peer.addresses.clone() })
        .collect();
    let heartbeat = (!peers.is_empty()).then_some(config.heartbeat.policy);
    Standby {
        node: config.node.name.clone(),
        plan: Plan { routers: routers.collect(), peers, heartbeat, node: config.node.name.clone() },
        vips: config.vips.values().map(desired_vip).collect(),
        secret: config.heartbeat.secret.as_ref().map(hidden),
    }
}

/// What names a virtual router.
fn key(vip: &config::Vip) -> RouterKey {
    RouterKey(u16::from(vip.policy.router_id) + if vip.is_v6() { V6 } else { 0 })
}

fn desired_vip(vip: &config::Vip) -> Vip {
    let config::Vip {
        addresses,
        interface,
        policy: _,
        peers,
        auth,
        checksum,
        track: _,
        on_change,
        on_change_timeout,
        sync: _,
        drain: _,
    } = vip;
    Vip {
        key: key(vip),
        addresses: addresses.iter().map(|net| (net.addr(), net.prefix_len())).collect(),
        interface: interface.clone(),
        peers: peers.clone(),
        auth: match auth {
            config::VipAuth::None => VipAuth::None,
            config::VipAuth::Pass(secret) => VipAuth::Password(hidden(secret)),
            config::VipAuth::Hmac(secret) => VipAuth::Hmac(hidden(secret)),
        },
        checksum: match checksum {
            config::VipChecksum::Auto => VipChecksum::Auto,
            config::VipChecksum::Message => VipChecksum::Message,
            config::VipChecksum::PseudoHeader => VipChecksum::PseudoHeader,
        },
        hooks: on_change
            .iter()
            .map(|program| vec![program.to_string_lossy().into_owned()])
            .collect(),
        hook_within: *on_change_timeout,
    }
}

fn hidden(secret: &Secret) -> Key {
    Key::new(secret.expose().as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evergate_core::track::{Effect, Rule, Subject};
    use evergate_core::vrrp::Version;

    use super::*;
    use crate::worker::apps::tests::config;

    #[test]
    fn every_key_of_a_virtual_address_reaches_the_keeper() {
        let standby = desired(&config(
            "[node]\nname = \"edge-a\"\n\
             [vip.web]\naddress = [\"10.0.0.100/24\"]\ninterface = \"eth0\"\nrouter_id = 51\n\
             version = 2\npeers = [\"10.0.0.12\"]\nauth.pass = \"hush\"\n\
             on_change = [\"/bin/notify\"]\non_change_timeout = \"3s\"\nsync = \"pair\"\ndrain = \"90s\"\n\
             track = { listener.web = \"fault\" }\n\
             [vip.web6]\naddress = [\"fe80::100/64\", \"fd00::100/64\"]\ninterface = \"eth0\"\n\
             router_id = 51\nauth.hmac = \"hush-hush-hush-hush\"\nsync = \"pair\"\n\
             [heartbeat]\nport = 7000\nsecret = \"hush-hush-hush-hush\"\n\
             [peer.edge-b]\naddresses = [\"10.0.0.12\"]\n",
        ));
        assert_eq!(standby.node, "edge-a");
        let [web, web6] = &standby.plan.routers[..] else { panic!("there are two") };
        assert_eq!((web.key, web6.key), (RouterKey(51), RouterKey(51 + V6)));
        assert_eq!((web.name.as_str(), web.sync.as_deref()), ("web", Some("pair")));
        assert_eq!(
            (web.policy.version, web.policy.interval),
            (Version::V2, Duration::from_secs(1))
        );
        let rule = Rule {
            subject: Subject::Listener("web".to_owned()),
            effect: Effect::Fault,
            fall: Duration::ZERO,
            rise: Duration::from_secs(1),
        };
        assert_eq!(web.track, [rule]);
        let drains = [web.drain, web6.drain].map(|drain| drain.map(|drain| drain.as_secs()));
        assert_eq!(drains, [Some(90), Some(600)]);
        let [vip, vip6] = &standby.vips[..] else { panic!("there are two") };
        assert_eq!((vip.key, vip6.key), (web.key, web6.key));
        assert_eq!(vip.addresses, [("10.0.0.100".parse().unwrap(), 24)]);
        assert_eq!(vip.auth, VipAuth::Password(Key::new(b"hush".to_vec())));
        assert_eq!(vip6.auth, VipAuth::Hmac(Key::new(b"hush-hush-hush-hush".to_vec())));
        assert_eq!(vip.hooks, [["/bin/notify"]]);
        assert_eq!(vip.hook_within, Duration::from_secs(3));
        assert_eq!((vip.interface.as_str(), vip.peers.len()), ("eth0", 1));
        assert_eq!(standby.plan.peers[0].name, "edge-b");
        assert_eq!(standby.plan.heartbeat.map(|policy| policy.port), Some(7000));
        assert_eq!(standby.secret, Some(Key::new(b"hush-hush-hush-hush".to_vec())));
        assert!(!format!("{standby:?}").contains("hush"));
    }

    #[test]
    fn without_peers_there_are_no_heartbeats() {
        let standby = desired(&config(""));
        let plan = Plan { node: standby.node, ..Plan::default() };
        assert_eq!((standby.plan, standby.vips.len()), (plan, 0));
    }
}
