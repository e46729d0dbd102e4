//! Whether addresses answer echo requests: gateways that are tracked, and peers whose heartbeats
//! may be missing for another reason than a dead host.
//!
//! Every address is asked once in an interval. It fails when several questions in a row went
//! unanswered, the last for a whole interval, and works again with the first answer; how long that
//! must last to matter is not decided here.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::rng::Rng;
use crate::time::Instant;

#[cfg(test)]
mod tests;

/// Between two questions to an address.
pub const INTERVAL: Duration = Duration::from_millis(200);
/// How many in a row must go unanswered.
pub const MISSING: usize = 3;
/// Most addresses that are asked.
pub const ADDRESSES_MAX: usize = 64;

/// What happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// Something answered.
    Answered {
        /// Who.
        from: IpAddr,
        /// What was in the question.
        token: u64,
    },
    /// A question could not be sent.
    Unsent {
        /// To whom.
        to: IpAddr,
        /// Why, for people.
        why: String,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Send a question.
    Ask {
        /// To whom.
        to: IpAddr,
        /// Its number.
        sequence: u16,
        /// What is in it: nobody who has not seen it knows.
        token: u64,
    },
    /// It turned out, or changed, whether an address answers.
    Found {
        /// Which.
        address: IpAddr,
        /// Why not, if it does not.
        failure: Option<String>,
    },
}

/// All addresses that are asked.
///
/// Drain [`Self::next_output`] to `None` after every call, and hand in [`Input::Tick`] no later than
/// [`Self::deadline`], after whatever was received until then.
#[derive(Clone, Debug)]
pub struct Echoes {
    targets: Vec<Target>,
    rng: Rng,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Debug)]
struct Target {
    address: IpAddr,
    ask_at: Instant,
    sequence: u16,
    /// What was asked since the last answer, the last [`MISSING`] of it.
    open: VecDeque<u64>,
    /// Why the last question could not be sent.
    unsent: Option<String>,
    /// Why it fails, if it does, once that is known.
    found: Option<Option<String>>,
}

impl Echoes {
    /// Nobody is asked yet.
    pub const fn new(seed: u64) -> Self {
        Self { targets: Vec::new(), rng: Rng::seeded(seed), outputs: VecDeque::new() }
    }

    /// Changes who is asked. What is known of those that are asked already remains, and is told
    /// again. What is beyond [`ADDRESSES_MAX`] is left out.
    pub fn apply(&mut self, now: Instant, addresses: impl Iterator<Item = IpAddr>) {
        let mut known = core::mem::take(&mut self.targets);
        for address in addresses.take(ADDRESSES_MAX) {
            if self.targets.iter().any(|target| target.address == address) {
                continue;
            }
            let at = known.iter().position(|target| target.address == address);
            self.targets.push(match at {
                Some(at) => known.swap_remove(at),
                None => Target::new(now, address),
            });
        }
        let tell = |target: &Target| {
            let failure = target.found.clone()?;
            Some(Output::Found { address: target.address, failure })
        };
        self.outputs.extend(self.targets.iter().filter_map(tell));
        self.settle(now);
    }

    /// Advances everything by one event.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Answered { from, token } => {
                let target = self.targets.iter_mut().find(|target| target.address == from);
                if let Some(target) = target.filter(|target| target.open.contains(&token)) {
                    target.open.clear();
                    target.unsent = None;
                    let news = target.find(true);
                    self.outputs.extend(news);
                }
            }
            Input::Unsent { to, why } => {
                if let Some(target) = self.targets.iter_mut().find(|target| target.address == to) {
                    target.unsent = Some(why);
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

    /// When [`Input::Tick`] is wanted.
    pub fn deadline(&self) -> Option<Instant> {
        self.targets.iter().map(|target| target.ask_at).min()
    }

    fn settle(&mut self, now: Instant) {
        for target in &mut self.targets {
            if target.ask_at > now {
                continue;
            }
            if target.open.len() >= MISSING {
                target.open.pop_front();
                let news = target.find(false);
                self.outputs.extend(news);
            }
            let token = self.rng.next_u64();
            target.open.push_back(token);
            target.unsent = None;
            target.sequence = target.sequence.wrapping_add(1);
            target.ask_at = now + INTERVAL;
            let (to, sequence) = (target.address, target.sequence);
            self.outputs.push_back(Output::Ask { to, sequence, token });
        }
    }
}

impl Target {
    const fn new(now: Instant, address: IpAddr) -> Self {
        Self { address, ask_at: now, sequence: 0, open: VecDeque::new(), unsent: None, found: None }
    }

    /// Takes note of whether it works; what is to be told of that.
    fn find(&mut self, works: bool) -> Option<Output> {
        if self.found.as_ref().is_some_and(|failure| failure.is_none() == works) {
            return None;
        }
        let failure = (!works).then(|| match &self.unsent {
            Some(why) => format!("{} cannot be asked: {why}", self.address),
            None => format!("{} does not answer echo requests", self.address),
        });
        self.found = Some(failure.clone());
        Some(Output::Found { address: self.address, failure })
    }
}
