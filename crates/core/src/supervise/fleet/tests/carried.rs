//! A fleet goes on in the hands of another keeper, also of a later release.
//!
//! Each release leaves a file in `golden/`: what a fleet of it wrote down. Every later release reads
//! all of them; when one before the last can no longer be read, its file may go. Before a release,
//! and whenever the form changes meanwhile, write that of this version anew:
//!
//! ```text
//! EVERGATE_GOLDEN=write cargo test -p evergate-core --lib golden
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::*;
use crate::supervise::policy::{Alive, MemoryWatch};

/// The fleet that the next keeper has.
pub(super) fn again(fleet: &Fleet) -> Fleet {
    let bytes = minicbor::to_vec(fleet).expect("a vector takes every byte");
    let again: Fleet = minicbor::decode(&bytes).expect("what was written can be read");
    assert_eq!(format!("{fleet:?}"), format!("{again:?}"));
    again
}

/// A small fleet in the midst of everything: a deploy whose canary is watched, instances that
/// crashed, failed for good, were stopped, use too much memory, or are tried once more.
fn busy() -> Hand {
    let shop = || {
        let mut shop = policy(3);
        shop.deploy.canary_for = 10 * SECOND;
        shop.alive = Some(Alive { fall: 3, restart_after: Some(10 * SECOND) });
        shop.memory = Some(MemoryWatch { rss: 1 << 28, over: 60 * SECOND });
        shop
    };
    let job = || Policy { after: vec!["shop".to_owned()], ..policy(3) };
    let odd = || {
        let mut odd = policy(1);
        (odd.backoff.failures, odd.backoff.cooldown) = (1, SECOND);
        odd
    };
    let apps = |shop_revision| {
        let shop = App { revision: Revision(shop_revision), ..app("shop", shop()) };
        vec![shop, app("job", job()), app("odd", odd())]
    };
    let mut hand = Hand::new(&apps(1));
    for number in 0..3 {
        hand.ready(&format!("shop/{number}.1"));
    }
    hand.ready("job/0.1");
    hand.exits("odd/0.1", 1);
    hand.wait(5 * SECOND);
    hand.exits("job/1.1", 1);
    hand.exits("job/2.1", 78);
    hand.wish("job/0", Verb::Stop).expect("it runs");
    hand.say(Input::Measured { run: run("shop/1.1"), rss: 1 << 29 });
    hand.say(Input::Desired(apps(2)));
    hand.ready("shop/0.2");
    let sample = deploy::Sample { requests: 100, errors: 1, p99: 20 * MS };
    hand.say(Input::Sampled { app: "shop".to_owned(), canary: sample, others: sample });
    hand.wait(SECOND);
    hand
}

const BUSY: &str = "job/0.1 Draining, job/1.2 Starting, job/2.1 Fatal, odd/0.2 Starting, shop/0.1 Ready, \
                    shop/0.2 Ready, shop/1.1 Ready, shop/2.1 Ready";

fn folder() -> PathBuf {
    let here = "src/supervise/fleet/tests/golden";
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(here)
}

#[test]
fn golden_fleets_of_all_releases_are_read() {
    let busy = busy();
    assert_eq!(busy.shown(), BUSY);
    let bytes = minicbor::to_vec(&busy.fleet).unwrap();
    let name = concat!("fleet-", env!("CARGO_PKG_VERSION"), ".cbor");
    if std::env::var_os("EVERGATE_GOLDEN").is_some() {
        fs::create_dir_all(folder()).unwrap();
        fs::write(folder().join(name), &bytes).unwrap();
    }
    let own = fs::read(folder().join(name)).expect("this version has a file");
    assert!(own == bytes, "the form has changed: say so on purpose, see the head of this file");
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    for path in files.filter(|path| path.extension().is_some_and(|ext| ext == "cbor")) {
        let fleet: Fleet = minicbor::decode(&fs::read(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut hand = Hand { fleet, now: busy.now };
        assert_eq!(hand.shown(), BUSY, "{}", path.display());
        hand.say(Input::Tick);
        let mut without = self::busy();
        let done = without.wait(60 * SECOND);
        assert_eq!(hand.wait(60 * SECOND), done, "{}", path.display());
        assert!(done.contains(&"ask shop/0.1".to_owned()), "its canary was good: {done:?}");
        assert_eq!(hand.shown(), without.shown(), "{}", path.display());
    }
}

/// A fleet whose deploy replaces runs in place: the old one of one instance is ending.
fn replacing() -> Hand {
    let mut in_place = policy(2);
    (in_place.deploy.surge, in_place.deploy.unavailable) = (0, 1);
    let mut hand = Hand::new(&[app("shop", in_place.clone())]);
    hand.ready("shop/0.1");
    hand.ready("shop/1.1");
    let next = App { revision: Revision(2), ..app("shop", in_place) };
    hand.say(Input::Desired(vec![next]));
    hand.say(Input::Idle(run("shop/0.1")));
    hand.exits("shop/0.1", 0);
    hand.ready("shop/0.2");
    assert_eq!(hand.shown(), "shop/0.2 Ready, shop/1.1 Draining");
    hand
}

/// What those bytes say with one byte changed, or one stage of a deploy.
fn changed(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    const ROLLING: &[u8] = b"\x82\x02\x80";
    const DONE: &[u8] = b"\x82\x04\x81\x82\0\x80";
    (0..bytes.len()).flat_map(move |at| {
        let was = bytes[at];
        // Other numbers, other states, nothing, no and yes.
        let others = [was ^ 1, was.wrapping_add(1), was.wrapping_sub(1), 0, 1, 2, 3, 6, 0xf6, 0xf4];
        let one = others.into_iter().map(move |byte| {
            let mut bytes = bytes.to_vec();
            bytes[at] = byte;
            bytes
        });
        let is_rolling = bytes[at..].starts_with(ROLLING);
        let stage = is_rolling.then(|| [&bytes[..at], DONE, &bytes[at + ROLLING.len()..]].concat());
        one.chain(stage)
    })
}

#[test]
fn what_cannot_be_is_refused() {
    let mut refusals = BTreeSet::new();
    for hand in [busy(), replacing()] {
        let bytes = minicbor::to_vec(&hand.fleet).unwrap();
        let read = changed(&bytes).map(|bytes| minicbor::decode::<Fleet>(&bytes));
        refusals.extend(read.filter_map(|read| Some(read.err()?.to_string())));
    }
    for refusal in [
        "an app has two names",
        "a run has no generation of its own",
        "a run serves without a process",
        "an instance waits for a run that is not there",
        "an instance takes part in no deploy",
        "an instance has a run that its deploy does not know",
        "a deploy waits for no run",
        "a deploy moves more instances than it may",
        "a deploy has an instance twice",
    ] {
        assert!(refusals.iter().any(|said| said.contains(refusal)), "nothing says {refusal}");
    }
}

/// Bytes that differ a little from those of a fleet.
fn damaged(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.below(3) {
        let at = rng.below(bytes.len() as u32) as usize;
        match rng.below(3) {
            0 => bytes[at] = rng.next_u64() as u8,
            1 => bytes[at] ^= 1 << rng.below(8),
            _ => bytes[at] = bytes[at].wrapping_add(1),
        }
    }
    bytes
}

#[test]
fn no_bytes_do_harm() {
    let busy = busy();
    let bytes = minicbor::to_vec(&busy.fleet).unwrap();
    for length in 0..bytes.len() {
        assert!(minicbor::decode::<Fleet>(&bytes[..length]).is_err(), "{length} bytes of it");
    }
    let mut read = 0;
    for seed in 0..3_000 {
        let mut rng = Rng::seeded(seed);
        let Ok(fleet) = minicbor::decode::<Fleet>(&damaged(&bytes, &mut rng)) else { continue };
        read += 1;
        let mut hand = Hand { fleet, now: busy.now };
        hand.say(Input::Tick);
        for which in ["shop/0.2", "shop/1.1", "job/1.2", "job/1.3"] {
            hand.ready(which);
            hand.exits(which, 1);
            hand.wait(5 * SECOND);
        }
        hand.say(Input::End);
        hand.wait(60 * SECOND);
        hand.say(Input::Hurry);
        hand.shown();
    }
    assert!(read > 300, "only {read} were read");
}
