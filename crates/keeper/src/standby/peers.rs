//! What is said to other nodes and heard of them beside adverts, and who answers when it is asked
//! whether it is there.

use std::os::fd::AsFd;

use evergate_core::peer;
use evergate_core::standby::{Input, Note, Severity};
use evergate_core::time::Instant;
use evergate_core::track::Subject;

use super::echo::Found;
use super::{ECHOES, PEERS, Running};

/// What a problem with heartbeats, and one with echo requests, is found under.
const HEARTBEATS: &str = "heartbeat";
const ASKING: &str = "reachability";

impl Running {
    /// From now on these are the peers, and these gateways are asked.
    pub(super) fn apply_peers(&mut self, now: Instant) {
        let (plan, secret) = (&self.wish.plan, self.wish.secret.as_ref());
        self.heartbeat.apply(now, plan, secret, (self.events.as_fd(), PEERS));
        let found = self.asking.apply(now, plan, (self.events.as_fd(), ECHOES));
        self.tell_found(now, found);
        self.tell_silence();
    }

    /// Takes in what peers have said.
    pub(super) fn hear_peers(&mut self, now: Instant) {
        let Self { heartbeat, machine, .. } = self;
        heartbeat.receive(now, |input| {
            if let Some(input) = joined(input) {
                machine.handle(now, input);
            }
        });
        if let Some((subject, reason)) = self.heartbeat.take_odd(now) {
            let severity = Severity::Warn;
            self.notes.push(Note { severity, kind: "heartbeat_refused", subject, reason });
        }
    }

    /// Takes in who has answered.
    pub(super) fn hear_echoes(&mut self, now: Instant) {
        self.asking.receive(now);
        self.ask(now);
    }

    /// Does what is due.
    pub(super) fn tend_peers(&mut self, now: Instant) {
        if self.heartbeat.deadline().is_some_and(|at| at <= now) {
            self.heartbeat.tick(now, (self.events.as_fd(), PEERS));
            self.tell_silence();
        }
        if self.asking.deadline().is_some_and(|at| at <= now) {
            self.ask(now);
        }
    }

    /// When something is due.
    pub(super) fn peers_deadline(&self) -> Option<Instant> {
        self.heartbeat.deadline().into_iter().chain(self.asking.deadline()).min()
    }

    fn ask(&mut self, now: Instant) {
        let found = self.asking.tick(now, (self.events.as_fd(), ECHOES));
        self.tell_found(now, found);
        self.tell_silence();
    }

    fn tell_found(&mut self, now: Instant, found: Vec<Found>) {
        for one in found {
            let input = match one {
                Found::Gateway { subject, failure } => {
                    debug_assert!(matches!(subject, Subject::Gateway(_)), "nothing else is asked");
                    Some(Input::Verdict { subject, failure })
                }
                Found::Peer(input) => joined(input),
            };
            if let Some(input) = input {
                self.feed(now, input);
                self.telling.mark();
            }
        }
    }

    /// What cannot be said or asked is a problem.
    fn tell_silence(&mut self) {
        for (of, problem) in
            [(HEARTBEATS, self.heartbeat.problem()), (ASKING, self.asking.problem())]
        {
            match problem {
                Some(why) => drop(self.problems.insert(of.to_owned(), why.to_owned())),
                None => drop(self.problems.remove(of)),
            }
        }
    }
}

/// What is known of peers, in the words of the join.
fn joined(input: peer::Input) -> Option<Input> {
    match input {
        peer::Input::Said { peer, path, message } => Some(Input::Said { peer, path, message }),
        peer::Input::Refused { peer, path } => Some(Input::Refused { peer, path }),
        peer::Input::Echo { peer, path, answers } => Some(Input::Echo { peer, path, answers }),
        // The join's own to say.
        peer::Input::Claims(_) | peer::Input::Tick => None,
    }
}
