//! Two nodes, one of which is to have what the other has, and a master-down timer each.

use super::*;

const ROUTERS: [(u16, u64); 2] = [(51, 7), (307, 7)];
const ADVERT: Duration = Duration::from_millis(30);
const MASTER_DOWN: Duration = Duration::from_millis(100);
/// Everything happens at multiples of this.
/// How long the giver wants packets passed on.
pub(super) const PASS_WITHIN: Duration = Duration::from_secs(12);
pub(super) const STEP: Duration = Duration::from_millis(1);

/// How the network and the nodes behave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// Of a thousand packets, so many are lost.
    pub(super) lost: u32,
    pub(super) doubled: u32,
    pub(super) delay_ms_max: u32,
    /// Node and millisecond at which it dies.
    pub(super) crash: Option<(usize, u32)>,
    pub(super) freezes: bool,
    pub(super) drains: bool,
    pub(super) flows: usize,
}

pub(super) const CALM: Weather = Weather {
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
pub(super) struct Node {
    pub(super) mover: Mover,
    pub(super) priority: u8,
    pub(super) is_alive: bool,
    pub(super) is_master: bool,
    /// When it was that last.
    pub(super) mastered_at: Option<Instant>,
    pub(super) advert_at: Instant,
    pub(super) down_at: Instant,
    pub(super) deaf_until: Instant,
    pub(super) frozen_since: Option<Instant>,
    pub(super) is_passing: bool,
    pub(super) drained_at: Option<Instant>,
    pub(super) would: Result<Vec<u64>, String>,
    pub(super) acts: Vec<Act>,
}

#[derive(Debug)]
pub(super) struct World {
    now: Instant,
    pub(super) nodes: [Node; 2],
    wire: Vec<(Instant, usize, Packet)>,
    pub(super) weather: Weather,
    rng: Rng,
    pub(super) masterless: Duration,
    pub(super) both: Duration,
    frozen_max: Duration,
}

impl World {
    pub(super) fn new(seed: u64, weather: Weather) -> Self {
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

    pub(super) fn give(&mut self) {
        let offer = Offer {
            peer: 1,
            routers: ROUTERS.to_vec(),
            reason: "an order".to_string(),
            pass_within: PASS_WITHIN,
        };
        self.feed(0, Event::Give(offer));
    }

    pub(super) fn want(&mut self) {
        let routers = ROUTERS.iter().map(|(router, _)| *router).collect();
        self.feed(1, Event::Want { peer: 0, routers });
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let next = self.next_event().min(end).max(self.now + STEP);
            // Nothing changes until then.
            self.watch(next - self.now - STEP);
            self.now = next;
            self.step();
            self.watch(STEP);
        }
    }

    /// When something is due, or arrives.
    fn next_event(&self) -> Instant {
        let alive = self.nodes.iter().filter(|node| node.is_alive);
        let due = alive.flat_map(|node| {
            let timer = if node.is_master { node.advert_at } else { node.down_at };
            node.mover.deadline().into_iter().chain(node.drained_at).chain([timer])
        });
        let crash = self.weather.crash.filter(|(who, _)| self.nodes[*who].is_alive);
        let crash = crash.map(|(_, ms)| Instant::EPOCH + Duration::from_millis(ms.into()));
        let events = self.wire.iter().map(|packet| packet.0).chain(due).chain(crash);
        events.min().expect("a node that lives has a timer")
    }

    fn step(&mut self) {
        let now = self.now;
        if let Some((who, at_ms)) = self.weather.crash
            && now.since_epoch() >= Duration::from_millis(at_ms.into())
        {
            self.nodes[who].is_alive = false;
        }
        let (ready, later): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.wire).into_iter().partition(|packet| packet.0 <= now);
        self.wire = later;
        for (_, to, packet) in ready {
            self.arrive(to, packet);
        }
        for at in 0..2 {
            self.tick(at);
        }
    }

    /// Counts a time that begins now.
    fn watch(&mut self, span: Duration) {
        let end = self.now + span;
        let alive = self.nodes.iter().filter(|node| node.is_alive);
        match alive.clone().filter(|node| node.is_master).count() {
            0 => self.masterless += span,
            1 => {}
            _ => self.both += span,
        }
        let frozen = alive.filter_map(|node| node.frozen_since).map(|since| end - since).max();
        self.frozen_max = self.frozen_max.max(frozen.unwrap_or_default());
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
                let pass_within = PASS_WITHIN;
                self.feed(to, Event::Said { peer: 1 - to, message, would, pass_within });
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

    pub(super) fn feed(&mut self, at: usize, event: Event) {
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
        let flows = self.weather.flows as u16;
        let flows = || (0..flows).map(flow).collect::<Vec<Flow>>();
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
                    self.feed(at, Event::Frozen(Ok(flows())));
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
                assert_eq!(theirs, flows(), "every connection must be known before the claim");
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
            Act::Hasten { within, .. } => {
                assert!(node.is_passing && !node.is_master);
                assert!(within < PASS_WITHIN, "it is less than before");
            }
            Act::PassNone { .. } => {
                assert!(node.is_passing || node.frozen_since.is_some());
                node.is_passing = false;
                node.frozen_since = None;
                node.drained_at = None;
            }
            Act::Kept { .. } | Act::Postponed { .. } => assert!(node.frozen_since.is_none()),
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

    pub(super) fn acts(&self, at: usize, wanted: impl Fn(&Act) -> bool) -> usize {
        self.nodes[at].acts.iter().filter(|act| wanted(act)).count()
    }

    pub(super) fn assert_settled(&self, case: &str) {
        let masters = self.nodes.iter().filter(|node| node.is_alive && node.is_master).count();
        assert_eq!(masters, 1, "{case}: {self:#?}");
        for node in self.nodes.iter().filter(|node| node.is_alive) {
            assert!(node.mover.is_idle(), "{case}: {node:#?}");
            assert!(!node.is_passing && node.frozen_since.is_none(), "{case}: {node:#?}");
        }
        assert!(self.frozen_max <= FREEZE_WITHIN + CLAIM_WITHIN, "{case}: {:?}", self.frozen_max);
    }
}
