use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use evergate_core::echo::INTERVAL;
use evergate_core::peer::{Policy, Setup};
use evergate_core::standby::{self, RouterKey};
use evergate_core::track::{Effect, Rule};
use evergate_core::vrrp::{self, Version};
use rustix::event::epoll::CreateFlags;

use super::*;

const NAME: EventData = EventData::new_u64(9);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Tracks a gateway, and has a peer, on this machine.
fn plan(gateway: &str, peer: &str) -> Plan {
    let rule = Rule {
        subject: Subject::Gateway(ip(gateway)),
        effect: Effect::Fault,
        fall: Duration::ZERO,
        rise: Duration::ZERO,
    };
    let policy = vrrp::Policy {
        version: Version::V3,
        router_id: 51,
        priority: 254,
        interval: Duration::from_millis(30),
        preempt: false,
        preempt_delay: Duration::ZERO,
        startup_delay: Duration::ZERO,
        announce_repeat: 5,
        announce_refresh: None,
    };
    let name = "web".to_owned();
    let track = vec![rule];
    let router =
        standby::Setup { key: RouterKey(51), name, policy, sync: None, track, drain: None };
    let peer = Setup { name: "b".to_owned(), addresses: vec![ip("127.0.0.9"), ip(peer)] };
    let heartbeat = Policy { interval: Duration::from_millis(100), missing: 3, port: 1 };
    Plan { routers: vec![router], peers: vec![peer], heartbeat: Some(heartbeat), ..Plan::default() }
}

/// Waits until there is something to read; it surely comes.
fn await_answer(events: &OwnedFd) {
    let mut fired: Vec<epoll::Event> = Vec::with_capacity(4);
    epoll::wait(events, rustix::buffer::spare_capacity(&mut fired), None).unwrap();
    assert!(fired.iter().all(|event| ({ event.data }) == NAME));
}

#[test]
fn gateways_and_peers_are_asked_and_answers_are_told_of_each() {
    let events = epoll::create(CreateFlags::CLOEXEC).unwrap();
    let to = (events.as_fd(), NAME);
    let mut asking = Asking::new(evergate_sys::random::seed());
    // Time is what this test says; answers come in their own.
    let at = |turn: u32| Instant::EPOCH + INTERVAL * turn;
    let plan = plan("127.0.0.8", "127.0.0.8");
    assert_eq!(asking.apply(at(0), &plan, to), []);
    if let Some(problem) = asking.problem() {
        eprintln!("skipped: {problem}");
        return;
    }
    assert_eq!((asking.sockets(), asking.deadline()), (1, Some(at(1))));
    assert_eq!([asking.tick(at(1), to), asking.tick(at(2), to)], [[], []]);
    // Nobody has read an answer, so there is none.
    let mut found = asking.tick(at(3), to);
    let silent = |host: &str| Some(format!("{host} does not answer echo requests"));
    let gateway = |failure| Found::Gateway { subject: Subject::Gateway(ip("127.0.0.8")), failure };
    let peer = |path, answers| Found::Peer(peer::Input::Echo { peer: 0, path, answers });
    assert_eq!(found.len(), 3);
    for expected in [gateway(silent("127.0.0.8")), peer(0, false), peer(1, false)] {
        assert!(found.contains(&expected), "{found:?}");
    }
    found.clear();
    while found.len() < 3 {
        await_answer(&events);
        asking.receive(at(3));
        found.extend(asking.tick(at(3), to));
    }
    for expected in [gateway(None), peer(0, true), peer(1, true)] {
        assert!(found.contains(&expected), "{found:?}");
    }
    // A reload says it again, for who is new.
    assert_eq!(asking.apply(at(3), &plan, to).len(), 3);
    assert_eq!(asking.apply(at(3), &Plan::default(), to), []);
    assert_eq!((asking.sockets(), asking.deadline()), (0, None));
}
