use std::string::ToString;
use std::vec::Vec;

use super::*;

fn at(millis: u64) -> Instant {
    Instant::EPOCH + Duration::from_millis(millis)
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn asking(addresses: &[u8]) -> Echoes {
    let mut echoes = Echoes::new(1);
    echoes.apply(at(0), addresses.iter().map(|last| ip(*last)));
    echoes
}

/// Questions, by address, sequence number and token; and what was found.
type Drained = (Vec<(IpAddr, u16, u64)>, Vec<(IpAddr, Option<String>)>);

fn drain(echoes: &mut Echoes) -> Drained {
    let (mut asked, mut found) = (Vec::new(), Vec::new());
    while let Some(output) = echoes.next_output() {
        match output {
            Output::Ask { to, sequence, token } => asked.push((to, sequence, token)),
            Output::Found { address, failure } => found.push((address, failure)),
        }
    }
    (asked, found)
}

fn silent(last: u8) -> Option<String> {
    Some(std::format!("10.0.0.{last} does not answer echo requests"))
}

#[test]
fn every_address_is_asked_once_in_an_interval_with_another_token_each_time() {
    let echoes = &mut asking(&[1, 2, 1]);
    let mut tokens = Vec::new();
    for turn in 0..5u64 {
        echoes.handle(at(200 * turn), Input::Tick);
        let (asked, _) = drain(echoes);
        assert_eq!(asked.iter().map(|(to, _, _)| *to).collect::<Vec<_>>(), [ip(1), ip(2)]);
        assert!(asked.iter().all(|(_, sequence, _)| u64::from(*sequence) == turn + 1));
        tokens.extend(asked.iter().map(|(_, _, token)| *token));
        assert_eq!(echoes.deadline(), Some(at(200 * (turn + 1))));
        echoes.handle(at(200 * turn + 199), Input::Tick);
        assert_eq!(drain(echoes).0, []);
    }
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 10);
}

#[test]
fn an_address_fails_when_three_questions_went_unanswered_and_works_with_one_answer() {
    let echoes = &mut asking(&[1]);
    let mut last = 0;
    for turn in 0..8u64 {
        echoes.handle(at(200 * turn), Input::Tick);
        let (asked, found) = drain(echoes);
        last = asked[0].2;
        // Asked at 0, 200 and 400; the last had until 600.
        let expected = if turn == 3 { [(ip(1), silent(1))].into() } else { Vec::new() };
        assert_eq!(found, expected, "{turn}");
    }
    echoes.handle(at(1_450), Input::Answered { from: ip(1), token: last });
    assert_eq!(drain(echoes).1, [(ip(1), None)]);
    echoes.handle(at(1_451), Input::Answered { from: ip(1), token: last });
    assert_eq!(drain(echoes), (Vec::new(), Vec::new()), "an answer counts once");
}

#[test]
fn an_answer_a_little_late_is_an_answer() {
    let echoes = &mut asking(&[1]);
    let (asked, _) = drain(echoes);
    for turn in 1..3u64 {
        echoes.handle(at(200 * turn), Input::Tick);
    }
    echoes.handle(at(599), Input::Answered { from: ip(1), token: asked[0].2 });
    echoes.handle(at(600), Input::Tick);
    assert_eq!(drain(echoes).1, [(ip(1), None)], "it works, and was never thought not to");
}

#[test]
fn forged_answers_do_not_count() {
    let echoes = &mut asking(&[1, 2]);
    let (asked, _) = drain(echoes);
    let (token_1, token_2) = (asked[0].2, asked[1].2);
    for (from, token) in [(ip(1), token_2), (ip(2), token_1), (ip(3), token_1), (ip(1), 0)] {
        echoes.handle(at(1), Input::Answered { from, token });
    }
    assert_eq!(drain(echoes).1, []);
}

#[test]
fn what_cannot_be_asked_fails_with_the_reason() {
    let echoes = &mut asking(&[1]);
    for turn in 0..4u64 {
        echoes.handle(at(200 * turn), Input::Tick);
        if turn == 3 {
            let (_, found) = drain(echoes);
            let words = "10.0.0.1 cannot be asked: Network is unreachable";
            assert_eq!(found, [(ip(1), Some(words.to_string()))]);
        }
        let why = "Network is unreachable".to_string();
        echoes.handle(at(200 * turn), Input::Unsent { to: ip(1), why });
    }
}

#[test]
fn a_reload_disturbs_only_what_changed() {
    let echoes = &mut asking(&[1, 2]);
    let (asked, _) = drain(echoes);
    echoes.apply(at(50), [ip(3), ip(1)].into_iter());
    assert_eq!(drain(echoes).0.len(), 1, "only the new one is asked at once");
    echoes.handle(at(60), Input::Answered { from: ip(1), token: asked[0].2 });
    echoes.handle(at(60), Input::Answered { from: ip(2), token: asked[1].2 });
    assert_eq!(drain(echoes).1, [(ip(1), None)]);
    echoes.apply(at(65), [ip(1)].into_iter());
    assert_eq!(drain(echoes), (Vec::new(), [(ip(1), None)].into()), "for whoever asks now");
    echoes.apply(at(70), [].into_iter());
    assert_eq!(echoes.deadline(), None);
    let many = (0..=255).map(ip);
    echoes.apply(at(80), many);
    assert_eq!(drain(echoes).0.len(), ADDRESSES_MAX);
}

#[test]
fn after_a_pause_what_was_answered_meanwhile_counts() {
    let echoes = &mut asking(&[1]);
    let (asked, _) = drain(echoes);
    // Nothing ran for ten seconds; the answer had come long ago, and is read first.
    echoes.handle(at(10_000), Input::Answered { from: ip(1), token: asked[0].2 });
    echoes.handle(at(10_000), Input::Tick);
    let (asked, found) = drain(echoes);
    assert_eq!((asked.len(), found), (1, [(ip(1), None)].into()), "no burst, no failure");
}
