//! Datagrams: true, new, and no longer than they may be.

use super::*;
use crate::handover::{self, FLOWS_PART_MAX, Flow};
use crate::peer::session::{
    DATAGRAM_BYTES_MAX, MESSAGE_BYTES_MAX, RETIRED_MAX, Refusal, Sessions, TooLong, WINDOW,
};
use crate::rng::Rng;
use crate::vrrp::packet::seal::MAC_BYTES;

/// Not a MAC, but it depends on every byte, its place, and the secret.
fn mix(secret: u64, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
    let mut state = secret ^ 0xcbf2_9ce4_8422_2325;
    for byte in parts.iter().copied().flatten() {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (u128::from(state) << 64 | u128::from(!state)).to_be_bytes()
}

fn mac(parts: &[&[u8]]) -> [u8; MAC_BYTES] {
    mix(1, parts)
}

/// A node that has just started, and knows one peer.
fn started(start: u64) -> Sessions {
    let mut sessions = Sessions::new(start);
    sessions.apply(["peer"].into_iter());
    sessions
}

/// Two nodes that believe each other.
fn acquainted() -> (Sessions, Sessions) {
    let (mut a, mut b) = (started(10), started(20));
    meet(&mut a, &mut b);
    (a, b)
}

/// `a` speaks first; answers are given until none is wanted.
fn meet(a: &mut Sessions, b: &mut Sessions) -> usize {
    let mut datagrams = 1;
    let mut datagram = write(a, None);
    loop {
        if !b.read(0, &datagram, Some(&mac)).unwrap().wants_answer {
            return datagrams;
        }
        datagram = write(b, None);
        datagrams += 1;
        if !a.read(0, &datagram, Some(&mac)).unwrap().wants_answer {
            return datagrams;
        }
        datagram = write(a, None);
        datagrams += 1;
        assert!(datagrams < 10, "they never end");
    }
}

fn message(number: u64) -> Message {
    Message::Handover(handover::Message::Accept { number, instead_of: None })
}

fn write(from: &mut Sessions, message: Option<&Message>) -> Vec<u8> {
    let mut datagram = Vec::new();
    from.write(0, message, Some(&mac), &mut datagram).unwrap();
    datagram
}

fn say(from: &mut Sessions, number: u64) -> Vec<u8> {
    write(from, Some(&message(number)))
}

fn heard(by: &mut Sessions, datagram: &[u8]) -> Result<Option<Message>, Refusal> {
    by.read(0, datagram, Some(&mac)).map(|taken| taken.message)
}

#[test]
fn two_nodes_believe_each_other_after_three_datagrams() {
    let (mut a, mut b) = (started(10), started(20));
    let knock = say(&mut a, 1);
    let taken = b.read(0, &knock, Some(&mac)).unwrap();
    assert_eq!((taken.message, taken.wants_answer), (None, true), "it could be an old one");
    assert!(!b.read(0, &knock, Some(&mac)).unwrap().wants_answer, "once is enough");
    let answer = say(&mut b, 2);
    let taken = a.read(0, &answer, Some(&mac)).unwrap();
    assert_eq!((taken.message, taken.wants_answer), (Some(message(2)), true));
    let third = say(&mut a, 3);
    assert_eq!(heard(&mut b, &third), Ok(Some(message(3))));
    assert_eq!(meet(&mut started(10), &mut started(20)), 4, "and one that needs no answer");
}

#[test]
fn no_datagram_is_taken_twice_whatever_the_order() {
    let (mut a, mut b) = acquainted();
    let datagrams: Vec<_> = (0..WINDOW as u64).map(|number| say(&mut a, number)).collect();
    for (number, datagram) in datagrams.iter().enumerate().rev() {
        assert_eq!(heard(&mut b, datagram), Ok(Some(message(number as u64))));
    }
    for datagram in &datagrams {
        assert_eq!(heard(&mut b, datagram), Err(Refusal::Repeated));
    }
    let late = say(&mut a, 0);
    let many: Vec<_> = (0..WINDOW as u64).map(|number| say(&mut a, number)).collect();
    assert!(heard(&mut b, &many[WINDOW - 1]).is_ok());
    assert_eq!(heard(&mut b, &late), Err(Refusal::Repeated), "beyond the window");
    assert!(heard(&mut b, &many[0]).is_ok());
    // Far ahead: all that was seen is forgotten, and all that is before refused.
    (0..5_000).for_each(|_| drop(write(&mut a, None)));
    let ahead = say(&mut a, 1);
    assert!(heard(&mut b, &ahead).is_ok());
    assert_eq!(heard(&mut b, &ahead), Err(Refusal::Repeated));
    assert_eq!(heard(&mut b, &many[1]), Err(Refusal::Repeated));
}

#[test]
fn a_talk_goes_on_when_the_window_has_gone_round() {
    let (mut a, mut b) = acquainted();
    for number in 0..3 * WINDOW as u64 {
        let (first, second) = (say(&mut a, number), say(&mut a, number));
        assert_eq!(heard(&mut b, &second), Ok(Some(message(number))));
        assert_eq!(heard(&mut b, &first), Ok(Some(message(number))), "overtaken");
        assert_eq!(heard(&mut b, &first), Err(Refusal::Repeated));
    }
}

#[test]
fn what_was_recorded_before_a_restart_is_not_believed_after_it() {
    let (mut a, mut b) = acquainted();
    let to_b: Vec<_> = (0..9).map(|number| say(&mut a, number)).collect();
    // The receiver has started anew.
    let mut b_anew = started(21);
    for datagram in &to_b {
        assert_eq!(heard(&mut b_anew, datagram), Ok(None));
    }
    // The sender has.
    let mut a_anew = started(11);
    meet(&mut a_anew, &mut b);
    for datagram in &to_b {
        assert_eq!(heard(&mut b, datagram), Err(Refusal::Repeated));
    }
    let fresh = say(&mut a_anew, 7);
    assert_eq!(heard(&mut b, &fresh), Ok(Some(message(7))));
}

#[test]
fn knocks_that_were_recorded_disturb_nobody() {
    let mut old = started(9);
    let knock = write(&mut old, None);
    let (mut a, mut b) = acquainted();
    for number in 0..20 {
        assert_eq!(b.read(0, &knock, Some(&mac)).unwrap().message, None);
        let datagram = say(&mut b, number);
        assert_eq!(heard(&mut a, &datagram), Ok(Some(message(number))), "it is said to both");
        let datagram = say(&mut a, number);
        assert_eq!(heard(&mut b, &datagram), Ok(Some(message(number))));
    }
}

#[test]
fn a_start_that_is_over_stays_over_until_it_is_forgotten() {
    let (mut a, mut b) = acquainted();
    let old = say(&mut a, 1);
    for start in 0..RETIRED_MAX as u64 {
        assert_eq!(
            heard(&mut b, &old),
            if start == 0 { Ok(Some(message(1))) } else { Err(Refusal::Repeated) }
        );
        meet(&mut started(100 + start), &mut b);
    }
    assert_eq!(heard(&mut b, &old), Err(Refusal::Repeated));
}

#[test]
fn what_is_not_true_is_refused() {
    let (mut a, mut b) = acquainted();
    let datagram = say(&mut a, 1);
    for at in 0..datagram.len() {
        let mut changed = datagram.clone();
        changed[at] ^= 1;
        assert!(b.read(0, &changed, Some(&mac)).is_err(), "{at}");
        assert!(b.read(0, &datagram[..at], Some(&mac)).is_err(), "{at}");
    }
    let other = |parts: &[&[u8]]| mix(2, parts);
    assert_eq!(b.read(0, &datagram, Some(&other)), Err(Refusal::Mac));
    assert_eq!(b.read(0, &datagram, None), Err(Refusal::Sealed));
    assert_eq!(b.read(1, &datagram, Some(&mac)), Err(Refusal::Foreign), "there is no such peer");
    assert_eq!(a.read(0, &datagram, Some(&mac)), Err(Refusal::Own), "it came back");
    assert_eq!(heard(&mut b, &datagram), Ok(Some(message(1))), "nothing of that spoiled it");
    let mut open = Vec::new();
    a.write(0, Some(&message(1)), None, &mut open).unwrap();
    assert_eq!(b.read(0, &open, Some(&mac)), Err(Refusal::Open));
    assert_eq!(b.read(0, &[0; DATAGRAM_BYTES_MAX + 1], Some(&mac)), Err(Refusal::Foreign));
}

#[test]
fn without_a_secret_nodes_talk_too() {
    let (mut a, mut b) = (started(10), started(20));
    let mut datagram = Vec::new();
    for number in 0..3 {
        a.write(0, Some(&message(number)), None, &mut datagram).unwrap();
        let by_b = b.read(0, &datagram, None).unwrap().message;
        b.write(0, Some(&message(number)), None, &mut datagram).unwrap();
        let by_a = a.read(0, &datagram, None).unwrap().message;
        assert_eq!(by_a, Some(message(number)));
        assert_eq!(by_b, (number > 0).then(|| message(number)));
    }
    // Whatever follows a message makes it another.
    a.write(0, Some(&message(1)), None, &mut datagram).unwrap();
    datagram.push(0);
    assert_eq!(b.read(0, &datagram, None), Err(Refusal::Malformed));
}

#[test]
fn a_message_fits_or_is_not_sent() {
    let (mut a, mut b) = acquainted();
    let claim = claim(Role::Backup, 200, true);
    let largest =
        |count| Message::Beat(Beat { routers: std::vec![claim; count], ..beat(0, 1, &[]) });
    let bytes = |count| minicbor::to_vec(largest(count)).unwrap().len();
    let count = (0..).find(|count| bytes(*count) > MESSAGE_BYTES_MAX).unwrap();
    let mut datagram = Vec::new();
    assert_eq!(
        a.write(0, Some(&largest(count)), Some(&mac), &mut datagram),
        Err(TooLong(bytes(count)))
    );
    assert_eq!(datagram, [], "nothing to send by mistake");
    a.write(0, Some(&largest(count - 1)), Some(&mac), &mut datagram).unwrap();
    assert!(datagram.len() <= DATAGRAM_BYTES_MAX);
    assert_eq!(heard(&mut b, &datagram), Ok(Some(largest(count - 1))));
}

#[test]
fn a_part_of_a_list_of_connections_fits() {
    let address = IpAddr::from([0xff; 16]);
    let flow = Flow { client: address, client_port: 65_535, local: address, local_port: 65_535 };
    let flows = std::vec![flow; FLOWS_PART_MAX];
    let part = handover::Message::Flows { number: u64::MAX, part: 65_535, parts: 65_535, flows };
    let bytes = minicbor::to_vec(Message::Handover(part)).unwrap().len();
    assert!(bytes <= MESSAGE_BYTES_MAX, "{bytes}");
}

#[test]
fn sessions_outlive_their_process() {
    let (mut a, b) = acquainted();
    let bytes = minicbor::to_vec(&b).unwrap();
    let mut carried: Sessions = minicbor::decode(&bytes).unwrap();
    let datagram = say(&mut a, 1);
    assert_eq!(heard(&mut carried, &datagram), Ok(Some(message(1))));
    assert_eq!(heard(&mut carried, &datagram), Err(Refusal::Repeated));
    let datagram = say(&mut carried, 2);
    assert_eq!(heard(&mut a, &datagram), Ok(Some(message(2))), "its numbers go on");
    carried.apply(["other", "peer"].into_iter());
    let datagram = say(&mut a, 3);
    assert_eq!(carried.read(1, &datagram, Some(&mac)).unwrap().message, Some(message(3)));
}

#[test]
fn bytes_by_chance_are_never_taken_and_never_panic() {
    for seed in 0..2_000 {
        let rng = &mut Rng::seeded(seed);
        let (mut a, mut b) = acquainted();
        let mut datagram = say(&mut a, seed);
        for _ in 0..=rng.below(6) {
            let at = rng.below(datagram.len() as u32) as usize;
            datagram[at] = rng.next_u64() as u8;
        }
        datagram.truncate(rng.below(datagram.len() as u32 + 1) as usize);
        // Signed all the same: only what is inside is broken.
        datagram.extend(mac(&[&datagram]));
        let _ = b.read(0, &datagram, Some(&mac));
        let fresh = say(&mut a, 1);
        let _ = heard(&mut b, &fresh);
    }
}
