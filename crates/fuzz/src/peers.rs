//! What nodes say to each other.

use evergate_core::peer::session::{DATAGRAM_BYTES_MAX, Sessions};
use evergate_core::peer::{Input, Peers, Policy, Setup};
use evergate_core::time::Instant;
use std::time::Duration;

/// The beginning of a datagram to the node below, and of messages in CBOR.
pub(crate) const WORDS: &[&str] = &["EVG\x01", "\0\0\0\0\0\0\0\x14", "\0\0\0\0\0\0\0\x0a", "peer"];

/// Bytes after the header of a datagram; or a whole one. A message is heard once, and whatever it
/// says, the machine of peers stays within its bounds.
pub fn peers(input: &[u8]) {
    let node = || {
        let mut sessions = Sessions::new(0x0a);
        sessions.apply(["peer"].into_iter());
        sessions
    };
    let mut sessions = node();
    if let Ok(taken) = sessions.read(0, input, None)
        && taken.message.is_some()
    {
        assert!(input.len() <= DATAGRAM_BYTES_MAX);
        assert!(sessions.read(0, input, None).is_err(), "once is enough");
    }
    let mut sessions = node();
    let mut sender = Sessions::new(0x14);
    sender.apply(["node"].into_iter());
    let mut datagram = Vec::new();
    // A header that says: from the sender, to the node.
    sessions.write(0, None, None, &mut datagram).expect("it is empty");
    let _ = sender.read(0, &datagram, None);
    sender.write(0, None, None, &mut datagram).expect("it is empty");
    datagram.extend(input);
    let Ok(taken) = sessions.read(0, &datagram, None) else { return };
    let Some(message) = taken.message else { return };
    let mut again = Vec::new();
    if sender.write(0, Some(&message), None, &mut again).is_ok() {
        let taken = sessions.read(0, &again, None).expect("it was written by the rules");
        assert_eq!(taken.message.as_ref(), Some(&message));
    }
    let now = Instant::EPOCH + Duration::from_secs(1);
    let policy = Policy { interval: Duration::from_millis(100), missing: 3, port: 1 };
    let addresses = [1, 2].map(|last| [10, 0, 0, last].into()).to_vec();
    let mut peers = Peers::new(now, 0, 1);
    peers.apply(now, "node", Some(policy), &[Setup { name: "peer".to_owned(), addresses }]);
    for path in 0..2 {
        peers.handle(now, Input::Said { peer: 0, path, message: message.clone() });
        let deadline = peers.deadline().expect("beats are due");
        assert!(deadline > now && deadline - now <= policy.interval);
        while peers.next_output().is_some() {}
    }
    assert_eq!(peers.views().len(), 1);
}
