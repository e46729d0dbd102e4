//! Cables and packets that go missing.

use std::time::Duration;

use super::super::fault::{ADVERT_BYTES_V2, ADVERT_BYTES_V3};
use super::super::pause;
use super::super::product::{Contender, Wish};
use super::moves::turns;
use super::{Bound, Play, Scenario};

const TWO: Wish = Wish::PAIR;
pub(super) const PULLED: Scenario = Scenario {
    name: "link-down",
    about: "the master's cable is pulled",
    bound: Bound::Gap(120, 180),
    wish: TWO,
    is_for_all: true,
    runs: 10,
    play: link_down,
};
/// keepalived says again where its addresses are after so long.
const SECOND_ANNOUNCEMENT: Duration = Duration::from_millis(5500);

pub(super) const ALL: &[Scenario] = &[
    PULLED,
    Scenario {
        name: "duel",
        about: "exactly three adverts are lost, the master is well",
        bound: Bound::Silence(50),
        runs: 20,
        play: duel,
        ..PULLED
    },
    Scenario {
        name: "loss",
        about: "20 % of all adverts are lost for 30 s",
        bound: Bound::Silence(50),
        runs: 1,
        play: loss,
        ..PULLED
    },
];

fn link_down(play: &mut Play) {
    play.begin();
    play.stage.network.cable(0, false);
    play.wait_for_move();
    play.stage.network.cable(0, true);
    pause(Duration::from_millis(300));
    let owner = if play.contender == Contender::Evergate { 1 } else { 0 };
    play.wait_for_owner(owner);
}

fn duel(play: &mut Play) {
    let (bytes, interval) = match play.contender {
        Contender::Evergate => (ADVERT_BYTES_V3, Duration::from_millis(30)),
        Contender::Keepalived(profile) if profile.version == 2 => {
            (ADVERT_BYTES_V2, profile.interval)
        }
        Contender::Keepalived(profile) => (ADVERT_BYTES_V3, profile.interval),
    };
    if let (Contender::Keepalived(_), Some(claimed)) = (play.contender, play.stage.claimed) {
        pause(SECOND_ANNOUNCEMENT.saturating_sub(claimed.elapsed()));
    }
    let before = match play.contender {
        Contender::Evergate => turns(play)[1],
        Contender::Keepalived(_) => 0,
    };
    play.begin();
    play.stage.network.drop_adverts(0, 1, 3, bytes);
    // The takeover, and what keepalived needs to come back from it.
    pause(interval * 5 + Duration::from_secs(1));
    if play.contender != Contender::Evergate {
        pause(SECOND_ANNOUNCEMENT);
    }
    let dropped = play.stage.network.dropped();
    if play.contender == Contender::Evergate {
        let after = turns(play)[1];
        play.expect_in_time(after > before, || "the backup has claimed nothing".to_owned());
    }
    play.expect_in_time(dropped == 3, || format!("{dropped} adverts were dropped, not 3"));
    play.stage.network.let_through();
    let answers = play.probe().seen();
    play.wait_until("one node has the address, and answers", |stage| {
        let owners = stage.network.holders();
        owners.len() == 1 && answers.last() == Some(stage.nodes[owners[0]].letter)
    });
}

fn loss(play: &mut Play) {
    play.begin();
    play.stage.network.lose_adverts(20);
    pause(play.extent.lasting);
    let dropped = play.stage.network.dropped();
    play.expect(dropped > 0, || "no advert was dropped".to_owned());
    play.stage.network.let_through();
    pause(Duration::from_secs(1));
    play.wait_until("one node has the address", |stage| stage.network.holders().len() == 1);
}
