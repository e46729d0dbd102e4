//! Moves between two nodes in virtual time, over a network that loses, doubles and delays.

use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use super::*;
use crate::rng::Rng;
use crate::time::Instant;

const ROUTERS: [(u16, u64); 2] = [(51, 7), (307, 7)];
const ADVERT: Duration = Duration::from_millis(30);
const MASTER_DOWN: Duration = Duration::from_millis(100);
const STEP: Duration = Duration::from_millis(1);

/// How the network and the nodes behave.
#[derive(Clone, Copy, Debug)]
struct Weather {
    /// Of a thousand packets, so many are lost.
    lost: u32,
    doubled: u32,
    delay_ms_max: u32,
    /// Node and millisecond at which it dies.
    crash: Option<(usize, u32)>,
    freezes: bool,
    drains: bool,
    flows: usize,
}

const CALM: Weather = Weather {
    lost: 0,
    doubled: 0,
    delay_ms_max: 0,
    crash: None,
    freezes: true,
    drains: true,
    flows: 100,
};

#[derive(Debug)]
enum Packet {
    Word(Message),
    Advert,
}

#[derive(Debug)]
struct Node {
    mover: Mover,
    priority: u8,
    is_alive: bool,
    is_master: bool,
    /// When it was that last.
    mastered_at: Option<Instant>,
    advert_at: Instant,
    down_at: Instant,
    deaf_until: Instant,
    frozen_since: Option<Instant>,
    is_passing: bool,
    drained_at: Option<Instant>,
    would: Result<Vec<u64>, String>,
    acts: Vec<Act>,
}

#[derive(Debug)]
struct World {
    now: Instant,
    nodes: [Node; 2],
    wire: Vec<(Instant, usize, Packet)>,
    weather: Weather,
    rng: Rng,
    masterless: Duration,
    both: Duration,
    frozen_max: Duration,
}

impl World {
    fn new(seed: u64, weather: Weather) -> Self {
        let node = |at: u64| Node {
            mover: Mover::new(seed ^ at),
            priority: 254 - at as u8,
            is_alive: true,
            is_master: at == 0,
            mastered_at: None,
            advert_at: Instant::EPOCH,
            down_at: Instant::EPOCH + MASTER_DOWN,
            deaf_until: Instant::EPOCH,
            frozen_since: None,
            is_passing: false,
            drained_at: None,
            would: Ok(vec![7, 7]),
            acts: Vec::new(),
        };
        Self {
            now: Instant::EPOCH,
            nodes: [node(0), node(1)],
            wire: Vec::new(),
            weather,
            rng: Rng::seeded(seed),
            masterless: Duration::ZERO,
            both: Duration::ZERO,
            frozen_max: Duration::ZERO,
        }
    }

    fn give(&mut self) {
        let offer = Offer {
            peer: 1,
            routers: ROUTERS.to_vec(),
            reason: "an order".to_string(),
            pass_within: PASS_MAX,
        };
        self.feed(0, Event::Give(offer));
    }

    fn want(&mut self) {
        let routers = ROUTERS.iter().map(|(router, _)| *router).collect();
        self.feed(1, Event::Want { peer: 0, routers });
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    fn step(&mut self) {
        self.now = self.now + STEP;
        if let Some((who, at_ms)) = self.weather.crash
            && self.now.since_epoch() >= Duration::from_millis(at_ms.into())
        {
            self.nodes[who].is_alive = false;
        }
        let now = self.now;
        let mut due: Vec<(Instant, usize, Packet)> = Vec::new();
        let (ready, later) = core::mem::take(&mut self.wire).into_iter().partition(|p| p.0 <= now);
        self.wire = later;
        due.extend::<Vec<_>>(ready);
        for (_, to, packet) in due {
            self.arrive(to, packet);
        }
        for at in 0..2 {
            self.tick(at);
        }
        let masters = self.nodes.iter().filter(|node| node.is_alive && node.is_master).count();
        match masters {
            0 => self.masterless += STEP,
            1 => {}
            _ => self.both += STEP,
        }
        for node in self.nodes.iter().filter(|node| node.is_alive) {
            if let Some(since) = node.frozen_since {
                self.frozen_max = self.frozen_max.max(now - since);
            }
        }
    }

    fn arrive(&mut self, to: usize, packet: Packet) {
        let now = self.now;
        let node = &mut self.nodes[to];
        if !node.is_alive {
            return;
        }
        match packet {
            Packet::Word(message) => {
                let would = node.would.clone();
                self.feed(to, Event::Said { peer: 1 - to, message, would });
            }
            Packet::Advert if !node.is_master => node.down_at = now + MASTER_DOWN,
            Packet::Advert => {
                self.feed(to, Event::Claimed { peer: 1 - to, router: ROUTERS[0].0 });
                let node = &mut self.nodes[to];
                let is_worse = node.priority < 254;
                if node.is_master && is_worse && node.deaf_until <= now {
                    node.is_master = false;
                    node.down_at = now + MASTER_DOWN;
                    self.upset(to, "a better master");
                }
            }
        }
    }

    fn tick(&mut self, at: usize) {
        let now = self.now;
        let node = &mut self.nodes[at];
        if !node.is_alive {
            return;
        }
        if node.is_master {
            node.mastered_at = Some(now);
        }
        if node.is_master && node.advert_at <= now {
            node.advert_at = now + ADVERT;
            self.send(1 - at, || Packet::Advert);
        }
        let node = &mut self.nodes[at];
        if !node.is_master && node.down_at <= now {
            node.is_master = true;
            self.upset(at, "the master is gone");
        }
        if self.nodes[at].drained_at.is_some_and(|due| due <= now) {
            self.nodes[at].drained_at = None;
            self.feed(at, Event::Drained);
        }
        if self.nodes[at].mover.deadline().is_some_and(|due| due <= now) {
            self.feed(at, Event::Tick);
            let node = &self.nodes[at];
            assert!(node.mover.deadline().is_none_or(|due| due > now), "{node:?}");
        }
    }

    fn upset(&mut self, at: usize, why: &str) {
        for (router, _) in ROUTERS {
            self.feed(at, Event::Upset { router, why: why.to_string() });
        }
    }

    fn feed(&mut self, at: usize, event: Event) {
        let now = self.now;
        self.nodes[at].mover.handle(now, event);
        while let Some(act) = self.nodes[at].mover.next_act() {
            self.perform(at, act);
        }
        // Whatever happens, a machine may be written down and read again.
        let bytes = minicbor::to_vec(&self.nodes[at].mover).unwrap();
        self.nodes[at].mover = minicbor::decode(&bytes).unwrap();
    }

    fn perform(&mut self, at: usize, act: Act) {
        let now = self.now;
        let flows: Vec<Flow> = (0..self.weather.flows as u16).map(flow).collect();
        let node = &mut self.nodes[at];
        node.acts.push(act.clone());
        match act {
            Act::Say { peer, message } => {
                assert_eq!(peer, 1 - at);
                self.send(peer, || Packet::Word(message.clone()));
            }
            Act::Freeze { .. } => {
                assert!(node.is_master && node.frozen_since.is_none(), "{node:?}");
                node.frozen_since = Some(now);
                if self.weather.freezes {
                    self.feed(at, Event::Frozen(Ok(flows)));
                }
            }
            Act::PassOn { .. } => {
                assert!(node.frozen_since.take().is_some(), "nothing is passed on unless frozen");
                node.is_passing = true;
                if self.weather.drains {
                    node.drained_at = Some(now + Duration::from_millis(200));
                }
            }
            Act::Yield { .. } => {
                assert!(node.is_master);
                node.is_master = false;
                node.down_at = now + MASTER_DOWN;
                // An advert may be heard so late that whoever sent it has yielded since; as every
                // backup does, it claims again when it hears no other.
                let delay = Duration::from_millis(self.weather.delay_ms_max.into());
                let other = &self.nodes[1 - at];
                let claimed = other.mastered_at.is_some_and(|at| at + delay + STEP >= now);
                assert!(claimed, "somebody must have claimed");
            }
            Act::PassBack { flows: theirs, .. } => {
                assert_eq!(theirs, flows, "every connection must be known before the claim");
                assert!(!node.is_master && !node.is_passing);
                node.is_passing = true;
            }
            Act::Claim { routers, .. } => {
                assert!(node.is_passing, "what is not ours must be kept out first");
                assert_eq!(routers, ROUTERS);
                node.is_master = true;
                node.mastered_at = Some(now);
                node.deaf_until = now + DEAF_FOR;
                node.advert_at = now + ADVERT;
                self.send(1 - at, || Packet::Advert);
            }
            Act::PassNone { .. } => {
                assert!(node.is_passing || node.frozen_since.is_some());
                node.is_passing = false;
                node.frozen_since = None;
                node.drained_at = None;
            }
            Act::Kept { .. } => assert!(node.frozen_since.is_none()),
            Act::Missed { .. } | Act::Over { .. } => assert!(!node.is_passing),
        }
    }

    fn send(&mut self, to: usize, packet: impl Fn() -> Packet) {
        let Weather { lost, doubled, delay_ms_max, .. } = self.weather;
        let copies = if self.rng.below(1_000) < doubled { 2 } else { 1 };
        for _ in 0..copies {
            if self.rng.below(1_000) >= lost {
                let delay = Duration::from_millis(self.rng.below(delay_ms_max + 1).into());
                self.wire.push((self.now + delay, to, packet()));
            }
        }
    }

    fn acts(&self, at: usize, wanted: impl Fn(&Act) -> bool) -> usize {
        self.nodes[at].acts.iter().filter(|act| wanted(act)).count()
    }

    fn assert_settled(&self, case: &str) {
        let masters = self.nodes.iter().filter(|node| node.is_alive && node.is_master).count();
        assert_eq!(masters, 1, "{case}: {self:#?}");
        for node in self.nodes.iter().filter(|node| node.is_alive) {
            assert!(node.mover.is_idle(), "{case}: {node:#?}");
            assert!(!node.is_passing && node.frozen_since.is_none(), "{case}: {node:#?}");
        }
        assert!(self.frozen_max <= FREEZE_WITHIN + CLAIM_WITHIN, "{case}: {:?}", self.frozen_max);
    }
}

fn flow(number: u16) -> Flow {
    Flow {
        client: IpAddr::V4(Ipv4Addr::new(10, 9, (number >> 8) as u8, number as u8)),
        client_port: 40_000,
        local: IpAddr::V4(Ipv4Addr::new(10, 9, 0, 100)),
        local_port: 443,
    }
}

#[test]
fn a_move_takes_a_few_turns_and_nobody_is_ever_without_a_master() {
    for flows in [0, 1, FLOWS_PART_MAX, FLOWS_MAX] {
        let mut world = World::new(1, Weather { flows, ..CALM });
        world.give();
        world.run(Duration::from_millis(20));
        assert!(world.nodes[1].is_master && !world.nodes[0].is_master);
        assert!(world.nodes[0].is_passing && world.nodes[1].is_passing);
        world.run(Duration::from_millis(400));
        world.assert_settled("calm");
        assert_eq!(world.masterless, Duration::ZERO);
        assert!(world.both <= 3 * STEP, "{:?}", world.both);
        let over = |act: &Act| matches!(act, Act::Over { flows: all, .. } if *all == flows);
        assert_eq!((world.acts(0, over), world.acts(1, over)), (1, 1));
    }
}

#[test]
fn a_better_backup_gets_what_it_asks_for() {
    let mut world = World::new(2, CALM);
    world.want();
    world.run(Duration::from_secs(1));
    assert!(world.nodes[1].is_master);
    world.assert_settled("wanted");
    let yielded = |act: &Act| matches!(act, Act::Yield { reason, .. } if reason.contains("asked"));
    assert_eq!(world.acts(0, yielded), 1);
}

#[test]
fn whoever_will_not_says_why_and_nothing_is_frozen() {
    for wants in [false, true] {
        let mut world = World::new(3, CALM);
        world.nodes[usize::from(!wants)].would = Err("in maintenance".to_string());
        if wants {
            world.want();
        } else {
            world.give();
        }
        world.run(Duration::from_millis(10));
        assert!(world.nodes[0].is_master);
        world.assert_settled("declined");
        let said = |act: &Act| match act {
            Act::Kept { why, .. } | Act::Missed { why, had_asked: true, .. } => {
                why == "in maintenance"
            }
            _ => false,
        };
        assert_eq!(world.acts(usize::from(wants), said), 1);
        assert_eq!(world.acts(0, |act| matches!(act, Act::Freeze { .. })), 0);
    }
}

#[test]
fn a_second_move_waits_for_the_first_one() {
    let mut world = World::new(4, Weather { drains: false, ..CALM });
    world.give();
    world.run(Duration::from_millis(50));
    assert!(!world.nodes[0].mover.is_free() && !world.nodes[1].mover.is_free());
    world.give();
    let kept = |act: &Act| matches!(act, Act::Kept { why, .. } if why.contains("another move"));
    assert_eq!(world.acts(0, kept), 1);
    world.run(PASS_MAX);
    world.assert_settled("the bound of passing on");
}

#[test]
fn connections_that_never_end_are_waited_for_as_long_as_was_said() {
    let mut world = World::new(5, Weather { drains: false, ..CALM });
    world.give();
    world.run(PASS_MAX - Duration::from_millis(100));
    assert!(world.nodes[0].is_passing && world.nodes[1].is_passing);
    world.run(Duration::from_millis(200));
    world.assert_settled("endless");

    let mut world = World::new(6, Weather { drains: false, ..CALM });
    world.give();
    world.run(Duration::from_millis(100));
    world.feed(0, Event::Hasten(Duration::from_secs(1)));
    world.run(Duration::from_millis(1_100));
    world.assert_settled("hastened");
}

#[test]
fn what_cannot_be_frozen_is_kept() {
    let mut world = World::new(7, Weather { freezes: false, ..CALM });
    world.give();
    world.run(FREEZE_WITHIN + Duration::from_millis(50));
    assert!(world.nodes[0].is_master);
    world.assert_settled("no answer");

    let mut world = World::new(8, Weather { freezes: false, ..CALM });
    world.give();
    world.run(Duration::from_millis(5));
    world.feed(0, Event::Frozen(Err("no right".to_string())));
    world.run(Duration::from_millis(5));
    world.assert_settled("an error");
    let kept = |act: &Act| matches!(act, Act::Kept { why, .. } if why.ends_with(": no right"));
    assert_eq!(world.acts(0, kept), 1);
    world.feed(0, Event::Frozen(Ok(vec![])));
    world.assert_settled("a late answer");
}

#[test]
fn any_message_may_be_lost_doubled_or_late() {
    let mut moved = 0;
    for seed in 0..600 {
        let mut rng = Rng::seeded(seed);
        let weather = Weather {
            lost: rng.below(400),
            doubled: rng.below(400),
            delay_ms_max: rng.below(60),
            freezes: rng.below(10) > 0,
            drains: rng.below(3) > 0,
            flows: rng.below(FLOWS_MAX as u32) as usize / (1 + rng.below(100) as usize),
            crash: None,
        };
        let mut world = World::new(seed, weather);
        if rng.below(2) == 0 {
            world.give()
        } else {
            world.want()
        }
        world.run(PASS_MAX + Duration::from_secs(2));
        // The last words may be lost altogether: the successor gives up waiting by itself.
        world.weather.lost = 0;
        if !world.nodes[1].mover.is_idle() {
            world.run(PASS_BACK_MAX);
        }
        world.run(Duration::from_secs(1));
        world.assert_settled(&alloc::format!("seed {seed}"));
        moved += usize::from(world.acts(1, |act| matches!(act, Act::Claim { .. })) > 0);
    }
    assert!(moved > 300, "only {moved} of 600 moves were made");
}

#[test]
fn either_node_may_die_at_any_moment() {
    for seed in 0..400 {
        let mut rng = Rng::seeded(seed ^ 0xdead);
        let crash = Some((rng.below(2) as usize, rng.below(60)));
        let weather = Weather { lost: rng.below(200), delay_ms_max: rng.below(8), crash, ..CALM };
        let mut world = World::new(seed, weather);
        if rng.below(2) == 0 {
            world.give()
        } else {
            world.want()
        }
        world.run(Duration::from_secs(3));
        world.weather.lost = 0;
        world.run(PASS_BACK_MAX);
        world.assert_settled(&alloc::format!("seed {seed}"));
    }
}

#[test]
fn late_words_of_a_move_that_is_over_begin_nothing() {
    let mut world = World::new(9, CALM);
    world.give();
    world.run(Duration::from_secs(1));
    world.assert_settled("moved");
    let said: Vec<Message> =
        world.nodes.iter().flat_map(|node| &node.acts).filter_map(said).collect();
    let before = [world.nodes[0].acts.len(), world.nodes[1].acts.len()];
    for message in said {
        for at in 0..2 {
            let would = Ok(vec![7, 7]);
            let message = message.clone();
            world.feed(at, Event::Said { peer: 1 - at, message, would });
        }
    }
    assert_eq!([world.nodes[0].acts.len(), world.nodes[1].acts.len()], before);
}

fn said(act: &Act) -> Option<Message> {
    match act {
        Act::Say { message, .. } => Some(message.clone()),
        _ => None,
    }
}

#[test]
fn an_old_copy_of_an_offer_does_not_undo_what_was_done() {
    let mut world = World::new(10, CALM);
    world.give();
    let offer = world.nodes[0].acts.iter().find_map(said).unwrap();
    world.run(Duration::from_millis(20));
    assert!(world.nodes[1].is_master);
    let before = world.nodes[1].acts.len();
    let would = Err("it is master already".to_string());
    world.feed(1, Event::Said { peer: 0, message: offer, would });
    assert_eq!(world.nodes[1].acts.len(), before);
}

#[test]
fn parts_that_make_no_sense_are_declined() {
    for (part, parts, count) in [(1, 1, 1), (0, 1, FLOWS_PART_MAX + 1), (0, u16::MAX, 1), (0, 0, 0)]
    {
        let mut mover = Mover::new(1);
        let now = Instant::EPOCH;
        let offer =
            Message::Offer { number: 9, routers: vec![51], epochs: vec![1], reason: String::new() };
        mover.handle(now, Event::Said { peer: 0, message: offer, would: Ok(vec![1]) });
        let flows = (0..count as u16).map(flow).collect();
        let message = Message::Flows { number: 9, part, parts, flows };
        mover.handle(now, Event::Said { peer: 0, message, would: Ok(vec![]) });
        let acts: Vec<Act> = core::iter::from_fn(|| mover.next_act()).collect();
        assert!(matches!(acts.last(), Some(Act::Missed { .. })), "{acts:?}");
        assert!(mover.is_idle());
    }
}

#[test]
fn words_of_another_peer_do_not_count() {
    let mut mover = Mover::new(1);
    let now = Instant::EPOCH;
    let offer =
        Offer { peer: 1, routers: vec![(51, 1)], reason: String::new(), pass_within: PASS_MAX };
    mover.handle(now, Event::Give(offer));
    let Some(Act::Say { message: Message::Offer { number, .. }, .. }) = mover.next_act() else {
        panic!("an offer comes first");
    };
    let message = Message::Accept { number };
    mover.handle(now, Event::Said { peer: 0, message: message.clone(), would: Ok(vec![]) });
    assert_eq!(mover.next_act(), None);
    mover.handle(now, Event::Said { peer: 1, message, would: Ok(vec![]) });
    assert_eq!(mover.next_act(), Some(Act::Freeze { routers: vec![51] }));
}

#[test]
fn marks_differ_by_every_bit_and_have_no_pattern() {
    let mut marks: Vec<u32> = (0..FLOWS_MAX as u16).map(|number| flow(number).mark()).collect();
    let ports = (1..FLOWS_MAX as u16).map(|client_port| Flow { client_port, ..flow(0) }.mark());
    marks.extend(ports);
    let v6 = |number: u16| Flow {
        client: IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, number, 0, 1)),
        ..flow(0)
    };
    marks.extend((0..FLOWS_MAX as u16).map(|number| v6(number).mark()));
    let all = marks.len();
    marks.sort_unstable();
    marks.dedup();
    assert_eq!(marks.len(), all);
}
