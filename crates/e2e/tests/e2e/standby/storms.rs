//! What comes again and again.

use super::play;

#[test]
fn workers_that_are_replaced_and_killed_by_turns_touch_no_election() {
    play("worker-storm");
}

#[test]
fn keepers_that_are_replaced_again_and_again_touch_no_election() {
    play("keeper-storm");
}

#[test]
fn a_cable_that_flaps_costs_the_address_and_nothing_else() {
    play("flaps");
}
