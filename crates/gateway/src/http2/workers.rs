//! Tasks that serve streams, one after the other.
//!
//! The task of a stream takes kilobytes: too much to be allocated, moved into place and freed for
//! every request. So a task that has served one stream waits for the next, whatever connection it
//! comes on; those that nobody needs for a while end.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::stream::{self, Opened};
use crate::shard::Shard;

/// Tasks that wait for a stream; past that they end with the one they have.
const WAITING_MAX: usize = 256;

/// The tasks of one thread that wait for streams.
#[derive(Default)]
pub(crate) struct Workers {
    waiting: RefCell<Vec<Rc<Desk>>>,
    /// The fewest that waited since the last sweep: so many were not needed.
    waiting_min: Cell<usize>,
}

/// Where a task finds its next stream.
#[derive(Default)]
struct Desk {
    opened: RefCell<Option<Opened>>,
    dismissed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Workers {
    /// Has a stream served to its end by a task.
    pub(super) fn serve(&self, shard: &Rc<Shard>, opened: Opened) {
        let mut waiting = self.waiting.borrow_mut();
        let desk = waiting.pop();
        self.waiting_min.set(self.waiting_min.get().min(waiting.len()));
        match desk {
            Some(desk) => {
                *desk.opened.borrow_mut() = Some(opened);
                desk.wake();
            }
            None => {
                let desk = Desk { opened: RefCell::new(Some(opened)), ..Desk::default() };
                tokio::task::spawn_local(work(Rc::clone(shard), Rc::new(desk)));
            }
        }
    }

    /// How many tasks wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Ends the tasks that were not needed since the last sweep.
    pub(crate) fn sweep(&self) {
        let mut waiting = self.waiting.borrow_mut();
        let surplus = self.waiting_min.get().min(waiting.len());
        for desk in waiting.drain(..surplus) {
            desk.dismissed.set(true);
            desk.wake();
        }
        self.waiting_min.set(waiting.len());
    }

    /// Puts a task in line for another stream; false if enough wait.
    fn wait_in_line(&self, desk: &Rc<Desk>) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let is_wanted = waiting.len() < WAITING_MAX;
        if is_wanted {
            waiting.push(Rc::clone(desk));
        }
        is_wanted
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

impl Desk {
    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Ready with whether there is a stream to serve.
    fn poll_next(&self, cx: &Context<'_>) -> Poll<bool> {
        if self.dismissed.get() {
            return Poll::Ready(false);
        }
        if self.opened.borrow().is_some() {
            return Poll::Ready(true);
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// The life of a task.
async fn work(shard: Rc<Shard>, desk: Rc<Desk>) {
    while poll_fn(|cx| desk.poll_next(cx)).await {
        stream::serve(&desk.opened).await;
        if !shard.workers.wait_in_line(&desk) {
            return;
        }
    }
}
