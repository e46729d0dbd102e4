//! Other programs that meddle with the address.

use std::time::Duration;

use super::super::pause;
use super::super::product::Wish;
use super::moves::{stays, turns};
use super::{Bound, Play, Scenario};

pub(super) const ALL: &[Scenario] = &[Scenario {
    name: "address-removed",
    about: "another program removes the master's address: it is put back",
    bound: Bound::Own(100),
    wish: Wish::PAIR,
    is_for_all: false,
    runs: 10,
    play: address_removed,
}];

fn address_removed(play: &mut Play) {
    let before = turns(play);
    play.begin();
    let place = &play.stage.nodes[0].place;
    let held = place.prefixed(place.vip()).expect("the first node has the address");
    place.ip(&format!("addr del {held} dev eth0"));
    play.wait_until("the address is back", |stage| stage.nodes[0].place.holds());
    play.own = play.event.map(|event| event.elapsed());
    play.wait_until("the node tells of it", |stage| stage.evergate(0).events("vip_put_back") > 0);
    pause(Duration::from_millis(300));
    stays(play, before);
}
