//! What was counted and what is open, from worker to worker.

use std::collections::BTreeMap;

use evergate_control::link::{KEPT_STATE, Role, ToKeeper, ToWorker};
use evergate_sys::clock;

use crate::clients::{Connection, ask};
use crate::keeper::{Keeper, PATIENCE, Worker};
use crate::upgrade;

const START: &str = "evergate_start_time_seconds";

/// Everything that was counted, which never goes back.
struct Watch {
    seen: BTreeMap<String, f64>,
}

impl Watch {
    /// Looks until so many requests were counted.
    fn look(&mut self, keeper: &Keeper, requests: u64) {
        let until = clock::now() + PATIENCE;
        loop {
            let counters = keeper.counters();
            for (sample, before) in &self.seen {
                let now = counters.get(sample).unwrap_or_else(|| panic!("{sample} is gone"));
                assert!(now >= before, "{sample} was {before} and is {now}");
            }
            assert!(self.seen.is_empty() || counters[START] == self.seen[START]);
            let counted = requests_in(&counters);
            assert!(counted <= requests, "{counted} of {requests} requests");
            self.seen = counters;
            if counted == requests {
                return;
            }
            assert!(clock::now() < until, "only {counted} of {requests} requests");
        }
    }
}

fn requests_in(counters: &BTreeMap<String, f64>) -> u64 {
    let requests =
        counters.iter().filter(|(sample, _)| sample.starts_with("evergate_requests_total"));
    requests.map(|(_, count)| *count as u64).sum()
}

fn open_to(keeper: &Keeper, worker: &Worker) -> Option<u64> {
    let status = keeper.status();
    let mut workers = status["workers"].as_array().unwrap().iter();
    let one = workers.find(|one| one["generation"] == worker.generation).unwrap();
    one["connections"].as_u64()
}

#[test]
fn nothing_that_was_counted_is_ever_taken_back_or_counted_twice() {
    let mut keeper = Keeper::new();
    let address = keeper.address();
    let mut watch = Watch { seen: BTreeMap::new() };
    let mut one = keeper.start(Role::Primary);
    (0..10).for_each(|_| drop(ask(address)));
    watch.look(&keeper, 10);
    one.order(&mut keeper, &ToWorker::Ping { number: 1 }, &ToKeeper::Pong { number: 1 });
    one.kill();

    let mut two = keeper.start(Role::Primary);
    watch.look(&keeper, 10);
    let mut busy = Connection::open(address).unwrap();
    drop(busy.get().unwrap());
    watch.look(&keeper, 11);

    let mut three = keeper.start(Role::Candidate);
    three.tell(&upgrade(&[&two, &three], None));
    three.order(&mut keeper, &ToWorker::Activate, &ToKeeper::Activated);
    (0..10).for_each(|_| drop(ask(address)));
    two.order(&mut keeper, &ToWorker::Release, &ToKeeper::Released);
    // Some are counted by one worker, some by the other.
    drop(busy.get().unwrap());
    (0..10).for_each(|_| drop(ask(address)));
    acquire(&mut keeper, &mut three);
    // Of those who asked, the last may not have been seen to leave.
    assert!(open_to(&keeper, &two).is_some_and(|open| open >= 1), "as the state says");
    two.wait(&mut keeper, |said| matches!(said, ToKeeper::Shared).then_some(()));
    keeper.pass_on(two.generation, &three);
    keeper.pass_on(two.generation, &three);
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
    two.tell(&ToWorker::Retire);
    two.order(&mut keeper, &ToWorker::Ping { number: 2 }, &ToKeeper::Pong { number: 2 });
    busy.send("\r\n").unwrap();
    assert!(busy.answer().unwrap().is_last);
    two.wait(&mut keeper, |said| matches!(said, ToKeeper::Drained).then_some(()));
    keeper.pass_on(two.generation, &three);
    watch.look(&keeper, 33);
    assert_eq!(open_to(&keeper, &two), Some(0));
    two.tell(&ToWorker::Finish);
    assert_eq!(two.exit_status(), Some(0), "{}", keeper.told(&two));
    three.tell(&ToWorker::Gone { generation: two.generation });
    watch.look(&keeper, 33);
    three.order(&mut keeper, &ToWorker::Ping { number: 3 }, &ToKeeper::Pong { number: 3 });
    three.kill();

    let _four = keeper.start(Role::Primary);
    watch.look(&keeper, 33);
}

fn acquire(keeper: &mut Keeper, worker: &mut Worker) {
    let state = keeper.kept(KEPT_STATE).unwrap();
    worker.tell_with(&ToWorker::Acquire, &[std::os::fd::AsFd::as_fd(&state)]);
    worker.wait(keeper, |said| (*said == ToKeeper::Acquired).then_some(()));
}

#[test]
fn a_state_that_cannot_be_trusted_is_not_used_and_people_are_told() {
    let mut keeper = Keeper::new();
    let address = keeper.address();
    let mut one = keeper.start(Role::Primary);
    drop(ask(address));
    let mut watch = Watch { seen: BTreeMap::new() };
    watch.look(&keeper, 1);
    one.order(&mut keeper, &ToWorker::Ping { number: 1 }, &ToKeeper::Pong { number: 1 });
    one.kill();
    keeper.keep(KEPT_STATE, b"something else");

    let two = keeper.start(Role::Primary);
    let told = keeper.told(&two);
    assert!(told.contains("state_refused") && told.contains("not a state of Evergate"), "{told}");
    drop(ask(address));
    let mut anew = Watch { seen: BTreeMap::new() };
    anew.look(&keeper, 1);
    assert!(anew.seen[START] >= watch.seen[START]);
}
