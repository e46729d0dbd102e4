//! The messages between keeper and worker.

use std::fmt::Debug;

use evergate_control::link::{ToKeeper, ToWorker, decode, encode};

/// What is understood says the same again after it was written down.
pub fn link_to_keeper(input: &[u8]) {
    if let Ok(message) = decode::<ToKeeper>(input) {
        expect_same(&message, decode(&encode(&message)));
    }
}

/// What is understood says the same again after it was written down.
pub fn link_to_worker(input: &[u8]) {
    if let Ok(message) = decode::<ToWorker>(input) {
        expect_same(&message, decode(&encode(&message)));
    }
}

fn expect_same<M: Debug + PartialEq, E: Debug>(message: &M, again: Result<M, E>) {
    let again = again.expect("what was encoded can be decoded");
    assert_eq!(&again, message, "a message survives being encoded");
}
