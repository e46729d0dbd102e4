//! Virtual addresses and other machines as the operator sees them.

use evergate_config::{self as config, Config};
use evergate_control::link::{StandbyNews, VipCounts, VipNews};
use evergate_control::snapshot::{
    Health, PathStatus, PeerStatus, TrackStatus, VipAddressStatus, VipCountsStatus, VipMaster,
    VipStatus,
};
use evergate_core::peer::{self, Claim, PathView};
use evergate_core::track::{Effect, Subject};
use evergate_core::vrrp::{Role, Version};

use super::evidence::Evidence;
use super::key;

/// Every virtual address of the configuration, in order of name, as the keeper says it is.
pub(in crate::worker) fn vips(config: &Config, news: &StandbyNews) -> Vec<VipStatus> {
    let shown = config.vips.iter().map(|(name, vip)| {
        let news = news.vips.iter().find(|news| news.view.name == *name);
        let configured = configured(name, vip);
        news.map_or(configured.clone(), |news| told(configured, vip, news))
    });
    shown.collect()
}

/// What the configuration says of one that the keeper has said nothing of yet.
fn configured(name: &str, vip: &config::Vip) -> VipStatus {
    VipStatus {
        name: name.to_owned(),
        router_id: vip.policy.router_id,
        version: match vip.policy.version {
            Version::V2 => 2,
            Version::V3 => 3,
        },
        interface: vip.interface.clone(),
        addresses: vip
            .addresses
            .iter()
            .map(|net| VipAddressStatus { address: net.to_string(), is_here: false })
            .collect(),
        role: Role::Init.word().to_owned(),
        reason: "the keeper has not told of it yet".to_owned(),
        priority: vip.policy.priority,
        interval_ms: u64::try_from(vip.policy.interval.as_millis()).unwrap_or(u64::MAX),
        tracked: vip.track.iter().map(|rule| tracked(vip, &rule.subject, None)).collect(),
        sync: vip.sync.clone(),
        ..VipStatus::default()
    }
}

fn told(configured: VipStatus, vip: &config::Vip, news: &VipNews) -> VipStatus {
    let view = &news.view;
    VipStatus {
        addresses: news
            .addresses
            .iter()
            .map(|(address, is_here)| VipAddressStatus {
                address: address.clone(),
                is_here: *is_here,
            })
            .collect(),
        role: view.role.word().to_owned(),
        since_ms: view.since_ms,
        reason: view.reason.clone(),
        epoch: view.epoch,
        effective_priority: view.priority,
        master: view
            .master
            .map(|(address, priority)| VipMaster { address: address.to_string(), priority }),
        tracked: news
            .tracked
            .iter()
            .map(|(subject, failure)| tracked(vip, subject, failure.clone()))
            .collect(),
        rival: view.rival.clone(),
        holding_back: view.holding_back.clone(),
        hooks_waiting: news.hooks_waiting,
        counts: counts(view.turns, view.splits, news.counts),
        ..configured
    }
}

fn tracked(vip: &config::Vip, subject: &Subject, failure: Option<String>) -> TrackStatus {
    let rule = vip.track.iter().find(|rule| rule.subject == *subject);
    let effect = match rule.map(|rule| rule.effect) {
        Some(Effect::Weight(0)) => "shown only".to_owned(),
        Some(Effect::Weight(weight)) => format!("{weight:+}"),
        // What is tracked without a rule is what no address can do without.
        Some(Effect::Fault) | None => "fault".to_owned(),
    };
    TrackStatus { subject: subject.to_string(), effect, failure }
}

fn counts(turns: u64, splits: u64, counts: VipCounts) -> VipCountsStatus {
    let VipCounts {
        sent,
        send_failures,
        heard,
        refused,
        refused_auth,
        announced,
        put_back,
        hooks_failed,
    } = counts;
    VipCountsStatus {
        turns,
        splits,
        sent,
        send_failures,
        heard,
        refused,
        refused_auth,
        announced,
        put_back,
        hooks_failed,
    }
}

/// Every other machine of the configuration, in order of name.
pub(in crate::worker) fn peers(
    config: &Config,
    news: &StandbyNews,
    evidence: &Evidence,
) -> Vec<PeerStatus> {
    let shown = config.peers.keys().map(|name| {
        let view = news.peers.iter().find(|view| view.name == *name);
        let health = view.map_or(peer::Health::Unknown, |view| view.health);
        PeerStatus {
            name: name.clone(),
            state: in_words(health).to_owned(),
            paths: view.map(|view| view.paths.iter().map(path).collect()).unwrap_or_default(),
            evidence: evidence.of(name),
            roles: view.map(|view| roles(config, &view.claims)).unwrap_or_default(),
        }
    });
    shown.collect()
}

const fn in_words(health: peer::Health) -> &'static str {
    match health {
        peer::Health::Unknown => "unknown",
        peer::Health::Alive => "alive",
        peer::Health::LinkDead => "link dead",
        peer::Health::HostDead => "host dead",
    }
}

fn path(view: &PathView) -> PathStatus {
    let PathView { address, is_heard, hears_us, since_ms, answers_echo, received, lost, refused } =
        *view;
    PathStatus {
        address: address.to_string(),
        is_heard,
        hears_us,
        since_ms,
        answers_echo,
        received,
        lost,
        refused,
    }
}

/// What a machine says of virtual addresses that we have too, by our names.
fn roles(config: &Config, claims: &[Claim]) -> Vec<(String, String)> {
    let named = config.vips.iter().filter_map(|(name, vip)| {
        let claim = claims.iter().find(|claim| claim.router == key(vip).0)?;
        Some((name.clone(), claim.role.word().to_owned()))
    });
    named.collect()
}

/// Whether an address is here, and one that it moves with on another machine.
fn is_apart(config: &Config, news: &StandbyNews, vip: &VipStatus) -> bool {
    let claims = || news.peers.iter().flat_map(|peer| &peer.claims);
    let is_elsewhere =
        |router| claims().any(|claim| claim.router == router && claim.role == Role::Master);
    let mut mates = config
        .vips
        .iter()
        .filter(|(name, mate)| vip.sync.is_some() && **name != vip.name && mate.sync == vip.sync);
    vip.role == Role::Master.word() && mates.any(|(_, mate)| is_elsewhere(key(mate).0))
}

/// What is wrong with virtual addresses, a line each, and how bad that is.
pub(in crate::worker) fn troubles(config: &Config, news: &StandbyNews) -> (Health, Vec<String>) {
    let mut troubles = Vec::new();
    for vip in vips(config, news) {
        let name = &vip.name;
        if let Some(rival) = &vip.rival {
            troubles.push(format!("vip.{name}: another machine claims it too: {rival}"));
        }
        if vip.role == Role::Fault.word() {
            troubles.push(format!("vip.{name}: fault: {}", vip.reason));
        }
        if let Some(why) = vip.holding_back.as_ref().filter(|_| is_apart(config, news, &vip)) {
            troubles.push(format!("vip.{name}: {why}"));
        }
    }
    // What a whole machine lacks, such as real-time priority, is no trouble of an address.
    let of_vips = news.problems.iter().filter(|problem| problem.starts_with("vip."));
    for problem in of_vips {
        let name = problem.split(':').next().unwrap_or_default();
        if !troubles.iter().any(|trouble| trouble.starts_with(&format!("{name}:"))) {
            troubles.push(problem.clone());
        }
    }
    let health = if troubles.is_empty() { Health::Healthy } else { Health::Degraded };
    (health, troubles)
}

#[cfg(test)]
mod tests {
    use evergate_core::standby::View;

    use super::*;
    use crate::worker::apps::tests::config;

    const TEXT: &str = "[vip.web]\naddress = [\"10.0.0.100/24\"]\ninterface = \"eth0\"\n\
        router_id = 51\nsync = \"pair\"\npreempt = true\n\
        track = { listener.web = \"fault\", gateway = { ping = \"10.0.0.1\", weight = -50 } }\n\
        [vip.old]\naddress = [\"10.0.1.100/24\"]\ninterface = \"eth1\"\nrouter_id = 52\n\
        version = 2\nsync = \"pair\"\n\
        [heartbeat]\nsecret = \"0123456789abcdef\"\n[peer.edge-b]\naddresses = [\"10.0.0.12\"]\n";

    fn news() -> StandbyNews {
        let view = View {
            key: evergate_core::standby::RouterKey(51),
            name: "web".to_owned(),
            role: Role::Master,
            priority: 204,
            epoch: 7,
            since_ms: 1000,
            reason: "nobody else was heard".to_owned(),
            master: Some(("10.0.0.11".parse().unwrap(), 204)),
            failures: Vec::new(),
            rival: None,
            holding_back: None,
            turns: 3,
            splits: 1,
        };
        let gateway = Subject::Gateway("10.0.0.1".parse().unwrap());
        let vip = VipNews {
            view,
            addresses: vec![("10.0.0.100/24".to_owned(), true)],
            counts: VipCounts { sent: 9, ..VipCounts::default() },
            hooks_waiting: 2,
            tracked: vec![(gateway, Some("no answer".to_owned()))],
        };
        let path = PathView {
            address: "10.0.0.12".parse().unwrap(),
            is_heard: false,
            hears_us: true,
            since_ms: 5,
            answers_echo: Some(true),
            received: 4,
            lost: 3,
            refused: 2,
        };
        let claim =
            |router| Claim { router, role: Role::Backup, priority: 100, epoch: 7, is_ready: true };
        let peer = peer::View {
            name: "edge-b".to_owned(),
            health: peer::Health::LinkDead,
            paths: vec![path],
            claims: vec![claim(51), claim(99)],
        };
        StandbyNews { vips: vec![vip], peers: vec![peer], ..StandbyNews::default() }
    }

    #[test]
    fn what_the_keeper_says_and_what_is_configured_are_shown_together() {
        let config = config(TEXT);
        let shown = vips(&config, &news());
        let [old, web] = &shown[..] else { panic!("there are two") };
        assert_eq!((old.role.as_str(), old.version, old.interval_ms), ("init", 2, 1000));
        assert_eq!(old.reason, "the keeper has not told of it yet");
        assert_eq!((web.role.as_str(), web.router_id, web.version), ("master", 51, 3));
        assert_eq!((web.priority, web.effective_priority, web.epoch), (254, 204, 7));
        assert_eq!(
            web.addresses[0],
            VipAddressStatus { address: "10.0.0.100/24".into(), is_here: true }
        );
        assert_eq!(web.master.as_ref().map(|one| one.address.as_str()), Some("10.0.0.11"));
        let gateway = TrackStatus {
            subject: "gateway 10.0.0.1".to_owned(),
            effect: "-50".to_owned(),
            failure: Some("no answer".to_owned()),
        };
        assert_eq!(web.tracked, [gateway]);
        assert_eq!((web.counts.turns, web.counts.splits, web.counts.sent), (3, 1, 9));
        assert_eq!((web.hooks_waiting, web.sync.as_deref()), (2, Some("pair")));
        let peers = peers(&config, &news(), &Evidence::default());
        assert_eq!((peers[0].name.as_str(), peers[0].state.as_str()), ("edge-b", "link dead"));
        assert_eq!((peers[0].paths[0].lost, peers[0].paths[0].hears_us), (3, true));
        assert_eq!(peers[0].roles, [("web".to_owned(), "backup".to_owned())]);
        assert_eq!(
            super::peers(&config, &StandbyNews::default(), &Evidence::default())[0].state,
            "unknown"
        );
    }

    #[test]
    fn a_split_a_fault_and_what_cannot_be_done_are_troubles() {
        let config = config(TEXT);
        assert_eq!(troubles(&config, &news()), (Health::Healthy, Vec::new()));
        let mut bad = news();
        bad.vips[0].view.rival = Some("10.0.0.12".to_owned());
        let split = "vip.web: another machine claims it too: 10.0.0.12";
        assert_eq!(troubles(&config, &bad), (Health::Degraded, vec![split.to_owned()]));
        let mut bad = news();
        bad.vips[0].view.role = Role::Fault;
        bad.vips[0].view.reason = "pool.api: no server is up".to_owned();
        bad.problems = ["vip.old: no right", "vip.web: no carrier", "node: no real-time priority"]
            .map(str::to_owned)
            .to_vec();
        let expected = ["vip.web: fault: pool.api: no server is up", "vip.old: no right"];
        assert_eq!(troubles(&config, &bad).1, expected);
    }

    #[test]
    fn an_address_without_what_it_moves_with_is_a_trouble() {
        let config = config(TEXT);
        let mut apart = news();
        apart.vips[0].view.holding_back = Some("vip.old is on edge-b".to_owned());
        assert_eq!(troubles(&config, &apart), (Health::Healthy, Vec::new()));
        let claim = apart.peers[0].claims.last_mut().unwrap();
        (claim.router, claim.role) = (52, Role::Master);
        let expected = vec!["vip.web: vip.old is on edge-b".to_owned()];
        assert_eq!(troubles(&config, &apart), (Health::Degraded, expected));
        // It is the other one's that is not here.
        apart.vips[0].view.role = Role::Backup;
        assert_eq!(troubles(&config, &apart), (Health::Healthy, Vec::new()));
    }
}
