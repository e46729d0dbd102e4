use alloc::vec;

use super::*;
use crate::rng::Rng;

/// The examples of RFC 6455, 5.7, but for the two long ones: header and length of the payload.
const EXAMPLES: [&[u8]; 6] = [
    // "Hello" in one frame, unmasked and masked.
    &[0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f],
    &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58],
    // The same in two frames.
    &[0x01, 0x03, 0x48, 0x65, 0x6c],
    &[0x80, 0x02, 0x6c, 0x6f],
    // A ping, and the masked pong.
    &[0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f],
    &[0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58],
];

fn long_examples() -> [Vec<u8>; 2] {
    let mut short = vec![0x82, 0x7e, 0x01, 0x00];
    short.extend([0xab; 256]);
    let mut long = vec![0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0];
    long.extend([0xcd; 65536]);
    [short, long]
}

#[test]
fn the_examples_of_the_rfc_end_where_they_end() {
    let long = long_examples();
    let all = EXAMPLES.into_iter().chain(long.iter().map(Vec::as_slice));
    for example in all {
        let mut frames = Frames::default();
        frames.follow(&example[..example.len() - 1]);
        assert!(!frames.is_at_boundary(), "{:x?}", &example[..2]);
        frames.follow(&example[example.len() - 1..]);
        assert!(frames.is_at_boundary(), "{:x?}", &example[..2]);
        assert!(!frames.has_closed());
    }
}

#[test]
fn a_frame_is_finished_and_the_next_one_is_left() {
    let [hello, masked, ..] = EXAMPLES;
    let both = [hello, masked].concat();
    let mut frames = Frames::default();
    assert_eq!(frames.finish(&both), 0, "nothing has begun");
    frames.follow(&both[..3]);
    assert_eq!(frames.finish(&both[3..]), hello.len() - 3);
    assert!(frames.is_at_boundary());
    frames.follow(masked);
    assert_eq!(frames.finish(&both), 0);
    // A header without its payload.
    frames.follow(&[0x82, 0x7e]);
    assert_eq!(frames.finish(&[0x01]), 1);
    assert!(!frames.is_at_boundary());
}

#[test]
fn an_empty_frame_has_only_a_header() {
    let mut frames = Frames::default();
    frames.follow(&[0x89]);
    assert!(!frames.is_at_boundary());
    frames.follow(&[0x00]);
    assert!(frames.is_at_boundary());
    frames.follow(&[0x89, 0x80, 1, 2, 3]);
    assert!(!frames.is_at_boundary(), "the mask is part of the header");
    frames.follow(&[4]);
    assert!(frames.is_at_boundary());
}

#[test]
fn what_is_said_at_the_end_is_a_whole_frame() {
    let mut plain = Vec::new();
    push_close(&mut plain, Code::ServiceRestart);
    assert_eq!(plain, b"\x88\x11\x03\xf4service restart");
    let mut masked = Vec::new();
    push_masked_close(&mut masked, Code::GoingAway, [0x37, 0xfa, 0x21, 0x3d]);
    assert_eq!(masked[..6], [0x88, 0x8c, 0x37, 0xfa, 0x21, 0x3d]);
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let unmasked: Vec<u8> =
        masked[6..].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    assert_eq!(unmasked, b"\x03\xe9going away");
    for close in [plain, masked] {
        let mut frames = Frames::default();
        frames.follow(&close);
        assert!(frames.is_at_boundary() && frames.has_closed());
    }
}

#[test]
fn a_length_that_is_a_lie_is_only_counted() {
    let mut frames = Frames::default();
    frames.follow(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]);
    frames.follow(&[0; 4096]);
    assert!(!frames.is_at_boundary());
    assert_eq!(frames.finish(&[0; 100]), 100);
}

/// However a stream is cut, and wherever it is to end, both ways of following it agree.
#[test]
fn cuts_make_no_difference() {
    for seed in 0..256 {
        let mut rng = Rng::seeded(seed);
        let stream: Vec<u8> = (0..rng.below(600)).map(|_| rng.below(256) as u8).collect();
        let mut whole = Frames::default();
        whole.follow(&stream);
        let mut cut = Frames::default();
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let piece = 1 + rng.below(rest.len() as u32) as usize;
            let taken = cut.finish(&rest[..piece]);
            assert!(taken == piece || cut.is_at_boundary(), "seed {seed}");
            cut.follow(&rest[taken..piece]);
            rest = &rest[piece..];
        }
        assert_eq!(cut, whole, "seed {seed}");
    }
}
