//! What nobody planned.

use super::play;

#[test]
fn a_killed_node_is_replaced_and_leaves_no_address() {
    play("killed");
}

#[test]
fn a_node_of_which_nothing_is_left_is_replaced() {
    play("killed-all");
}

#[test]
fn a_node_whose_keeper_is_killed_is_replaced() {
    play("keeper-killed");
}

#[test]
fn a_node_whose_cable_is_pulled_is_replaced() {
    play("link-down");
}

#[test]
fn a_node_that_hangs_is_replaced_and_yields_when_it_wakes() {
    play("frozen");
}

#[test]
fn a_node_whose_app_is_gone_for_good_gives_the_address_up() {
    play("backend-dead");
}

#[test]
fn a_killed_worker_moves_no_address() {
    play("worker-killed");
}

#[test]
fn three_lost_adverts_are_no_outage() {
    play("duel");
}

#[test]
fn lost_adverts_are_no_outage() {
    play("loss");
}

#[test]
fn a_short_pause_leaves_one_owner() {
    play("thaw");
}

#[test]
fn nodes_that_were_apart_raise_an_alarm_and_agree_again() {
    play("partition-and-heal");
}

#[test]
fn a_cut_in_one_direction_heals() {
    play("cut-one-way");
}

#[test]
fn of_three_nodes_there_is_always_one_owner() {
    play("three-nodes");
}

#[test]
fn an_address_that_something_else_removed_is_put_back() {
    play("address-removed");
}
