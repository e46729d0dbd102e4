//! What was planned: nothing is lost.

use super::play;

#[test]
fn a_failover_loses_nothing() {
    play("failover");
}

#[test]
fn what_lasts_longer_than_a_move_is_finished_by_the_node_that_began_it() {
    play("long-lived");
}

#[test]
fn a_failback_loses_nothing() {
    play("failback");
}

#[test]
fn a_failback_to_a_cable_that_is_put_back_loses_nothing() {
    play("link-back");
}

#[test]
fn a_stop_loses_nothing() {
    play("stop");
}

#[test]
fn maintenance_loses_nothing() {
    play("maintenance");
}

#[test]
fn a_reload_moves_nothing() {
    play("reload");
}

#[test]
fn an_upgrade_of_the_workers_moves_nothing() {
    play("upgrade-worker");
}

#[test]
fn an_upgrade_of_the_keepers_moves_nothing() {
    play("upgrade-keeper");
}
