//! Evergate beside keepalived and FRR, in both roles.

use std::path::Path;
use std::time::Duration;

use evergate_e2e::lab::evergate::Evergate;
use evergate_e2e::lab::frr::Frr;
use evergate_e2e::lab::keepalived::{Keepalived, PASSWORD, Profile};
use evergate_e2e::lab::probe::open_loop::TIMEOUT_BUSY;
use evergate_e2e::lab::process::kill_all;
use evergate_e2e::lab::product::{Product, Wish};
use evergate_e2e::lab::{Place, Stage, process};
use evergate_e2e::{skip, wait_until};

use super::{PROGRAM, is_possible};

/// Version 2 of keepalived needs 3.6 s to miss a master, and FRR some to start.
const PATIENCE: Duration = Duration::from_secs(45);

/// What stands beside Evergate.
#[derive(Clone, Copy, Debug)]
enum Other {
    Keepalived(Profile),
    Frr(u8),
}

impl Other {
    fn at(self, place: &Place, letter: char, priority: u8) -> Box<dyn Product> {
        match self {
            Self::Keepalived(profile) => {
                Box::new(Keepalived::new(place, letter, profile, priority))
            }
            Self::Frr(version) => {
                Box::new(Frr::new(place, letter, version, self.interval(), priority))
            }
        }
    }

    fn interval(self) -> Duration {
        match self {
            Self::Keepalived(profile) => profile.interval,
            Self::Frr(2) => Duration::from_secs(1),
            Self::Frr(_) => Duration::from_millis(100),
        }
    }

    /// Lines of `[vip.web]` that speak its language.
    fn lines(self, priority: u8) -> String {
        let ms = self.interval().as_millis();
        let protocol = match self {
            Self::Keepalived(Profile { version: 2, .. }) => {
                format!("version = 2\nauth = {{ pass = \"{PASSWORD}\" }}\n")
            }
            Self::Frr(2) => "version = 2\n".to_owned(),
            Self::Keepalived(_) | Self::Frr(_) => String::new(),
        };
        format!(
            "priority = {priority}\ninterval = \"{ms}ms\"\npreempt = true\npreempt_delay = \"1s\"\n\
             {protocol}"
        )
    }
}

/// Two nodes, one of them Evergate with this priority, the other one with 100.
fn stage(other: Other, priority: u8) -> Option<Stage> {
    if !is_possible() {
        return None;
    }
    if matches!(other, Other::Frr(_)) && process::program("vrrpd").is_none() {
        skip("there is no FRR here");
        return None;
    }
    let mut stage = Stage::empty(2, Path::new(PROGRAM));
    let places = stage.network.nodes.clone();
    let evergate = Evergate::new(&places[0], 0, Wish::default(), Path::new(PROGRAM));
    stage.add(Box::new(evergate.beside_others(&other.lines(priority))));
    stage.add(other.at(&places[1], 'B', 100));
    Some(stage)
}

fn owner(stage: &Stage, owner: usize, when: &str) {
    assert!(
        stage.wait_for_owner(owner, PATIENCE),
        "{when}, nodes {:?} have the address, not {owner}\n{}",
        stage.network.holders(),
        stage.logs()
    );
}

/// Evergate is the better one: it takes the address, loses it when it stops or dies, and takes it
/// back.
fn leads(other: Other) {
    let Some(mut stage) = stage(other, 200) else { return };
    stage.nodes[1].product.start();
    owner(&stage, 1, "at first");
    stage.nodes[0].product.start();
    owner(&stage, 0, "when Evergate has come");
    let probe = stage.probe(TIMEOUT_BUSY);
    stage.nodes[0].product.stop();
    owner(&stage, 1, "when Evergate has stopped");
    assert!(probe.wait_for_other('A', PATIENCE), "{}", stage.logs());
    stage.nodes[0].product.start();
    owner(&stage, 0, "when Evergate is back");
    assert!(probe.wait_for_other('B', PATIENCE), "{}", stage.logs());
    kill_all(&stage.nodes[0].victims(true));
    assert!(probe.wait_for_other('A', PATIENCE), "{}", stage.logs());
    drop(probe);
}

/// The other one is better: Evergate follows it, and gives the address back.
fn follows(other: Other) {
    let Some(mut stage) = stage(other, 50) else { return };
    stage.nodes[0].product.start();
    owner(&stage, 0, "at first");
    stage.nodes[1].product.start();
    owner(&stage, 1, "when the better one has come");
    let probe = stage.probe(TIMEOUT_BUSY);
    stage.nodes[1].product.begin_stop();
    owner(&stage, 0, "when the better one has stopped");
    assert!(probe.wait_for_other('B', PATIENCE), "{}", stage.logs());
    stage.nodes[1].product.start();
    owner(&stage, 1, "when the better one is back");
    assert!(probe.wait_for_other('A', PATIENCE), "{}", stage.logs());
    kill_all(&stage.nodes[1].victims(true));
    assert!(probe.wait_for_other('B', PATIENCE), "{}", stage.logs());
    drop(probe);
}

/// keepalived and FRR, as Debian has them, sum up a pseudo-header; other routers follow RFC 9568.
#[test]
fn checksums_of_either_kind_are_understood() {
    if !is_possible() {
        return;
    }
    let mut stage = Stage::empty(2, Path::new(PROGRAM));
    for (index, checksum) in ["message", "pseudo-header"].into_iter().enumerate() {
        let place = stage.network.nodes[index].clone();
        let evergate = Evergate::new(&place, index, Wish::default(), Path::new(PROGRAM));
        let priority = 200 - index;
        let lines =
            format!("priority = {priority}\nchecksum = \"{checksum}\"\ninterval = \"200ms\"\n");
        stage.add(Box::new(evergate.beside_others(&lines)));
    }
    for owner_before in [0, 1] {
        let other = 1 - owner_before;
        stage.nodes[owner_before].product.start();
        owner(&stage, owner_before, "alone");
        stage.nodes[other].product.start();
        // Whoever does not understand the master would claim the address itself by then.
        let node = stage.evergate(other);
        wait_until("many adverts are understood", || node.count("heard") >= 10);
        assert_eq!((node.role().as_str(), node.count("refused")), ("backup", 0));
        assert_eq!(stage.network.holders(), [owner_before], "{}", stage.logs());
        stage.nodes[owner_before].product.stop();
        owner(&stage, other, "when the other one has stopped");
        stage.nodes[other].product.stop();
    }
}

#[test]
fn evergate_leads_keepalived_with_version_2() {
    leads(Other::Keepalived(Profile::V2_1S));
}

#[test]
fn evergate_follows_keepalived_with_version_2() {
    follows(Other::Keepalived(Profile::V2_1S));
}

#[test]
fn evergate_leads_keepalived_with_version_3() {
    leads(Other::Keepalived(Profile::V3_100MS));
}

#[test]
fn evergate_follows_keepalived_with_version_3() {
    follows(Other::Keepalived(Profile::V3_100MS));
}

#[test]
fn evergate_leads_frr() {
    leads(Other::Frr(3));
}

#[test]
fn evergate_follows_frr() {
    follows(Other::Frr(3));
}
