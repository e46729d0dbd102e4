//! Whether a silent server is still there.
//!
//! A host that vanished says nothing, so streams would wait for it until their deadlines. While
//! requests are open and nothing is heard, the server is asked with a PING. But not often: servers
//! of gRPC take more than one PING in five minutes without data between them as an attack.

use std::time::Duration;

use evergate_core::time::Instant;

/// How often a session is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Looks without a byte before the server is asked.
const SILENT_LOOKS_MAX: u32 = 2;
/// How long after a PING the next may go, if nothing but its answer was heard between them.
const PING_EVERY: Duration = Duration::from_secs(330);
/// Bytes of a PING's answer (RFC 9113, 6.7).
const PONG_BYTES: u64 = 17;

/// Watches one session.
#[derive(Debug, Default)]
pub(crate) struct Vigil {
    /// Bytes heard so far.
    heard: u64,
    silent_looks: u32,
    /// The last PING: when, and what had been heard until then.
    asked: Option<(Instant, u64)>,
    /// Whether anything was heard since.
    answered: bool,
}

/// What to do about a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// Nothing.
    Rest,
    /// Send a PING.
    Ask,
    /// The server is gone.
    GiveUp,
}

impl Vigil {
    /// Looks at a session, every [`LOOK_EVERY`]; `heard` bytes came so far.
    pub(crate) fn look(&mut self, now: Instant, heard: u64, is_busy: bool) -> Step {
        if heard != self.heard {
            (self.heard, self.silent_looks, self.answered) = (heard, 0, true);
            return Step::Rest;
        }
        if self.asked.is_some() && !self.answered {
            return Step::GiveUp;
        }
        if !is_busy {
            self.silent_looks = 0;
            return Step::Rest;
        }
        self.silent_looks += 1;
        if self.silent_looks < SILENT_LOOKS_MAX {
            return Step::Rest;
        }
        let is_welcome = self.asked.is_none_or(|(at, heard_then)| {
            heard > heard_then + PONG_BYTES || now - at >= PING_EVERY
        });
        if !is_welcome {
            return Step::Rest;
        }
        self.asked = Some((now, heard));
        self.answered = false;
        Step::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every look at these (bytes heard, busy) led to, as letters.
    fn steps(looks: &[(u64, bool)]) -> String {
        let mut vigil = Vigil::default();
        let mut now = Instant::EPOCH;
        let steps = looks.iter().map(|&(heard, is_busy)| {
            now = now + LOOK_EVERY;
            match vigil.look(now, heard, is_busy) {
                Step::Rest => '.',
                Step::Ask => 'P',
                Step::GiveUp => 'X',
            }
        });
        steps.collect()
    }

    #[test]
    fn a_busy_session_that_says_nothing_is_asked_once_and_given_up() {
        assert_eq!(steps(&[(9, true), (9, true), (9, true), (9, true)]), "..PX");
    }

    #[test]
    fn an_idle_session_is_left_alone() {
        assert_eq!(steps(&[(9, true), (9, false), (9, true), (9, false), (9, false)]), ".....");
    }

    #[test]
    fn a_server_that_answers_is_not_asked_again_for_more_than_five_minutes() {
        let mut looks = vec![(9, true), (9, true), (9, true)];
        looks.extend([(26, true); 40]);
        let steps = steps(&looks);
        assert_eq!(steps.find('P'), Some(2));
        assert_eq!(steps[3..].find('P'), Some(32), "330 s later: {steps}");
    }

    #[test]
    fn data_between_makes_the_next_question_welcome() {
        assert_eq!(
            steps(&[(9, true), (9, true), (9, true), (90, true), (90, true), (90, true)]),
            "..P..P"
        );
    }
}
