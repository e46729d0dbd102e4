//! What the probe saw, and what follows from it.

use std::time::Duration;

use super::Moment;

/// A request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Request {
    /// When it was due and sent.
    pub start: Moment,
    /// When its answer was there, or it had failed.
    pub end: Moment,
    /// How it ended.
    pub outcome: Outcome,
    /// Over which kind of connection.
    pub stream: Stream,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The node with this letter answered.
    Good(char),
    /// It did not; why, in a word.
    Failed(Failure),
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Failure {
    /// The connection was refused.
    Refused,
    /// The connection was reset, or closed without an answer.
    Broken,
    /// There was no way to the address.
    Unreachable,
    /// Nothing came back within the timeout.
    Silent,
    /// Something else than an answer came back.
    Wrong,
}

/// Which stream a request belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stream {
    /// A connection of its own.
    Fresh,
    /// The one kept connection.
    Kept,
}

/// Every request of a run, by their start.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Those over connections of their own.
    pub fresh: Vec<Request>,
    /// Those over the kept connection.
    pub kept: Vec<Request>,
}

/// The move of the address from one node to another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Switch {
    /// From the start of the last request that the old node answered to that of the first one that
    /// the new one did.
    pub gap: Duration,
    /// From the fault to that.
    pub after_event: Duration,
}

impl Failure {
    const ALL: [Self; 5] =
        [Self::Refused, Self::Broken, Self::Unreachable, Self::Silent, Self::Wrong];

    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Broken => "broken",
            Self::Unreachable => "unreachable",
            Self::Silent => "silent",
            Self::Wrong => "wrong",
        }
    }
}

impl Request {
    /// As a line.
    pub(super) fn to_line(self) -> String {
        let stream = match self.stream {
            Stream::Fresh => 'f',
            Stream::Kept => 'k',
        };
        let outcome = match self.outcome {
            Outcome::Good(node) => node.to_string(),
            Outcome::Failed(failure) => failure.word().to_owned(),
        };
        format!("{stream} {} {} {outcome}", self.start.0, self.end.0)
    }

    fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let stream = match words.next()? {
            "f" => Stream::Fresh,
            "k" => Stream::Kept,
            _ => return None,
        };
        let start = Moment(words.next()?.parse().ok()?);
        let end = Moment(words.next()?.parse().ok()?);
        let word = words.next()?;
        let failure = Failure::ALL.into_iter().find(|failure| failure.word() == word);
        let outcome = match failure {
            Some(failure) => Outcome::Failed(failure),
            None => Outcome::Good(word.chars().next()?),
        };
        Some(Self { start, end, outcome, stream })
    }

    fn node(&self) -> Option<char> {
        match self.outcome {
            Outcome::Good(node) => Some(node),
            Outcome::Failed(_) => None,
        }
    }
}

impl Trace {
    /// Reads what the probe printed; lines that are no request are left out.
    pub fn read<'l>(lines: impl Iterator<Item = &'l str>) -> Self {
        let mut trace = Self::default();
        for request in lines.filter_map(Request::from_line) {
            match request.stream {
                Stream::Fresh => trace.fresh.push(request),
                Stream::Kept => trace.kept.push(request),
            }
        }
        trace.fresh.sort_by_key(|request| request.start);
        trace.kept.sort_by_key(|request| request.start);
        trace
    }

    /// The first move after `event`; none if whoever answered before goes on.
    pub fn switch(&self, event: Moment) -> Option<Switch> {
        let mut old = None;
        let mut last_of_old = None;
        for request in &self.fresh {
            let Some(node) = request.node() else { continue };
            if request.start <= event {
                old = Some(node);
            }
            if old.is_none() || old == Some(node) {
                last_of_old = Some(request.start);
            } else {
                let gap = last_of_old.map_or(Duration::ZERO, |last| request.start.since(last));
                return Some(Switch { gap, after_event: request.start.since(event) });
            }
        }
        None
    }

    /// The longest time from one good request to the next, after `event`.
    pub fn longest_gap(&self, event: Moment) -> Duration {
        let good: Vec<Moment> = self
            .fresh
            .iter()
            .filter(|request| request.node().is_some())
            .map(|request| request.start)
            .collect();
        let pairs = good.windows(2).filter(|pair| pair[1] >= event);
        let between = pairs.map(|pair| pair[1].since(pair[0])).max().unwrap_or_default();
        // Nothing good until the end is a gap as well.
        let end = self.fresh.last().map_or(event, |request| request.start);
        between.max(end.since(good.last().copied().unwrap_or(event)))
    }

    /// Requests over connections of their own that failed.
    pub fn failed(&self) -> usize {
        self.fresh.iter().filter(|request| request.node().is_none()).count()
    }

    /// How those failed, such as `3 refused, 40 silent`.
    pub fn failures(&self) -> String {
        let count = |failure| {
            let failed = |request: &&Request| request.outcome == Outcome::Failed(failure);
            self.fresh.iter().filter(failed).count()
        };
        let kinds = Failure::ALL.into_iter().map(|failure| (failure.word(), count(failure)));
        let said = kinds.filter(|(_, count)| *count > 0).map(|(word, n)| format!("{n} {word}"));
        said.collect::<Vec<_>>().join(", ")
    }

    /// Requests over the kept connection that failed; each means a new connection.
    pub fn kept_failed(&self) -> usize {
        self.kept.iter().filter(|request| request.node().is_none()).count()
    }

    /// How often another node answered than just before.
    pub fn flips(&self) -> usize {
        let nodes: Vec<char> = self.fresh.iter().filter_map(Request::node).collect();
        nodes.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    /// Who answered last.
    pub fn last_node(&self) -> Option<char> {
        self.fresh.iter().rev().find_map(Request::node)
    }

    /// Longest time in which the probe sent nothing, though it should have: the machine's noise.
    pub fn stall(&self) -> Duration {
        let pairs = self.fresh.windows(2);
        pairs.map(|pair| pair[1].start.since(pair[0].start)).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Requests 2 ms apart, each a letter of who answered, or `-` for one that failed.
    fn trace(word: &str) -> Trace {
        let lines = word.chars().enumerate().map(|(index, letter)| {
            let start = index as u64 * 2 * MS;
            let outcome = if letter == '-' { "silent".to_owned() } else { letter.to_string() };
            format!("f {start} {} {outcome}", start + MS)
        });
        let lines: Vec<String> = lines.collect();
        Trace::read(lines.iter().map(String::as_str))
    }

    #[test]
    fn a_gap_goes_from_the_last_good_start_to_the_first_of_the_new_node() {
        let trace = trace("AAAA---BBB");
        let switch = trace.switch(Moment(7 * MS)).unwrap();
        assert_eq!(switch.gap, Duration::from_millis(8));
        assert_eq!(switch.after_event, Duration::from_millis(7));
        assert_eq!((trace.failed(), trace.flips()), (3, 1));
        assert_eq!(trace.failures(), "3 silent");
        assert_eq!(trace.last_node(), Some('B'));
    }

    #[test]
    fn whoever_answers_before_and_after_has_not_moved() {
        let trace = trace("AAA----AAA");
        assert_eq!(trace.switch(Moment(6 * MS)), None);
        assert_eq!(trace.longest_gap(Moment(6 * MS)), Duration::from_millis(10));
    }

    #[test]
    fn silence_until_the_end_is_a_gap() {
        let trace = trace("AAA-------");
        assert_eq!(trace.longest_gap(Moment(6 * MS)), Duration::from_millis(14));
        assert_eq!(trace.switch(Moment(6 * MS)), None);
    }

    #[test]
    fn answers_of_the_old_node_after_the_event_shorten_no_gap() {
        let trace = trace("AAAABABBB");
        let switch = trace.switch(Moment(5 * MS)).unwrap();
        assert_eq!(switch.gap, Duration::from_millis(2));
        assert_eq!(trace.flips(), 3);
    }

    #[test]
    fn the_time_in_which_the_probe_slept_is_noise() {
        let text = ["f 0 1 A", "f 2000000 3 A", "f 30000000 31 A", "k 0 5 broken"];
        let trace = Trace::read(text.into_iter());
        assert_eq!(trace.stall(), Duration::from_millis(28));
        assert_eq!(trace.kept_failed(), 1);
    }
}
