//! All peers of a node.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use minicbor::{Decode, Encode};

use super::path::Path;
use super::{Beat, CLAIMS_MAX, Claim, Health, Message, PATHS_MAX, PEERS_MAX, Policy, Setup, View};
use crate::time::Instant;
use crate::vrrp::Role;

/// Changes of claims are told at once, but no more often than this many times in an interval.
const HURRIED_BEATS: u32 = 10;
/// How heartbeats are exchanged unless something is said about it.
const POLICY: Policy = Policy { interval: Duration::from_millis(100), missing: 3, port: 7947 };

/// What happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// A peer said something over a path: true, and not heard before. What it says of moves is not
    /// for this machine, but that it spoke is.
    Said {
        /// Position among the peers.
        peer: usize,
        /// Position among its addresses.
        path: usize,
        /// What.
        message: Message,
    },
    /// Something from the address of a path was refused: no seal or a wrong one, or repeated.
    Refused {
        /// Position among the peers.
        peer: usize,
        /// Position among its addresses.
        path: usize,
    },
    /// Whether the address of a path answers echo requests.
    Echo {
        /// Position among the peers.
        peer: usize,
        /// Position among its addresses.
        path: usize,
        /// Whether it does.
        answers: bool,
    },
    /// How this node stands with its virtual routers. Told at once if it is news.
    Claims(Vec<Claim>),
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Send this to a peer.
    Say {
        /// Position among the peers.
        peer: usize,
        /// Over this path.
        path: usize,
        /// A beat.
        message: Message,
    },
    /// A peer is another run of its program than before: what that had begun is gone.
    Restarted {
        /// Which, by its position in the plan.
        peer: usize,
    },
    /// Something worth an event.
    Note(Note),
}

/// Something that happened to a peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// Its name.
    pub name: String,
    /// `peer_alive`, `peer_link_dead`, `peer_host_dead`, `peer_restarted` or `peer_misnamed`.
    pub kind: &'static str,
    /// Whether somebody should look at it.
    pub is_bad: bool,
    /// Why, for people.
    pub reason: String,
}

/// All peers of a node.
///
/// Drain [`Self::next_output`] to `None` after every call, and hand in [`Input::Tick`] no later than
/// [`Self::deadline`], after whatever was received until then. Carried over the keeper's exec as it
/// is: outputs must have been drained.
#[derive(Clone, Debug, Decode, Encode)]
pub struct Peers {
    #[n(0)]
    node: String,
    #[n(1)]
    policy: Policy,
    #[n(2)]
    peers: Vec<Peer>,
    #[n(3)]
    claims: Vec<Claim>,
    /// Says which start of this node it is.
    #[n(4)]
    boot: u64,
    #[n(5)]
    beat_at: Instant,
    #[n(6)]
    beaten_at: Option<Instant>,
    /// A point in both times.
    #[n(7)]
    epoch: (Instant, u64),
    #[cbor(skip)]
    outputs: VecDeque<Output>,
}

#[derive(Clone, Debug, Decode, Encode)]
struct Peer {
    #[n(0)]
    name: String,
    #[n(1)]
    paths: Vec<Path>,
    #[n(2)]
    claims: Vec<Claim>,
    /// As it was noted last, and what was wrong then.
    #[n(3)]
    health: Health,
    #[n(4)]
    faults: String,
    /// Since when it has been heard on some path.
    #[n(5)]
    heard_since: Option<Instant>,
    /// Which start of it is heard, and which was before.
    #[n(6)]
    boots: [Option<u64>; 2],
    /// Another name that it gave itself.
    #[n(7)]
    misnomer: Option<String>,
}

impl Peers {
    /// Nobody yet. `boot` is drawn by chance; `unix_ms` is `now` in milliseconds of Unix time.
    pub const fn new(now: Instant, unix_ms: u64, boot: u64) -> Self {
        Self {
            node: String::new(),
            policy: POLICY,
            peers: Vec::new(),
            claims: Vec::new(),
            boot,
            beat_at: now,
            beaten_at: None,
            epoch: (now, unix_ms),
            outputs: VecDeque::new(),
        }
    }

    /// Changes what should be: the own name, how heartbeats are exchanged, and with whom. Peers are
    /// known by their names and paths by their addresses; what did not change is not disturbed.
    /// Positions are those of `setups` from now on. What is beyond [`PEERS_MAX`] and [`PATHS_MAX`]
    /// is left out.
    pub fn apply(&mut self, now: Instant, node: &str, policy: Option<Policy>, setups: &[Setup]) {
        self.node = String::from(node);
        self.policy = policy.unwrap_or(POLICY);
        let mut known = core::mem::take(&mut self.peers);
        for setup in setups.iter().take(PEERS_MAX) {
            let at = known.iter().position(|peer| peer.name == setup.name);
            let mut peer = match at {
                Some(at) => known.swap_remove(at),
                None => Peer::new(setup.name.clone()),
            };
            let mut paths = core::mem::take(&mut peer.paths);
            for address in setup.addresses.iter().take(PATHS_MAX) {
                let at = paths.iter().position(|path| path.address == *address);
                peer.paths.push(match at {
                    Some(at) => paths.swap_remove(at),
                    None => Path::new(now, *address),
                });
            }
            self.peers.push(peer);
        }
        self.beat_at = now;
        self.settle(now);
    }

    /// Advances everything by one event.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Said { peer, path, message } => self.hear(now, peer, path, message),
            Input::Refused { peer, path } => {
                if let Some(path) = self.path_mut(peer, path) {
                    path.count_refused();
                }
            }
            Input::Echo { peer, path, answers } => {
                if let Some(path) = self.path_mut(peer, path) {
                    path.set_answers_echo(answers);
                }
            }
            Input::Claims(mut claims) => {
                claims.truncate(CLAIMS_MAX);
                if self.claims != claims {
                    self.claims = claims;
                    let pause = self.policy.interval / HURRIED_BEATS;
                    let soon = self.beaten_at.map_or(now, |at| at + pause);
                    self.beat_at = self.beat_at.min(soon);
                }
            }
            Input::Tick => {}
        }
        self.settle(now);
    }

    /// What is to be done next.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is wanted, unless something else happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let paths = self.peers.iter().flat_map(|peer| &peer.paths);
        let beat_at = (!self.peers.is_empty()).then_some(self.beat_at);
        paths.filter_map(Path::deadline).chain(beat_at).min()
    }

    /// How every peer is, in the order of the setups.
    pub fn views(&self) -> Vec<View> {
        let (then, then_ms) = self.epoch;
        let since_ms = |at: Instant| {
            let since = u64::try_from((at - then).as_millis()).unwrap_or(u64::MAX);
            then_ms.saturating_add(since)
        };
        let view = |peer: &Peer| View {
            name: peer.name.clone(),
            health: peer.health,
            paths: peer.paths.iter().map(|path| path.view(since_ms)).collect(),
            claims: peer.claims.clone(),
        };
        self.peers.iter().map(view).collect()
    }

    /// Who could take a virtual router over at once: it and this node hear each other on some path,
    /// and it says that it is an able backup, and ready. Of several, that of the highest priority,
    /// and of these the first.
    pub fn successor(&self, router: u16) -> Option<usize> {
        let able = |peer: &Peer| {
            let claim = peer.claim(router)?;
            let is_able = claim.role == Role::Backup && claim.priority > 0 && claim.is_ready;
            (is_able && peer.is_reached()).then_some(claim.priority)
        };
        let able = self.peers.iter().enumerate().filter_map(|(at, peer)| Some((able(peer)?, at)));
        able.max_by_key(|(priority, at)| (*priority, core::cmp::Reverse(*at))).map(|(_, at)| at)
    }

    /// How a peer that is heard stands with a virtual router, as it said last.
    pub fn claim(&self, peer: usize, router: u16) -> Option<Claim> {
        let peer = self.peers.get(peer)?;
        if peer.is_heard() { peer.claim(router) } else { None }
    }

    /// The newest epoch of a virtual router that any peer ever spoke of; 0 if none did.
    pub fn epoch(&self, router: u16) -> u64 {
        let claims = self.peers.iter().filter_map(|peer| peer.claim(router));
        claims.map(|claim| claim.epoch).max().unwrap_or(0)
    }

    /// Whether a peer and this node hear each other on some path.
    pub fn is_reached(&self, peer: usize) -> bool {
        self.peers.get(peer).is_some_and(Peer::is_reached)
    }

    /// How well a peer is; unknown if there is no such peer.
    pub fn health(&self, peer: usize) -> Health {
        self.peers.get(peer).map_or(Health::Unknown, |peer| peer.health)
    }

    /// The paths on which messages reach a peer, as far as is known; all of them if none is.
    pub fn paths_to(&self, peer: usize) -> Vec<usize> {
        let Some(peer) = self.peers.get(peer) else { return Vec::new() };
        let with = |wanted: fn(&Path) -> bool| -> Vec<usize> {
            (0..peer.paths.len()).filter(|at| wanted(&peer.paths[*at])).collect()
        };
        let reached = with(Path::is_both_ways);
        if reached.is_empty() { with(|_| true) } else { reached }
    }

    /// The address of the first path on which a peer and this node hear each other.
    pub fn address(&self, peer: usize) -> Option<IpAddr> {
        let paths = &self.peers.get(peer)?.paths;
        paths.iter().find(|path| path.is_both_ways()).map(|path| path.address)
    }

    /// Which peer, over which path, sends from this address.
    pub fn find(&self, address: IpAddr) -> Option<(usize, usize)> {
        self.peers.iter().enumerate().find_map(|(at, peer)| {
            let path = peer.paths.iter().position(|path| path.address == address)?;
            Some((at, path))
        })
    }

    fn hear(&mut self, now: Instant, at: usize, path_at: usize, message: Message) {
        let policy = self.policy;
        let Some(peer) = self.peers.get_mut(at) else { return };
        let Some(path) = peer.paths.get_mut(path_at) else { return };
        let beat = match message {
            Message::Beat(beat) => beat,
            Message::Handover(_) => return path.hear(now, &policy),
        };
        if beat.node != peer.name {
            path.count_refused();
            return self.note_misnomer(at, path_at, beat.node);
        }
        peer.misnomer = None;
        let [boot, boot_before] = peer.boots;
        if boot_before == Some(beat.boot) {
            // It was under way while the peer started anew.
            return;
        }
        if boot != Some(beat.boot) {
            peer.boots = [Some(beat.boot), boot];
            peer.paths.iter_mut().for_each(Path::forget_numbers);
        }
        let path = &mut peer.paths[path_at];
        path.hear_beat(&beat);
        path.hear(now, &policy);
        for (own, path) in (0..).zip(&mut peer.paths) {
            path.hear_about(now, &beat.hears, own);
        }
        peer.claims = beat.routers;
        peer.claims.truncate(CLAIMS_MAX);
        if boot.is_some_and(|boot| boot != beat.boot) {
            self.outputs.push_back(Output::Restarted { peer: at });
            self.note(at, "peer_restarted", false, String::from("it started anew"));
        }
    }

    /// Whoever has the address of a peer, but not its name, is not that peer.
    fn note_misnomer(&mut self, at: usize, path: usize, name: String) {
        let peer = &mut self.peers[at];
        if peer.misnomer.as_ref() != Some(&name) {
            let address = peer.paths[path].address;
            let reason = format!("the node at {address} calls itself {name:?}");
            peer.misnomer = Some(name);
            self.note(at, "peer_misnamed", true, reason);
        }
    }

    /// Lets paths die that are silent, notes what changed, and sends beats that are due.
    fn settle(&mut self, now: Instant) {
        for at in 0..self.peers.len() {
            let peer = &mut self.peers[at];
            for path in &mut peer.paths {
                path.settle(now);
            }
            let since = peer.heard_since.unwrap_or(now);
            peer.heard_since = peer.is_heard().then_some(since);
            self.settle_health(now, at);
        }
        if !self.peers.is_empty() && self.beat_at <= now {
            self.beat_at = now + self.policy.interval;
            self.beaten_at = Some(now);
            self.beat();
        }
    }

    fn settle_health(&mut self, now: Instant, at: usize) {
        let (health, faults) = self.peers[at].judge(now, &self.policy);
        let peer = &mut self.peers[at];
        if (health, &faults) == (peer.health, &peer.faults) {
            return;
        }
        // What is not heard at all has no more to lose.
        let is_same_end = health == peer.health && health == Health::HostDead;
        peer.health = health;
        peer.faults = faults;
        if is_same_end {
            return;
        }
        let reason = peer.faults.clone();
        match health {
            Health::Unknown => {}
            Health::Alive => {
                let paths = &self.peers[at].paths;
                let heard = paths.iter().filter(|path| path.is_heard()).count();
                let reason = format!("heard on {heard} of {} paths", paths.len());
                self.note(at, "peer_alive", false, reason);
            }
            Health::LinkDead => self.note(at, "peer_link_dead", true, reason),
            Health::HostDead => self.note(at, "peer_host_dead", true, reason),
        }
    }

    fn beat(&mut self) {
        for (peer_at, peer) in self.peers.iter_mut().enumerate() {
            let hears: Vec<u8> = (0..)
                .zip(&peer.paths)
                .filter(|(_, path)| path.is_heard())
                .map(|(own, _)| own)
                .collect();
            for (own, path_at) in (0..).zip(0..peer.paths.len()) {
                let beat = Beat {
                    node: self.node.clone(),
                    routers: self.claims.clone(),
                    hears: hears.clone(),
                    path: own,
                    number: peer.paths[path_at].count_sent(),
                    boot: self.boot,
                    interval: self.policy.interval,
                };
                let message = Message::Beat(beat);
                self.outputs.push_back(Output::Say { peer: peer_at, path: path_at, message });
            }
        }
    }

    fn note(&mut self, at: usize, kind: &'static str, is_bad: bool, reason: String) {
        let name = self.peers[at].name.clone();
        self.outputs.push_back(Output::Note(Note { name, kind, is_bad, reason }));
    }

    fn path_mut(&mut self, peer: usize, path: usize) -> Option<&mut Path> {
        self.peers.get_mut(peer)?.paths.get_mut(path)
    }
}

impl Peer {
    const fn new(name: String) -> Self {
        Self {
            name,
            paths: Vec::new(),
            claims: Vec::new(),
            health: Health::Unknown,
            faults: String::new(),
            heard_since: None,
            boots: [None; 2],
            misnomer: None,
        }
    }

    fn claim(&self, router: u16) -> Option<Claim> {
        self.claims.iter().find(|claim| claim.router == router).copied()
    }

    fn is_heard(&self) -> bool {
        self.paths.iter().any(Path::is_heard)
    }

    fn is_reached(&self) -> bool {
        self.paths.iter().any(Path::is_both_ways)
    }

    /// How well it is, and what is wrong, for people.
    fn judge(&self, now: Instant, policy: &Policy) -> (Health, String) {
        if !self.paths.iter().any(Path::was_heard) {
            return (Health::Unknown, String::new());
        }
        if let Some(since) = self.heard_since {
            let faults = self.paths.iter().filter_map(|path| path.fault(now, since, policy));
            let faults = faults.collect::<Vec<String>>().join(", ");
            let health = if faults.is_empty() { Health::Alive } else { Health::LinkDead };
            return (health, faults);
        }
        let mut reason = String::from("no heartbeat on any path");
        if let Some(path) = self.paths.iter().find(|path| path.answers_echo()) {
            reason = format!("{reason}, though {} answers echo requests", path.address);
        }
        (Health::HostDead, reason)
    }
}
