//! Asking gateways that are tracked, and addresses of peers, whether they are there.
//!
//! When to ask, and what silence means, is decided by [`Echoes`]; here are the sockets. They need
//! `CAP_NET_RAW`, as adverts do. Nothing here waits.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use evergate_core::echo::{Echoes, Input, Output};
use evergate_core::peer;
use evergate_core::standby::Plan;
use evergate_core::time::Instant;
use evergate_core::track::Subject;
use evergate_sys::echo::Echo;
use evergate_sys::family::Family;
use rustix::event::epoll::{self, EventData, EventFlags};

/// Most answers that are read of a socket in one turn.
const ANSWERS_PER_TURN: usize = 256;
/// How often a socket that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// What was found out about an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Found {
    /// A gateway that is tracked.
    Gateway {
        /// As it is tracked.
        subject: Subject,
        /// Why it fails, if it does.
        failure: Option<String>,
    },
    /// A path to a peer: for the machine of peers.
    Peer(peer::Input),
}

/// The sockets, and who is asked.
#[derive(Debug)]
pub(super) struct Asking {
    echoes: Echoes,
    id: u16,
    gateways: BTreeSet<IpAddr>,
    /// Each with its position among the peers, and that of the path.
    paths: Vec<(IpAddr, usize, usize)>,
    sockets: Vec<(Family, Echo)>,
    problem: Option<String>,
    retry_at: Option<Instant>,
}

impl Asking {
    /// Nobody is asked yet. `seed` was drawn by chance.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            echoes: Echoes::new(seed),
            // Of another process on this machine that asks too: once in 65,536.
            id: (seed >> 48) as u16,
            gateways: BTreeSet::new(),
            paths: Vec::new(),
            sockets: Vec::new(),
            problem: None,
            retry_at: None,
        }
    }

    /// From now on these are asked. Sockets that are not needed are closed, others opened, and put
    /// on `events` under `name`. Says again what is known of those that were asked before.
    pub(super) fn apply(
        &mut self,
        now: Instant,
        plan: &Plan,
        events: (BorrowedFd<'_>, EventData),
    ) -> Vec<Found> {
        let subjects = plan.routers.iter().flat_map(|router| &router.track);
        self.gateways = subjects
            .filter_map(|rule| match &rule.subject {
                Subject::Gateway(address) => Some(*address),
                Subject::Listener(_) | Subject::Pool(_) | Subject::App(_) | Subject::Link(_) => {
                    None
                }
            })
            .collect();
        let peers = plan.peers.iter().enumerate().filter(|_| plan.heartbeat.is_some());
        self.paths = peers
            .flat_map(|(at, peer)| {
                peer.addresses.iter().enumerate().map(move |(path, address)| (*address, at, path))
            })
            .collect();
        let addresses: Vec<IpAddr> = self.addresses().collect();
        self.echoes.apply(now, addresses.into_iter());
        self.open(now, events);
        self.ask(now)
    }

    /// How many sockets are open.
    #[cfg(test)]
    fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// Takes in what has arrived. Then comes [`Self::tick`].
    pub(super) fn receive(&mut self, now: Instant) {
        for (_, socket) in &self.sockets {
            for _ in 0..ANSWERS_PER_TURN {
                // An error is that of some question of before, or nothing.
                let Ok(Some(reply)) = socket.receive() else { break };
                self.echoes.handle(now, Input::Answered { from: reply.from, token: reply.token });
            }
        }
    }

    /// Asks whoever is due, and says what was found out.
    pub(super) fn tick(&mut self, now: Instant, events: (BorrowedFd<'_>, EventData)) -> Vec<Found> {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.open(now, events);
        }
        self.echoes.handle(now, Input::Tick);
        self.ask(now)
    }

    /// When [`Self::tick`] is wanted.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.echoes.deadline().into_iter().chain(self.retry_at).min()
    }

    /// Why nobody can be asked.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    fn ask(&mut self, now: Instant) -> Vec<Found> {
        let mut found = Vec::new();
        while let Some(output) = self.echoes.next_output() {
            match output {
                Output::Ask { to, sequence, token } => {
                    if let Err(why) = self.send(to, sequence, token) {
                        self.echoes.handle(now, Input::Unsent { to, why });
                    }
                }
                Output::Found { address, failure } => self.tell(address, failure, &mut found),
            }
        }
        found
    }

    fn send(&self, to: IpAddr, sequence: u16, token: u64) -> Result<(), String> {
        let socket = self.sockets.iter().find(|(family, _)| *family == Family::of(to));
        let Some((_, socket)) = socket else {
            return Err(self.problem.clone().unwrap_or_default());
        };
        socket.ask(to, sequence, token).map_err(|error| error.to_string())
    }

    fn tell(&self, address: IpAddr, failure: Option<String>, found: &mut Vec<Found>) {
        let answers = failure.is_none();
        for &(_, peer, path) in self.paths.iter().filter(|(other, _, _)| *other == address) {
            found.push(Found::Peer(peer::Input::Echo { peer, path, answers }));
        }
        if self.gateways.contains(&address) {
            found.push(Found::Gateway { subject: Subject::Gateway(address), failure });
        }
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.gateways.iter().copied().chain(self.paths.iter().map(|(address, _, _)| *address))
    }

    /// Opens what is needed and not open, and closes what is not needed.
    fn open(&mut self, now: Instant, (events, name): (BorrowedFd<'_>, EventData)) {
        let needed: Vec<Family> = [Family::V4, Family::V6]
            .into_iter()
            .filter(|family| self.addresses().any(|address| Family::of(address) == *family))
            .collect();
        self.sockets.retain(|(family, _)| needed.contains(family));
        (self.problem, self.retry_at) = (None, None);
        for family in needed {
            if self.sockets.iter().any(|(open, _)| *open == family) {
                continue;
            }
            let opened = Echo::open(family, self.id, None).and_then(|socket| {
                epoll::add(events, &socket, name, EventFlags::IN)?;
                Ok(socket)
            });
            match opened {
                Ok(socket) => self.sockets.push((family, socket)),
                Err(error) => {
                    self.problem = Some(format!("no echo requests can be sent: {error}"));
                    self.retry_at = Some(now + RETRY);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
