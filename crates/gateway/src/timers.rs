//! Deadlines of one data-plane thread.
//!
//! A connection owns one [`Timer`] and moves it several times a request; almost none ever fires.
//! So moving a deadline to a later time only stores it: the entry stays where it is scheduled and
//! is moved on when that time comes; it even stays for the next owner of the place, for streams come
//! and go faster than deadlines pass. The resolution is one tick, and a deadline never fires early.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use evergate_core::time::Instant;
use evergate_sys::clock;
use tokio::sync::Notify;

/// 2^22 ns, about 4 ms.
const TICK_BITS: u32 = 22;
const UNSCHEDULED: u64 = u64::MAX;

/// Every deadline of one thread, and the task that fires them.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    table: RefCell<Table>,
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Table {
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Keys by the tick they are scheduled at. An entry whose `scheduled` differs is stale.
    due: BTreeMap<u64, Vec<u32>>,
}

#[derive(Debug)]
struct Entry {
    deadline: u64,
    scheduled: u64,
    elapsed: bool,
    /// The endpoint whose end its owner has to hear of; 0 for none.
    concern: u64,
    waker: Option<Waker>,
}

/// One deadline that can be moved. Starts unset.
#[derive(Debug)]
pub(crate) struct Timer {
    timers: Rc<Timers>,
    key: u32,
}

impl Timers {
    /// A timer without a deadline.
    pub(crate) fn timer(self: &Rc<Self>) -> Timer {
        let mut table = self.table.borrow_mut();
        let key = table.free.pop().unwrap_or_else(|| {
            table.entries.push(Entry::default());
            (table.entries.len() - 1) as u32
        });
        Timer { timers: Rc::clone(self), key }
    }

    /// Fires deadlines as they pass, for ever.
    pub(crate) async fn run(&self) {
        loop {
            let next = self.fire(tick_before(clock::now()));
            match next {
                None => self.earlier.notified().await,
                Some(tick) => {
                    let wait = start_of(tick + 1).since(clock::now());
                    tokio::select! {
                        () = tokio::time::sleep(wait.max(Duration::from_millis(1))) => {}
                        () = self.earlier.notified() => {}
                    }
                }
            }
        }
    }

    /// Lets every timer elapse at once, so that its owner looks up.
    pub(crate) fn fire_all(&self) {
        self.table.borrow_mut().fire_where(|_| true);
    }

    /// Lets every timer elapse whose deadline is after `at`. Whoever looks up before that by himself
    /// may count how often he did.
    pub(crate) fn fire_beyond(&self, at: Instant) {
        let tick = tick_before(at);
        self.table.borrow_mut().fire_where(|entry| entry.deadline > tick);
    }

    /// Lets the timers of those elapse who wait for one of these endpoints, so that they look up.
    pub(crate) fn fire_concerned(&self, endpoints: &[u64]) {
        self.table.borrow_mut().fire_where(|entry| endpoints.contains(&entry.concern));
    }

    /// Fires what is due at `now` and returns the tick to wake up at.
    fn fire(&self, now: u64) -> Option<u64> {
        let mut table = self.table.borrow_mut();
        while let Some((&tick, _)) = table.due.first_key_value() {
            if tick > now {
                return Some(tick);
            }
            let Some((_, keys)) = table.due.pop_first() else { break };
            for key in keys {
                table.fire_one(tick, now, key);
            }
        }
        None
    }
}

impl Table {
    fn fire_where(&mut self, is_meant: impl Fn(&Entry) -> bool) {
        for entry in self.entries.iter_mut().filter(|entry| is_meant(entry)) {
            entry.elapsed = true;
            if let Some(waker) = entry.waker.take() {
                waker.wake();
            }
        }
    }

    fn fire_one(&mut self, tick: u64, now: u64, key: u32) {
        let entry = &mut self.entries[key as usize];
        if entry.scheduled != tick {
            return;
        }
        entry.scheduled = UNSCHEDULED;
        if entry.deadline == UNSCHEDULED {
            return;
        }
        if entry.deadline > now {
            entry.scheduled = entry.deadline;
            self.due.entry(entry.deadline).or_default().push(key);
            return;
        }
        entry.elapsed = true;
        if let Some(waker) = entry.waker.take() {
            waker.wake();
        }
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            deadline: UNSCHEDULED,
            scheduled: UNSCHEDULED,
            elapsed: false,
            concern: 0,
            waker: None,
        }
    }
}

impl Timer {
    /// Elapses at `at` and not before, whatever was set earlier.
    pub(crate) fn set(&self, at: Instant) {
        let tick = (at.as_nanos() >> TICK_BITS) + 1;
        let mut table = self.timers.table.borrow_mut();
        let entry = &mut table.entries[self.key as usize];
        entry.deadline = tick;
        entry.elapsed = false;
        if tick >= entry.scheduled {
            return;
        }
        entry.scheduled = tick;
        let earliest = table.due.first_key_value().is_none_or(|(&first, _)| tick < first);
        table.due.entry(tick).or_default().push(self.key);
        if earliest {
            self.timers.earlier.notify_one();
        }
    }

    /// From now on it elapses early too, when something becomes of the endpoint with this uid. That
    /// stays so until it concerns another: whoever is woken without need sets it again.
    pub(crate) fn concern(&self, endpoint: u64) {
        self.timers.table.borrow_mut().entries[self.key as usize].concern = endpoint;
    }

    /// Ready once the deadline has passed. The task is woken when that happens.
    pub(crate) fn poll_elapsed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut table = self.timers.table.borrow_mut();
        let entry = &mut table.entries[self.key as usize];
        if entry.elapsed {
            return Poll::Ready(());
        }
        match &entry.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            Some(_) | None => entry.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut table = self.timers.table.borrow_mut();
        let entry = &mut table.entries[self.key as usize];
        *entry = Entry { scheduled: entry.scheduled, ..Entry::default() };
        table.free.push(self.key);
    }
}

/// The last tick that has wholly passed.
fn tick_before(now: Instant) -> u64 {
    now.as_nanos() >> TICK_BITS
}

fn start_of(tick: u64) -> Instant {
    Instant::from_nanos(tick << TICK_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Instant = Instant::from_nanos(1 << 40);

    fn is_elapsed(timer: &Timer) -> bool {
        timer.poll_elapsed(&Context::from_waker(Waker::noop())).is_ready()
    }

    fn fire_at(timers: &Timers, at: Instant) {
        timers.fire(tick_before(at));
    }

    #[test]
    fn a_deadline_fires_after_its_time_and_not_before() {
        let timers = Rc::new(Timers::default());
        let timer = timers.timer();
        timer.set(T0 + Duration::from_millis(100));
        fire_at(&timers, T0 + Duration::from_millis(99));
        assert!(!is_elapsed(&timer));
        fire_at(&timers, T0 + Duration::from_millis(110));
        assert!(is_elapsed(&timer));
    }

    #[test]
    fn a_deadline_moves_both_ways() {
        let timers = Rc::new(Timers::default());
        let timer = timers.timer();
        timer.set(T0 + Duration::from_secs(60));
        timer.set(T0 + Duration::from_secs(10));
        timer.set(T0 + Duration::from_secs(30));
        fire_at(&timers, T0 + Duration::from_secs(11));
        assert!(!is_elapsed(&timer));
        fire_at(&timers, T0 + Duration::from_secs(31));
        assert!(is_elapsed(&timer));
        timer.set(T0 + Duration::from_secs(70));
        assert!(!is_elapsed(&timer), "setting it again forgets that it elapsed");
    }

    #[test]
    fn whoever_is_concerned_looks_up() {
        let timers = Rc::new(Timers::default());
        let [one, other, nobody] = std::array::from_fn(|_| timers.timer());
        for timer in [&one, &other, &nobody] {
            timer.set(T0 + Duration::from_secs(60));
        }
        one.concern(7);
        other.concern(8);
        timers.fire_concerned(&[7, 9]);
        assert_eq!([&one, &other, &nobody].map(is_elapsed), [true, false, false]);
        one.set(T0 + Duration::from_secs(60));
        assert!(!is_elapsed(&one));
        drop(one);
        let next = timers.timer();
        timers.fire_concerned(&[7]);
        assert!(!is_elapsed(&next), "the place was taken over, the concern was not");
    }

    #[test]
    fn those_who_look_up_soon_anyway_are_left_alone() {
        let timers = Rc::new(Timers::default());
        let [soon, late] = std::array::from_fn(|_| timers.timer());
        soon.set(T0 + Duration::from_millis(900));
        late.set(T0 + Duration::from_secs(60));
        timers.fire_beyond(T0 + Duration::from_secs(1));
        assert_eq!([&soon, &late].map(is_elapsed), [false, true]);
    }

    #[test]
    fn a_dropped_timer_leaves_nothing_behind() {
        let timers = Rc::new(Timers::default());
        let first = timers.timer();
        first.set(T0 + Duration::from_secs(1));
        drop(first);
        let second = timers.timer();
        fire_at(&timers, T0 + Duration::from_secs(2));
        assert!(!is_elapsed(&second), "the key was reused, the deadline was not");
        assert_eq!(timers.table.borrow().entries.len(), 1);
    }

    #[test]
    fn timers_that_come_and_go_are_scheduled_once() {
        let timers = Rc::new(Timers::default());
        for request in 0..100 {
            let timer = timers.timer();
            timer.set(T0 + Duration::from_millis(30_000 + 10 * request));
        }
        let scheduled = timers.table.borrow().due.values().map(Vec::len).sum::<usize>();
        assert_eq!(scheduled, 1);
        let timer = timers.timer();
        timer.set(T0 + Duration::from_secs(40));
        fire_at(&timers, T0 + Duration::from_secs(39));
        assert!(!is_elapsed(&timer), "the deadlines before it were of others");
        fire_at(&timers, T0 + Duration::from_secs(41));
        assert!(is_elapsed(&timer));
    }
}
