//! What the operator wants of the keeper: sent on to the keeper, and answered when that has spoken.

use std::collections::BTreeMap;

use evergate_control::link::{ToKeeper, UpgradeOrder, Verb};
use evergate_core::standby::Order;
use tokio::sync::oneshot;

use super::control_plane::ControlPlane;

/// Most wishes that wait for the keeper at once; more are refused.
const WISHES_WAITING_MAX: usize = 64;
/// Said when there is nobody to carry a wish out.
const KEEPER_GONE: &str = "the keeper is gone: nothing can be changed until Evergate is restarted";

/// What becomes of a wish: a line for each step, or why nothing is done.
type Answer = Result<Vec<String>, String>;

/// Wishes that the keeper has not answered yet, by the number it repeats.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    waiting: BTreeMap<u32, oneshot::Sender<Answer>>,
    last: u32,
}

impl Wishes {
    /// Takes a place for an answer and gives it a number; gives it back if there is no room.
    fn add(&mut self, reply: oneshot::Sender<Answer>) -> Result<u32, oneshot::Sender<Answer>> {
        // Whoever asked may have given up.
        self.waiting.retain(|_, reply| !reply.is_closed());
        if self.waiting.len() >= WISHES_WAITING_MAX {
            return Err(reply);
        }
        self.last = self.last.wrapping_add(1);
        self.waiting.insert(self.last, reply);
        Ok(self.last)
    }

    /// Passes an answer on; one that nobody waits for any more is dropped.
    pub(super) fn answer(&mut self, request: u32, answer: Answer) {
        if let Some(reply) = self.waiting.remove(&request) {
            drop(reply.send(answer));
        }
    }

    /// Answers every wish that waits: nobody else is going to.
    pub(super) fn keeper_is_gone(&mut self) {
        for reply in std::mem::take(&mut self.waiting).into_values() {
            drop(reply.send(Err(KEEPER_GONE.to_owned())));
        }
    }
}

impl ControlPlane {
    /// Tells the keeper what the operator wants of an app; `reply` is answered when it has spoken.
    pub(super) fn wish(
        &mut self,
        app: String,
        instance: Option<u16>,
        verb: Verb,
        reply: oneshot::Sender<Answer>,
    ) {
        self.pass_on(reply, |request| ToKeeper::Wish { request, app, instance, verb });
    }

    /// Tells the keeper that the operator wants an upgrade; `reply` is answered when it has spoken.
    pub(super) fn upgrade(&mut self, order: UpgradeOrder, reply: oneshot::Sender<Answer>) {
        self.pass_on(reply, |request| ToKeeper::Upgrade { request, order });
    }

    /// Tells the keeper what the operator wants of virtual addresses; `reply` is answered when it has
    /// spoken.
    pub(super) fn order_standby(&mut self, order: Order, reply: oneshot::Sender<Answer>) {
        self.pass_on(reply, |request| ToKeeper::Standby { request, order });
    }

    fn pass_on(&mut self, reply: oneshot::Sender<Answer>, message: impl FnOnce(u32) -> ToKeeper) {
        if self.keeper_is_gone() {
            return drop(reply.send(Err(KEEPER_GONE.to_owned())));
        }
        let request = match self.wishes.add(reply) {
            Ok(request) => request,
            Err(reply) => {
                let why = format!("{WISHES_WAITING_MAX} wishes wait for the keeper already");
                return drop(reply.send(Err(why)));
            }
        };
        if let Err(error) = self.link.send(&message(request), &[]) {
            self.wishes.answer(request, Err(format!("cannot tell the keeper: {error}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wish_gets_its_own_answer() {
        let mut wishes = Wishes::default();
        let ((one, mut first), (two, mut second)) = (oneshot::channel(), oneshot::channel());
        let (one, two) = (wishes.add(one).unwrap(), wishes.add(two).unwrap());
        wishes.answer(two, Err("no".into()));
        wishes.answer(two, Ok(Vec::new()));
        wishes.answer(99, Ok(Vec::new()));
        assert!(first.try_recv().is_err(), "only the second was answered");
        assert_eq!(second.try_recv().unwrap(), Err("no".to_owned()));
        wishes.answer(one, Ok(vec!["step".into()]));
        assert_eq!(first.try_recv().unwrap(), Ok(vec!["step".to_owned()]));
    }

    #[test]
    fn whoever_gave_up_makes_room_and_nobody_waits_for_a_keeper_that_is_gone() {
        let mut wishes = Wishes::default();
        let mut answers: Vec<_> = (0..WISHES_WAITING_MAX)
            .map(|_| {
                let (reply, answer) = oneshot::channel();
                wishes.add(reply).unwrap();
                answer
            })
            .collect();
        assert!(wishes.add(oneshot::channel().0).is_err(), "it is full");
        drop(answers.pop());
        let (reply, answer) = oneshot::channel();
        wishes.add(reply).unwrap();
        answers.push(answer);
        wishes.keeper_is_gone();
        for mut answer in answers {
            assert_eq!(answer.try_recv().unwrap(), Err(KEEPER_GONE.to_owned()));
        }
        assert!(wishes.waiting.is_empty());
    }
}
